from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field

from hypothesis import example, given
from hypothesis import strategies as st

from airbundle.bundle.digest import hex_of, sha256
from airbundle.installer.placed import Ours
from airbundle.installer.prune_plan import (
    MOVED,
    STAYING,
    UNSURE,
    Blob,
    Going,
    Held,
    Needed,
    Shelf,
    choose_kept,
    is_candidate,
    lacking,
    plan_repository,
    untagged,
)

A, B, C, D = (sha256(name.encode()) for name in "abcd")


def held(serial: int, has: str = "", needs: str = "", name: str = "test") -> Held:
    """Return version 1.`serial`, with a blob for each letter."""
    statement = sha256(f"{name}{serial}".encode())
    return Held(name, f"{name} 1.{serial}", serial, statement, blobs(has), blobs(needs))


def blobs(letters: str) -> frozenset[Blob]:
    return frozenset((letter, 1) for letter in letters)


def kept_titles(bundles: list[Held], keep: int, without: str = "") -> dict[str, str]:
    kept = choose_kept(bundles, keep, without=without)
    return {each.title: kept[each.statement] for each in bundles if each.statement in kept}


# Versions


def test_the_newest_of_each_name_stay() -> None:
    bundles = [held(5, name="other"), held(3), held(2), held(1)]
    assert kept_titles(bundles, 2) == {"other 1.5": "", "test 1.3": "", "test 1.2": ""}
    assert kept_titles(bundles, 1) == {"other 1.5": "", "test 1.3": ""}
    assert kept_titles(bundles, 9).keys() == {each.title for each in bundles}


def test_of_a_bundle_that_goes_only_what_others_need_stays() -> None:
    bundles = [held(3), held(2, "a"), held(5, needs="a", name="other")]
    assert kept_titles(bundles, 9, "test") == {"test 1.2": "the delta other 1.5 needs a blob of it", "other 1.5": ""}
    assert kept_titles(bundles, 9, "other").keys() == {"test 1.3", "test 1.2"}


def test_what_was_installed_last_stays_though_it_is_older() -> None:
    assert kept_titles([held(1), held(3), held(2)], 1) == {"test 1.1": "installed last", "test 1.3": ""}


def test_what_never_came_up_is_none_of_the_newest() -> None:
    bundles = [held(2), held(4), held(3), held(1), held(0)]
    failed = {held(4).statement, held(3).statement}
    kept = choose_kept(bundles, 2, failed)
    assert kept == {held(2).statement: "", held(1).statement: ""}
    # One that has taken the place of what was up, as it did not go back, is needed; so is what was up before it.
    needed = {held(4).statement: "up at berlin", held(0).statement: "was up", held(2).statement: "up at paris"}
    kept = choose_kept(bundles, 1, failed, needed)
    assert kept == {held(2).statement: "", held(4).statement: "up at berlin", held(0).statement: "was up"}
    assert choose_kept([held(1)], 1, {held(1).statement}) == {held(1).statement: "installed last"}


def test_a_copy_that_a_delta_needs_stays_and_what_that_needs() -> None:
    chain = [held(4, "d", "abc"), held(3, "c", "ab"), held(2, "b", "a"), held(1, "a"), held(0, "z")]
    assert kept_titles(chain, 1) == {
        "test 1.4": "",
        "test 1.3": "the delta test 1.4 needs a blob of it",
        "test 1.2": "the delta test 1.4 needs a blob of it",
        "test 1.1": "the delta test 1.4 needs a blob of it",
    }
    # The supplement of one that stays has it.
    assert kept_titles([held(2, "bac", "ac"), held(1, "ac")], 1) == {"test 1.2": ""}


def test_what_lacks_in_any_case_is_told() -> None:
    bundles = [held(2, "b", "ax"), held(1, "a")]
    assert lacking(bundles, choose_kept(bundles, 1)) == {"test 1.2": blobs("x")}
    assert lacking(bundles[1:], choose_kept(bundles[1:], 1)) == {}


letters = st.text("abcdef", max_size=4)


@given(
    st.lists(st.tuples(st.integers(0, 9), letters, letters, st.sampled_from(["x", "y"])), max_size=7), st.integers(0, 4)
)
def test_no_bundle_that_stays_lacks_what_it_had(made: list[tuple[int, str, str, str]], keep: int) -> None:
    bundles = [held(n, has, needs, name) for n, has, needs, name in {(m[0], m[3]): m for m in made}.values()]
    kept = choose_kept(bundles, keep)
    everything = dict.fromkeys((each.statement for each in bundles), "")
    before = lacking(bundles, everything)
    assert lacking(bundles, kept) == {
        title: found for title, found in before.items() if title in _titles(bundles, kept)
    }
    for name in {each.name for each in bundles}:
        own = [each for each in bundles if each.name == name]
        assert own[0].statement in kept
        newest = sorted(own, key=lambda each: -each.serial)[: max(1, keep)]
        assert all(each.statement in kept for each in newest)
        assert all(kept[each.statement] for each in own if each.statement in kept and each not in newest)


def _titles(bundles: list[Held], kept: dict[str, str]) -> set[str]:
    return {each.title for each in bundles if each.statement in kept}


# Registry


def ours(manifests: dict[str, str], tags: dict[str, str], unsure: Iterable[str] = ()) -> Ours:
    return Ours(manifests, tags, unsure=set(unsure))


def test_what_nobody_needs_goes_parents_and_referrers_first() -> None:
    mine = ours({A: "", B: "", C: B}, {"1": B})
    going = plan_repository(mine, Needed(), Shelf({"1": B}, {B: (A,)}))
    assert going == Going(tags=("1",), manifests=(C, B, A))


def test_what_a_bundle_that_stays_needs_stays_with_all_its_tags() -> None:
    mine = ours({A: ""}, {"1": A, "2": A})
    going = plan_repository(mine, Needed(frozenset({A}), frozenset({"2"})), Shelf({"1": A, "2": A}))
    assert going == Going(tags=("1",), single=("1",))


def test_what_somebody_elses_tag_leads_to_stays_with_all_below() -> None:
    mine = ours({A: "", B: "", C: ""}, {"1": B, "2": C})
    shelf = Shelf({"1": B, "2": C, "prod": B}, {B: (A,)})
    going = plan_repository(mine, Needed(), shelf)
    assert going == Going(tags=("1", "2"), single=("1",), manifests=(C,))


def test_a_tag_that_was_moved_by_others_is_theirs() -> None:
    mine = ours({A: "", B: ""}, {"1": A})
    assert plan_repository(mine, Needed(), Shelf({"1": B})) == Going(manifests=(A,), stays={"1": MOVED})


def test_what_was_there_before_stays_and_its_tag_goes_alone() -> None:
    assert plan_repository(ours({}, {"1": A}), Needed(), Shelf({"1": A})) == Going(tags=("1",), single=("1",))


def test_an_index_that_was_there_keeps_the_platform_that_was_added_to_it() -> None:
    going = plan_repository(ours({A: ""}, {"1": B}), Needed(), Shelf({"1": B}, {B: (A, C)}))
    assert going == Going(tags=("1",), single=("1",))


def test_what_a_loaded_bundle_may_need_stays() -> None:
    mine = ours({A: "", B: ""}, {"1": A, "2": B}, unsure=[A, "1"])
    going = plan_repository(mine, Needed(), Shelf({"1": A, "2": B}))
    assert going == Going(tags=("2",), manifests=(B,), stays={"1": UNSURE})


def test_signatures_stay_as_long_as_their_image() -> None:
    mine = ours({A: "", B: "", C: A}, {"1": A, f"sha256-{hex_of(A)}.sig": B})
    shelf = Shelf({**mine.tags, "prod": A, f"sha256-{hex_of(A)}": D}, {D: (C,)})
    going = plan_repository(mine, Needed(), shelf)
    assert going == Going(tags=("1",), single=("1",), stays={f"sha256-{hex_of(A)}.sig": STAYING})
    del shelf.tags["prod"]  # type: ignore[attr-defined] # it is a dict here
    going = plan_repository(mine, Needed(), shelf)
    assert set(going.tags) == set(shelf.tags) and going.single == ()
    assert going.manifests == (D, C, B, A)


def test_a_list_with_somebody_elses_referrer_stays() -> None:
    mine = ours({A: "", C: A}, {"1": A})
    shelf = Shelf({"1": A, f"sha256-{hex_of(A)}": D}, {D: (C, B)})
    assert plan_repository(mine, Needed(), shelf) == Going(tags=("1",), manifests=(A,))


def test_only_where_something_may_go_the_registry_is_asked() -> None:
    assert is_candidate(ours({A: ""}, {}), Needed())
    assert is_candidate(ours({A: ""}, {"1": A}), Needed(frozenset({A})))
    assert not is_candidate(ours({A: ""}, {"1": A}), Needed(frozenset({A}), frozenset({"1"})))
    assert not is_candidate(ours({A: ""}, {"1": A}, unsure=[A, "1"]), Needed())


@dataclass
class World:
    """A repository, as registry:2 has it: a manifest that goes takes all its tags along.

    `lower` has children and subject of each manifest, which are older than it.
    """

    lower: list[tuple[frozenset[int], int | None]]
    there: set[int] = field(default_factory=set)
    tags: dict[str, int] = field(default_factory=dict)

    def closure(self, number: int) -> set[int]:
        found, rest = set[int](), [number]
        while rest:
            each = rest.pop()
            found.add(each)
            rest += self.lower[each][0]
        return found

    def digest(self, number: int) -> str:
        return sha256(str(number).encode())

    def subject(self, number: int) -> str:
        found = self.lower[number][1]
        return "" if found is None else self.digest(found)

    def shelf(self, others: Iterable[str] = ()) -> Shelf:
        numbers = {self.digest(number): number for number in self.there}
        below = {
            self.digest(each): tuple(self.digest(child) for child in sorted(self.lower[each][0]))
            for top in {*self.tags.values(), *(numbers[other] for other in others if other in numbers)}
            for each in self.closure(top)
            if self.lower[each][0]
        }
        return Shelf({tag: self.digest(number) for tag, number in self.tags.items()}, below)

    def apply(self, going: Going, most: int, *, single: bool) -> None:
        """Delete the first `most` of what goes."""
        steps = [*going.manifests, *(going.single if single else ())]
        numbers = {self.digest(number): number for number in range(len(self.lower))}
        for step in steps[:most]:
            if step in numbers:
                self.there.discard(numbers[step])
                self.tags = {tag: number for tag, number in self.tags.items() if number != numbers[step]}
            else:
                self.tags.pop(step, None)


def worlds() -> st.SearchStrategy[list[tuple[frozenset[int], int | None]]]:
    """Return manifests, each with children and a subject among those before it."""

    def node(number: int) -> st.SearchStrategy[tuple[frozenset[int], int | None]]:
        if not number:
            return st.just((frozenset(), None))
        lower = st.integers(0, number - 1)
        return st.tuples(st.frozensets(lower, max_size=2), st.none() | lower)

    return st.tuples(*(node(number) for number in range(8))).map(list)


roots = st.dictionaries(st.sampled_from(["1", "2", "3", "4"]), st.integers(0, 7), max_size=3)


@example(
    # A referrer with something below it, whose subject is somebody else's: its tag goes, and it stays, with that.
    lower=[*[(frozenset(), None)] * 4, (frozenset({0}), 1), *[(frozenset(), None)] * 3],
    bundles=[{"1": 4}, {}],
    before={},
    after={},
    kept=0,
    killed=1,
    single=True,
)
@given(
    worlds(),
    st.lists(roots, min_size=1, max_size=4),
    roots,
    roots,
    st.integers(0, 3),
    st.integers(0, 12),
    st.booleans(),
)
def test_nothing_that_is_kept_or_somebody_elses_is_ever_dropped(
    lower: list[tuple[frozenset[int], int | None]],
    bundles: list[dict[str, int]],
    before: dict[str, int],
    after: dict[str, int],
    kept: int,
    killed: int,
    single: bool,
) -> None:
    world, mine = World(lower), Ours()
    for tag, number in before.items():
        world.there |= world.closure(number)
        world.tags[tag] = number
    foreign = set(world.there)
    content = [_load(world, mine, bundle) for bundle in bundles]
    for tag, number in after.items():
        if number in world.there and world.closure(number) <= world.there:
            world.tags[f"their-{tag}"] = number
    staying = range(len(bundles) - 1 - kept % len(bundles), len(bundles))
    needed = Needed(
        frozenset(world.digest(number) for each in staying for number in content[each]),
        frozenset(tag for each in staying for tag in bundles[each]),
    )
    straight, cut = deepcopy(world), deepcopy(world)
    going = plan_repository(mine, needed, world.shelf(untagged(mine, needed)))
    straight.apply(going, 99, single=single)
    # Cut off, with nothing of it journalled, and run again.
    cut.apply(going, killed, single=single)
    cut.apply(plan_repository(mine, needed, cut.shelf(untagged(mine, needed))), 99, single=single)
    assert (cut.there, cut.tags) == (straight.there, straight.tags)
    assert foreign <= straight.there
    assert all(number in straight.there for each in staying for number in content[each])
    for tag, number in world.tags.items():
        if tag in needed.tags or tag.startswith("their-") or tag not in mine.tags:
            assert straight.tags[tag] == number
    for number in straight.tags.values():
        assert world.closure(number) <= straight.there
    again = plan_repository(mine, needed, straight.shelf(untagged(mine, needed)))
    assert not set(again.tags) - set(going.single)


def _load(world: World, mine: Ours, bundle: dict[str, int]) -> set[int]:
    """Load a bundle, as the journal tells of it; return its manifests."""
    content = {number for root in bundle.values() for number in world.closure(root)}
    for number in sorted(content):
        if number not in world.there:
            mine.manifests.pop(world.digest(number), None)
            mine.manifests[world.digest(number)] = world.subject(number)
    for tag, number in bundle.items():
        old = world.tags.get(tag)
        if old is None or mine.tags.get(tag) == world.digest(old):
            mine.tags[tag] = world.digest(number)
        world.tags[tag] = number
    world.there |= content
    return content
