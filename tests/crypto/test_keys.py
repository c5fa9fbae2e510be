from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from airbundle.crypto.keys import FileSigner, PublicKey, generate_key, load_public_key, load_signer
from airbundle.crypto.pkcs8 import encode_private_key
from airbundle.errors import UsageError

FAST_ROUNDS = 10


def secret() -> bytes:
    return b"correct horse"


def never() -> bytes:
    raise AssertionError("nobody should be asked for a passphrase")


def write_key(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def plain_pem(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    return write_key(tmp_path / "release.pem", encode_private_key(key, secret(), rounds=FAST_ROUNDS))


def test_generated_key_signs_and_openssl_agrees(tmp_path: Path) -> None:
    private, public = generate_key(secret())
    path = write_key(tmp_path / "k.pem", private)
    signer = load_signer(str(path), secret)
    assert signer.public_key.pem == public
    (tmp_path / "pub.pem").write_bytes(public)
    (tmp_path / "data").write_bytes(b"statement")
    (tmp_path / "sig").write_bytes(signer.sign(b"statement"))
    verify = ["openssl", "dgst", "-sha256", "-verify", "pub.pem", "-signature", "sig", "data"]
    done = subprocess.run(verify, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "Verified OK\n", done.stderr


def test_openssl_opens_the_generated_key_and_sees_its_strength(tmp_path: Path) -> None:
    private, public = generate_key(secret())
    path = write_key(tmp_path / "k.pem", private)
    out = subprocess.run(
        ["openssl", "pkey", "-in", path, "-passin", "pass:correct horse", "-pubout"],
        capture_output=True,
        check=True,
    )
    assert out.stdout == public
    shape = subprocess.run(["openssl", "asn1parse", "-in", path], capture_output=True, text=True, check=True).stdout
    assert "aes-256-cbc" in shape
    assert "hmacWithSHA256" in shape
    assert f"INTEGER           :{600_000:06X}" in shape


def test_reads_what_openssl_encrypted(tmp_path: Path) -> None:
    subprocess.run(
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes-128-cbc"
        " -pass 'pass:correct horse' -out k.pem",
        shell=True,
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    signer = load_signer(f"file:{tmp_path / 'k.pem'}", secret)
    assert signer.public_key.verify(signer.sign(b"x"), b"x")


def test_rfc6979_vectors() -> None:
    # RFC 6979 A.2.5, curve P-256, SHA-256.
    number = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
    signer = FileSigner(ec.derive_private_key(number, ec.SECP256R1()))
    assert decode_dss_signature(signer.sign(b"sample")) == (
        0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
        0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
    )
    assert decode_dss_signature(signer.sign(b"test")) == (
        0xF1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367,
        0x019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083,
    )


@settings(max_examples=30, deadline=None)
@given(data=st.binary(max_size=300), other=st.binary(max_size=300), flip=st.integers(min_value=0))
def test_signature_holds_for_its_data_only(data: bytes, other: bytes, flip: int) -> None:
    signer = FileSigner(_KEY)
    signature = signer.sign(data)
    assert signature == signer.sign(data)
    assert signer.public_key.verify(signature, data)
    assert signer.public_key.verify(signature, other) is (other == data)
    bit = flip % (8 * len(signature))
    damaged = bytearray(signature)
    damaged[bit // 8] ^= 1 << bit % 8
    assert not signer.public_key.verify(bytes(damaged), data)


_KEY = ec.generate_private_key(ec.SECP256R1())


@given(signature=st.binary(max_size=200))
def test_any_bytes_as_signature_are_just_wrong(signature: bytes) -> None:
    assert not PublicKey(_KEY.public_key()).verify(signature, b"data")


@pytest.mark.parametrize("form", ["{}", "file:{}", "file://{}", "file://localhost{}"])
def test_file_uris(key_file: Path, form: str) -> None:
    assert load_signer(form.format(key_file), secret).public_key


def test_a_path_with_a_colon_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_key(tmp_path / "team:release.pem", plain_pem(_KEY))
    assert load_signer("team:release.pem", never).public_key == PublicKey(_KEY.public_key())


@pytest.mark.parametrize("uri", ["pkcs11:token=x;object=y", "awskms:///alias/x", "gcpkms://p", "hashivault://k"])
def test_schemes_to_come_are_refused_with_the_door(uri: str) -> None:
    with pytest.raises(UsageError, match="not supported yet") as caught:
        load_signer(uri, never)
    assert "SCHEMES" in caught.value.hint


def test_unknown_schemes_name_the_known() -> None:
    with pytest.raises(UsageError, match=r"no such scheme; there are .*file:"):
        load_signer("s3://bucket/key", never)
    with pytest.raises(UsageError, match="names a host"):
        load_signer("file://elsewhere/key", never)


def test_wrong_passphrase(key_file: Path) -> None:
    with pytest.raises(UsageError, match="passphrase does not open") as caught:
        load_signer(str(key_file), lambda: b"hunter2")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(UsageError):
        load_signer(str(key_file), lambda: b"")


def test_plain_key_is_taken_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_key(tmp_path / "k.pem", plain_pem(_KEY))
    with caplog.at_level(logging.WARNING):
        load_signer(str(path), never)
    assert "is not encrypted" in caplog.text


def test_readable_key_file_gives_a_warning(key_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_signer(str(key_file), secret)
    assert "readable for others" not in caplog.text
    key_file.chmod(0o640)
    load_signer(str(key_file), secret)
    assert "readable for others than its owner (mode 0640)" in caplog.text


def test_other_kinds_of_keys_are_named(tmp_path: Path) -> None:
    for name, pem, found in (
        ("rsa", plain_pem(rsa.generate_private_key(65537, 2048)), "RSA"),
        ("p384", plain_pem(ec.generate_private_key(ec.SECP384R1())), "ECDSA secp384r1"),
    ):
        path = write_key(tmp_path / name, pem)
        with pytest.raises(UsageError, match=f"found {found}, expected ECDSA P-256"):
            load_signer(str(path), never)


def test_other_formats_are_named(tmp_path: Path) -> None:
    old = write_key(tmp_path / "old", plain_pem(_KEY, serialization.PrivateFormat.TraditionalOpenSSL))
    with pytest.raises(UsageError, match="found EC PRIVATE KEY") as caught:
        load_signer(str(old), never)
    assert "openssl pkcs8 -topk8" in caught.value.hint
    public = generate_key(b"x")[1]
    with pytest.raises(UsageError, match="found PUBLIC KEY") as caught:
        load_signer(str(write_key(tmp_path / "public", public)), never)
    assert "takes the private one" in caught.value.hint
    with pytest.raises(UsageError, match="found no PEM"):
        load_signer(str(write_key(tmp_path / "junk", b"\0junk")), never)
    whole = plain_pem(_KEY)
    with pytest.raises(UsageError, match="cut off"):
        load_signer(str(write_key(tmp_path / "cut", whole[:100])), never)
    inside = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    with pytest.raises(UsageError, match="no PKCS#8 private key inside"):
        load_signer(str(write_key(tmp_path / "inside", inside)), never)


def test_files_that_are_no_key_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file") as error:
        load_signer(str(tmp_path / "missing"), never)
    assert "key generate" in error.value.hint
    with pytest.raises(UsageError, match="no regular file"):
        load_signer(str(tmp_path), never)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match="no regular file"):
        load_signer(str(tmp_path / "fifo"), never)
    with pytest.raises(UsageError, match="more than 65536 bytes"):
        load_signer(str(write_key(tmp_path / "big", b"-" * 70_000)), never)


def test_empty_passphrase_is_refused_for_new_keys() -> None:
    with pytest.raises(UsageError, match="empty passphrase"):
        generate_key(b"")


def test_public_key_loading() -> None:
    key = PublicKey(_KEY.public_key())
    assert load_public_key(key.pem) == key
    assert len({load_public_key(key.pem), key}) == 1
    assert load_public_key(b"comment\n" + key.pem.replace(b"\n", b"\r\n")).pem == key.pem
    assert key.key_id.startswith("sha256:") and len(key.key_id) == 71
    with pytest.raises(UsageError, match="found PRIVATE KEY") as caught:
        load_public_key(plain_pem(_KEY), what="release.pem")
    assert "airbundle key public" in caught.value.hint
    with pytest.raises(UsageError, match="can be read"):
        load_public_key(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    other = rsa.generate_private_key(65537, 2048).public_key()
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    with pytest.raises(UsageError, match="found RSA, expected ECDSA P-256"):
        load_public_key(other.public_bytes(serialization.Encoding.PEM, spki))


def test_nothing_secret_in_repr() -> None:
    signer = FileSigner(_KEY)
    number = _KEY.private_numbers().private_value
    for text in (repr(signer), str(signer), repr(signer.public_key)):
        assert signer.public_key.key_id in text
        assert str(number) not in text
        assert f"{number:x}" not in text


@settings(max_examples=100, deadline=None)
@given(
    pem=st.binary(max_size=400)
    | st.builds(
        lambda label, body: b"-----BEGIN " + label + b"-----\n" + body + b"\n-----END " + label + b"-----\n",
        st.sampled_from([b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY", b"PUBLIC KEY"]),
        st.binary(max_size=200),
    )
)
def test_hostile_key_files_end_in_our_errors(pem: bytes) -> None:
    from airbundle.crypto.pkcs8 import decode_private_key

    with pytest.raises(UsageError):
        decode_private_key(pem, secret, what="key")
    with pytest.raises(UsageError):
        load_public_key(pem)
