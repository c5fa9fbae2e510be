from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle.site import parse_site
from airbundle.errors import DocumentError
from tests.bundle.documents import SITE, site_body, to_yaml


def finding(raw: bytes) -> str:
    with pytest.raises(DocumentError) as caught:
        parse_site(raw)
    assert len(caught.value.findings) == 1, "\n".join(map(str, caught.value.findings))
    return str(caught.value.findings[0])


def minimal(**fields: object) -> bytes:
    return to_yaml({"apiVersion": "airbundle.dev/v1", "kind": "Site", "metadata": {"name": "s"}, **fields})


def test_reads_a_complete_site() -> None:
    site = parse_site(SITE.encode())
    assert site.name == "berlin-1"
    assert site.cluster.context == "berlin"
    assert (site.registry.mode, site.registry.url, site.registry.ca) == ("external", "https://harbor.test", "ca.pem")
    assert site.registry.auth is not None
    assert site.registry.auth.password == "hush-hush"
    assert (site.nodes.access, site.nodes.hosts) == ("ssh", ("root@node-1",))
    assert site.dns.records == {"registry": ("10.0.0.10",), "*.apps": ("10.0.0.11", "10.0.0.12")}
    assert site.releases["label-studio"].enabled is False
    assert site.values == {"synapse": ("values/synapse.yaml",), "redis": ("a.yaml", "b.yaml")}
    assert site.secrets[0].keys == {"signing.key": "random"}
    assert site.secrets[0].where == "site.yaml:14 secrets[0]"


def test_the_least_site_has_defaults() -> None:
    site = parse_site(minimal())
    assert site.registry.mode == "embedded"
    assert site.nodes.runtime == "containerd"
    assert site.releases == {}


def test_passwords_are_not_in_the_representation() -> None:
    assert "hush-hush" not in repr(parse_site(SITE.encode()))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"registry": {"mode": "external"}}, "registry lacks 'url': 'mode: external' needs it"),
        ({"registry": {"mode": "embeded"}}, "(did you mean 'embedded'?)"),
        (
            {"nodes": {"access": "ssh"}},
            "nodes lacks 'hosts': 'access: ssh' needs it; expected the nodes, for access by ssh",
        ),
        ({"nodes": {"runtime": "cri-o"}}, "(did you mean 'crio'?)"),
        ({"dns": {"zone": "Z_"}}, "dns.zone: wrong value; found 'Z_'; expected a DNS name"),
        ({"dns": {"zone": "z", "records": {"a b": "x"}}}, "dns.records.a b: wrong value"),
        (
            {"dns": {"zone": "z", "records": {"a": "10.0.0.999"}}},
            "dns.records.a: 10.0.0.999 is no IP address; expected",
        ),
        ({"dns": {"zone": "z", "forward": ["fd00::x"]}}, "dns.forward[0]: "),
        ({"releases": {"x": {"enable": True}}}, "releases.x.enable: unknown field 'enable' in a release (did you mean"),
        ({"storageclass": "x"}, "unknown field 'storageclass' in the site file (did you mean 'storageClass'?)"),
        ({"secrets": [{"name": "a", "keys": {}}]}, "secrets[0]: a secret lacks 'namespace'"),
        ({"secrets": [{"name": "a", "namespace": "b", "keys": {"k": "r"}}]}, "secrets[0].keys.k: wrong value"),
    ],
)
def test_tells_what_is_wrong_and_where(fields: dict[str, object], words: str) -> None:
    assert words in finding(minimal(**fields))


def test_one_secret_twice() -> None:
    secret = {"name": "a", "namespace": "b", "keys": {"k": "random"}}
    assert "the secret b/a stands twice" in finding(minimal(secrets=[secret, dict(secret)]))


@pytest.mark.parametrize(
    "fields",
    [
        {"registry": {"mode": "external", "url": "https://h", "auth": {"username": "u", "password": 81547}}},
        {"registry": {"mode": "external", "url": "https://h", "auth": {"username": "u:81547", "password": "x"}}},
        {"registry": {"mode": "external", "url": "https://h", "auth": "u:81547"}},
        {"secrets": [{"name": "a", "namespace": "b", "keys": {"k": "81547 is my password"}}]},
        {"secrets": [{"name": "a", "namespace": "b", "keys": "81547"}]},
        {"secrets": ["81547"]},
    ],
)
def test_secrets_are_not_shown(fields: dict[str, object]) -> None:
    assert "81547" not in finding(minimal(**fields))


LOGIN = "registry: {mode: external, url: 'https://h', auth: {username: u, password: PASSWORD}}\n"


@pytest.mark.parametrize(
    "password", ["*81547", "!81547", "!!81547", "!<81547> x", "&81547", "@81547", "%81547", "`81547"]
)
def test_passwords_that_yaml_takes_for_its_own_are_not_shown(password: str) -> None:
    raw = minimal() + LOGIN.replace("PASSWORD", password).encode()
    with pytest.raises(DocumentError) as caught:
        parse_site(raw)
    assert "81547" not in " ".join(map(str, [caught.value, *caught.value.findings]))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(site_body())), ANYTHING)
def test_any_value_of_any_field_is_read_or_refused(name: str, value: object) -> None:
    try:
        parse_site(to_yaml({**site_body(), name: value}))
    except DocumentError as error:
        assert all(each.where.startswith("site.yaml") for each in error.findings)


@pytest.mark.parametrize("url", ["https://[::1", "https://h:99999", "https://h:x", "https://h:0"])
def test_a_url_of_no_host_and_port(url: str) -> None:
    assert "is no URL" in finding(minimal(registry={"mode": "external", "url": url}))


@pytest.mark.parametrize("number", ["012", "0755", "0o17", "0x1F", "1e3", "1.10", "+5", "99999999999999999999", ".5"])
def test_a_number_that_would_be_written_in_another_way(number: str) -> None:
    told = finding(minimal() + f"names: {{a: {number}}}\n".encode())
    assert "can be read in two ways" in told and f'"{number}" in quotes' in told


@pytest.mark.parametrize("number", ["0", "-3", "12", "1.5", "true", "'0755'", "yes"])
def test_a_number_that_is_what_it_is(number: str) -> None:
    assert parse_site(minimal() + f"names: {{a: {number}}}\n".encode()).names


def test_records_that_no_server_could_answer_with_are_told_at_once() -> None:
    records = {
        "a..b": "10.0.0.1",
        "l" * 64: "10.0.0.1",
        ".".join(["l" * 60] * 4): "10.0.0.1",
        "c": "a..b",
        "d": ["x.y", "z.w"],
        "e": ["x.y", "10.0.0.1"],
        "@": "x.y",
    }
    with pytest.raises(DocumentError) as caught:
        parse_site(minimal(dns={"zone": "berlin.internal", "records": records}))
    told = list(map(str, caught.value.findings))
    assert len(told) == len(records), told
    assert all(text.startswith("site.yaml:") and ".records" in text for text in told)
    good = {"_sip._tcp": "10.0.0.1", "*.apps": ["10.0.0.1", "fd00::1"], "www": "x.y", "@": "10.0.0.1", "a.b-c": "::1"}
    assert parse_site(minimal(dns={"zone": "berlin.internal", "records": good})).dns.records["www"] == ("x.y",)
