"""``sealmatrix explore``: programs nobody wrote, judged by a model of sealing."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from harness.cli.given import Words, meant_cells
from harness.cli.run import preparing
from harness.errors import InfrastructureError
from harness.explore.corpus import load_corpus, read_kept
from harness.explore.duration import seconds_of
from harness.explore.generate import Source
from harness.explore.program import Program
from harness.explore.session import Explorer, Outcome
from harness.guests.accel import Wanted
from harness.guests.model import Guest
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
from harness.kernels.resolve import provide
from harness.kernels.store import telling, write_atomically
from harness.matrix.load import default_path, load_matrix
from harness.matrix.model import CellSpec
from harness.model.architectures import ARCHES
from harness.payload.build import build
from harness.reports.explore import Explored, explored_json, explored_junit, explored_lines


@click.command()
@click.argument("kernels", nargs=-1, metavar="[KERNEL]...")
@click.option("--time", "duration", default="60s", show_default=True, metavar="TIME", help="How long for each kernel.")
@click.option("--seed", type=click.IntRange(0), help="What everything follows from [default: drawn, and said].")
@click.option("-s", "--selection", metavar="NAME", help="The kernels of a selection of kernels.yaml.")
@click.option("-a", "--arch", "arches", multiple=True, type=click.Choice(ARCHES), help="Only this architecture.")
@click.option("--replay", "replayed", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="Run only these programs; repeatable.")  # fmt: skip
@click.option("-p", "--profile", default="two-cpus", show_default=True, metavar="NAME", help="The machine to boot on.")
@click.option("--accel", type=click.Choice(["auto", "kvm", "tcg"]), default="auto", show_default=True)
@click.option("--scale", type=click.FloatRange(0.01), default=1.0, help="Stretch every deadline by this factor.")
@click.option("--fresh", is_flag=True, help="Boot every kernel; use no guest that was saved, and save none.")
@click.option("--offline", is_flag=True, help="Use only kernels that are stored already.")
@click.option("-f", "--matrix", "path", type=click.Path(path_type=Path), help="The matrix [default: kernels.yaml].")
@click.option("--results", type=click.Path(path_type=Path), default=Path("results/explore"), show_default=True)
@click.option("-q", "--quiet", is_flag=True, help="No progress, only the end.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
def explore(
    kernels: tuple[str, ...],
    duration: str,
    seed: int | None,
    selection: str | None,
    arches: tuple[str, ...],
    replayed: tuple[Path, ...],
    profile: str,
    accel: Wanted,
    scale: float,
    fresh: bool,
    offline: bool,
    path: Path | None,
    results: Path,
    quiet: bool,
    as_json: bool,
) -> int:
    """Run generated programs on kernels, beside their twins without seals, and judge every step by a model of sealing.

    \b
    sealmatrix explore debian-6.12 --time 60s          one kernel, a minute
    sealmatrix explore -s nightly --seed 20261128      every kernel, all from one seed
    sealmatrix explore debian-7.2 --replay FILE        the programs of a file, and no others

    docs/exploration.md says what the model knows and how to read a finding. Exit status: 0 no finding, 1 a finding,
    3 a kernel gave no answer.
    """
    seconds = seconds_of(duration)
    programs = [read_kept(file).program for file in replayed] if replayed else [k.program for k in load_corpus()]
    seed = secrets.randbelow(10**8) if seed is None else seed
    aside = Console(stderr=True)
    matrix = load_matrix(path or default_path())
    with preparing(aside, quiet=quiet or as_json) as say:
        words = Words(given=kernels, selection=selection, arches=arches, profiles=(profile,), offline=offline)
        meant = meant_cells(matrix, words, say)
        specs, resolution = meant.specs, provide(meant.matrix, meant.specs, offline=offline, progress=say)
    folder = results / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{seed}"
    wishes = Wishes(acceleration=accel, scale=scale, fresh=fresh)
    explored = []
    for spec in specs:
        kernel = resolution.kernels[spec.kernel.name, spec.arch]
        outcome = Outcome(seed)
        if isinstance(kernel, Kernel):
            _explore(kernel, spec, folder / spec.id, wishes, outcome, programs, 0 if replayed else seconds, aside,
                     quiet=quiet or as_json)  # fmt: skip
        else:
            outcome.lost = str(kernel)
        explored.append(Explored(spec.kernel.name, spec.arch, outcome))
        if not as_json:
            for line in explored_lines(explored[-1]):
                click.echo(line)
    _keep(folder, explored)
    if as_json:
        click.echo(json.dumps([explored_json(one) for one in explored], indent=1))
    codes = {one.exit_code for one in explored}
    return 1 if 1 in codes else 3 if 3 in codes or not any(one.asked for one in explored) else 0


def _explore(
    kernel: Kernel,
    spec: CellSpec,
    folder: Path,
    wishes: Wishes,
    outcome: Outcome,
    corpus: list[Program],
    seconds: float,
    aside: Console,
    *,
    quiet: bool,
) -> None:
    def boot() -> Guest:
        guest = QemuGuest(kernel, replace(spec.profile, hugepages=0), folder, wishes)
        outcome.release = guest.boot().release
        return guest

    def hear(text: str) -> None:
        if not quiet:
            aside.print(f"{spec.id}: {text}", highlight=False, markup=False, soft_wrap=True)

    explorer = Explorer(boot, build(spec.arch).path.read_bytes(), hear)
    try:
        explorer.explore(Source(outcome.seed), seconds, outcome, corpus)
    except InfrastructureError as problem:
        outcome.lost = str(problem)
    finally:
        explorer.stop()


def _keep(folder: Path, explored: list[Explored]) -> None:
    with telling(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "explore.json", json.dumps([explored_json(e) for e in explored], indent=1).encode())
        write_atomically(folder / "junit.xml", explored_junit(explored).encode())
