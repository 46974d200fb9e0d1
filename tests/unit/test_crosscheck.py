"""Two payloads on one kernel: the same, or an error that shows both; scripted guests play the payloads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import LostGuest
from harness.guests.model import Event
from harness.matrix.model import Profile
from harness.model.rule import ProbeName, Rule, Selector
from harness.model.run_record import CellRecord, RunRecord
from harness.observations.model import Observation
from harness.observations.stream import parse_line
from harness.reports.crosscheck import crosscheck_line
from harness.runs.execution.run import execute
from harness.runs.model import Cell, RunDone, Workload
from harness.runs.plan import RunPlan
from harness.runs.run_store import load_run
from harness.verdicts.crosscheck import disagreement
from harness.verdicts.judge import assign
from tests.fakes import FakeGuest, Step

PROBES = tuple(ProbeName("munmap", "anon-rw", span, layout) for span, layout in (("exact", "SSS"), ("head", "SSs")))
RULE = Rule("munmap-blocked", "U1", "munmap", "required", "blocked", "s", ("T",), (Selector(("*",)),))
BEFORE = ["rw-p anon a0 a ?", "rw-p anon a1 a ?", "rw-p anon a2 a ?"]
SEEN = ["rw-p anon a0 a s", "rw-p anon a1 a s", "rw-p anon a2 a s"]
GONE = ["-", "-", "-"]
CONTROL: dict[str, Any] = {
    "stage": "done", "before": BEFORE, "result": 0, "errno": 0, "after": GONE, "write": "---",
    "mprotect": [12, 12, 12], "munmap": [0, 0, 0],
}  # fmt: skip
SEALED: dict[str, Any] = {
    "stage": "done", "seal": [0], "before": SEEN, "result": -1, "errno": 1, "after": SEEN, "write": "www",
    "mprotect": [1, 1, 1], "munmap": [1, 1, 1],
}  # fmt: skip
# A kernel whose munmap looks at no seal.
BYPASSED = {**SEALED, "result": 0, "errno": 0, "after": GONE, "write": "---", "mprotect": [12] * 3, "munmap": [0] * 3}


def line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"


def seen(probe: ProbeName, sealed: Mapping[str, Any] = SEALED, control: Mapping[str, Any] = CONTROL) -> bytes:
    halves = {"control": control, "sealed": sealed}
    about = {"type": "observation", "probe": probe.id, "layout": probe.layout, "unit": 4096, "microseconds": 5}
    return line({"type": "begin", "probe": probe.id}) + line({**about, **halves})


def stream(payload: str, *observations: bytes) -> bytes:
    plan = {
        "type": "plan", "stream": 1, "payload": payload, "id": payload, "machine": "x86_64", "release": "6.12.0-fake",
        "page_size": 4096, "pid1": False, "probes": [p.id for p in PROBES],
    }  # fmt: skip
    return line(plan) + b"".join(observations) + line({"type": "end", "probes": len(observations)})


WHOLE = stream("c", *map(seen, PROBES)), stream("python", *map(seen, PROBES))


@dataclass
class TwoPayloads(FakeGuest):
    """A guest in which each payload has a script of its own."""

    scripts: dict[str, Sequence[Step]] = field(default_factory=dict)

    def run(self, argv: Sequence[str]) -> Iterator[Event]:
        self.script = self.scripts[argv[0]]
        yield from super().run(argv)


def crosschecked(folder: Path, first: Sequence[Step], second: Sequence[Step], console: str = "") -> RunDone:
    other = Workload("python", "python", "1" * 64, b"PYTHON", ("-m", "crosscheck"), PROBES)
    workload = Workload("c", "c", "0" * 64, b"ELF", (), PROBES, second=other)
    record = RunRecord(
        id=folder.name, state="running", started="2026-11-24T00:00:00+00:00", sealmatrix="0", command=(), options={},
        host={}, matrix={}, payload="c", payload_id="c", catalogue_sha256="", jobs=1,
        cells=(CellRecord(id="a", profile="standard", arch="x86_64"),),
    )  # fmt: skip
    cell = Cell("a", "x86_64", Profile("standard"), None)
    plan = RunPlan(folder, record, (cell,), {"x86_64": workload}, assign({RULE.id: RULE}, PROBES), 1)
    scripts = {"/work/payload-c": first, "/work/payload-python": second}
    guest = TwoPayloads(scripts=scripts, console=folder.parent / "console", console_text=console)
    return execute(plan, lambda _c, _f: guest, lambda _: None)


def statuses(done: RunDone) -> list[tuple[str, str | None]]:
    (result,) = done.results["a"]
    return [(verdict.status, verdict.kind) for verdict in result.verdicts]


def test_payloads_that_agree_change_nothing(tmp_path):
    done = crosschecked(tmp_path / "r", [WHOLE[0]], [WHOLE[1]])
    assert statuses(done) == [("pass", None)] * 2
    assert done.exit_code == 0
    assert crosscheck_line(done) == "both payloads observed 2 probes on 1 cell; they differ on none"


def test_a_disagreement_is_an_error_with_both_observations(tmp_path):
    planted = stream("python", seen(PROBES[0]), seen(PROBES[1], BYPASSED))
    done = crosschecked(tmp_path / "r", [WHOLE[0]], [planted])
    assert statuses(done) == [("pass", None), ("error", None)]
    assert done.exit_code == 3
    verdict = done.results["a"][0].verdicts[1]
    assert "the two payloads disagree: sealed half, answer: C EPERM, Python 0" in verdict.reason
    assert "the C payload alone gives pass" in verdict.reason
    assert verdict.observed.startswith("C: control 0, sealed EPERM")
    assert " | Python: control 0, sealed 0" in verdict.observed
    assert crosscheck_line(done).endswith("they differ on 1")
    stored = load_run(tmp_path / "r", {RULE.id: RULE})
    assert [v.reason for v in stored.results["a"][0].verdicts] == [v.reason for v in done.results["a"][0].verdicts]


def test_a_failure_only_one_payload_sees_is_no_failure_of_the_kernel(tmp_path):
    planted = stream("c", seen(PROBES[0], BYPASSED), seen(PROBES[1]))
    done = crosschecked(tmp_path / "r", [planted], [WHOLE[1]])
    assert statuses(done) == [("error", None), ("pass", None)]
    assert "the C payload alone gives fail" in done.results["a"][0].verdicts[0].reason


def test_a_broken_kernel_fails_by_both(tmp_path):
    both = [stream(name, *(seen(probe, BYPASSED) for probe in PROBES)) for name in ("c", "python")]
    done = crosschecked(tmp_path / "r", [both[0]], [both[1]])
    assert statuses(done) == [("fail", "bypass")] * 2
    assert done.exit_code == 1


def test_a_second_payload_that_is_lost_is_no_agreement(tmp_path):
    half = stream("python", seen(PROBES[0])).splitlines(keepends=True)[:-1]
    done = crosschecked(tmp_path / "r", [WHOLE[0]], [*half, LostGuest("QEMU died")])
    assert statuses(done) == [("pass", None)] * 2
    assert done.record.cells[0].state == "lost"
    assert done.exit_code == 3
    cut = crosschecked(tmp_path / "s", [WHOLE[0]], [b"".join(half)])
    assert cut.record.cells[0].reason.startswith("in the second payload: the payload ended after 1 of 2")
    assert cut.exit_code == 3


def test_a_first_payload_that_is_lost_ends_the_cell(tmp_path):
    done = crosschecked(tmp_path / "r", [b""], [WHOLE[1]])
    assert statuses(done) == [("miss", None)] * 2
    assert not (tmp_path / "r/cells/a/crosscheck.jsonl").read_text()


PANIC = f"sealmatrix: begin {PROBES[1].id}\n[    1.000000] Kernel panic - not syncing: sysrq triggered crash\n"


def test_a_kernel_that_crashes_under_the_second_payload_has_crashed(tmp_path):
    begun = b"".join(stream("python", seen(PROBES[0]), seen(PROBES[1])).splitlines(keepends=True)[:4])
    done = crosschecked(tmp_path / "r", [WHOLE[0]], [begun, LostGuest("QEMU died")], PANIC)
    assert statuses(done) == [("pass", None), ("fail", "crash")]
    assert done.exit_code == 1


def observation(probe: ProbeName = PROBES[0], **halves: Mapping[str, Any]) -> Observation:
    record = parse_line(seen(probe, **halves).splitlines()[1])
    assert isinstance(record, Observation)
    return record


class TestDisagreement:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"errno": 13}, "answer: C EPERM, Python EACCES"),
            ({"result": "base+1", "errno": 0}, "answer: C EPERM, Python base+1"),
            ({"seal": [0, 0]}, "sealing: C 0, Python 0 0"),
            ({"after": ["rw-p anon a0 a s", "r--p anon a1 a s", "rw-p anon a2 a s"]}, "after: C rw-p anon a0, rw-p"),
            ({"after": ["rw-p anon a0 a s", "-", "rw-p anon a2 a s"]}, "after:"),
            ({"before": ["rw-p memfd+0 a0 a s", *SEEN[1:]]}, "before:"),
            ({"before": ["rw-p anon 00 a s", *SEEN[1:]]}, "before:"),
            ({"write": "w-w"}, "stores: C www, Python w-w"),
            ({"mprotect": [1, 0, 1]}, "mprotect of each unit: C EPERM EPERM EPERM, Python EPERM 0 EPERM"),
            ({"munmap": [1, 1, 0]}, "munmap of each unit"),
            ({"signal": 11}, "how it ended: C done, Python killed by SIGSEGV"),
            ({"timeout": True}, "how it ended: C done, Python no answer in time"),
        ],
    )
    def test_what_a_verdict_can_rest_on(self, changes, words):
        differ = disagreement(observation(), observation(sealed={**SEALED, **changes}))
        assert differ is not None
        assert words in differ
        assert differ.startswith("sealed half, ")

    @pytest.mark.parametrize(
        "changes",
        [
            {"before": ["rw-p anon a0 n s", *SEEN[1:]]},
            {"after": ["rw-p anon a0 a ?", *SEEN[1:]]},
            {"extra": {"rounds": 3}},
        ],
    )
    def test_what_they_may_differ_in(self, changes):
        assert disagreement(observation(), observation(sealed={**SEALED, **changes})) is None

    def test_a_step_goes_by_its_error(self):
        one, same, other = (
            {"stage": "setup", "step": step, "step_errno": number}
            for step, number in (("protection keys", 95), ("pkeys", 95), ("protection keys", 22))
        )
        first = observation(control=one)
        assert disagreement(first, observation(control=same)) is None
        assert "EINVAL" in (disagreement(first, observation(control=other)) or "")

    def test_layouts_and_units(self):
        assert "layout" in (disagreement(observation(), replace(observation(), layout="SSs")) or "")
        assert "bytes of a unit" in (disagreement(observation(), replace(observation(), unit=16384)) or "")
