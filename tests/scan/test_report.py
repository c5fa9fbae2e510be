from __future__ import annotations

import json
from dataclasses import replace

import pytest

from airbundle.bundle.inventory import parse_inventory
from airbundle.bundle.lock import Lock, LockedRoot
from airbundle.bundle.oci import OCI_INDEX, OCI_MANIFEST, Descriptor
from airbundle.bundle.reference import parse_reference
from airbundle.errors import Finding
from airbundle.scan.model import Certainty, Origin, Place, Sighting
from airbundle.scan.report import Held, ScanReport, held_images, join, unused_entries
from airbundle.scan.text import markdown_lines, summary, text_lines

DIGEST, CHILD, OTHER = (f"sha256:{letter * 64}" for letter in "abc")
ORIGIN = Origin("chart shop 1.0.0", release="shop", namespace="shop")


def seen(image: str, certainty: Certainty = "certain", evidence: str = "container", **place: str) -> Sighting:
    where = Place(ORIGIN, object="Deployment shop/web", path="spec.image", values_key=place.get("key", ""))
    return Sighting(parse_reference(image), image, certainty, evidence, where)


def held(image: str, *digests: str) -> Held:
    reference = parse_reference(image)
    return Held(image, reference.name, reference.tag, frozenset(digests))


def report(*sightings: Sighting, have: tuple[Held, ...] = (), **more: object) -> ScanReport:
    images = join(sightings, have)
    return replace(ScanReport(images=tuple(images), unused=tuple(unused_entries(images, have))), **more)  # type: ignore[arg-type]


def test_an_image_is_as_certain_as_its_surest_sighting() -> None:
    (image,) = join([seen("redis:7", "decoy"), seen("docker.io/library/redis:7"), seen("redis:7", "likely")], [])
    assert image.certainty == "certain"
    assert [sighting.certainty for sighting in image.sightings] == ["certain", "likely", "decoy"]


def test_one_sighting_twice_is_one_place() -> None:
    (image,) = join([seen("redis:7"), seen("redis:7")], [])
    assert len(image.sightings) == 1


@pytest.mark.parametrize(
    ("image", "have", "found"),
    [
        ("redis:7", held("docker.io/library/redis:7"), True),
        ("redis:7", held("redis:7.2"), False),
        ("redis", held("redis:latest"), True),
        ("quay.io/x/redis:7", held("redis:7"), False),
        # A digest decides, whichever tag stands beside it.
        (f"redis:7@{DIGEST}", held("redis:7", DIGEST), True),
        (f"redis:6@{DIGEST}", held("redis:7", DIGEST), True),
        (f"redis@{CHILD}", held("redis:7", DIGEST, CHILD), True),
        (f"redis:7@{OTHER}", held("redis:7", DIGEST), False),
        (f"redis@{OTHER}", held("redis:7"), False),
        # Without a lock the tag is all there is.
        (f"redis:7@{OTHER}", held("redis:7"), True),
    ],
)
def test_what_a_node_would_get_decides(image: str, have: Held, found: bool) -> None:
    (scanned,) = join([seen(image)], [have])
    assert (scanned.held is not None) is found


def test_it_says_why_an_entry_of_the_same_name_does_not_do() -> None:
    (tag,) = join([seen("redis:7")], [held("redis:7.2")])
    assert "the tag 7.2" in tag.why
    (digest,) = join([seen(f"redis:7@{OTHER}")], [held("redis:7", DIGEST)])
    assert DIGEST in digest.why


def test_what_the_bundle_will_have_comes_from_inventory_and_lock() -> None:
    raw = """
apiVersion: airbundle.dev/v1
kind: Bundle
metadata: {name: shop, version: 1.0.0}
images: [redis:7, {ref: "up.test/app:1", as: local/app:1}]
"""
    inventory = parse_inventory(raw.encode())
    name = inventory.images[0].target.full_name
    root = LockedRoot(
        "image",
        name,
        "redis:7",
        "registry",
        "x",
        Descriptor(OCI_INDEX, DIGEST, 1),
        (Descriptor(OCI_MANIFEST, CHILD, 1),),
    )
    lock = Lock("shop", "1.0.0", DIGEST, 1, "2026-01-01T00:00:00Z", "", (root,))
    redis, app = held_images(inventory, lock)
    assert (redis.name, redis.tag, redis.digests) == ("docker.io/library/redis", "7", frozenset({DIGEST, CHILD}))
    assert app.name.endswith("local/app")
    assert app.digests == frozenset()


@pytest.mark.parametrize(
    ("image", "pin"),
    [
        ("redis", "floating"),
        ("redis:7", "floating"),
        ("redis:7.2", "floating"),
        ("redis:stable", "floating"),
        ("redis:7.2.4", "tag"),
        ("redis:v7.2.4-alpine", "tag"),
        ("minio:RELEASE.2024-12-18T13-15-44Z", "tag"),
        ("app:0123456789ab", "tag"),
        (f"redis:7@{DIGEST}", "digest"),
    ],
)
def test_how_firmly_an_image_is_named(image: str, pin: str) -> None:
    (scanned,) = join([seen(image)], [])
    assert scanned.pin == pin


def test_only_certain_ones_are_missing_and_patterns_allow() -> None:
    answer = report(seen("a:1"), seen("b:1"), seen("c:1", "likely"), seen("d:1", "decoy"), have=(held("b:1"),))
    assert [str(image.image) for image in answer.missing] == ["docker.io/library/a:1"]
    assert not answer.complete
    allowed = replace(answer, allowed=("docker.io/library/a:*",))
    assert allowed.complete
    assert allowed.to_json()["allowed"] == ["docker.io/library/a:1"]


def test_what_could_not_be_looked_at_is_not_complete() -> None:
    assert not report(failed=(Finding("no render", code="render"),)).complete


def test_entries_that_nothing_seen_uses_are_told() -> None:
    answer = report(seen("a:1"), have=(held("a:1"), held("b:1")))
    assert answer.unused == ("b:1",)


def test_the_text_names_image_place_and_mend() -> None:
    answer = report(seen("a:1", key="web.image"), seen("c:1", "likely"), seen("d:1", "decoy"), have=(held("b:1"),))
    text = "\n".join(text_lines(answer, mending="airbundle scan x --write"))
    assert "docker.io/library/a:1" in text
    assert "chart shop 1.0.0: Deployment shop/web: spec.image (container; set by web.image)" in text
    assert "`airbundle scan x --write`" in text
    assert "library/d:1" not in text
    assert "library/d:1" in "\n".join(text_lines(answer, every=True))
    assert text.endswith(summary(answer))


def test_what_has_been_added_is_no_longer_lacking() -> None:
    answer = replace(report(seen("a:1"), seen("b:1")), added=("docker.io/library/a:1",))
    assert summary(answer).startswith("NOT COMPLETE: ")
    assert summary(answer).endswith("1 missing, 1 added")
    whole = replace(answer, added=("docker.io/library/a:1", "docker.io/library/b:1"))
    assert summary(whole).startswith("complete once it is locked: ")
    assert "missing" not in summary(whole)
    assert whole.complete
    assert not replace(whole, failed=(Finding("no render"),)).complete
    assert len(whole.to_json()["missing"]) == 2  # as it was found


def test_places_that_differ_in_the_variant_alone_are_told_once() -> None:
    def of(variant: str, key: str = "") -> Sighting:
        return seen("a:1", key=key).at(origin=replace(ORIGIN, variant=variant))

    both = report(of(""), of("production"), of("site berlin"), of("staging", "other.image"))
    for lines in (list(text_lines(both)), "\n".join(markdown_lines(both)).replace("<br>", "\n").split("\n")):
        places = [line[line.index("chart shop") :] for line in lines if "chart shop" in line]
        assert [place.split(":")[0] for place in places] == [
            "chart shop 1.0.0 [and production, site berlin]",
            "chart shop 1.0.0 [staging]",
        ]
    assert len(both.to_json()["images"][0]["places"]) == 4


def test_patterns_that_let_no_image_pass_are_known() -> None:
    answer = report(seen("a:1"), seen("b:1"), have=(held("b:1"),))
    allowed = ("docker.io/library/a", "docker.io/library/a:*", "docker.io/library/b:*")
    assert replace(answer, allowed=allowed).idle == ("docker.io/library/a", "docker.io/library/b:*")


def test_markdown_has_a_row_for_each_image_and_no_cell_that_breaks_it() -> None:
    answer = report(seen("a:1", evidence="argument | --x"), findings=(Finding("a | b", code="x"),))
    lines = list(markdown_lines(answer))
    (row,) = [line for line in lines if "library/a:1" in line]
    assert "\\|" in row
    assert row.count(" | ") == 5
    assert any("a \\| b" in line for line in lines)


def test_the_json_document_is_json_and_whole() -> None:
    body = json.loads(json.dumps(report(seen("a:1"), have=(held("b:1"),)).to_json()))
    assert body["missing"] == ["docker.io/library/a:1"]
    (image,) = body["images"]
    assert (image["certainty"], image["inInventory"], image["pin"]) == ("certain", False, "floating")
    assert image["places"][0]["object"] == "Deployment shop/web"


def test_markdown_takes_no_markup_from_names() -> None:
    answer = report(seen("a:1", evidence="field [x](https://evil.test/) ![y](https://evil.test/) `z` **w**\u2028# h"))
    (row,) = [line for line in markdown_lines(answer) if "library/a:1" in line]
    assert "[x]\\(https" in row
    assert "![y]\\(" in row
    assert "\\`z\\` \\*\\*w\\*\\* # h" in row
