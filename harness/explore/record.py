"""What an exploration came to, as JSON (``exploration.json`` in a cell, ``explore.json`` of the command), and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import UsageError
from harness.explore.exploration import Exploration, ExploreFinding
from harness.model.stored_files import read_stored

EXPLORATION = "exploration.json"


class _LenientModel(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class FindingRecord(_LenientModel):
    """A finding. ``company`` are programs that have to run before it; ``cause`` is an id of ``known.yaml``, or ""."""

    oracle: str
    operation: str
    step: int
    child: bool
    text: str
    clauses: tuple[str, ...]
    program: str
    found_as: str
    company: tuple[str, ...] = ()
    console: tuple[str, ...] = ()
    cause: str = ""


class UnconfirmedRecord(_LenientModel):
    """Something that was seen and did not come again."""

    oracle: str
    operation: str = ""
    text: str
    program: str


class RecordedRecord(_LenientModel):
    """What nobody promises, how often it was seen, and a program that shows it."""

    times: int
    program: str


class ExplorationRecord(_LenientModel):
    """One kernel explored. ``asked`` has the judged steps of each operation, ``well`` the programs of the corpus that
    showed nothing wrong; ``mseal`` is the error of a kernel that has no mseal, ``console`` says whether the machine had
    one to read, ``lost`` why it is incomplete.
    """

    schema_version: Literal[1] = 1
    release: str = ""
    seed: int
    programs: int = 0
    judged: int = 0
    steps: int = 0
    batches: int = 0
    exhaustive: int = 0
    exhaustive_at: str = ""
    programs_sha256: str = ""
    states: int = 0
    pairs: int = 0
    seconds: float = 0.0
    mseal: int = 0
    asked: dict[str, int] = {}
    well: tuple[str, ...] = ()
    findings: tuple[FindingRecord, ...] = ()
    recorded: dict[str, RecordedRecord] = {}
    unconfirmed: tuple[UnconfirmedRecord, ...] = ()
    console: bool = True
    lost: str = ""


def recorded_finding(finding: ExploreFinding) -> FindingRecord:
    """A finding as it is stored."""
    problem = finding.problem
    return FindingRecord(
        oracle=problem.oracle,
        operation=problem.operation,
        step=problem.step,
        child=problem.child,
        text=problem.text,
        clauses=problem.clauses,
        program=str(finding.program),
        found_as=str(finding.origin),
        company=tuple(map(str, finding.company)),
        console=finding.quote,
        cause=finding.cause,
    )


def record_of(outcome: Exploration) -> ExplorationRecord:
    """An outcome as it is stored."""
    return ExplorationRecord(
        release=outcome.release,
        seed=outcome.seed,
        programs=outcome.programs,
        judged=outcome.judged,
        steps=outcome.steps,
        batches=outcome.batches,
        exhaustive=outcome.exhausted,
        exhaustive_at=outcome.exhausted_at,
        programs_sha256=outcome.digest,
        states=outcome.states,
        pairs=outcome.pairs,
        seconds=round(outcome.seconds, 3),
        mseal=outcome.plan.mseal if outcome.plan else 0,
        asked=outcome.asked,
        well=outcome.well,
        findings=tuple(map(recorded_finding, outcome.findings)),
        recorded={
            what: RecordedRecord(times=count, program=str(example))
            for what, (count, example) in outcome.recorded.items()
        },
        unconfirmed=tuple(
            UnconfirmedRecord(
                oracle=problem.oracle, operation=problem.operation, text=problem.text, program=str(program)
            )
            for problem, program in outcome.unconfirmed
        ),
        console=outcome.console,
        lost=outcome.lost,
    )


def read_exploration(path: Path) -> ExplorationRecord:
    """Read ``exploration.json``, packed or not. Raises ``UsageError`` for a file that is not whole."""
    try:
        return ExplorationRecord.model_validate_json(read_stored(path))
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read: {problem}") from problem
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        raise UsageError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from problem


def json_of(record: ExplorationRecord) -> dict[str, Any]:
    """The same for a JSON writer."""
    return record.model_dump(mode="json")
