"""``sealmatrix nightly``: one command for cron, systemd or CI."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from math import inf
from pathlib import Path

import click
from rich.console import Console

from harness.cli import options as shared
from harness.cli.announce import hush
from harness.cli.cost import count_kernels, counted_profile
from harness.cli.going_on import telling_how_to_go_on
from harness.cli.progress import progress
from harness.cli.remarks import tell_remarks
from harness.cli.run import preparing
from harness.cost.measure import cost_rows
from harness.cost.stored import FOLDER, stored_costs
from harness.errors import InfrastructureError, Interrupted, UsageError
from harness.guests.accel import AccelWanted
from harness.history.database import database_url, reading
from harness.matrix.load import default_path, load_matrix
from harness.matrix.model import Matrix
from harness.matrix.plan import asked_of, plan_cells
from harness.nightly.bisecting import Searching, search
from harness.nightly.conclude import BisectCulprit, conclude
from harness.nightly.costs import earlier_kernels, earlier_nights, unmeasured
from harness.nightly.marks import NightRecord, write_mark
from harness.nightly.model import SHARE, Night, NothingNew, Wanted
from harness.nightly.night import (
    Execute,
    alone,
    begin,
    broken_off,
    end,
    give_up,
    go_on,
    lock_new_builds,
    nothing_new,
    notify,
    observe,
    observe_again,
    plan_night,
)
from harness.nightly.notify import channels
from harness.processes.children import doing
from harness.reports.junit import PAGES
from harness.reports.site import build_site
from harness.reports.style import Ink
from harness.reports.write import write_page, write_reports
from harness.rules.load import load_catalogue
from harness.runs.execution.run import execute
from harness.runs.model import RunDone
from harness.runs.packing import pack_run
from harness.runs.planning.compose import Composed, Options, compose_matrix
from harness.runs.programs import reproduce
from harness.runs.run_store import load_run
from harness.secret_urls import masked_words

_UNITS = {"s": 1, "m": 60, "h": 3600}


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """``90s``, ``10m``, ``2h``; seconds without a unit."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, int | float):
            return float(value)
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", str(value))
        if not found:
            self.fail(f"{value!r} is not a duration; write 90s, 10m or 2h", param, ctx)
        return float(found[1]) * _UNITS[found[2] or "s"]


@click.command()
@click.option("-s", "--selection", default="nightly", show_default=True, metavar="NAME", help="The selection to run.")
@click.option("--all", "everything", is_flag=True, help="Run every cell, also those that are answered already.")
@click.option(
    "--sample",
    type=click.FloatRange(0, 1),
    help=f"Share of the answered cells to run again now, to check what was kept [default: {SHARE}, once a day].",
)
@click.option("--budget", type=Duration(), metavar="TIME", help="Begin no cell after this time: 90m, 2h.")
@click.option(
    "--bisect",
    "searching",
    type=Duration(),
    metavar="TIME",
    help="Search for where confirmed regressions began, for at most this time: 10m.",
)
@click.option("--cost", "counting", is_flag=True, help="Also count what system calls cost on kernels that are new.")
@click.option("--site", type=click.Path(path_type=Path), metavar="DIR", help="Also write the pages of all runs there.")
@shared.JOBS
@shared.ACCEL
@shared.SCALE
@shared.OFFLINE
@shared.MATRIX
@shared.results()
@shared.QUIET
def nightly(
    selection: str,
    everything: bool,
    sample: float | None,
    budget: float | None,
    searching: float | None,
    counting: bool,
    site: Path | None,
    jobs: int | None,
    accel: AccelWanted,
    scale: float,
    offline: bool,
    path: Path | None,
    results: Path,
    quiet: bool,
) -> int:
    """Lock the newest builds, run the cells that have no answer yet, and say what changed since the last night.

    \b
    sealmatrix nightly                         once a night, from cron, systemd or CI
    sealmatrix nightly --budget 2h --bisect 10m --site public
    sealmatrix nightly --all                   run every cell again
    sealmatrix show nightly                    the last night again; nightly~1 is the one before
    sealmatrix compare nightly~1 nightly

    A cell whose kernel, payload, machine and QEMU have answered before is not run: its answers are taken and judged by
    today's rules. Once a day a sample of them is run all the same, and a difference is an alarm. A cell that fails is
    run once more in a fresh guest. Where everything is answered and the last night says all of it, no run is made. A
    night that was killed is continued by the same command. Exit status: 0 nothing got worse, 1 something did, 2 usage,
    3 a kernel gave no answer or a stored answer is in doubt, 130 interrupted.
    """
    aside = Console(stderr=True)
    hush(quiet)
    ways = channels()
    matrix = load_matrix(path or default_path())
    specs, asked = plan_cells(matrix, selection=selection), asked_of(matrix, selection)
    wanted = Wanted(
        selection=selection,
        share=SHARE if sample is None else sample,
        insist=sample is not None,
        everything=everything,
        budget=budget or inf,
    )
    options = Options(
        results,
        ("sealmatrix", *masked_words(sys.argv[1:])),
        probes=asked.probes,
        jobs=jobs,
        acceleration=accel,
        offline=offline,
        scale=scale,
        crosscheck=asked.crosscheck,
        explore=asked.explore,
        seed=shared.todays_seed(),
    )
    began = time.monotonic()
    uncounted: list[str] = []
    # What would refuse the night in its end refuses it before anything boots.
    stored_costs(results)
    if counting:
        counted_profile(matrix)

    def carry_out(composed: Composed) -> RunDone:
        going_on = telling_how_to_go_on(composed.plan.folder)
        with going_on, progress(aside, quiet, [cell.id for cell in composed.plan.cells]) as on_progress:
            done = execute(composed.plan, composed.make_guest, on_progress)
        if done.record.state == "interrupted":
            raise KeyboardInterrupt
        return done

    with alone(results):
        with preparing(aside, quiet=quiet) as say:
            folder = broken_off(results, wanted)
            if folder is None and not offline:
                lock_new_builds(matrix, specs, say)
            whole = compose_matrix(options, matrix, specs, say)
        tell_remarks(aside, whole.remarks)
        steps = NightSteps(
            carry_out,
            _counting(matrix, options, selection, aside, uncounted.extend, quiet=quiet)
            if counting
            else lambda whole: None,
            _search(options, matrix, searching, aside, quiet=quiet),
        )
        with _telling_how_to_go_on():
            done = _rest(wanted, whole, folder, carry_out, aside) if folder else None
            ended = _night(wanted, whole, done, began, steps)
            unsent = notify(ended, ways, _page(ended.folder))
            if isinstance(ended, Night):
                end(ended)
    for line in (*uncounted, *unsent):
        aside.print(f"sealmatrix: {line}", highlight=False, markup=False, soft_wrap=True)
    _tell(ended.mark, ended.folder, aside)
    if site is not None:
        with reading(database_url(results)) as connection:
            build_site(connection, site, load_catalogue(), 200)
    return ended.exit_code or (InfrastructureError.exit_code if unsent or uncounted else 0)


@contextmanager
def _telling_how_to_go_on() -> Iterator[None]:
    """Say with an interrupt that nothing of the night is lost, whatever it was doing."""
    try:
        yield
    except (KeyboardInterrupt, Interrupted) as asked:
        what = doing(asked) if isinstance(asked, KeyboardInterrupt) else ""
        raise Interrupted(f"interrupted{what}; the same command continues this night") from asked


@dataclass(frozen=True)
class NightSteps:
    """What a night does with machines: run cells, count costs, search for where regressions began."""

    execute: Execute
    count: Callable[[Composed], None]
    search: BisectCulprit


def _night(
    wanted: Wanted, whole: Composed, done: RunDone | None, began: float, steps: NightSteps
) -> Night | NothingNew:
    """A night up to its messages; ``done`` is the run of one that was broken off."""
    steps.count(whole)  # a kernel that is counted late may have grown, so that the night has something to tell
    if done is None:
        planned = plan_night(wanted, whole, _now())
        if (same := nothing_new(wanted, planned, began, _now(), steps.search)) is not None:
            return same
        done = observe(wanted, begin(wanted, planned), whole, steps.execute)
    write_reports(done, reproduce, page=False)
    night = conclude(wanted, done, load_catalogue(), time.monotonic() - began, _now(), steps.search)
    write_mark(done.folder, night.mark)
    write_page(done, reproduce)  # it begins with what is new
    pack_run(done.folder)
    return night


def _counting(
    matrix: Matrix,
    options: Options,
    selection: str,
    aside: Console,
    lost: Callable[[Iterable[str]], None],
    *,
    quiet: bool,
) -> Callable[[Composed], None]:
    """What counts the costs of a night's kernels that were not counted whole, beside those of the kernels that their
    cells had before; ``lost`` is told of those that could not be counted."""

    def count(whole: Composed) -> None:
        known = stored_costs(options.results)
        if not (new := unmeasured(whole.every, known, cost_rows())):
            return
        folder = options.results / FOLDER / whole.plan.folder.name
        nights = earlier_nights(options.results, selection, folder.name)
        olds = earlier_kernels(nights, {cell: key for key, (cell, _) in new.items()}, known)
        pairs = [
            (kernel, known[olds[cell].kernel.sha256, kernel.arch] if cell in olds else None)
            for cell, kernel in new.values()
        ]
        lost(count_kernels(matrix, pairs, folder, scale=options.scale, aside=aside, quiet=quiet))

    return count


def _search(options: Options, matrix: Matrix, seconds: float | None, aside: Console, *, quiet: bool) -> BisectCulprit:
    """The search for where regressions began; none where it is given no time."""
    if not seconds:
        return lambda run, now: None

    def say(text: str) -> None:
        if not quiet:
            aside.print(text, highlight=False, markup=False, soft_wrap=True)

    how = Searching(
        results=options.results,
        url=database_url(options.results),
        matrix=matrix,
        seconds=seconds,
        offline=options.offline,
        acceleration=options.acceleration,
        scale=options.scale,
        say=say,
    )
    return partial(search, how)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _page(folder: Path) -> str:
    """Where a person reads more."""
    site = os.environ.get(PAGES, "").rstrip("/")
    return f"{site}/runs/{folder.name}/report.html" if site else str(folder / "report.html")


def _rest(wanted: Wanted, whole: Composed, folder: Path, carry_out: Execute, aside: Console) -> RunDone | None:
    """End the night that was broken off; None where that is no longer possible."""
    try:
        rest = go_on(wanted, whole, folder)
        if rest is not None:
            return observe(wanted, rest, whole, carry_out)
        return observe_again(wanted, load_run(folder, load_catalogue()), whole, carry_out)
    except UsageError as problem:
        give_up(wanted, folder, str(problem))
        told = f"note: the night {folder.name} was broken off and cannot be continued: {problem}; a new one begins"
        aside.print(told, highlight=False, markup=False, soft_wrap=True)
        return None


def _tell(mark: NightRecord, folder: Path, aside: Console) -> None:
    ink = Ink.of(aside)
    for line in mark.news:
        click.echo(ink.safe(line))
    click.echo(str(folder / "report.html"))
