"""Nights of scripted guests: the steps of `sealmatrix nightly`, with a few probes and no machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.errors import UsageError
from harness.guests.model import Guest
from harness.model.run_record import KernelRecord
from harness.nightly.conclude import BisectCulprit, conclude
from harness.nightly.model import Night, NothingNew, Wanted
from harness.nightly.night import (
    alone,
    begin,
    broken_off,
    end,
    give_up,
    go_on,
    nothing_new,
    observe,
    observe_again,
    plan_night,
)
from harness.reports.write import write_reports
from harness.runs.execution.run import execute
from harness.runs.model import Cell
from harness.runs.packing import pack_run
from harness.runs.planning.compose import Composed
from harness.runs.run_store import load_run
from tests.fakes import FakeGuest
from tests.support.scripted_runs import END, PLAN, RULES, WHOLE, cell, run_plan, seen

WANTED = Wanted(selection="nightly", share=0.0)
NOW = "2026-11-28T02:00:00+00:00"
BROKEN = (PLAN, seen(0).replace(b'"errno": 1', b'"errno": 0').replace(b'"result": -1', b'"result": 0'), seen(1), END)
"""The munmap of sealed memory succeeds, or says so."""
LOST = (PLAN, seen(0))


@dataclass
class Machines:
    """Guests by cell: ``scripts`` says what each of them says, one script a boot, the last for all further boots.

    ``log`` has a line for each boot, also of processes that were killed since.
    """

    log: Path
    scripts: Mapping[str, Sequence[Sequence[object]]] = field(default_factory=dict)
    slow: float = 0.0
    kernels: Mapping[str, KernelRecord] = field(default_factory=dict)

    @property
    def booted(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []

    def make(self, one: Cell, folder: Path) -> Guest:
        told = self.scripts.get(one.id, self.scripts.get(one.id.partition("~")[0], [WHOLE]))
        number = min(sum(name.partition("~")[0] == one.id.partition("~")[0] for name in self.booted), len(told) - 1)
        with self.log.open("a") as log:
            log.write(f"{one.id}\n")
        return FakeGuest(script=told[number], console=folder / "console.log")  # type: ignore[arg-type]


def composed(folder: Path, keys: Mapping[str, str], machines: Machines) -> Composed:
    """A run of one cell for each of ``keys``, which say under what a cell is kept."""
    plan = replace(run_plan(folder, [cell(name) for name in keys]), keys=keys)
    told = tuple(
        one.model_copy(update={"key": keys[one.id], "kernel": machines.kernels.get(one.id)})
        for one in plan.record.cells
    )
    update = {"cells": told, "options": {"probes": ("munmap/*",)}}  # a tuple, as the command gives it
    return Composed(replace(plan, record=plan.record.model_copy(update=update)), machines.make)


def night(
    results: Path,
    name: str,
    keys: Mapping[str, str],
    machines: Machines,
    wanted: Wanted = WANTED,
    after: Callable[[str], None] = lambda step: None,
    now: str = NOW,
    search: BisectCulprit = lambda run, now: None,
) -> Night:
    """A whole night, as the command makes it; ``after`` is told of each step. One that was broken off is ended first,
    whatever ``name`` is."""
    ended = night_or_nothing(results, name, keys, machines, wanted, after, now, search)
    assert isinstance(ended, Night), "nothing is new"
    return ended


def nothing(
    results: Path, name: str, keys: Mapping[str, str], machines: Machines, wanted: Wanted = WANTED
) -> NothingNew:
    """A night in which nothing is new."""
    ended = night_or_nothing(results, name, keys, machines, wanted)
    assert isinstance(ended, NothingNew), "something is new"
    return ended


def night_or_nothing(
    results: Path,
    name: str,
    keys: Mapping[str, str],
    machines: Machines,
    wanted: Wanted = WANTED,
    after: Callable[[str], None] = lambda step: None,
    now: str = NOW,
    search: BisectCulprit = lambda run, now: None,
) -> Night | NothingNew:
    """What comes of a night."""

    def carry_out(ready: Composed) -> object:
        done = execute(ready.plan, ready.make_guest, lambda told: None)
        after("run")
        return done

    run: Callable[[Composed], object] = carry_out
    with alone(results):
        folder = broken_off(results, wanted)
        whole = composed(results / name, keys, machines)
        done = None
        if folder is not None:
            try:
                rest = go_on(wanted, whole, folder)
                done = (
                    observe(wanted, rest, whole, run)  # type: ignore[arg-type]
                    if rest is not None
                    else observe_again(wanted, load_run(folder, RULES), whole, run)  # type: ignore[arg-type]
                )
            except UsageError as problem:
                give_up(wanted, folder, str(problem))
        if done is None:
            planned = plan_night(wanted, whole, now)
            if (same := nothing_new(wanted, planned, time.monotonic(), now, search)) is not None:
                return same
            ready = begin(wanted, planned)
            after("begun")
            done = observe(wanted, ready, whole, run)  # type: ignore[arg-type]
        after("observed")
        write_reports(done)
        after("reports")
        found = conclude(wanted, done, RULES, 1.0, f"2026-11-28T00:00:00+00:00 {name}", search)
        after("concluded")
        pack_run(done.folder)
        after("packed")
        end(found)
        return found
