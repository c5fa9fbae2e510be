"""installer.site.status_certificates: what is said of a Certificate as cert-manager writes it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airbundle.errors import Finding
from airbundle.installer.site.status_certificates import Expiry, expiry_findings, expiry_of

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def certificate(**status: Any) -> dict[str, Any]:
    ready = {"type": "Ready", "status": "True", "message": "Certificate is up to date and has not expired"}
    return {
        "metadata": {"namespace": "shop", "name": "web"},
        "status": {"conditions": [ready], **{name: when(each) for name, each in status.items()}},
    }


def when(value: Any) -> Any:
    return f"{NOW + value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, timedelta) else value


def findings(body: dict[str, Any]) -> list[Finding]:
    return list(expiry_findings([expiry_of(body)], NOW))


def test_one_that_lasts() -> None:
    found = expiry_of(certificate(notAfter=60 * DAY, renewalTime=30 * DAY))
    assert (found.what, found.days(NOW), found.left(NOW)) == ("Certificate shop/web", 60, "60 days")
    assert not list(expiry_findings([found], NOW))


def test_one_whose_renewal_is_overdue() -> None:
    body = certificate(notAfter=5 * HOUR, renewalTime=-HOUR)
    body["status"]["conditions"].append({"type": "Issuing", "status": "False", "message": "the issuer is gone"})
    (finding,) = findings(body)
    assert finding.severity == "error"
    assert finding.message == "the certificate ends soon, and cert-manager has not renewed it"
    assert (finding.where, finding.found) == ("Certificate shop/web", "5 hours left; the issuer is gone")


def test_one_that_is_short_and_has_time_until_its_renewal_is_a_warning() -> None:
    (finding,) = findings(certificate(notAfter=10 * DAY, renewalTime=9 * DAY))
    assert finding.severity == "warning"
    assert finding.message == "the certificate ends soon, and cert-manager is to renew it at 2026-03-13T05:06:07Z"
    assert finding.found == "10 days left"


def test_one_that_nobody_renews_or_has_ended() -> None:
    (finding,) = findings(certificate(notAfter=13 * DAY + HOUR))
    assert (finding.severity, finding.message, finding.found) == ("error", "the certificate ends soon", "13 days left")
    assert "cert-manager says no time for a renewal" in finding.hint
    (finding,) = expiry_findings([Expiry("Secret shop/registry-tls", NOW + DAY)], NOW)
    assert "install the bundle again" in finding.hint
    assert not findings(certificate(notAfter=14 * DAY))
    (finding,) = findings(certificate(notAfter=-HOUR, renewalTime=-DAY))
    assert finding.message == "the certificate has ended, and cert-manager has not renewed it"


def test_one_that_is_not_ready_or_not_there() -> None:
    body = certificate(notAfter=60 * DAY)
    body["status"]["conditions"] = [{"type": "Ready", "status": "False", "message": "Secret is of others"}]
    (finding,) = findings(body)
    assert finding.message == "it is not ready: Secret is of others"
    (finding,) = findings({"metadata": {"name": "web"}})
    assert (finding.where, finding.message) == ("Certificate web", "it has no certificate yet: ")


@pytest.mark.parametrize("status", [None, 5, {"conditions": {"type": "Ready"}}, {"notAfter": 7}, {"conditions": [3]}])
def test_nonsense_is_a_finding_and_nothing_worse(status: Any) -> None:
    body = {"metadata": {"name": "web"}, "status": status}
    (finding,) = findings(body)
    assert finding.code == "certificate"


@pytest.mark.parametrize(
    ("left", "says"),
    [(2 * DAY, "2 days"), (2 * DAY - HOUR, "47 hours"), (HOUR, "60 minutes"), (-3 * DAY, "-3 days")],
)
def test_how_long_it_lasts_for_people(left: timedelta, says: str) -> None:
    assert Expiry("it", NOW + left).left(NOW) == says


def test_for_a_machine() -> None:
    body = expiry_of(certificate(notAfter=60 * DAY, renewalTime=30 * DAY)).to_json()
    assert {**body, "days": 0} == {
        "what": "Certificate shop/web",
        "days": 0,
        "ends": "2026-05-03T05:06:07Z",
        "renewal": "2026-04-03T05:06:07Z",
    }
    assert Expiry("Secret a/b", None).to_json() == {"what": "Secret a/b", "days": 0}
