from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from airbundle.bundle.digest import sha256
from airbundle.bundle.oci import (
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    artifact_manifest,
    canonical_json,
)
from airbundle.errors import (
    DigestMismatch,
    NotFound,
    Refused,
    RemoteError,
    Side,
    Unreachable,
    UsageError,
    VerificationError,
)
from airbundle.progress import SILENT
from airbundle.transfer.credentials import Credential
from airbundle.transfer.hosts import HostConfig, Mirror, Registries
from airbundle.transfer.referrers import fallback_tag, with_referrers
from airbundle.transfer.registry import RegistryClient
from airbundle.transfer.repository import Repository
from airbundle.transfer.settings import HttpSettings
from airbundle.transfer.tls import TlsSettings
from airbundle.transfer.wire import Answer, Request, Url
from tests.support.registries import PASSWORD, USER, Registry, run_registry
from tests.support.tls import Authority
from tests.transfer.servers import FAST, FaultServer, Turn, fault_server


class Target:
    def __init__(self) -> None:
        self.data = bytearray()

    def __call__(self, offset: int, data: memoryview) -> None:
        self.data[offset : offset + len(data)] = data


class Source:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def read_into(self, digest: str, offset: int, buffer: memoryview) -> int:
        piece = self.data[offset : offset + len(buffer)]
        buffer[: len(piece)] = piece
        return len(piece)


class Teller:
    """A reporter that keeps warnings."""

    def __init__(self) -> None:
        self.warned: list[str] = []
        self.phase = SILENT.phase
        self.event = SILENT.event

    def warn(self, message: str) -> None:
        self.warned.append(message)


def registries_of(registry: Registry) -> Registries:
    tls = TlsSettings(ca_file=str(registry.ca_file)) if registry.ca_file else None
    return Registries().with_registry(registry.url, tls=tls)


@contextmanager
def client_of(registry: Registry, side: Side = "upstream") -> Iterator[RegistryClient]:
    with RegistryClient(registries_of(registry), side=side, settings=FAST) as client:
        yield client


@contextmanager
def scripted(
    script: Callable[[Turn, int], None], settings: HttpSettings = FAST
) -> Iterator[tuple[Repository, FaultServer]]:
    """A repository `x/y` at a server that does as `script` says."""
    with fault_server(script) as server:
        with RegistryClient(Registries().with_registry(server.url), settings=settings) as client:
            yield client.repository(f"{server.host}/x/y"), server


def push_image(repository: Repository, layer: bytes = b"layer", tag: str = "1") -> Descriptor:
    config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
    for data in (config, layer):
        repository.push_blob(Descriptor("x", sha256(data), len(data)), Source(data))
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Descriptor(OCI_CONFIG, sha256(config), len(config)).to_json(),
        "layers": [Descriptor(OCI_LAYER, sha256(layer), len(layer)).to_json()],
    }
    raw = json.dumps(body, indent=3).encode()  # not canonical, as upstream's may be
    return Descriptor(OCI_MANIFEST, repository.push_manifest(raw, OCI_MANIFEST, tag), len(raw))


# The whole way, with a real registry


def test_push_and_pull(tls_registry: Registry) -> None:
    layer = os.urandom(3_000_000)
    with client_of(tls_registry) as client:
        repository = client.repository(f"{tls_registry.host}/whole/way")
        pushed = push_image(repository, layer)
        assert repository.resolve("1") == repository.resolve(pushed.digest) == pushed
        descriptor, raw = repository.fetch_manifest("1")
        assert (descriptor, sha256(raw)) == (pushed, pushed.digest)
        assert repository.has_manifest("1") == repository.has_manifest(pushed.digest) == pushed.digest
        assert repository.has_manifest("2") is None
        assert repository.has_blob(sha256(layer))
        assert not repository.has_blob(sha256(b"other"))
        target = Target()
        repository.copy_blob(Descriptor(OCI_LAYER, sha256(layer), len(layer)), target)
        assert bytes(target.data) == layer
        target = Target()
        target.data += layer[:100]
        hasher = hashlib.sha256(layer[:100])
        repository.copy_blob(Descriptor(OCI_LAYER, sha256(layer), len(layer)), target, start=100, hasher=hasher)
        assert bytes(target.data) == layer
        assert repository.read_blob(sha256(layer), len(layer)) == layer
        assert repository.tags() == ["1"]


def test_skopeo_agrees(tls_registry: Registry, tmp_path: Path) -> None:
    with client_of(tls_registry) as client:
        pushed = push_image(client.repository(f"{tls_registry.host}/skopeo/agrees"))
    (tmp_path / "ca.crt").write_bytes(Path(str(tls_registry.ca_file)).read_bytes())
    done = subprocess.run(
        [
            "skopeo",
            "inspect",
            "--cert-dir",
            tmp_path,
            "--format",
            "{{.Digest}}",
            f"docker://{tls_registry.host}/skopeo/agrees:1",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == pushed.digest


def test_many_threads(plain_registry: Registry) -> None:
    blobs = [os.urandom(100_000) for _ in range(24)]
    errors: list[Exception] = []
    with client_of(plain_registry) as client:

        def work(data: bytes) -> None:
            try:
                repository = client.repository(f"{plain_registry.host}/many/threads")
                blob = Descriptor("x", sha256(data), len(data))
                repository.push_blob(blob, Source(data))
                target = Target()
                repository.copy_blob(blob, target)
                assert bytes(target.data) == data
            except (AssertionError, RemoteError) as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(data,)) for data in blobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []


def test_many_threads_push_one_blob_once(empty_registry: Registry) -> None:
    sent: list[bool] = []
    with client_of(empty_registry) as client:

        def work() -> None:
            repository = client.repository(f"{empty_registry.host}/x")
            sent.append(repository.push_blob(Descriptor("x", sha256(b"one"), 3), Source(b"one")))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(sent) == [False] * 7 + [True]
    assert [request.method for request in empty_registry.uploads()] == ["POST", "PUT"]


def test_a_second_push_sends_nothing(empty_registry: Registry) -> None:
    with client_of(empty_registry) as client:
        repository = client.repository(f"{empty_registry.host}/x")
        push_image(repository)
        uploads = len(empty_registry.uploads())
        assert repository.push_blob(Descriptor("x", sha256(b"layer"), 5), Source(b"layer")) is False
        assert len(empty_registry.uploads()) == uploads


def test_mounts(plain_registry: Registry) -> None:
    with client_of(plain_registry) as client:
        push_image(client.repository(f"{plain_registry.host}/mount/source"))
        target = client.repository(f"{plain_registry.host}/mount/target")
        assert target.mount(sha256(b"layer"), "mount/source")
        assert target.has_blob(sha256(b"layer"))
        assert target.mount(sha256(b"layer"), f"{plain_registry.host}/mount/source")
        missing = b"never pushed anywhere"
        assert not target.mount(sha256(missing), "mount/source")
        assert target.push_blob(Descriptor("x", sha256(missing), len(missing)), Source(missing))


def test_tags_come_in_pages(plain_registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airbundle.transfer.reading._PAGE", 3)
    with client_of(plain_registry) as client:
        repository = client.repository(f"{plain_registry.host}/many/tags")
        tags = [f"t{number}" for number in range(10)]
        for tag in tags:
            push_image(repository, tag=tag)
        assert sorted(repository.tags()) == tags


def test_what_is_not_there(plain_registry: Registry) -> None:
    with client_of(plain_registry, side="site") as client:
        repository = client.repository(f"{plain_registry.host}/never/pushed")
        zero = "sha256:" + "0" * 64
        for call in (
            lambda: repository.resolve("1"),
            lambda: repository.fetch_manifest(zero),
            lambda: repository.read_blob(zero, 10),
            lambda: repository.copy_blob(Descriptor("x", zero, 5), Target()),
            lambda: repository.tags(),
        ):
            with pytest.raises(NotFound, match=re.escape(repository.name)) as caught:
                call()
            assert caught.value.exit_code == 6
        assert repository.referrers(zero) == []


def test_deleting(token_registry: Registry) -> None:
    tls, credential = TlsSettings(ca_file=str(token_registry.ca_file)), Credential(USER, PASSWORD)
    registries = Registries().with_registry(token_registry.url, tls=tls, credential=credential)
    with RegistryClient(registries, settings=FAST) as client:
        repository = client.repository(f"{token_registry.host}/deleting/x")
        one, two = push_image(repository, b"one", "1"), push_image(repository, b"two", "2")
        repository.push_manifest(repository.fetch_manifest("1")[1], OCI_MANIFEST, "also-1")
        assert repository.delete_manifest(one.digest)
        assert repository.tags() == ["2"] and repository.has_manifest(one.digest) is None
        assert not repository.delete_manifest(one.digest)
        with pytest.raises(Refused) as caught:  # registry:2 deletes no single tags
            repository.delete_manifest("2")
        assert caught.value.status == 400
        assert repository.has_manifest("2") == two.digest
        with pytest.raises(UsageError):
            repository.delete_manifest("../x")


def test_a_registry_that_allows_no_deleting(tmp_path: Path) -> None:
    with run_registry(tmp_path / "r", delete=False) as registry, client_of(registry) as client:
        repository = client.repository(f"{registry.host}/x/y")
        digest = push_image(repository).digest
        with pytest.raises(Refused, match="405") as caught:
            repository.delete_manifest(digest)
        assert caught.value.status == 405


def test_a_read_only_registry(plain_registry: Registry, tmp_path: Path) -> None:
    with run_registry(tmp_path / "r", storage=plain_registry.storage, read_only=True) as registry:
        with client_of(registry) as client, pytest.raises(Refused, match="answered 405") as caught:
            client.repository(f"{registry.host}/x").push_blob_bytes(b"new")
    assert "read-only" in caught.value.hint


def test_a_manifest_whose_blobs_are_missing(plain_registry: Registry) -> None:
    raw = artifact_manifest("application/x", (Descriptor("y", sha256(b"missing"), 7),))
    with client_of(plain_registry) as client, pytest.raises(Refused, match="MANIFEST_BLOB_UNKNOWN"):
        client.repository(f"{plain_registry.host}/missing/blobs").push_manifest(raw, OCI_MANIFEST, "1")


def test_an_untrusted_registry(tls_registry: Registry) -> None:
    with RegistryClient(settings=FAST) as client, pytest.raises(Unreachable, match="not trusted"):
        client.repository(f"{tls_registry.host}/x").resolve("1")


def test_plain_http_is_never_guessed(plain_registry: Registry) -> None:
    with RegistryClient(settings=FAST) as client, pytest.raises(Unreachable, match="TLS failed") as caught:
        client.repository(f"{plain_registry.host}/x").resolve("1")
    assert "http:// endpoint" in caught.value.hint


def test_names() -> None:
    with RegistryClient() as client:
        assert client.repository("docker.io/library/redis").name == "docker.io/library/redis"
        assert client.repository("redis").name == "docker.io/library/redis"
        for bad in ("", "a.b/UPPER", "a.b/../x", "a.b/x:tag", "a.b/x@sha256:0", "a b/x"):
            with pytest.raises(UsageError):
                client.repository(bad)


# Referrers


def sign(repository: Repository, subject: Descriptor, note: str) -> Descriptor:
    repository.push_blob_bytes(b"{}")
    raw = artifact_manifest("application/vnd.test.signature", (), subject=subject, annotations={"note": note})
    digest = repository.push_manifest(raw, OCI_MANIFEST, sha256(raw))
    return Descriptor(OCI_MANIFEST, digest, len(raw))


def test_referrers_by_the_fallback_tag(plain_registry: Registry) -> None:
    """registry:2 has no referrers API: the tag is written and read by us."""
    with client_of(plain_registry) as client:
        repository = client.repository(f"{plain_registry.host}/referrers/tag")
        image = push_image(repository)
        assert repository.referrers(image.digest) == []
        signatures = [sign(repository, image, note) for note in ("a", "b", "a")]
        found = repository.referrers(image.digest)
        assert found == signatures[:2]
        assert [entry.artifact_type for entry in found] == ["application/vnd.test.signature"] * 2
        assert [entry.annotations for entry in found] == [{"note": "a"}, {"note": "b"}]
        assert fallback_tag(image.digest) in repository.tags()


def test_many_threads_write_one_fallback_tag(plain_registry: Registry) -> None:
    with client_of(plain_registry) as client:
        repository = client.repository(f"{plain_registry.host}/referrers/threads")
        image = push_image(repository)
        threads = [
            threading.Thread(target=sign, args=(client.repository(repository.name), image, str(number)))
            for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(repository.referrers(image.digest)) == 8


def test_referrers_by_the_api() -> None:
    subject = sha256(b"subject")
    entries = [Descriptor(OCI_MANIFEST, sha256(bytes([i])), 10, artifact_type="application/t") for i in range(4)]

    def page(shown: list[Descriptor]) -> bytes:
        body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry.to_json() for entry in shown]}
        return canonical_json(body)

    def script(turn: Turn, n: int) -> None:
        kind = {"Content-Type": OCI_INDEX}
        if turn.path == f"/v2/x/y/referrers/{subject}":
            turn.reply(200, page(entries[:2]), {**kind, "Link": '</v2/x/y/referrers/more?n=2>; rel="next"'})
        else:
            turn.reply(200, page(entries[2:]), kind)

    with scripted(script) as (repository, server):
        assert repository.referrers(subject) == entries
    assert server.paths("GET")[1] == "/v2/x/y/referrers/more?n=2"


@pytest.mark.parametrize("answer", [(404, "text/plain"), (400, "application/json"), (405, ""), (200, "text/html")])
def test_registries_without_the_api_are_asked_once(answer: tuple[int, str]) -> None:
    def script(turn: Turn, n: int) -> None:
        if "/referrers/" in turn.path:
            turn.reply(answer[0], b"<html>", {"Content-Type": answer[1]})
        else:
            turn.reply(404)

    with scripted(script) as (repository, server):
        assert repository.referrers(sha256(b"a")) == []
        assert repository.referrers(sha256(b"b")) == []
    assert [path for path in server.paths("GET") if "/referrers/" in path] == [f"/v2/x/y/referrers/{sha256(b'a')}"]


def test_a_registry_that_keeps_referrers_itself() -> None:
    subject = Descriptor(OCI_MANIFEST, sha256(b"subject"), 7)
    raw = artifact_manifest("application/t", (), subject=subject)
    with scripted(lambda turn, n: turn.reply(201, b"", {"OCI-Subject": subject.digest})) as (repository, server):
        repository.push_manifest(raw, OCI_MANIFEST, sha256(raw))
    assert [seen.method for seen in server.requests] == ["PUT"]


def test_a_fallback_tag_that_is_no_index_is_left_alone() -> None:
    image = artifact_manifest("application/t", ())

    def script(turn: Turn, n: int) -> None:
        if turn.command == "GET":
            turn.reply(200, image, {"Content-Type": OCI_MANIFEST})
        else:
            turn.reply(201)

    raw = artifact_manifest("application/t", (), subject=Descriptor(OCI_MANIFEST, sha256(b"s"), 1))
    with scripted(script) as (repository, server), pytest.raises(VerificationError):
        repository.push_manifest(raw, OCI_MANIFEST, sha256(raw))
    assert len(server.paths("PUT")) == 1


def test_with_referrer_keeps_what_it_does_not_know() -> None:
    entry = Descriptor(OCI_MANIFEST, sha256(b"1"), 1)
    odd = {**entry.to_json(), "data": "eA=="}
    index = json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [odd], "annotations": {"a": "b"}}
    ).encode()
    assert with_referrers(index, [entry], what="x") is None
    changed = json.loads(with_referrers(index, [Descriptor(OCI_MANIFEST, sha256(b"2"), 2)], what="x") or b"")
    assert changed["manifests"][0] == odd
    assert changed["annotations"] == {"a": "b"}
    assert len(changed["manifests"]) == 2


# Manifests from registries that are not as they should be

MANIFEST = artifact_manifest("application/x", ())
DIGEST = sha256(MANIFEST)
GOOD = {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": DIGEST}


def test_resolve_asks_by_head() -> None:
    headers = {**GOOD, "Content-Length": str(len(MANIFEST))}
    with scripted(lambda turn, n: turn.reply(200, b"", headers)) as (repository, server):
        assert repository.resolve("1") == Descriptor(OCI_MANIFEST, DIGEST, len(MANIFEST))
    assert [seen.method for seen in server.requests] == ["HEAD"]
    accept = str(server.requests[0].header("Accept"))
    assert OCI_INDEX in accept
    assert DOCKER_MANIFEST in accept


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": OCI_MANIFEST},
        {"Docker-Content-Digest": DIGEST, "Content-Type": "text/plain"},
        {"Docker-Content-Digest": "md5:x", "Content-Type": OCI_MANIFEST},
    ],
)
def test_resolve_without_what_head_should_say(headers: dict[str, str]) -> None:
    def script(turn: Turn, n: int) -> None:
        if turn.command == "HEAD":
            turn.reply(200, MANIFEST, headers)
        else:
            turn.reply(200, MANIFEST, GOOD)

    with scripted(script) as (repository, server):
        assert repository.resolve("1").digest == DIGEST
    assert [seen.method for seen in server.requests] == ["HEAD", "GET"]


def test_resolve_where_head_is_not_allowed() -> None:
    def script(turn: Turn, n: int) -> None:
        turn.reply(405) if turn.command == "HEAD" else turn.reply(200, MANIFEST, GOOD)

    with scripted(script) as (repository, _):
        assert repository.resolve("1").digest == DIGEST


def test_a_pinned_digest_is_checked_though_the_registry_says_another() -> None:
    """CVE-2025-24882."""
    other = sha256(b"other")
    headers = {**GOOD, "Content-Length": str(len(MANIFEST)), "Docker-Content-Digest": DIGEST}
    with scripted(lambda turn, n: turn.reply(200, MANIFEST, headers)) as (repository, _):
        with pytest.raises(DigestMismatch, match=other):
            repository.resolve(other)
        with pytest.raises(DigestMismatch, match=other):
            repository.fetch_manifest(other)


def test_a_manifest_that_is_wrong_once() -> None:
    def script(turn: Turn, n: int) -> None:
        turn.reply(200, MANIFEST if n > 1 else MANIFEST + b" ", GOOD)

    with scripted(script) as (repository, _):
        assert repository.fetch_manifest("1")[1] == MANIFEST


def test_a_manifest_that_is_always_wrong() -> None:
    with scripted(lambda turn, n: turn.reply(200, MANIFEST + b" ", GOOD)) as (repository, server):
        with pytest.raises(DigestMismatch, match="twice") as caught:
            repository.fetch_manifest("1")
    assert len(server.requests) == 2
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", "text/html"),
        (b"{}", OCI_MANIFEST),
        (b'{"schemaVersion":1,"fsLayers":[]}', "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        (b'{"schemaVersion":2,"manifests":[],"layers":[]}', OCI_MANIFEST),
        (MANIFEST, DOCKER_MANIFEST),
        (MANIFEST, "application/json"),
    ],
)
def test_bodies_that_are_no_manifests(body: bytes, kind: str) -> None:
    with scripted(lambda turn, n: turn.reply(200, body, {"Content-Type": kind})) as (repository, _):
        with pytest.raises(VerificationError, match="x/y:1"):
            repository.fetch_manifest("1")


def test_another_algorithm_for_a_tag() -> None:
    headers = {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": "sha512:" + "0" * 128}
    with scripted(lambda turn, n: turn.reply(200, MANIFEST, headers)) as (repository, _):
        assert (
            repository.resolve("1")
            == repository.fetch_manifest("1")[0]
            == Descriptor(OCI_MANIFEST, DIGEST, len(MANIFEST))
        )


def test_a_huge_manifest() -> None:
    with scripted(lambda turn, n: turn.reply(200, b" " * 5_000_000, GOOD)) as (repository, _):
        with pytest.raises(RemoteError, match="more than 4194304 bytes"):
            repository.fetch_manifest("1")


def test_a_registry_that_stores_something_else() -> None:
    with scripted(lambda turn, n: turn.reply(201, b"", {"Docker-Content-Digest": sha256(b"else")})) as (repository, _):
        with pytest.raises(DigestMismatch, match="stored"):
            repository.push_manifest(MANIFEST, OCI_MANIFEST, "1")
        with pytest.raises(DigestMismatch):
            repository.push_manifest(MANIFEST, OCI_MANIFEST, sha256(b"else"))


def test_a_small_blob_that_is_wrong() -> None:
    with scripted(lambda turn, n: turn.reply(200, b"a" if n == 1 else b"b")) as (repository, _):
        assert repository.read_blob(sha256(b"b"), 10) == b"b"
    with scripted(lambda turn, n: turn.reply(200, b"a")) as (repository, _):
        with pytest.raises(DigestMismatch):
            repository.read_blob(sha256(b"b"), 10)


@pytest.mark.parametrize("digest", ["sha256:" + "A" * 64, "../../x", "sha256:0", "sha512:" + "0" * 128, ""], ids=repr)
def test_digests_are_checked_before_they_become_urls(digest: str) -> None:
    with scripted(lambda turn, n: turn.reply(200)) as (repository, server):
        for call in (
            lambda: repository.has_blob(digest),
            lambda: repository.read_blob(digest, 10),
            lambda: repository.copy_blob(Descriptor("x", digest, 1), Target()),
            lambda: repository.push_blob(Descriptor("x", digest, 1), Source(b"x")),
            lambda: repository.mount(digest, "y"),
            lambda: repository.referrers(digest),
        ):
            with pytest.raises(VerificationError):
                call()
    assert server.requests == []


@pytest.mark.parametrize("ref", ["../x", "a/b", "a?b", "", "-x", "a" * 129, "a b", "a\r\nb"], ids=repr)
def test_tags_are_checked_before_they_become_urls(ref: str) -> None:
    with scripted(lambda turn, n: turn.reply(200)) as (repository, server):
        for call in (
            lambda: repository.resolve(ref),
            lambda: repository.fetch_manifest(ref),
            lambda: repository.has_manifest(ref),
            lambda: repository.push_manifest(MANIFEST, OCI_MANIFEST, ref),
        ):
            with pytest.raises((UsageError, VerificationError)):
                call()
    assert server.requests == []


# Lists


@pytest.mark.parametrize(
    "link", ["<https://evil.test/v2/x/y/tags/list>", "<http://u:p@h/>", "</v2/x/y/tags/list?n=1000>"]
)
def test_pages_that_lead_elsewhere_or_in_circles(link: str) -> None:
    with scripted(lambda turn, n: turn.reply(200, b'{"tags":["a"]}', {"Link": f'{link}; rel="next"'})) as (
        repository,
        _,
    ):
        with pytest.raises(RemoteError, match="next page"):
            repository.tags()


def test_endless_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airbundle.transfer.reading._MOST_PAGES", 5)
    with scripted(lambda turn, n: turn.reply(200, b'{"tags":["a"]}', {"Link": f'<?last={n}>; rel="next"'})) as (
        repo,
        _,
    ):
        with pytest.raises(RemoteError, match="more than 5 pages"):
            repo.tags()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"tags":null}', []),
        (b"{}", []),
        (b'{"tags":["a","-bad","b/c",5,"d"]}', ["a", "d"]),
    ],
)
def test_odd_lists(body: bytes, expected: list[str]) -> None:
    with scripted(lambda turn, n: turn.reply(200, body)) as (repository, _):
        assert repository.tags() == expected


# Mirrors


def mirrored(*endpoints: str, upstream: str = "upstream.test", default: bool = False) -> Registries:
    urls = tuple(Url.parse(endpoint) for endpoint in endpoints)
    return Registries({upstream: Mirror(urls, default_endpoint=default)})


def test_the_next_endpoint_is_asked(plain_registry: Registry) -> None:
    teller = Teller()
    with client_of(plain_registry) as client:
        pushed = push_image(client.repository(f"{plain_registry.host}/mirrored/x"))
    with fault_server(lambda turn, n: turn.reply(404)) as empty:
        found = mirrored("http://127.0.0.1:1", empty.url, plain_registry.url)
        with RegistryClient(found, settings=FAST, reporter=teller) as client:
            repository = client.repository("upstream.test/mirrored/x")
            assert repository.resolve("1") == pushed
            assert repository.fetch_manifest(pushed.digest)[0] == pushed
            target = Target()
            repository.copy_blob(Descriptor("x", sha256(b"layer"), 5), target)
            assert bytes(target.data) == b"layer"
            assert "1" in repository.tags()
    assert empty.requests[0].path == "/v2/mirrored/x/manifests/1?ns=upstream.test"
    assert len(teller.warned) == 2
    assert teller.warned[0].startswith("mirror 127.0.0.1:1 passed over: ")


def test_a_lying_mirror_is_passed_over(plain_registry: Registry) -> None:
    with client_of(plain_registry) as client:
        push_image(client.repository(f"{plain_registry.host}/lying/x"))
    with fault_server(lambda turn, n: turn.reply(200, b"LAYER")) as liar:
        with RegistryClient(mirrored(liar.url, plain_registry.url), settings=FAST) as client:
            target = Target()
            client.repository("upstream.test/lying/x").copy_blob(Descriptor("x", sha256(b"layer"), 5), target)
    assert bytes(target.data) == b"layer"
    assert len(liar.requests) == 2


def test_the_last_endpoints_error_counts() -> None:
    with fault_server(lambda turn, n: turn.reply(404)) as one, fault_server(lambda turn, n: turn.reply(403)) as two:
        with RegistryClient(mirrored(one.url, two.url), settings=FAST) as client:
            with pytest.raises(RemoteError, match="answered 403") as caught:
                client.repository("upstream.test/x").resolve("1")
    assert caught.value.problem.startswith("upstream.test/x:1: resolve: ")


def test_a_mirror_that_is_down_is_asked_once() -> None:
    attempts: list[str] = []
    with fault_server(lambda turn, n: turn.reply(200, MANIFEST, GOOD)) as good:
        with RegistryClient(mirrored("http://127.0.0.1:1", good.url), settings=FAST) as client:
            exchange = client.http._control.exchange

            def counted(request: Request) -> Answer:
                attempts.append(request.url.host)
                return exchange(request)

            client.http._control.exchange = counted  # type: ignore[method-assign]
            for _ in range(5):
                client.repository("upstream.test/x").fetch_manifest("1")
                before = attempts.count("127.0.0.1:1")
                client.repository("upstream.test/x").fetch_manifest("1")
                assert attempts.count("127.0.0.1:1") == before
    assert len(good.requests) == 10


def test_a_push_goes_to_the_host_itself() -> None:
    with fault_server(lambda turn, n: turn.reply(500)) as mirror, fault_server(lambda turn, n: turn.reply(404)) as own:
        registries = Registries({own.host: Mirror((Url.parse(mirror.url), Url.parse(own.url)))})
        with RegistryClient(registries, settings=replace(FAST, retry_time=0.05)) as client:
            with pytest.raises(NotFound):
                client.repository(f"{own.host}/x").push_blob_bytes(b"x")
    assert mirror.requests == []


def test_endpoints_with_a_path(plain_registry: Registry, authority: Authority) -> None:
    def script(turn: Turn, n: int) -> None:
        turn.reply(200, MANIFEST, GOOD)

    with fault_server(script, tls=authority) as server:
        config = {server.host: HostConfig(tls=TlsSettings(ca_file=str(authority.ca_file)))}
        registries = replace(mirrored(f"{server.url}/v2/proxy"), configs=config)
        with RegistryClient(registries, settings=FAST) as client:
            client.repository("upstream.test/x").fetch_manifest("1")
    assert server.requests[0].path == "/v2/proxy/x/manifests/1?ns=upstream.test"


SIGNATURE_TAG = f"sha256-{'ab' * 32}.sig"


def test_the_mirror_that_has_the_image_says_what_hangs_on_it(plain_registry: Registry) -> None:
    with client_of(plain_registry) as client:
        pushed = push_image(client.repository(f"{plain_registry.host}/beside/x"))
    with fault_server(lambda turn, n: turn.reply(500)) as upstream:
        found = mirrored(plain_registry.url, upstream.url)
        with RegistryClient(found, settings=replace(FAST, retry_time=0.05)) as client:
            repository = client.repository("upstream.test/beside/x")
            assert repository.resolve("1") == pushed
            assert repository.look_beside(SIGNATURE_TAG) is None
            assert repository.referrers(pushed.digest) == []
            # A manifest may still lie elsewhere: its digest tells whether it is the right one.
            with pytest.raises(RemoteError):
                repository.fetch_manifest(sha256(b"child"))
    assert {seen.path.rpartition("/")[2] for seen in upstream.requests} == {sha256(b"child") + "?ns=upstream.test"}


def test_a_mirror_without_the_image_is_not_asked_what_hangs_on_it(plain_registry: Registry) -> None:
    with client_of(plain_registry) as client:
        own = client.repository(f"{plain_registry.host}/beyond/x")
        pushed = push_image(own)
        signature = push_image(own, b"signature", SIGNATURE_TAG)
        subject = artifact_manifest("application/spdx+json", (), subject=pushed)
        own.push_blob_bytes(b"{}")
        own.push_manifest(subject, OCI_MANIFEST, sha256(subject))
    with fault_server(lambda turn, n: turn.reply(404)) as empty:
        with RegistryClient(mirrored(empty.url, plain_registry.url), settings=FAST) as client:
            repository = client.repository("upstream.test/beyond/x")
            assert repository.fetch_manifest("1")[0] == pushed
            assert repository.look_beside(SIGNATURE_TAG) == signature
            assert [entry.digest for entry in repository.referrers(pushed.digest)] == [sha256(subject)]
    assert len(empty.requests) == 1


def test_a_mirror_that_fails_later_is_passed_over(plain_registry: Registry) -> None:
    with client_of(plain_registry) as client:
        pushed = push_image(client.repository(f"{plain_registry.host}/fails/x"))
        raw = client.repository(f"{plain_registry.host}/fails/x").fetch_manifest("1")[1]
        signature = push_image(client.repository(f"{plain_registry.host}/fails/x"), b"signature", SIGNATURE_TAG)

    def script(turn: Turn, n: int) -> None:
        turn.reply(200, raw, {"Content-Type": OCI_MANIFEST}) if n == 1 else turn.reply(500)

    with fault_server(script) as mirror:
        with RegistryClient(
            mirrored(mirror.url, plain_registry.url), settings=replace(FAST, retry_time=0.05)
        ) as client:
            repository = client.repository("upstream.test/fails/x")
            assert repository.fetch_manifest("1")[0] == pushed
            assert repository.look_beside(SIGNATURE_TAG) == signature
