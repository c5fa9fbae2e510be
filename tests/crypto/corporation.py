"""Another organisation's CA, made and run with openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Corporation:
    """RSA root and intermediate of another organisation, run with openssl."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        root = "-keyout root.key -out root.crt -subj /CN=Corporate.Root -addext keyUsage=critical,keyCertSign"
        self._openssl(f"req -x509 -newkey rsa:2048 -nodes -days 30 {root}")
        self._openssl("req -newkey rsa:2048 -nodes -keyout mid.key -out mid.csr -subj /CN=Corporate.Issuing")
        (directory / "mid.ext").write_text(
            "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n"
        )
        self._openssl("x509 -req -in mid.csr -CA root.crt -CAkey root.key -extfile mid.ext -days 20 -out mid.crt")

    @property
    def root(self) -> bytes:
        return (self.directory / "root.crt").read_bytes()

    @property
    def above(self) -> bytes:
        return (self.directory / "mid.crt").read_bytes() + self.root

    def sign(self, csr: bytes, *, extensions: str = "", copy: bool = True, days: int = 10) -> bytes:
        (self.directory / "in.csr").write_bytes(csr)
        (self.directory / "in.ext").write_text(extensions)
        how = "-copy_extensions copyall" if copy else "-extfile in.ext"
        self._openssl(f"x509 -req -in in.csr -CA mid.crt -CAkey mid.key {how} -days {days} -out out.crt")
        return (self.directory / "out.crt").read_bytes()

    def _openssl(self, arguments: str) -> None:
        command = ["openssl", *arguments.split()]
        subprocess.run(command, cwd=self.directory, check=True, capture_output=True)
