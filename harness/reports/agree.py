"""Where our rules and foreign tests agree, and both evidences where they do not."""

from __future__ import annotations

from collections.abc import Iterator

from harness.model.verdict import EXIT_FAILED, EXIT_NO_ANSWER, EXIT_OK, RuleResult
from harness.runs.cells import label, plural
from harness.runs.model import RunDone
from harness.suites.agree import Agreement, Promise, agreements, says


def agree_lines(done: RunDone, promises: tuple[Promise, ...]) -> tuple[list[str], int]:
    """The report as lines, and the exit code: 1 for a disagreement, 3 where nothing could be compared."""
    lines: list[str] = []
    compared = apart = 0
    for cell in done.record.cells:
        found = agreements(promises, done.results.get(cell.id, ()))
        here = [one for one in found if one.compared]
        wrong = [one for one in here if not one.agrees]
        compared, apart = compared + len(here), apart + len(wrong)
        silent = f"; {len(found) - len(here)} could not be compared" if len(found) > len(here) else ""
        lines.append(f"{label(cell)}: {len(here) - len(wrong)} of {plural(len(here), 'promise')} agree{silent}")
        for one in wrong:
            lines += [f"  {line}" for line in _disagreement(one)]
    lines.append(
        f"{plural(len(done.record.cells), 'cell')}: {plural(compared, 'promise')} compared, {apart} with a disagreement"
    )
    if not compared:
        lines.append("nothing was compared: run a suite and the rules together (sealmatrix run --suite S -r '*')")
    return lines, EXIT_FAILED if apart else EXIT_OK if compared else EXIT_NO_ANSWER


def _disagreement(one: Agreement) -> Iterator[str]:
    yield f"{one.promise}: our rules say {says(one.ours)}, the foreign tests {says(one.theirs)}"
    for side, results in (("ours", one.ours), ("theirs", one.theirs)):
        for result in results[:3]:
            yield f"  {side}: {_evidence(result)}"


def _evidence(result: RuleResult) -> str:
    worst = result.worst
    at = f" in {worst.probe}" if worst.probe != result.rule.id else ""
    said = "; ".join(filter(None, (worst.reason, worst.observed)))
    return f"{result.rule.id} is {result.status}{at}" + (f": {said}" if said else "")
