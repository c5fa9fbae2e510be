from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.cosign import (
    SIGN_PREDICATE,
    SIGNATURE_ANNOTATION,
    SIGSTORE_BUNDLE,
    LegacySignatures,
    SignatureArtifact,
    pre_authentication,
    sign_image,
)
from airbundle.bundle.digest import sha256
from airbundle.bundle.oci import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    artifact_manifest,
    canonical_json,
    parse_manifest,
)
from airbundle.crypto.keys import FileSigner, load_signer
from airbundle.errors import UsageError, VerificationError
from tests.support.cosign import MISSING, cosigns
from tests.support.registries import Registry

KEY = ec.derive_private_key(0xA1B2C3D4E5F60718, ec.SECP256R1())
SIGNER = FileSigner(KEY)
SUBJECT = Descriptor(OCI_INDEX, "sha256:" + "ab" * 32, 1234)
NAME = "docker.io/library/redis:7.2"


def forms(*, signer: FileSigner = SIGNER) -> tuple[SignatureArtifact, SignatureArtifact]:
    legacy, referrer = sign_image(signer, NAME, SUBJECT)
    return legacy, referrer


def openssl_verifies(directory: Path, signature: bytes, data: bytes, signer: FileSigner = SIGNER) -> bool:
    (directory / "pub.pem").write_bytes(signer.public_key.pem)
    (directory / "sig").write_bytes(signature)
    (directory / "data").write_bytes(data)
    command = ["openssl", "dgst", "-sha256", "-verify", "pub.pem", "-signature", "sig", "data"]
    return subprocess.run(command, cwd=directory, capture_output=True, check=False).stdout == b"Verified OK\n"


def test_every_descriptor_fits_its_bytes() -> None:
    for artifact in forms():
        assert artifact.manifest.digest == sha256(artifact.raw)
        assert artifact.manifest.size == len(artifact.raw)
        manifest = parse_manifest(artifact.raw, artifact.manifest.media_type, what="signature")
        assert {blob.digest for blob in manifest.blobs} == set(artifact.blobs)
        for blob in manifest.blobs:
            assert sha256(artifact.blobs[blob.digest]) == blob.digest
            assert len(artifact.blobs[blob.digest]) == blob.size


def test_equal_input_gives_equal_bytes() -> None:
    assert forms() == forms()
    another = forms(signer=FileSigner(ec.derive_private_key(7, ec.SECP256R1())))
    assert another[0].raw != forms()[0].raw


def test_legacy_form_by_hand(tmp_path: Path) -> None:
    legacy, _ = forms()
    assert legacy.tag == "sha256-" + "ab" * 32 + ".sig"
    assert legacy.ref_suffix == f":{legacy.tag}"
    (layer,) = parse_manifest(legacy.raw, what="x").layers
    payload = legacy.blobs[layer.digest]
    # Byte for byte what cosign itself writes.
    assert payload == (
        b'{"critical":{"identity":{"docker-reference":"docker.io/library/redis:7.2"},'
        b'"image":{"docker-manifest-digest":"sha256:' + b"ab" * 32 + b'"},'
        b'"type":"cosign container image signature"},"optional":null}'
    )
    assert layer.media_type == "application/vnd.dev.cosign.simplesigning.v1+json"
    assert openssl_verifies(tmp_path, base64.b64decode(layer.annotations[SIGNATURE_ANNOTATION]), payload)
    config = json.loads(legacy.blobs[_config(legacy)])
    assert config["rootfs"] == {"type": "layers", "diff_ids": [layer.digest]}


def test_referrer_form_by_hand(tmp_path: Path) -> None:
    _, referrer = forms()
    assert referrer.tag is None
    assert referrer.ref_suffix == f"@{referrer.manifest.digest}"
    assert referrer.manifest.artifact_type == SIGSTORE_BUNDLE
    manifest = parse_manifest(referrer.raw, what="x")
    assert manifest.subject == SUBJECT
    assert manifest.artifact_type == SIGSTORE_BUNDLE
    assert manifest.annotations["dev.sigstore.bundle.predicateType"] == SIGN_PREDICATE
    bundle = json.loads(referrer.blobs[manifest.layers[0].digest])
    envelope = bundle["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    signed = b"DSSEv1 28 application/vnd.in-toto+json " + str(len(payload)).encode() + b" " + payload
    assert openssl_verifies(tmp_path, base64.b64decode(envelope["signatures"][0]["sig"]), signed)
    statement = json.loads(payload)
    assert statement["subject"] == [{"digest": {"sha256": "ab" * 32}}]
    assert statement["predicateType"] == SIGN_PREDICATE
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "DER"], input=SIGNER.public_key.pem, capture_output=True, check=True
    ).stdout
    hint = bundle["verificationMaterial"]["publicKey"]["hint"]
    assert base64.b64decode(hint) == hashlib.sha256(der).digest()


@given(kind=st.text(max_size=30), payload=st.binary(max_size=100))
def test_pre_authentication_is_as_the_spec_says(kind: str, payload: bytes) -> None:
    encoded = kind.encode()
    words = [b"DSSEv1", str(len(encoded)).encode(), encoded, str(len(payload)).encode(), payload]
    assert pre_authentication(kind, payload) == b" ".join(words)


def test_ours_is_appended_to_upstreams_signatures() -> None:
    theirs = sign_image(FileSigner(ec.derive_private_key(7, ec.SECP256R1())), "up.example/redis", SUBJECT)[0]
    upstream = LegacySignatures(theirs.raw, theirs.blobs[_config(theirs)])
    merged = sign_image(SIGNER, NAME, SUBJECT, upstream=upstream)[0]
    alone = forms()[0]
    layers = parse_manifest(merged.raw, what="x").layers
    their_layers, own_layers = (parse_manifest(a.raw, what="x").layers for a in (theirs, alone))
    assert layers == their_layers + own_layers
    assert [layer.annotations for layer in layers] == [layer.annotations for layer in their_layers + own_layers]
    diff_ids = json.loads(merged.blobs[_config(merged)])["rootfs"]["diff_ids"]
    assert diff_ids == [layer.digest for layer in layers]


@pytest.mark.parametrize("config", [b"{}", b"[]", b"null", b'{"rootfs":{"diff_ids":[]}}', b"not json"])
def test_upstream_signatures_that_are_none(config: bytes) -> None:
    with pytest.raises(VerificationError, match="upstream's signatures"):
        sign_image(SIGNER, NAME, SUBJECT, upstream=LegacySignatures(forms()[0].raw, config))


def _config(artifact: SignatureArtifact) -> str:
    config = parse_manifest(artifact.raw, what="signature").config
    assert config is not None
    return config.digest


# Against real verifiers and a real registry.


class Pusher:
    """Pushes by plain HTTP, so that no client of ours stands between the signature and the verifier."""

    def __init__(self, registry: Registry, repository: str) -> None:
        self.repository = repository
        self.name = f"{registry.host}/{repository}"
        self._http = httpx.Client(base_url=f"{registry.url}/v2/{repository}", trust_env=False)

    def blobs(self, blobs: Mapping[str, bytes]) -> None:
        for digest, data in blobs.items():
            location = self._http.post("/blobs/uploads/").raise_for_status().headers["Location"]
            mark = "&" if "?" in location else "?"
            self._http.put(f"{location}{mark}digest={digest}", content=data).raise_for_status()

    def manifest(self, raw: bytes, media_type: str, reference: str) -> None:
        headers = {"Content-Type": media_type}
        self._http.put(f"/manifests/{reference}", content=raw, headers=headers).raise_for_status()

    def image(self) -> Descriptor:
        layer = b"\x1f\x8b" + self.repository.encode()
        config = canonical_json({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}})
        self.blobs({sha256(layer): layer, sha256(config): config})
        raw = artifact_manifest(
            "",
            (Descriptor(f"{OCI_LAYER}+gzip", sha256(layer), len(layer)),),
            config=Descriptor(OCI_CONFIG, sha256(config), len(config)),
        )
        self.manifest(raw, OCI_MANIFEST, "1.0")
        return Descriptor(OCI_MANIFEST, sha256(raw), len(raw))

    def signature(self, artifact: SignatureArtifact, subject: Descriptor) -> None:
        self.blobs(artifact.blobs)
        self.manifest(artifact.raw, artifact.manifest.media_type, artifact.tag or artifact.manifest.digest)
        if artifact.tag is None:  # registry:2 has no referrers API: distribution spec, "referrers tag schema"
            index: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX}
            index["manifests"] = [artifact.manifest.to_json()]
            self.manifest(canonical_json(index), OCI_INDEX, subject.digest.replace(":", "-"))


def push_signed(registry: Registry, repository: str, *, legacy: bool, referrer: bool) -> str:
    pusher = Pusher(registry, repository)
    subject = pusher.image()
    name = f"{pusher.name}:1.0"
    for artifact, wanted in zip(sign_image(SIGNER, name, subject), (legacy, referrer)):
        if wanted:
            pusher.signature(artifact, subject)
    return name


# What a site trusts of Sigstore's own services: nothing. cosign 2.6 insists on being told, cosign 3 does not.
NO_ROOTS = b'{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'


@pytest.mark.parametrize("cosign", cosigns() or [pytest.param(None, marks=pytest.mark.skip(reason=MISSING))], ids=str)
@pytest.mark.parametrize(("legacy", "referrer"), [(True, False), (False, True), (True, True)])
def test_cosign_verifies(plain_registry: Registry, tmp_path: Path, cosign: Path, legacy: bool, referrer: bool) -> None:
    repository = f"cosign/{cosign.name}-{legacy}-{referrer}".lower()
    name = push_signed(plain_registry, repository, legacy=legacy, referrer=referrer)
    (tmp_path / "roots.json").write_bytes(NO_ROOTS)
    (tmp_path / "pub.pem").write_bytes(SIGNER.public_key.pem)
    other = FileSigner(ec.derive_private_key(9, KEY.curve))
    (tmp_path / "other.pem").write_bytes(other.public_key.pem)
    assert _cosign_verify(cosign, tmp_path, "pub.pem", name) == ""
    assert _cosign_verify(cosign, tmp_path, "other.pem", name) != ""


def _cosign_verify(cosign: Path, directory: Path, key: str, name: str) -> str:
    version = subprocess.run([str(cosign), "version"], capture_output=True, text=True, check=True).stdout
    flags = ["--insecure-ignore-tlog=true", "--allow-http-registry"]
    flags += ["--trusted-root=roots.json"] if " v2." in version else []
    environment = {**os.environ, "HOME": str(directory), "DOCKER_CONFIG": str(directory)}
    done = subprocess.run(
        [str(cosign), "verify", "--key", key, *flags, name],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr + done.stdout


@pytest.mark.parametrize("cosign", cosigns() or [pytest.param(None, marks=pytest.mark.skip(reason=MISSING))], ids=str)
def test_a_key_that_cosign_made_signs_for_us(cosign: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "COSIGN_PASSWORD": "open sesame"}
    subprocess.run([str(cosign), "generate-key-pair"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    signer = load_signer(str(tmp_path / "cosign.key"), lambda: b"open sesame")
    assert signer.public_key.pem == (tmp_path / "cosign.pub").read_bytes()
    with pytest.raises(UsageError, match="passphrase"):
        load_signer(str(tmp_path / "cosign.key"), lambda: b"open barley")


@pytest.mark.parametrize("cosign", cosigns() or [pytest.param(None, marks=pytest.mark.skip(reason=MISSING))], ids=str)
@pytest.mark.parametrize(("content", "accepted"), [(b"the statement", True), (b"another statement", False)])
def test_cosign_verifies_blobs_that_we_sign(cosign: Path, tmp_path: Path, content: bytes, accepted: bool) -> None:
    (tmp_path / "pub.pem").write_bytes(SIGNER.public_key.pem)
    (tmp_path / "blob").write_bytes(content)
    (tmp_path / "sig").write_bytes(base64.b64encode(SIGNER.sign(b"the statement")))
    command = [str(cosign), "verify-blob", "--key", "pub.pem", "--insecure-ignore-tlog", "--signature", "sig", "blob"]
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is accepted, done.stderr
