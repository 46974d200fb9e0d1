"""``sealmatrix report``: a run in the forms other tools read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from harness.cli import options as shared
from harness.model.atomic_files import write_output
from harness.nightly.marks import news_of
from harness.reports.junit import classnames, suite, to_xml
from harness.reports.kcidb import kcidb
from harness.reports.ktap import ktap
from harness.reports.markdown import markdown
from harness.reports.page import Sightings
from harness.reports.times import times_of
from harness.reports.write import write_again
from harness.rules.load import load_catalogue
from harness.runs.judging import read_scenario
from harness.runs.model import RunDone
from harness.runs.programs import reproduce
from harness.runs.run_store import find_run, load_run


def _junit(done: RunDone, _origin: str) -> str:
    names, sightings = classnames(done.record.cells), Sightings()
    suites = [suite(done, c, names[c.id], times_of(sightings, done, c.id)) for c in done.record.cells]
    return to_xml(suites)


FORMATS: Mapping[str, Callable[[RunDone, str], str]] = {
    "junit": _junit,
    "kcidb": lambda done, origin: json.dumps(kcidb(done, origin), indent=1) + "\n",
    "ktap": lambda done, _origin: ktap(done),
    "markdown": lambda done, _origin: markdown(done, news_of(done.folder)),
}


@click.command()
@click.argument("name", metavar="[RUN]", required=False)
@click.option("-F", "--format", "form", type=click.Choice(sorted(FORMATS)), help="Format to write.")
@click.option("--all", "everything", is_flag=True, help="Write all reports into the run's folder again.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write [default: standard output]."
)
@click.option("--origin", default="sealmatrix", show_default=True, help="Name of the submitting system, for KCIDB.")
@shared.RUNS
def report(
    name: str | None, form: str | None, everything: bool, output: Path | None, origin: str, results: Path
) -> int:
    """Write a run, the newest or RUN, in another format. It is judged again, as by `sealmatrix show`.

    \b
    sealmatrix report --format markdown >> "$GITHUB_STEP_SUMMARY"
    sealmatrix report RUN --format ktap -o run.ktap
    sealmatrix report RUN --format kcidb --origin mylab -o run.kcidb.json
    sealmatrix report RUN --all                    junit.xml, report.html, verdicts.json, as a run writes them

    --all writes every report again from the journals: after a full disk, or when a file was lost or altered. The exit
    status is 0 when the report was written, whatever it says.
    """
    if everything == (form is not None):
        raise click.UsageError("choose a format with --format, or write all reports again with --all")
    if everything and output is not None:
        raise click.UsageError("--all writes into the run's own folder; it cannot be combined with --output")
    folder = find_run(results, name)
    done = load_run(folder, load_catalogue())
    if form is None:
        for path in write_again(done, reproduce, page=read_scenario(folder) is None):
            click.echo(str(path))
        return 0
    written = FORMATS[form](done, origin)
    if output is None:
        click.echo(written, nl=False)
    else:
        write_output(output, written)
    return 0
