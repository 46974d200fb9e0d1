"""A journal as a state machine: what a payload in several lanes may write, noise between, kills and second runs.

What is read from the disk is what was put together as it came, whatever happened; what a payload may write is never in
doubt; and a file that was cut off anywhere tells less, never something else.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harness.errors import UsageError
from harness.model.stored_files import pack, packed
from harness.observations import journal as journals
from harness.observations.collector import Collector, Journalled
from harness.observations.journal import Journal, journal_lines, journal_notes, read_journal, read_plan_of
from harness.observations.model import End, Garbage
from harness.observations.stream import MAX_LINE, parse_line

UNITS = ["rw-p anon a0 a s"]
HALF = {
    "stage": "done", "result": 0, "errno": 0, "before": UNITS, "after": UNITS, "seal": [0],
    "write": "w", "mprotect": [0], "munmap": [0],
}  # fmt: skip


class Journalling(RuleBasedStateMachine):
    """``left`` are the probes that have not begun; ``lanes`` have what runs in each: a batch, or one alone."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="sealmatrix-journal-")
        self.path = Path(self.folder.name) / "observations.jsonl"

    @initialize(probes=st.integers(1, 12), lanes=st.integers(1, 3))
    def begin(self, probes: int, lanes: int) -> None:
        self.probes = [f"munmap/anon-rw/s{number:02}" for number in range(probes)]
        self.width = lanes
        self.journal, self.live = Journal(self.path), Collector()
        self.ended = False
        self.repeated = False
        self.told: dict[str, int] = {}
        self.start(self.probes)

    def start(self, probes: list[str]) -> None:
        """The payload starts, for these probes."""
        self.left, self.lanes, self.seen = list(probes), dict.fromkeys(range(self.width), ()), []
        self.write(
            type="plan", stream=2, payload="c", id="id", machine="x86_64", release="6.12", page_size=4096,
            pid1=False, probes=probes, lanes=self.width,
        )  # fmt: skip

    def write(self, **record: object) -> None:
        line = json.dumps(record).encode()
        self.journal.line(line)
        self.live.add(parse_line(line))

    def idle(self) -> list[int]:
        return [lane for lane, running in self.lanes.items() if not running]

    def busy(self) -> list[int]:
        return [lane for lane, running in self.lanes.items() if running]

    @precondition(lambda self: not self.ended and self.left and self.idle())
    @rule(data=st.data(), count=st.integers(1, 4))
    def begins(self, data: st.DataObject, count: int) -> None:
        lane = data.draw(st.sampled_from(self.idle()))
        # A second run is of probes that need not stand side by side in the plan: each alone.
        running = self.left[: 1 if self.repeated else count]
        if len(running) > 1:
            self.write(type="batch", probe=running[0], probes=len(running), lane=lane)
        else:
            self.write(type="begin", probe=running[0], lane=lane)
        del self.left[: len(running)]
        self.lanes[lane] = tuple(running)

    @precondition(lambda self: not self.ended and self.busy())
    @rule(data=st.data())
    def is_observed(self, data: st.DataObject) -> None:
        lane = data.draw(st.sampled_from(self.busy()))
        probe, *rest = self.lanes[lane]
        self.lanes[lane] = tuple(rest)
        self.seen.append(probe)
        self.told[probe] = len(self.told) + 1
        self.write(
            type="observation", probe=probe, layout="S", unit=4096, microseconds=self.told[probe], control=HALF,
            sealed=HALF,
        )  # fmt: skip

    @precondition(lambda self: not self.ended)
    @rule(text=st.text(max_size=20))
    def garbage_is_passed_over(self, text: str) -> None:
        self.journal.note("garbage", offset=0, excerpt=text, reason="not JSON")

    @precondition(lambda self: not self.ended and not self.left and not self.busy())
    @rule()
    def ends(self) -> None:
        self.write(type="end", probes=len(self.seen))
        self.ended = True

    @precondition(lambda self: self.ended and not self.repeated and self.live.batched)
    @rule(data=st.data())
    def runs_again_for_some(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sets(st.sampled_from(sorted(self.live.batched)), min_size=1))
        again = [probe for probe in self.probes if probe in chosen]
        self.journal.note("again", probes=again)
        self.live.again(again)
        self.ended, self.repeated = False, True
        self.start(again)

    @rule()
    def the_harness_is_killed(self) -> None:
        """It has no moment to close anything, and what comes after is appended."""
        self.journal = Journal(self.path)

    @rule(cut=st.integers(1, 3000))
    def somebody_reads_it_while_it_is_written(self, cut: int) -> None:
        whole = self.path.read_bytes()
        copy = self.path.with_name("copy.jsonl")
        copy.write_bytes(whole[: max(0, len(whole) - cut)])
        found = read_journal(copy)
        assert not found.doubts
        assert len(found.garbage) <= 1
        if not self.repeated:
            assert {name: seen.microseconds for name, seen in found.observations.items()}.items() <= self.told.items()

    @invariant()
    def the_disk_tells_what_came(self) -> None:
        if not hasattr(self, "journal"):
            return
        found, live = read_journal(self.path), self.live.journalled()
        assert without_notes(found) == without_notes(live)
        assert not found.doubts
        assert not found.garbage
        plan = read_plan_of(self.path)
        assert plan is not None
        assert list(plan.probes) == self.probes

    @invariant()
    def it_lacks_what_was_not_observed(self) -> None:
        if hasattr(self, "journal"):
            missing = [probe for probe in self.probes if probe not in self.live.observations]
            lacks = self.live.journalled().lacks()
            assert bool(lacks) == bool(missing or not self.ended)
            assert ("observations" in lacks) == bool(missing)

    def teardown(self) -> None:
        self.folder.cleanup()


def without_notes(journalled: Journalled) -> dict[str, object]:
    return {name: value for name, value in vars(journalled).items() if name != "notes"}


TestJournalling = Journalling.TestCase
TestJournalling.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


def test_a_line_of_ours_that_was_cut_off_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "observations.jsonl"
    path.write_bytes(b'{"type": "harness-lost", "reason": "the guest went')
    found = read_journal(path)
    assert not found.notes
    assert [garbage.reason for garbage in found.garbage] == ["the stream ended inside a line"]


@pytest.mark.parametrize("read", [read_journal, read_plan_of])
def test_a_journal_that_is_not_there_is_one_line(read: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.jsonl: cannot be read: No such file or directory$"):
        read(tmp_path / "none.jsonl")


def test_a_journal_is_read_no_further_than_it_is_asked_for(tmp_path: Path) -> None:
    """A packed one that is damaged further on still tells its plan, and its notes as far as it goes."""
    path = tmp_path / "observations.jsonl"
    with Journal(path) as journal:
        plan = {"type": "plan", "stream": 1, "payload": "c", "id": "i", "machine": "x86_64", "release": "6.12.1"}
        journal.line(json.dumps(plan | {"page_size": 4096, "pid1": False, "probes": []}).encode())
        journal.note("guest", number=1)
        for number in range(60_000):
            journal.line(b'{"type": "begin", "probe": "%s"}' % sha256(b"%d" % number).hexdigest().encode())
    assert pack(path)
    whole = packed(path).read_bytes()
    packed(path).write_bytes(whole[:-100_000] + b"damaged" + whole[-99_993:])
    assert getattr(read_plan_of(path), "release", "") == "6.12.1"
    notes = journal_notes(path)
    assert next(iter(notes)) == {"type": "harness-guest", "number": 1}
    with pytest.raises(UsageError, match=r"cannot be read"):
        list(notes)


def test_the_lines_of_a_journal_are_whole_or_say_why_not(tmp_path: Path) -> None:
    path = tmp_path / "observations.jsonl"
    path.write_bytes(b'{"type": "end", "probes": 0}\n \n' + b"x" * (MAX_LINE + 9) + b'\n{"type": "end", "probes": 0}')
    whole, long, last = journal_lines(path)
    assert (whole.record, whole.offset) == (End(0), 0)
    assert (len(long.data) < 200, long.wrong) == (True, f"a line of more than {MAX_LINE} bytes")
    assert (last.offset, last.wrong) == (path.stat().st_size - 28, "the stream ended inside a line")
    assert [type(line.record) for line in (long, last)] == [Garbage, Garbage]


def test_a_journal_longer_than_any_run_writes_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "JOURNAL_LIMIT", 2 << 20)
    path = tmp_path / "observations.jsonl"
    path.write_bytes(b"\n" * (2 << 20) + b"\n")
    with pytest.raises(UsageError, match=r"observations\.jsonl: cannot be read: it has more than 2 MiB, which no run"):
        read_journal(path)


def test_there_is_one_reader_of_journals() -> None:
    """Nobody else opens one: the file is named once, and its parser is used by the journal and the live stream only."""
    root = Path(journals.__file__).parents[1]
    text = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*.py")}
    assert [path for path, code in text.items() if '"observations.jsonl"' in code] == ["runs/model.py"]
    users = {path for path, code in text.items() if re.search(r"\b(StreamParser|LineCutter)\(", code)}
    assert users == {"observations/stream.py", "observations/journal.py", "runs/execution/payload_stream.py"}
