"""The nouns of a qualification: what is judged, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from harness.compare.diff import Change, Pair, Side
from harness.model.rule import Rule
from harness.qualify.costs import CostPair
from harness.qualify.policy import Excuse, Policy, Waiver

QualifiedAs = Literal["qualified", "qualified with waivers", "not qualified"]
Met = Literal["met", "waived", "not met"]
Use = Literal["used", "stale", "expired", "not needed"]


@dataclass(frozen=True)
class Deviation:
    """Something the policy does not accept. ``what`` is what would have to be excused, ``waiver`` what excuses it.

    ``configuration`` says what the rule needs, where all there is to it is that the kernel was configured otherwise.
    """

    what: Excuse
    cell: str
    rule: str
    says: str
    waiver: Waiver | None = None
    evidence: tuple[str, ...] = ()
    configuration: str = ""


@dataclass(frozen=True)
class PolicyCheck:
    """One demand of the policy and how it came out."""

    title: str
    met: Met
    says: str
    deviations: tuple[Deviation, ...] = ()


@dataclass(frozen=True)
class WaiverUse:
    """What became of a waiver. ``cells`` are those of the candidate it speaks for."""

    waiver: Waiver
    use: Use
    cells: tuple[str, ...]


@dataclass(frozen=True)
class AllowedUse:
    """A difference that the policy expects."""

    cell: str
    rule: str
    change: Change
    says: str
    reason: str


@dataclass(frozen=True)
class QualificationInput:
    """What is to be judged, and the catalogue's ``rules``: one that was not asked was not kept.

    ``unfinished`` says, by cell, why a cell of the candidate did not finish; ``cost_rows`` are all costs that can
    be measured.
    """

    candidate: tuple[Side, ...]
    pairs: tuple[Pair, ...]
    unfinished: Mapping[str, str]
    rules: tuple[Rule, ...]
    costs: tuple[CostPair, ...] = ()
    cost_rows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Qualification:
    """The verdict and everything it rests on. ``known`` and ``outside`` are told, and decide nothing."""

    verdict: QualifiedAs
    policy: Policy
    today: date
    checks: tuple[PolicyCheck, ...]
    waivers: tuple[WaiverUse, ...]
    allowed: tuple[AllowedUse, ...]
    known: tuple[str, ...]
    outside: tuple[str, ...]
