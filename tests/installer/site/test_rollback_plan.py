"""installer.site.rollback_plan: what a rollback goes back to, and what happens to each release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from airbundle.errors import UsageError
from airbundle.installer.site.backups import Backup
from airbundle.installer.site.deployment import DeployedRelease, Deployment, same_release
from airbundle.installer.site.rollback_moves import in_order, moves_between
from airbundle.installer.site.rollback_plan import FROM, ROLLBACK, RollbackPlan, came_from, choose_target


def release(name: str, inputs: str = "a", **more: Any) -> DeployedRelease:
    return DeployedRelease(name, "shop", "chart", inputs, **more)


def deployment(number: int, version: str, *releases: DeployedRelease, **more: Any) -> Deployment:
    given = {"complete": True, **more}
    return Deployment(number, "shop", version, number, f"sha256:{version}", "2026", releases=releases, **given)


ONE, TWO = deployment(1, "1.0", release("web")), deployment(2, "1.1", release("web", "b"))
AGAIN = deployment(3, "1.1", release("web", "b", revision=4))
HALF = deployment(3, "1.2", release("web", "b"), complete=False)
BACK = deployment(3, "1.0", release("web"), who={ROLLBACK: 1})
BACK_HALF = deployment(3, "1.0", release("web", "b"), complete=False, who={ROLLBACK: 1})


@pytest.mark.parametrize(
    ("deployments", "to", "number"),
    [
        ([ONE, TWO], "", 1),
        ([ONE, TWO], "1.0", 1),
        ([ONE, TWO, AGAIN], "", 1),  # what is the same as now is nothing to go back to
        ([ONE, TWO, HALF], "", 2),  # what never came to its end counts as what is up now
        ([ONE, TWO, HALF], "1.0", 1),
        ([ONE, TWO, BACK], "", 2),
        ([ONE, TWO, BACK_HALF], "", 1),  # cut off: it goes on
        ([ONE, TWO, BACK_HALF], "1.0", 1),
        ([ONE, TWO, BACK_HALF], "1.1", 2),
        ([ONE, TWO], "1.1", 2),
    ],
)
def test_what_is_gone_back_to(deployments: Sequence[Deployment], to: str, number: int) -> None:
    now, then = choose_target(deployments, to)
    assert now is deployments[-1]
    assert then.number == number


@pytest.mark.parametrize(
    ("deployments", "to", "says"),
    [
        ([], "", "nothing was deployed"),
        ([ONE], "", "nothing to go back to; earlier versions here: none"),
        ([ONE, TWO], "0.9", "no deployment of shop 0.9 came to its end; earlier versions here: 1.0"),
        ([HALF], "1.2", "came to its end"),
    ],
)
def test_what_can_not_be_gone_back_to(deployments: Sequence[Deployment], to: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        choose_target(deployments, to)


def test_what_happens_to_each_release() -> None:
    then = deployment(
        1,
        "1.0",
        release("web", needs=("db",)),
        release("db", "old"),
        release("same", revision=1),
        release("fixed"),
        release("lost"),
    )
    now = deployment(
        2,
        "1.1",
        release("web", "b", needs=("db",), rollback="auto"),
        release("db", "new"),
        release("same", revision=7),
        release("fixed", "b", rollback="never"),
        release("added"),
        release("late", needs=("added",)),
    )
    moves = moves_between(now, then)
    found = {each.name: (each.move, each.asks) for each in moves}
    assert found == {
        "web": ("back", False),
        "db": ("back", True),
        "fixed": ("stay", False),
        "lost": ("again", True),
        "added": ("remove", True),
        "late": ("remove", True),
    }
    names = [each.name for each in moves]
    assert names.index("db") < names.index("web") < names.index("late") < names.index("added")


def test_after_a_run_that_was_cut_off_all_may_have_changed() -> None:
    half = deployment(2, "1.1", release("web"), complete=False)
    assert [each.move for each in moves_between(half, ONE)] == ["back"]


def test_what_another_bundle_has_now_stays() -> None:
    taken = release("web", "c", bundle="tools")
    (move,) = moves_between(deployment(2, "1.1"), ONE, [taken])
    assert (move.move, move.asks) == ("stay", False)
    assert str(move) == "release/web stays as it is: it is of the bundle tools now"


def test_what_is_deployed_again_is_told() -> None:
    move = replace(moves_between(deployment(2, "1.1"), ONE)[0], afresh=True)
    assert str(move).startswith("release/web comes back: it was taken away since; it is deployed again from the bundle")
    assert move.asks


def test_needs_in_a_circle_come_in_some_order() -> None:
    then = deployment(1, "1.0", release("a", needs=("b",)), release("b", needs=("a",)))
    now = deployment(2, "1.1", release("a", "x"), release("b", "x"))
    assert {each.name for each in in_order(moves_between(now, then))} == {"a", "b"}


def test_a_revision_alone_is_no_difference() -> None:
    assert same_release(release("web", revision=1), release("web", revision=3))
    assert not same_release(release("web"), release("web", "b"))


def test_the_plan_is_told() -> None:
    plan = RollbackPlan("berlin", TWO, ONE, tuple(moves_between(TWO, ONE)), ("dns",), serves=True)
    text = "\n".join(plan.lines())
    assert "from shop 1.1 (deployment 2)" in text and "back to shop 1.0 (deployment 1" in text
    assert "names are those of shop 1.0 again" in text and "release/web goes back" in text and "dns: as" in text
    body = plan.to_json()
    assert (body["changes"], body["to"]["version"]) == (True, "1.0")
    with_others = RollbackPlan("berlin", TWO, ONE, (), others=("tools 9",))
    assert "tools 9 stays as it is" in "\n".join(with_others.lines()) and with_others.to_json()["others"] == ["tools 9"]
    nothing = RollbackPlan("berlin", ONE, ONE, ())
    assert not nothing.changes and "nothing to do" in "\n".join(nothing.lines())


def test_what_is_restored_is_said_by_what_was_up_before_a_rollback_that_was_cut_off() -> None:
    half = replace(BACK_HALF, who={ROLLBACK: 1, FROM: 2})
    assert came_from([ONE, TWO, half], half, ONE) is TWO
    assert came_from([ONE, TWO, half], half, TWO) is half  # forth again: nothing of its own is restored
    assert came_from([ONE, half], half, ONE) is half
    assert came_from([ONE, TWO, BACK_HALF], BACK_HALF, ONE) is BACK_HALF
    assert came_from([ONE, TWO, HALF], HALF, TWO) is HALF
    done = replace(half, complete=True)
    assert came_from([ONE, TWO, done], done, TWO) is done


def test_what_is_restored_says_what_is_lost() -> None:
    (move,) = moves_between(TWO, ONE)
    assert "lost" not in str(move)
    assert str(replace(move, restores=("a.yaml", "b.yaml"))) == (
        "release/web goes back; then runs a.yaml, b.yaml: what was written since the backup is lost"
    )


def test_what_is_restored_is_told_with_what_is_doubtful_and_then_somebody_is_asked() -> None:
    now, then = deployment(2, "1.1", release("web", "b", rollback="auto")), ONE
    (move,) = moves_between(now, then)
    assert not move.asks
    backup = Backup("1.0-x", "1.0", "a", 2, "sha256:2", apart=False, time="2026-01-02T03:04:05Z")
    sure = replace(move, restores=("restore.yaml",), backup=backup)
    assert not sure.asks
    told = "then runs restore.yaml: what was written since the backup of 1.0 made 2026-01-02T03:04:05Z is lost"
    assert told in str(sure)
    doubtful = replace(sure, warning="it is another one")
    assert doubtful.asks and not replace(doubtful, policy="never").asks
    plan = RollbackPlan("berlin", now, then, (doubtful,))
    assert list(plan.lines())[-1] == "    warning: it is another one"
    (body,) = plan.to_json()["releases"]
    assert body["backup"] == {"name": "1.0-x", "version": "1.0", "time": "2026-01-02T03:04:05Z"}
    assert (body["warning"], body["asks"], body["restores"]) == ("it is another one", True, ["restore.yaml"])
    assert move.to_json()["backup"] is None


def test_that_the_server_is_started_first_is_in_the_plan() -> None:
    plan = RollbackPlan("berlin", TWO, ONE, (), starts=True)
    assert "server is down, and is started first" in "".join(plan.lines())
    assert plan.to_json()["starts"] and not plan.changes
