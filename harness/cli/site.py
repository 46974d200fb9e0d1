"""``sealmatrix site``: all runs as static pages."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.history import where
from harness.history.database import database_url, reading
from harness.reports.site import build_site
from harness.rules.load import load_catalogue


@click.group()
def site() -> None:
    """Write static web pages of all runs."""


@site.command("build")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The folder to write.")
@click.option(
    "-n", "limit", type=click.IntRange(1), default=200, show_default=True, help="How many of the newest runs."
)
@where
def build(output: Path, limit: int, results: Path, database: str | None) -> None:
    """Write the trend, and a page for each rule over time, run, kernel and regression. Links are relative.

    \b
    sealmatrix site build -o public
    """
    with reading(database_url(results, database)) as connection:
        built = build_site(connection, output, load_catalogue(), limit)
    for remark in built.remarks:
        click.echo(f"note: {remark}", err=True)
    click.echo(f"{built.runs} runs, {built.rules} rules: {output / 'index.html'}")
