"""What people left in values and objects: placeholders, weak passwords, example hosts, the internet.

These are the rules of scanning (docs/scan.md), here with the values of the one site that it is about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from airbundle.deploy.facts import SiteFacts
from airbundle.deploy.wanted import Wanted
from airbundle.errors import Finding
from airbundle.scan.rules import hosts, internet, passwords, placeholders, pulls, reports
from airbundle.scan.rules.unite import united

_HARD_CODED, _EXAMPLE = "hard-coded-host", "example-host"


def find(facts: SiteFacts, wanted: Wanted) -> Iterator[Finding]:
    """Yield placeholders, weak passwords, hosts that no site has, and what leads to the internet."""
    del facts
    scene = wanted.scene
    families = (placeholders, passwords, hosts, internet, reports, pulls)
    found = [finding for family in families for finding in family.find(scene)]
    for finding in united(found):
        if finding.code == _EXAMPLE and ": Ingress " in finding.where:
            yield replace(finding, severity="error")  # what people would ask for in vain
        elif finding.code != _HARD_CODED:  # that is for the bundle's makers
            yield finding
