"""The nouns of a run, and the events it tells while it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness.errors import InfrastructureError, Interrupted
from harness.guests.model import Guest
from harness.kernels.model import Kernel
from harness.matrix.model import Profile
from harness.model.architectures import Arch
from harness.model.rule import ProbeName
from harness.model.run_record import ExploreRecord, RunRecord, answers_expected
from harness.model.verdict import EXIT_NO_ANSWER, EXIT_OK, RuleResult, Status, exit_code
from harness.suites.definition import SuiteWork
from harness.verdicts.causes import Cause, causes

JOURNAL = "observations.jsonl"
SECOND_JOURNAL = "crosscheck.jsonl"

Stage = Literal["waiting", "booting", "pushing", "probing", "exploring", "judging", "done"]


@dataclass(frozen=True)
class Cell:
    """One kernel on one profile. ``kernel`` is None on the host itself, and an error where none could be had.

    ``before_mseal``: the matrix says of the kernel that there is nothing to ask. ``explore``: generated programs are
    run after the probes, in a guest of their own.
    """

    id: str
    arch: Arch
    profile: Profile
    kernel: Kernel | InfrastructureError | None
    before_mseal: bool = False
    explore: ExploreRecord | None = None


@dataclass(frozen=True)
class SuiteLoad:
    """Foreign suites as a cell needs them: what runs their programs, a shell where some are scripts, and themselves."""

    launcher: bytes = field(repr=False)
    shell: bytes = field(repr=False)
    works: tuple[SuiteWork, ...]

    @property
    def programs(self) -> int:
        """How many programs there are."""
        return sum(len(work.programs) for work in self.works)


@dataclass(frozen=True)
class Workload:
    """The payload as a cell needs it: bytes, identity, arguments, and what it plans to do.

    ``files`` are pushed beside it; ``second`` is the other payload, which runs after it in the same guest and must see
    the same. ``suites`` are foreign suites that run after both; ``content`` is empty where they are all there is.
    """

    name: str
    id: str
    sha256: str
    content: bytes
    arguments: tuple[str, ...]
    planned: tuple[ProbeName, ...]
    files: tuple[tuple[str, bytes], ...] = ()
    second: Workload | None = None
    suites: SuiteLoad | None = None


@dataclass(frozen=True)
class ProgressEvent:
    """A progress event of a run. ``probes`` observations have arrived out of ``planned``;
    ``statuses`` are the rules by status, once the cell is judged."""

    cell: str
    stage: Stage
    seconds: float
    probes: int = 0
    planned: int = 0
    note: str = ""
    statuses: Mapping[Status, int] = field(default_factory=dict)


OnProgress = Callable[[ProgressEvent], None]
MakeGuest = Callable[[Cell, Path], Guest]


@dataclass(frozen=True)
class RunDone:
    """A run after it ended, however it ended."""

    folder: Path
    record: RunRecord
    results: Mapping[str, tuple[RuleResult, ...]]
    _causes: dict[str, Sequence[Cause]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def causes_of(self, cell: str) -> Sequence[Cause]:
        """What the failures of a cell have in common; found once, however many reports tell it."""
        if cell not in self._causes:
            self._causes[cell] = causes(self.results.get(cell, ()))
        return self._causes[cell]

    @property
    def exit_code(self) -> int:
        """The exit code. A cell that is not clean is no answer, even if every probe had been observed."""
        if self.record.state == "interrupted":
            return Interrupted.exit_code
        code = exit_code(result.status for results in self.results.values() for result in results)
        answered = all(cell.clean for cell in self.record.cells) and not self.unasked
        return EXIT_NO_ANSWER if code == EXIT_OK and not answered else code

    @property
    def unasked(self) -> bool:
        """Whether all that was to be asked was skipped: no rule in any of the cells where one was expected to answer.

        A scenario says itself where there is nothing to ask.
        """
        expected = [self.results.get(cell.id, ()) for cell in self.record.cells if answers_expected(cell)]
        rules = [result for results in expected for result in results if result.rule.family != "scenario"]
        return bool(rules) and all(result.status == "skip" for result in rules)
