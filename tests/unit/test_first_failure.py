"""A kernel is asked in portions until the first failure; whatever a guest does, nothing unseen is a pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.errors import LostGuest
from harness.guests.model import Event, Exited, Output
from harness.matrix.model import Profile
from harness.model.rule import ProbeName, Rule, Selector
from harness.mutants import first_failure
from harness.mutants.first_failure import Questions
from harness.mutants.suite import SuiteResult
from harness.runs.model import Cell, Workload
from tests.fakes import FakeGuest
from tests.support.scripted_runs import CONTROL, SEALED, encode

PROBES = tuple(
    ProbeName(operation, "anon-rw", span, layout)
    for operation in ("munmap", "mprotect")
    for span, layout in (("exact", "SSS"), ("head", "SSs"), ("tail", "sSS"))
)
ALL = [probe.id for probe in PROBES]
RULES = {
    name: Rule(name, "U1", "munmap", "required", "blocked", "s", ("T",), (Selector((glob,)),))
    for name, glob in (("unmapping", "munmap"), ("protecting", "mprotect"))
}
WORKLOAD = Workload("payload", "id", "0" * 64, b"ELF", (), PROBES)
LET_THROUGH = SEALED | {"result": 0, "errno": 0, "after": ["-", "-", "-"]}


@dataclass
class Obedient(FakeGuest):
    """A guest that observes what it is told to, and lets the probes of ``open`` through; dies when asked ``deadly``."""

    open: tuple[str, ...] = ()
    deadly: str = ""
    asked: list[list[str]] = field(default_factory=list)

    def run(self, argv: Sequence[str]) -> Iterator[Event]:
        names = [argv[i + 1] for i, word in enumerate(argv) if word == "--run"]
        self.asked.append(names)
        plan = {
            "type": "plan", "stream": 1, "payload": "c", "id": "id", "machine": "x86_64", "release": "6.12.0-fake",
            "page_size": 4096, "pid1": False, "probes": names,
        }  # fmt: skip
        yield Output("out", encode(plan))
        for probe in (p for p in PROBES if p.id in names):
            yield Output("out", encode({"type": "begin", "probe": probe.id}))
            if probe.id == self.deadly:
                raise LostGuest("silence")
            sealed = LET_THROUGH if probe.id in self.open else SEALED
            yield Output(
                "out",
                encode(
                    {
                        "type": "observation",
                        "probe": probe.id,
                        "layout": probe.layout,
                        "unit": 4096,
                        "microseconds": 1,
                        "control": CONTROL,
                        "sealed": sealed,
                    }
                ),
            )
        yield Output("out", encode({"type": "end", "probes": len(names)}))
        yield Exited(0, None)


def ask(guest: Obedient, folder: Path, first: tuple[tuple[str, str], ...] = ()) -> SuiteResult:
    cell = Cell("mutant", "x86_64", Profile("standard"), None)
    return Questions(RULES, WORKLOAD, lambda mutant: first if mutant == "mutant" else ()).ask(guest, cell, folder)


def test_what_killed_the_neighbours_is_asked_first_and_ends_it(tmp_path: Path) -> None:
    guest = Obedient(open=(ALL[5],))
    answer = ask(guest, tmp_path, (("protecting", ALL[5]), ("gone", "no/such/probe")))
    assert guest.asked == [[ALL[3], ALL[5]]]  # the very probe, and one of the rule's for each operation
    assert answer.failed == {"protecting": "bypass"}
    assert answer.probes == {"protecting": ALL[5]}
    assert not answer.whole


def test_without_neighbours_one_probe_of_each_operation_comes_first(tmp_path: Path) -> None:
    guest = Obedient(open=(ALL[3],))
    answer = ask(guest, tmp_path)
    assert guest.asked == [[ALL[0], ALL[3]]]
    assert answer.failed == {"protecting": "bypass"} and not answer.whole


def test_a_kernel_of_which_nothing_fails_was_asked_everything_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_failure, "_PORTION", 4)
    guest = Obedient()
    answer = ask(guest, tmp_path)
    assert guest.asked == [[ALL[0], ALL[3]], ALL[:4], ALL[4:]]
    assert answer == SuiteResult({}, ("unmapping", "protecting"))
    assert "stop" in guest.calls


def test_what_only_the_last_portion_shows_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_failure, "_PORTION", 4)
    answer = ask(Obedient(open=(ALL[4],)), tmp_path)
    assert answer.failed == {"protecting": "bypass"} and not answer.whole


def test_a_guest_that_is_lost_gives_no_whole_answer(tmp_path: Path) -> None:
    answer = ask(Obedient(deadly=ALL[1]), tmp_path)
    assert answer.failed == {}
    assert "silence" in answer.lost and not answer.whole


def test_a_crash_on_the_console_names_the_probe_that_ran(tmp_path: Path) -> None:
    console = f"sealmatrix: begin {ALL[0]}\n[    1.000000] Kernel panic - not syncing: sysrq triggered crash\n"
    guest = Obedient(deadly=ALL[0], console=tmp_path / "console", console_text=console)
    guest.boot()
    answer = ask(guest, tmp_path)
    assert answer.failed == {"unmapping": "crash"}
    assert answer.probes == {"unmapping": ALL[0]}
