"""What became of the mechanical mutants, by function and by operator. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from harness.mutants.mechanical.model import PARTS
from harness.mutants.mechanical.reviewed import Review, Reviewed
from harness.mutants.records import MutantRecord
from harness.mutants.report import noticed_alone

EXIT_OK, EXIT_SURVIVED, EXIT_NO_ANSWER = 0, 1, 3
FATES = ("rule", "no boot", "recorded", "equivalent", "survived", "no answer")
"""Of a kernel that differs. ``recorded``: what is recorded and not judged is another, or something no longer runs."""
UNCOUNTED = {"identical": "same code", "duplicate": "same as another", "not-built": "does not compile"}


@dataclass(frozen=True)
class ScoreLine:
    """Mutants that have something in common, by fate."""

    name: str
    counts: Mapping[str, int]

    @property
    def counted(self) -> int:
        """All but those that nothing can notice."""
        return sum(number for fate, number in self.counts.items() if fate in FATES and fate != "equivalent")

    @property
    def noticed(self) -> int:
        """Those that a rule, the boot or a difference shows."""
        return sum(self.counts.get(fate, 0) for fate in ("rule", "no boot", "recorded"))

    @property
    def score(self) -> float | None:
        """The share of ``counted`` that is noticed, in percent; None where there are none."""
        return 100 * self.noticed / self.counted if self.counted else None


@dataclass(frozen=True)
class Score:
    """A run of mechanical mutants. ``gaps`` survived and were not reviewed, ``wrong`` were reviewed as equivalent and
    are noticed all the same. ``alone`` maps a rule to the mutants that no other notices, of those that every rule was
    asked about; ``together`` is how many two or more notice. ``seconds`` is the median of a mutant that was tried."""

    total: ScoreLine
    functions: tuple[ScoreLine, ...]
    operators: tuple[ScoreLine, ...]
    parts: tuple[ScoreLine, ...]
    gaps: tuple[MutantRecord, ...]
    wrong: tuple[MutantRecord, ...]
    unanswered: tuple[MutantRecord, ...]
    alone: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    together: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """1 when a mutant got away or a review is wrong, 3 when one had no fair trial or none was built, else 0."""
        if self.gaps or self.wrong:
            return EXIT_SURVIVED
        kernels = set(self.total.counts) - {"not-built", "inapplicable"}
        return EXIT_NO_ANSWER if self.unanswered or not kernels else EXIT_OK

    def to_json(self) -> dict[str, Any]:
        """The whole score for programs."""

        def lines(of: Iterable[ScoreLine]) -> list[dict[str, Any]]:
            return [{"name": line.name, "counts": dict(line.counts), "score": line.score} for line in of]

        return {
            "total": lines([self.total])[0],
            "functions": lines(self.functions),
            "operators": lines(self.operators),
            "parts": lines(self.parts),
            "gaps": [record.mutant for record in self.gaps],
            "wrongly_reviewed": [record.mutant for record in self.wrong],
            "no_answer": [record.mutant for record in self.unanswered],
            "noticed_by_one_rule": {rule: list(mutants) for rule, mutants in self.alone.items()},
            "noticed_by_several": self.together,
            "seconds": dict(self.seconds),
        }


def fate_of(record: MutantRecord, reviewed: Reviewed) -> str:
    """One of ``FATES``, or of ``UNCOUNTED`` or "inapplicable" for what is not counted."""
    match record.state:
        case "killed" if "boot" in record.by:
            return "no boot"
        case "killed" if not record.by or "observed otherwise" in record.by.values():
            return "recorded"
        case "killed":
            return "rule"
        case "survived":
            return "equivalent" if why_equivalent(record, reviewed) else "survived"
        case "no-answer":
            return "no answer"
        case state:
            return state


def why_equivalent(record: MutantRecord, reviewed: Reviewed) -> str:
    """What a review says of the mutant; "" without one."""
    about = record.about
    words = [str(about.get(name, "")) for name in ("function", "operator", "was", "becomes")]
    return reviewed.why(Review(words[0], words[1], words[2], words[3], int(about.get("nth", 1))))


def score(records: Sequence[MutantRecord], reviewed: Reviewed) -> Score:
    """Put the records of mechanical mutants together."""
    fates = {record.mutant: fate_of(record, reviewed) for record in records}

    def lines(name: Callable[[MutantRecord], str]) -> tuple[ScoreLine, ...]:
        names = dict.fromkeys(name(record) for record in records)
        return tuple(_line(n, [fates[r.mutant] for r in records if name(r) == n]) for n in names)

    by_function = lines(lambda r: f"{r.about['file']}: {r.about['function']}")
    parts = lines(lambda r: str(r.about["part"]))
    tried = [record for record in records if record.seconds]
    return Score(
        total=_line("all", list(fates.values())),
        functions=by_function,
        operators=tuple(sorted(lines(lambda r: str(r.about["operator"])), key=lambda line: line.name)),
        parts=tuple(sorted(parts, key=lambda line: [*PARTS, line.name].index(line.name))),
        gaps=tuple(record for record in records if fates[record.mutant] == "survived"),
        wrong=tuple(r for r in records if r.state == "killed" and why_equivalent(r, reviewed)),
        unanswered=tuple(record for record in records if fates[record.mutant] == "no answer"),
        alone=noticed_alone(records),
        together=sum(len(r.by) > 1 for r in tried if r.state == "killed"),
        seconds={
            name: round(median(values), 2)
            for name, values in {
                "build": [record.seconds.get("build", 0.0) for record in tried],
                "suite": [record.seconds.get("suite", 0.0) for record in tried],
                "mutant": [sum(record.seconds.values()) for record in tried],
            }.items()
            if values
        },
    )


def _line(name: str, fates: Sequence[str]) -> ScoreLine:
    return ScoreLine(name, {fate: fates.count(fate) for fate in (*FATES, *UNCOUNTED, "inapplicable") if fate in fates})
