"""What is an image, what may be one, and what surely is none; images whose parts stand apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.scan.spelling import Form, as_image, is_version, joined
from tests.scan.support import DIGEST

HEX = DIGEST[7:]


@pytest.mark.parametrize(
    "text",
    [
        "quay.io/a/b:1",
        "ghcr.io/a/b:latest",
        "registry.k8s.io/pause:3.9",
        "registry.istio.io/release/pilot:1.29.0",
        "012345678901.dkr.ecr.eu-west-1.amazonaws.com/a/b:abcdef",
        "europe-docker.pkg.dev/p/r/i:tag",
        "localhost:5000/x:1",
        "10.0.0.1:5000/a:v1",
        "[fd00::1]:5000/x:1",
        "harbor.corp.example/team/app:7f3a2b1",
        "Quay.io/a:1",
        "docker://quay.io/a/b:1",
        "docker-pullable://quay.io/a/b@" + DIGEST,
        '"quay.io/a/b:1"',
        "  quay.io/a/b:1\n",
        f"redis@{DIGEST}",
        f"a/b:1@{DIGEST}",
        f"quay.io/a/b:1@{DIGEST}",
    ],
)
def test_what_is_unmistakable(text: str) -> None:
    spelled = as_image(text)
    assert spelled is not None
    assert spelled.unmistakable
    assert spelled.form == "full"


@pytest.mark.parametrize(
    ("text", "form", "telling"),
    [
        ("redis:7", "tagged", True),
        ("postgres:16-alpine", "tagged", True),
        ("alpine:latest", "tagged", True),
        ("fluent/fluent-bit:2.2.0", "tagged", True),
        ("minio/minio:RELEASE.2024-01-01T00-00-00Z", "tagged", True),
        ("org/app:main", "tagged", False),
        ("redis:6379", "tagged", False),
        ("key:value", "tagged", False),
        ("default/service:8080", "tagged", False),
        ("redis", "bare", False),
        ("org/app", "bare", False),
        ("quay.io/org/app", "hosted", False),
        ("localhost:9090/metrics", "hosted", False),
        ("oci://ghcr.io/org/chart:1.0", "full", False),
        ("kept.namespace.svc:5000/app:1", "full", False),
    ],
)
def test_what_may_be_one(text: str, form: Form, telling: bool) -> None:
    spelled = as_image(text)
    assert spelled is not None
    assert (spelled.form, spelled.telling, spelled.unmistakable) == (form, telling, False)


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "https://quay.io/a:1", "http://a.b/c:1", "redis://h:6379/0", "/usr/bin/x", "/dev/a:/dev/b", "./a:b",
        "../a", "~/x", "a/", "10.0.0.0/8", "10.0.0.1:80", "0.0.0.0:8080", ":8080", "fd00::1", "::1", "[::1]:80",
        "2001:db8::/32", "db.example.org:5432", "12:30", "12:30:00", "2024-01-01T10:00:00Z", "1.2.3", "1", "100",
        "{{ .Values.image }}:1", "$(IMAGE)", "${REG}/a:1", "%s/a:1", "<image>:1", "app=web", "app.kubernetes.io/name",
        "app.kubernetes.io/name:web", "node.kubernetes.io/x", "github.com/a/b:v1", "helm.sh/chart",
        "application/json", "image/png", "application/vnd.oci.image.manifest.v1+json", "com.example.Class",
        "user@example.org", "a@b", f"redis@{DIGEST.upper()}", f"redis@sha256:{HEX[1:]}", "user:pass@host/x",
        "arn:aws:s3:::bucket", "system:serviceaccount:ns:sa", "a:b:c:d", "path/to/file.yaml", "logos/a.png", "run.sh",
        "config.yaml:ro", "true", "auto", "none", "latest", "Redis:7", "quay.io/Org/app:1", "REGISTRY/app:TAG", "a b",
        "a,b", "quay.io/a:1;rm", "*:latest", "ghcr.io/org/*", "!a:1", "a..b:1", "x" * 700, "\x00", "…",
    ],
)  # fmt: skip
def test_what_surely_is_none(text: str) -> None:
    assert as_image(text) is None


@pytest.mark.parametrize("value", [None, 7, 1.5, True, ["redis:7"], {"image": "redis:7"}, b"redis:7"])
def test_only_text_is_an_image(value: object) -> None:
    assert as_image(value) is None


@pytest.mark.parametrize(
    ("registry", "repository", "tag", "digest", "name", "expected"),
    [
        ("quay.io", "a/b", "v1", None, None, "quay.io/a/b:v1"),
        ("quay.io/", "/a/b/", "v1", "", None, "quay.io/a/b:v1"),
        ("https://quay.io", "a/b", "v1", "", None, "quay.io/a/b:v1"),
        ("quay.io/org", "app", "v1", "", None, "quay.io/org/app:v1"),
        ("", "redis", 7, "", None, "docker.io/library/redis:7"),
        (None, "redis", 1.1, None, None, "docker.io/library/redis:1.1"),
        (None, "redis", 20240101, None, None, "docker.io/library/redis:20240101"),
        (None, "quay.io/a/b", ":v1", None, None, "quay.io/a/b:v1"),
        ("docker.io", "quay.io/a/b", "v1", None, None, "quay.io/a/b:v1"),
        ("quay.io", "quay.io/a/b", "v1", None, None, "quay.io/a/b:v1"),
        ("mirror/x", "mirror/x/a", "v1", None, None, "docker.io/mirror/x/a:v1"),
        ("localhost:5000", "a/b", "v1", None, None, "localhost:5000/a/b:v1"),
        (None, "quay.io/a/b:v1", None, None, None, "quay.io/a/b:v1"),
        (None, "quay.io/a/b:v1", "v2", None, None, "quay.io/a/b:v1"),
        (None, "quay.io/a/b", f"v1@{DIGEST}", None, None, f"quay.io/a/b:v1@{DIGEST}"),
        (None, "quay.io/a/b", f"@{DIGEST}", None, None, f"quay.io/a/b@{DIGEST}"),
        (None, "quay.io/a/b", DIGEST, None, None, f"quay.io/a/b@{DIGEST}"),
        (None, "quay.io/a/b", "v1", DIGEST, None, f"quay.io/a/b:v1@{DIGEST}"),
        (None, "quay.io/a/b", "v1", HEX, None, f"quay.io/a/b:v1@{DIGEST}"),
        (None, "quay.io/a/b", "v1", f"@{DIGEST}", None, f"quay.io/a/b:v1@{DIGEST}"),
        (None, "quay.io/a/b", "", HEX.upper(), None, f"quay.io/a/b@{DIGEST}"),
        (None, "quay.io/a/b", "v1", "not a digest", None, "quay.io/a/b:v1"),
        (None, f"quay.io/a/b@{DIGEST}", "v1", None, None, f"quay.io/a/b:v1@{DIGEST}"),
        ("quay.io", "strimzi", "0.40", None, "operator", "quay.io/strimzi/operator:0.40"),
        ("quay.io", None, "v1", None, "org/app", "quay.io/org/app:v1"),
        (None, "quay.io/org/app", "v1", None, "app", "quay.io/org/app:v1"),
        (None, "docker://quay.io/a/b", "v1", None, None, "quay.io/a/b:v1"),
        (None, "quay.io/a/b", None, None, None, "quay.io/a/b:latest"),
    ],
)
def test_parts_are_put_together(
    registry: object, repository: object, tag: object, digest: object, name: object, expected: str
) -> None:
    spelled = joined(registry, repository, tag, digest, name)
    assert spelled is not None
    assert str(spelled.image) == expected


@pytest.mark.parametrize("repository", [None, "", "/", [], {}, "Upper/Case", "a b", "{{ x }}"])
def test_no_repository_makes_no_image(repository: object) -> None:
    assert joined("quay.io", repository, "v1") is None


def test_versions() -> None:
    assert all(map(is_version, ["1", "v1.2", "1.2.3-rc1", "16-alpine", "latest", "RELEASE.2024-01-01T00-00-00Z"]))
    assert not any(map(is_version, ["", "foo", "-1", "always", "v"]))


@given(st.text(max_size=200) | st.from_regex(r"[\w./:@-]{1,80}", fullmatch=True))
def test_any_text_is_judged(text: str) -> None:
    spelled = as_image(text)
    assert spelled is None or spelled.image.repository


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80)


@given(st.tuples(scalars, scalars, scalars, scalars, scalars))
def test_any_parts_are_put_together(parts: tuple[object, object, object, object, object]) -> None:
    spelled = joined(*parts)
    assert spelled is None or spelled.image.repository
