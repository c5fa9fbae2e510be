"""A cluster on which the bundle of tests/site/inventory was brought up, once for all tests of this directory.

They run in the order of their files' names: what breaks it comes last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.site.bring_up import BroughtUp, build, write_site
from tests.site.desk import open_desk
from tests.support import cert_manager
from tests.support.sealed import any_site


@pytest.fixture(scope="package")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BroughtUp]:
    if cert_manager.cert_manager() is None:
        pytest.skip(cert_manager.MISSING)
    root = tmp_path_factory.mktemp("bring-up")
    with ExitStack() as ending:
        site = ending.enter_context(any_site())
        desk = ending.enter_context(open_desk(root))
        bundle = build(desk)
        words = ("install", bundle, "--key", desk.public_key, "--site", write_site(root / "site", site), "--access-log")
        try:
            report = json.loads(site.airbundle(*words, "--json").stdout)
            yield BroughtUp(site, desk, words, report)
        finally:
            if not site.sealed:
                # Definitions, too: tests after these take a cluster that has them for one with a cert-manager.
                site.airbundle("uninstall", "--yes", "--delete-data", check=False)
