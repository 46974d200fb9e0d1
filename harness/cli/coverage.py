"""``sealmatrix coverage``: which lines and branches of the sealing code the probes run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console

from harness.cli import options as shared
from harness.cli.announce import hush
from harness.cli.given import NONE, Words, meant_cells
from harness.cli.run import preparing
from harness.config.duration import seconds_of
from harness.coverage.measure import measure_coverage, read_sources, sources_for, symbols_for
from harness.coverage.model import FILES, CoverageResult
from harness.errors import UsageError, some_of
from harness.guests.accel import AccelWanted
from harness.guests.model import Guest
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
from harness.kernels.resolve import provide
from harness.kernels.store import Store, telling
from harness.matrix.load import default_path, load_matrix
from harness.matrix.model import CellSpec
from harness.model.architectures import Arch, host_arch
from harness.model.atomic_files import write_atomically
from harness.reports.coverage import coverage_json, coverage_lines, coverage_page
from harness.runs.planning.payload_tasks import probes_meant
from harness.runs.run_store import new_run_id
from harness.runs.symbols import built_vmlinux

KERNEL = "own-7.3-kcov"


@click.command()
@click.argument("kernel", default=KERNEL, metavar="[KERNEL]")
@shared.TWO_CPUS
@click.option(
    "-a", "--arch", type=click.Choice(("x86_64", "arm64")), help="The architecture [default: this machine's]."
)
@shared.PROBES
@shared.RULES
@click.option("--explore", metavar="TIME", help="Then run generated programs for this time: 60s.")
@shared.SEED
@shared.ACCEL
@shared.SCALE
@shared.OFFLINE
@shared.MATRIX
@shared.results("results/coverage")
@shared.QUIET
@shared.JSON
def coverage(
    kernel: str,
    profile: str,
    arch: Arch | None,
    probes: tuple[str, ...],
    rules: tuple[str, ...],
    explore: str | None,
    seed: int,
    accel: AccelWanted,
    scale: float,
    offline: bool,
    path: Path | None,
    results: Path,
    quiet: bool,
    as_json: bool,
) -> int:
    """Show which lines and branches of the kernel's sealing code run while sealed memory is present.

    \b
    sealmatrix coverage                            the newest source, built with KCOV (minutes, once)
    sealmatrix coverage own-7.3-kcov -a arm64      on the other architecture
    sealmatrix coverage -r 'mremap-*'              what these probes reach
    sealmatrix coverage --explore 60s              and what generated programs reach beside them
    sealmatrix coverage ~/linux                    a kernel that you built with KCOV and -g in mm/

    Of mm/mseal.c, vma.c, mprotect.c, mremap.c, madvise.c, mmap.c and mlock.c: for each function that is reached the
    lines, the branches that went both ways, and how many rules reach it; then what nothing reaches. A page has the
    source beside it. docs/use/coverage.md says what is counted. Exit status: 0 measured, 3 a kernel or a
    probe gave no answer, 130 interrupted.
    """
    quiet = quiet or as_json
    aside = Console(stderr=True)
    hush(quiet)
    globs = probes_meant(probes, rules)
    seconds = 0.0 if explore is None else seconds_of(explore, "--explore")
    matrix = load_matrix(path or default_path())
    words = Words(
        given=(kernel,),
        selection=None,
        arches=(arch or host_arch(),),
        profiles=(profile,),
        offline=offline,
        against=NONE,
    )
    with preparing(aside, quiet=quiet) as say:
        meant = meant_cells(matrix, words, say)
        (spec,) = _one(meant.specs)
        resolution = provide(meant.matrix, meant.specs, offline=offline, progress=say)
    found = resolution.kernels[spec.kernel.name, spec.arch]
    if not isinstance(found, Kernel):
        raise found
    store = Store()
    vmlinux = symbols_for(store, found) or built_vmlinux(kernel, spec.arch)
    if vmlinux is None:
        raise UsageError(
            f"{kernel}: its vmlinux with symbols is not here; build it with the fragment kcov, or name {KERNEL}"
        )
    folder = results / new_run_id()

    def make() -> Guest:
        return QemuGuest(found, spec.profile, folder / spec.id, Wishes(acceleration=accel, scale=scale))

    say_so = _saying(aside, spec, quiet=quiet)
    result = measure_coverage(found, vmlinux, make, globs, say_so, explore=seconds, seed=seed)
    _keep(folder, result, read_sources(sources_for(store, found, vmlinux), FILES))
    if as_json:
        click.echo(json.dumps(coverage_json(result), indent=1))
    else:
        click.echo("\n".join(coverage_lines(result)))
        click.echo(f"written to {folder}: coverage.json, coverage.html")
    return 3 if result.lost else 0


def _one(specs: Sequence[CellSpec]) -> Sequence[CellSpec]:
    if len(specs) != 1:
        raise UsageError(f"one kernel at a time: this means {some_of(spec.id for spec in specs)}")
    return specs


def _saying(aside: Console, spec: CellSpec, *, quiet: bool) -> Callable[[str], None]:
    def say(text: str) -> None:
        if not quiet:
            aside.print(f"{spec.id}: {text}", highlight=False, markup=False, soft_wrap=True)

    return say


def _keep(folder: Path, result: CoverageResult, sources: Mapping[str, Sequence[str]]) -> None:
    with telling(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "coverage.json", json.dumps(coverage_json(result), indent=1).encode())
        write_atomically(folder / "coverage.html", coverage_page(result, sources).encode())
