"""Whether nodes can pull from an external registry as they are: airbundle's own login is not theirs."""

from __future__ import annotations

from airbundle.errors import Finding
from airbundle.installer.image_pins import ImagePins
from airbundle.installer.site.step import SiteRun
from airbundle.transfer.strangers import refuses_strangers

CODE = "registry-login"


def login_findings(run: SiteRun) -> list[Finding]:
    """Return a finding where the registry refuses who does not log in, and nobody gave the nodes a login.

    No runtime takes a login beside its mirrors, and a password belongs into no script: people give it to the nodes.
    """
    target = run.options.target
    tags = list(ImagePins.of(run.trusted.bundle, run.site.site).by_name.values())
    if target is None or not tags or run.site.site.nodes.logged_in:
        return []
    if not refuses_strangers(target.url, target.host, target.tls, tags[0].repository, tags[0].tag):
        return []
    return [
        Finding(
            "nodes pull without a login, and the registry refuses that",
            where=target.host,
            code=CODE,
            expected="images that everybody may pull, or nodes with a login of their own",
            hint="let it serve pulls of these repositories without a login; or give each node a login (docs/nodes.md) "
            "and write `loggedIn: true` below `nodes` into the site file",
        )
    ]
