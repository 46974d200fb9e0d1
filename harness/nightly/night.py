"""A night, step by step. Each step can be broken off and done again: the next call goes on where the last one ended."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from math import inf
from pathlib import Path

from harness.compare.diff import standing
from harness.cost.model import DEFAULT_BY
from harness.cost.stored import stored_costs
from harness.errors import InfrastructureError, StoreError, UsageError
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
from harness.kernels.providers.request import Progress
from harness.kernels.resolve import provide
from harness.kernels.store import telling
from harness.matrix.model import CellSpec, Matrix
from harness.model.rule import Rule
from harness.model.run_record import CellRecord, read_run
from harness.model.verdict import EXIT_FAILED, EXIT_NO_ANSWER, EXIT_OK
from harness.nightly.against_last import SinceLast, contradictions, new_kernels, only_repeats, since_last
from harness.nightly.broken import COST, LOST_COVERAGE, NO_ANSWER, Broken, broken_since
from harness.nightly.cells import left_of, repeating, tonight, unsure
from harness.nightly.costs import CountedKernels, costs_since, still_costs
from harness.nightly.marks import NightRecord, nights, read_mark, write_mark
from harness.nightly.messages import messages
from harness.nightly.news import NightFacts, news
from harness.nightly.notify import Messenger
from harness.runs.cells import upstream_version
from harness.runs.finished_cells import FinishedCells
from harness.runs.judges import judged_by
from harness.runs.model import RunDone
from harness.runs.planning.compose import Composed
from harness.runs.repeats import first_id, repeat_of

SHARE = 0.05
_SAMPLE_HOURS = 20
"""A night that begins a little earlier than the one before has its sample all the same."""
Execute = Callable[[Composed], RunDone]
Shows = Callable[[Regression, str], bool | None]
BisectCulprit = Callable[[str, str], object]
"""Called with the id of a run and the time."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a night is to do. ``share`` of what is answered already is asked again, once a day or, with ``insist``, each
    time; ``budget`` are seconds after which no cell begins; ``everything`` asks all cells, whatever is answered;
    ``costs`` is the per cent by which a cost has to grow to be a regression."""

    selection: str
    share: float = SHARE
    insist: bool = False
    costs: float = DEFAULT_BY
    budget: float = inf
    everything: bool = False


@dataclass(frozen=True)
class Tonight:
    """A night before it begins. ``drawn`` is when its sample was drawn, "" where it has none to draw."""

    composed: Composed
    drawn: str = ""


@dataclass(frozen=True)
class NothingNew:
    """What comes of a night that would only repeat the last one, which is in ``folder``: no run is made."""

    folder: Path
    mark: NightRecord
    changed: Changed = field(default_factory=Changed)
    exit_code: int = EXIT_OK


@dataclass(frozen=True)
class Night:
    """A night that has come to its end."""

    done: RunDone
    mark: NightRecord
    since: SinceLast
    broken: tuple[Broken, ...]
    changed: Changed

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.done.folder

    @property
    def exit_code(self) -> int:
        """1 where something got worse, 3 where a cell gave no answer or an answer is in doubt, else 0: an old failure
        is no news. The first night has nothing to compare with, and is judged as a run."""
        if self.since.before is None:
            return self.done.exit_code
        if any(not one.unsteady for one in self.broken):
            return EXIT_FAILED
        unclean = any(not cell.clean for cell in self.done.record.cells)
        return EXIT_NO_ANSWER if unclean or self.mark.alarms or self.broken else EXIT_OK


@contextmanager
def alone(results: Path) -> Iterator[None]:
    """Hold the results folder for one night at a time. Raises ``UsageError`` while another one goes on."""
    with telling(results):
        results.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(results / "nightly.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UsageError(f"another nightly is running in {results}; wait for it, or give another --results") from None
    finally:
        os.close(descriptor)


def lock_new_builds(matrix: Matrix, specs: tuple[CellSpec, ...], say: Progress) -> tuple[str, ...]:
    """Look for builds that are newer than what is locked, and lock them. Returns remarks."""
    return provide(matrix, specs, refresh=True, update=True, progress=say).remarks


def broken_off(results: Path, wanted: Wanted) -> Path | None:
    """The night that was begun and not ended, if the newest one was."""
    newest = next(nights(results, wanted.selection), None)
    return newest[0] if newest and newest[1].state == "running" else None


def last_night(results: Path, wanted: Wanted, but: Path) -> Path | None:
    """The newest night that came to its end, before the one in ``but``."""
    return next(
        (f for f, mark in nights(results, wanted.selection) if mark.state == "done" and f.name < but.name), None
    )


def plan_night(wanted: Wanted, composed: Composed, now: str) -> Tonight:
    """What of a night's cells runs, and what is taken. ``now`` is UTC, ISO 8601."""
    share = wanted.share if wanted.insist or _sample_due(composed.plan.folder.parent, wanted, now) else 0.0
    ready = tonight(composed, everything=wanted.everything, share=share)
    return Tonight(ready, now if share and ready.plan.taken else "")


def _sample_due(results: Path, wanted: Wanted, now: str) -> bool:
    drawn = next((mark.drawn for _, mark in nights(results, wanted.selection) if mark.drawn), "")
    return not drawn or datetime.fromisoformat(now) - datetime.fromisoformat(drawn) >= timedelta(hours=_SAMPLE_HOURS)


def nothing_new(
    wanted: Wanted, planned: Tonight, began: float, now: str, search: BisectCulprit = lambda run, now: None
) -> NothingNew | None:
    """Where a night would only repeat the last one, say so, and write down there that it was looked at again.

    A search that an earlier night began is gone on with. ``began`` is of the monotonic clock.
    """
    plan = planned.composed.plan
    last = last_night(plan.folder.parent, wanted, plan.folder)
    if last is None or read_mark(last).judged_by != judged_by() or not only_repeats(plan, last):
        return None
    try:
        before, _ = changes_of(last.parent, last.name)
    except UsageError:
        return None  # the history is gone, and a whole night makes one
    search(last.name, now)
    changed, living = changes_of(last.parent, last.name)
    changed = Changed(bisected=tuple(one for one in changed.bisected if one not in before.bisected))
    seconds = time.monotonic() - began
    mark = read_mark(last).model_copy(update={"checked": now, **({"drawn": now} if planned.drawn else {})})
    write_mark(last, mark)
    cells = len(plan.taken)
    facts = NightFacts("", last.name, cells, cells, 0, 0, 0, seconds, changed=changed, known=living)
    update = {"same": True, "cells": cells, "taken": cells, "seconds": round(seconds, 1), "news": tuple(news(facts))}
    return NothingNew(last, mark.model_copy(update=update), changed)


def begin(wanted: Wanted, planned: Tonight) -> Composed:
    """Make the folder of a night of its own, and say that it is one."""
    ready = planned.composed
    with telling(ready.plan.folder):
        ready.plan.folder.mkdir(parents=True, exist_ok=True)
    write_mark(ready.plan.folder, NightRecord(state="running", selection=wanted.selection, drawn=planned.drawn))
    return ready


def go_on(wanted: Wanted, composed: Composed, folder: Path) -> Composed | None:
    """What is left of a night that was broken off; None where all its cells have verdicts and its record says so.

    Raises ``UsageError`` where that is no longer the same experiment.
    """
    record = read_run(folder)
    if record.state == "finished" and all(
        cell.state not in ("waiting", "running", "interrupted") for cell in record.cells
    ):
        return None
    return left_of(composed, folder, record, everything=wanted.everything)


def give_up(wanted: Wanted, folder: Path, why: str) -> None:
    """Say that a night cannot be ended. Its finished cells are kept, and taken by the next one."""
    write_mark(folder, NightRecord(state="given up", selection=wanted.selection, reason=why))


def observe(wanted: Wanted, ready: Composed, whole: Composed, execute: Execute) -> RunDone:
    """Run what is to run, and what failed once more. ``whole`` has all cells of the night."""
    until = time.monotonic() + wanted.budget
    done = execute(_until(ready, until))
    return _repeat(done, whole, until, execute)


def observe_again(wanted: Wanted, done: RunDone, whole: Composed, execute: Execute) -> RunDone:
    """The second half alone: what failed once more."""
    return _repeat(done, whole, time.monotonic() + wanted.budget, execute)


def _repeat(done: RunDone, whole: Composed, until: float, execute: Execute) -> RunDone:
    names = unsure(done, whole) if done.record.state == "finished" and time.monotonic() < until else ()
    return execute(_until(repeating(whole, done, names), until)) if names else done


def _until(composed: Composed, until: float) -> Composed:
    return replace(composed, plan=replace(composed.plan, until=until))


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
    begun = read_mark(done.folder).model_copy(update={"before": since.before.id if since.before else ""})
    write_mark(done.folder, begun)  # what looks for where something began asks for the night before
    counted = stored_costs(results)
    broken = (*broken_since(done, since), *costs_since(done.record, since.before, counted, wanted.costs))
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
    )
    begun = read_mark(done.folder)
    mark = NightRecord(
        state="running",
        selection=wanted.selection,
        before=facts.before,
        same=bool(facts.before) and not facts.anything and facts.taken == facts.cells and not facts.sampled,
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
    )
    return Night(done, mark, since, broken, changed)


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
    """Whether a cell of a run shows a regression; None where the cell is not in the run, or gave no whole answer.
    ``costs`` are those that were counted, and ``by`` the per cent by which one has to grow."""
    cells = {cell.id: cell for cell in done.record.cells}

    def shows(one: Regression, name: str) -> bool | None:
        cell = cells.get(name)
        if cell is None or cell.state in ("waiting", "running", "interrupted"):
            return None
        if one.kind == COST:
            return still_costs(done.folder.parent, one, cell, costs, by)
        if one.kind == NO_ANSWER:
            return not cell.clean
        if not cell.clean:
            return None
        verdicts = [v for r in done.results[name] if r.rule.id in one.rules for v in r.verdicts]
        if one.kind == LOST_COVERAGE:
            return any(v.probe == one.probe and standing(v) in ("skip", "none") for v in verdicts)
        return any(standing(v) == "broken" for v in verdicts)

    return shows


def notify(ended: Night | NothingNew, ways: Sequence[Messenger], page: str) -> tuple[str, ...]:
    """Send what is new, and write down after each message that it went: a night done again sends the rest.

    Returns what could not be sent, and why; that is tried again by nobody, and is in no way the kernels' fault.
    """
    alarms = ended.mark.alarms if isinstance(ended, Night) else ()
    failed = []
    for way in ways:
        for message in messages(ended.changed, alarms, ended.folder.name, page):
            mark = read_mark(ended.folder)
            if f"{way.name} {message.key}" in mark.sent:
                continue
            try:
                way.send(message, ended.folder.name)
            except InfrastructureError as problem:
                failed.append(f"not sent: {message.subject}: {problem}")
                continue
            sent = (f"{way.name} {key}" for key in (message.key, message.tells) if key)
            write_mark(ended.folder, mark.model_copy(update={"sent": (*mark.sent, *sent)}))
    return tuple(failed)


def end(night: Night) -> None:
    """Mark the night as ended: from here on it is the last one. Raises ``StoreError``."""
    sent = read_mark(night.folder).sent
    write_mark(night.folder, night.mark.model_copy(update={"state": "done", "sent": sent}))
