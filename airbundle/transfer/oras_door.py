"""The door to oras-py: its manifests and its upload, over our own client (docs/decisions/0014-oras.md).

oras-py alone would send a registry's password to any token server, follow any upload location, knows neither
`registries.yaml` nor proxies by CIDR, and checks no digest. So its HTTP session gets a transport that hands every
request to `HttpClient`, and what it uploads is fetched again and compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airbundle.bundle.oci import EMPTY_DESCRIPTOR, Descriptor, parse_json
from airbundle.errors import AirbundleError, DigestMismatch, UsageError

if TYPE_CHECKING:
    from airbundle.transfer.repository import Repository

_ANSWERS = (200, 201, 202)


def push_artifact(
    repository: Repository,
    tag: str,
    artifact_type: str,
    layers: Sequence[Descriptor],
    annotations: Mapping[str, str],
) -> str:
    """Push an artifact's manifest by oras and return its digest; its blobs are there already.

    Args:
        repository: where to.
        tag: what it will be called.
        artifact_type: of the manifest.
        layers: with annotations.
        annotations: of the manifest.

    Raises:
        UsageError: oras is not installed.
        DigestMismatch: the registry stored something else.
        RemoteError: it refuses or fails.
    """
    manifest = _manifest(artifact_type, layers, annotations)
    _upload(repository, tag, manifest)
    descriptor, raw = repository.fetch_manifest(tag)
    if parse_json(raw, what=repository.label(tag)) != manifest:
        raise DigestMismatch(f"{repository.label(tag)}: the registry stored another manifest than was pushed")
    return descriptor.digest


def _manifest(artifact_type: str, layers: Sequence[Descriptor], annotations: Mapping[str, str]) -> dict[str, Any]:
    manifest: dict[str, Any] = dict(_oras("oci").NewManifest())
    manifest["artifactType"] = artifact_type
    manifest["config"] = EMPTY_DESCRIPTOR.to_json()
    manifest["layers"] = [layer.to_json() for layer in layers]
    manifest["annotations"] = dict(sorted(annotations.items()))
    return manifest


def _upload(repository: Repository, tag: str, manifest: Mapping[str, Any]) -> None:
    registry = _oras("provider").Registry(hostname=repository.name.partition("/")[0])
    registry.session.trust_env = False
    registry.session.mount("https://", _transport(repository))
    container = _oras("container").Container("artifact")
    # Its own parser takes a first component with a dot for a host: `docker.io/x` below a prefix.
    container.registry, container.namespace = registry.hostname, None
    container.repository, container.tag = repository.push_name, tag
    try:
        response = registry.upload_manifest(manifest, container)
    except _oras("auth").AuthenticationException as error:
        if isinstance(error.__cause__, AirbundleError):
            raise error.__cause__ from None
        raise
    response.close()


def _transport(repository: Repository) -> Any:
    """Return a requests adapter that lets our client make the request."""
    import requests
    from requests.adapters import BaseAdapter

    class Transport(BaseAdapter):
        """Takes method, path and body of a request; host, credentials, trust and retries are ours."""

        def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ARG002
            _, _, path = str(request.url).partition(f"/v2/{repository.push_name}/")
            body = request.body.encode() if isinstance(request.body, str) else request.body
            kind = str(request.headers.get("Content-Type", ""))
            try:
                found = repository.push_request(str(request.method), f"/{path}", body, kind, expect=_ANSWERS)
            except AirbundleError as error:
                # The only error that oras does not try again by itself, for minutes; unwrapped in `_upload`.
                raise _oras("auth").AuthenticationException(error.problem) from error
            response = requests.Response()
            response.status_code, response.request, response.url = found.status, request, str(request.url)
            response.headers.update(found.headers)
            response._content = found.body
            return response

        def close(self) -> None:
            """Nothing is held here."""

    return Transport()


def _oras(name: str) -> Any:
    """Return a module of oras, which only the connected side has."""
    import importlib

    try:
        return importlib.import_module(f"oras.{name}")
    except ImportError:
        raise UsageError("oras is not installed", hint="pip install 'airbundle[build]'") from None
