"""Cells and runs over scripted guests: whatever a guest does, nothing unseen is a pass."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import BootFailed, KernelUnavailable, LostGuest, StoreError, UsageError
from harness.guests.model import Booted, Exited, Output, Waits
from harness.model.rule import ProbeName
from harness.model.run_record import read_run
from harness.runs.execution.local_pool import LocalPool
from harness.runs.execution.run import execute
from harness.runs.model import Cell, ProgressEvent
from harness.runs.run_store import find_run, load_run, new_run_id, run_lock
from harness.verdicts.judge import assign
from tests.fakes import FakeGuest
from tests.support.scripted_runs import (
    CRASH,
    END,
    PLAN,
    PROBES,
    RULES,
    WHOLE,
    WORKLOAD,
    begin,
    cell,
    encode,
    guest,
    run,
    run_plan,
    seen,
    statuses,
)

IN_TIME, SEALED_ONLY, BOTH = (), ("sealed",), ("control", "sealed")


class QueuingGuest(FakeGuest):
    """One that waits for somebody before it boots."""

    waits: Waits = staticmethod(print)

    def boot(self) -> Booted:
        self.waits("the board is used by process 7")
        self.waits("")
        return super().boot()


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_payload_says_how_much_it_wrote(tmp_path: Path, more: int) -> None:
    """What came must be as much, or somebody else wrote to its output, or read from it."""
    before = b"".join(WHOLE[:-1])
    end = encode({"type": "end", "probes": 2, "bytes": len(before) + more})
    done, _ = run(tmp_path / "r", {"a": guest(tmp_path, *WHOLE[:-1], end)})
    cell = done.record.cells[0]
    assert (cell.state, done.exit_code) == (("lost", 3) if more else ("finished", 0))
    assert ("another process writes to its output" in cell.reason) == bool(more)


def test_a_guest_that_waits_for_another_says_so(tmp_path: Path) -> None:
    done, told = run(tmp_path / "r", {"a": QueuingGuest(script=WHOLE)})
    assert done.exit_code == 0
    assert [(t.stage, t.note) for t in told][:4] == [
        ("booting", ""), ("waiting", "the board is used by process 7"), ("booting", ""), ("pushing", "")
    ]  # fmt: skip


def test_a_whole_stream_passes(tmp_path: Path) -> None:
    done, told = run(tmp_path / "r", {"a": guest(tmp_path, b"".join(WHOLE)[:700], b"".join(WHOLE)[700:])})
    assert statuses(done, "a") == ["pass", "pass"]
    assert done.exit_code == 0
    assert (done.record.state, done.record.cells[0].state) == ("finished", "finished")
    assert [t.stage for t in told] == ["booting", "pushing", "probing", "probing", "probing", "judging", "done"]
    stored = load_run(tmp_path / "r", RULES)
    assert statuses(stored, "a") == ["pass", "pass"]
    assert json.loads((tmp_path / "r/cells/a/verdicts.json").read_text())["rules"][0]["status"] == "pass"


def hung(index: int, *halves: str) -> bytes:
    """An observation of which these halves gave no answer in time."""
    record = json.loads(seen(index).splitlines()[1])
    for name in halves:
        record[name] = {"stage": "operation", "timeout": True}
    return begin(index) + encode(record)


def many(count: int) -> tuple[ProbeName, ...]:
    return tuple(ProbeName("munmap", f"region-{number}", "exact", "SSS") for number in range(count))


@pytest.mark.parametrize(
    ("halves", "seen_of_them", "reason"),
    [
        ([SEALED_ONLY] * 9, 3, "given up after 3 deadlines in a row, the last in munmap/region-2/exact"),
        ([BOTH] * 9, 2, "given up after 4 deadlines in a row, the last in munmap/region-1/exact"),
        ([SEALED_ONLY, IN_TIME] * 9, 7, "given up after 4 deadlines, the last in munmap/region-6/exact"),
        ([SEALED_ONLY, SEALED_ONLY, IN_TIME, SEALED_ONLY, IN_TIME], 5, ""),
    ],
)
def test_a_kernel_on_which_calls_hang_is_given_up(
    tmp_path: Path, halves: list[tuple[str, ...]], seen_of_them: int, reason: str
) -> None:
    """What hung only where it was sealed breaks the rule, the rest is missing, with the reason."""
    probes = many(len(halves))
    plan = json.loads(PLAN) | {"probes": [probe.id for probe in probes]}
    lines = [encode(plan)]
    for probe, out_of_time in zip(probes, halves, strict=True):
        lines.append(hung(0, *out_of_time).replace(PROBES[0].id.encode(), probe.id.encode()))
    base = run_plan(tmp_path / "r", [cell("a")])
    workload = replace(WORKLOAD, planned=probes)
    asked = replace(base, workloads={"x86_64": workload}, assignment=assign(RULES, probes))
    fake = guest(tmp_path, *lines, encode({"type": "end", "probes": len(probes)}))
    done = execute(asked, lambda c, _: fake, lambda _: None)
    record = done.record.cells[0]
    assert (record.state, record.reason) == ("lost" if reason else "finished", reason)
    told = {SEALED_ONLY: ("fail", "hang"), BOTH: ("error", None), IN_TIME: ("pass", None)}
    expected = [told[out_of_time] for out_of_time in halves[:seen_of_them]]
    for verdicts in (done.results["a"][0].verdicts, load_run(tmp_path / "r", RULES).results["a"][0].verdicts):
        assert [(v.status, v.kind) for v in verdicts[:seen_of_them]] == expected
        assert {(v.status, v.reason) for v in verdicts[seen_of_them:]} <= {("miss", reason)}
    assert done.exit_code == (1 if SEALED_ONLY in halves else 3)


@pytest.mark.parametrize(
    ("script", "facts", "expected"),
    [
        ((), {"booted": BootFailed("QEMU exited with status 1")}, ["miss", "miss"]),
        ((), {"pushing": LostGuest("gone")}, ["miss", "miss"]),
        ((), {}, ["miss", "miss"]),
        ((PLAN,), {}, ["miss", "miss"]),
        ((PLAN, seen(0), begin(1), LostGuest("QEMU was killed")), {}, ["pass", "error"]),
        ((PLAN, begin(0), LostGuest("the channel closed")), {"console_text": CRASH}, ["fail", "miss"]),
        ((PLAN, seen(0), Exited(None, 9)), {}, ["pass", "miss"]),
        ((PLAN, seen(0), seen(1), END, Exited(1, None)), {}, ["pass", "pass"]),
        ((PLAN, seen(0), seen(1)[:-40]), {}, ["pass", "error"]),
        ((PLAN, b"\x00\xff\x1b[31m garbage\n", seen(0), Output("err", b"oh\n"), Exited(3, None)), {}, ["pass", "miss"]),
        ((PLAN.replace(b'"id"', b'"other"', 1), seen(0), seen(1), END), {}, ["error", "error"]),
        ((PLAN, *([b"x\n" * 500] * 3), seen(0)), {}, ["miss", "miss"]),
    ],
)
def test_a_stream_that_is_not_whole(
    tmp_path: Path, script: tuple[object, ...], facts: dict[str, object], expected: list[str]
) -> None:
    done, _ = run(tmp_path / "r", {"a": guest(tmp_path, *script, **facts), "b": guest(tmp_path, *WHOLE)})
    assert done.record.cells[0].state == "lost"
    assert done.record.cells[0].reason
    assert done.exit_code in (1, 3)
    assert statuses(done, "a") == expected
    assert statuses(done, "b") == ["pass", "pass"]
    assert statuses(load_run(tmp_path / "r", RULES), "a") == expected


def test_a_payload_that_plans_something_else_is_refused(tmp_path: Path) -> None:
    """What it planned is missed as well when the run is read again: its own plan counts, too."""
    done, _ = run(tmp_path / "r", {"a": guest(tmp_path, PLAN.replace(b"exact", b"xexact"), seen(0))})
    assert done.record.cells[0].state == "lost"
    assert statuses(done, "a") == ["miss", "miss"]
    assert statuses(load_run(tmp_path / "r", RULES), "a") == ["miss", "miss", "miss"]


def test_another_payload_than_the_one_pushed_is_refused(tmp_path: Path) -> None:
    other = json.loads(PLAN) | {"id": "other"}
    done, _ = run(tmp_path / "r", {"a": guest(tmp_path, encode(other), seen(0), seen(1), END)})
    assert statuses(done, "a") == ["miss", "miss"]


def test_a_kernel_that_cannot_be_had_is_missed(tmp_path: Path) -> None:
    done, _ = run(tmp_path / "r", {"a": guest(tmp_path, *WHOLE)}, b=KernelUnavailable("the mirror does not answer"))
    assert statuses(done, "b") == ["miss", "miss"]
    assert done.record.cells[1].reason == "the mirror does not answer"


def test_ctrl_c_keeps_what_was_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = guest(tmp_path, PLAN, seen(0), begin(1), threading.Event())
    probing = threading.Event()

    def on_progress(told: ProgressEvent) -> None:
        if told.probes == 1:
            probing.set()

    real = LocalPool.event
    calls = []

    def event(pool: LocalPool) -> object:
        calls.append(pool)
        if len(calls) == 2:  # the first is that the cell has begun
            assert probing.wait(10)
            raise KeyboardInterrupt
        return real(pool)

    monkeypatch.setattr(LocalPool, "event", event)
    plan = run_plan(tmp_path / "r", [cell("a"), cell("b")], jobs=1)
    done = execute(plan, lambda c, _: hanging, on_progress)
    assert hanging.stopped.is_set()
    assert done.exit_code == 130
    assert done.record.state == "interrupted"
    assert [c.state for c in done.record.cells] == ["interrupted", "interrupted"]
    assert statuses(done, "a") == ["pass", "miss"]
    assert statuses(done, "b") == ["miss", "miss"]


def test_results_that_cannot_be_kept_end_the_run(tmp_path: Path) -> None:
    def no_space(_cell: Cell, folder: Path) -> FakeGuest:
        (folder / "observations.jsonl").symlink_to("/dev/full")
        return guest(tmp_path, *WHOLE)

    with pytest.raises(StoreError, match="No space left"):
        execute(run_plan(tmp_path / "r", [cell("a")]), no_space, lambda _: None)
    assert read_run(tmp_path / "r").state == "interrupted"


def test_a_folder_belongs_to_one_run(tmp_path: Path) -> None:
    with run_lock(tmp_path / "r"), pytest.raises(UsageError, match="still active"), run_lock(tmp_path / "r"):
        pass


Break = Callable[[Path], object]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: (r / "run.json").unlink(), "no run"),
        (lambda r: (r / "run.json").write_text("{"), "cannot be read"),
        (lambda r: (r / "run.json").write_text('{"schema_version": 99}'), "schema version 99"),
        (lambda r: (r / "run.json").write_text('{"schema_version": 1}'), "Field required"),
        (lambda r: (r / "plan.json").unlink(), "plan.json"),
        (lambda r: (r / "plan.json").write_text('{"probes": [[1]]}'), "plan.json"),
    ],
)
def test_damaged_folders_are_one_line(tmp_path: Path, damage: Break, message: str) -> None:
    run(tmp_path / "r", {"a": guest(tmp_path, *WHOLE)})
    damage(tmp_path / "r")
    with pytest.raises(UsageError, match=message) as caught:
        load_run(tmp_path / "r", RULES)
    assert "\n" not in str(caught.value)


def test_finding_runs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no runs"):
        find_run(tmp_path, None)
    names = ["20260101-000000-aaaa", "20260102-000000-bbbb"]
    for name in names:
        run(tmp_path / name, {"a": guest(tmp_path, *WHOLE)})
    assert find_run(tmp_path, None).name == names[1]
    assert find_run(tmp_path, names[0]).name == names[0]
    assert [find_run(tmp_path, word).name for word in ("last", "last~0", "last~1")] == [names[1], names[1], names[0]]
    with pytest.raises(UsageError, match="has no nightly run; give another folder with --results, or make one: seal"):
        find_run(tmp_path, "nightly")
    with pytest.raises(UsageError, match="holds 2 runs; last~2 is further back"):
        find_run(tmp_path, "last~2")
    with pytest.raises(UsageError, match="did you mean '20260101-000000-aaaa'"):
        find_run(tmp_path, "20260101-000000-aaab")
    assert len(new_run_id()) == len(names[0])
