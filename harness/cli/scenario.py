"""``sealmatrix scenario``: a script of the user's on every kernel, and what each of them said."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console

from harness.cli.progress import progress
from harness.cli.run import preparing
from harness.guests.accel import Wanted
from harness.matrix.load import default_path, load_matrix
from harness.matrix.model import ARCHES
from harness.matrix.plan import plan_cells
from harness.reports.scenario import print_scenario, scenario_json
from harness.reports.write import write_reports
from harness.runs.compose import Options, compose_host, compose_matrix
from harness.runs.execute import execute
from harness.runs.script import read_script
from harness.runs.workloads import Script


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-s", "--selection", metavar="NAME", help="A selection of kernels.yaml [default: default].")
@click.option("-k", "--kernels", "globs", multiple=True, metavar="GLOB", help="Kernels by name; repeatable.")
@click.option("-a", "--arch", "arches", multiple=True, type=click.Choice(ARCHES), help="Only this architecture.")
@click.option("-p", "--profile", "profiles", multiple=True, metavar="NAME", help="Machine profile(s) to boot on.")
@click.option("--host", is_flag=True, help="Run on this machine's own kernel, without a guest.")
@click.option(
    "--deadline", type=click.FloatRange(0.1), metavar="SECONDS", help="How long the script may take [default: 30]."
)
@click.option("-j", "--jobs", type=click.IntRange(1), help="Cells at once [default: as cores and memory allow].")
@click.option(
    "--accel", type=click.Choice(["auto", "kvm", "tcg"]), default="auto", show_default=True, help="Acceleration."
)
@click.option("--scale", type=click.FloatRange(0.01), default=1.0, help="Stretch every deadline by this factor.")
@click.option("--offline", is_flag=True, help="Use only kernels that are stored already.")
@click.option("-f", "--matrix", "path", type=click.Path(path_type=Path), help="The matrix [default: kernels.yaml].")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results/scenarios"),
    show_default=True,
    help="Where results go.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress, only the end.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output instead of the table.")
def scenario(
    file: Path,
    selection: str | None,
    globs: tuple[str, ...],
    arches: tuple[str, ...],
    profiles: tuple[str, ...],
    host: bool,
    deadline: float | None,
    jobs: int | None,
    accel: Wanted,
    scale: float,
    offline: bool,
    path: Path | None,
    results: Path,
    quiet: bool,
    as_json: bool,
) -> int:
    """Run a Python script on kernels and show what each of them said, differences first.

    The script imports the module guest: docs/scenarios.md describes it, with examples that can be run.

    \b
    sealmatrix scenario question.py                           the default matrix
    sealmatrix scenario question.py -k 'debian-*' -a arm64    some kernels
    sealmatrix scenario question.py --host                    the kernel of this machine

    What the script expects (guest.expect) counts as rules do: the run's folder has a junit.xml. Exit status: 0 all
    as expected, 1 an expectation failed, 2 not a script, 3 the script broke or a kernel gave no answer.
    """
    script = read_script(file)
    task = Script(script, deadline)
    options = Options(
        results, ("sealmatrix", *sys.argv[1:]), jobs=jobs, acceleration=accel, offline=offline, scale=scale
    )
    aside = Console(stderr=True)
    quiet = quiet or as_json
    if host:
        if selection or globs or arches or profiles or path:
            raise click.UsageError("--host runs this machine's kernel; it takes no selection, kernel, arch or profile")
        composed = compose_host(options, task)
    else:
        matrix = load_matrix(path or default_path())
        specs = plan_cells(matrix, selection=selection, kernels=globs, arches=arches, profiles=profiles)
        with preparing(aside, quiet=quiet) as say:
            composed = compose_matrix(options, matrix, specs, say, task)
    for remark in composed.remarks:
        aside.print(f"note: {remark}", highlight=False, markup=False, soft_wrap=True)
    with progress(aside, quiet, [cell.id for cell in composed.plan.cells]) as tell:
        done = execute(composed.plan, composed.make_guest, tell)
    write_reports(done, page=False)
    if as_json:
        click.echo(json.dumps(scenario_json(done, script), indent=1))
    else:
        print_scenario(Console(), done, script)
    return done.exit_code
