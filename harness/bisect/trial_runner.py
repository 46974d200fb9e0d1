"""Asking kernels: a run of one cell each, narrowed to the rule's probes, or what earlier runs have seen of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from harness.bisect.predicate import BisectQuestion, SeenRule, see
from harness.bisect.trial_log import Purpose, Trial, TrialOrigin, Trouble
from harness.errors import Interrupted, UsageError
from harness.guests.accel import AccelWanted
from harness.guests.devices import cpu_model
from harness.kernels.model import Kernel
from harness.matrix.model import Profile
from harness.model.architectures import Arch
from harness.model.rule import Check, ProbeName, Rule, Test
from harness.model.run_record import CellRecord, read_run
from harness.model.verdict import RuleResult, Verdict
from harness.observations.journal import stored_journal
from harness.payload.build import Payload, build
from harness.runs.execution.run import execute
from harness.runs.judging import judge_stored, read_plan
from harness.runs.model import JOURNAL, Cell, OnProgress, RunDone
from harness.runs.planning.compose import Options, compose_cells
from harness.runs.planning.payload_tasks import fitted
from harness.runs.repeats import repeated
from harness.runs.run_store import run_folders
from harness.verdicts.judge import assign


@dataclass(frozen=True)
class TrialRequest:
    """A kernel to ask, for which point, how often, and what for."""

    point: str
    kernel: Kernel
    boots: int
    purpose: Purpose


class MakeTrials(Protocol):
    """What the searches put their questions to; the seam at which tests put kernels that do not exist."""

    def boot(self, wanted: Sequence[TrialRequest]) -> list[Trial]:
        """Boot kernels side by side; each boot is one trial. Raises ``Interrupted``."""
        ...

    def recall(self, wanted: TrialRequest) -> list[Trial]:
        """What earlier runs have seen of the same kernel, newest first."""
        ...


def result_of(results: Sequence[RuleResult], check: Check) -> RuleResult:
    """A cell's result for a check. A test that its program did not report has none: it is missed."""
    found = next((result for result in results if result.rule.id == check.id), None)
    if found is not None:
        return found
    programs = [result for result in results if result.rule.family == check.family and result.status != "pass"]
    why = programs[0].worst.reason if programs else f"{check.family} reported no such test"
    return RuleResult(check, (Verdict(check.id, check.id, "miss", why),))


def rule_probes(rule: Rule, arch: Arch) -> tuple[str, ...]:
    """The ids of the payload's probes that a rule speaks for. Raises ``UsageError`` when there is none."""
    probes = tuple(p.id for p in _planned(arch) if rule.speaks_for(p))
    if not probes:
        raise UsageError(f"--rule {rule.id}: the payload has no probe for it")
    return probes


def _planned(arch: Arch) -> tuple[ProbeName, ...]:
    return tuple(ProbeName(p.operation, p.region, p.span, p.layout) for p in build(arch).probes)


@dataclass(frozen=True)
class TrialAnswer:
    """What one boot showed, or the ``trouble`` for which it gives no answer, with the reason (``Trial``)."""

    seen: SeenRule | None = None
    trouble: Trouble = ""
    reason: str = ""


@dataclass(frozen=True)
class OneByOne:
    """Asks kernels one after another, where a run of cells cannot: each boot has a folder below ``runs`` and is one
    trial. ``ask`` boots the kernel and says what it showed."""

    runs: Path
    ask: Callable[[Kernel, Path], TrialAnswer]

    def boot(self, wanted: Sequence[TrialRequest]) -> list[Trial]:
        """Each boot is one trial."""
        return [self._trial(want, number) for want in wanted for number in range(want.boots)]

    def recall(self, wanted: TrialRequest) -> list[Trial]:
        """Nothing of this sort is stored."""
        del wanted
        return []

    def _trial(self, want: TrialRequest, number: int) -> Trial:
        begun = time.monotonic()
        folder = self.runs / f"{want.point.replace('/', '_')}-{want.purpose}-{number}-{time.time_ns()}"
        folder.mkdir(parents=True, exist_ok=True)
        answer = self.ask(want.kernel, folder)
        return Trial(
            point=want.point,
            image=want.kernel.sha256,
            purpose=want.purpose,
            seen=answer.seen,
            trouble=answer.trouble,
            reason=answer.reason,
            run=str(folder),
            seconds=round(time.monotonic() - begun, 3),
            version=want.kernel.version,
        )


@dataclass
class Asker:
    """The real thing. ``runs`` is where its runs go, ``stores`` are results folders with earlier ones."""

    question: BisectQuestion
    arch: Arch
    profile: Profile
    runs: Path
    options: Options
    stores: Sequence[Path] = ()
    on_progress: OnProgress = field(default=lambda told: None)
    _index: dict[str, list[tuple[Path, CellRecord]]] | None = None

    def boot(self, wanted: Sequence[TrialRequest]) -> list[Trial]:
        """Boot all as one run."""
        cells: dict[str, TrialRequest] = {}
        firsts: list[Cell] = []
        for want in wanted:
            first = Cell(_cell_id(want.point, self.arch), self.arch, self.profile, want.kernel)
            for cell in repeated([first], want.boots):
                firsts.append(cell)
                cells[cell.id] = want
        fresh = self.options.fresh or any(map(_needs_fresh, wanted))
        composed = compose_cells(replace(self.options, fresh=fresh), firsts, {})
        done = execute(composed.plan, composed.make_guest, self.on_progress)
        if done.record.state == "interrupted":
            raise Interrupted("interrupted; what was answered is kept")
        return [self._trial(done, record, cells[record.id]) for record in done.record.cells]

    def recall(self, wanted: TrialRequest) -> list[Trial]:
        """Judge again what is stored of the kernel: the catalogue may have changed, the observations have not.

        What foreign suites said in earlier runs is not looked for.
        """
        if isinstance(self.question.rule, Test):
            return []
        found: list[Trial] = []
        for folder, record in self._stored().get(wanted.kernel.sha256, []):
            if (judged := self._judged(folder, record)) is None:
                continue
            trial = self._made(folder, *judged, wanted, "stored")
            if trial.trouble != "no-answer":
                found.append(trial)
        return found

    def _trial(self, done: RunDone, record: CellRecord, want: TrialRequest) -> Trial:
        result = result_of(done.results[record.id], self.question.rule)
        return self._made(done.folder, record, result, want, "boot")

    def _made(
        self, folder: Path, record: CellRecord, result: RuleResult, want: TrialRequest, origin: TrialOrigin
    ) -> Trial:
        observation = None
        if self.question.condition is not None and (told := stored_journal(folder / "cells" / record.id / JOURNAL)):
            observation = told.observations.get(self.question.probes[0])
        seen = see(result, self.question.condition, observation)
        return Trial(
            point=want.point,
            image=want.kernel.sha256,
            purpose=want.purpose,
            origin=origin,
            seen=seen,
            trouble=trouble_of(self.question, seen, whole=record.whole),
            reason=record.reason or seen.reason,
            run=str(folder),
            cell=record.id,
            seconds=round(sum(record.seconds.values()), 3) if origin == "boot" else 0.0,
            version=want.kernel.version,
        )

    def _judged(self, folder: Path, record: CellRecord) -> tuple[CellRecord, RuleResult] | None:
        """A stored cell and its result for the rule; None when it did not run the probes that are asked for."""
        try:
            planned = [p for p in read_plan(folder) if p.id in self.question.probes]
        except UsageError:
            return None
        if len(planned) != len(self.question.probes):
            return None
        rule = self.question.rule
        assert isinstance(rule, Rule)
        assignment = assign({rule.id: rule}, planned)
        checked, results = judge_stored(assignment, folder / "cells" / record.id, record, build(self.arch).id)
        return checked, results[0]

    def _stored(self) -> Mapping[str, list[tuple[Path, CellRecord]]]:
        """Cells of earlier runs on the same machine with the same payload, by the sha256 of their kernel."""
        if self._index is None:
            self._index = {}
            payload = build(self.arch)
            asked = [probe for probe in _planned(self.arch) if probe.id in self.question.probes]
            least = fitted(self.profile, asked)
            for folder, record in _cells(self.stores, payload):
                same = record.arch == self.arch and same_machine(
                    record, self.arch, self.profile, least, self.options.acceleration
                )
                if record.kernel is not None and same:
                    self._index.setdefault(record.kernel.sha256, []).append((folder, record))
        return self._index


def _needs_fresh(want: TrialRequest) -> bool:
    """Whether a guest must boot: a saved one is the same boot again, which checks and repeats nothing, and a kernel
    that was built for one step is not worth saving."""
    return want.purpose == "check" or want.boots > 1 or want.kernel.origin.kind == "tree"


def trouble_of(question: BisectQuestion, seen: SeenRule, *, whole: bool = True) -> Trouble:
    """Why what was seen is no answer: ``no-answer`` may be tried again, ``skip`` may not.

    From a cell that was not observed to its end (``whole``) only what is bad is an answer: what looks good may be so
    because the guest was lost before it could go wrong.
    """
    if seen.status in ("error", "miss") or (not whole and question.answer(seen, None) != "bad"):
        return "no-answer"
    if question.condition is not None:
        return "skip" if seen.holds is None else ""
    return "skip" if seen.status == "skip" else ""


def _cells(stores: Sequence[Path], payload: Payload) -> Iterator[tuple[Path, CellRecord]]:
    """Finished cells of all runs with these bytes of a payload, newest run first; what is no run is passed over."""
    folders = [folder for store in stores for folder in run_folders(store)]
    for folder in sorted(folders, key=lambda path: path.name, reverse=True):
        try:
            run = read_run(folder)
        except UsageError:
            continue
        if run.payload_id == payload.id:
            same = (cell for cell in run.cells if cell.payload_sha256 == payload.sha256)
            yield from ((folder, cell) for cell in same if cell.state == "finished")


def same_machine(record: CellRecord, arch: Arch, profile: Profile, least: Profile, wanted: AccelWanted) -> bool:
    """Whether a cell ran on the machine that a profile describes, under the acceleration that is wanted; swap and huge
    pages may have been ``least``'s. One whose processor was not written down may have had any."""
    machine = record.machine
    if machine is None or machine.guest != "qemu" or machine.acceleration not in ("kvm", "tcg"):
        return False
    if wanted not in ("auto", machine.acceleration) or machine.cpu != cpu_model(profile, arch, machine.acceleration):
        return False
    exactly, at_least = ("smp", "memory", "boot", "numa"), ("swap", "hugepages")
    return all(getattr(machine, name) == getattr(profile, name) for name in exactly) and all(
        getattr(machine, name) in (getattr(profile, name), getattr(least, name)) for name in at_least
    )


def _cell_id(point: str, arch: Arch) -> str:
    # "~" of package versions marks repeats in a cell's id.
    return f"{re.sub(r'[^A-Za-z0-9._+-]', '_', point)[:60]}.{arch}"
