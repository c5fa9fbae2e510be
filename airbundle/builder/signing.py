"""The release key's cosign signatures of every image that a bundle carries (design §6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from airbundle.bundle.cosign import LegacySignatures, sign_image, signature_tag
from airbundle.bundle.layout import Extra, repository_of
from airbundle.bundle.lock import Lock, LockedRoot
from airbundle.bundle.oci import ATTESTATION_TYPE, BUNDLE_REF, Descriptor, parse_manifest
from airbundle.crypto.keys import Signer

CONFIG_LIMIT = 1024 * 1024

ReadConfig = Callable[[LockedRoot, Descriptor], bytes]


def sign_images(
    lock: Lock, manifests: Mapping[str, bytes], signer: Signer, read_config: ReadConfig
) -> tuple[Extra, ...]:
    """Sign each image: its index and each carried child, in both forms that cosign knows.

    Args:
        lock: whose images.
        manifests: raw bytes of every carried manifest, by digest.
        signer: the release key.
        read_config: gives a config's verified bytes; asked only for images that upstream has signed already.
    """
    done: set[tuple[str, str]] = set()
    extras: list[Extra] = []
    for root in lock.roots:
        if root.kind != "image":
            continue
        repository = repository_of(root.ref)
        for subject in _subjects(root):
            # Two tags of one image share its signature.
            if (repository, subject.digest) in done:
                continue
            done.add((repository, subject.digest))
            upstream = _upstream(root, repository, subject, manifests, read_config)
            artifacts = sign_image(signer, root.ref, subject, upstream=upstream)
            extras += [Extra.of(repository, artifact) for artifact in artifacts]
    return tuple(extras)


def _subjects(root: LockedRoot) -> Iterator[Descriptor]:
    yield root.descriptor
    for child in root.children:
        if ATTESTATION_TYPE not in child.annotations:
            yield child


def _upstream(
    root: LockedRoot, repository: str, subject: Descriptor, manifests: Mapping[str, bytes], read_config: ReadConfig
) -> LegacySignatures | None:
    """Return what upstream has below the image's `.sig` tag: ours is appended to it, as cosign does."""
    ref = f"{repository}:{signature_tag(subject.digest)}"
    for referrer in root.referrers:
        if referrer.annotations.get(BUNDLE_REF) == ref:
            raw = manifests[referrer.digest]
            config = parse_manifest(raw, referrer.media_type, what=ref).config
            if config is not None:
                return LegacySignatures(raw, read_config(root, config))
    return None
