"""An upgrade that migrates a real PostgreSQL database and fails: it asks, restores the backup, serves the old data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.site import ledger
from tests.site.desk import open_desk
from tests.support.sealed import AIRBUNDLE, LIMIT, Site

ROWS = [f"ada|{number} apples" for number in range(500)]
SERVED = "\n".join(ROWS)


@dataclass
class Ledger:
    """A cluster on which 1.0.0 is up, with entries that people wrote."""

    site: Site
    root: Path
    key: Path
    bundles: dict[str, Path] = field(default_factory=dict)

    def install(self, version: str) -> list[str | Path]:
        """Return the command that installs a version; the tests go back and forth between them."""
        words: list[str | Path] = ["install", self.bundles[version], "--key", self.key, "--allow-older"]
        return [*words, "--site", self.root / "site.yaml", "--state-dir", self.root / "state"]

    def run(self, *words: str | Path, code: int = 0) -> dict[str, Any]:
        """Run a command, without a terminal, and return its answer."""
        done = self.site.airbundle(*words, "--json", check=False)
        assert done.returncode == code, done.stdout + done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def rollback(self, *words: str, code: int = 0) -> dict[str, Any]:
        """Run `airbundle rollback`."""
        return self.run("rollback", "--state-dir", self.root / "state", *words, code=code)

    def sql(self, query: str) -> str:
        """Ask the database."""
        words = ("exec", "postgres-0", "-c", "postgres", "--", "psql", "-X", "-At", "ledger", "-c", query)
        return self.site.kubectl("-n", ledger.NAMESPACE, *words).strip()

    def served(self) -> str:
        """What the application answers; empty when nothing of it is ready."""
        path = f"/api/v1/namespaces/{ledger.NAMESPACE}/services/app:80/proxy/"
        return self.site.kubectl("get", "--raw", path, check=False).strip()

    def jobs(self, name: str) -> int:
        """How many jobs of a name there are: each run has one of its own."""
        listed = self.site.kubectl("-n", ledger.NAMESPACE, "get", "jobs", "-o", "name").split()
        return sum(each.startswith(f"job.batch/{name}-") for each in listed)

    def columns(self) -> str:
        """The columns of the table."""
        return self.sql("SELECT string_agg(column_name, ' ' ORDER BY ordinal_position) FROM information_schema.columns "
                        "WHERE table_name = 'entries'")  # fmt: skip


@pytest.fixture(scope="module")
def up(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    root = tmp_path_factory.mktemp("ledger")
    with open_desk(root) as desk:
        made = Ledger(site, root, desk.public_key)
        whole = made.bundles[ledger.FIRST] = ledger.build(desk, ledger.FIRST)
        for version in (ledger.NO_BACKUP, ledger.BROKEN, ledger.BROKEN_TOO, *ledger.GOOD):
            made.bundles[version] = ledger.build(desk, version, "--base", whole)
    ledger.site_file(root)
    try:
        made.run(*made.install(ledger.FIRST))
        made.sql("INSERT INTO entries (author, body) SELECT 'ada', n || ' apples' FROM generate_series(0, 499) AS n")
        yield made
    finally:
        site.airbundle("uninstall", "--yes", "--delete-data", "--state-dir", root / "state", check=False)


@pytest.fixture
def first(up: Ledger) -> Iterator[Ledger]:
    """1.0.0 serves before, and after."""
    assert up.served() == SERVED
    yield up
    assert up.served() == SERVED
    assert up.columns() == "id author body"
    app = up.site.get("-n", ledger.NAMESPACE, "deployment", "app")
    assert app["status"]["readyReplicas"] == 1
    assert app["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"] == f"app-{ledger.FIRST}"


def findings(answer: dict[str, Any], where: str) -> list[dict[str, Any]]:
    return [each for each in answer["errors"][0]["findings"] if each["where"] == where]


def test_nothing_is_migrated_without_its_backup(first: Ledger) -> None:
    schema = first.site.get("-n", ledger.NAMESPACE, "job", "schema")["metadata"]["uid"]
    pods = first.site.kubectl("-n", ledger.NAMESPACE, "get", "pods", "-l", "app", "-o", "name")
    answer = first.run(*first.install(ledger.NO_BACKUP), code=6)
    assert answer["outcome"] == "rolled-back"
    assert "ledger 1.0.0 serves as before" in answer["errors"][0]["message"]
    (told,) = findings(answer, "release/app")
    assert told["message"].startswith("app was not changed: what runs before it does did not end well: ")
    assert "the disk of the backups is full" in json.dumps(answer)
    assert first.site.get("-n", ledger.NAMESPACE, "job", "schema")["metadata"]["uid"] == schema
    assert first.site.kubectl("-n", ledger.NAMESPACE, "get", "pods", "-l", "app", "-o", "name") == pods
    assert first.jobs("restore") == 0


def test_where_nobody_can_be_asked_it_stays_until_a_person_takes_it_back(first: Ledger) -> None:
    answer = first.run(*first.install(ledger.BROKEN), code=6)
    assert answer["outcome"] == "partial"
    error = answer["errors"][0]
    assert "release/app failed; app did not go back; all other releases serve as in ledger 1.0.0" in error["message"]
    assert "go back to ledger 1.0.0: `airbundle rollback --site ledger --bundle ledger`" in error["hint"]
    *_, stays = findings(answer, "release/app")
    assert stays["code"] == "agreement"
    back = "`airbundle rollback --site ledger --bundle ledger` takes it back, and runs backup/restore.yaml"
    assert stays["hint"] == f"{back}; with --yes a failed install does so by itself"
    assert "the ledger does not start" in json.dumps(error["findings"])
    assert (first.columns(), first.served()) == ("id message", "")
    assert first.sql("SELECT count(*) FROM entries WHERE message = 'migrated'") == str(len(ROWS))

    refused = first.rollback(code=2)
    assert refused["errors"][0]["hint"] == "add --yes"
    assert first.columns() == "id message"
    plan = first.rollback("--dry-run")
    assert [(each["name"], each["restores"]) for each in plan["releases"]] == [("app", ["backup/restore.yaml"])]

    # Another version, which fails as well: what it would back up is not what has to be restored.
    backups = first.jobs("dump")
    terminal = first.site.terminal(*AIRBUNDLE, *first.install(ledger.BROKEN_TOO))
    terminal.wait_for(rb"\[y/N\]", patience=LIMIT)
    asked = " ".join(terminal.written.decode().split())
    assert re.search(r"release/app failed: app: .*Take app back to what was up before, and run backup/restore.yaml, "
                     r"after which what was written since the backup of 1.0.0 made \S+ is lost\? ", asked)  # fmt: skip
    terminal.type(b"y\n")
    assert terminal.finish(patience=LIMIT) == 6
    assert "ledger 1.0.0 serves as before (app went back)" in terminal.written.decode()
    assert first.jobs("dump") == backups


def test_who_says_no_may_still_go_back_later(first: Ledger) -> None:
    restored, backups = first.jobs("restore"), first.jobs("dump")
    terminal = first.site.terminal(*AIRBUNDLE, *first.install(ledger.BROKEN))
    terminal.wait_for(rb"\[y/N\]", patience=LIMIT)
    terminal.type(b"n\n")
    assert terminal.finish(patience=LIMIT) == 6
    assert (first.columns(), first.jobs("dump")) == ("id message", backups + 1)
    answer = first.rollback("--yes")
    assert (answer["to"]["version"], answer["done"]) == (ledger.FIRST, ["app"])
    assert first.jobs("restore") == restored + 1


def test_back_over_versions_the_backup_made_when_that_one_was_left_is_restored(first: Ledger) -> None:
    backups = first.jobs("dump")
    for version in ledger.GOOD:
        first.run(*first.install(version))
    assert first.jobs("dump") == backups + 2
    assert first.served().splitlines()[0] == f"{ROWS[0]} in {ledger.SECOND} in {ledger.THIRD}"
    plan = first.rollback("--to", ledger.FIRST, "--dry-run")
    (move,) = plan["releases"]
    assert (move["backup"]["version"], move["warning"], move["asks"]) == (ledger.FIRST, "", True)
    answer = first.rollback("--to", ledger.FIRST, "--yes")
    assert (answer["done"], answer["releases"][0]["backup"]) == (["app"], move["backup"])
    # Forth again: nothing was backed up on the way back, so nothing is there to be restored.
    plan = first.rollback("--to", ledger.THIRD, "--dry-run")
    assert [(each["restores"], each["backup"]) for each in plan["releases"]] == [([], None)]
