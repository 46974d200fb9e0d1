"""A bisection over builds as a state machine: boots in any order, guests that break, kills and resumptions."""

from __future__ import annotations

import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harness.bisect.search import BootPoints, Found, Move, Search
from harness.bisect.session import BisectOptions, Session, read_trials
from harness.bisect.trial_log import ATTEMPTS, Trial, TrialLog
from tests.bisect_fakes import BAD, GOOD, LOST, question


class Bisecting(RuleBasedStateMachine):
    """``first`` is the first bad build; those in ``broken`` never boot, and any other may fail to, now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="sealmatrix-bisect-")
        self.ended: Found | None = None

    @initialize(
        size=st.integers(2, 24),
        at=st.floats(0, 1),
        broken=st.sets(st.integers(1, 22), max_size=6),
        repeat=st.integers(1, 3),
        cores=st.integers(1, 4),
    )
    def begin(self, size: int, at: float, broken: set[int], repeat: int, cores: int) -> None:
        self.points = [f"build-{number:02}" for number in range(size)]
        self.first = 1 + round(at * (size - 2))
        self.broken = {point for point in broken if point < size - 1}
        self.search = Search(size, repeat=repeat, cores=cores, always=True)
        self.session = Session(Path(self.folder.name), BisectOptions("builds", "r", "x86_64", "g", "b"), [], "")
        self.resume()

    def resume(self) -> None:
        """What a process that goes on makes of the folder."""
        self.log = TrialLog(question(), self.points[0], self.search.repeat)
        self.log.add(read_trials(self.session.folder))

    def move(self) -> Move:
        tallies = self.log.tallies(self.points)
        return self.search.move({self.points.index(p): t for p, t in tallies.items()}, self.log.boots)

    def boot(self, point: int, *, breaks: bool) -> None:
        lost = breaks or point in self.broken
        seen = LOST if lost else BAD if point >= self.first else GOOD
        trial = Trial(
            self.points[point], self.points[point], "search", seen=seen, trouble="no-answer" if lost else "",
            reason=seen.reason, run=str(self.session.folder / "runs/1"), cell="c", seconds=1.0,
        )  # fmt: skip
        self.session.keep([trial])
        self.log.add([trial])

    @precondition(lambda self: self.ended is None)
    @rule(data=st.data())
    def boots_some_of_what_is_asked(self, data: st.DataObject) -> None:
        move = self.move()
        if not isinstance(move, BootPoints):
            assert isinstance(move, Found)
            self.ended = move
            return
        asked = [point for point, times in move.boots.items() for _ in range(times)]
        assert asked
        for point in data.draw(st.permutations(asked))[: data.draw(st.integers(1, len(asked)))]:
            # A guest may break once: whoever breaks always is in ``broken``, the ends are not.
            once = not any(t.point == self.points[point] for t in self.log.trials)
            self.boot(point, breaks=once and data.draw(st.booleans()))

    @rule(cut=st.integers(0, 200))
    def is_killed_while_it_writes_and_resumed(self, cut: int) -> None:
        path = self.session.folder / "trials.jsonl"
        if path.exists() and cut:
            whole = path.read_bytes()
            last = whole.rstrip(b"\n").rfind(b"\n") + 1
            path.write_bytes(whole[: max(last, len(whole) - cut)])
        self.resume()
        self.session.trials = list(self.log.trials)
        self.session.mend()

    @invariant()
    def nothing_is_asked_that_is_known(self) -> None:
        if not hasattr(self, "log"):
            return
        move = self.move()
        if isinstance(move, BootPoints) and move.purpose == "search":
            assert all(self.log.standing(self.points[point]) == "open" for point in move.boots)
        for point in range(len(self.points)):
            tally = self.log.tally(self.points[point])
            assert not (tally.good if point >= self.first else tally.bad)
            broken = [t for t in self.log.trials if t.point == self.points[point] and t.trouble]
            assert bool(tally.untestable) == (len(broken) >= ATTEMPTS)

    @invariant()
    def what_was_found_is_true(self) -> None:
        if self.ended is None or self.move() != self.ended:
            return  # not there yet, or the last boots were lost with the process
        last, first = self.ended.last, self.ended.first
        assert last < self.first <= first
        assert set(range(last + 1, first)) <= self.broken
        assert not self.ended.returned

    def teardown(self) -> None:
        """However it was interrupted, going on ends it, and with the truth."""
        if hasattr(self, "search"):
            for _ in range(10 * len(self.points)):
                move = self.move()
                if not isinstance(move, BootPoints):
                    break
                for point, times in move.boots.items():
                    for _ in range(times):
                        self.boot(point, breaks=False)
            assert isinstance(move, Found)
            self.ended = move
            self.what_was_found_is_true()
        self.folder.cleanup()


TestBisecting = Bisecting.TestCase
TestBisecting.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
