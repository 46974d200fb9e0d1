"""``sealmatrix patch``: a series on its base, both built and run, and what changed as text for the list."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import click
from rich.console import Console

from harness import __version__
from harness.cli import options as shared
from harness.cli.announce import hush
from harness.cli.going_on import ending, telling_how_to_go_on, telling_how_to_resume, write_or_say
from harness.cli.progress import progress
from harness.cli.run import preparing
from harness.compare.comparison import compare_baselines
from harness.kernels.series import Series, read_series
from harness.kernels.store import Store
from harness.matrix.load import default_path, load_matrix
from harness.matrix.model import KernelSpec, Matrix
from harness.matrix.plan import plan_cells
from harness.model.architectures import ARCHES, Arch, this_arch
from harness.reports.compare_json import comparison_json
from harness.reports.mail import SeriesTested, mail_text
from harness.reports.write import write_reports
from harness.runs.execution.run import execute
from harness.runs.model import RunDone
from harness.runs.planning.compose import Options, compose_matrix
from harness.runs.planning.payload_tasks import probes_meant
from harness.runs.programs import reproduce
from harness.secret_urls import masked_words

BASE, PATCHED = "base", "patched"


@click.command()
@click.argument("series", metavar="SERIES.mbox|REV..REV")
@click.option(
    "--tree",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIRECTORY",
    help="A git tree of Linux; it is not modified.",
)
@click.option("--base", default="", metavar="REV", help="Base of a series that names no base-commit.")
@click.option(
    "-a",
    "--arch",
    "arches",
    multiple=True,
    type=click.Choice(ARCHES),
    help="An architecture [default: this machine's]; repeatable.",
)
@click.option(
    "-r",
    "--run",
    "probes",
    multiple=True,
    metavar="GLOB",
    help="Select probes by id [default: all].",
)
@shared.RULES
@shared.results()
@shared.QUIET
@click.option("--json", "as_json", is_flag=True, help="The comparison as JSON instead of the text.")
def patch(
    series: str,
    tree: Path,
    base: str,
    arches: tuple[Arch, ...],
    probes: tuple[str, ...],
    rules: tuple[str, ...],
    results: Path,
    quiet: bool,
    as_json: bool,
) -> int:
    """Show what a patch series changes: build and run its base without and with it.

    The base is the base-commit that the series names; it must be in TREE, which is not modified. The first build
    takes minutes, further ones seconds. The text can be pasted into an answer on the mailing list.

    \b
    sealmatrix patch series.mbox --tree ~/linux
    sealmatrix patch v7.3..my-branch --tree ~/linux --rule 'mprotect-*'

    Exit status, as `sealmatrix compare`: 0 nothing got worse, 1 something did, 3 a kernel gave no answer, 130
    interrupted.
    """
    aside = Console(stderr=True)
    quiet = quiet or as_json
    hush(quiet)
    probes = probes_meant(probes, rules)
    store = Store()
    with preparing(aside, quiet=quiet) as say:
        found = read_series(series, tree.expanduser().absolute(), store, lambda text: say("", "", text), base)
        matrix = _matrix(load_matrix(default_path()), found, arches or (this_arch(),))
        specs = plan_cells(matrix, kernels=[BASE, PATCHED])
        options = Options(results, ("sealmatrix", *masked_words(sys.argv[1:])), probes=probes)
        against = {s.id: s.id.replace(PATCHED, BASE, 1) for s in specs if s.kernel.name == PATCHED}
        composed = compose_matrix(options, matrix, specs, say, against=against)
    folder, cells = composed.plan.folder, [cell.id for cell in composed.plan.cells]
    going_on, resuming = telling_how_to_go_on(folder), telling_how_to_resume(folder)
    with going_on, resuming, progress(aside, quiet, cells) as on_progress:
        done = execute(composed.plan, composed.make_guest, on_progress)
    comparison = compare_baselines(done)
    assert comparison is not None  # every patched cell has its base
    code = comparison.exit_code or (done.exit_code if done.record.state != "finished" else 0)
    with ending(done):
        code = write_or_say(lambda: write_reports(done, reproduce), done.folder, code, aside)
        if as_json:
            click.echo(json.dumps(comparison_json(comparison), indent=1))
        else:
            click.echo(mail_text(_tested(done, found, tree), comparison), nl=False)
    return code


def _matrix(matrix: Matrix, series: Series, arches: Sequence[Arch]) -> Matrix:
    """The matrix with the two kernels, under names that nothing else of it has a need for here."""
    kernels = {
        name: KernelSpec(name, source, tuple(arches), listed=False)
        for name, source in zip((BASE, PATCHED), series.sources, strict=True)
    }
    return replace(matrix, kernels=MappingProxyType({**matrix.kernels, **kernels}))


def _tested(done: RunDone, series: Series, tree: Path) -> SeriesTested:
    ways = {
        f"{cell.arch} (QEMU, {cell.machine.acceleration})" for cell in done.record.cells if cell.machine is not None
    }
    planned = {v.probe for results in done.results.values() for result in results for v in result.verdicts}
    return SeriesTested(
        version=__version__,
        base=series.base,
        patched=series.patched,
        subjects=series.subjects,
        probes=len(planned),
        where=", ".join(sorted(ways)),
        command=("sealmatrix", "patch", series.what, "--tree", tree.name),
    )
