from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.clamav import (
    HEADER_SIZE,
    CvdHeader,
    check_header,
    check_patch,
    dns_text,
    find_info,
    parse_header,
    parse_name,
)
from airbundle.bundle.clamav_artifact import ClamavFile, clamav_artifacts
from airbundle.bundle.clamsign import parse_sign
from airbundle.bundle.oci import parse_manifest
from airbundle.errors import VerificationError
from tests.support.clamav import make_cdiff, make_cvd, make_sign

TIME = datetime(2026, 11, 20, 9, 30, tzinfo=timezone.utc)
# The form of a real header (daily of 2023), with the signature shortened.
REAL = (
    b"ClamAV-VDB:07 Nov 2023 03-37 -0500:27085:2041487:90:1bf19d0b0a1a0d7d2b7d4d0b9c2b3a1f:"
    b"eFX0EsAAcMDXkUYe7yGDgvvvJU:raynman:1699346229"
).ljust(HEADER_SIZE)


def test_reads_a_header() -> None:
    header = parse_header(REAL, what="daily.cvd")
    assert (header.version, header.signatures, header.level, header.builder) == (27085, 2041487, 90, "raynman")
    assert header.time == datetime(2023, 11, 7, 8, 37, 9, tzinfo=timezone.utc)
    assert header.is_signed


def test_old_headers_tell_their_time_in_words_only() -> None:
    old = REAL.rstrip().rpartition(b":")[0].ljust(HEADER_SIZE)
    assert parse_header(old, what="x").time == datetime(2023, 11, 7, 8, 37, tzinfo=timezone.utc)


def test_a_week_is_stale() -> None:
    header = parse_header(make_cvd("daily", 1, TIME), what="x")
    assert not header.is_stale(TIME + timedelta(days=7))
    assert header.is_stale(TIME + timedelta(days=7, seconds=1))


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (REAL[:100], "found 100 bytes, expected a CVD header of 512"),
        (b"\xff" * 512, "no CVD header, which is ASCII"),
        (b"<html>".ljust(512), "found '<html>', expected ClamAV-VDB:time:"),
        (REAL.replace(b"27085", b"2708x"), "the version is '2708x', expected a number"),
        (REAL.replace(b"1bf19d", b"xxxxxx"), "the MD5 is 'xxxxxx"),
        (REAL.replace(b"1699346229", b"today     "), "the build time is 'today', expected a time"),
        (REAL.replace(b":1699346229", b"           ").replace(b"Nov", b"Foo"), "the build time is '07 Foo 2023"),
        (REAL.replace(b":1699346229", b"           ").replace(b"07 Nov", b"31 Nov"), "the build time is '31 Nov"),
    ],
)
def test_refuses_headers(raw: bytes, words: str) -> None:
    with pytest.raises(VerificationError, match=r"^x: ") as caught:
        parse_header(raw, what="x")
    assert words in str(caught.value)


@given(
    st.binary(min_size=HEADER_SIZE, max_size=HEADER_SIZE) | st.text(max_size=80).map(lambda t: t.encode().ljust(512))
)
def test_any_header_is_read_or_refused(raw: bytes) -> None:
    for candidate in (raw, b"ClamAV-VDB:" + raw):
        try:
            parse_header(candidate, what="x")
        except VerificationError:
            pass


def info_of(raw: bytes, family: str = "daily") -> CvdHeader:
    return find_info(io.BytesIO(raw[HEADER_SIZE:]), family, what="x")


@pytest.mark.parametrize("plain", [False, True])
def test_the_header_is_compared_with_its_copy_inside(plain: bool) -> None:
    raw = make_cvd("daily", 27001, TIME, plain=plain)
    check_header(parse_header(raw, what="x"), info_of(raw), what="x")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("version", "27002", "the header's version is 27002, inside it is 27001"),
        ("signatures", "5", "number of signatures is 5, inside it is 1"),
        ("level", "91", "functionality level is 91"),
        ("seconds", "1", "build time is 1970"),
        ("builder", "mallory", "builder is mallory"),
        ("time", "21 Nov 2026 09-30 +0000", "time in words is 21 Nov"),
    ],
)
def test_an_altered_header_is_found(name: str, value: str, words: str) -> None:
    raw = make_cvd("daily", 27001, TIME, header={name: value})
    with pytest.raises(VerificationError, match=words):
        check_header(parse_header(raw, what="x"), info_of(raw), what="x")


def test_a_database_without_info_or_of_another_name_is_refused() -> None:
    with pytest.raises(VerificationError, match=r"main\.info is not inside"):
        info_of(make_cvd("daily", 1, TIME), "main")


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_damaged_inside_is_read_or_refused(position: int, flip: int) -> None:
    raw = bytearray(make_cvd("daily", 1, TIME))
    place = HEADER_SIZE + position % (len(raw) - HEADER_SIZE)
    raw[place] ^= flip
    try:
        info_of(bytes(raw))
    except VerificationError:
        pass


def test_a_gzip_bomb_ends() -> None:
    import gzip

    bomb = bytes(HEADER_SIZE) + gzip.compress(bytes(64 << 20), mtime=0)
    with pytest.raises(VerificationError):
        info_of(bomb)


@pytest.mark.parametrize(
    ("name", "kind", "family", "version"),
    [
        ("daily.cvd", "database", "daily", 0),
        ("main.cld", "database", "main", 0),
        ("daily-27001.cdiff", "patch", "daily", 27001),
        ("daily-27001.cvd.sign", "signature", "daily", 27001),
        ("daily-27001.cdiff.sign", "signature", "daily", 27001),
        ("own.ndb", "custom", "custom", 0),
        ("rules-2.yara", "custom", "custom", 0),
        ("a.ign2", "custom", "custom", 0),
    ],
)
def test_names(name: str, kind: str, family: str, version: int) -> None:
    parsed = parse_name(name)
    assert parsed is not None
    assert (parsed.kind, parsed.family, parsed.version) == (kind, family, version)


@pytest.mark.parametrize(
    "name", ["freshclam.dat", "dns.txt", ".x.ndb", "a/b.ndb", "x.exe", "daily-x.cdiff", "daily.cvd.sign", "", "ndb"]
)
def test_names_that_mean_nothing(name: str) -> None:
    assert parse_name(name) is None


def test_what_a_signature_is_over() -> None:
    for name, signed in (("daily-27001.cvd.sign", "daily.cvd"), ("daily-27001.cdiff.sign", "daily-27001.cdiff")):
        parsed = parse_name(name)
        assert parsed is not None
        assert parsed.signed_name == signed


def test_patches() -> None:
    name = parse_name("daily-27001.cdiff")
    assert name is not None
    check_patch(make_cdiff(27001), name)
    with pytest.raises(VerificationError, match="the patch is for version 27002, expected 27001"):
        check_patch(make_cdiff(27002), name)
    with pytest.raises(VerificationError, match="no patch: found b'<html>'"):
        check_patch(b"<html>", name)


def test_dns_text_has_versions_by_position() -> None:
    text = dns_text({"main": 62, "daily": 27001, "bytecode": 335}, time=TIME)
    fields = text.split(":")
    assert (fields[1], fields[2], fields[7]) == ("62", "27001", "335")
    assert fields[3] == str(int(TIME.timestamp()))
    assert len(fields) == 8


def test_dns_text_of_what_is_not_there() -> None:
    assert dns_text({"daily": 5}, time=TIME).split(":")[1] == "0"


def test_a_signature_vouches_for_bytes() -> None:
    (vouched,) = parse_sign(make_sign(b"hello"), what="x")
    assert vouched.algorithm == "sha512"
    assert vouched.digest == hashlib.sha512(b"hello").hexdigest()


def test_several_signatures_comments_and_forms_to_come() -> None:
    sign = make_sign(b"hello")
    raw = sign + b"\n# once more\n" + sign.splitlines()[1] + b"\n300:400:newer-form:AAAA\n"
    assert len(parse_sign(raw, what="x")) == 2


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "no signature file"),
        (b"<html>", "no signature file: found b'<html>'"),
        (b"#clamsign-1.0\n", "it holds no signature"),
        (b"#clamsign-1.0\nxx\n", "found b'xx', expected level:"),
        (b"#clamsign-1.0\n230::pkcs7-pem:AAA\n", "the signature is no CMS"),
        (b"#clamsign-1.0\n230::pkcs7-pem:MAA=\n", "the signature is no CMS: contentType is missing"),
        (b"#clamsign-1.0\n" + b" " * (1 << 20), "no signature file"),
    ],
)
def test_refuses_signatures(raw: bytes, words: str) -> None:
    with pytest.raises(VerificationError) as caught:
        parse_sign(raw, what="x")
    assert words in str(caught.value)


SIGN = make_sign(b"hello")


@given(st.integers(0, len(SIGN) - 1), st.integers(1, 255))
def test_a_damaged_signature_is_read_or_refused(position: int, flip: int) -> None:
    raw = bytearray(SIGN)
    raw[position] ^= flip
    try:
        parse_sign(bytes(raw), what="x")
    except VerificationError:
        pass


def files() -> list[ClamavFile]:
    header = parse_header(make_cvd("daily", 27001, TIME, signatures=3), what="x")
    digests = ["sha256:" + letter * 64 for letter in "abcd"]
    return [
        ClamavFile("daily-27001.cdiff", Path("/x"), 5, digests[1], "daily"),
        ClamavFile("daily.cvd", Path("/x"), 10, digests[0], "daily", header),
        ClamavFile("own.ndb", Path("/x"), 7, digests[2], "custom"),
        ClamavFile("main.cvd", Path("/x"), 9, digests[3], "main", replace(header, version=62)),
    ]


def test_one_artifact_per_family() -> None:
    custom, daily, main = clamav_artifacts(files())
    assert (daily.ref, main.ref) == ("clamav/daily:27001", "clamav/main:62")
    assert custom.ref.startswith("clamav/custom:")
    assert daily.info == {
        "name": "daily",
        "version": "27001",
        "time": "2026-11-20T09:30:00Z",
        "signatures": "3",
        "level": "90",
        "files": "2",
    }


def test_the_manifest_names_each_file_and_its_time() -> None:
    _, daily, _ = clamav_artifacts(files())
    manifest = parse_manifest(daily.manifest, daily.descriptor.media_type, what="daily")
    assert manifest.artifact_type == "application/vnd.airbundle.clamav.v1"
    assert [(layer.annotations["org.opencontainers.image.title"], layer.size) for layer in manifest.layers] == [
        ("daily.cvd", 10),
        ("daily-27001.cdiff", 5),
    ]
    assert manifest.layers[0].annotations["org.opencontainers.image.created"] == "2026-11-20T09:30:00Z"
    assert daily.descriptor.digest == "sha256:" + hashlib.sha256(daily.manifest).hexdigest()
    assert [file.name for file in daily.files] == ["daily.cvd", "daily-27001.cdiff"]


def test_equal_files_give_equal_bytes_wherever_they_lie() -> None:
    moved = [replace(file, path=Path("/elsewhere")) for file in reversed(files())]
    assert [each.manifest for each in clamav_artifacts(moved)] == [each.manifest for each in clamav_artifacts(files())]
