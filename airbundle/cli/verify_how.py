"""The commands of first contact (docs/verify.md), for sites that have no documentation beside the bundle."""

from __future__ import annotations

COMMANDS = r"""
tar --occurrence=1 -xf "$B" airbundle/statement.json airbundle/signatures

awk 'NR==1 {print $2}' airbundle/signatures | base64 -d > airbundle/signature
openssl dgst -sha256 -verify "$KEY" -signature airbundle/signature airbundle/statement.json

tail -c "$(tr -d ' \n' < airbundle/statement.json | sed 's/.*"size":\([0-9]*\)},"digest":{"sha256":"[0-9a-f]*"},"name":"installer".*/\1/')" "$B" | sha256sum; grep -B3 '"name": "installer"' airbundle/statement.json | grep sha256
""".strip().split("\n\n")  # noqa: E501 - to be pasted as they are
"""Take statement and signatures out; verify the signature; prove the installer: as docs/verify.md prints them."""


def how(bundle: str, key: str) -> str:
    """Return the commands with their explanations.

    Args:
        bundle, key: their paths, quoted for a shell.
    """
    take, check, prove = COMMANDS
    return f"""\
# Prove a bundle with the host's own tools before anything of it runs. Have this page, and the key, from elsewhere than
# the bundle: a forged one would print other commands.
B={bundle}
KEY={key}

# 1. Take the statement and its signatures out of the head.
{take}

# 2. The release key has signed the statement: this must print "Verified OK". (NR==2 is the second signature, if any.)
{check}

# 3. The installer is the one that the statement names: the two digests that this prints must be the same.
{prove}

# Then the bundle may prove the rest of itself.
python3 "$B" verify --key "$KEY\""""
