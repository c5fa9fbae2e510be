"""Names of images at a site, for references of every form."""

from __future__ import annotations

import pytest

from airbundle.bundle.index import IMAGE
from airbundle.bundle.reference import parse_reference
from airbundle.installer.image_pins import ImagePins
from tests.installer.test_load_plan import plan
from tests.support.images import index, tiny_image

AMD, ARM = (tiny_image("x", platform=f"linux/{arch}") for arch in ("amd64", "arm64"))
WHOLE, OTHER = index([AMD, ARM]), tiny_image("other")
NAME = "quay.io/a/x"


def _pins(*, embedded: bool) -> ImagePins:
    result = plan(
        [(IMAGE, f"{NAME}:1", WHOLE), (IMAGE, f"{NAME}:2", OTHER), (IMAGE, f"{NAME}:3", OTHER)], without=[ARM]
    )
    return ImagePins("reg.test", result, embedded, {tag.ref: tag for tag in result.tags})


@pytest.mark.parametrize(
    ("written", "tag", "embedded", "external"),
    [
        (":1", "1", WHOLE.digest, AMD.digest),
        (f"@{WHOLE.digest}", "1", WHOLE.digest, AMD.digest),
        (f":1@{WHOLE.digest}", "1", WHOLE.digest, AMD.digest),
        (f":9@{AMD.digest}", "1", AMD.digest, AMD.digest),
        (f":1@{OTHER.digest}", "1", OTHER.digest, OTHER.digest),
        (f":3@{OTHER.digest}", "3", OTHER.digest, OTHER.digest),
    ],
)
def test_a_node_finds_what_the_registry_has(written: str, tag: str, embedded: str, external: str) -> None:
    image = parse_reference(NAME + written)
    found = [_pins(embedded=True).of_image(image), _pins(embedded=False).of_image(image)]
    assert found == [f"reg.test/{NAME}:{tag}@{embedded}", f"reg.test/{NAME}:{tag}@{external}"]


@pytest.mark.parametrize("written", [":4", f"@{ARM.digest}", f":1@{ARM.digest}"])
@pytest.mark.parametrize("embedded", [True, False])
def test_what_the_bundle_lacks_has_no_name(written: str, embedded: bool) -> None:
    assert _pins(embedded=embedded).of_image(parse_reference(NAME + written)) is None
