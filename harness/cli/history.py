"""``sealmatrix history``: what all the runs say together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.cli import options as shared
from harness.cost.stored import stored_costs
from harness.history.costs import cost_history, record_costs
from harness.history.database import database_url, reading, shown, writing
from harness.history.queries import Point, RuleHistory, flaky, rule_history, runs, slowest
from harness.history.record import Imported, import_folders
from harness.model.verdict import STATUSES
from harness.reports.style import Ink, print_table, screen
from harness.runs.run_store import run_folders

SCHEMA = 1
# Runs of a rule that are drawn in one line.
_DRAWN = 60
# The columns that are folded where a terminal is too narrow. The others are short, and cut off if they are not folded.
_FOLDED = ("rule", "cell", "kernel", "release", "answers", "rules")


def where(command: shared.ClickCommand) -> shared.ClickCommand:
    """The options every question shares."""
    command = shared.RUNS(command)
    return click.option(
        "--database",
        metavar="URL",
        help="An SQLite file or postgresql://… [default: SEALMATRIX_HISTORY, else history.sqlite in the results].",
    )(command)


_as_json = shared.JSON_TABLE


@click.group()
def history() -> None:
    """Show all runs over time. Every `sealmatrix run` is recorded when it ends.

    \b
    sealmatrix history runs                   the newest runs
    sealmatrix history rule munmap-blocked    one rule, cell by cell, over time
    sealmatrix history flaky                  rules that changed although nothing else did
    sealmatrix history slowest                the cells that take longest
    sealmatrix history cost munmap/8          what a system call costs, along the versions
    sealmatrix history rebuild                build the history again from the results folder
    """


@history.command("runs")
@click.option("-n", "limit", type=click.IntRange(1), default=30, show_default=True, help="How many of the newest.")
@where
@_as_json
def list_runs(limit: int, results: Path, database: str | None, as_json: bool) -> None:
    """List the newest runs, oldest first."""
    with reading(database_url(results, database)) as connection:
        found = runs(connection, limit)
    if as_json:
        _json("runs", [asdict(run) for run in found])
        return
    table = _table("run", "started", "state", "exit", "cells", "rules")
    for run in found:
        rules = ", ".join(f"{run.counts[status]} {status}" for status in STATUSES if run.counts.get(status))
        _row(table, run.id, run.started[:16].replace("T", " "), run.state, str(run.exit_code), run.cells_told, rules)
    print_table(screen(), table)


@history.command("rule")
@click.argument("rule_id", metavar="RULE")
@click.option("--cell", "word", default="", metavar="TEXT", help="Only cells whose id contains this.")
@where
@_as_json
def show_rule(rule_id: str, word: str, results: Path, database: str | None, as_json: bool) -> None:
    """Show one rule over time: a line for each cell, a mark for each run, the newest on the right."""
    with reading(database_url(results, database)) as connection:
        found = rule_history(connection, rule_id)
    points = [point for point in found.points if word in point.cell]
    if as_json:
        _json("rule", {**asdict(found), "points": [asdict(point) for point in points]})
        return
    _print_rule(Console(highlight=False, markup=False, soft_wrap=True), found, points)


def _print_rule(console: Console, found: RuleHistory, points: Sequence[Point]) -> None:
    ink = Ink.of(console)
    console.print(ink.safe(f"{found.rule} ({found.contract}): {found.statement}"))
    order = list(dict.fromkeys(point.run for point in points))[-_DRAWN:]
    console.print(f"{len(order)} runs, {order[0]} to {order[-1]}" if order else "no run")
    cells: dict[str, dict[str, Point]] = {}
    for point in points:
        cells.setdefault(point.cell, {})[point.run] = point
    width = max((len(cell) for cell in cells), default=0)
    for cell, by_run in cells.items():
        marks = "".join(ink.glyph(by_run[run].stands) if run in by_run else " " for run in order)  # type: ignore[arg-type]
        last = list(by_run.values())
        console.print(ink.safe(f"  {cell:<{width}}  {marks}  {_since(last)}"))


def _since(points: Sequence[Point]) -> str:
    """How it is now, and since when."""
    newest = points[-1]
    since = newest
    for point in reversed(points):
        if (point.stands, point.kind) != (newest.stands, newest.kind):
            return f"{_told(newest)} since {since.run}, before: {_told(point)}"
        since = point
    return f"{_told(newest)} always"


def _told(point: Point) -> str:
    unclean = "" if point.stands == point.status else f" in a cell that is {point.state}"
    return f"{point.status} {point.kind}".strip() + unclean


@history.command("flaky")
@where
@_as_json
def list_flaky(results: Path, database: str | None, as_json: bool) -> None:
    """List rules that changed between runs of the same kernel, machine, payload, probes and catalogue."""
    with reading(database_url(results, database)) as connection:
        found = flaky(connection)
    if as_json:
        _json("flaky", [asdict(one) for one in found])
        return
    table = _table("rule", "cell", "release", "runs", "answers")
    for one in found:
        answers = ", ".join(f"{number} {status}" for status, number in one.statuses.items())
        _row(table, one.rule, one.cell, one.release, str(one.runs), answers)
    _print(table, found, "no rule changed between repeats")


@history.command("slowest")
@click.option("-n", "limit", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@where
@_as_json
def list_slowest(limit: int, results: Path, database: str | None, as_json: bool) -> None:
    """List the cells that take longest, by their mean over all runs."""
    with reading(database_url(results, database)) as connection:
        found = slowest(connection, limit)
    if as_json:
        _json("slowest", [asdict(one) for one in found])
        return
    table = _table("cell", "release", "acceleration", "runs", "mean", "longest", "boot")
    for one in found:
        seconds = [f"{value:.1f} s" for value in (one.mean, one.longest, one.boot)]
        _row(table, one.cell, one.release, one.acceleration, str(one.runs), *seconds)
    _print(table, found, "no cell has finished yet")


@history.command("cost")
@click.argument("row", metavar="ROW")
@where
@_as_json
def show_cost(row: str, results: Path, database: str | None, as_json: bool) -> None:
    """Show what system calls cost along the versions: munmap, munmap/8, 'mprotect/*/none'.

    The kernels are those that `sealmatrix cost` and `nightly --cost` counted in this results folder, and those that the
    history knows already; the change is since the version before.
    """
    url = database_url(results, database)
    if counted := stored_costs(results):
        with writing(url) as connection:
            record_costs(connection, counted.values())
    with reading(url) as connection:
        found = cost_history(connection, row)
    if as_json:
        _json("cost", [asdict(point) for point in found])
        return
    table = _table("row", "arch", "kernel", "release", "instructions", "change")
    for one in found:
        change = "" if one.percent is None else f"{one.percent:+.1f} %"
        _row(table, one.row, one.arch, one.kernel, one.release, f"{one.settled:,.0f}", change)
    _print(table, found, "no kernel was counted yet; to count one: sealmatrix cost KERNEL")


@history.command("import")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FOLDER...")
@where
@_as_json
def import_runs(folders: tuple[Path, ...], results: Path, database: str | None, as_json: bool) -> int:
    """Record runs from their folders, or from folders of runs. Importing again changes nothing."""
    chosen = [run for folder in folders for run in (run_folders(folder) or [folder])]
    return _take(chosen, results, database, as_json, afresh=False)


@history.command("rebuild")
@where
@_as_json
def rebuild(results: Path, database: str | None, as_json: bool) -> int:
    """Delete the history and build it again from the results folder."""
    return _take(run_folders(results), results, database, as_json, afresh=True)


def _take(folders: Iterable[Path], results: Path, database: str | None, as_json: bool, *, afresh: bool) -> int:
    """Exit status 2 when something was left out: what is not in the history must not look as if it were."""
    url = database_url(results, database)
    taken: Imported = import_folders(url, folders, afresh=afresh)
    if as_json:
        _json("imported", asdict(taken))
    else:
        console = Console(highlight=False, markup=False, soft_wrap=True)
        ink = Ink.of(console)
        for remark in taken.remarks:
            console.print(ink.safe(remark))
        console.print(ink.safe(f"{len(taken.runs)} runs recorded in {shown(url)}"))
    return 2 if taken.remarks else 0


def _json(name: str, data: object) -> None:
    click.echo(json.dumps({"schema_version": SCHEMA, name: data}, indent=1))


def _table(*headings: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading not in _FOLDED)
    return table


def _row(table: Table, *texts: str) -> None:
    """A row as it is: what kernels call themselves is no markup."""
    ink = Ink.of(screen())
    table.add_row(*(Text(ink.safe(text)) for text in texts))


def _print(table: Table, found: Sequence[object], nothing: str) -> None:
    if found:
        print_table(screen(), table)
    else:
        click.echo(nothing)
