"""What ``compare --json`` prints, as models; ``python -m harness.reports.schemas`` prints their schema from here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from harness.compare.comparison import What
from harness.compare.diff import Change
from harness.model.documents import Count, Positive
from harness.model.rule import Level
from harness.model.run_record import Part
from harness.model.verdict import Kind, Status

Counts = dict[Change, Count]
TwoDivisions = Annotated[tuple[str, ...], Field(min_length=2, max_length=2)]


class SidePart(Part):
    """A cell that is compared, with its repeats."""

    run: str
    cell: str
    kernel: str
    version: str
    arch: str
    profile: str
    flavour: str
    page_size: Count
    trouble: str
    repeats: Positive


class ResultOfSide(Part):
    """What a rule came to on one side."""

    status: Status
    kind: Kind | None
    reason: str


class VerdictOfSide(ResultOfSide):
    """What one probe showed on one side."""

    observed: str


class ProbePart(Part):
    """A probe whose verdict differs."""

    probe: str
    change: Change
    says: str
    since: str
    before: VerdictOfSide | None
    after: VerdictOfSide | None
    varied: tuple[str, ...]
    failed: Count


class RuleOfPair(Part):
    """One rule on both sides."""

    rule: str
    contract: str
    family: str
    level: Level
    change: Change
    says: str
    before: ResultOfSide | None
    after: ResultOfSide | None
    counts: Counts
    probes: tuple[ProbePart, ...]


class PairPart(Part):
    """Two cells that are compared. ``divided``: probes after which mappings begin elsewhere."""

    before: SidePart
    after: SidePart
    regressed: bool
    counts: Counts
    rules: tuple[RuleOfPair, ...]
    divided: dict[str, TwoDivisions] | SkipJsonSchema[None] = None


class StretchPart(Part):
    """Neighbouring versions on which a rule came to the same."""

    first: str
    last: str
    first_version: str
    last_version: str
    kernels: Positive
    began: Change | None
    result: ResultOfSide | None


class SeriesPart(Part):
    """Cells in the order of their versions."""

    sides: tuple[SidePart, ...]
    rules: dict[str, tuple[StretchPart, ...]]


class ComparisonDocument(Part):
    """What ``compare --json`` prints: every pair has all of its rules, and of each rule the probes that changed."""

    model_config = ConfigDict(title="sealmatrix compare --json, schema version 1")

    schema_version: Literal[1]
    what: What
    exit_code: Literal[0, 1, 3]
    counts: Counts
    remarks: tuple[str, ...]
    only_before: tuple[SidePart, ...]
    only_after: tuple[SidePart, ...]
    left_out: tuple[SidePart, ...]
    pairs: tuple[PairPart, ...]
    series: tuple[SeriesPart, ...]
