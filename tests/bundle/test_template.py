from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbundle.bundle import template
from airbundle.bundle.site import RegistryTarget, Site, SiteCa
from airbundle.bundle.template import HINTS, PLACEHOLDERS, fill, site_names, used_names
from airbundle.errors import DocumentError

NAMES = {"name": "berlin", "domain": "chat.test", "registry": "registry.chat.test:5443", "storageClass": ""}


def test_fills_in_each_name() -> None:
    text = 'host: "app.{{ site.domain }}"\nclass: "{{site.storageClass}}"\nrepo: oci://{{  site.registry\t}}/x\n'
    filled = fill(text, NAMES, "values.yaml")
    assert filled == 'host: "app.chat.test"\nclass: ""\nrepo: oci://registry.chat.test:5443/x\n'


@pytest.mark.parametrize(
    "text",
    [
        "{{ .Values.site.name }}",
        '{{ include "site.name" . }}',
        "{{- site.domain -}}",
        "{{ site.domain | upper }}",
        "{{ $labels.site }} {{ printf `{{ x }}` }}",
        "{ site.domain }",
        "{{{ site }}}",
        "{{ site.domain\n}}",
        "%{ site.domain } ${site.domain} <% site.domain %>",
        "\r\n{{ sites.domain }}\x00",
    ],
)
def test_other_braces_pass(text: str) -> None:
    assert fill(text, NAMES, "values.yaml") == text


def test_an_outer_brace_stays() -> None:
    assert fill("{{{ site.name }}}", NAMES, "v") == "{berlin}"


def test_what_is_filled_in_is_not_filled_again() -> None:
    assert fill("{{ site.name }}", {"name": "{{ site.domain }}"}, "v") == "{{ site.domain }}"


@given(st.text(alphabet="{} .site\nabc-|\"'"))
def test_text_without_our_form_is_untouched(text: str) -> None:
    if not list(used_names(text)):
        assert fill(text, NAMES, "v") == text


def test_thousands_of_unknown_names_are_told_and_not_all_guessed_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def look(name: str, *_: object, **__: object) -> list[str]:
        looked.append(name)
        return ["domain"]

    monkeypatch.setattr(template, "get_close_matches", look)
    text = "".join(f"a: {{{{ site.domian{number} }}}}\nb: {{{{ site.domian{number} }}}}\n" for number in range(3000))
    with pytest.raises(DocumentError) as caught:
        fill(text, NAMES, "v")
    findings = caught.value.findings
    assert [finding.where for finding in findings] == [f"v:{line}" for line in range(1, 6001)]
    assert looked == [f"domian{number}" for number in range(HINTS)]
    assert findings[0].hint == findings[1].hint == "did you mean site.domain?"
    assert (findings[-1].expected, findings[-1].hint) == ("", "declare names of your own under `site` in bundle.yaml")


def test_a_name_without_end_is_cut() -> None:
    with pytest.raises(DocumentError) as caught:
        fill(f"{{{{ site.{'a' * 100_000} }}}}", NAMES, "v")
    assert len(str(caught.value.findings[0])) < 1000


def test_every_unknown_name_is_told_with_its_line() -> None:
    with pytest.raises(DocumentError) as caught:
        fill("a: {{ site.domian }}\n\nb: {{ site. }}\n", NAMES, "values/x.yaml")
    first, second = map(str, caught.value.findings)
    assert first == (
        "values/x.yaml:1: '{{ site.domian }}' is no name of the site; expected one of site.name, site.domain, "
        "site.registry, site.storageClass, site.ca_issuer (did you mean site.domain?)"
    )
    assert second.startswith("values/x.yaml:3: '{{ site. }}' is no name of the site")


def test_a_site_that_does_not_say_its_domain_is_told_so() -> None:
    names = site_names(Site("berlin"))
    assert names == {"name": "berlin", "storageClass": "", "ca_issuer": "airbundle-ca"}
    with pytest.raises(DocumentError, match="can't be filled in") as caught:
        fill("x: {{ site.domain }}", names, "v.yaml")
    assert "v.yaml:1: the site file does not say its 'domain'" in str(caught.value.findings[0])


def test_names_of_a_site() -> None:
    site = Site("berlin", domain="chat.test", storage_class="fast", ca=SiteCa(issuer="berlin-ca"))
    assert site_names(site) == {
        "name": "berlin",
        "domain": "chat.test",
        "registry": "registry.chat.test:5443",
        "storageClass": "fast",
        "ca_issuer": "berlin-ca",
    }
    external = Site("berlin", registry=RegistryTarget("external", "https://harbor.test:8443/x"))
    assert site_names(external)["registry"] == "harbor.test:8443"


def test_placeholders_are_no_real_names() -> None:
    assert set(PLACEHOLDERS) == {"name", "domain", "registry", "storageClass", "ca_issuer"}
    assert PLACEHOLDERS["domain"] == "site.internal"
