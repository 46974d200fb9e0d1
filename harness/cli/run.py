"""``sealmatrix run``: boot the matrix, judge it, report it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console

from harness.cli.progress import progress
from harness.matrix.load import find_matrix, load_matrix
from harness.matrix.model import ARCHES
from harness.matrix.plan import plan_cells
from harness.reports.terminal import print_run
from harness.reports.write import summary_json, write_reports
from harness.runs.compose import Options, compose_host, compose_matrix
from harness.runs.execute import execute


@click.command()
@click.option("-s", "--selection", metavar="NAME", help="A selection of kernels.yaml [default: default].")
@click.option("-k", "--kernels", "globs", multiple=True, metavar="GLOB", help="Kernels by name; repeatable.")
@click.option("-a", "--arch", "arches", multiple=True, type=click.Choice(ARCHES), help="Only this architecture.")
@click.option("-p", "--profile", "profiles", multiple=True, metavar="NAME", help="Machine profile(s) to boot on.")
@click.option("--host", is_flag=True, help="Run on this machine's own kernel, without a guest.")
@click.option("-r", "--run", "probes", multiple=True, metavar="GLOB", help="Only probes whose id matches; repeatable.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Cells at once [default: as cores and memory allow].")
@click.option(
    "--accel", type=click.Choice(["auto", "kvm", "tcg"]), default="auto", show_default=True, help="Acceleration."
)
@click.option("--offline", is_flag=True, help="Use only kernels that are stored already.")
@click.option("-f", "--matrix", "path", type=click.Path(path_type=Path), help="The matrix [default: kernels.yaml].")
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True, help="Where results go."
)
@click.option("--all", "show_all", is_flag=True, help="Show every rule, also those that agree everywhere.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, only the end.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output instead of the table.")
def run(
    selection: str | None,
    globs: tuple[str, ...],
    arches: tuple[str, ...],
    profiles: tuple[str, ...],
    host: bool,
    probes: tuple[str, ...],
    jobs: int | None,
    accel: str,
    offline: bool,
    path: Path | None,
    results: Path,
    show_all: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Boot kernels, run the payload in each, judge what it saw.

    \b
    sealmatrix run                                 the default matrix
    sealmatrix run -s nightly -j 2                 every release, two cells at once
    sealmatrix run -k 'debian-6.12*' -a arm64      some kernels, one architecture
    sealmatrix run -k debian-7.3 -r 'munmap/*'     some probes only
    sealmatrix run --host                          the kernel of this machine

    Results go to results/RUN-ID/: junit.xml for a CI server, verdicts.json for programs. Ctrl-C ends the guests and
    keeps what was seen. Exit status: 0 all good, 1 a rule failed, 3 a kernel gave no answer.
    """
    options = Options(results, tuple(sys.argv), probes, jobs, accel, offline)
    progress_console = Console(stderr=True)
    if host:
        if selection or globs or arches or profiles:
            raise click.UsageError("--host runs on this machine's kernel; it takes no selection, kernel, arch or profile")
        plan, make_guest = compose_host(options)
    else:
        matrix = load_matrix(find_matrix(path))
        specs = plan_cells(matrix, selection=selection, kernels=globs, arches=arches, profiles=profiles)
        with preparing(progress_console, quiet=quiet or as_json) as say:
            plan, make_guest = compose_matrix(options, matrix, specs, say)
    with progress(progress_console, quiet=quiet or as_json, planned=[cell.id for cell in plan.cells]) as tell:
        done = execute(plan, make_guest, tell)
    write_reports(done)
    if as_json:
        click.echo(json.dumps(summary_json(done), indent=1))
    else:
        print_run(Console(), done, show_all=show_all)
    return done.exit_code

