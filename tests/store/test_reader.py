from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airbundle.bundle.digest import sha256
from airbundle.bundle.layout import DOCKER_NAME, HEAD, content_of
from airbundle.bundle.oci import OCI_MANIFEST, Descriptor, artifact_manifest
from airbundle.bundle.statement import Base, Contents
from airbundle.bundle.tar import END, Member, header, padded
from airbundle.bundle.toc import Toc
from airbundle.bundle.trust import TrustState, check_trust
from airbundle.errors import DigestMismatch, NotFound, UsageError, VerificationError
from airbundle.store.plan import BaseBundle, build_head, plan_bundle
from airbundle.store.reader import BundleFile, open_bundle
from tests.support.bundles import Made, lock_of, locked, make, make_images, write_bundle
from tests.support.images import attestation, index, layer, noise, referrer, tiny_image
from tests.support.keys import FIRST, signature
from tests.support.process import program

REDIS = "docker.io/library/redis:7.2"
NGINX = "quay.io/x/nginx:1"
ZIP = b"PK" + b"the zip" * 30
NOW = datetime(2026, 2, 1, tzinfo=timezone.utc)
TRUST = TrustState({FIRST.public_key.key_id: FIRST.public_key.pem})


def some() -> Made:
    base = layer({"base": noise("base", 66_000)})
    redis, child = tiny_image("redis", sizes=(10, 5000), shared=[base]), tiny_image("nginx")
    both = index([child, tiny_image("nginx", platform="linux/arm64", shared=[base]), attestation(child)])
    claim = referrer(redis.descriptor)
    return make([redis, both, claim], [locked(REDIS, redis, referrers=[claim]), locked(NGINX, both)])


@dataclass(frozen=True)
class Sample:
    path: Path
    raw: bytes = field(repr=False)
    made: Made = field(repr=False)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    made = some()
    statement = plan_bundle(made.content, installer=ZIP).statement
    path = tmp_path_factory.mktemp("sample") / "x.airbundle"
    write_bundle(path, made, installer=ZIP, signatures=[signature(FIRST, statement)])
    return Sample(path, path.read_bytes(), made)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "y.airbundle"


def verify(path: Path) -> None:
    """Do what a site does: origin, then head, then blobs."""
    with open_bundle([path]) as bundle:
        check_trust(bundle.statement_raw, bundle.signatures, TRUST, NOW)
        bundle.verify_head()
        bundle.verify_blobs(threads=2)


def test_a_good_bundle_verifies(sample: Sample) -> None:
    verify(sample.path)


def test_it_tells_what_it_holds(sample: Sample) -> None:
    with open_bundle([sample.path]) as bundle:
        assert bundle.statement.name == "test"
        assert bundle.lock == sample.made.lock
        assert [root.to_json() for root in bundle.index] == [root.to_json() for root in sample.made.content.index]
        assert len(bundle.roots("image")) == 2
        assert len(bundle.roots("referrer")) == 1
        assert not bundle.missing()
        assert bundle.size == len(sample.raw)
        start, size = bundle.installer_range
        assert sample.raw[start : start + size] == ZIP


def test_without_an_installer_there_is_no_range(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "x.airbundle", some(), installer=None).path
    with open_bundle([path]) as bundle:
        assert not bundle.has_installer
        assert bundle.installer_range == (path.stat().st_size, 0)
        bundle.verify_head()


def test_blobs_are_read_at_random(sample: Sample) -> None:
    with open_bundle([sample.path]) as bundle:
        for digest, data in sample.made.bytes.items():
            assert bundle.has_blob(digest)
            assert bundle.blob_size(digest) == len(data)
            assert bundle.read_small(digest, len(data)) == data
            buffer = bytearray(100)
            count = bundle.read_into(digest, 5, memoryview(buffer))
            assert bytes(buffer[:count]) == data[5:105]
            assert bundle.read_into(digest, len(data), memoryview(buffer)) == 0
            pieces = [os.pread(fd, length, at) for fd, at, length in bundle.segments(digest, 3, 50)]
            assert b"".join(pieces) == data[3:53]
            assert sum(length for _, _, length in bundle.segments(digest)) == len(data)


def test_small_reads_are_bounded(sample: Sample) -> None:
    digest, data = max(sample.made.bytes.items(), key=lambda blob: len(blob[1]))
    with open_bundle([sample.path]) as bundle, pytest.raises(VerificationError, match="more than"):
        bundle.read_small(digest, len(data) - 1)


@pytest.mark.parametrize("start", [0, 1, 4000, 66_000])
def test_blobs_are_copied_from_anywhere(sample: Sample, start: int) -> None:
    digest, data = max(sample.made.bytes.items(), key=lambda blob: len(blob[1]))
    target = bytearray(data[:start].ljust(len(data), b"?"))

    def write(offset: int, data: memoryview) -> None:
        target[offset : offset + len(data)] = data

    with open_bundle([sample.path]) as bundle:
        bundle.copy_blob(Descriptor("", digest, len(data)), write, start=start, hasher=hashlib.sha256(data[:start]))
        assert bytes(target) == data
        bundle.copy_blob(Descriptor("", digest, len(data)), write, start=start, hasher=hashlib.sha256(b"wrong"))
        assert bytes(target) == data, "a wrong beginning is copied anew"


def test_what_is_not_there_is_not_found(sample: Sample) -> None:
    stranger = sha256(b"stranger")
    with open_bundle([sample.path]) as bundle:
        assert not bundle.has_blob(stranger)
        for use in (bundle.blob_size, bundle.segments):
            with pytest.raises(NotFound, match=stranger):
                use(stranger)
        with pytest.raises(NotFound):
            bundle.copy_blob(Descriptor("", stranger, 8), lambda offset, data: None)


def test_a_delta_names_its_base_for_what_it_lacks(tmp_path: Path) -> None:
    made = some()
    base = BaseBundle(Base("test", "0.9.0", 1, sha256(b"")), set(made.content.others))
    path = write_bundle(tmp_path / "x.airbundle", made, base=base).path
    with open_bundle([path]) as bundle:
        bundle.verify_head()
        bundle.verify_blobs()
        lacking = [descriptor.digest for descriptor in bundle.missing()]
        assert lacking == list(made.content.others)
        with pytest.raises(NotFound) as caught:
            bundle.read_small(lacking[0], 100)
        assert "test 0.9.0" in caught.value.hint


# Damage


def regions(bundle: BundleFile) -> Iterator[tuple[str, int, int]]:
    """Yield every region of the file: name, beginning, end."""
    position = 0
    members: list[Member] = [*bundle.head.values(), *bundle.table]
    for member in members:
        yield f"frame of {member.name}", position, member.offset
        yield f"data of {member.name}", member.offset, member.offset + member.size
        yield f"padding of {member.name}", member.offset + member.size, member.end
        position = member.end
    start, size = bundle.installer_range
    yield "end", position, start
    yield "installer", start, start + size


def refused(scratch: Path, raw: bytes) -> VerificationError:
    scratch.write_bytes(raw)
    with pytest.raises(VerificationError) as caught:
        verify(scratch)
    assert caught.value.exit_code == 5
    return caught.value


def test_a_bit_flipped_in_any_region_is_found(sample: Sample, scratch: Path) -> None:
    with open_bundle([sample.path]) as bundle:
        spans = list(regions(bundle))
    assert spans[-1][2] == len(sample.raw)
    for name, start, end in spans:
        for position in {start, (start + end) // 2, end - 1} if end > start else ():
            raw = bytearray(sample.raw)
            raw[position] ^= 1 << (position % 8)
            error = refused(scratch, bytes(raw))
            assert error.problem, name


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_bit_flipped_is_found(sample: Sample, scratch: Path, data: st.DataObject) -> None:
    raw = bytearray(sample.raw)
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    refused(scratch, bytes(raw))


@pytest.mark.parametrize(
    ("region", "named"),
    [
        ("frame of index.json", "index.json"),
        ("data of oci-layout", "oci-layout"),
        ("data of index.json", "index.json"),
        ("data of manifest.json", "manifest.json"),
        ("data of airbundle/statement.json", "statement"),
        ("padding of airbundle/statement.json", "padding after airbundle/statement.json"),
        ("data of airbundle/signatures", "signature"),
        ("data of airbundle/lock.json", "airbundle/lock.json"),
        ("data of airbundle/toc.json", "airbundle/toc.json"),
        ("frame of blobs", "header of blobs/sha256/"),
        ("padding of blobs", "padding after blobs/sha256/"),
        ("data of blobs", "blob"),
        ("end", "end of the archive"),
        ("installer", "installer"),
    ],
)
def test_the_region_that_is_damaged_is_named(sample: Sample, scratch: Path, region: str, named: str) -> None:
    with open_bundle([sample.path]) as bundle:
        start, end = next(
            (start, end) for name, start, end in regions(bundle) if name.startswith(region) and end > start
        )
    raw = bytearray(sample.raw)
    raw[(start + end) // 2] ^= 1
    assert named in refused(scratch, bytes(raw)).problem


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_truncated_bundle_is_refused(sample: Sample, scratch: Path, data: st.DataObject) -> None:
    with open_bundle([sample.path]) as bundle:
        borders = [border for _, start, end in regions(bundle) for border in (start, end)]
    length = data.draw(st.sampled_from(borders[:-1]) | st.integers(0, len(sample.raw) - 1))
    assert "truncated" in refused(scratch, sample.raw[:length]).problem


@given(more=st.binary(min_size=1, max_size=600))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_appended_bytes_are_refused(sample: Sample, scratch: Path, more: bytes) -> None:
    assert f"{len(more)} bytes follow the end" in refused(scratch, sample.raw + more).problem


def test_a_stowaway_between_members_is_refused(sample: Sample, scratch: Path) -> None:
    with open_bundle([sample.path]) as bundle:
        members = [*bundle.head.values(), *bundle.table]
        places = [member.start for member in members] + [bundle.table.end]
    stowaway = header("evil", 4) + b"evil".ljust(512, b"\0")
    for place in places:
        refused(scratch, sample.raw[:place] + stowaway + sample.raw[place:])


def test_a_stowaway_in_place_of_padding_is_refused(sample: Sample, scratch: Path) -> None:
    with open_bundle([sample.path]) as bundle:
        gaps = [(start, end) for name, start, end in regions(bundle) if name.startswith("padding") and end > start]
    for start, end in gaps:
        refused(scratch, sample.raw[:start] + b"\1" * (end - start) + sample.raw[end:])


def test_two_members_exchanged_are_refused(sample: Sample, scratch: Path) -> None:
    with open_bundle([sample.path]) as bundle:
        first, second = list(bundle.table)[:2]
    raw = sample.raw
    swapped = raw[: first.start] + raw[second.start : second.end] + raw[first.start : first.end] + raw[second.end :]
    refused(scratch, swapped)


def test_every_damaged_blob_is_listed(sample: Sample, scratch: Path) -> None:
    raw = bytearray(sample.raw)
    with open_bundle([sample.path]) as bundle:
        harmed = [bundle.table[digest] for digest in sample.made.content.others[:2]]
    for member in harmed:
        raw[member.offset] ^= 4
    scratch.write_bytes(raw)
    with open_bundle([scratch]) as bundle, pytest.raises(DigestMismatch) as caught:
        bundle.verify_blobs()
    assert [finding.expected for finding in caught.value.findings] == [member.digest for member in harmed]


def test_a_damaged_blob_is_not_handed_out(sample: Sample, scratch: Path) -> None:
    raw = bytearray(sample.raw)
    digest, data = max(sample.made.bytes.items(), key=lambda blob: len(blob[1]))
    with open_bundle([sample.path]) as bundle:
        raw[bundle.table[digest].offset + 17] ^= 1
    scratch.write_bytes(raw)
    with open_bundle([scratch]) as bundle:
        with pytest.raises(DigestMismatch, match=digest):
            bundle.read_small(digest, len(data))
        with pytest.raises(DigestMismatch, match=digest):
            bundle.copy_blob(Descriptor("", digest, len(data)), lambda offset, data: None)


# Hostile heads: the signer's key is not needed to write these, so everything must be bounded before it is believed.


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"x", id="short"),
        pytest.param(bytes(512), id="a block of zeros"),
        pytest.param(bytes(100_000), id="zeros"),
        pytest.param(b"PK\3\4" * 1000, id="zip"),
        pytest.param(noise("no bundle", 70_000), id="noise"),
    ],
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "x.airbundle"
    path.write_bytes(raw)
    with pytest.raises(VerificationError):
        open_bundle([path])


def test_what_is_not_there_or_no_file_is_a_usage_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "nothing.airbundle", tmp_path, tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(UsageError):
            open_bundle([path])


@pytest.mark.parametrize("name", HEAD)
def test_a_member_that_claims_terabytes_reads_nothing(sample: Sample, tmp_path: Path, name: str) -> None:
    """The file really is that long, sparse; the claim alone must not make the reader allocate."""
    with open_bundle([sample.path]) as bundle:
        place = bundle.head[name].start
    path = tmp_path / "x.airbundle"
    path.write_bytes(sample.raw[:place] + header(name, 8**11 - 1))
    os.truncate(path, 8**11 + 10**6)
    with pytest.raises(VerificationError, match=name):
        open_bundle([path])


def test_sizes_in_headers_must_be_the_signed_ones(sample: Sample, tmp_path: Path) -> None:
    with open_bundle([sample.path]) as bundle:
        documents = {name: bundle.member_bytes(name) for name in HEAD}
    documents["airbundle/toc.json"] += b" "
    path = tmp_path / "x.airbundle"
    path.write_bytes(build_head(documents)[0])
    with pytest.raises(VerificationError, match="signed"):
        open_bundle([path])


def test_another_docker_view_is_refused(sample: Sample, tmp_path: Path) -> None:
    with open_bundle([sample.path]) as bundle:
        documents = {name: bundle.member_bytes(name) for name in HEAD}
        blobs = sample.raw[bundle.table.start :]
    for other in (b"[]", documents[DOCKER_NAME][:-1] + b" ", documents[DOCKER_NAME] + b" " * 500):
        head = build_head({**documents, DOCKER_NAME: other})[0]
        path = tmp_path / "x.airbundle"
        path.write_bytes(head + blobs)
        with open_bundle([path]) as bundle, pytest.raises(VerificationError):
            bundle.verify_head()


def incomplete(tmp_path: Path, toc: Toc, made: Made) -> Path:
    """Write a bundle as a faulty builder would: signed, but with another toc."""
    from airbundle.bundle.table import BlobTable
    from airbundle.bundle.tar import frame

    plan = plan_bundle(made.content)
    path = write_bundle(tmp_path / "whole.airbundle", made, installer=None).path
    with open_bundle([path]) as bundle:
        documents = {name: bundle.member_bytes(name) for name in HEAD}
        statement = bundle.statement
        subjects = {**statement.subjects, "airbundle/toc.json": (sha256(toc.to_bytes()), len(toc.to_bytes()))}
        documents["airbundle/toc.json"] = toc.to_bytes()
        # As long as it will be, with the digits of another size.
        contents = replace(Contents.of(toc), size=statement.contents.size)
        documents["airbundle/statement.json"] = replace(statement, subjects=subjects, contents=contents).to_bytes()
        _, _, end = build_head(documents)
        contents = replace(contents, size=BlobTable(toc.blobs, end).end + len(END))
        documents["airbundle/statement.json"] = replace(statement, subjects=subjects, contents=contents).to_bytes()
        head, _, end = build_head(documents)
        parts = [head]
        for member in BlobTable(toc.blobs, end):
            data = bundle.read_small(member.digest, member.size) if bundle.has_blob(member.digest) else b"stray"
            parts += [frame(member), data, bytes(padded(member.size) - member.size)]
    assert plan.total_size
    other = tmp_path / "other.airbundle"
    other.write_bytes(b"".join([*parts, END]))
    return other


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"size": 1}, "bytes follow the end"),
        ({"size": 1 << 40}, "expected 1099511627776 bytes"),
        ({"blobs": 1}, "other blobs than the statement says"),
        ({"left_out": 1}, "other blobs than the statement says"),
        ({"left_out_size": 1}, "other blobs than the statement says"),
    ],
)
def test_a_statement_that_tells_another_amount_is_refused(tmp_path: Path, changed: dict[str, int], match: str) -> None:
    path = write_bundle(tmp_path / "x.airbundle", some()).path
    with open_bundle([path]) as bundle:
        member, raw, said = bundle.head["airbundle/statement.json"], path.read_bytes(), bundle.statement
    other = replace(said, contents=replace(said.contents, **changed)).to_bytes()
    head = header(member.name, len(other)) + other.ljust(padded(len(other)), b"\0")
    path.write_bytes(raw[: member.start] + head + raw[member.end :])
    with open_bundle([path]) as bundle, pytest.raises(VerificationError, match=match):
        len(bundle.table)


def test_a_size_that_only_the_toc_contradicts_is_refused(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "x.airbundle", some(), installer=None).path
    with open_bundle([path]) as bundle:
        member, raw, said = bundle.head["airbundle/statement.json"], path.read_bytes(), bundle.statement
    other = replace(said, contents=replace(said.contents, size=said.contents.size + 512)).to_bytes()
    path.write_bytes(raw[: member.offset] + other + raw[member.offset + member.size :] + bytes(512))
    with open_bundle([path]) as bundle, pytest.raises(VerificationError, match="another size than follows from"):
        len(bundle.table)


def test_a_blob_that_the_builder_forgot_is_named(tmp_path: Path) -> None:
    made = some()
    toc = plan_bundle(made.content).toc
    for gone in (toc.blobs[0][0], toc.blobs[-1][0]):
        kept = tuple(blob for blob in toc.blobs if blob[0] != gone)
        path = incomplete(tmp_path, Toc(kept, toc.metadata - 1), made)
        with open_bundle([path]) as bundle, pytest.raises(VerificationError):
            bundle.verify_head()


def test_a_blob_that_nothing_needs_is_named(tmp_path: Path) -> None:
    made = some()
    toc = plan_bundle(made.content).toc
    path = incomplete(tmp_path, Toc((*toc.blobs, (sha256(b"stray"), 5)), toc.metadata), made)
    with open_bundle([path]) as bundle, pytest.raises(VerificationError, match=sha256(b"stray")):
        bundle.verify_head()


def test_a_manifest_is_read_once(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_bundle([sample.path]) as bundle:
        asked: list[str] = []
        read = bundle.manifest

        def manifest(descriptor: Descriptor) -> bytes | None:
            asked.append(descriptor.digest)
            return read(descriptor)

        monkeypatch.setattr(bundle, "manifest", manifest)
        bundle.verify_head()
    assert set(asked) >= {root.digest for root in sample.made.content.index}
    assert len(asked) == len(set(asked))


def test_metadata_must_be_what_it_is_said_to_be(tmp_path: Path) -> None:
    made = some()
    toc = plan_bundle(made.content).toc
    for metadata in (toc.metadata - 1, toc.metadata + 1):
        path = incomplete(tmp_path, Toc(toc.blobs, metadata), made)
        with open_bundle([path]) as bundle, pytest.raises(VerificationError, match="manifests and configs"):
            bundle.verify_head()


def test_a_file_that_shrinks_while_it_is_read_is_an_error(sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / "x.airbundle"
    path.write_bytes(sample.raw)
    with open_bundle([path]) as bundle:
        bundle.verify_head()
        os.truncate(path, bundle.table.end - 2000)
        with pytest.raises(VerificationError):
            bundle.verify_blobs()


# Others read it, too.


def test_python_and_gnu_tar_read_it(sample: Sample, tmp_path: Path) -> None:
    with tarfile.open(sample.path) as tar, open_bundle([sample.path]) as bundle:
        assert tar.getnames() == [member.name for member in (*bundle.head.values(), *bundle.table)]
        for digest, data in sample.made.bytes.items():
            stream = tar.extractfile(f"blobs/sha256/{digest[7:]}")
            assert stream is not None
            assert stream.read() == data
    subprocess.run(["tar", "-xf", sample.path], cwd=tmp_path, check=True)
    for digest, data in sample.made.bytes.items():
        assert (tmp_path / "blobs" / "sha256" / digest[7:]).read_bytes() == data


@pytest.mark.parametrize("name", [REDIS, NGINX])
def test_skopeo_inspects_it(sample: Sample, name: str) -> None:
    command = [program("skopeo", "skopeo"), "inspect", "--raw", f"oci-archive:{sample.path}:{name}"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    assert sha256(raw) in {root.digest for root in sample.made.content.index}


def test_openssl_checks_its_signature_with_what_tar_takes_out(sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "release.pub").write_bytes(FIRST.public_key.pem)
    script = """
    tar --occurrence=1 -xOf "$0" airbundle/statement.json > statement.json
    tar --occurrence=1 -xOf "$0" airbundle/signatures | head -n 1 | cut -d ' ' -f 2 | base64 -d > signature
    openssl dgst -sha256 -verify release.pub -signature signature statement.json
    """
    command = ["sh", "-euc", script, str(sample.path)]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout == "Verified OK\n"
    assert not told.stderr
    tail = subprocess.run(["tail", "-c", str(len(ZIP)), sample.path], capture_output=True, check=True).stdout
    with open_bundle([sample.path]) as bundle:
        assert bundle.statement.subjects["installer"] == (sha256(tail), len(ZIP))


def test_an_artifact_of_one_empty_config_verifies(tmp_path: Path) -> None:
    data = b"a file"
    raw = artifact_manifest("application/vnd.airbundle.file.v1", (Descriptor("text/plain", sha256(data), len(data)),))
    root = replace(
        locked("files/a:1", tiny_image("x"), kind="file"), descriptor=Descriptor(OCI_MANIFEST, sha256(raw), len(raw))
    )
    content = content_of(lock_of([root]), {sha256(raw): raw})
    path = write_bundle(tmp_path / "x.airbundle", Made(content, {sha256(data): data})).path
    with open_bundle([path]) as bundle:
        bundle.verify_head()
        bundle.verify_blobs()
        assert bundle.index[0].artifact_type == "application/vnd.airbundle.file.v1"


def test_an_empty_bundle_is_one(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "x.airbundle", make_images({})).path
    with open_bundle([path]) as bundle:
        bundle.verify_head()
        bundle.verify_blobs()
