"""What is told of a server's own words."""

from __future__ import annotations

import pytest

from airbundle.transfer.problems import Response, clean, said
from airbundle.transfer.wire import Headers, Url

SIGNED = "S1GNED%2F9f8e7d"
S3 = f"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does not match.</Message>
<SignatureProvided>{SIGNED}</SignatureProvided><StringToSign>GET /x?X-Amz-Signature={SIGNED}</StringToSign></Error>"""
URL = Url.parse("https://storage.example.test/x")


def test_of_a_blob_storages_refusal_only_code_and_message_are_told() -> None:
    words = said(Response(403, URL, Headers(), S3.encode()))
    assert words == "SignatureDoesNotMatch: The request signature we calculated does not match."
    assert said(Response(403, URL, Headers(), b"<Error><Other>x</Other></Error>")) == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f'Get "https://h.test/x?X-Amz-Signature={SIGNED}&b=c": 403', 'Get "https://h.test/x?…": 403'),
        ("proxyconnect https://carol:secret@p.test:3128/: refused", "proxyconnect https://…@p.test:3128/: refused"),
        ("what is this? a=b", "what is this? a=b"),
        ("denied: is team/app@sha256:00 yours?", "denied: is team/app@sha256:00 yours?"),
        ("one\x1b[2J\ntwo", "one [2J two"),
    ],
)
def test_secrets_in_urls_are_left_out(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_a_registrys_error_keeps_its_words() -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "no", "detail": {"url": "https://h.test/x?sig=abc"}}]}'
    words = said(Response(403, URL, Headers(), body))
    assert words.startswith("DENIED: no") and "abc" not in words
