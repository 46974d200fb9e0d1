"""What both ``verdicts.json`` hold, as models; ``python -m harness.reports.schemas`` prints their schema from here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, RootModel, StringConstraints
from pydantic.json_schema import SkipJsonSchema

from harness.model.rule import Level, Outcome
from harness.model.run_record import CellState, Part, RunState
from harness.model.verdict import Follows, Kind, Status
from harness.names import LONGEST, VALID_NAME

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
RuleId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+([-./][a-z0-9]+)*$", max_length=LONGEST)]
"""Of a rule, or of a test of a foreign suite: `kselftest-mseal/mprotect-2`."""
Name = Annotated[str, Field(min_length=1), VALID_NAME]
Time = Annotated[str, StringConstraints(pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\+00:00)?$")]
Digest = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]
Divided = Annotated[str, StringConstraints(pattern=r"^[|.+-]+(>[|.+-]+)? [|.+-]+(>[|.+-]+)?$")]
Absent = SkipJsonSchema[None]


class KernelFactsPart(Part):
    """The kernel of a cell, as the guest told it."""

    name: Text
    release: str
    arch: Text
    page_size: Count
    sha256: Digest


class VerdictPart(Part):
    """What one probe showed of a rule."""

    model_config = ConfigDict(
        json_schema_extra={
            "$comment": "Only what passed or was observed may go without a reason; only known and fail have a kind.",
            "allOf": [
                {
                    "if": {"properties": {"status": {"enum": ["pass", "observed"]}}},
                    "else": {"properties": {"reason": {"minLength": 1}}},
                },
                {
                    "if": {"properties": {"status": {"const": "fail"}}},
                    "then": {"properties": {"kind": {"type": "string"}}},
                },
            ],
        }
    )
    probe: Text
    status: Status
    reason: str
    kind: Kind | None
    observed: str
    follows: Follows | None
    divided: Divided | Absent = None


class RulePart(Part):
    """A rule of the catalogue."""

    contract: str
    family: str
    level: Level
    outcome: Outcome
    statement: str


class ResultPart(Part):
    """What a rule came to on a cell, and how many of its probes came to each status."""

    status: Status
    kind: Kind | None
    reason: str
    follows: Follows | None
    probes: dict[Status, Count]


class JudgedPart(Part):
    """A rule with all of its verdicts."""

    rule: RuleId
    contract: str
    family: str
    level: Level
    outcome: Outcome
    statement: str
    status: Status
    kind: Kind | None
    reason: str
    follows: Follows | None
    counts: dict[Status, Count]
    verdicts: Annotated[tuple[VerdictPart, ...], Field(min_length=1)]


class CellVerdicts(Part):
    """``cells/CELL/verdicts.json``."""

    schema_version: Literal[1]
    run: Text
    cell: Name
    kernel: KernelFactsPart
    state: CellState
    reason: str
    rules: tuple[JudgedPart, ...]


class BugPart(Part):
    """A bug whose published range has a kernel's version, and by what it is seen."""

    id: Text
    cve: str
    title: Text
    versions: Text
    seen: Text


class BugsPart(Part):
    """What the record of bugs says of a kernel's version; ``covered`` says that nothing else is known of it."""

    version: str
    covered: bool
    affected_by_published_range: tuple[BugPart, ...]


class CellPart(Part):
    """A cell of the run."""

    cell: Name
    kernel: KernelFactsPart
    profile: str
    state: CellState
    reason: str
    published_bugs: BugsPart | Absent = None
    acceleration: Literal["", "kvm", "tcg", "none"]
    start: Literal["", "cold", "warm"] | Absent = None
    counts: dict[Status, Count]
    rules: dict[RuleId, ResultPart]


class ExamplePart(Part):
    """The smallest failing verdict of a cause."""

    rule: RuleId
    probe: Text
    reason: str
    observed: str


class CrashPart(Part):
    """What kernels reported of themselves, each mishap once: reports with the same stack have the same ``id``."""

    id: Text
    kind: Text
    title: Text
    fatal: bool
    where: str
    places: tuple[str, ...]
    cells: tuple[Text, ...]
    probes: tuple[str, ...]
    reports: Positive


class CausePart(Part):
    """What failing probes have in common. Each failing probe belongs to exactly one cause of its cell."""

    sentence: Text
    call: str
    kind: Kind | None
    where: str
    failed: Positive
    judged: Positive
    kinds: dict[str, Positive]
    rules: Annotated[tuple[RuleId, ...], Field(min_length=1)]
    probes: Annotated[tuple[str, ...], Field(min_length=1)]
    cells: Annotated[tuple[str, ...], Field(min_length=1)]
    example: ExamplePart
    commands: dict[str, Text]


class RunVerdicts(Part):
    """``verdicts.json`` of a run."""

    schema_version: Literal[1]
    run: Name
    state: RunState
    started: Time
    finished: Time
    sealmatrix: str
    payload: str
    payload_id: str
    catalogue_sha256: str
    exit_code: Literal[0, 1, 3, 130]
    counts: dict[Status, Count]
    rules: dict[RuleId, RulePart]
    causes: tuple[CausePart, ...] | Absent = None
    crashes: tuple[CrashPart, ...] | Absent = None
    cells: tuple[CellPart, ...]


class Verdicts(RootModel[RunVerdicts | CellVerdicts]):
    """Both verdicts.json of results/RUN: the run's own (it has cells) and each cell's (it has rules with verdicts)."""

    model_config = ConfigDict(title="sealmatrix verdicts, version 1")
