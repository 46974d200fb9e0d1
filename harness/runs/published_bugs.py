"""The published bugs of a run's kernels, and what the run saw of each. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.bugs.record import Bug, load_bugs
from harness.model.run_record import CellRecord
from harness.model.verdict import RuleResult
from harness.runs.cells import upstream_version
from harness.runs.model import RunDone

PUBLISHED = "affected, going by the version"
_NOTHING = "nothing: "


@dataclass(frozen=True)
class Published:
    """A bug whose published range has a kernel's version, and what this cell saw of it."""

    bug: Bug
    here: str

    @property
    def seen(self) -> str:
        """By what it is seen, and whether it was: ``seen here by rule X``."""
        if not self.here and self.bug.noticed.startswith(_NOTHING):
            return f"no test of ours sees it: {self.bug.noticed.removeprefix(_NOTHING)}"
        return self.here or f"seen by {self.bug.noticed}"

    @property
    def says(self) -> str:
        """``cve-2025-40040 (seen here by rule after-mergeable-unmergeable)``."""
        return f"{self.bug.id} ({self.seen})"


@dataclass(frozen=True)
class KernelBugs:
    """What the record says of a kernel; ``outside`` says why it does not cover the version, "" where it does."""

    version: str
    found: tuple[Published, ...]
    outside: str = ""

    @property
    def sentence(self) -> str:
        """In one line; "" where the record covers the version and has nothing of it."""
        if self.found:
            more = f"; there may be others: {self.outside}" if self.outside else ""
            return f"{PUBLISHED}: {', '.join(one.says for one in self.found)}{more}"
        return f"not known which published bugs it has: {self.outside}" if self.outside else ""


def bugs_of(version: str, statuses: Mapping[str, str]) -> KernelBugs:
    """What the record says of a version, and what the rules of its bugs, by their ``statuses``, said of the kernel: a
    distribution may have fixed its own."""
    record = load_bugs()
    found = tuple(Published(bug, _here(bug, statuses)) for bug in record.of(version))
    return KernelBugs(version, found, record.outside(version))


def bugs_of_cell(cell: CellRecord, results: Sequence[RuleResult]) -> KernelBugs:
    """The same of a cell's kernel."""
    return bugs_of(upstream_version(cell), {result.rule.id: result.status for result in results})


def _here(bug: Bug, statuses: Mapping[str, str]) -> str:
    """What the bug's rules said here; "" where it has none, or none was asked."""
    seeing = [name for name in bug.rules if statuses.get(name) in ("fail", "known")]
    keeping = [name for name in bug.rules if statuses.get(name) in ("pass", "fixed")]
    if seeing:
        return f"seen here by rule {', '.join(seeing)}"
    return f"not seen here by rule {', '.join(keeping)}, so it may be fixed" if keeping else ""


def published_bugs(done: RunDone) -> Mapping[str, KernelBugs]:
    """By cell, in the run's order. A cell whose kernel nobody could have is left out."""
    return {cell.id: bugs_of_cell(cell, done.results.get(cell.id, ())) for cell in done.record.cells if cell.kernel}


def by_bug(found: Mapping[str, KernelBugs]) -> list[tuple[Published, tuple[str, ...]]]:
    """The same turned round, for many cells: each bug with the cells that see, or do not see, it in one way."""
    cells: dict[tuple[str, str], tuple[Published, list[str]]] = {}
    for cell, bugs in found.items():
        for one in bugs.found:
            cells.setdefault((one.bug.id, one.here), (one, []))[1].append(cell)
    return [(one, tuple(ids)) for _, (one, ids) in sorted(cells.items())]


def bugs_json(bugs: KernelBugs) -> dict[str, Any]:
    """As plain data, as ``docs/reference/verdicts.schema.json`` says."""
    return {
        "version": bugs.version,
        "covered": bool(bugs.version) and not bugs.outside,
        "affected_by_published_range": [
            {"id": one.bug.id, "cve": one.bug.cve, "title": one.bug.title, "versions": one.bug.range, "seen": one.seen}
            for one in bugs.found
        ],
    }
