from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.fields import ListOf, MapOf, Record, Spec
from airbundle.bundle.inventory import DEFAULT_DATABASES, Inventory, parse_inventory
from airbundle.bundle.inventory_fields import BUNDLE as BUNDLE_FIELDS
from airbundle.bundle.release import find_circle
from airbundle.errors import DocumentError, Finding
from tests.bundle.documents import BUNDLE, DIGEST, bundle_body, minimal, to_yaml


def findings(raw: bytes) -> list[Finding]:
    with pytest.raises(DocumentError) as caught:
        parse_inventory(raw)
    return list(caught.value.findings)


def finding(raw: bytes) -> str:
    found = findings(raw)
    assert len(found) == 1, "\n".join(map(str, found))
    return str(found[0])


@pytest.fixture(name="inventory")
def parsed() -> Inventory:
    return parse_inventory(BUNDLE.encode())


def test_reads_a_complete_inventory(inventory: Inventory) -> None:
    assert (inventory.name, inventory.version, inventory.expires) == ("messenger", "1.4.0", "90d")
    assert inventory.platforms == ("linux/amd64",)
    assert inventory.kubernetes.version == "1.33"
    assert [image.target.full_name for image in inventory.images] == [
        "docker.io/library/redis:7.2",
        "quay.io/prometheus/prometheus:v2.53.0",
        "docker.io/internal/myapp:dev",
    ]
    assert [image.source.transport for image in inventory.images] == ["registry", "registry", "docker-daemon"]
    assert inventory.images[1].platforms == ("linux/amd64", "linux/arm64")
    assert [chart.requested for chart in inventory.charts] == [
        "https://charts.jetstack.io cert-manager v1.21.1",
        "charts/myapp myapp",
    ]
    assert [release.name for release in inventory.releases] == ["cert-manager", "base"]
    assert inventory.releases[0].checks[0].http == "https://x.test/"
    assert inventory.clamav is not None
    assert inventory.clamav.databases == DEFAULT_DATABASES
    assert [(file.name, file.requested) for file in inventory.files] == [
        ("tool.tar.gz", "https://example.com/tool.tar.gz"),
        ("h.pdf", "docs/handbook.pdf"),
    ]
    assert inventory.files[0].digest == DIGEST
    assert inventory.ca.mode == "bundled"


def test_requests_remember_their_place(inventory: Inventory) -> None:
    assert inventory.images[2].where == "bundle.yaml:10 images[2]"
    assert inventory.charts[1].where == "bundle.yaml:23 charts[1]"


def test_names_the_local_files_it_needs(inventory: Inventory) -> None:
    assert [path for path, _ in inventory.own_paths()] == [
        "charts/myapp",
        "manifests",
        "values/cert-manager.yaml",
        "jobs/backup.yaml",
        "jobs/restore.yaml",
        "values/large.yaml",
        "values/small.yaml",
        "docs/handbook.pdf",
        "own.ndb",
        "ca/ca.crt",
        "ca/ca.key",
        "operators.yaml",
    ]


def test_variants_are_further_value_sets_of_a_chart(inventory: Inventory) -> None:
    assert inventory.charts[0].variants == {"large": ("values/large.yaml",), "small": ("values/small.yaml",)}
    assert inventory.charts[1].variants == {}
    assert inventory.operators == ("operators.yaml",)


def test_a_document_without_variants_and_operators_means_what_it_always_did() -> None:
    raw = minimal(charts=[{"name": "x", "path": "p"}])
    meaning = parse_inventory(raw).charts[0].meaning()
    assert set(meaning) == {"source", "version", "release"}
    digest = parse_inventory(raw).digest({})
    assert parse_inventory(raw + b"operators: []\n").digest({}) == digest
    assert parse_inventory(raw + b"operators: [o.yaml]\n").digest({}) != digest
    varied = minimal(charts=[{"name": "x", "path": "p", "variants": {"big": "b.yaml"}}])
    assert parse_inventory(varied).digest({}) != digest


def test_the_least_inventory_has_defaults() -> None:
    inventory = parse_inventory(minimal())
    assert inventory.expires == "never"
    assert inventory.platforms == ("linux/amd64",)
    assert inventory.images == ()
    assert inventory.clamav is None
    assert inventory.ca.mode == "site"


def test_a_list_whose_lines_are_all_comments_is_empty() -> None:
    raw = minimal() + b"images:\n  # - redis\ncharts:\n"
    assert parse_inventory(raw).images == ()


def test_sparse_false_carries_all_platforms() -> None:
    (image,) = parse_inventory(minimal(images=[{"ref": "redis", "sparse": False}])).images
    assert image.platforms == ()


@pytest.mark.parametrize(
    ("ref", "path", "name", "target"),
    [
        ("oci:build/layout:docker.io/x/y:1", "build/layout", "docker.io/x/y:1", "docker.io/x/y:1"),
        ("oci-archive:./a.tar:x/y:1", "a.tar", "x/y:1", "docker.io/x/y:1"),
        ("docker-archive:/srv/a.tar:y:1", "/srv/a.tar", "y:1", "docker.io/library/y:1"),
        ("docker-daemon:busybox", "", "busybox", "docker.io/library/busybox:latest"),
    ],
)
def test_sources_other_than_registries(ref: str, path: str, name: str, target: str) -> None:
    inventory = parse_inventory(minimal(images=[ref]))
    (image,) = inventory.images
    assert (image.source.path, image.source.name, str(image.target)) == (path, name, target)
    assert inventory.own_paths() == []


@pytest.mark.parametrize("ref", ["oci:dir", "oci:dir:latest", "oci-archive:a.tar", "docker-daemon:" + DIGEST])
def test_an_image_without_a_name_of_its_own_needs_one(ref: str) -> None:
    assert "images[0].ref: the image has no name of its own" in finding(minimal(images=[{"ref": ref}]))
    (image,) = parse_inventory(minimal(images=[{"ref": ref, "as": "x/y:1"}])).images
    assert str(image.target) == "docker.io/x/y:1"


MISTAKES: list[tuple[dict[str, object], str]] = [
    ({"image": []}, "bundle.yaml:6 image: unknown field 'image' in the inventory (did you mean 'images'?)"),
    ({"nonsense": 1}, "bundle.yaml:6 nonsense: unknown field 'nonsense' in the inventory; expected one of apiVersion"),
    (
        {"images": "redis"},
        "bundle.yaml:6 images: wrong value; found 'redis'; expected a list (begin the line with '- ')",
    ),
    (
        {"images": [{"ref": "redis", "sparse": "no"}]},
        "images[0].sparse: wrong value; found 'no'; expected true or false",
    ),
    ({"images": [5]}, "images[0]: wrong value; found the number 5; expected an image reference"),
    ({"images": [{}]}, "images[0]: an image lacks 'ref'; expected an image reference"),
    ({"images": ["Redis"]}, "images[0]: reference 'Redis': 'library/Redis' is no repository"),
    ({"images": ["redis@sha256:12"]}, "images[0]: reference 'redis@sha256:12': 'sha256:12' is no digest"),
    ({"images": ["oci:../x:a/b"]}, "the path '../x' climbs out of its directory (write the absolute path)"),
    ({"images": ["oci::a/b"]}, "oci: names no path (write oci:PATH:REF)"),
    ({"images": ["docker-daemon:"]}, "docker-daemon: names no image"),
    ({"images": [{"ref": "oci:x:a/B"}]}, "images[0].ref: reference 'a/B'"),
    ({"images": [{"ref": "x", "as": "y@" + DIGEST}]}, "holds a digest (`as` is a name with a tag)"),
    (
        {"images": [{"ref": "x", "platforms": []}]},
        "images[0].platforms: wrong value; found a list; expected at least 1",
    ),
    ({"images": [{"ref": "x", "platforms": ["linux/amd64"], "sparse": False}]}, "sparse: false carries all platforms"),
    ({"platforms": ["linux"]}, "platforms[0]: wrong value; found 'linux'; expected os/architecture[/variant]"),
    ({"platforms": ["linux/amd64", "linux/amd64"]}, "platforms[1]: stands twice"),
    ({"expires": "90 days"}, "expires: wrong value; found '90 days'; expected a duration such as 90d"),
    ({"expires": "2027-02-30"}, "expires: '2027-02-30' is no date of the calendar"),
    (
        {"expires": 90},
        "found the number 90; expected a duration such as 90d or 12h, an RFC 3339 date such as 2027-01-31, or",
    ),
    (
        {"kubernetes": {"version": 1.33}},
        "kubernetes.version: wrong value; found the number 1.33; expected a Kubernetes",
    ),
    (
        {"charts": [{"name": "x"}]},
        "charts[0]: a chart takes exactly one of repo, path; found none of them",
    ),
    (
        {"charts": [{"name": "x", "repo": "https://h", "path": "p", "version": "1"}]},
        "takes exactly one of repo, path; found repo and path",
    ),
    ({"charts": [{"name": "x", "repo": "https://h"}]}, "charts[0]: a chart lacks 'version': 'repo' needs it"),
    ({"charts": [{"name": "X", "path": "p"}]}, "charts[0].name: wrong value; found 'X'; expected a chart's name"),
    ({"charts": [{"name": "x", "repo": "h/p", "version": "1"}]}, "charts[0].repo: wrong value; found 'h/p'"),
    ({"charts": [{"name": "x", "path": "/etc"}]}, "the path '/etc' leaves the directory of the document"),
    ({"charts": [{"name": "x", "path": "a/../../b"}]}, "leaves the directory"),
    (
        {"charts": [{"name": "x", "path": "p", "variants": {"Big": "v.yaml"}}]},
        "charts[0].variants.Big: wrong value; found 'Big'; expected a variant's name",
    ),
    (
        {"charts": [{"name": "x", "path": "p", "variants": {"big": []}}]},
        "charts[0].variants.big: wrong value; found a list; expected at least 1 in the list",
    ),
    ({"charts": [{"name": "x", "path": "p", "variants": {"big": "../v.yaml"}}]}, "the path '../v.yaml' leaves"),
    ({"operators": ["/etc/o.yaml"]}, "the path '/etc/o.yaml' leaves the directory of the document"),
    (
        {"charts": [{"name": "x", "path": "p", "release": {"name": "A"}}]},
        "charts[0].release.name: wrong value; found 'A'",
    ),
    ({"manifests": [{"path": "m", "release": {"name": "a", "needs": ["a"]}}]}, "found a → a"),
    (
        {"manifests": [{"path": "m", "release": {"name": "a", "needs": ["b"]}}]},
        "needs the release 'b', which isn't there",
    ),
    ({"manifests": [{"path": "m", "release": {"name": "a", "timeout": "0m"}}]}, "'0m' is no useful duration"),
    ({"manifests": [{"path": "m", "release": {"name": "a", "rollback": "aks"}}]}, "(did you mean 'ask'?)"),
    (
        {"clamav": {"source": "cvdupdate", "databases": "daily"}},
        "clamav.databases: wrong value; found 'daily'; expected a",
    ),
    ({"clamav": {}}, "clamav: clamav lacks 'source'"),
    (
        {"files": [{"url": "https://h/f"}]},
        "files[0]: a file lacks 'sha256': 'url' needs it; expected 64 lower-case hex",
    ),
    ({"files": [{"url": "https://h/f", "sha256": "abc"}]}, "files[0].sha256: wrong value; found 'abc'; expected 64"),
    ({"files": [{"url": "ftp://h/f", "sha256": DIGEST}]}, "files[0].url: wrong value; found 'ftp://h/f'"),
    (
        {"files": [{"url": "https://h/", "sha256": DIGEST}]},
        "no plain name of its own; found ''; expected `name` with one",
    ),
    ({"files": [{"url": "https://h/%2e%2e", "sha256": DIGEST}]}, "no plain name of its own; found '..'"),
    ({"files": [{"path": "f", "name": "a/b"}]}, "files[0].name: wrong value; found 'a/b'; expected a plain file name"),
    ({"files": [{"path": "a/f"}, {"path": "b/f"}]}, "two files are called f at the site"),
    ({"ca": {"mode": "site", "key": "k"}}, "'key' does not go with 'mode: site' (leave one of them out)"),
    ({"ca": {"mode": "bundled", "cert": "c"}}, "ca lacks 'key': 'mode: bundled' needs it"),
    ({"ca": {"mode": "site", "permitted": ["10.0.0.1/8"]}}, "ca.permitted[0]: '10.0.0.1/8' is no network"),
    (
        {"metadata": {"name": "A b", "version": "1"}},
        "metadata.name: wrong value; found 'A b'; expected the bundle's name",
    ),
    ({"metadata": {"name": "a", "version": "../1"}}, "metadata.version: wrong value; found '../1'"),
    ({"metadata": {"name": "a", "version": "1..2"}}, "holds '..'"),
    ({"metadata": {"name": "a", "version": 1.4}}, "found the number 1.4; expected a version"),
    ({"kind": "Site"}, "kind: wrong value; found 'Site'; expected Bundle"),
]


@pytest.mark.parametrize(("fields", "words"), MISTAKES, ids=lambda value: value if isinstance(value, str) else "")
def test_tells_what_is_wrong_and_where(fields: dict[str, object], words: str) -> None:
    text = finding(minimal(**fields))
    assert words in text
    assert re.match(r"bundle\.yaml:\d+ ", text)


def test_tells_everything_at_once_in_the_order_of_lines() -> None:
    fields = {"images": ["Redis", {"image": "x"}], "platforms": ["linux"], "charts": [{"name": "x", "path": "/x"}]}
    found = findings(minimal(**fields))
    assert len(found) == 5
    lines = [int(re.findall(r":(\d+)", each.where)[0]) for each in found]
    assert lines == sorted(lines)


def test_doubled_keys_are_told_with_the_rest() -> None:
    texts = [str(each) for each in findings(minimal() + b"images: [Redis]\nkind: Bundle\n")]
    assert any("'Redis'" in text for text in texts)
    assert any("the key 'kind' stands twice" in text for text in texts)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("redis:7.2", "docker.io/library/redis:7.2"),
        ("redis", "index.docker.io/library/redis:latest"),
        ("redis:7.2", "redis:7.2@" + DIGEST),
    ],
)
def test_one_image_in_two_spellings_is_a_double(first: str, second: str) -> None:
    assert "is asked for twice; found the first at bundle.yaml:7 images[0]" in finding(minimal(images=[first, second]))


def test_one_chart_in_two_spellings_is_a_double() -> None:
    charts = [{"name": "x", "repo": repo, "version": "1"} for repo in ("https://H.example/c", "https://h.example/c/")]
    assert "the chart https://h.example/c x 1 is asked for twice" in finding(minimal(charts=charts))


def test_two_versions_of_a_chart_are_no_double() -> None:
    charts = [{"name": "x", "repo": "https://h.example", "version": version} for version in ("1", "2")]
    assert len(parse_inventory(minimal(charts=charts)).charts) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"charts": [{"name": "x", "repo": "https://user:s3cret@h.example", "version": "1"}]},
        {"files": [{"url": "https://user:s3cret@h.example/f", "sha256": DIGEST}]},
        {"files": [{"url": "https://user:s3cret@h.example/f x", "sha256": DIGEST}]},
    ],
)
def test_credentials_in_urls_are_refused_and_not_shown(fields: dict[str, object]) -> None:
    assert "s3cret" not in finding(minimal(**fields))


def test_a_need_of_a_malformed_release_is_no_second_finding() -> None:
    charts = [{"name": "X", "path": "p", "release": {"name": "cert-manager"}}]
    manifests = [{"path": "m", "release": {"name": "base", "needs": ["cert-manager"]}}]
    assert "charts[0].name" in finding(minimal(charts=charts, manifests=manifests))


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in finding(minimal(**{"im\x1bages": []}))


def _digest(raw: bytes, **local: str) -> str:
    return parse_inventory(raw).digest(local)


def test_the_digest_is_of_the_meaning() -> None:
    body = bundle_body()
    shuffled = dict(random.Random(1).sample(sorted(body.items()), len(body)))
    shuffled["images"] = list(reversed(body["images"]))
    commented = b"# a comment\n" + to_yaml(shuffled)
    assert _digest(BUNDLE.encode()) == _digest(to_yaml(body)) == _digest(commented)


def test_the_digest_knows_normal_names() -> None:
    assert _digest(minimal(images=["redis"])) == _digest(minimal(images=["docker.io/library/redis:latest"]))
    assert _digest(minimal()) == _digest(minimal(expires="never", platforms=["linux/amd64"], ca={"mode": "site"}))


CHANGES: list[tuple[str, object]] = [
    ("metadata", {"name": "messenger", "version": "1.4.1"}),
    ("expires", "91d"),
    ("platforms", ["linux/arm64"]),
    ("images", ["redis"]),
    ("charts", []),
    ("files", []),
    ("clamav", {"source": "dir"}),
    ("ca", {"mode": "site"}),
    ("kubernetes", {"version": "1.34"}),
]


@pytest.mark.parametrize(("name", "value"), CHANGES)
def test_every_change_of_meaning_changes_the_digest(name: str, value: object) -> None:
    body = bundle_body()
    body[name] = value
    body["manifests"] = []
    before = {**bundle_body(), "manifests": []}
    assert _digest(to_yaml(body)) != _digest(to_yaml(before))


def test_local_files_count() -> None:
    raw = BUNDLE.encode()
    assert parse_inventory(raw).digest({"own.ndb": DIGEST}) != parse_inventory(raw).digest({})


@given(
    st.dictionaries(
        st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefg"), max_size=3, unique=True), max_size=6
    )
)
def test_finds_a_circle_exactly_when_there_is_one(needs: dict[str, list[str]]) -> None:
    circle = find_circle(needs)
    for one, following in zip(circle, [*circle[1:], *circle[:1]]):
        assert following in needs[one]
    # Taking away what needs nothing, again and again, leaves nothing but circles and what needs them.
    rest = dict(needs)
    while True:
        free = [name for name, wanted in rest.items() if not any(each in rest for each in wanted)]
        if not free:
            break
        for name in free:
            del rest[name]
    assert bool(circle) == bool(rest)


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(raw: bytes) -> None:
    with pytest.raises(DocumentError):
        parse_inventory(raw)


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from(["redis", "oci:a:b", "."])
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.just("ref"), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.sampled_from(sorted(bundle_body())), ANYTHING)
def test_any_value_of_any_field_is_read_or_refused(name: str, value: object) -> None:
    body = {**bundle_body(), name: value}
    try:
        parse_inventory(to_yaml(body))
    except DocumentError as error:
        assert all(each.where.startswith("bundle.yaml") for each in error.findings)


DOCUMENTATION = (Path(__file__).parents[2] / "docs" / "inventory.md").read_text(encoding="utf-8")


def test_the_documentation_shows_valid_inventories() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", DOCUMENTATION, re.DOTALL)
    assert len(blocks) >= 7
    for block in blocks:
        parse_inventory(block.encode() if "apiVersion:" in block else minimal() + block.encode())


def test_the_documentation_names_every_field() -> None:
    def check(spec: Spec) -> None:
        if isinstance(spec, Record):
            for name, field in spec.fields.items():
                assert re.search(rf"\b{name}\b", DOCUMENTATION), name
                check(field.spec)
        elif isinstance(spec, (ListOf, MapOf)):
            check(spec.item if isinstance(spec, ListOf) else spec.value)

    check(BUNDLE_FIELDS)


def test_a_thousand_images_are_read_fast_enough_to_be_a_test() -> None:
    images = [{"ref": f"registry.example/team/image-{number}:1"} for number in range(1000)]
    assert len(parse_inventory(minimal(images=images)).images) == 1000
