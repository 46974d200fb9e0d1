"""What a session proved: which mutants got away, what noticed the others, which rules never noticed anything. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.model.rule import Rule
from harness.mutants.model import KernelSeries, Mutant
from harness.mutants.records import SCHEMA, STATES, MutantRecord, MutantState, MutationSession

EXIT_OK, EXIT_SURVIVED, EXIT_NO_ANSWER = 0, 1, 3
_IDLE_LEVELS = ("required", "permitted")


@dataclass(frozen=True)
class ReportLine:
    """One mutant and its fate; ``record`` is None for one that was not tried.

    ``as_meant``: a rule of a clause the mutant was made to break is among those that noticed. ``equivalent``: why no
    suite can notice, or "".
    """

    mutant: Mutant
    record: MutantRecord | None
    as_meant: bool = False
    equivalent: str = ""

    @property
    def state(self) -> str:
        """The record's state; "equivalent" for a survivor that no suite can notice, "untried" without a record."""
        if self.record is None:
            return "untried"
        if self.record.state in ("survived", "identical") and self.equivalent:
            return "equivalent"
        return self.record.state


@dataclass(frozen=True)
class Report:
    """A session, mutant by mutant.

    ``kills`` counts for each rule (or test) the mutants it noticed, and the clauses. ``idle`` are the ``required``
    and ``permitted`` rules that passed on the unchanged kernel and noticed none; ``unanswered`` those that do not
    apply to it; ``unasked`` the rules that were not to be asked. They are empty for suites that are not ours.
    """

    session: MutationSession
    lines: tuple[ReportLine, ...]
    kills: Mapping[str, int]
    idle: tuple[str, ...]
    unanswered: tuple[str, ...]
    unasked: tuple[str, ...] = ()
    alone: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    together: int = 0

    @property
    def counts(self) -> Mapping[str, int]:
        """Mutants per state, worst first, zeros left out."""
        counted = Counter(line.state for line in self.lines)
        return {state: counted[state] for state in (*STATES, "equivalent", "untried") if counted[state]}

    @property
    def exit_code(self) -> int:
        """1 when a mutant got away, 3 when one had no fair trial, else 0."""
        if "survived" in self.counts:
            return EXIT_SURVIVED
        bad: tuple[MutantState | str, ...] = ("no-answer", "not-built", "identical")
        return EXIT_NO_ANSWER if any(state in self.counts for state in bad) else EXIT_OK

    def to_json(self) -> dict[str, Any]:
        """The whole report for programs."""
        return {
            "schema_version": SCHEMA,
            "session": asdict(self.session),
            "counts": dict(self.counts),
            "mutants": [_line_json(line) for line in self.lines],
            "kills": dict(self.kills),
            "idle": list(self.idle),
            "unanswered": list(self.unanswered),
            "unasked": list(self.unasked),
            "noticed_by_one": {name: list(mutants) for name, mutants in self.alone.items()},
            "noticed_by_several": self.together,
        }


def make_report(
    session: MutationSession, mutants: Sequence[Mutant], records: Mapping[str, MutantRecord], rules: Mapping[str, Rule]
) -> Report:
    """Put a session's records together. ``rules`` is empty for a suite that is not ours."""
    lines = tuple(_line(mutant, records.get(mutant.id), rules, session.series) for mutant in mutants)
    kills: Counter[str] = Counter()
    for line in lines:
        if line.record is not None:
            kills.update(line.record.by.keys())
    said = session.pristine
    passed = set(said.passed)
    asked = {*rules} if said.whole else {*said.passed, *said.failed, *said.skipped}
    judged = [rule for rule in rules.values() if rule.level in _IDLE_LEVELS and rule.id in asked]
    return Report(
        session=session,
        lines=lines,
        kills=dict(kills.most_common()),
        idle=tuple(rule.id for rule in judged if rule.id in passed and not kills[rule.id]),
        unanswered=tuple(rule.id for rule in judged if rule.id not in passed),
        alone=noticed_alone(records[m.id] for m in mutants if m.id in records),
        unasked=tuple(rule for rule in rules if rule not in asked),
        together=sum(len(records[m.id].by) > 1 for m in mutants if m.id in records),
    )


def noticed_alone(records: Iterable[MutantRecord]) -> Mapping[str, tuple[str, ...]]:
    """By what noticed it: the mutants that nothing else notices, of those of which everything was asked."""
    alone: dict[str, tuple[str, ...]] = {}
    for record in records:
        if record.whole and record.state == "killed" and len(record.by) == 1:
            (name,) = record.by
            alone[name] = (*alone.get(name, ()), record.mutant)
    return alone


def _line(mutant: Mutant, record: MutantRecord | None, rules: Mapping[str, Rule], series: KernelSeries) -> ReportLine:
    noticed = [rules[name] for name in (record.by if record else ()) if name in rules]
    clauses = {clause for rule in noticed for clause in rule.contract.split()}
    return ReportLine(mutant, record, bool(clauses & set(mutant.breaks)), mutant.why_equivalent(series))


def _line_json(line: ReportLine) -> dict[str, Any]:
    record = line.record
    return {
        "mutant": line.mutant.id,
        "kind": line.mutant.kind,
        "what": line.mutant.what,
        "breaks": list(line.mutant.breaks),
        "state": line.state,
        "as_meant": line.as_meant,
        "by": dict(record.by) if record else {},
        "lost": list(record.lost) if record else [],
        "reason": (record.reason if record else "") or (line.equivalent if line.state == "equivalent" else ""),
        "seconds": dict(record.seconds) if record else {},
    }
