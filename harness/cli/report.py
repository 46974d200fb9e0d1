"""``sealmatrix report``: a run in the forms other tools read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from harness.reports.cells import probe_times
from harness.reports.junit import classnames, suite, to_xml
from harness.reports.kcidb import kcidb
from harness.reports.ktap import ktap
from harness.reports.markdown import markdown
from harness.rules.load import load_catalogue
from harness.runs.execute import RunDone
from harness.runs.record import write_atomically
from harness.runs.stored import find_run, load_run


def _junit(done: RunDone, _origin: str) -> str:
    names = classnames(done.record.cells)
    return to_xml(
        [
            suite(done.record, cell, names[cell.id], done.results.get(cell.id, ()), probe_times(done, cell.id))
            for cell in done.record.cells
        ]
    )


FORMATS: Mapping[str, Callable[[RunDone, str], str]] = {
    "junit": _junit,
    "kcidb": lambda done, origin: json.dumps(kcidb(done, origin), indent=1) + "\n",
    "ktap": lambda done, _origin: ktap(done),
    "markdown": lambda done, _origin: markdown(done),
}


@click.command()
@click.argument("name", metavar="[RUN]", required=False)
@click.option("-F", "--format", "form", type=click.Choice(sorted(FORMATS)), required=True, help="What to write.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Where to [default: standard output]."
)
@click.option("--origin", default="sealmatrix", show_default=True, help="KCIDB's name of the submitting system.")
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True, help="Where runs lie."
)
def report(name: str | None, form: str, output: Path | None, origin: str, results: Path) -> int:
    """Write a run, the newest or RUN, in a form other tools read. Judged anew, as by `sealmatrix show`.

    \b
    sealmatrix report --format markdown >> "$GITHUB_STEP_SUMMARY"
    sealmatrix report RUN --format ktap -o run.ktap
    sealmatrix report RUN --format kcidb --origin mylab -o run.kcidb.json

    The exit status is 0 when the report was written, whatever it says.
    """
    done = load_run(find_run(results, name), load_catalogue())
    written = FORMATS[form](done, origin)
    if output is None:
        click.echo(written, nl=False)
    else:
        write_atomically(output, written)
    return 0
