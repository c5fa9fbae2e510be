"""Programs in a bundle: what they are called, and for which machines they are."""

from __future__ import annotations

KIND = "tool"
TOOL_LIMIT = 512 * 1024 * 1024
"""Most bytes of a program."""
ARCHITECTURES = ("amd64", "arm64")
_MACHINES = {62: "amd64", 183: "arm64"}  # e_machine of the ELF specification
_NAMES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def architecture_of(head: bytes) -> str:
    """Return for which machines a program is, from its first 20 bytes or more; empty for what is no 64-bit ELF file."""
    if len(head) < 20 or head[:6] != b"\x7fELF\x02\x01":
        return ""
    return _MACHINES.get(int.from_bytes(head[18:20], "little"), "")


def architecture_here(machine: str) -> str:
    """Return the name of a machine's architecture, as `uname -m` has it; empty for others."""
    return _NAMES.get(machine.lower(), "")


def tool_ref(name: str, architecture: str, digest: str) -> str:
    """Return the full name of a program in a bundle."""
    return f"tool/{name}-{architecture}:{digest[7:19]}"
