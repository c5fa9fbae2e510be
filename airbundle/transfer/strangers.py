"""Whether a registry lets strangers pull: nodes' runtimes have no login unless somebody gives them one."""

from __future__ import annotations

from airbundle.errors import RemoteError, Unauthorized
from airbundle.transfer.credentials import CredentialStore
from airbundle.transfer.hosts import Registries
from airbundle.transfer.http import HttpClient
from airbundle.transfer.tls import TlsSettings


def refuses_strangers(url: str, host: str, tls: TlsSettings, repository: str, tag: str) -> bool:
    """Ask for a manifest without any login; tell whether that is refused. One that isn't there is no refusal.

    Args:
        url: of the registry.
        host: as image names begin with.
        tls: how it is trusted.
        repository, tag: of an image that nodes are to pull.
    """
    registries = Registries().with_registry(url, tls=tls)
    base = registries.push_endpoint(host, repository).url
    with HttpClient(side="site", registries=registries, credentials=CredentialStore(), lean=True) as client:
        try:
            client.request(
                "HEAD",
                f"{base}/{repository}/manifests/{tag}",
                what=f"{host}: ask for an image without a login",
                expect=(200, 404),
                headers={"Accept": "*/*"},
                scopes=(f"repository:{repository}:pull",),
            )
        except Unauthorized:
            return True
        except RemoteError:  # what else is wrong with it, others tell
            return False
    return False
