"""``sealmatrix show``: a run that lies on disk, judged again under the catalogue at hand."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.cli import options as shared
from harness.model.verdict import STATUSES
from harness.nightly.marks import news_of
from harness.reports.listing import print_verdicts
from harness.reports.scenario import print_scenario, scenario_json
from harness.reports.style import screen
from harness.reports.terminal import print_run
from harness.rules.load import load_catalogue
from harness.runs.judging import read_scenario
from harness.runs.run_store import find_run, load_run
from harness.runs.summary import summary_json


@click.command()
@click.argument("name", metavar="[RUN]", required=False)
@click.option("--cell", metavar="GLOB", default="*", help="Only cells whose id matches.")
@click.option("--rule", metavar="GLOB", help="Verdicts of these rules, probe by probe.")
@click.option("--status", type=click.Choice(STATUSES), help="Verdicts of this status, probe by probe.")
@shared.RUNS
@shared.EVERY_RULE
@shared.JSON_TABLE
def show(
    name: str | None, cell: str, rule: str | None, status: str | None, results: Path, show_all: bool, as_json: bool
) -> int:
    """Show a stored run again: the newest, or RUN (id or folder).

    Observations are judged again under today's catalogue. The exit status is that of the run.

    \b
    sealmatrix show                                        the newest run
    sealmatrix show RUN --status fail                      what failed, probe by probe
    sealmatrix show --rule 'madvise-*' --cell '*arm64*'    every verdict of some rules on some cells
    """
    folder = find_run(results, name)
    done = load_run(folder, load_catalogue())
    script = read_scenario(folder)
    console = screen()
    if as_json and script:
        click.echo(json.dumps(scenario_json(done, script), indent=1))
    elif as_json:
        click.echo(json.dumps(summary_json(done), indent=1))
    elif rule or status or cell != "*":
        print_verdicts(console, done, cell=cell, rule=rule or "*", status=status)
    elif script:
        print_scenario(console, done, script)
    else:
        print_run(console, done, every=show_all, news=news_of(folder))
    return done.exit_code
