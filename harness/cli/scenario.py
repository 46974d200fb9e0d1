"""``sealmatrix scenario``: a script of the user's on every kernel, and what each of them said."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from harness.cli.cell_options import CellOptions, cell_options
from harness.cli.choices import run_cells
from harness.cli.going_on import ending, write_or_say
from harness.reports.scenario import print_scenario, scenario_json
from harness.reports.style import screen
from harness.reports.write import write_reports
from harness.runs.planning.payload_tasks import Script
from harness.runs.planning.scenario_parser import read_script


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--deadline", type=click.FloatRange(0.1), metavar="SECONDS", help="Time limit of the script [default: 30]."
)
@cell_options(results="results/scenarios")
def scenario(file: Path, deadline: float | None, choice: CellOptions) -> int:
    """Run a Python script on kernels and show what each kernel answered, differences first.

    The script imports the module guest: docs/use/scenarios.md describes it, with examples that can be run.

    \b
    sealmatrix scenario question.py                           the default matrix
    sealmatrix scenario question.py -k 'debian-*' -a arm64    some kernels
    sealmatrix scenario question.py -k ./bzImage              a kernel of yours
    sealmatrix scenario question.py --host                    the kernel of this machine

    What the script expects (guest.expect) counts as rules do: the run's folder has a junit.xml. Exit status: 0 all
    as expected, 1 an expectation failed, 2 not a script, 3 the script broke or a kernel gave no answer,
    130 interrupted.
    """
    script = read_script(file)
    aside = Console(stderr=True)
    done = run_cells(choice, choice.options(), aside, Script(script, deadline))
    with ending(done):
        code = write_or_say(lambda: write_reports(done, page=False), done.folder, done.exit_code, aside)
        if choice.as_json:
            click.echo(json.dumps(scenario_json(done, script), indent=1))
        else:
            print_scenario(screen(), done, script)
    return code
