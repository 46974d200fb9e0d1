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

from harness.cli import options as shared
from harness.cli.announce import hush
from harness.cli.progress import progress
from harness.cli.run import preparing
from harness.cli.unwritten import telling_how_to_go_on
from harness.guests.accel import AccelWanted
from harness.guests.ssh_connect import target_of
from harness.kernels.argument import Reading, read_arguments
from harness.kernels.store import Store
from harness.matrix.load import default_path, load_matrix
from harness.matrix.plan import plan_cells
from harness.model.architectures import ARCHES
from harness.runs.execution.run import execute
from harness.runs.model import RunDone
from harness.runs.planning.compose import Composed, Options, compose_host, compose_matrix, compose_ssh
from harness.runs.planning.payload_tasks import PayloadTask
from harness.secret_urls import masked_words


@dataclass(frozen=True, kw_only=True)
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
    path: Path | None
    results: Path
    quiet: bool
    as_json: bool

    def options(self, *, probes: Sequence[str] = (), crosscheck: Sequence[str] = ()) -> Options:
        """The same for the composer."""
        return Options(
            self.results,
            ("sealmatrix", *masked_words(sys.argv[1:])),
            probes=tuple(probes),
            jobs=self.jobs,
            acceleration=self.accel,
            offline=self.offline,
            scale=self.scale,
            fresh=self.fresh,
            crosscheck=tuple(crosscheck),
        )


def cell_options(results: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command these options; it is called with ``choice``, a ``CellOptions``, in their place."""
    options = (
        shared.SELECTION,
        shared.KERNELS,
        shared.ARCHITECTURES,
        shared.PROFILES,
        shared.HOST,
        shared.SSH,
        shared.FRESH,
        shared.JOBS,
        shared.ACCEL,
        shared.SCALE,
        shared.OFFLINE,
        shared.MATRIX,
        shared.results(results),
        shared.QUIET,
        shared.JSON_TABLE,
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
    chosen = bool(choice.selection or choice.kernels or choice.arches or choice.profiles or choice.path)
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
    matrix = load_matrix(choice.path or default_path())
    specs = plan_cells(
        matrix, selection=choice.selection, kernels=choice.kernels, arches=choice.arches, profiles=choice.profiles
    )
    with preparing(aside, quiet=choice.quiet or choice.as_json) as say:
        reading = Reading(
            store=Store(),
            say=lambda text: say("", "", text),
            arches=tuple(arch for arch in ARCHES if arch in choice.arches),
            offline=choice.offline,
        )
        matrix, kernels = read_arguments(matrix, choice.kernels, reading)
        specs = plan_cells(
            matrix, selection=choice.selection, kernels=kernels, arches=choice.arches, profiles=choice.profiles
        )
        return compose_matrix(options, matrix, specs, say, task)
