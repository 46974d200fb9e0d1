"""What broke since the last night, by cause: the findings of which a regression is made. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.compare.diff import Pair, ProbeChange, standing
from harness.model.verdict import Verdict
from harness.nightly.against_last import SinceLast
from harness.runs.cells import together
from harness.runs.model import RunDone
from harness.runs.repeats import first_id, repeat_of
from harness.verdicts.causes import Cause, causes

NO_ANSWER = "no answer"
LOST_COVERAGE = "lost coverage"
COST = "cost"


@dataclass(frozen=True)
class Broken:
    """One cause that was not there last night.

    ``headline`` is what it is known by from night to night, ``sentence`` says it whole, ``where`` names the cells.
    ``rule`` and ``probe`` show it most plainly, "" where a cell as a whole gave no answer. ``good`` and ``bad`` are the
    releases of the first of its cells, last night and now. ``confirmed``: a second guest has said the same;
    ``unsteady``: a second guest has said otherwise.
    """

    kind: str
    headline: str
    sentence: str
    where: str
    cells: tuple[str, ...]
    rules: tuple[str, ...]
    rule: str
    probe: str
    good: str
    bad: str
    confirmed: bool
    unsteady: bool


@dataclass(frozen=True)
class _Piece:
    """The part of a cause that one cell shows."""

    kind: str
    headline: str
    sentence: str
    rules: tuple[str, ...]
    rule: str
    probe: str
    pair: Pair
    unsteady: bool


def broken_since(done: RunDone, since: SinceLast) -> tuple[Broken, ...]:
    """What got worse from the last night to this one, gravest first; nothing where there was no night before."""
    pairs = since.comparison.pairs if since.comparison else ()
    groups: dict[tuple[str, str, tuple[str, ...]], list[_Piece]] = {}
    for piece in (piece for pair in pairs for piece in _pieces(done, pair)):
        groups.setdefault((piece.kind, piece.headline, piece.rules if piece.kind == LOST_COVERAGE else ()), []).append(
            piece
        )
    return tuple(_broken(done, group) for group in groups.values())


def _pieces(done: RunDone, pair: Pair) -> Iterable[_Piece]:
    if pair.lost:
        reason, unsteady = pair.after.trouble, _unsteady_cell(done, pair.after.cell)
        yield _Piece(NO_ANSWER, _first_words(reason), f"incomplete: {reason}", (), "", "", pair, unsteady)
    changes = {(rule.rule.id, probe.probe): probe for rule in pair.rules for probe in rule.probes}
    failing = {name: c for name, c in changes.items() if c.change in ("introduced", "unstable") and _fails(c.after)}
    if failing:
        for cause in causes(pair.after.worst.values()):
            mine = [failing[key] for v in cause.verdicts if (key := (v.rule, v.probe)) in failing]
            if mine:
                yield _cause_piece(cause, mine, pair)
    elif not pair.after.trouble:
        yield from _uncovered(pair, changes)


def _cause_piece(cause: Cause, mine: list[ProbeChange], pair: Pair) -> _Piece:
    first = next((v for v in cause.verdicts if any(c.probe == v.probe for c in mine)), cause.first)
    unsteady = all(change.change == "unstable" for change in mine)
    return _Piece(
        str(cause.kind or ""),
        cause.headline,
        cause.sentence,
        tuple(cause.rules),
        first.rule,
        first.probe,
        pair,
        unsteady,
    )


def _uncovered(pair: Pair, changes: Mapping[tuple[str, str], ProbeChange]) -> Iterable[_Piece]:
    """Rules of a clean cell that were answered last night and now do not apply: together where they say why alike."""
    reasons: dict[str, list[tuple[str, str]]] = {}
    for (rule, probe), change in changes.items():
        if change.change == "lost coverage" and change.after is not None:
            reasons.setdefault(change.after.reason, []).append((rule, probe))
    for reason, lost in reasons.items():
        rules = tuple(dict.fromkeys(rule for rule, _ in lost))
        sentence = f"no longer answered: {reason or 'no reason was given'}"
        yield _Piece(LOST_COVERAGE, _first_words(reason), sentence, rules, *lost[0], pair, False)


def _fails(verdict: Verdict | None) -> bool:
    return standing(verdict) == "broken"


def _unsteady_cell(done: RunDone, cell: str) -> bool:
    """Whether a second guest gave all its answers where the first one did not, or the other way round."""
    tries = [one for one in done.record.cells if first_id(one.id) == cell and one.state != "interrupted"]
    return len({one.whole for one in tries}) > 1


def _first_words(reason: str) -> str:
    """What a reason is known by: numbers in it are of one boot only."""
    return "".join("#" if char.isdigit() else char for char in reason.partition(" (")[0])[:120]


def _broken(done: RunDone, group: list[_Piece]) -> Broken:
    first = group[0]
    cells = tuple(dict.fromkeys(piece.pair.after.cell for piece in group))
    twice = {first_id(cell.id) for cell in done.record.cells if repeat_of(cell.id) > 1 and cell.state != "interrupted"}
    steady = [piece for piece in group if not piece.unsteady]
    before, after = first.pair.before, first.pair.after
    return Broken(
        kind=first.kind,
        headline=first.headline,
        sentence=first.sentence,
        where=together(done.record, cells),
        cells=cells,
        rules=tuple(dict.fromkeys(rule for piece in group for rule in piece.rules)),
        rule=first.rule,
        probe=first.probe,
        good=before.version or before.kernel,
        bad=after.version or after.kernel,
        confirmed=any(piece.pair.after.cell in twice for piece in steady) or len(steady) > 1,
        unsteady=not steady,
    )
