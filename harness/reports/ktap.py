"""A run as KTAP, version 1: a subtest for each cell, a result line for each rule.

    KTAP version 1
    1..1
      KTAP version 1
      # Subtest: debian-6.12.x86_64
      1..2
      ok 1 munmap-blocked
      # munmap/anon-rw/exact: fail bypass: succeeded over sealed memory
      not ok 2 mprotect-blocked
    not ok 1 debian-6.12.x86_64

``known`` is ``XFAIL`` and ``skip`` is ``SKIP``, which count as ok; ``error`` and ``miss`` are ``ERROR``. All that a
kernel or guest said goes into diagnostic lines, where nothing in it can be taken for a result.

A cell that is not clean (its guest was lost, its kernel crashed while no probe ran) has one line more, ``cell``, which
is an ``ERROR``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.model.run_record import CellRecord
from harness.model.verdict import RuleResult, Status, Verdict
from harness.names import escaped
from harness.runs.model import RunDone

_OK: frozenset[Status] = frozenset({"pass", "observed", "fixed", "known", "skip"})
_DIRECTIVES = {"skip": "SKIP", "known": "XFAIL", "error": "ERROR", "miss": "ERROR"}
_SAID: frozenset[Status] = frozenset({"fail", "error", "fixed"})
# Probes told one by one under a rule.
_PROBES = 20


def ktap(done: RunDone) -> str:
    """The whole document."""
    lines = ["KTAP version 1", f"1..{len(done.record.cells)}"]
    for number, cell in enumerate(done.record.cells, 1):
        results = done.results.get(cell.id, ())
        lines += [f"  {line}" for line in _cell(cell, results)]
        good = cell.clean and all(result.status in _OK for result in results)
        lines.append(f"{'ok' if good else 'not ok'} {number} {_name(cell.id)}")
    return "\n".join(lines) + "\n"


def _cell(cell: CellRecord, results: Sequence[RuleResult]) -> Iterator[str]:
    yield "KTAP version 1"
    yield f"# Subtest: {_name(cell.id)}"
    if cell.reason:
        yield f"# {cell.state}: {_safe(cell.reason)}"
    for crash in cell.crashes:
        yield f"# console: {_safe(crash.title)}"
    yield f"1..{len(results) + (not cell.clean)}"
    for number, result in enumerate(results, 1):
        yield from _rule(number, result)
    if not cell.clean:
        yield f"not ok {len(results) + 1} cell # ERROR {_safe(cell.trouble)}"


def _rule(number: int, result: RuleResult) -> Iterator[str]:
    told = [verdict for verdict in result.verdicts if verdict.status in _SAID]
    for verdict in told[:_PROBES]:
        yield f"# {_safe(_says(verdict))}"
    if len(told) > _PROBES:
        yield f"# and {len(told) - _PROBES} more probes"
    directive = _DIRECTIVES.get(result.status, "")
    why = f" # {directive} {_safe(result.worst.reason)}".rstrip() if directive else ""
    yield f"{'ok' if result.status in _OK else 'not ok'} {number} {_name(result.rule.id)}{why}"


def _says(verdict: Verdict) -> str:
    what = f"{verdict.status} {verdict.kind}" if verdict.kind else verdict.status
    return f"{verdict.probe}: {what}: {verdict.reason}"


def _safe(text: str) -> str:
    """One line without control characters."""
    return " ".join("".join(c if c.isprintable() else escaped(c) for c in text).split())


def _name(text: str) -> str:
    """A test's name: in it a ``#`` would begin a directive."""
    return _safe(text).replace("#", "_")
