from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.redaction import LINE_LIMIT, is_secret_name, redact_text, redact_value
from airbundle.crypto.keys import generate_key

PRIVATE, PUBLIC = (pem.decode() for pem in generate_key(b"secret"))
PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))
SECRET: st.SearchStrategy[str] = st.text(PRINTABLE, min_size=8, max_size=40).filter(lambda text: text[0] not in "\"'")
URL_SAFE = st.text("abcXYZ0189-_~!$&'()*+,;=:@%.", min_size=8, max_size=40)
SENTENCE: st.SearchStrategy[str] = st.text(PRINTABLE + " ", min_size=8, max_size=40).filter(
    lambda text: text.strip() == text and text[0] not in "\"'"
)
NAMES = st.sampled_from(
    (
        *("password", "PASSWORD", "db_password", "registryPassword", "passphrase", "AIRBUNDLE_KEY_PASSPHRASE", "token"),
        *("accessToken", "identitytoken", "client_secret", "auth", "registryAuth", "apiKey", "access-key", "cookie"),
        *("credentials", "pwd", "AWS_SECRET_ACCESS_KEY"),
    )
)


def hidden(text: str, secret: str) -> None:
    """Check that no part of a secret of 5 characters, which nothing else has, is left."""
    shown = redact_text(text)
    parts = {secret[at : at + 5] for at in range(len(secret) - 4)}
    left = [part for part in parts if part in shown and part not in text.replace(secret, "")]
    assert not left, (text, shown)
    assert redact_text(shown) == shown


@given(NAMES, SENTENCE, st.sampled_from(["{}={}", "{}: {}", "  {} = {}", "x=1 {}={}", "level=info {}: {}", "{}=>{}"]))
def test_values_whose_name_says_so(name: str, secret: str, form: str) -> None:
    hidden(form.format(name, secret), secret)


@given(NAMES, st.text(min_size=8).filter(lambda text: len(set(text)) > 2), st.booleans())
def test_json(name: str, secret: str, indented: bool) -> None:
    before = {"first": "1", name: secret, "z": {"list": [{name: [secret], "more": 2}]}}
    shown = redact_text(json.dumps(before, indent=2 if indented else None))
    whole = json.dumps(secret)[1:-1]
    assert whole not in shown
    assert '"first": "1"' in shown
    after = redact_value(before)
    assert after == {"first": "1", name: "…", "z": {"list": [{name: "…", "more": 2}]}}


@given(NAMES, SECRET)
def test_json_inside_json(name: str, secret: str) -> None:
    hidden(json.dumps({"log": json.dumps({name: secret})}), json.dumps(secret)[1:-1])
    assert secret not in str(redact_value({"log": json.dumps({name: secret})}))


@given(SECRET, st.sampled_from(["--password", "--client-secret", "--token", "--registry-password"]))
def test_command_lines(secret: str, flag: str) -> None:
    hidden(f"helm pull x {flag} {secret} --version 1", secret)
    hidden(f"helm pull x {flag}={secret}", secret)
    hidden(f"docker login -u carol -p {secret} host", secret)
    assert redact_value(["helm", flag, secret, "--version", "1"]) == ["helm", flag, "…", "--version", "1"]


@given(
    URL_SAFE,
    st.sampled_from(
        ["https://carol:{}@h.example/x", "see 'oci://{}@h:5000/a' or", "carol:{}@h/x", "a=http://u:{}@h,b"]
    ),
)
def test_users_and_passwords_in_urls(secret: str, form: str) -> None:
    text = form.format(secret)
    hidden(text, secret)
    assert "@h" in redact_text(text)


@given(SECRET)
def test_slashes_in_a_password_do_not_end_it(secret: str) -> None:
    plain = "".join(secret.split("@"))
    if not set(plain) & set('"<>'):
        hidden(f"https://carol:{plain}/{plain}@host/x", plain)


@given(SECRET, st.sampled_from(["X-Amz-Signature", "sig", "token", "x"]))
def test_queries(secret: str, name: str) -> None:
    text = f'1.2.3.4 "GET /v2/a/blobs/x?ns=docker.io&{name}={quote(secret, safe="")} HTTP/1.1" 307'
    hidden(text, quote(secret, safe=""))
    assert redact_text(text).startswith('1.2.3.4 "GET /v2/a/blobs/x?…')


@given(
    st.binary(min_size=12, max_size=200),
    st.sampled_from(
        [
            "Authorization: Basic {}",
            "authorization: {}",
            '"Authorization": ["Bearer {}"]',
            "('authorization', 'Digest {}')",
            "> Proxy-Authorization: Basic {}",
            "Set-Cookie: session={}; Path=/",
            "X-Registry-Auth: {}",
            "sent Bearer {} to it",
            "X-Amz-Security-Token={}",
        ]
    ),
)
def test_headers_that_log_in(raw: bytes, form: str) -> None:
    secret = base64.b64encode(raw).decode()
    hidden(form.format(secret), secret)


@given(st.text("abcdefghijklmnop0123456789", min_size=20, max_size=60))
def test_tokens_known_by_their_form(body: str) -> None:
    for token in (f"eyJhbGciOi.{body}.{body}", f"ghp_{body}", f"glpat-{body}", f"hvs.{body}"):
        hidden(f"got {token} from the server", body)


@given(st.integers(0, 2), st.integers(0, 3), st.sampled_from(["", "2026-11-21 server: ", "  "]))
def test_private_keys(first: int, last: int, lead: str) -> None:
    """Whole ones, and such as the text begins or ends in."""
    lines = PRIVATE.strip().split("\n")
    for pem in (lines, [line.replace("ENCRYPTED ", "RSA ") for line in lines]):
        cut = pem[first : len(pem) - last]
        if first and last:
            continue  # nobody can know what it was
        text = "\n".join(["before", *(cut if first else [lead + line for line in cut]), *(["after"] * (not last))])
        shown = redact_text(text)
        assert not [line for line in lines[1:-1] if line in shown]
        assert "before" in shown or first
    one = json.dumps({"x": PRIVATE, "y": "kept"})
    assert lines[1] not in redact_text(one) and "kept" in redact_text(one)
    assert redact_value({"x": PRIVATE})["x"].strip() == "…"


def test_blocks_of_yaml() -> None:
    text = "configs:\n  h:5000:\n    auth:\n      username: carol\n      x: S3cret\n    tls:\n      ca_file: /a\n"
    shown = redact_text(text)
    assert "carol" not in shown and "S3cret" not in shown
    assert "h:5000" in shown and "ca_file: /a" in shown
    assert "S3cret" not in redact_text("password: |\n  S3cret\n\n  S3cret\nnext: 1") != ""
    assert redact_text("password: |\n  S3cret\nnext: 1").endswith("\nnext: 1")


KEPT = (
    "docker.io/library/redis:7.2@sha256:" + "1" * 64,
    "docker://registry.site:5000/docker.io/library/redis@sha256:" + "1" * 64,
    "2026-11-21T12:00:00Z step copy done: /var/lib/airbundle/bundles/x.airbundle, 123 bytes",
    "the passphrase of the CA's key is not kept here",
    "--passphrase-file /root/word --ca-passphrase-file /x",
    "keyid sha256:" + "2" * 64,
    "tlsKey: /var/lib/airbundle/ca/servers/registry.key",
    "git@example.org:team/app",
    "Traceback (most recent call last):",
    "authority=registry.example",
    "GET /v2/ 200 in 3 ms",
)


@pytest.mark.parametrize("text", [*KEPT, pytest.param(PUBLIC, id="public key")])
def test_what_helps_stays(text: str) -> None:
    assert redact_text(text) == text
    assert redact_value({"a": [text, 1, None, True]}) == {"a": [text, 1, None, True]}


@given(st.text())
def test_any_text(text: str) -> None:
    shown = redact_text(text)
    assert redact_text(shown) == shown
    assert len(shown.split("\n")) <= len(text.split("\n"))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_value(value: object) -> None:
    json.dumps(redact_value(value))


def test_a_secret_that_a_long_line_cuts_is_not_told_in_part() -> None:
    for lead in range(LINE_LIMIT - 60, LINE_LIMIT + 5):
        shown = redact_text("x" * 100 + " " * (lead - 100) + "https://carol:S3cretS3cret@host/x and more")
        assert "S3c" not in shown


@pytest.mark.parametrize(
    "unit", ["://", "password=", "a@", "?a=", "-----BEGIN PRIVATE KEY-----", "eyJ", "x", " -p ", "A\n"]
)
def test_hostile_texts_come_to_an_end(unit: str) -> None:
    """What is quadratic in the length of a line would take minutes."""
    shown = redact_text(unit * (200_000 // len(unit)))
    assert len(shown) < 500_000


def test_numbers_and_depth() -> None:
    assert redact_value({"token": 1234, "secret": None, "password": "", "auth": True}) == {
        "token": "…",
        "secret": None,
        "password": "",
        "auth": True,
    }
    deep: list[object] = []
    for _ in range(2000):
        deep = [deep]
    assert "…" in str(redact_value(deep))


def test_names() -> None:
    assert all(map(is_secret_name, ("auth", "registryAuth", "X_TOKEN", "passwd", "private_key", "apiKey")))
    assert not any(map(is_secret_name, ("authority", "tlsKey", "keyid", "passphrase-file", "tokenHosts", "compass")))
