"""External mode (design §6): a request goes out, a certificate comes in; for the site's CA, or for single servers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from airbundle.crypto.authority import new_server_key
from airbundle.crypto.ca import create_ca
from airbundle.crypto.certificate import CertificateInfo, certificate_info, load_chain, same_key, to_pem
from airbundle.crypto.csr import accept_ca, accept_server, request_ca, request_server
from airbundle.crypto.names import parse_name
from airbundle.crypto.pkcs8 import RANDOM_ROUNDS, ROUNDS
from airbundle.errors import UsageError
from airbundle.installer.ca import SiteCa
from airbundle.installer.ca_files import CaState
from airbundle.installer.ca_servers import file_stem


@dataclass(frozen=True)
class Imported:
    """What an import was for: the CA, or the server `label`."""

    label: str
    info: CertificateInfo


class ExternalCertificates:
    """Requests that are out, and what becomes of the answers."""

    def __init__(self, ca: SiteCa, *, passphrase: Callable[[], bytes] | None = None) -> None:
        """Name the site's CA, and who is asked for a passphrase that isn't kept."""
        self._ca = ca
        self._files = ca.files
        self._ask = passphrase

    def request_ca(self, name: str, permitted: Iterable[str], *, passphrase: bytes | None = None) -> Path:
        """Write a request for a CA of this site below another organisation's; return its path.

        The key is made once: asking again changes the request, and an answer to the earlier one fits, too.

        Args:
            name: the CA's common name.
            permitted: the constraints to ask for.
            passphrase: of the new key; without one it is made up and kept.
        """
        files = self._files
        files.make()
        key, kept = files.path("pending.key"), files.path("pending.passphrase")
        if files.maybe(key) is None:
            word = files.new_passphrase(kept, passphrase)
            # Nothing but its key is used; the certificate is what the other organisation makes.
            rounds = RANDOM_ROUNDS if passphrase is None else ROUNDS
            files.write_key(key, create_ca(name, permitted).seal(word, rounds))
        word_of = files.passphrase(kept, self._ask if passphrase is None else lambda: passphrase)
        files.write_certificate(files.path("pending.csr"), request_ca(name, permitted, files.read(key), word_of))
        return files.path("pending.csr")

    def request_server(self, names: Sequence[str]) -> Path:
        """Write a request for a server's certificate; return its path. A key that is there is kept.

        Args:
            names: DNS names and addresses; the first one names the files.
        """
        files, stem = self._files, file_stem(str(parse_name(names[0])))
        files.make()
        key = files.server(stem, "key")
        if files.maybe(key) is None:
            files.write_key(key, new_server_key())
        files.write_certificate(files.server(stem, "csr"), request_server(names, files.read(key)))
        return files.server(stem, "csr")

    def accept(self, chain: bytes) -> Imported:
        """Take the answer to a request: find the key it is for, check it, and put it to use.

        Args:
            chain: the certificate, then those above it up to the root, PEM.

        Raises:
            UsageError: no request of this site has its key, or the passphrase of the CA's key is wrong.
            VerificationError: it isn't what was asked for; says why.
        """
        certificate = to_pem(load_chain(chain, what="certificate")[:1])
        if self._pending(self._files.path("pending.csr"), certificate):
            return self._accept_ca(chain)
        for request in sorted(self._files.path("servers").glob("*.csr")):
            if self._pending(request, certificate):
                return self._accept_server(request.name[: -len(".csr")], chain)
        raise UsageError(
            f"{certificate_info(chain).subject} is for no key of this site",
            hint="`airbundle ca csr` makes a key and its request; the certificate has to come from that request",
        )

    def _pending(self, request: Path, certificate: bytes) -> bool:
        csr = self._files.maybe(request)
        return csr is not None and same_key(csr, certificate)

    def _accept_ca(self, chain: bytes) -> Imported:
        files = self._files
        key, kept = files.path("pending.key"), files.path("pending.passphrase")
        sealed = files.read(key)
        checked = accept_ca(chain, sealed, files.passphrase(kept, self._ask))
        self._ca.add_sealed("external", checked, sealed, files.maybe(kept))
        files.forget(key, kept, files.path("pending.csr"))
        return Imported("", certificate_info(checked))

    def _accept_server(self, stem: str, chain: bytes) -> Imported:
        files = self._files
        state = files.state()
        if state is not None and state.generation:
            raise UsageError(
                f"this site has a CA of mode {state.mode} that issues its servers' certificates",
                hint="begin with an empty state directory to have all of them from elsewhere",
            )
        sent, root = accept_server(chain, files.read(files.server(stem, "key")))
        trusted = [to_pem([each]) for each in load_chain(root, what="root")]
        if state is not None:
            trusted += [to_pem([each]) for each in load_chain(self._ca.trust_pem, what="ca.crt")]
        files.write_trust(b"".join(dict.fromkeys(trusted)))
        files.write_certificate(files.server(stem, "crt"), sent)
        files.write_state(CaState("external"))
        files.forget(files.server(stem, "csr"))
        return Imported(stem, certificate_info(sent))
