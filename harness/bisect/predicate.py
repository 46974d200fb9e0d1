"""What makes a kernel good or bad: the rule's verdict, what one probe was seen to do, or that it did something else.

Pure. A boot is kept as what was seen (``SeenRule``) and is judged good or bad afterwards, because for an open rule the
good end says what good is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from harness.bisect.search import Answer
from harness.errors import UsageError, nearest
from harness.model.rule import Check, Rule, Test
from harness.model.verdict import RuleResult, Status
from harness.observations.model import Half, Observation, errno_name, signal_name
from harness.verdicts.causes import causes

_CONDITION = re.compile(r"(?:(control|sealed)\.)?([a-z]+)(!?=)([^\s=]+)\Z")
_FIELDS = ("errno", "result", "signal", "said")
# A known difference is a rule that is not kept; one that is fixed is kept.
_ANSWERS: dict[Status, Answer] = {"fail": "bad", "known": "bad", "pass": "good", "fixed": "good"}


@dataclass(frozen=True)
class Condition:
    """``--observation``: a field of one half of one probe's observation, and what it must (not) be to be bad."""

    half: Literal["control", "sealed"]
    field: str
    equal: bool
    value: str

    def of(self, seen: Observation) -> Half:
        """The half it looks at."""
        return seen.sealed if self.half == "sealed" else seen.control

    def holds(self, seen: Observation) -> bool | None:
        """Whether the observation is as the condition says; None when the half never came to what is asked about."""
        half = self.of(seen)
        if not _answered(half, self.field):
            return None
        return (_value(half, self.field) == self.value) == self.equal

    def __str__(self) -> str:
        return f"{self.half}.{self.field}{'' if self.equal else '!'}={self.value}"


def parse_condition(text: str) -> Condition:
    """Read ``errno=EPERM``, ``control.result!=0``. Raises ``UsageError``."""
    match = _CONDITION.match(text)
    if match is None:
        raise UsageError(f"--observation {text}: write FIELD=VALUE or FIELD!=VALUE, such as errno=EPERM")
    if match[2] not in _FIELDS:
        raise UsageError(f"--observation {text}: an observation has no {match[2]!r}{nearest(match[2], _FIELDS)}")
    return Condition("control" if match[1] == "control" else "sealed", match[2], match[3] == "=", match[4])


def _answered(half: Half, field: str) -> bool:
    """Whether a half can say something of a field. Where no result was written down the operation did not return, and
    an errno of 0 is nobody's; a signal may have come of the operation itself, but not before it, and one that ended
    a half out of time was ours."""
    returned = half.stage in ("after", "done") and half.result is not None
    if field == "signal":
        return not half.timeout and (returned or (half.stage == "operation" and half.step is None))
    return returned


def _value(half: Half, field: str) -> str:
    match field:
        case "errno":
            return errno_name(half.errno)
        case "signal":
            return signal_name(half.signal) if half.signal is not None else "0"
        case "result":
            return str(half.result)
        case _:
            return half.said


@dataclass(frozen=True)
class SeenRule:
    """What one boot showed of the rule. ``behaviour`` has what each probe was seen to do, ``holds`` whether the
    condition was met (None without one, or where the operation it is about was not seen). ``causes`` are the sentences
    of what its failures have in common. ``amount`` is what was counted, where something was."""

    status: Status
    kind: str
    reason: str
    behaviour: tuple[tuple[str, str], ...]
    holds: bool | None = None
    causes: tuple[str, ...] = ()
    amount: float | None = None

    @property
    def told(self) -> str:
        """What was seen, in one line: the worst probe's, or where all did the same, that."""
        if self.status in ("fail", "known", "error", "miss", "skip"):
            return " ".join(filter(None, (self.status, self.kind))) + (f": {self.reason}" if self.reason else "")
        answers = list(dict.fromkeys(text for _, text in self.behaviour))
        more = f" (and {len(answers) - 1} other answers of {len(self.behaviour)} probes)" if len(answers) > 1 else ""
        return f"{self.status}: {answers[0]}{more}"

    def differing(self, other: SeenRule) -> list[tuple[str, str, str]]:
        """The probes that did something else than in ``other``: (id, what they did there, what they do here)."""
        there = dict(other.behaviour)
        return [(probe, there.get(probe, "not planned"), t) for probe, t in self.behaviour if there.get(probe) != t]


def see(result: RuleResult, condition: Condition | None, observation: Observation | None) -> SeenRule:
    """Condense what a cell answered to one rule. ``observation`` is of the probe that the condition is about."""
    behaviour = tuple((v.probe, v.observed if v.status not in ("skip", "miss") else v.status) for v in result.verdicts)
    holds = condition.holds(observation) if condition is not None and observation is not None else None
    reason = result.worst.reason
    if condition is not None and observation is not None and holds is None:
        reason = reason or f"{condition.half} half: {condition.of(observation).said}"
    sentences = tuple(cause.sentence for cause in causes([result]))
    return SeenRule(result.status, result.kind or "", reason, behaviour, holds, sentences)


@dataclass(frozen=True)
class BisectQuestion:
    """What is asked of each kernel. ``probes`` are the ids it is narrowed to.

    ``by`` is the per cent by which an amount has to exceed the good end's to be bad (or, where it is negative, to fall
    short of it); None where nothing is counted.
    """

    rule: Check
    probes: tuple[str, ...]
    condition: Condition | None = None
    by: float | None = None

    @property
    def compares(self) -> bool:
        """Whether good is what the good end does: nothing is promised, and no condition says what bad is."""
        return self.condition is None and self.rule.outcome in ("open", "uncovered")

    def answer(self, seen: SeenRule, reference: SeenRule | None) -> Answer:
        """Say whether what was seen is good or bad. ``reference`` is what the good end showed, where that decides."""
        if self.condition is not None and seen.status not in ("error", "miss"):
            return "untestable" if seen.holds is None else "bad" if seen.holds else "good"
        if seen.status in ("error", "miss", "skip"):
            return "untestable"
        if seen.status in _ANSWERS:
            return _ANSWERS[seen.status]
        if self.by is not None and seen.amount is None:
            return "untestable"
        if reference is None:
            return "good"
        if self.by is not None and seen.amount is not None and reference.amount is not None:
            limit = reference.amount * (1 + self.by / 100)
            return "bad" if (seen.amount >= limit if self.by > 0 else seen.amount <= limit) else "good"
        return "good" if seen.behaviour == reference.behaviour else "bad"

    def says(self) -> str:
        """What bad means, for a person."""
        if self.condition is not None:
            return f"bad means {self.condition} of {self.probes[0]}"
        if self.by is not None:
            than = "more" if self.by >= 0 else "less"
            return f"bad means {abs(self.by):g} % {than} instructions than on the good end"
        if self.compares:
            return "bad means that the observation differs from the good end"
        if isinstance(self.rule, Test):
            return "bad means that the test fails"
        return "bad means that the kernel breaks the rule"


def make_question(rule: Rule, probes: Sequence[str], wanted: str | None, condition: Condition | None) -> BisectQuestion:
    """Narrow a rule to the probes it has in this payload. Raises ``UsageError`` when none, or too many, are left."""
    chosen = [probe for probe in probes if wanted is None or fnmatchcase(probe, wanted)]
    if not chosen:
        near = nearest(wanted or "*", probes, listed_by=f"sealmatrix rules show {rule.id}")
        raise UsageError(f"--probe {wanted}: no probe of {rule.id} matches{near}")
    if condition is not None and len(chosen) != 1:
        some = ", ".join(chosen[:3])
        raise UsageError(
            f"--observation looks at one probe and {rule.id} has {len(chosen)}: name one with --probe ({some}, ...)"
        )
    return BisectQuestion(rule, tuple(chosen), condition)
