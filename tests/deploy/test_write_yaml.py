"""What is written reads back the same, by readers of YAML 1.1 and 1.2."""

from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from airbundle.deploy.write_yaml import write_documents

SCALARS = st.text(max_size=40) | st.booleans() | st.integers() | st.none()
BODIES = st.dictionaries(st.text(min_size=1, max_size=20), SCALARS | st.lists(SCALARS, max_size=3), max_size=5)


@given(st.lists(BODIES, max_size=3))
def test_reads_back(bodies: list[dict[str, object]]) -> None:
    assert list(yaml.safe_load_all(write_documents(bodies))) == bodies


def test_numbers_and_words_of_other_readers_are_quoted() -> None:
    odd = ["1e3", "0o17", "y", "n", "~", ".inf", "null", "Yes", "12:30:00", "0x1f", ""]
    text = write_documents([{"odd": odd, "plain": "Deployment", "path": "/var/lib", "lines": "a\nb\n"}]).decode()
    assert [line for line in text.splitlines() if line.startswith("- ")] == [
        f"- '{each}'" if each in ("null", "Yes") else f'- "{each}"' for each in odd
    ]
    assert "plain: Deployment\npath: /var/lib\nlines: |\n  a\n  b\n" in text


def test_nothing_refers_to_another_place() -> None:
    shared = {"a": ["b"]}
    assert b"&" not in write_documents([{"one": shared, "two": shared}])
