"""The end of a night: compare it with the last one, open and close regressions, and say what is new."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from harness.compare.diff import standing
from harness.cost.stored import costs_digest, stored_costs
from harness.errors import StoreError, some_of
from harness.history.costs import record_costs
from harness.history.database import database_url, reading, writing
from harness.history.record import import_folders
from harness.history.regressions import (
    LIVING,
    Cells,
    Changed,
    Regression,
    SeenCause,
    changed_in,
    record_night,
    regressions,
)
from harness.model.rule import Rule
from harness.model.run_record import CellRecord
from harness.nightly.against_last import SinceLast, contradictions, new_kernels, since_last
from harness.nightly.broken import COST, LOST_COVERAGE, NO_ANSWER, Broken, broken_since
from harness.nightly.costs import (
    CostQuestion,
    CostsSince,
    CountedKernels,
    costs_since,
    earlier_nights,
    still_costs,
)
from harness.nightly.marks import NightRecord, ended_nights, read_mark, write_mark
from harness.nightly.model import Night, Wanted
from harness.nightly.news import NightFacts, news
from harness.runs.causes import shared_causes
from harness.runs.cells import upstream_version
from harness.runs.finished_cells import FinishedCells
from harness.runs.judges import judged_by
from harness.runs.model import RunDone
from harness.runs.repeats import first_id, repeat_of

Shows = Callable[[Regression, str], bool | None]
BisectCulprit = Callable[[str, str], object]
"""Called with the id of a run and the time."""


def last_night(results: Path, wanted: Wanted, but: Path) -> Path | None:
    """The newest night that came to its end, before the one in ``but``."""
    return next(ended_nights(results, wanted.selection, but.name), None)


def conclude(
    wanted: Wanted,
    done: RunDone,
    catalogue: Mapping[str, Rule],
    seconds: float,
    now: str,
    search: BisectCulprit = lambda run, now: None,
) -> Night:
    """Compare, open and close regressions, and say what is new. The run's reports are written before; it is in the
    history afterwards. ``search`` looks for where regressions began, and writes down what it finds."""
    results = done.folder.parent
    last = last_night(results, wanted, done.folder)
    since = since_last(done, last, catalogue)
    counted = stored_costs(results)
    costs = _costs(wanted, done, last, since, counted)
    update = {"before": since.before.id if since.before else "", "grown": costs.grown}
    # What looks for where something began asks for the night before, and for the kernels that were compared.
    write_mark(done.folder, read_mark(done.folder).model_copy(update=update))
    broken = (*broken_since(done, since), *costs.broken)
    twice = [first_id(cell.id) for cell in done.record.cells if repeat_of(cell.id) > 1]
    firsts = {cell.id: cell for cell in done.record.cells if repeat_of(cell.id) == 1}
    sampled = tuple(name for name in twice if firsts[name].taken_from)
    doubts = contradictions(done, sampled)
    _keep(done, firsts.values())
    # An answer that a second guest did not give is not kept: the next night would take it, and compare with it.
    for name in contradictions(done, twice):
        FinishedCells().drop(firsts[name].key)
    used = {(cell.kernel.sha256, cell.arch) for cell in firsts.values() if cell.kernel}
    with writing(database_url(results)) as connection:
        record_costs(connection, (counted[key] for key in sorted(used & counted.keys())))
    _regressions(done, broken, shows_in(done, counted, wanted.costs), now)
    search(done.record.id, now)
    changed, living = changes_of(results, done.record.id)
    facts = NightFacts(
        run=done.record.id,
        before=since.before.id if since.before else "",
        cells=len(firsts),
        taken=sum(1 for cell in firsts.values() if cell.taken_from),
        ran=sum(1 for cell in firsts.values() if not cell.taken_from),
        sampled=len(sampled),
        repeated=len(twice) - len(sampled),
        seconds=seconds,
        kernels=new_kernels(since.before, done.record),
        alarms=tuple(f"{name}: {told[0]}" + _more(told) for name, told in doubts.items()),
        broken=broken,
        changed=changed,
        unclean=tuple(f"{cell.id}: {cell.trouble}" for cell in done.record.cells if not cell.clean),
        added=since.added if since.before else (),
        gone=since.gone,
        known=living - len(changed.opened),
        failing=() if since.before else _failing(done, firsts),
        costs=(*undecided(done, counted, wanted.costs), *costs.missing),
    )
    begun = read_mark(done.folder)
    mark = NightRecord(
        state="running",
        selection=wanted.selection,
        before=facts.before,
        same=bool(facts.before)
        and not (facts.anything or facts.costs)
        and facts.taken == facts.cells
        and not facts.sampled,
        seconds=round(seconds, 1),
        cells=facts.cells,
        taken=facts.taken,
        sampled=sampled,
        repeated=tuple(name for name in twice if name not in sampled),
        kernels=facts.kernels if facts.before else (),
        alarms=facts.alarms,
        regressions=tuple(
            dict.fromkeys(
                one.number for one in (*changed.opened, *changed.confirmed, *changed.bisected, *changed.fixed)
            )
        ),
        news=tuple(news(facts)),
        sent=begun.sent,
        drawn=begun.drawn,
        judged_by=judged_by(),
        costs=costs_digest(counted),
        grown=costs.grown,
    )
    return Night(done, mark, since, broken, changed)


def _costs(wanted: Wanted, done: RunDone, last: Path | None, since: SinceLast, counted: CountedKernels) -> CostsSince:
    """What became of the costs since the last night."""
    mark = read_mark(last) if last else None
    asked = CostQuestion(
        costs=counted,
        by=wanted.costs,
        told=mark.grown if mark else (),
        counted_since=mark is not None and mark.costs is not None and mark.costs != costs_digest(counted),
    )
    earlier = earlier_nights(done.folder.parent, wanted.selection, done.folder.name)
    return costs_since(done.record, since.before, earlier, asked)


def undecided(done: RunDone, costs: CountedKernels, by: float) -> tuple[str, ...]:
    """Regressions of costs that no cell shows and that have not ended, because a number is missing: in words."""
    cells = {cell.id: cell for cell in done.record.cells}
    with reading(database_url(done.folder.parent)) as connection:
        living = [one for one in regressions(connection) if one.kind == COST and one.state in LIVING]
    found = []
    for one in living:
        told = [still_costs(done.folder.parent, one, cells[name], costs, by) for name in one.cells if name in cells]
        if not any(still.shows for still in told) and (why := next((s.why for s in told if s.shows is None), "")):
            found.append(f"not known whether {one.name} ({one.sentence}) still holds: {why}")
    return tuple(found)


def _keep(done: RunDone, cells: Iterable[CellRecord]) -> None:
    """Keep answers that are not kept yet: a night that was killed may have had no time to."""
    for cell in cells:
        with suppress(StoreError):
            FinishedCells().keep(cell.key, done.record.id, cell, done.folder / "cells" / cell.id)


def _more(told: tuple[str, ...]) -> str:
    return f" (and {len(told) - 1} more)" if len(told) > 1 else ""


def _regressions(done: RunDone, broken: tuple[Broken, ...], shows: Shows, now: str) -> None:
    """Bring the regressions up to date. The run is put into the history in the same go."""
    url = database_url(done.folder.parent)
    import_folders(url, [done.folder])
    seen = [
        SeenCause(**{f.name: getattr(one, f.name) for f in fields(SeenCause)}) for one in broken if not one.unsteady
    ]
    versions = {cell.id: upstream_version(cell) for cell in done.record.cells}
    twice = {first_id(cell.id) for cell in done.record.cells if repeat_of(cell.id) > 1}
    with writing(url) as connection:
        record_night(connection, seen, Cells(shows, versions, twice), run=done.record.id, time=now)


def changes_of(results: Path, run: str) -> tuple[Changed, int]:
    """What became of the regressions in a run, and how many have not ended. Raises ``UsageError`` without a history."""
    with reading(database_url(results)) as connection:
        known = regressions(connection)
    return changed_in(known, run), sum(1 for one in known if one.state in LIVING)


def shows_in(done: RunDone, costs: CountedKernels, by: float) -> Shows:
    """Whether a cell of a run shows a regression; None where the cell is not in the run, or its answer is incomplete.
    ``costs`` are those that were counted, and ``by`` the per cent by which one has to grow."""
    cells = {cell.id: cell for cell in done.record.cells}

    def shows(one: Regression, name: str) -> bool | None:
        cell = cells.get(name)
        if cell is None or cell.state in ("waiting", "running", "interrupted"):
            return None
        if one.kind == COST:
            return still_costs(done.folder.parent, one, cell, costs, by).shows
        if one.kind == NO_ANSWER:
            return not cell.clean
        if not cell.clean:
            return None
        verdicts = [v for r in done.results[name] if r.rule.id in one.rules for v in r.verdicts]
        if one.kind == LOST_COVERAGE:
            return any(v.probe == one.probe and standing(v) in ("skip", "none") for v in verdicts)
        return any(standing(v) == "broken" for v in verdicts)

    return shows


def _failing(done: RunDone, firsts: Collection[str]) -> tuple[str, ...]:
    """What fails, by cause, gravest first."""
    return tuple(f"{one.cause.sentence}, on {some_of(one.cells)}" for one in shared_causes(done, firsts))
