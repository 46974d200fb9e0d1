"""Our own suite, in portions and only until something fails: first what killed the neighbours, at last everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from harness.errors import GuestError
from harness.guests.accel import AccelWanted
from harness.guests.console import Crash
from harness.guests.model import Guest
from harness.guests.qemu import QemuGuest
from harness.kernels.model import Kernel
from harness.matrix.model import Profile
from harness.model.architectures import Arch
from harness.model.rule import ProbeName, Rule
from harness.model.verdict import RuleResult
from harness.mutants.ours import OwnSuite, summary
from harness.mutants.suite import SuiteResult
from harness.observations.collector import Journalled
from harness.observations.journal import Journal
from harness.runs.execution.doubt import alone, doubtful
from harness.runs.execution.payload_stream import Listener, probe, push, read_console
from harness.runs.judging import judge_cell, kernel_facts
from harness.runs.kernel_records import asked_config
from harness.runs.model import Cell, Workload
from harness.verdicts.judge import Assignment, assign

_PORTION = 400  # probes: a command of the channel has at most 1023 words
_NEAR = 200  # probes that are asked because of neighbours: a second or less
AskFirst = Callable[[str], Sequence[tuple[str, str]]]
"""From the name of a mutant to what may notice it: rules, each with one of its probes, best first."""


class FirstFailureSuite(OwnSuite):
    """The rules, until one fails. A kernel of which none fails was asked everything, as by ``OwnSuite``."""

    name = "first-failure"

    def __init__(
        self,
        arch: Arch,
        profile: Profile,
        probes: Sequence[str] = (),
        *,
        acceleration: AccelWanted = "auto",
        ask_first: AskFirst = lambda _mutant: (),
    ) -> None:
        super().__init__(arch, profile, probes, acceleration=acceleration)
        self._questions = Questions(self._rules, self._workload, ask_first)

    def __call__(self, kernel: Kernel, folder: Path) -> SuiteResult:
        """Boot ``kernel`` once and ask it portion by portion."""
        guest = QemuGuest(kernel, self._profile, folder, self._wishes)
        with ExitStack() as stack:
            stack.callback(guest.stop)
            stack.enter_context(self._running(guest.stop))
            guest.boot()
            return self._questions.ask(guest, Cell(kernel.name, self._arch, self._profile, kernel), folder)


@dataclass(frozen=True)
class Questions:
    """What a guest is asked, in which order, by which rules."""

    rules: Mapping[str, Rule]
    workload: Workload
    ask_first: AskFirst

    @cached_property
    def assignment(self) -> Assignment:
        """Which rule speaks for which probes."""
        return assign(self.rules, self.workload.planned)

    def ask(self, guest: Guest, cell: Cell, folder: Path) -> SuiteResult:
        """Ask a guest that is up; it is stopped when that has been done."""
        argv = push(guest, self.workload)
        early, rest = self._portions(cell.id)
        seen: list[Journalled] = []
        for number, probes in enumerate((*early, *rest)):
            work = replace(self.workload, planned=tuple(probes))
            journalled, lost = _observed(guest, _only(argv, probes), work, cell, folder / f"portion-{number}.jsonl")
            results = self._judged(cell, work, journalled, lost, ())
            if lost:
                guest.stop()
                crashes, _ = read_console(guest, work)
                return replace(summary(self._judged(cell, work, journalled, lost, crashes), lost), whole=False)
            if any(result.status == "fail" for result in results):
                return replace(summary(results, ""), whole=False)
            if number >= len(early):
                seen.append(journalled)
        guest.stop()
        crashes, unplaced = read_console(guest, self.workload)
        return summary(self._judged(cell, self.workload, together(seen), unplaced, crashes), unplaced)

    def _judged(
        self, cell: Cell, work: Workload, journalled: Journalled, lost: str, crashes: Sequence[Crash]
    ) -> tuple[RuleResult, ...]:
        config = asked_config(cell.kernel.config) if isinstance(cell.kernel, Kernel) else None
        facts = kernel_facts(cell.arch, journalled, config=config)
        question = self.assignment if work is self.workload else assign(self.rules, work.planned)
        return judge_cell(question, facts, journalled, lost, crashes)

    def _portions(self, mutant: str) -> tuple[list[Sequence[ProbeName]], list[Sequence[ProbeName]]]:
        """What is asked because it promises something, and then all there is."""
        planned = self.workload.planned
        near = promising(self.assignment, self.ask_first(mutant))
        rest = [planned[first : first + _PORTION] for first in range(0, len(planned), _PORTION)]
        early = [[probe for probe in planned if probe.id in wanted] for wanted in (near, *sample(self.assignment))]
        return [probes for probes in early if probes], [*rest]


def promising(assignment: Assignment, failures: Sequence[tuple[str, str]]) -> frozenset[str]:
    """The probes that failed elsewhere, and of their rules one probe for each operation: where one advice is forgotten
    the next may be, too."""
    rules = {rule.id: probes for rule, probes in assignment}
    asked = {probe.id for probes in rules.values() for probe in probes}
    found = dict.fromkeys(probe for _, probe in failures if probe in asked)
    found |= dict.fromkeys(
        probe.id for rule in dict.fromkeys(rule for rule, _ in failures) for probe in _one_each(rules.get(rule, ()))
    )
    return frozenset([*found][:_NEAR])


def sample(assignment: Assignment) -> tuple[frozenset[str], ...]:
    """One probe of each operation of each rule that promises something and is no race; in portions."""
    found = dict.fromkeys(
        probe.id
        for rule, probes in assignment
        if rule.level in ("required", "permitted") and rule.family != "races"
        for probe in _one_each(probes)
    )
    names = [*found]
    return tuple(frozenset(names[first : first + _PORTION]) for first in range(0, len(names), _PORTION))


def _one_each(probes: Sequence[ProbeName]) -> list[ProbeName]:
    return list({probe.operation: probe for probe in reversed(probes)}.values())[::-1]


def together(seen: Sequence[Journalled]) -> Journalled:
    """What one guest showed in several portions, as if it had been asked at once. Pure."""
    whole = seen[0]
    for more in seen[1:]:
        whole = replace(
            whole,
            begun=(*whole.begun, *more.begun),
            observations={**whole.observations, **more.observations},
            garbage=(*whole.garbage, *more.garbage),
            ended=whole.ended and more.ended,
            notes=(*whole.notes, *more.notes),
            doubts={**whole.doubts, **more.doubts},
            among_others={**whole.among_others, **more.among_others},
            batched=whole.batched | more.batched,
        )
    return whole


def _observed(guest: Guest, argv: Sequence[str], work: Workload, cell: Cell, path: Path) -> tuple[Journalled, str]:
    """What a guest shows of one portion, and why that is not all of it ("" when it is)."""
    with Journal(path) as journal:
        listener = Listener(work, journal, lambda: None)
        try:
            _, lost = probe(guest, argv, listener)
            for probes in () if lost else doubtful(cell, work, listener.collector).again:
                listener.again(probes)
                _, lost = probe(guest, alone(argv, probes), listener)
                if lost:
                    break
        except GuestError as problem:
            lost = str(problem)
    return listener.collector.journalled(), lost


def _only(argv: Sequence[str], probes: Sequence[ProbeName]) -> list[str]:
    """The payload's command for these probes and no others."""
    return [word for word in alone(argv, [probe.id for probe in probes]) if word != "--lone"]
