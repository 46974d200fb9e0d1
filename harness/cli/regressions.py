"""``sealmatrix regressions``: findings that were not there the night before, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from harness.cli.history import where
from harness.errors import UsageError
from harness.history.database import database_url, reading, writing
from harness.history.regressions import LIVING, OPEN, Regression, keep, regression, regressions
from harness.nightly.bisecting import NONE
from harness.nightly.messages import digest, repeating
from harness.nightly.notify import channels
from harness.reports.regressions import regressions_json, regressions_kcidb, regressions_xml
from harness.reports.style import Ink, print_table, screen


@click.group("regressions")
def group() -> None:
    """Show what broke from one night to the next, and what became of it.

    \b
    sealmatrix regressions list               those that are open
    sealmatrix regressions show R7            one, with the commands that repeat it
    sealmatrix regressions known R7 --link https://…  no longer report it as new
    sealmatrix regressions digest             what is open, and what ended in the last week
    sealmatrix regressions close R7 --note "the test machine was at fault"
    """


@group.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that are fixed or closed.")
@click.option(
    "-F",
    "--format",
    "form",
    type=click.Choice(["text", "json", "junit", "kcidb"]),
    default="text",
    help="Format to print.",
    show_default=True,
)
@where
def list_(everything: bool, form: str, results: Path, database: str | None) -> int:
    """List regressions that have not ended. Exit status 1 when an open one is not marked as known."""
    with reading(database_url(results, database)) as connection:
        found = [one for one in regressions(connection) if everything or one.state in LIVING]
    match form:
        case "json":
            click.echo(json.dumps(regressions_json(found), indent=1))
        case "junit":
            click.echo(regressions_xml(found), nl=False)
        case "kcidb":
            click.echo(json.dumps(regressions_kcidb(found), indent=1))
        case _:
            _print(found, everything=everything)
    return 1 if any(one.state in OPEN for one in found) else 0


def _print(found: Sequence[Regression], *, everything: bool) -> None:
    if not found:
        click.echo(f"no {'' if everything else 'open '}regression; sealmatrix nightly opens them, other runs do not")
        return
    console = screen()
    ink = Ink.of(console)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("name", "state", "since", "what"):
        table.add_column(heading, overflow="fold", no_wrap=heading != "what")
    for one in found:
        ended = f"; fixed in {one.fixed_in}" if one.fixed_in else ""
        what = f"{one.sentence}, on {', '.join(one.cells)}{ended}"
        table.add_row(one.name, one.state, Text(ink.safe(one.first)), Text(ink.safe(what)))
    print_table(console, table)


@group.command()
@click.argument("name", metavar="REGRESSION")
@where
def show(name: str, results: Path, database: str | None) -> None:
    """Show one regression: where it was seen, what happened to it, and the commands that repeat it."""
    with reading(database_url(results, database)) as connection:
        one = regression(connection, name)
    ink = Ink.of(screen())
    facts = {
        "state": one.state, "kind": one.kind, "cells": ", ".join(one.cells), "rules": ", ".join(one.rules),
        "last good": one.good, "first bad": one.first, "last bad": one.last, "bisected": one.bisected,
        "bisection": one.bisection if one.bisection != NONE else "",
        "fixed in": one.fixed_in, "owner": one.owner, "link": one.link, "note": one.note,
    }  # fmt: skip
    lines = [f"{one.name}: {one.sentence}"]
    lines += [f"  {key + ':':<12}{value}" for key, value in facts.items() if value]
    lines += [f"  {time[:16].replace('T', ' ')}  {what}{f'  ({run})' if run else ''}" for time, run, what in one.events]
    lines += [f"  $ {line}" for line in repeating(one)]
    for line in lines:
        click.echo(ink.safe(line))


@group.command()
@click.argument("name", metavar="REGRESSION")
@click.option("--owner", metavar="WHO", help="Who looks after it.")
@click.option("--link", metavar="URL", help="Where it is discussed.")
@click.option("--note", metavar="TEXT", help="What is known.")
@where
def known(
    name: str, owner: str | None, link: str | None, note: str | None, results: Path, database: str | None
) -> None:
    """Mark a regression as known: it is no longer reported as new, and ends when no cell shows it."""
    _change(name, "known", results, database, owner=owner, link=link, note=note)


@group.command()
@click.argument("name", metavar="REGRESSION")
@click.option("--note", metavar="TEXT", required=True, help="Why it is not a regression.")
@where
def close(name: str, note: str, results: Path, database: str | None) -> None:
    """Close what is not a regression after all. If the same thing breaks again later, a new one is opened."""
    _change(name, "closed", results, database, note=note)


@group.command("digest")
@click.option("--days", type=click.IntRange(1), default=7, show_default=True, help="Days to look back for what ended.")
@click.option("--send", is_flag=True, help="Send it to where `nightly` sends its messages.")
@where
def digest_command(days: int, send: bool, results: Path, database: str | None) -> None:
    """Summarise the regressions that are open, and of those that ended lately, for a weekly cron job."""
    ways = channels() if send else ()
    if send and not ways:
        raise UsageError("nothing is set up to send with; see docs/use/nightly.md, Messages")
    since = (datetime.now(UTC) - timedelta(days=days)).date().isoformat()
    with reading(database_url(results, database)) as connection:
        told = digest(regressions(connection), since)
    ink = Ink.of(screen())
    for line in told.text.rstrip("\n").split("\n"):
        click.echo(ink.safe(line))
    for way in ways:
        way.send(told, "digest")


def _change(name: str, state: str, results: Path, database: str | None, **facts: str | None) -> None:
    said = {key: value for key, value in facts.items() if value is not None}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with reading(database_url(results, database)):
        pass  # one line, where there is no history
    with writing(database_url(results, database)) as connection:
        one = regression(connection, name)
        if one.state not in LIVING:
            raise UsageError(f"{one.name} is {one.state}; only a regression that has not ended can be changed")
        told = state + (f": {said['note']}" if "note" in said else "")
        keep(connection, one.told(now, "", told, state=state, **said))
    click.echo(f"{one.name} is {state}")
