from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airbundle.builder.confirm import Confirmer, hasty_settings
from airbundle.builder.confirm_cache import Confirmed
from airbundle.bundle.oci import HELM_CONFIG
from airbundle.bundle.reference import Reference, parse_reference
from airbundle.errors import Interrupted
from airbundle.store.cache import Cache
from airbundle.store.tidy import CONFIRMED, tidy
from airbundle.transfer.hosts import Registries
from airbundle.transfer.registries import parse_registries
from airbundle.transfer.registry import RegistryClient
from tests.support import images
from tests.support.faults import Fault, FaultyProxy, faulty
from tests.support.images import Artifact
from tests.support.process import free_port
from tests.support.registries import Registry, run_registry
from tests.support.storage import Storage
from tests.transfer.servers import FAST

HOST = "upstream.test"
HOUR = 3600.0
HASTY = replace(FAST, retry_time=0.05)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with run_registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def proxy(registry: Registry) -> Iterator[FaultyProxy]:
    with faulty(registry.url, []) as running:
        yield running


class Bench:
    """A confirmer, its registry behind a proxy that counts, and the time."""

    def __init__(self, proxy: FaultyProxy, registry: Registry, root: Path) -> None:
        self.proxy, self.root, self.now = proxy, root, 1_000_000.0
        self.storage = Storage(registry.storage)
        self.mirrors: dict[str, Any] = {HOST: {"endpoint": [proxy.url], "default_endpoint": False}}
        self.platforms: Sequence[str] = ("linux/amd64",)

    @property
    def registries(self) -> Registries:
        return parse_registries(json.dumps({"mirrors": self.mirrors}).encode(), where="registries.yaml", base=self.root)

    def ask(self, *names: str) -> list[Confirmed]:
        wanted = [ref(name) for name in names]
        with RegistryClient(self.registries, settings=HASTY) as client:
            confirmer = Confirmer(client, self.root, platforms=self.platforms, clock=lambda: self.now)
            found = confirmer.confirm(wanted)
        assert list(found) == list(dict.fromkeys(wanted))
        return [found[image] for image in wanted]

    def asked(self) -> list[str]:
        """Return what the registry was asked since the last time."""
        seen = [f"{method} {path.partition('?')[0]}" for method, path, _ in self.proxy.requests]
        self.proxy.requests.clear()
        return seen


@pytest.fixture
def bench(proxy: FaultyProxy, registry: Registry, tmp_path: Path) -> Bench:
    return Bench(proxy, registry, tmp_path / "cache")


def ref(name: str) -> Reference:
    return parse_reference(f"{HOST}/{name}" if "//" not in name else name.replace("//", "/"))


def weight(*artifacts: Artifact) -> int:
    return sum({b.descriptor.digest: b.descriptor.size for a in artifacts for b in a.blobs}.values())


def test_what_is_there_has_digest_and_size_and_what_is_not_is_absent(bench: Bench) -> None:
    shared = images.layer({"base": b"x" * 5000})
    amd64 = images.tiny_image("a", platform="linux/amd64", shared=[shared])
    arm64 = images.tiny_image("a", platform="linux/arm64/v8", shared=[shared])
    both = images.index([amd64, arm64, images.attestation(amd64), images.attestation(arm64)])
    plain = images.tiny_image("plain", family="docker")
    both.put(bench.storage, "team/both", "1")
    plain.put(bench.storage, "team/plain", "2")
    names = ["team/both:1", "team/plain:2", "team/plain:3", "team/none:1", f"team/plain@{plain.digest}", "team/both:1"]
    there, plainly, no_tag, no_name, by_digest, again = bench.ask(*names)
    assert there == again == Confirmed("there", both.digest, weight(amd64))
    assert plainly == by_digest == Confirmed("there", plain.digest, weight(plain))
    assert (no_tag.state, no_name.state) == ("absent", "absent")
    assert "team/plain:3" in no_tag.problem

    bench.platforms = ("linux/amd64", "linux/arm64")
    assert bench.ask("team/both:1") == [Confirmed("there", both.digest, weight(amd64, arm64))]
    bench.platforms = ("linux/s390x",)
    (lacking,) = bench.ask("team/both:1")
    assert (lacking.state, lacking.digest, lacking.size) == ("there", both.digest, None)
    assert "linux/s390x" in lacking.problem
    bench.platforms = ()
    assert bench.ask("team/both:1") == [Confirmed("there", both.digest, weight(amd64, arm64))]


def test_answers_are_kept_as_long_as_they_are_good_for(bench: Bench) -> None:
    image = images.tiny_image("a")
    image.put(bench.storage, "team/a", "1")
    first = bench.ask("team/a:1", "team/none:1")
    assert len(bench.asked()) == 3  # HEAD of both, the manifest of the one that is there
    assert bench.ask("team/a:1", "team/none:1") == first
    assert bench.asked() == []
    bench.now += 1.1 * HOUR
    assert bench.ask("team/a:1", "team/none:1") == first
    assert bench.asked() == ["HEAD /v2/team/none/manifests/1"]
    bench.now += 23 * HOUR
    assert bench.ask("team/a:1")[0] == first[0]
    assert bench.asked() == ["HEAD /v2/team/a/manifests/1"]  # manifests don't change: they stay in the cache
    # A clock that was set back makes no answer good for longer.
    bench.now -= 2 * HOUR
    bench.ask("team/a:1")
    assert len(bench.asked()) == 1


def test_another_place_to_look_is_another_question(bench: Bench) -> None:
    bench.ask("team/a:1")
    images.tiny_image("a").put(bench.storage, "other/team/a", "1")
    assert bench.ask("team/a:1")[0].state == "absent"
    bench.mirrors[HOST]["rewrite"] = {"^(.*)$": "other/$1"}
    assert bench.ask("team/a:1")[0].state == "there"


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b'{"state": "there"', b"[" * 5000], ids=lambda raw: len(raw))
def test_a_damaged_answer_is_asked_for_again(bench: Bench, damage: bytes) -> None:
    images.tiny_image("a").put(bench.storage, "team/a", "1")
    first = bench.ask("team/a:1")
    (entry,) = (bench.root / CONFIRMED).iterdir()
    good = entry.read_bytes()
    assert entry.stat().st_mode & 0o777 == 0o600
    for raw in (damage, good.replace(b"sha256:", b"sha512:"), good.replace(b'"size": ', b'"size": -')):
        entry.write_bytes(raw)
        assert bench.ask("team/a:1") == first
        assert entry.read_bytes() == good


def test_a_cache_that_can_not_be_written_costs_only_time(bench: Bench) -> None:
    images.tiny_image("a").put(bench.storage, "team/a", "1")
    bench.root.write_text("no directory")
    assert bench.ask("team/a:1")[0].state == "there"


def test_tidying_drops_old_answers(bench: Bench) -> None:
    images.tiny_image("a").put(bench.storage, "team/a", "1")
    bench.ask("team/a:1", "team/none:1")
    old, _ = sorted((bench.root / CONFIRMED).iterdir())
    os.utime(old, (0, 0))
    tidy(Cache(bench.root))
    assert not old.exists()
    assert len(list((bench.root / CONFIRMED).iterdir())) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_who_may_not_ask_does_not_know(bench: Bench, status: int) -> None:
    images.tiny_image("a").put(bench.storage, "team/a", "1")
    bench.proxy.faults = [Fault("status", path="/secret/", method="HEAD", status=status)]
    secret, other, there = bench.ask("secret/a:1", "secret/b:1", "team/a:1")
    assert (secret.state, other.state, there.state) == ("unknown", "unknown", "there")
    assert str(status) in secret.problem
    bench.asked()
    bench.ask("secret/a:1", "team/a:1")
    assert bench.asked() == ["HEAD /v2/secret/a/manifests/1"]  # never kept


def test_a_login_that_is_missing_makes_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with run_registry(tmp_path / "registry", auth="basic") as registry:
        image = parse_reference(f"{registry.host}/team/a:1")
        images.tiny_image("a").put(Storage(registry.storage), "team/a", "1")
        document = registry.registries_yaml()
        for expected in ("there", "unknown"):
            raw = json.dumps(document).encode()
            with RegistryClient(parse_registries(raw, where="r.yaml", base=tmp_path), settings=HASTY) as client:
                found = Confirmer(client, tmp_path / expected).confirm([image])
            assert found[image].state == expected
            document["configs"] = {}


def test_a_host_that_does_not_answer_is_asked_for_one_image_only(bench: Bench) -> None:
    images.tiny_image("a").put(bench.storage, "team/a", "1")
    gone = f"127.0.0.1:{free_port()}"
    bench.mirrors[gone] = {"endpoint": [f"http://{gone}"]}
    with faulty(f"http://127.0.0.1:{free_port()}") as broken:  # it takes connections, and hangs up
        bench.mirrors["broken.test"] = {"endpoint": [broken.url], "default_endpoint": False}
        names = [f"{host}//x/i{number}:1" for number in range(40) for host in (gone, "broken.test")]
        *unknown, there = bench.ask(*names, "team/a:1")
        assert {answer.state for answer in unknown} == {"unknown"}
        assert all(answer.problem for answer in unknown)
        assert there.state == "there"
        assert len({path for _, path, _ in broken.requests}) == 1
    assert len(list((bench.root / CONFIRMED).iterdir())) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_registry_that_is_overcharged_is_left_alone(bench: Bench, status: int) -> None:
    bench.proxy.faults = [Fault("status", path="/x/", method="HEAD", status=status, retry_after="1")]
    assert {answer.state for answer in bench.ask(*(f"x/i{number}:1" for number in range(20)))} == {"unknown"}
    assert len({path for _, path, _ in bench.proxy.requests}) == 1


def test_an_image_whose_manifest_fails_is_there_without_a_size_and_is_asked_again(bench: Bench) -> None:
    image = images.tiny_image("a")
    image.put(bench.storage, "team/a", "1")
    bench.proxy.faults = [Fault("status", path="/manifests/sha256:", status=500)]
    (answer,) = bench.ask("team/a:1")
    assert (answer.state, answer.digest, answer.size) == ("there", image.digest, None)
    assert "500" in answer.problem
    bench.proxy.faults = []
    assert bench.ask("team/a:1") == [Confirmed("there", image.digest, weight(image))]


def test_wrong_bytes_are_not_measured(bench: Bench) -> None:
    image = images.tiny_image("a")
    image.put(bench.storage, "team/a", "1")
    bench.proxy.faults = [Fault("wrong-bytes", path="/manifests/sha256:", after=20)]
    (answer,) = bench.ask("team/a:1")
    assert (answer.state, answer.size) == ("there", None)
    assert "digest" in answer.problem


def test_a_chart_is_no_image(bench: Bench) -> None:
    chart = images.tiny_image("c")
    raw = json.dumps({**json.loads(chart.raw), "config": {**json.loads(chart.raw)["config"], "mediaType": HELM_CONFIG}})
    bench.storage.put_manifest("team/chart", raw.encode(), "1")
    (answer,) = bench.ask("team/chart:1")
    assert answer.state == "absent"
    assert "Helm chart" in answer.problem


def test_an_interruption_ends_it(bench: Bench) -> None:
    with RegistryClient(bench.registries, settings=HASTY) as client:
        client.close()
        bench.proxy.faults = [Fault("status", path="/", method="HEAD", status=503)]
        with pytest.raises(Interrupted):
            Confirmer(client, bench.root).confirm([ref("team/a:1")])


def test_hasty_settings_are_never_more_patient_than_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hasty_settings().retry_time == 10
    monkeypatch.setenv("AIRBUNDLE_RETRY_SECONDS", "2")
    assert (hasty_settings().retry_time, hasty_settings().first_contact_time) == (2, 2)
