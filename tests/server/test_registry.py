"""The pull half of the distribution specification, asked of the application directly."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airbundle.bundle.digest import sha256
from airbundle.bundle.oci import DOCKER_MANIFEST, OCI_INDEX
from airbundle.server.app import App
from tests.server.site import APP, BIG, REDIS, SPARSE, Site, app_of, ask, newer
from tests.support.bundles import locked, make, make_images, write_bundle
from tests.support.images import tiny_image

NAME = "docker.io/library/redis"


def test_the_base(app: App) -> None:
    for path in ("/v2/", "/v2"):
        answer = ask(app, path)
        assert (answer.status, answer.body) == (200, b"{}")
        assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize("ref", [REDIS, APP, SPARSE, BIG])
def test_manifests_by_tag_and_digest_byte_for_byte(app: App, site: Site, ref: str) -> None:
    image = site.images[ref]
    name, _, tag = ref.replace("example:5000", "example_5000").rpartition(":")
    for reference in (tag, image.digest):
        answer = ask(app, f"/v2/{name}/manifests/{reference}")
        assert answer.status == 200
        assert answer.body == image.raw
        assert answer.headers["Content-Type"] == image.descriptor.media_type
        assert answer.headers["Docker-Content-Digest"] == image.digest
        assert answer.headers["Etag"] == f'"{image.digest}"'
        head = ask(app, f"/v2/{name}/manifests/{reference}", "HEAD")
        assert head.status == 200
        assert head.headers == answer.headers


def test_children_are_served_and_those_not_carried_are_not(app: App, site: Site) -> None:
    carried, missing = site.images[SPARSE].children
    assert ask(app, f"/v2/quay.io/team/sparse/manifests/{carried.digest}").body == carried.raw
    assert ask(app, f"/v2/quay.io/team/sparse/manifests/{missing.digest}").code == "MANIFEST_UNKNOWN"
    for child in site.images[APP].children:
        assert ask(app, f"/v2/quay.io/team/app/manifests/{child.digest}").body == child.raw


def test_blobs_with_their_types(app: App, site: Site) -> None:
    for blob in site.images[REDIS].blobs:
        answer = ask(app, f"/v2/{NAME}/blobs/{blob.descriptor.digest}")
        assert answer.body == blob.data
        assert answer.headers["Content-Type"] == blob.descriptor.media_type
        assert answer.headers["Docker-Content-Digest"] == blob.descriptor.digest
        head = ask(app, f"/v2/{NAME}/blobs/{blob.descriptor.digest}", "HEAD")
        assert int(head.headers["Content-Length"]) == blob.descriptor.size


def test_a_repository_serves_only_what_its_roots_reach(app: App, site: Site) -> None:
    other = site.images[APP].children[0]
    assert ask(app, f"/v2/{NAME}/manifests/{other.digest}").code == "MANIFEST_UNKNOWN"
    foreign = other.blobs[-1].descriptor.digest
    assert ask(app, f"/v2/{NAME}/blobs/{foreign}").code == "BLOB_UNKNOWN"
    database = sha256(site.databases["daily.cvd"])
    assert ask(app, f"/v2/{NAME}/blobs/{database}").status == 404


def test_ranges_and_conditions_of_blobs(app: App, site: Site) -> None:
    data = site.big
    path = f"/v2/registry.example_5000/team/big/blobs/{sha256(data)}"
    part = ask(app, path, range="bytes=1000-1999")
    assert (part.status, part.body) == (206, data[1000:2000])
    assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(data)}"
    assert ask(app, path, range="bytes=-5").body == data[-5:]
    assert ask(app, path, range="bytes=0-1,5-6").status == 200
    beyond = ask(app, path, range=f"bytes={len(data)}-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{len(data)}")
    etag = part.headers["Etag"]
    assert ask(app, path, if_none_match=etag).status == 304
    assert ask(app, path, range="bytes=0-9", if_range='"other"').status == 200
    assert ask(app, path, range="bytes=0-9", if_range=etag).status == 206
    # Range is for GET alone (RFC 9110 §14.2).
    assert ask(app, path, "HEAD", range="bytes=0-9").headers["Content-Length"] == str(len(data))


def test_tags_come_in_pages(app: App, site: Site) -> None:
    signature = f"sha256-{site.images[REDIS].digest[7:]}.sig"
    everything = ask(app, f"/v2/{NAME}/tags/list")
    assert json.loads(everything.body) == {"name": NAME, "tags": ["7.2", signature]}
    assert "Link" not in everything.headers
    first = ask(app, f"/v2/{NAME}/tags/list", query="n=1")
    assert json.loads(first.body)["tags"] == ["7.2"]
    assert first.headers["Link"] == f'</v2/{NAME}/tags/list?n=1&last=7.2>; rel="next"'
    second = ask(app, f"/v2/{NAME}/tags/list", query="n=1&last=7.2")
    assert json.loads(second.body)["tags"] == [signature]
    assert "Link" not in second.headers
    none = ask(app, f"/v2/{NAME}/tags/list", query="n=0")
    assert json.loads(none.body)["tags"] == []
    assert ask(app, f"/v2/{NAME}/tags/list", query="n=x").code == "PAGINATION_NUMBER_INVALID"


def test_the_catalog_lists_what_registry_clients_ask_for(app: App) -> None:
    names = json.loads(ask(app, "/v2/_catalog").body)["repositories"]
    assert names == sorted(names)
    assert {NAME, "quay.io/team/app", "charts.example.com/stable/web", "ghcr.io/team/charts/db", "local/mine"} <= set(
        names
    )
    assert not any(name.startswith(("clamav", "file")) for name in names)
    page = ask(app, "/v2/_catalog", query=urlencode({"n": 2, "last": names[0]}))
    assert json.loads(page.body)["repositories"] == names[1:3]


def test_referrers(app: App, site: Site) -> None:
    subject = site.images[REDIS].digest
    answer = ask(app, f"/v2/{NAME}/referrers/{subject}")
    body = json.loads(answer.body)
    assert answer.headers["Content-Type"] == body["mediaType"] == OCI_INDEX
    assert [entry["digest"] for entry in body["manifests"]] == [site.referrer.digest]
    assert body["manifests"][0]["artifactType"] == "application/spdx+json"
    assert "Oci-Filters-Applied" not in answer.headers
    wanted = ask(app, f"/v2/{NAME}/referrers/{subject}", query="artifactType=application%2Fspdx%2Bjson")
    assert len(json.loads(wanted.body)["manifests"]) == 1
    assert wanted.headers["Oci-Filters-Applied"] == "artifactType"
    other = ask(app, f"/v2/{NAME}/referrers/{subject}", query="artifactType=x")
    assert json.loads(other.body)["manifests"] == []
    nobody = ask(app, f"/v2/{NAME}/referrers/sha256:{'0' * 64}")
    assert json.loads(nobody.body)["manifests"] == []
    assert ask(app, f"/v2/{NAME}/referrers/latest").code == "DIGEST_INVALID"


def test_cosign_finds_its_tag(app: App, site: Site) -> None:
    tag = f"sha256-{site.images[REDIS].digest[7:]}.sig"
    assert ask(app, f"/v2/{NAME}/manifests/{tag}").body == site.signature.raw
    for blob in site.signature.blobs:
        assert ask(app, f"/v2/{NAME}/blobs/{blob.descriptor.digest}").body == blob.data


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v2/nobody/x/manifests/1", 404, "NAME_UNKNOWN"),
        ("/v2/nobody/x/tags/list", 404, "NAME_UNKNOWN"),
        (f"/v2/{NAME}/manifests/none", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/{NAME}/manifests/sha256:{'0' * 64}", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/{NAME}/blobs/sha256:{'0' * 64}", 404, "BLOB_UNKNOWN"),
        (f"/v2/{NAME}/blobs/sha256:zz", 400, "DIGEST_INVALID"),
        (f"/v2/{NAME}/blobs/..", 400, "DIGEST_INVALID"),
        (f"/v2/{NAME}", 404, "UNSUPPORTED"),
        ("/v2/../../etc/passwd", 404, "UNSUPPORTED"),
        ("/v2/../healthz/manifests/1", 404, "NAME_UNKNOWN"),
        ("/v2//manifests/1", 404, "UNSUPPORTED"),
    ],
)
def test_errors_have_the_form_of_the_specification(app: App, path: str, status: int, code: str) -> None:
    answer = ask(app, path)
    assert (answer.status, answer.code) == (status, code)
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "FOO"])
def test_it_is_read_only(app: App, method: str) -> None:
    for path in (f"/v2/{NAME}/blobs/uploads/", f"/v2/{NAME}/manifests/7.2", "/v2/"):
        answer = ask(app, path, method)
        assert (answer.status, answer.code, answer.headers["Allow"]) == (405, "UNSUPPORTED", "GET, HEAD")
    assert ask(app, "/files/tool", method).status == 405


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    st.lists(
        st.sampled_from(["v2", "..", ".", "", "manifests", "blobs", "7.2", NAME, "tags", "list", "é", "%2e", "charts"])
        | st.text(max_size=6),
        max_size=6,
    )
)
def test_no_path_is_a_fault(app: App, parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    try:
        path.encode()
    except UnicodeEncodeError:
        return
    assert ask(app, path).status in {200, 301, 400, 404}


def test_a_prefix(site: Site) -> None:
    app = app_of(site.path, prefix="mirror/one")
    assert ask(app, f"/v2/mirror/one/{NAME}/manifests/7.2").body == site.images[REDIS].raw
    assert ask(app, f"/v2/{NAME}/manifests/7.2").code == "NAME_UNKNOWN"
    app.close()


def test_images_without_a_tag_get_one(tmp_path: Path) -> None:
    image = tiny_image("x")
    tag = f"airbundle-{image.digest[7:19]}"
    write_bundle(tmp_path / "a.airbundle", make_images({f"docker.io/team/x:{tag}": image}))
    app = app_of(tmp_path / "a.airbundle")
    assert ask(app, f"/v2/docker.io/team/x/manifests/{tag}").body == image.raw
    app.close()


def test_the_bundle_that_is_named_first_wins_a_tag(tmp_path: Path) -> None:
    old, new, only = (tiny_image(seed, family="docker") for seed in ("old", "new", "only"))
    first = make_images({REDIS: old, "docker.io/library/only:1": only})
    second = make_images({REDIS: new})
    second = make([new], [locked(REDIS, new)], lock=newer(second))
    write_bundle(tmp_path / "old.airbundle", first)
    write_bundle(tmp_path / "new.airbundle", second)
    # A site that went back to the older one names it first.
    for order in (("old", "new"), ("new", "old")):
        app = app_of(*(tmp_path / f"{name}.airbundle" for name in order))
        first_named, other = (old, new) if order[0] == "old" else (new, old)
        answer = ask(app, f"/v2/{NAME}/manifests/7.2")
        assert answer.body == first_named.raw
        assert answer.headers["Content-Type"] == DOCKER_MANIFEST
        # What the other one had is still there for those who pin it.
        assert ask(app, f"/v2/{NAME}/manifests/{other.digest}").body == other.raw
        assert ask(app, f"/v2/{NAME}/blobs/{other.blobs[1].descriptor.digest}").body == other.blobs[1].data
        assert ask(app, "/v2/docker.io/library/only/manifests/1").body == only.raw
        app.close()
