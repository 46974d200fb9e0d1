"""The search over builds against every history: wherever the change is, with what cannot be tested or is flaky."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.bisect.search import (
    RAISED,
    BootPoints,
    Found,
    Refused,
    Search,
    Tally,
    affordable,
    boots_allowed,
    nearest_testable,
    rounds,
)


@dataclass
class Played:
    """A search played to its end. ``boots`` by purpose; ``asks`` in order."""

    end: Found | Refused
    tallies: dict[int, Tally]
    boots: Counter[str] = field(default_factory=Counter)
    asks: list[BootPoints] = field(default_factory=list)


def play(search: Search, answer: Callable[[int], str], known: dict[int, Tally] | None = None) -> Played:
    """Answer whatever the search asks; ``answer`` says good, bad or untestable for one boot of a point."""
    tallies, boots, asks = dict(known or {}), Counter[str](), []
    while True:
        move = search.move(tallies, sum(boots.values()))
        if not isinstance(move, BootPoints):
            return Played(move, tallies, boots, asks)
        asks.append(move)
        assert move.boots
        assert all(times > 0 for times in move.boots.values())
        for point, times in move.boots.items():
            for _ in range(times):
                boots[move.purpose] += 1
                tally, said = tallies.get(point, Tally()), answer(point)
                tallies[point] = replace(
                    tally,
                    good=tally.good + (said == "good"),
                    bad=tally.bad + (said == "bad"),
                    untestable="why" if said == "untestable" else "",
                )
        assert len(asks) < 500, "the search does not end"


def stepwise(first: int, *, fixed: bool = False, skipped: frozenset[int] = frozenset()) -> Callable[[int], str]:
    old, new = ("bad", "good") if fixed else ("good", "bad")
    return lambda point: "untestable" if point in skipped else old if point < first else new


HISTORIES = st.integers(2, 200).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size - 1)))


@given(HISTORIES, st.booleans(), st.integers(1, 8))
@settings(deadline=None)
def test_the_first_is_found_within_the_boots_allowed(history: tuple[int, int], fixed: bool, cores: int) -> None:
    size, first = history
    played = play(Search(size, fixed, cores=cores), stepwise(first, fixed=fixed))
    assert played.end == Found(first - 1, first)
    assert played.boots["ends"] + played.boots["search"] <= boots_allowed(size)
    assert played.boots["check"] == 2
    assert all(len(ask.boots) <= max(2, cores) for ask in played.asks)


def test_every_history_up_to_sixty_builds() -> None:
    for size in range(2, 61):
        for first in range(1, size):
            played = play(Search(size, check=0), stepwise(first))
            assert played.end == Found(first - 1, first)
            assert sum(played.boots.values()) <= boots_allowed(size)


@given(HISTORIES, st.integers(2, 8), st.data())
@settings(deadline=None)
def test_many_at_once_take_fewer_rounds(history: tuple[int, int], cores: int, data: st.DataObject) -> None:
    size, first = history
    played = play(Search(size, cores=cores, always=True, check=0), stepwise(first))
    assert played.end == Found(first - 1, first)
    assert len(played.asks) <= 1 + rounds(size - 1, cores)


@given(HISTORIES, st.sets(st.integers(0, 199)), st.integers(1, 4))
@settings(deadline=None)
def test_what_cannot_be_tested_is_walked_around(history: tuple[int, int], skipped: set[int], cores: int) -> None:
    size, first = history
    gone = frozenset(skipped) - {0, size - 1}
    played = play(Search(size, cores=cores), stepwise(first, skipped=gone))
    assert isinstance(played.end, Found)
    assert played.end.last < first <= played.end.first
    assert set(range(played.end.last + 1, played.end.first)) <= gone
    # Nothing is asked that has said it cannot be.
    assert all(tally.boots == 0 for point, tally in played.tallies.items() if point in gone)


@given(HISTORIES)
@settings(deadline=None)
def test_a_lone_build_that_cannot_be_tested_costs_at_most_two_boots(history: tuple[int, int]) -> None:
    size, first = history
    for gone in {size // 2, first - 1, first} - {0, size - 1}:
        played = play(Search(size, check=0), stepwise(first, skipped=frozenset({gone})))
        assert sum(played.boots.values()) <= boots_allowed(size) + 2


@given(HISTORIES, st.integers(1, 5), st.integers(0, 2**32), st.floats(0.3, 0.9), st.integers(1, 4))
@settings(deadline=None)
def test_a_race_that_is_lost_now_and_then(
    history: tuple[int, int], repeat: int, seed: int, odds: float, cores: int
) -> None:
    """Whatever the dice say: no good build is called bad, and what is called good was good in all the boots it got."""
    size, first = history
    dice = random.Random(seed)
    played = play(
        Search(size, repeat=repeat, cores=cores),
        lambda point: "bad" if point >= first and dice.random() < odds else "good",
    )
    if isinstance(played.end, Refused):
        assert played.end.point == size - 1  # it never showed
        return
    assert played.end.first >= first
    assert played.tallies[played.end.first].bad > 0
    last = played.tallies[played.end.last]
    divided = any(tally.divided for tally in played.tallies.values())
    assert last.bad == 0
    assert last.good >= (max(RAISED, 2 * repeat + 1) if divided else repeat)


def test_a_step_that_disagrees_with_itself_raises_the_repeats() -> None:
    """Build 5 of 8 is the first bad one and hides in its first boot: the search believes it, the check does not."""
    shown = {5: iter(["good", "bad"] + ["bad"] * 50)}
    played = play(Search(8), lambda p: next(shown[p]) if p in shown else "good" if p < 5 else "bad")
    assert played.end == Found(4, 5)
    assert played.tallies[4].good > RAISED
    assert played.tallies[5].bad >= 1


def test_ends_that_are_not_what_was_said() -> None:
    assert play(Search(9), lambda _: "good").end == Refused(8, "good")
    assert play(Search(9), lambda _: "bad").end == Refused(0, "bad")
    assert play(Search(9, fixed=True), lambda _: "good").end == Refused(0, "good")
    assert play(Search(9), stepwise(4, skipped=frozenset({8}))).end == Refused(8, "untestable")
    assert sum(play(Search(9), lambda _: "good").boots.values()) == 2


def test_two_changes_are_told() -> None:
    played = play(Search(20), lambda p: "bad" if p in (3, 4, 10, *range(12, 20)) else "good")
    assert isinstance(played.end, Found)
    assert all(p > played.end.first for p in played.end.returned)
    known = {p: Tally(good=2) for p in (0, 11)} | {3: Tally(bad=2), 2: Tally(good=2), 19: Tally(bad=2)}
    assert Search(20).move(known) == Found(2, 3, (11,))


@given(HISTORIES, st.sets(st.integers(0, 199)), st.booleans())
@settings(deadline=None)
def test_stored_answers_are_not_asked_again(history: tuple[int, int], stored: set[int], fixed: bool) -> None:
    size, first = history
    answer = stepwise(first, fixed=fixed)
    known = {p: Tally(good=int(answer(p) == "good"), bad=int(answer(p) == "bad")) for p in stored if p < size}
    played = play(Search(size, fixed, check=0), answer, known)
    assert played.end == Found(first - 1, first, ())
    assert not any(point in known for ask in played.asks for point in ask.boots)


def test_going_on_after_an_interruption_asks_what_would_have_been_asked() -> None:
    whole = play(Search(100), stepwise(37))
    for cut in range(len(whole.asks)):
        tallies: dict[int, Tally] = {}
        for ask in whole.asks[:cut]:
            for point, times in ask.boots.items():
                had = tallies.get(point, Tally())
                more = Tally(had.good + times, had.bad) if point < 37 else Tally(had.good, had.bad + times)
                tallies[point] = more
        spent = sum(sum(ask.boots.values()) for ask in whole.asks[:cut])
        assert Search(100).move(tallies, spent) == whole.asks[cut]


def test_a_check_that_gives_no_answer_does_not_turn_the_search_round() -> None:
    tallies = {0: Tally(1), 3: Tally(1, 0, "no-answer: lost"), 4: Tally(0, 2), 9: Tally(0, 1)}
    assert Search(10).move(tallies) == Found(3, 4)


def test_repeats_are_made_in_full() -> None:
    played = play(Search(30, repeat=3, check=0), stepwise(11))
    assert set(played.tallies.values()) <= {
        Tally(3, 0),
        Tally(0, 3),
    }


@given(st.integers(1, 400), st.integers(1, 16), st.integers(0, 20))
def test_no_width_is_afforded_that_could_overspend(gap: int, cores: int, left: int) -> None:
    width = affordable(gap, cores, left)
    assert 1 <= width <= max(1, cores)
    if width > 1:
        assert width + rounds(-(-gap // (width + 1)), 1) <= left


def test_the_next_point_steps_away_from_what_cannot_be_tested() -> None:
    free = [i for i in range(1, 100) if i != 50]
    assert nearest_testable(50, list(range(1, 100)), 0) == 50
    assert nearest_testable(50, free, 1) in (49, 51)
    assert nearest_testable(50, free, 4) in (42, 58)
    assert nearest_testable(50, [50], 9) == 50
