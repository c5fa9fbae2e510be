"""Cosign signatures of images by the release key: pure and deterministic, so that equal lock and key give equal bytes.

Both forms are made for each image, because cosign 3 never looks at `.sig` once any bundle referrer exists, and older
tools and containers/image know nothing but `.sig`:

- legacy (cosign `specs/SIGNATURE_SPEC.md`): a manifest with the tag `sha256-<hex>.sig`;
- bundle v0.3 (sigstore protobuf-specs `sigstore_bundle.proto`): a DSSE envelope in a referrer of the image.

Neither holds a time or a transparency-log entry: `cosign verify --key K --insecure-ignore-tlog` accepts them offline.
cosign 2.6 finds the bundle, too, and then wants to be told that there are no Sigstore roots: `--trusted-root FILE` with
`{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}` in FILE.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from airbundle.bundle.digest import hex_of, sha256
from airbundle.bundle.oci import (
    EMPTY_DESCRIPTOR,
    EMPTY_JSON,
    OCI_CONFIG,
    OCI_MANIFEST,
    Descriptor,
    artifact_manifest,
    canonical_json,
    parse_json,
    parse_manifest,
)
from airbundle.crypto.keys import PublicKey, Signer
from airbundle.errors import VerificationError

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature"
SIGSTORE_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1"
_IN_TOTO = "application/vnd.in-toto+json"
_ZERO_TIME = "0001-01-01T00:00:00Z"


@dataclass(frozen=True)
class SignatureArtifact:
    """One signature as an OCI artifact.

    Attributes:
        manifest: descriptor of the manifest, with its artifact type where it has one.
        raw: the manifest's bytes.
        blobs: config and layers by digest.
        tag: `sha256-<hex>.sig` for the legacy form; None for a referrer, which is found by its subject.
    """

    manifest: Descriptor
    raw: bytes
    blobs: Mapping[str, bytes]
    tag: str | None

    @property
    def ref_suffix(self) -> str:
        """What follows the image's repository in `dev.airbundle.ref`: `:TAG`, or `@DIGEST` without a tag."""
        return f":{self.tag}" if self.tag else f"@{self.manifest.digest}"


@dataclass(frozen=True)
class LegacySignatures:
    """What upstream has already below an image's `.sig` tag: bytes of the manifest and of its config."""

    manifest: bytes
    config: bytes


def sign_image(
    signer: Signer, docker_reference: str, subject: Descriptor, *, upstream: LegacySignatures | None = None
) -> list[SignatureArtifact]:
    """Sign one image manifest or index, in both forms.

    Args:
        signer: the release key.
        docker_reference: the name that the legacy form claims. Cosign shows it only; the default of containers/image's
            `policy.json` wants it equal to the name that is pulled, with its tag.
        subject: the manifest or index; digest, size and media type are signed or referred to.
        upstream: signatures that the `.sig` tag holds already; ours is appended, as cosign does, and the tag's old
            manifest is to be left out of the bundle. Its layers must travel along.

    Returns:
        The legacy artifact, then the referrer.

    Raises:
        VerificationError: `upstream` is not what a `.sig` tag holds.
    """
    return [
        _legacy(signer, docker_reference, subject, upstream),
        _referrer(signer, subject),
    ]


def signature_tag(digest: str) -> str:
    """Return the tag under which cosign looks for legacy signatures of `digest`."""
    return f"sha256-{hex_of(digest)}.sig"


def _legacy(
    signer: Signer, docker_reference: str, subject: Descriptor, upstream: LegacySignatures | None
) -> SignatureArtifact:
    payload = canonical_json(
        {
            "critical": {
                "identity": {"docker-reference": docker_reference},
                "image": {"docker-manifest-digest": subject.digest},
                "type": "cosign container image signature",
            },
            "optional": None,
        }
    )
    signature = base64.b64encode(signer.sign(payload)).decode()
    layer = replace(_describe(SIMPLE_SIGNING, payload), annotations={SIGNATURE_ANNOTATION: signature})
    earlier, diff_ids = _upstream_layers(upstream)
    # The form that go-containerregistry gives an empty image, which is what cosign starts from.
    config = canonical_json(
        {
            "architecture": "",
            "config": {},
            "created": _ZERO_TIME,
            "history": [{"created": _ZERO_TIME}] * (len(diff_ids) + 1),
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": [*diff_ids, layer.digest]},
        }
    )
    config_descriptor = _describe(OCI_CONFIG, config)
    raw = artifact_manifest("", (*earlier, layer), config=config_descriptor)
    blobs = {config_descriptor.digest: config, layer.digest: payload}
    return SignatureArtifact(_describe(OCI_MANIFEST, raw), raw, blobs, signature_tag(subject.digest))


def _upstream_layers(upstream: LegacySignatures | None) -> tuple[tuple[Descriptor, ...], list[str]]:
    if upstream is None:
        return (), []
    what = "upstream's signatures"
    manifest = parse_manifest(upstream.manifest, what=what)
    config = parse_json(upstream.config, what=f"{what}: config")
    rootfs = config.get("rootfs") if isinstance(config, dict) else None
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if manifest.is_index or not isinstance(diff_ids, list) or len(diff_ids) != len(manifest.layers):
        raise VerificationError(f"{what}: a .sig tag holds a manifest with one diff_id for each layer")
    return manifest.layers, [str(diff_id) for diff_id in diff_ids]


def _referrer(signer: Signer, subject: Descriptor) -> SignatureArtifact:
    statement = canonical_json(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {"sha256": hex_of(subject.digest)}}],
            "predicateType": SIGN_PREDICATE,
            "predicate": {},
        }
    )
    bundle = canonical_json(_sigstore_bundle(signer, statement))
    layer = _describe(SIGSTORE_BUNDLE, bundle)
    raw = artifact_manifest(
        SIGSTORE_BUNDLE,
        (layer,),
        subject=Descriptor(subject.media_type, subject.digest, subject.size),
        annotations={
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": SIGN_PREDICATE,
        },
    )
    manifest = replace(_describe(OCI_MANIFEST, raw), artifact_type=SIGSTORE_BUNDLE)
    return SignatureArtifact(manifest, raw, {EMPTY_DESCRIPTOR.digest: EMPTY_JSON, layer.digest: bundle}, None)


def _sigstore_bundle(signer: Signer, statement: bytes) -> dict[str, Any]:
    signature = signer.sign(pre_authentication(_IN_TOTO, statement))
    return {
        "mediaType": SIGSTORE_BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": key_hint(signer.public_key)}},
        "dsseEnvelope": {
            "payload": base64.b64encode(statement).decode(),
            "payloadType": _IN_TOTO,
            "signatures": [{"sig": base64.b64encode(signature).decode()}],
        },
    }


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """Return what a DSSE signature covers (DSSE `protocol.md`, PAE)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def key_hint(key: PublicKey) -> str:
    """Return the hint by which sigstore bundles name a key: base64 of SHA-256 of its DER SPKI."""
    return base64.b64encode(hashlib.sha256(key.der).digest()).decode()


def _describe(media_type: str, data: bytes) -> Descriptor:
    return Descriptor(media_type, sha256(data), len(data))
