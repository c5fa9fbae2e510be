"""installer.site.backups: what is written of backups, and which one belongs to what is gone back to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airbundle.deploy.desired import Desired
from airbundle.deploy.objects import key_of
from airbundle.installer.journal import Journal
from airbundle.installer.site.backups import (
    VARIABLE,
    Backup,
    backups_of,
    choose,
    declares,
    first_of,
    named,
    new_backup,
    since,
    step_of,
)
from airbundle.installer.site.deployment import DeployedRelease, Deployment


def release(inputs: str) -> DeployedRelease:
    return DeployedRelease("app", "shop", "chart", inputs)


def deployment(number: int, version: str, inputs: str, **more: Any) -> Deployment:
    return Deployment(number, "shop", version, number, f"sha256:{number}", "2026", releases=(release(inputs),), **more)


def backup(version: str, number: int, *, apart: bool = True) -> Backup:
    return Backup(f"{version}-x{number}", version, version, number, f"sha256:{number}", apart, f"day {number}")


def job(**env: str) -> Desired:
    boxes = [{"name": "dump", "env": [{"name": name, "value": value} for name, value in env.items()]}]
    metadata = {"name": "dump", "namespace": "shop"}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata}
    return Desired(key_of(body), {**body, "spec": {"template": {"spec": {"containers": boxes}}}})


ONE, TWO, THREE, FOUR = (deployment(n, f"1.{n - 1}", f"1.{n - 1}", complete=True) for n in (1, 2, 3, 4))
OF_ONE, OF_TWO, OF_THREE = backup("1.0", 2), backup("1.1", 3), backup("1.2", 4)


def test_the_name_goes_to_who_takes_it_and_nobody_else() -> None:
    taking, other = job(PGHOST="db", **{VARIABLE: ""}), job(PGHOST="db")
    assert declares([other, taking]) and not declares([other])
    assert named(other.body, "1.0-x") == other.body
    (box,) = named(taking.body, "1.0-x")["spec"]["template"]["spec"]["containers"]
    assert box["env"] == [{"name": "PGHOST", "value": "db"}, {"name": VARIABLE, "value": "1.0-x"}]
    assert named(taking.body, "x") != taking.body  # what was rendered stays as it was


@pytest.mark.parametrize(
    "body", [{}, {"kind": "Pod"}, {"kind": "Job", "spec": []}, {"kind": "Pod", "spec": {"containers": [1, {"env": 2}]}}]
)
def test_odd_manifests_take_none(body: dict[str, Any]) -> None:
    assert named(body, "x") == body


def test_of_which_version_it_is() -> None:
    begun = deployment(3, "1.2+b", "1.1")
    made = new_backup([ONE, TWO, begun], release("1.1"), "abc", [job(**{VARIABLE: ""})])
    assert made == Backup("1.1-abc", "1.1", "1.1", 3, "sha256:3", True)
    # A run before changed this release, and failed at another one: what is up is of that version.
    failed = deployment(2, "1.1+a", "1.1")
    made = new_backup([ONE, failed, begun], release("1.1"), "abc", [job()])
    assert (made.name, made.version, made.apart) == ("1.1_a-abc", "1.1+a", False)
    assert new_backup([begun], None, "abc", []).version == "unknown"


def test_what_ended_well_is_read_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    with journal.step(step_of("app")) as done:
        done.update(OF_ONE.info())
    with pytest.raises(ValueError, match="full"), journal.step(step_of("app")):
        raise ValueError("the disk is full")
    journal.note(step_of("app"), "done", info={"backup": {"name": 1}})
    journal.note(step_of("app"), "done")
    (found,) = backups_of(journal.read(), "app")
    assert (found.name, found.version, found.deployment, found.apart) == ("1.0-x2", "1.0", 2, True)
    assert found.time.startswith("20") and backups_of(journal.read(), "other") == []


def test_which_were_made_since() -> None:
    made = [OF_ONE, OF_TWO, OF_THREE]
    assert since(made, ONE) == made
    assert since(made, THREE) == [OF_THREE]
    assert since(made, FOUR) == []


def test_of_one_moment_the_last() -> None:
    again = backup("1.0", 5)
    assert first_of([OF_ONE, again, OF_TWO, again]) is again
    assert first_of([OF_ONE, OF_TWO]) is OF_ONE
    assert first_of([OF_TWO]) is OF_TWO


def test_the_one_of_the_moment_is_restored_where_backups_are_kept_apart() -> None:
    made = [OF_ONE, OF_TWO, OF_THREE]
    found = choose(made, ONE, release("1.0"), apart=True)
    assert (found.backup, found.warning) == (OF_ONE, "")
    found = choose(made[1:], TWO, release("1.1"), apart=True)
    assert (found.backup, found.warning) == (OF_TWO, "")


@pytest.mark.parametrize(("made_apart", "apart"), [(False, True), (True, False), (False, False)])
def test_else_the_newest_with_a_warning_where_it_is_another(made_apart: bool, apart: bool) -> None:
    made = [backup("1.0", 2, apart=made_apart), OF_TWO, OF_THREE]
    found = choose(made, ONE, release("1.0"), apart=apart)
    assert found.backup is OF_THREE
    assert "not the one that was made when 1.0 was left: the backup of 1.0 made day 2 is older" in found.warning
    assert VARIABLE in found.warning
    alone = choose(made[:1], ONE, release("1.0"), apart=apart)
    assert (alone.backup, alone.warning) == (made[0], "")


def test_a_version_that_made_none_is_told() -> None:
    """1.1 has no `before:`: the first backup since 1.0 is of 1.1."""
    found = choose([OF_TWO, OF_THREE], ONE, release("1.0"), apart=True)
    assert found.backup is OF_TWO
    assert found.warning == "no backup was made when 1.0 was left: this is the first one since"
