"""The CA of a site on its disk (design §6): made or taken over, opened, renewed, succeeded.

    ca = SiteCa.of(state)
    if not ca.exists:
        ca.create("messenger.internal CA", site_permitted(domain))
    files = ca.server_certificate(["registry.messenger.internal", "10.0.0.5"])

Callers hold the state directory's lock. Requests to other organisations' CAs are in `ca_external`; the rules of
certificates in `crypto.ca`; what is where in `ca_files`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from airbundle.crypto.authority import Authority
from airbundle.crypto.ca import check_bundled, create_ca, open_ca
from airbundle.crypto.certificate import CertificateInfo, certificate_info, load_chain, to_pem
from airbundle.crypto.names import CLUSTER, PRIVATE_NETWORKS
from airbundle.crypto.pkcs8 import RANDOM_ROUNDS, ROUNDS
from airbundle.crypto.profile import CA_DAYS, SERVER_DAYS
from airbundle.errors import UsageError
from airbundle.installer.ca_files import CaFiles, CaState
from airbundle.installer.ca_servers import ServerCertificate, ServerCertificates
from airbundle.installer.state import StateDirectory


class SiteCa:
    """The CA in a directory. Making this object makes and reads nothing."""

    def __init__(
        self, directory: Path, *, trust_file: Path | None = None, passphrase: Callable[[], bytes] | None = None
    ) -> None:
        """Name the places.

        Args:
            directory: the CA's own, `<state>/ca`.
            trust_file: a second place for `ca.crt`, where clients may read it.
            passphrase: asked when the key's passphrase is not kept in the directory.
        """
        self.files = CaFiles(directory, trust_file)
        self._ask = passphrase
        self._servers = ServerCertificates(self.files, self.open)

    @classmethod
    def of(cls, state: StateDirectory, *, passphrase: Callable[[], bytes] | None = None) -> SiteCa:
        """Return the CA of a state directory."""
        return cls(state.path("ca"), trust_file=state.ca_file, passphrase=passphrase)

    @property
    def exists(self) -> bool:
        """Whether a CA, or certificates from elsewhere, are here."""
        return self.files.state() is not None

    @property
    def state(self) -> CaState:
        """Mode and generation.

        Raises:
            UsageError: there is no CA.
        """
        state = self.files.state()
        if state is None:
            raise UsageError(f"{self.files.directory}: no CA is here", hint="`airbundle ca init` makes one")
        return state

    @property
    def trust_pem(self) -> bytes:
        """What clients trust: the root; during a change-over the new and the old one.

        Raises:
            UsageError: there is no CA.
        """
        _ = self.state
        return self.files.read(self.files.path("ca.crt"))

    @property
    def own_chain(self) -> bytes:
        """The certificate that issues and those above it, PEM: during a change-over up to its own root.

        Raises:
            UsageError: there is no CA, or certificates come from elsewhere.
        """
        return self.files.read(self.files.issuer(self.state.generation, "crt"))

    def info(self) -> CertificateInfo | None:
        """Describe the certificate that issues; None where servers' certificates come from elsewhere."""
        state = self.state
        return certificate_info(self.files.chain(state)) if state.generation else None

    def create(
        self, name: str, permitted: Iterable[str], *, days: int = CA_DAYS, passphrase: bytes | None = None
    ) -> CertificateInfo:
        """Make the site's own CA.

        Args:
            name: its common name.
            permitted: names, addresses and networks that it may issue for; see `site_permitted`.
            days: how long it lives.
            passphrase: of its key; without one it is made up and kept beside the key (docs/ca.md says what for).

        Raises:
            UsageError: a CA is here already; a name is none.
        """
        if self.files.state() is not None:
            raise UsageError(
                f"{self.files.directory}: a CA is here already",
                hint="`airbundle ca rotate` makes a successor that clients accept",
            )
        authority = create_ca(name, permitted, days=days)
        self.add_generation("site", authority.chain_pem, authority.seal, passphrase)
        return authority.info

    def adopt(self, chain: bytes, key: bytes) -> CertificateInfo:
        """Take over a CA that a bundle carries; certificate and encrypted key are kept byte for byte.

        The same one again changes nothing; another one of a newer bundle begins a change-over.

        Raises:
            UsageError: this site's CA is not from a bundle, or the passphrase is wrong.
            VerificationError: no CA, another key, a key in the clear, or a chain without its root.
        """
        state = self.files.state()
        if state is not None and state.mode != "bundled":
            raise UsageError(
                f"{self.files.directory}: a CA of mode {state.mode} is here, and the bundle carries another",
                hint="leave `ca` out of the inventory, or begin with an empty state directory",
            )
        check_bundled(chain, key)
        if state is not None and self.files.read(self.files.issuer(state.generation, "crt")) == chain:
            return certificate_info(chain)
        open_ca(chain, key, self._passphrase_of(state.generation + 1 if state else 1))
        self.add_sealed("bundled", chain, key)
        return certificate_info(chain)

    def open(self, *, own_root: bool = False) -> Authority:
        """Open the CA for issuing.

        Args:
            own_root: during a change-over below its own root, and not below the one before.

        Raises:
            UsageError: there is none, or its passphrase isn't known.
            NoPermission, VerificationError: as `crypto.ca.open_ca`.
        """
        state = self.state
        if not state.generation:
            raise UsageError(
                "this site's certificates are issued elsewhere",
                hint="`airbundle ca csr NAME…`, have it signed, `airbundle ca import FILE`",
            )
        key = self.files.read(self.files.issuer(state.generation, "key"))
        return open_ca(
            self.own_chain if own_root else self.files.chain(state), key, self._passphrase_of(state.generation)
        )

    def server_certificate(
        self, names: Sequence[str], *, label: str = "", days: int = SERVER_DAYS, force: bool = False
    ) -> ServerCertificate:
        """Return a server's certificate: the one that is here, or a new one.

        It is made anew when it is missing, lacks a name, comes from an earlier CA, or has less than a third of its
        life left. Its key is kept. Where that is due but the CA can't be opened, a certificate that still serves is
        returned all the same, with a warning in the log.

        Args:
            names: DNS names and addresses that clients use.
            label: file name; by default the first name.
            days: the term of a new one.
            force: make it anew in any case.

        Raises:
            UsageError: a name is outside the CA's constraints; there is no CA.
            SiteError: certificates come from elsewhere, and none is here for these names.
        """
        return self._servers.get(names, label=label, days=days, force=force)

    def servers(self) -> list[ServerCertificate]:
        """Return the servers' certificates that are here, by label."""
        return self._servers.all()

    def renew_servers(self, *, force: bool = False) -> list[ServerCertificate]:
        """Renew servers' certificates: those that are due, with `force` all. Names and keys stay."""
        return [self._servers.get(each.info.names, label=each.label, force=force) for each in self.servers()]

    def renew(self, *, days: int = CA_DAYS) -> CertificateInfo:
        """Give the CA a new certificate for the same key. Clients with the old one go on until that one ends.

        Raises:
            UsageError: a change-over is under way, or the CA was made elsewhere.
        """
        state = self._settled()
        if state.mode == "bundled":
            raise UsageError("this CA comes from a bundle", hint="renew it where the bundle is built, and update")
        renewed = self.open().renew_self(days=days)
        # The issuer first: what it issues verifies for clients of the old certificate and of the new.
        self.files.write_certificate(self.files.issuer(state.generation, "crt"), renewed.chain_pem)
        self.files.write_trust(renewed.root_pem)
        return renewed.info

    def rotate(
        self,
        name: str | None = None,
        permitted: Iterable[str] | None = None,
        *,
        days: int = CA_DAYS,
        passphrase: bytes | None = None,
    ) -> CertificateInfo:
        """Make a successor with a new key, signed by the present CA, and begin the change-over.

        From now on it issues. Clients that trust only the old CA accept what it issues; `ca.crt` has both.

        Args:
            name: the successor's common name; by default `x CA` is followed by `x CA 2`.
            permitted: its constraints; by default the present ones.
            days, passphrase: as `create`.

        Raises:
            UsageError: a change-over is under way already, or the present CA may not sign another.
        """
        if self._settled().mode != "site":
            raise UsageError("only a CA that was made here has a successor here", hint="`airbundle ca csr --ca`")
        present = self.open()
        if permitted is None:
            permitted = [str(item) for each in present.constraints[:1] for item in (*each.dns, *each.networks)]
        base = re.sub(r" [0-9]+$", "", present.common_name)
        successor = create_ca(name or f"{base} {self._next()}", permitted, days=days)
        cross = present.cross_sign(successor).chain_pem
        self.add_generation("site", successor.chain_pem, successor.seal, passphrase, cross=cross)
        return successor.info

    def finish_rotation(self) -> CertificateInfo:
        """End the change-over: the old CA is no longer trusted, and its key is deleted.

        Raises:
            UsageError: none is under way.
        """
        state = self.state
        if not state.previous:
            raise UsageError("no change-over is under way", hint="`airbundle ca rotate` begins one")
        chain = load_chain(self.files.read(self.files.issuer(state.generation, "crt")), what="CA certificate")
        self.files.write_state(CaState(state.mode, state.generation))
        self.files.write_trust(to_pem(chain[-1:]))
        self.files.forget(
            self.files.issuer(state.generation, "cross.crt"),
            *(self.files.issuer(state.previous, kind) for kind in ("key", "passphrase", "crt", "cross.crt")),
        )
        return certificate_info(to_pem(chain[:1]))

    def add_generation(
        self,
        mode: str,
        chain: bytes,
        seal: Callable[[bytes, int], bytes],
        passphrase: bytes | None,
        *,
        cross: bytes | None = None,
    ) -> None:
        """Write the next generation and make it count. What clients trusted, they go on trusting.

        Args:
            mode: of the new generation.
            chain: issuing certificate up to the root, PEM.
            seal: gives the encrypted key for a passphrase and a number of rounds.
            passphrase: given by the operator; else one is made up and kept.
            cross: the chain by which clients of the generation before accept this one.
        """
        number = self._next()
        kept = self.files.issuer(number, "passphrase")
        self.files.make()
        self.files.forget(kept)  # of a run that was cut off
        word = self.files.new_passphrase(kept, passphrase)
        if cross is not None:
            self.files.write_certificate(self.files.issuer(number, "cross.crt"), cross)
        self._write_generation(mode, chain, seal(word, RANDOM_ROUNDS if passphrase is None else ROUNDS))

    def add_sealed(self, mode: str, chain: bytes, key: bytes, kept: bytes | None = None) -> None:
        """As `add_generation`, with a key that is encrypted already, and the file of its passphrase, if it is kept."""
        self.files.make()
        passphrase = self.files.issuer(self._next(), "passphrase")
        self.files.forget(passphrase)
        if kept is not None:
            self.files.write_key(passphrase, kept)
        self._write_generation(mode, chain, key)

    def _write_generation(self, mode: str, chain: bytes, key: bytes) -> None:
        before, number = self.files.state(), self._next()
        self.files.write_key(self.files.issuer(number, "key"), key)
        self.files.write_certificate(self.files.issuer(number, "crt"), chain)
        trusted = load_chain(chain, what="CA certificate")[-1:]
        if before is not None:
            trusted += load_chain(self.trust_pem, what="ca.crt")
        # More trust than needed harms less than a server that nobody trusts: ca.json comes last.
        self.files.write_trust(b"".join(dict.fromkeys(to_pem([each]) for each in trusted)))
        self.files.write_state(CaState(mode, number, before.generation if before else 0))

    def _next(self) -> int:
        state = self.files.state()
        return max(state.generation, state.previous) + 1 if state else 1

    def _passphrase_of(self, generation: int) -> Callable[[], bytes]:
        return self.files.passphrase(self.files.issuer(generation, "passphrase"), self._ask)

    def _settled(self) -> CaState:
        state = self.state
        if state.previous:
            raise UsageError("a change-over to a new CA is under way", hint="end it: `airbundle ca rotate --finish`")
        return state


def site_permitted(domain: str = "", names: Iterable[str] = ()) -> list[str]:
    """Return what a site's CA permits where its site file says nothing: domain, cluster services, private networks.

    Args:
        domain: the site's domain; may be empty.
        names: further names and addresses, such as this host's.
    """
    wanted = [*([domain] if domain else []), *names, *CLUSTER, *PRIVATE_NETWORKS]
    return list(dict.fromkeys(wanted))
