"""Probes that share a process: what the host makes of them, and what it asks again, alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from harness.errors import LostGuest
from harness.guests.console import find_crashes
from harness.guests.model import Event
from harness.model.rule import KernelFacts, ProbeName, Rule, Where
from harness.model.verdict import Judgement
from harness.observations.collector import Collector
from harness.observations.journal import read_journal
from harness.observations.model import Garbage, Observation, Record
from harness.observations.stream import parse_line
from harness.rules.load import load_catalogue
from harness.runs.execution.doubt import alone
from harness.runs.execution.run import execute
from harness.runs.model import RunDone, Workload
from harness.runs.run_store import load_run
from harness.verdicts.judge import Evidence, Findings, assign, judge
from harness.verdicts.observation import judge_observation
from tests.fakes import FakeGuest, Step
from tests.support.scripted_runs import CONTROL, PLAN, SEALED, cell, encode, run_plan

PROBES = tuple(
    ProbeName("munmap", "anon-rw", span, layout)
    for span, layout in (("exact", "SSS"), ("head", "SSs"), ("middle", "sSs"), ("tail", "sSS"))
)
IDS = tuple(probe.id for probe in PROBES)
BYPASSED = {**SEALED, "result": 0, "errno": 0, "after": ["-", "-", "-"], "munmap": [0, 0, 0], "mprotect": [12, 12, 12]}
CATALOGUE = load_catalogue()


def plan(*ids: str) -> bytes:
    return encode(json.loads(PLAN) | {"stream": 2, "probes": list(ids or IDS)})


def batch(first: int, probes: int, **more: object) -> bytes:
    return encode({"type": "batch", "probe": IDS[first], "probes": probes, **more})


def begin(index: int) -> bytes:
    return encode({"type": "begin", "probe": IDS[index]})


def seen(index: int, sealed: object = SEALED, **more: object) -> bytes:
    record = {
        "type": "observation", "probe": IDS[index], "layout": PROBES[index].layout, "unit": 4096, "microseconds": 1,
        "control": CONTROL, "sealed": sealed, **more,
    }  # fmt: skip
    return encode(record)


def end(probes: int = 4) -> bytes:
    return encode({"type": "end", "probes": probes, "half_ns": 9, "operation_ns": 3})


@dataclass
class AskedTwice(FakeGuest):
    """A guest whose payload says something else each time it is run."""

    scripts: Sequence[Sequence[Step]] = ()
    asked: list[list[str]] = field(default_factory=list)

    def run(self, argv: Sequence[str]) -> Iterator[Event]:
        self.script = self.scripts[len(self.asked)]
        self.asked.append(list(argv))
        return super().run(argv)


def run(folder: Path, *scripts: Sequence[Step]) -> tuple[RunDone, AskedTwice]:
    guest = AskedTwice(scripts=scripts, console=folder.parent / "console")
    base = run_plan(folder, [cell("a")])
    arguments = ("--deadline-ms", "9", "--run", "munmap/*", "--exclude", "x")
    workload = Workload("c", "id", "0" * 64, b"ELF", arguments, PROBES)
    asked = replace(base, workloads={"x86_64": workload}, assignment=assign(CATALOGUE, PROBES))
    return execute(asked, lambda c, _: guest, lambda _: None), guest


def statuses(done: RunDone, rule: str = "munmap-blocked") -> list[tuple[str, str | None]]:
    (result,) = [r for r in done.results["a"] if r.rule.id == rule]
    return [(v.status, v.kind) for v in result.verdicts]


RULE = next(rule.id for rule in CATALOGUE.values() if rule.speaks_for(PROBES[0]) and rule.outcome == "blocked")
WHOLE = (plan(), batch(0, 4), *(seen(i) for i in range(4)), end())


def test_what_is_as_usual_is_asked_once(tmp_path: Path) -> None:
    done, guest = run(tmp_path / "r", WHOLE)
    assert statuses(done, RULE) == [("pass", None)] * 4
    assert len(guest.asked) == 1
    assert statuses(load_run(tmp_path / "r", CATALOGUE), RULE) == [("pass", None)] * 4


def test_each_observation_is_judged_once_by_each_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[tuple[str, str, str]] = []

    def counted(rule: Rule, probe: ProbeName, seen: Observation, kernel: KernelFacts) -> Judgement:
        judged.append((rule.id, probe.id, seen.sealed.said))
        return judge_observation(rule, probe, seen, kernel)

    monkeypatch.setattr("harness.verdicts.judge.judge_observation", counted)
    first = (plan(), batch(0, 4), seen(0), seen(1, BYPASSED), seen(2), seen(3), end())
    done, _ = run(tmp_path / "r", first, (plan(IDS[1]), begin(1), seen(1), end(1)))
    assert statuses(done, RULE) == [("pass", None)] * 4
    assert len(judged) == len(set(judged)), "one that was asked again is another observation"
    assert {(RULE, IDS[1], "0"), (RULE, IDS[1], "EPERM")} <= set(judged)


@pytest.mark.parametrize("config", [{}, {"ANY": "y"}])
def test_what_was_found_of_another_kernel_does_not_count(config: dict[str, str]) -> None:
    record = parse_line(seen(0).strip())
    assert isinstance(record, Observation)
    before, since = KernelFacts("6.9.0", "x86_64", 4096), KernelFacts("6.12.1", "x86_64", 4096, config=config)
    rule = replace(CATALOGUE[RULE], where=Where(since=(6, 10, 0)))
    findings = Findings(before)
    assert findings.of(rule, PROBES[0], record).status == "skip"
    evidence = Evidence(since, {IDS[0]: record}, findings=findings)
    assert [result.status for result in judge(((rule, PROBES[:1]),), evidence)] == ["pass"]
    assert not Findings(replace(since, config={"OTHER": "y"})).are_of(since)


def test_what_is_not_is_asked_again_alone_and_only_that_counts(tmp_path: Path) -> None:
    first = (plan(), batch(0, 4), seen(0), seen(1, BYPASSED), seen(2, BYPASSED), seen(3), end())
    again = (plan(IDS[1], IDS[2]), begin(1), seen(1), begin(2), seen(2, BYPASSED), end(2))
    done, guest = run(tmp_path / "r", first, again)
    assert guest.asked[1] == [guest.asked[0][0], "--deadline-ms", "9", "--lone", "--run", IDS[1], "--run", IDS[2]]
    expected = [("pass", None), ("pass", None), ("fail", "bypass"), ("pass", None)]
    assert statuses(done, RULE) == expected
    assert statuses(load_run(tmp_path / "r", CATALOGUE), RULE) == expected, "the journal has both, and the order"
    journal = (tmp_path / "r/cells/a/observations.jsonl").read_text()
    assert journal.count(f'"probe": "{IDS[1]}"') + journal.count(f'"probe":"{IDS[1]}"') >= 2


def test_what_could_not_be_asked_again_is_no_verdict(tmp_path: Path) -> None:
    first = (plan(), batch(0, 4), seen(0), seen(1, BYPASSED), seen(2), seen(3), LostGuest("gone"))
    done, _ = run(tmp_path / "r", first)
    assert [status for status, _ in statuses(done, RULE)] == ["pass", "error", "pass", "pass"]
    (result,) = [r for r in done.results["a"] if r.rule.id == RULE]
    assert "not asked again (gone)" in result.verdicts[1].reason


def test_a_guest_lost_in_the_second_asking_leaves_no_answer(tmp_path: Path) -> None:
    first = (plan(), batch(0, 4), seen(0), seen(1, BYPASSED), seen(2), seen(3), end())
    done, _ = run(tmp_path / "r", first, (plan(IDS[1]), begin(1), LostGuest("gone")))
    assert [status for status, _ in statuses(done, RULE)] == ["pass", "error", "pass", "pass"]


def test_a_sample_that_differs_is_an_error(tmp_path: Path) -> None:
    same = (plan(), batch(0, 4), *(seen(i) for i in range(4)), begin(1), seen(1, again=True), end())
    done, _ = run(tmp_path / "same", same)
    assert statuses(done, RULE) == [("pass", None)] * 4
    other = (
        plan(),
        batch(0, 4),
        *(seen(i) for i in range(4)),
        begin(1),
        seen(1, {**SEALED, "errno": 22}, again=True),
        end(),
    )
    done, guest = run(tmp_path / "other", other)
    assert len(guest.asked) == 1, "it has been asked alone"
    (result,) = [r for r in done.results["a"] if r.rule.id == RULE]
    assert [v.status for v in result.verdicts] == ["pass", "error", "pass", "pass"]
    assert "among others and alone it was not the same: sealed half, answer: among others EPERM, alone EINVAL" in (
        result.verdicts[1].reason
    )


@pytest.mark.parametrize(
    ("lines", "garbage"),
    [
        ((batch(0, 4), *(seen(i) for i in range(4)), end()), ""),
        ((batch(0, 2), seen(0), begin(1), seen(1), begin(2), seen(2), begin(3), seen(3), end()), ""),
        ((batch(0, 2, lane=0), batch(2, 2, lane=1), seen(2), seen(0), seen(3), seen(1), end()), ""),
        ((batch(0, 2), seen(0), begin(2)), f"begun before {IDS[1]} was observed"),
        ((batch(2, 2), seen(2), seen(3), batch(0, 2)), f"begun after {IDS[3]}, which the plan has later"),
        ((batch(2, 4),), "begun as 4 probes, and the plan has 2"),
        ((batch(0, 1), seen(0), seen(0)), "duplicate record"),
        ((batch(0, 1), seen(0), seen(0, again=True), seen(0, again=True)), "duplicate record"),
        ((seen(0, again=True),), "duplicate record"),
    ],
)
def test_batches_keep_to_the_plan(lines: Sequence[bytes], garbage: str) -> None:
    collector = Collector()
    for line in (encode(json.loads(plan()) | {"lanes": 2}), *lines):
        record = parse_line(line)
        assert not isinstance(record, Garbage), record
        collector.add(record)
    assert [found.reason for found in collector.garbage][:1] == ([garbage] if garbage else [])
    assert collector.ended == (not garbage)


def test_a_journal_of_the_first_version_reads(tmp_path: Path) -> None:
    path = tmp_path / "observations.jsonl"
    one = (PLAN.replace(b'"munmap/anon-rw/exact", "munmap/anon-rw/head"', json.dumps(IDS)[1:-1].encode()),)
    path.write_bytes(b"".join((*one, *(begin(i) + seen(i) for i in range(4)), encode({"type": "end", "probes": 4}))))
    found = read_journal(path)
    assert (len(found.observations), found.ended, found.garbage, found.batched) == (4, True, (), frozenset())


def test_the_command_of_the_second_asking() -> None:
    command = ["payload", "--kmsg", "--run", "a/*", "--exclude", "b/*", "--deadline-ms", "5"]
    assert alone(command, ["x", "y"]) == [
        "payload",
        "--kmsg",
        "--deadline-ms",
        "5",
        "--lone",
        "--run",
        "x",
        "--run",
        "y",
    ]


CONSOLE = """\
[    1.000000] sealmatrix: begin munmap/anon-rw/exact and 3 more in lane 0
[    1.100000] BUG: kernel NULL pointer dereference, address: 0000000000000000
[    1.100001] CPU: 0 PID: 99 Comm: {name} Not tainted 6.12.0 #1
[    1.100002] ---[ end trace 0000000000000000 ]---
"""


@pytest.mark.parametrize(
    ("name", "suspects"),
    [("probe-2", (IDS[2],)), ("sealmatrix-0", IDS), ("ksmd", IDS), ("probe-7", IDS)],
)
def test_a_crash_in_a_batch_is_put_down_to_the_probe_whose_process_it_was(name: str, suspects: tuple[str, ...]) -> None:
    (crash,) = find_crashes(CONSOLE.format(name=name), IDS)
    assert crash.suspects == suspects


def test_a_batch_may_reach_into_what_another_guest_has_been_given() -> None:
    collector = Collector()
    for line in (plan(), batch(0, 4), seen(0), seen(1)):
        collector.add(parsed(line))
    collector.next_guest()
    for line in (batch(2, 2), seen(2), seen(3)):
        collector.add(parsed(line))
    assert (collector.garbage, collector.doubts, set(collector.observations)) == ([], {}, set(IDS))


def parsed(line: bytes) -> Record:
    record = parse_line(line)
    assert not isinstance(record, Garbage), record
    return record
