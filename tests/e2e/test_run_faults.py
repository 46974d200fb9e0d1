"""Whole runs on real guests whose payload, kernel or emulator fails: what was seen stands, the rest is no pass."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import junitparser
import pytest

from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
from harness.matrix.model import Profile
from harness.model.architectures import Arch
from harness.reports.write import write_reports
from harness.runs.execution.run import execute
from harness.runs.model import Cell, ProgressEvent, RunDone, Workload
from harness.runs.plan import RunPlan
from tests.support.scripted_runs import END, PLAN, PROBES, begin, encode, run_plan, seen, statuses

pytestmark = pytest.mark.kernels

EXACT, HEAD = PROBES
MARK = ["kmsg", f"<1>sealmatrix: begin {HEAD.id}\n"]
# Both in one process, as a payload of stream 2 may run them.
BATCHED = [encode(json.loads(PLAN) | {"stream": 2}), encode({"type": "batch", "probe": EXACT.id, "probes": 2})]
Script = Sequence[str]


def say(*records: bytes) -> list[str]:
    return [word for record in records for line in record.decode().splitlines() for word in ("say", line)]


@pytest.fixture
def run(
    kernel: Callable[[str, Arch], Kernel], program: Callable[[str, Arch], bytes], tmp_path: Path
) -> Callable[..., RunDone]:
    """Run one healthy cell and one whose payload follows a script, side by side on real guests."""

    def perform(script: Script, *, on_probe: Callable[[QemuGuest], object] | None = None) -> RunDone:
        # The payload has to speak of the kernel that came up.
        release = kernel("debian-6.12", "x86_64").release
        told = {"bad": list(script), "good": say(PLAN, seen(0), seen(1), END)}
        scripts = {name: [word.replace("6.12.0-fake", release) for word in words] for name, words in told.items()}
        profile = Profile("standard")
        cells = [Cell(name, "x86_64", profile, kernel("debian-6.12", "x86_64")) for name in scripts]
        plan = run_plan(tmp_path / "r", cells)
        guests: dict[str, QemuGuest] = {}

        def make(cell: Cell, folder: Path) -> QemuGuest:
            assert isinstance(cell.kernel, Kernel)
            wishes = Wishes(acceleration="tcg", flood=1 << 20)
            guests[cell.id] = Scripted(scripts[cell.id], cell.kernel, profile, folder, wishes)
            return guests[cell.id]

        def on_progress(told: ProgressEvent) -> None:
            if on_probe and told.cell == "bad" and told.probes == 1:
                on_probe(guests["bad"])

        content = program("impostor", "x86_64")
        workloads: dict[Arch, Workload] = {"x86_64": Workload("c", "id", "0" * 64, content, (), PROBES)}
        done = execute(RunPlan(plan.folder, plan.record, plan.cells, workloads, plan.assignment, 2), make, on_progress)
        write_reports(done)
        return done

    return perform


class Scripted(QemuGuest):
    """A real guest that gives the impostor its script."""

    def __init__(self, script: Script, *rest: object) -> None:
        super().__init__(*rest)  # type: ignore[arg-type]
        self._script = script

    def run(self, argv: Sequence[str]):  # type: ignore[no-untyped-def]
        return super().run([argv[0], *self._script])


def check(done: RunDone, expected: list[str], reason: str) -> None:
    assert statuses(done, "bad") == expected
    assert statuses(done, "good") == ["pass", "pass"]
    bad, good = done.record.cells
    assert good.state == "finished"
    assert bad.state == "lost"
    assert reason in bad.reason
    assert done.exit_code in (1, 3)
    junit = junitparser.JUnitXml.fromfile(str(done.folder / "junit.xml"))
    assert junit.failures + junit.errors == 2  # the rule, and the cell itself
    json.loads((done.folder / "verdicts.json").read_text())


def test_a_panic_in_the_middle(run: Callable[..., RunDone]) -> None:
    done = run([*say(PLAN, seen(0)), *MARK, *say(begin(1)), "do", "panic"])
    check(done, ["pass", "fail"], "sysrq triggered crash")
    worst = done.results["bad"][0].worst
    assert worst.kind == "crash"
    assert "Kernel panic - not syncing: sysrq triggered crash" in worst.reason
    assert "sysrq triggered crash" in (done.folder / "cells/bad/console.log").read_text(errors="replace")


def test_a_panic_after_every_probe_was_observed(run: Callable[..., RunDone]) -> None:
    done = run([*say(PLAN, seen(0), seen(1), END), "do", "panic"])
    assert statuses(done, "bad") == ["pass", "pass"]
    bad, _ = done.record.cells
    assert (bad.state, done.exit_code) == ("lost", 3)
    assert "sysrq triggered crash" in bad.reason


def test_a_report_before_the_first_probe(run: Callable[..., RunDone]) -> None:
    done = run(["kmsg", "<1>BUG: KASAN: slab-out-of-bounds in f+0x1/0x2\n", *say(PLAN, seen(0), seen(1), END)])
    assert statuses(done, "bad") == ["pass", "pass"]
    bad, good = done.record.cells
    assert (bad.state, good.state, done.exit_code) == ("crashed", "finished", 3)
    assert bad.reason == "BUG: KASAN: slab-out-of-bounds in f+0x1/0x2, while no probe ran"
    junit = junitparser.JUnitXml.fromfile(str(done.folder / "junit.xml"))
    assert (junit.failures, junit.errors) == (0, 1)


@pytest.mark.parametrize(
    ("script", "expected", "reason"),
    [
        ([*say(PLAN, seen(0), begin(1)), "do", "die"], ["pass", "error"], "signal 11"),
        ([*say(PLAN, seen(0)), "do", "die"], ["pass", "miss"], "signal 11"),
        ([*say(PLAN, seen(0), begin(1)), "do", "flood"], ["pass", "error"], "flooded"),
        ([*say(PLAN, seen(0)), "do", "noise"], ["pass", "miss"], "ended after 1 of 2"),
        ([], ["miss", "miss"], "ended after 0 of 2"),
    ],
    ids=["dies in a probe", "dies between probes", "floods", "writes noise", "says nothing"],
)
def test_payloads_that_fail(run: Callable[..., RunDone], script: Script, expected: list[str], reason: str) -> None:
    check(run(script), expected, reason)


def test_a_payload_that_hangs(run: Callable[..., RunDone], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.guests.deadlines._SILENCE", 24.0)  # and the deadline of the boot as it is
    check(run([*say(PLAN, seen(0), begin(1)), "do", "hang"]), ["pass", "error"], "silent")


def test_noise_around_good_records_is_passed_over_and_kept(run: Callable[..., RunDone]) -> None:
    done = run([*say(PLAN), "do", "noise", *say(seen(0)), "do", "noise", *say(seen(1), END)])
    assert statuses(done, "bad") == ["pass", "pass"]
    assert done.record.cells[0].garbage == 4


def test_qemu_killed(run: Callable[..., RunDone]) -> None:
    def kill(guest: QemuGuest) -> None:
        assert guest.pid is not None
        os.kill(guest.pid, signal.SIGKILL)

    killed = threading.Lock()
    done = run(
        # In one process, so that the second has begun when the first is seen.
        [*say(*BATCHED, seen(0).splitlines(True)[1]), "do", "hang"],
        on_probe=lambda guest: kill(guest) if killed.acquire(blocking=False) else None,
    )
    check(done, ["pass", "error"], "SIGKILL")
