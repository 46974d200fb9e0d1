"""The options that commands which boot cells have in common, and what they choose."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from harness.cli.announce import hush
from harness.cli.progress import progress
from harness.cli.run import preparing
from harness.cli.unwritten import telling_how_to_go_on
from harness.guests.accel import AccelWanted
from harness.guests.ssh_connect import target_of
from harness.matrix.load import default_path, load_matrix
from harness.matrix.plan import plan_cells
from harness.model.architectures import ARCHES
from harness.runs.execution.run import execute
from harness.runs.model import RunDone
from harness.runs.planning.compose import Composed, Options, compose_host, compose_matrix, compose_ssh
from harness.runs.planning.payload_tasks import PayloadTask
from harness.secret_urls import masked_words


@dataclass(frozen=True)
class CellOptions:
    """Which cells, and how they are run. The names are those of the options."""

    selection: str | None
    kernels: tuple[str, ...]
    arches: tuple[str, ...]
    profiles: tuple[str, ...]
    host: bool
    ssh: str | None
    fresh: bool
    jobs: int | None
    accel: AccelWanted
    scale: float
    offline: bool
    matrix: Path | None
    results: Path
    quiet: bool
    as_json: bool

    def options(self, *, probes: Sequence[str] = (), crosscheck: Sequence[str] = ()) -> Options:
        """The same for the composer."""
        command = ("sealmatrix", *masked_words(sys.argv[1:]))
        asked = (tuple(probes), self.jobs, self.accel, self.offline, self.scale)
        return Options(self.results, command, *asked, fresh=self.fresh, crosscheck=tuple(crosscheck))


def cell_options(results: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command these options; it is called with ``choice``, a ``CellOptions``, in their place."""
    path = click.Path(path_type=Path)
    options = (
        click.option("-s", "--selection", metavar="NAME", help="A selection of kernels.yaml [default: default]."),
        click.option(
            "-k", "--kernels", multiple=True, metavar="GLOB", help="Kernels of the matrix by name; repeatable."
        ),
        click.option(
            "-a", "--arch", "arches", multiple=True, type=click.Choice(ARCHES), help="Only this architecture."
        ),
        click.option(
            "-p", "--profile", "profiles", multiple=True, metavar="NAME", help="Machine profile to boot on; repeatable."
        ),
        click.option("--host", is_flag=True, help="Test the kernel of this machine, without a guest."),
        click.option(
            "--ssh", metavar="TARGET", help="Test the running kernel of a machine reachable by SSH (user@host:port)."
        ),
        click.option("--fresh", is_flag=True, help="Boot every kernel: restore no saved guest, and save none."),
        click.option(
            "-j", "--jobs", type=click.IntRange(1), help="Cells at a time [default: what cores and memory allow]."
        ),
        click.option("--accel", type=click.Choice(["auto", "kvm", "tcg"]), default="auto", show_default=True),
        click.option(
            "--scale", type=click.FloatRange(0.01), default=1.0, help="Multiply every deadline by this factor."
        ),
        click.option("--offline", is_flag=True, help="Use only kernels that are already stored; no network."),
        click.option("-f", "--matrix", type=path, help="The matrix file [default: kernels.yaml]."),
        click.option("--results", type=path, default=Path(results), show_default=True, help="Folder for results."),
        click.option("-q", "--quiet", is_flag=True, help="No progress display."),
        click.option("--json", "as_json", is_flag=True, help="JSON on standard output instead of the table."),
    )
    names = [field.name for field in fields(CellOptions)]

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        @wraps(command)
        def call(**given: Any) -> int:
            choice = CellOptions(**{name: given.pop(name) for name in names})
            hush(choice.quiet or choice.as_json)
            return command(choice=choice, **given)

        for option in reversed(options):
            call = option(call)
        return call

    return decorate


def run_cells(choice: CellOptions, options: Options, aside: Console, task: PayloadTask | None = None) -> RunDone:
    """Compose and execute what was chosen, showing progress on ``aside``."""
    quiet = choice.quiet or choice.as_json
    composed = _compose(choice, options, aside, task)
    for remark in composed.remarks:
        aside.print(f"note: {remark}", highlight=False, markup=False, soft_wrap=True)
    going_on = telling_how_to_go_on(composed.plan.folder)
    with going_on, progress(aside, quiet, [cell.id for cell in composed.plan.cells]) as on_progress:
        return execute(composed.plan, composed.make_guest, on_progress)


def _compose(choice: CellOptions, options: Options, aside: Console, task: PayloadTask | None) -> Composed:
    chosen = bool(choice.selection or choice.kernels or choice.arches or choice.profiles or choice.matrix)
    if choice.host and choice.ssh:
        raise click.UsageError("use either --host (this machine) or --ssh (another one)")
    if (choice.host or choice.ssh) and chosen:
        raise click.UsageError(
            "--host and --ssh run a machine's kernel; they take no selection, kernel, arch or profile"
        )
    if choice.host:
        return compose_host(options, task)
    if choice.ssh:
        return compose_ssh(options, target_of(choice.ssh), task)
    matrix = load_matrix(choice.matrix or default_path())
    specs = plan_cells(
        matrix, selection=choice.selection, kernels=choice.kernels, arches=choice.arches, profiles=choice.profiles
    )
    with preparing(aside, quiet=choice.quiet or choice.as_json) as say:
        return compose_matrix(options, matrix, specs, say, task)
