from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from airbundle.bundle.digest import hex_of, sha256
from airbundle.bundle.oci import Descriptor
from airbundle.errors import AirbundleError, Busy, HostError, NoPermission, UsageError, VerificationError
from airbundle.store.plan import BundlePlan, plan_bundle
from airbundle.store.reader import open_bundle
from airbundle.store.writer import BundleWriter
from tests.support.bundles import Made, fill, make_images, write_bundle
from tests.support.images import layer, noise, tiny_image
from tests.support.keys import FIRST, signature
from tests.support.process import program

REDIS = "docker.io/library/redis:7.2"
MIB = 1024 * 1024
ZIP = b"PK the zip"


def some() -> Made:
    base = layer({"base": noise("base", 300_000)})
    images = {REDIS: tiny_image("redis", sizes=(10, 5000, 70_000), shared=[base])}
    images["quay.io/x/nginx:1"] = tiny_image("nginx", shared=[base])
    return make_images(images)


def large(size: int = 24 * MIB) -> Made:
    return make_images({REDIS: tiny_image("large", sizes=(size, 1000), compression="none")})


def signatures(plan: BundlePlan) -> list[tuple[str, bytes]]:
    return [signature(FIRST, plan.statement)]


def largest(writer: BundleWriter) -> Descriptor:
    return max(writer.pending(), key=lambda blob: blob.size)


def left_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_equal_content_gives_equal_bytes_wherever_it_is_built(tmp_path: Path) -> None:
    paths = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        paths.append(write_bundle(tmp_path / name / f"{name}.airbundle", some()).path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_order_in_which_blobs_arrive_does_not_matter(tmp_path: Path) -> None:
    made = some()
    expected = write_bundle(tmp_path / "a.airbundle", made, installer=ZIP).path.read_bytes()
    plan = plan_bundle(made.content, installer=ZIP)
    with BundleWriter.create(plan, tmp_path / "b.airbundle") as writer:
        threads = [
            threading.Thread(target=arrive, args=(writer, blob, made.bytes[blob.digest]))
            for blob in reversed(writer.pending())
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        writer.finish()
    assert (tmp_path / "b.airbundle").read_bytes() == expected


def arrive(writer: BundleWriter, blob: Descriptor, data: bytes, piece: int = 777) -> None:
    write = writer.write_at(blob.digest)
    for offset in range(0, len(data), piece):
        write(offset, memoryview(data)[offset : offset + piece])
    writer.done(blob.digest)


def test_nothing_bears_the_final_name_before_the_end(tmp_path: Path) -> None:
    made = some()
    with BundleWriter.create(plan_bundle(made.content), tmp_path / "x.airbundle") as writer:
        assert left_in(tmp_path) == ["x.airbundle.partial", "x.airbundle.partial.journal"]
        fill(writer, writer.plan, made)
        built = writer.finish()
    assert left_in(tmp_path) == ["x.airbundle", "x.airbundle.sha256"]
    assert built.size == (tmp_path / "x.airbundle").stat().st_size == writer.plan.total_size


def test_the_file_has_its_whole_size_at_once(tmp_path: Path) -> None:
    plan = plan_bundle(large().content)
    with BundleWriter.create(plan, tmp_path / "x.airbundle"):
        status = (tmp_path / "x.airbundle.partial").stat()
    assert status.st_size == plan.total_size
    assert status.st_blocks * 512 >= plan.total_size


def test_finishing_too_early_is_refused(tmp_path: Path) -> None:
    made = some()
    with BundleWriter.create(plan_bundle(made.content), tmp_path / "x.airbundle") as writer:
        fill(writer, writer.plan, made, count=1)
        with pytest.raises(AirbundleError, match="not done"):
            writer.finish()
    assert not (tmp_path / "x.airbundle").exists()


def test_a_blob_must_be_whole_to_be_done(tmp_path: Path) -> None:
    made = some()
    with BundleWriter.create(plan_bundle(made.content), tmp_path / "x.airbundle") as writer:
        blob = largest(writer)
        writer.write_at(blob.digest)(0, memoryview(made.bytes[blob.digest])[:-1])
        with pytest.raises(AirbundleError, match="were written"):
            writer.done(blob.digest)
        writer.write_at(blob.digest)(blob.size - 1, memoryview(made.bytes[blob.digest])[-1:])
        writer.done(blob.digest)


@pytest.mark.parametrize("offset", [-1, 1])
def test_a_blob_stays_in_its_place(tmp_path: Path, offset: int) -> None:
    made = some()
    with BundleWriter.create(plan_bundle(made.content), tmp_path / "x.airbundle") as writer:
        blob = largest(writer)
        with pytest.raises(VerificationError, match=blob.digest):
            writer.write_at(blob.digest)(offset, memoryview(made.bytes[blob.digest]))


def test_a_transfer_may_start_over(tmp_path: Path) -> None:
    made = some()
    with BundleWriter.create(plan_bundle(made.content), tmp_path / "x.airbundle") as writer:
        blob = largest(writer)
        write = writer.write_at(blob.digest)
        write(0, memoryview(bytes(5000)))
        write(0, memoryview(made.bytes[blob.digest]))
        writer.done(blob.digest)
        fill(writer, writer.plan, made)
        writer.finish()
    with open_bundle([tmp_path / "x.airbundle"]) as bundle:
        bundle.verify_head()
        bundle.verify_blobs()


def test_checksums_are_those_of_sha256sum(tmp_path: Path) -> None:
    made = some()
    plan = plan_bundle(made.content, installer=ZIP)
    given = signatures(plan)
    with BundleWriter.create(plan, tmp_path / "x.airbundle", signatures=given) as writer:
        fill(writer, plan, made)
        built = writer.finish()
    assert built.sha256 == hashlib.sha256((tmp_path / "x.airbundle").read_bytes()).hexdigest()
    done = subprocess.run(["sha256sum", "-c", "x.airbundle.sha256"], cwd=tmp_path, capture_output=True, check=False)
    assert done.stdout == b"x.airbundle: OK\n"
    with open_bundle([built.path]) as bundle:
        assert bundle.signatures == given


def test_checksums_can_be_left_out(tmp_path: Path) -> None:
    built = write_bundle(tmp_path / "x.airbundle", some(), checksum=False)
    assert built.sha256 is None
    assert left_in(tmp_path) == ["x.airbundle"]


def test_stale_checksums_do_not_stay_beside_another_bundle(tmp_path: Path) -> None:
    write_bundle(tmp_path / "x.airbundle", some())
    (tmp_path / "x.airbundle.sig").write_bytes(b"of the old one")
    write_bundle(tmp_path / "x.airbundle", large(MIB), checksum=False)
    assert left_in(tmp_path) == ["x.airbundle"]


def test_an_interrupted_build_goes_on(tmp_path: Path) -> None:
    made = some()
    expected = write_bundle(tmp_path / "whole.airbundle", made, installer=ZIP).path.read_bytes()
    plan = plan_bundle(made.content, installer=ZIP)
    with BundleWriter.create(plan, tmp_path / "x.airbundle") as writer:
        count = len(writer.pending())
        fill(writer, plan, made, count=2)
    with BundleWriter.create(plan, tmp_path / "x.airbundle") as writer:
        assert len(writer.pending()) == count - 2
        assert writer.resumed > 0
        fill(writer, plan, made)
        writer.finish()
    assert (tmp_path / "x.airbundle").read_bytes() == expected


def test_a_half_fetched_blob_goes_on(tmp_path: Path) -> None:
    made = large()
    plan = plan_bundle(made.content)
    with BundleWriter.create(plan, tmp_path / "x.airbundle") as writer:
        blob = largest(writer)
        data = memoryview(made.bytes[blob.digest])
        assert writer.resume_point(blob.digest)[0] == 0
        for offset in range(0, 19 * MIB, MIB):
            writer.write_at(blob.digest)(offset, data[offset : offset + MIB])
    with BundleWriter.create(plan, tmp_path / "x.airbundle") as writer:
        start, hasher = writer.resume_point(blob.digest)
        assert start == 19 * MIB
        hasher.update(data[start:])
        assert hasher.hexdigest() == hex_of(blob.digest)
        writer.write_at(blob.digest)(start, data[start:])
        writer.done(blob.digest)
        fill(writer, plan, made)
        writer.finish()
    with open_bundle([tmp_path / "x.airbundle"]) as bundle:
        bundle.verify_blobs()


def test_another_bundle_starts_anew(tmp_path: Path) -> None:
    with BundleWriter.create(plan_bundle(large(MIB).content), tmp_path / "x.airbundle") as writer:
        fill(writer, writer.plan, large(MIB))
    made = some()
    plan = plan_bundle(made.content)
    with BundleWriter.create(plan, tmp_path / "x.airbundle") as writer:
        assert len(writer.pending()) == len(plan.blobs_to_fetch)
        fill(writer, plan, made)
        writer.finish()
    assert (tmp_path / "x.airbundle").read_bytes() == write_bundle(
        tmp_path / "y.airbundle", made, installer=None
    ).path.read_bytes()


def cut_short(path: Path) -> None:
    os.truncate(path, 5)


@pytest.mark.parametrize("harm", [Path.unlink, cut_short])
def test_a_partial_file_that_was_harmed_starts_anew(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    made = some()
    plan = plan_bundle(made.content)
    with BundleWriter.create(plan, tmp_path / "x.airbundle") as writer:
        fill(writer, plan, made)
    harm(tmp_path / "x.airbundle.partial")
    with BundleWriter.create(plan, tmp_path / "x.airbundle") as writer:
        assert len(writer.pending()) == len(plan.blobs_to_fetch)


def test_a_torn_journal_counts_for_what_is_whole(tmp_path: Path) -> None:
    made = some()
    plan = plan_bundle(made.content)
    with BundleWriter.create(plan, tmp_path / "x.airbundle") as writer:
        fill(writer, plan, made, count=2)
    journal = tmp_path / "x.airbundle.partial.journal"
    journal.write_bytes(journal.read_bytes()[:-5] + b"\nnonsense \xff\xfe\ndone zz\n")
    with BundleWriter.create(plan, tmp_path / "x.airbundle") as writer:
        assert len(writer.pending()) == len(plan.blobs_to_fetch) - 1


def reboot(journal: Path) -> None:
    lines = journal.read_text().splitlines()
    changed = [f"{line.rsplit(' ', 1)[0]} another-boot" if line.startswith("run ") else line for line in lines]
    journal.write_text("\n".join(changed) + "\n")


@pytest.mark.parametrize(
    "line", ["part {} " + "9" * 5000, "part {} " + "9" * 50, "done " + "0" * 100_000, "part {} \u0661"]
)
def test_a_journal_with_records_of_no_use_is_no_obstacle(tmp_path: Path, line: str) -> None:
    made = some()
    plan = plan_bundle(made.content, installer=ZIP)
    with BundleWriter.create(plan, tmp_path / "x") as writer:
        fill(writer, plan, made, count=1)
        blob = largest(writer)
    with (tmp_path / "x.partial.journal").open("a", encoding="utf-8") as journal:
        journal.write(line.format(hex_of(blob.digest)) + "\n")
    with BundleWriter.create(plan, tmp_path / "x") as writer:
        start, _ = writer.resume_point(blob.digest)
        assert start <= blob.size
        fill(writer, plan, made)
        writer.finish()
    assert (tmp_path / "x").read_bytes() == write_bundle(tmp_path / "y", made).path.read_bytes()


def test_a_partial_file_that_is_cut_while_it_is_written_is_told(tmp_path: Path) -> None:
    made = large(3 * MIB)
    plan = plan_bundle(made.content)
    with BundleWriter.create(plan, tmp_path / "x") as writer:
        blob = largest(writer)
        writer.write_at(blob.digest)(0, memoryview(made.bytes[blob.digest])[: 2 * MIB])
    with BundleWriter.create(plan, tmp_path / "x") as writer:
        os.truncate(tmp_path / "x.partial", 100_000)
        with pytest.raises(VerificationError, match=r"x\.partial"):
            writer.resume_point(blob.digest)


def test_a_partial_file_that_is_exchanged_does_not_get_the_final_name(tmp_path: Path) -> None:
    made = some()
    plan = plan_bundle(made.content, installer=ZIP)
    with BundleWriter.create(plan, tmp_path / "x") as writer:
        fill(writer, plan, made)
        (tmp_path / "x.partial").rename(tmp_path / "away")
        (tmp_path / "x.partial").write_bytes(b"\0" * plan.total_size)
        with pytest.raises(HostError, match="cut or exchanged"):
            writer.finish()
    assert not (tmp_path / "x").exists()


def test_after_a_reboot_finished_blobs_are_hashed_first(tmp_path: Path) -> None:
    made = some()
    plan = plan_bundle(made.content)
    with BundleWriter.create(plan, tmp_path / "x.airbundle") as writer:
        order = [blob.digest for blob in writer.pending()]
        fill(writer, plan, made, count=3)
    with (tmp_path / "x.airbundle.partial").open("r+b") as file:
        file.seek(plan.table[order[1]].offset)
        file.write(b"\xff")
    reboot(tmp_path / "x.airbundle.partial.journal")
    with BundleWriter.create(plan, tmp_path / "x.airbundle") as writer:
        assert {order[1], *order[3:]} == {blob.digest for blob in writer.pending()}
    with BundleWriter.create(plan, tmp_path / "x.airbundle") as writer:
        assert {order[1], *order[3:]} == {blob.digest for blob in writer.pending()}, "and only once"


def test_two_builds_of_one_output_are_kept_apart(tmp_path: Path) -> None:
    plan = plan_bundle(some().content)
    with BundleWriter.create(plan, tmp_path / "x.airbundle"):
        with pytest.raises(Busy, match=str(os.getpid())):
            BundleWriter.create(plan, tmp_path / "x.airbundle")
    with BundleWriter.create(plan, tmp_path / "x.airbundle"):
        pass


def test_a_directory_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such directory"):
        BundleWriter.create(plan_bundle(some().content), tmp_path / "nowhere" / "x.airbundle")


def test_a_journal_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "x.airbundle.partial.journal").symlink_to(tmp_path / "victim")
    with pytest.raises(AirbundleError):
        BundleWriter.create(plan_bundle(some().content), tmp_path / "x.airbundle")
    assert (tmp_path / "victim").read_text() == "precious"


# What follows needs a process of its own: it is killed, or lives in a file system or under a limit of its own.

_BUILD = """
import sys, time
from pathlib import Path
from airbundle.errors import AirbundleError
from airbundle.store.plan import plan_bundle
from airbundle.store.writer import BundleWriter
from tests.store.test_writer import large
from tests.support.bundles import fill
MIB = 1024 * 1024
out, mode = Path(sys.argv[1]), sys.argv[2]
made = large()
plan = plan_bundle(made.content)
try:
    with BundleWriter.create(plan, out) as writer:
        print("preallocated" if writer._preallocated else "sparse", flush=True)
        if mode == "hang":
            fill(writer, plan, made, count=0)
            blob = max(writer.pending(), key=lambda blob: blob.size)
            data = memoryview(made.bytes[blob.digest])
            small = next(other for other in writer.pending() if other != blob)
            writer.write_at(small.digest)(0, memoryview(made.bytes[small.digest]))
            writer.done(small.digest)
            for offset in range(0, 20 * MIB, MIB):
                writer.write_at(blob.digest)(offset, data[offset:offset + MIB])
            print("half", flush=True)
            time.sleep(600)
        fill(writer, plan, made)
        writer.finish()
except AirbundleError as error:
    print(type(error).__name__, error.exit_code, error.problem, "|", error.hint)
print(sorted(path.name for path in out.parent.iterdir()))
"""


def build_command(out: Path, mode: str = "build") -> list[str]:
    return [sys.executable, "-c", _BUILD, str(out), mode]


def test_a_killed_build_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    made = large()
    plan = plan_bundle(made.content)
    expected = write_bundle(tmp_path / "whole.airbundle", made, installer=None).path.read_bytes()
    out = tmp_path / "x.airbundle"
    with subprocess.Popen(build_command(out, "hang"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "half" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGKILL)
    with BundleWriter.create(plan, out) as writer:
        assert writer.resumed > 0
        start, _ = writer.resume_point(largest(writer).digest)
        assert start >= 16 * MIB
        fill(writer, plan, made)
        writer.finish()
    assert out.read_bytes() == expected


def mounted(kind: str, options: str, out: Path) -> str:
    """Run a build onto a file system of its own; as root, or as root of a user namespace."""
    unshare = [program("unshare", "util-linux"), "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    mount = f'mount -t {kind} -o {options} none "$0" && shift 0 && exec "$@"'
    command = [*unshare, "sh", "-c", mount, str(out.parent), *build_command(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_full_disk_is_told_at_once_and_nothing_stays(tmp_path: Path) -> None:
    told = mounted("tmpfs", "size=10m", tmp_path / "x.airbundle")
    size = plan_bundle(large().content).total_size
    assert told.startswith("NoSpace 7 ")
    assert f"needs {size} bytes" in told
    assert "are lacking" in told
    assert told.endswith("[]\n")


def test_a_file_system_that_cannot_preallocate_is_used_in_file_order(tmp_path: Path) -> None:
    told = mounted("ramfs", "mode=0700", tmp_path / "x.airbundle")
    assert told.splitlines() == ["sparse", "['x.airbundle', 'x.airbundle.sha256']"]


def test_a_file_system_without_large_files_leads_to_volumes(tmp_path: Path) -> None:
    command = ["sh", "-c", 'ulimit -f 2048; exec "$@"', "sh", *build_command(tmp_path / "x.airbundle")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.startswith("NoSpace 7 ")
    assert "--split-size" in told
    assert told.endswith("[]\n")


def test_a_directory_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    unshare = [program("unshare", "util-linux"), "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    command = [*unshare, "sh", "-c", mount, str(tmp_path), *build_command(tmp_path / "x.airbundle")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.startswith(f"{NoPermission.__name__} 7 ")
    assert str(tmp_path) in told


def test_blobs_copied_by_the_kernel_are_as_good(tmp_path: Path) -> None:
    made = some()
    source = write_bundle(tmp_path / "old.airbundle", made, installer=None)
    plan = plan_bundle(made.content)
    with open_bundle([source.path]) as old, BundleWriter.create(plan, tmp_path / "new.airbundle") as writer:
        for blob in writer.pending():
            for (fd, offset, length), (to, at, _) in zip(old.segments(blob.digest), writer.segments(blob.digest)):
                assert os.copy_file_range(fd, to, length, offset, at) == length
            writer.copied(blob.digest)
        writer.finish()
    assert (tmp_path / "new.airbundle").read_bytes() == source.path.read_bytes()


def test_digests_of_the_test_are_those_of_the_bytes() -> None:
    assert all(sha256(data) == digest for digest, data in some().bytes.items())


@pytest.mark.parametrize("kind", ["directory", "pipe", "directory of checksums", "control characters"])
def test_an_output_that_can_not_be_is_told_before_anything_is_fetched(tmp_path: Path, kind: str) -> None:
    out = tmp_path / ("a\nb.airbundle" if kind == "control characters" else "a.airbundle")
    if kind == "pipe":
        os.mkfifo(out)
    elif kind == "directory":
        out.mkdir()
    elif kind == "directory of checksums":
        (tmp_path / "a.airbundle.sha256").mkdir()
    before = left_in(tmp_path)
    with pytest.raises(UsageError):
        BundleWriter.create(plan_bundle(some().content, installer=None), out)
    assert left_in(tmp_path) == before


def test_a_link_at_the_output_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    out = tmp_path / "x.airbundle"
    out.symlink_to("kept")
    write_bundle(out, some())
    assert not out.is_symlink()
    assert (tmp_path / "kept").read_text() == "kept"


def test_a_link_to_nowhere_at_the_output_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "x.airbundle"
    out.symlink_to("nowhere")
    with pytest.raises(UsageError, match="symbolic link to nowhere, which is not there"):
        write_bundle(out, some())
    assert out.is_symlink()


def test_a_name_that_is_no_text_is_checked_by_sha256sum(tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"\xff.airbundle")
    write_bundle(out, some())
    command = [program("sha256sum", "coreutils"), "--check", os.fsdecode(b"\xff.airbundle.sha256")]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)


def test_volumes_of_an_earlier_larger_build_go_away(tmp_path: Path) -> None:
    out = tmp_path / "a.airbundle"
    write_bundle(out, large(), volume_size=8 * MIB)
    assert len(left_in(tmp_path)) > 3
    built = write_bundle(out, some(), volume_size=8 * MIB)
    volumes = [path.name for path in built.files]
    assert left_in(tmp_path) == sorted([*volumes, "a.airbundle.sha256"])
    write_bundle(out, some())
    assert left_in(tmp_path) == sorted([*volumes, "a.airbundle", "a.airbundle.sha256"])
