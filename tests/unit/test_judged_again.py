"""What lies on disk is judged as it was when it ran: also where many probes share a process, and a console."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from harness.model.rule import ProbeName, Rule, Selector
from harness.model.run_record import read_run
from harness.runs.execution.run import execute
from harness.runs.judging import judge_stored
from harness.runs.model import RunDone, Workload
from harness.runs.plan import RunPlan
from harness.runs.run_store import load_run
from harness.verdicts.judge import assign
from tests.fakes import FakeGuest
from tests.support.scripted_runs import CONTROL, PLAN, SEALED, cell, encode, run_plan

PLACES = (("exact", "SSS"), ("head", "SSs"), ("tail", "sSS"))
PROBES = tuple(ProbeName("munmap", "anon-rw", span, layout) for span, layout in PLACES)
RULES = {
    name: Rule(name, "U1", "munmap", "required", "blocked", "s", ("T",), (Selector(("*",), spans=spans),))
    for name, spans in (("exactly", ("exact",)), ("behind", ("head", "tail")))
}
MARK = "[    1.000000] sealmatrix: begin munmap/anon-rw/exact and 2 more\n"
REPORT = (
    "[    1.100000] BUG: KASAN: use-after-free in mseal+0x1/0x2\n"
    "[    1.100001] CPU: 0 PID: 7 Comm: {name} Not tainted\n"
    "[    1.200000] ==================================================================\n"
)
END = "[    1.300000] sealmatrix: end\n"
DROP = "[    1.200000] ** 912 printk messages dropped **\n"
WARNING = "[    2.000001] WARNING: CPU: 0 PID: 77 at mm/mmap.c:1270 exit_mmap+0x2f1/0x310\n"


def ran(folder: Path, console: str) -> tuple[RunPlan, RunDone]:
    (folder / "cells" / "k").mkdir(parents=True)
    planned = {**json.loads(PLAN), "probes": [probe.id for probe in PROBES]}
    said = [planned, {"type": "batch", "probe": PROBES[0].id, "probes": 3}]
    for probe in PROBES:
        halves = {"control": CONTROL, "sealed": SEALED}
        facts = {"layout": probe.layout, "unit": 4096, "microseconds": 1}
        said.append({"type": "observation", "probe": probe.id, **facts, **halves})
    script = tuple(encode(one) for one in (*said, {"type": "end", "probes": 3}))
    guest = FakeGuest(script=script, console=folder / "cells" / "k" / "console.log", console_text=console)
    workload = Workload("c", "id", "0" * 64, b"ELF", ("--kmsg",), PROBES)
    plan = replace(run_plan(folder, [cell("k")]), workloads={"x86_64": workload}, assignment=assign(RULES, PROBES))
    return plan, execute(plan, lambda _cell, _folder: guest, lambda _event: None)


def statuses(results: Mapping[str, object]) -> dict[str, str]:
    return {result.rule.id: result.status for result in results["k"]}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "failed"), [("probe-2", {"behind"}), ("probe-0", {"exactly"}), ("kworker/0:1", {"exactly", "behind"})]
)
def test_a_crash_in_a_batch_falls_on_the_same_probe(tmp_path: Path, name: str, failed: set[str]) -> None:
    """The plan says which probes a mark means, and which one a process was."""
    _, done = ran(tmp_path, MARK + REPORT.format(name=name) + END)
    live, stored = statuses(done.results), statuses(load_run(tmp_path, RULES).results)
    assert live == stored == {rule: "fail" if rule in failed else "pass" for rule in RULES}
    one = assign({"behind": RULES["behind"]}, [PROBES[2]])  # as a bisection asks what an earlier run said
    record, (result,) = judge_stored(one, tmp_path / "cells" / "k", read_run(tmp_path).cells[0], "id")
    assert (record.state, result.status) == ("finished", "fail" if "behind" in failed else "pass")


def test_messages_that_were_dropped_are_looked_for_again(tmp_path: Path) -> None:
    """Versions that did not look for them recorded such cells as finished."""
    plan, done = ran(tmp_path, MARK + DROP + END)
    (told,) = done.record.cells
    assert told.state == "lost" and done.exit_code == 3
    journal = tmp_path / "cells" / "k" / "observations.jsonl"
    journal.write_bytes(b"".join(line for line in journal.read_bytes().splitlines(True) if b"harness-lost" not in line))
    older = told.model_copy(update={"state": "finished", "reason": "", "evidence": {}})
    record, _ = judge_stored(plan.assignment, tmp_path / "cells" / "k", older, "id")
    assert record.state == "lost" and "dropped messages" in record.reason


@pytest.mark.parametrize(
    ("place", "state", "exit_code"),
    [
        (lambda text: MARK + text + END, "finished", 1),
        (lambda text: MARK + END + text, "lost", 3),  # the last process ends after the last mark
        (lambda text: text + MARK + END, "finished", 0),  # the boot's own
    ],
)
def test_a_warning_of_memory_management_is_never_passed_over(
    tmp_path: Path, place: Callable[[str], str], state: str, exit_code: int
) -> None:
    _, done = ran(tmp_path, place(WARNING))
    assert (done.record.cells[0].state, done.exit_code) == (state, exit_code)
