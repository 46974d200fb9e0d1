"""Runs the cells that the options of a command choose."""

from __future__ import annotations

from rich.console import Console

from harness.cli.cell_options import CellOptions
from harness.cli.going_on import telling_how_to_go_on, telling_how_to_resume
from harness.cli.progress import progress
from harness.cli.remarks import tell_remarks
from harness.cli.run import preparing
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


def run_cells(choice: CellOptions, options: Options, aside: Console, task: PayloadTask | None = None) -> RunDone:
    """Compose and execute what was chosen, showing progress on ``aside``."""
    quiet = choice.quiet or choice.as_json
    composed = _compose(choice, options, aside, task)
    tell_remarks(aside, composed.remarks)
    folder, cells = composed.plan.folder, [cell.id for cell in composed.plan.cells]
    going_on, resuming = telling_how_to_go_on(folder), telling_how_to_resume(folder)
    with going_on, resuming, progress(aside, quiet, cells) as on_progress:
        return execute(composed.plan, composed.make_guest, on_progress)


def _compose(choice: CellOptions, options: Options, aside: Console, task: PayloadTask | None) -> Composed:
    choice.refuse_machine_and_kernels()
    if choice.host:
        return compose_host(options, task)
    if choice.ssh:
        return compose_ssh(options, target_of(choice.ssh), task)
    matrix = load_matrix(choice.path or default_path())
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
