"""A night, step by step. Each step can be broken off and done again: the next call goes on where the last one ended."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from harness.cost.stored import costs_digest, stored_costs
from harness.errors import InfrastructureError, UsageError
from harness.history.regressions import Changed
from harness.kernels.providers.request import Progress
from harness.kernels.resolve import provide
from harness.kernels.store import telling
from harness.matrix.model import CellSpec, Matrix
from harness.model.run_record import read_run
from harness.nightly.against_last import only_repeats
from harness.nightly.cells import left_of, repeating, tonight, unsure
from harness.nightly.conclude import BisectCulprit, changes_of, last_night
from harness.nightly.marks import NightRecord, nights, read_mark, write_mark
from harness.nightly.messages import messages
from harness.nightly.model import Night, NothingNew, Tonight, Wanted
from harness.nightly.news import NightFacts, news
from harness.nightly.notify import Messenger
from harness.runs.judges import judged_by
from harness.runs.model import RunDone
from harness.runs.planning.compose import Composed

_SAMPLE_HOURS = 20
"""A night that begins a little earlier than the one before has its sample all the same."""
Execute = Callable[[Composed], RunDone]


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
    """Where a night would only repeat the last one, say so, and write down there that it was looked at again. It would
    not where costs were counted since: a kernel that was counted late may have grown.

    A search that an earlier night began is gone on with. ``began`` is of the monotonic clock.
    """
    plan = planned.composed.plan
    last = last_night(plan.folder.parent, wanted, plan.folder)
    if last is None or not only_repeats(plan, last):
        return None
    said = read_mark(last)
    if said.judged_by != judged_by() or (said.costs or "") != costs_digest(stored_costs(last.parent)):
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
