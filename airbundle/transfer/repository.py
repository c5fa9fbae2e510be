"""One repository of a registry: what others call. Reading is inherited; pushing is here (distribution spec, "Push")."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from airbundle.bundle.content import BlobReader
from airbundle.bundle.digest import check as check_digest
from airbundle.bundle.digest import is_digest, parse_digest, sha256
from airbundle.bundle.oci import OCI_INDEX, Descriptor, parse_manifest
from airbundle.errors import DigestMismatch, NotFound, Refused
from airbundle.transfer.hosts import Endpoint
from airbundle.transfer.problems import Response
from airbundle.transfer.reading import Reading, checked_ref
from airbundle.transfer.referrers import fallback_tag, referrer_descriptor, with_referrers
from airbundle.transfer.upload import Upload
from airbundle.transfer.upload_session import Session, UploadPlace, upload_location
from airbundle.transfer.wire import Fault, Url

if TYPE_CHECKING:
    from airbundle.transfer.registry import RegistryClient

logger = logging.getLogger(__name__)

_REREADS = 4


def _nothing(count: int) -> None:
    pass


class Repository(Reading):
    """A repository; a `BlobSource`. Made by `RegistryClient.repository`; safe for many threads.

    Args:
        client: whose connections and settings it uses.
        name: `host/path`, as in image names.
        endpoints: where to read, in order.
        push_endpoint: where to push, and where existence is asked before a push.
    """

    def __init__(self, client: RegistryClient, name: str, endpoints: list[Endpoint], push_endpoint: Endpoint) -> None:
        super().__init__(client, name, endpoints)
        self._push = push_endpoint
        self._sessions: dict[str, Url] = {}

    def direct(self) -> Repository:
        """Return the same repository, read from where it is pushed to: a mirror may be behind it."""
        return Repository(self._client, self.name, [self._push], self._push)

    @property
    def push_name(self) -> str:
        """The repository's name where it is pushed to, without the host."""
        return self._push.repository

    def has_blob(self, digest: str) -> bool:
        """Tell whether the registry has a blob in this repository (HEAD)."""
        parse_digest(digest, what=f"{self.name}: blob")
        what = f"{self.label(digest)}: look for blob"
        return self._ask(self._push, "HEAD", f"/blobs/{digest}", what, None, expect=(200, 404)).status == 200

    def has_manifest(self, ref: str) -> str | None:
        """Return the digest that a tag or digest has in this repository (HEAD), or None when it is not there."""
        checked_ref(ref, self.name)
        what = f"{self.label(ref)}: look for manifest"
        response = self._ask(self._push, "HEAD", f"/manifests/{ref}", what, None, expect=(200, 404))
        if response.status == 404:
            return None
        digest = response.headers.get("docker-content-digest", "").strip()
        if is_digest(digest):
            return digest
        return self._fetch(self._push, ref, None)[0].digest

    def mount(self, digest: str, source_repository: str) -> bool:
        """Ask the registry to take a blob over from another repository of its own.

        Args:
            digest: of the blob.
            source_repository: the other repository, with or without this registry's host before it.

        Returns:
            True when it did; False when the blob must be pushed (the session that the registry opened is kept
            for that).
        """
        parse_digest(digest, what=f"{self.name}: blob")
        what = f"{self.label(digest)}: mount from {source_repository}"
        host = self.name.partition("/")[0]
        source = source_repository[len(host) + 1 :] if source_repository.startswith(f"{host}/") else source_repository
        url = self.url(self._push, "/blobs/uploads/").with_query(("mount", digest), ("from", source))
        scopes = (*self.scopes(self._push, "pull", "push"), f"repository:{source}:pull")
        response = self.http.request("POST", url, what=what, expect=(201, 202), scopes=scopes)
        if response.status == 202:
            self._keep_session(digest, response)
        return response.status == 201

    def _keep_session(self, digest: str, response: Response) -> None:
        try:
            location = upload_location(response)
        except Fault as fault:
            logger.info("%s: %s", self.name, fault.reason)  # a push of its own will tell
            return
        if location is not None:
            self._sessions[digest] = location

    def push_blob(
        self,
        blob: Descriptor,
        source: BlobReader,
        *,
        advance: Callable[[int], None] = _nothing,
        check: bool = True,
        spared: Callable[[int], None] = _nothing,
    ) -> bool:
        """Push a blob unless it is there.

        Args:
            blob: digest and size are binding.
            source: gives its bytes; read from the start, parts of it perhaps again.
            advance: gets the number of bytes that have gone out for the first time.
            check: ask first whether it is there; False when the caller has just asked.
            spared: gets the number of bytes that the registry had from an earlier run, and that were not sent.

        Returns:
            True when it was sent, False when it was there.

        Raises:
            DigestMismatch: the source gives other bytes; nothing was finished.
            Refused, Unauthorized, Unreachable, RemoteError: the registry.
        """
        digest = parse_digest(blob.digest, what=f"{self.name}: blob")
        with self._client.pushing(self.name, digest) as pushed:
            if pushed or (check and self.has_blob(digest)):
                return False
            upload = self._upload(blob, source, advance)
            upload.run()
            spared(upload.spared)
        return True

    def _upload(self, blob: Descriptor, source: BlobReader, advance: Callable[[int], None]) -> Upload:
        digest, base = blob.digest, self.url(self._push, "/blobs/uploads/")
        place = UploadPlace(f"{base.scheme}://{base.hostname}:{base.port}", self._push.repository, digest)
        session = Session(base, place, blob.size, self._client.uploads)
        session.location = self._sessions.pop(digest, None)
        session.take_up()
        return Upload(
            self.http,
            f"{self.label(digest)}: push blob",
            blob,
            source,
            session,
            self.url(self._push, f"/blobs/{digest}"),
            self.scopes(self._push, "pull", "push"),
            advance,
        )

    def push_blob_bytes(self, data: bytes) -> str:
        """Push a small blob unless it is there, and return its digest."""
        digest = sha256(data)
        self.push_blob(Descriptor("application/octet-stream", digest, len(data)), _Bytes(data))
        return digest

    def push_manifest(
        self,
        raw: bytes,
        media_type: str,
        reference: str,
        *,
        unlisted: Callable[[str, Descriptor], None] | None = None,
    ) -> str:
        """Push a manifest or index, byte for byte, under a tag or under its digest; return its digest.

        Where it has a subject and the registry does not say that it keeps referrers (OCI-Subject), the fallback tag
        of the subject is written, too.

        Args:
            raw, media_type: the manifest.
            reference: tag or digest.
            unlisted: gets subject and referrer in place of that, for `list_referrers` to list several at once.

        Raises:
            DigestMismatch: `reference` is another digest, or the registry stored another.
            Refused: the registry does not take it; its error says why, such as MANIFEST_BLOB_UNKNOWN.
        """
        checked_ref(reference, self.name)
        what = f"{self.label(reference)}: push manifest"
        digest = sha256(raw)
        if is_digest(reference):
            check_digest(raw, reference, what=what)
        manifest = parse_manifest(raw, media_type, what=what)
        response = self._put(raw, manifest.media_type, reference, what)
        stored = response.headers.get("docker-content-digest", "").strip()
        if stored and stored != digest:
            raise DigestMismatch(f"{what}: the registry stored {stored[:80]}, expected {digest}")
        if manifest.subject is not None and "oci-subject" not in response.headers:
            referrer = referrer_descriptor(manifest, digest)
            if unlisted is not None:
                unlisted(manifest.subject.digest, referrer)
            else:
                self.list_referrers(manifest.subject.digest, [referrer])
        return digest

    def _put(self, raw: bytes, media_type: str, reference: str, what: str) -> Response:
        return self.push_request("PUT", f"/manifests/{reference}", raw, media_type, expect=(200, 201, 202), what=what)

    def delete_manifest(self, reference: str) -> bool:
        """Delete a manifest by digest, which many registries do with all its tags; or one tag by its name.

        Returns:
            False when it was not there.

        Raises:
            Refused: 405 where nothing may be deleted; 400 from registry:2, which deletes no single tags.
            Unauthorized, RemoteError.
        """
        checked_ref(reference, self.name)
        response = self.http.request(
            "DELETE",
            self.url(self._push, f"/manifests/{reference}"),
            what=f"{self.label(reference)}: delete",
            expect=(200, 202, 404),
            scopes=self.scopes(self._push, "pull", "delete"),
        )
        return response.status != 404

    def push_request(
        self, method: str, path: str, content: bytes | None, media_type: str, *, expect: tuple[int, ...], what: str = ""
    ) -> Response:
        """Make a small request that may change something, below this repository.

        Args:
            method: the HTTP method.
            path: below the repository, such as `/manifests/1.0`.
            content, media_type: the body.
            expect: statuses to return; others raise.
            what: thing and operation, for errors.
        """
        return self.http.request(
            method,
            self.url(self._push, path),
            what=what or f"{self.name}: {method} {path}",
            expect=expect,
            headers={"Content-Type": media_type} if media_type else {},
            content=content,
            scopes=self.scopes(self._push, "pull", "push"),
        )

    def list_referrers(self, subject: str, referrers: Sequence[Descriptor]) -> None:
        """Read, modify and write the fallback tag; read it again, for another writer may have come between.

        Args:
            subject: digest of what they refer to.
            referrers: as the API would list them.

        Raises:
            Refused: other writers keep replacing the tag.
            VerificationError: what is there is no index.
        """
        tag = fallback_tag(subject)
        what = f"{self.label(tag)}: list {' '.join(referrer.digest for referrer in referrers[:3])}"
        with self._client.tag_lock(self.name, tag):
            for _ in range(_REREADS):
                changed = with_referrers(self._current(tag), referrers, what=what)
                if changed is None:
                    return
                self._put(changed, OCI_INDEX, tag, what)
        raise Refused(f"{what}: other writers keep replacing the tag", side=self.http.side, hint="run again")

    def _current(self, tag: str) -> bytes | None:
        try:
            return self._fetch(self._push, tag, None)[1]
        except NotFound:
            return None


class _Bytes:
    """Bytes as a `BlobReader`."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def read_into(self, digest: str, offset: int, buffer: memoryview) -> int:  # noqa: ARG002 - the protocol's
        piece = self._data[offset : offset + len(buffer)]
        buffer[: len(piece)] = piece
        return len(piece)
