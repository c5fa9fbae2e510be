from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.transfer.challenges import Challenge, parse_challenges


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Basic", [("basic", {})]),
        ('Basic realm="x y"', [("basic", {"realm": "x y"})]),
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        ('bearer  Realm = "x" , Error=insufficient_scope', [("bearer", {"realm": "x", "error": "insufficient_scope"})]),
        ("Bearer realm=https://h/token,service=s", [("bearer", {"realm": "https://h/token", "service": "s"})]),
        (
            'Negotiate, Basic realm="x", Bearer realm="y"',
            [("negotiate", {}), ("basic", {"realm": "x"}), ("bearer", {"realm": "y"})],
        ),
        ('Negotiate YIIJ/w==, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        (r'Basic realm="a\"b\\c"', [("basic", {"realm": 'a"b\\c'})]),
        ('Basic realm="open', [("basic", {})]),
        ("", []),
        (",,,", []),
        ('"', []),
    ],
)
def test_parse(value: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    found = [(challenge.scheme, dict(challenge.parameters)) for challenge in parse_challenges([value])]
    assert found[: len(expected)] == expected


def test_several_headers() -> None:
    found = parse_challenges(['Bearer realm="a"', 'Basic realm="b"'])
    assert [challenge.scheme for challenge in found] == ["bearer", "basic"]


@given(st.text(max_size=200))
def test_never_fails(text: str) -> None:
    for challenge in parse_challenges([text]):
        assert challenge.scheme == challenge.scheme.lower()


def test_long_input_is_cut_and_quick() -> None:
    parse_challenges(["a" * 1_000_000, "a=" * 10_000, 'x y="' + "\\" * 50_000, "a, " * 30_000])


TOKEN = st.from_regex(r"[a-z][a-z0-9_-]{0,10}", fullmatch=True)
VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


@given(st.lists(st.tuples(TOKEN, st.dictionaries(TOKEN, VALUE, min_size=1, max_size=4)), max_size=3))
def test_round_trip(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    text = ", ".join(
        f"{scheme} " + ", ".join(f"{name}={quoted(value)}" for name, value in parameters.items())
        for scheme, parameters in challenges
    )
    assert parse_challenges([text]) == [Challenge(scheme, parameters) for scheme, parameters in challenges]
