"""``sealmatrix cost``: what system calls on memory cost, counted in instructions."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from harness.bisect.cost import PROFILE, cost_row
from harness.cli import options as shared
from harness.cli.announce import hush
from harness.cli.given import NONE, Words, meant_cells
from harness.cli.run import preparing
from harness.cost.functions import FunctionCosts, functions, plugin
from harness.cost.measure import cost_program, cost_rows, measure
from harness.cost.model import DEFAULT_BY, CostTable, chosen_rows, without_number
from harness.errors import Interrupted, UsageError, some_of
from harness.guests.model import Guest
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
from harness.kernels.resolve import Resolution, provide
from harness.kernels.store import telling
from harness.matrix.load import default_path, load_matrix
from harness.matrix.model import CellSpec, Matrix, Profile
from harness.model.atomic_files import write_atomically
from harness.processes.children import doing
from harness.reports.cost import (
    Costed,
    cost_json,
    cost_junit,
    cost_lines,
    cost_page,
    functions_json,
    functions_lines,
)
from harness.runs.run_store import new_run_id

Measured = TypeVar("Measured", CostTable, FunctionCosts)


@click.command()
@click.argument("kernels", nargs=-1, metavar="[KERNEL]...")
@click.option("--against", metavar="K", help="Compare each kernel with this one.")
@click.option(
    "--row", "rows", multiple=True, metavar="ROW", help="Only these: munmap, munmap/8, 'mprotect/*/none'; repeatable."
)
@click.option(
    "--by",
    type=click.FloatRange(0.0),
    default=DEFAULT_BY,
    show_default=True,
    metavar="PERCENT",
    help="With --against: report growth of at least this many per cent.",
)
@click.option(
    "--functions", "by_function", metavar="ROW", help="Show to which functions of the kernel the cost of ROW goes."
)
@click.option("--list", "listing", is_flag=True, help="List what can be measured, and exit.")
@shared.KERNELS_OF_SELECTION
@shared.ARCHITECTURES
@click.option(
    "-p",
    "--profile",
    default=PROFILE,
    show_default=True,
    metavar="NAME",
    help="A machine profile with `counted: true`.",
)
@click.option(
    "-j", "--jobs", type=click.IntRange(1), help="Kernels at a time [default: number of cores]; it changes no count."
)
@shared.SCALE
@shared.OFFLINE
@shared.MATRIX
@shared.results("results/cost")
@shared.QUIET
@shared.JSON
def cost(
    kernels: tuple[str, ...],
    against: str | None,
    rows: tuple[str, ...],
    by: float,
    by_function: str | None,
    listing: bool,
    selection: str | None,
    arches: tuple[str, ...],
    profile: str,
    jobs: int | None,
    scale: float,
    offline: bool,
    path: Path | None,
    results: Path,
    quiet: bool,
    as_json: bool,
) -> int:
    """Count the instructions that system calls on memory take, with and without sealed memory around.

    \b
    sealmatrix cost debian-6.12                                    the table of one kernel
    sealmatrix cost debian-newest --against debian-6.12            what grew, and what shrank
    sealmatrix cost -s nightly -a x86_64 --row munmap --row mmap   along the versions
    sealmatrix cost debian-newest --against debian-6.12 --functions mprotect/8     and in which functions
    sealmatrix cost ~/linux --against debian-newest --by 1         your own build

    The guest's clock counts its instructions, so the numbers are the same on a busy machine as on an idle one. They are
    instructions under this emulator, not seconds: docs/use/cost.md explains what they can tell.
    Exit status: 0 nothing grew, 1 something grew by --by per cent or more, 3 a kernel gave no complete answer,
    130 interrupted.
    """
    names = cost_rows()
    if listing:
        click.echo("\n".join(f"{row:28} {what}" for row, what in names.items()))
        return 0
    wanted = chosen_rows(tuple(names), rows)
    row = cost_row(by_function) if by_function else ""
    quiet = quiet or as_json
    aside = Console(stderr=True)
    hush(quiet)
    matrix = load_matrix(path or default_path())
    words = Words(given=kernels, selection=selection, arches=arches, profiles=(profile,), offline=offline, against=NONE)
    with preparing(aside, quiet=quiet) as say:
        meant = meant_cells(matrix, words, say)
        others = meant_cells(meant.matrix, replace(words, given=(against,), selection=None), say) if against else None
        specs = list({spec.id: spec for spec in (*meant.specs, *(others.specs if others else ()))}.values())
        _refuse_uncounted(specs)
        resolution = provide((others or meant).matrix, specs, offline=offline, progress=say)
    for arch in dict.fromkeys(spec.arch for spec in specs):
        cost_program(arch)
    folder = results / new_run_id()
    run = _CostRun(folder, resolution, scale, wanted, aside, quiet)
    compared = others.specs if others else ()
    if row:
        try:
            found = run.each(specs, lambda spec: run.by_function(spec, row), jobs)
        except CutShort as cut:
            raise _interrupted(
                cut, specs, lambda ended: _functions(meant.specs, compared, ended, as_json=as_json)
            ) from cut
        return _functions(meant.specs, compared, found, as_json=as_json)

    def told(tables: Mapping[str, CostTable]) -> list[Costed]:
        costed = _costed(meant.specs, compared, tables, by)
        _keep(folder, costed, names)
        if as_json:
            click.echo(json.dumps([cost_json(one) for one in costed], indent=1))
        else:
            click.echo("\n".join(cost_lines(costed)))
            click.echo(f"written to {folder}: cost.json, cost.html, junit.xml")
        return costed

    try:
        costed = told(run.each(specs, run.one, jobs))
    except CutShort as cut:
        raise _interrupted(cut, specs, told) from cut
    codes = {one.exit_code for one in costed}
    return 3 if 3 in codes else 1 if 1 in codes else 0


class CutShort(KeyboardInterrupt):
    """An interrupt while kernels are measured. ``ended`` is what was measured by then."""

    def __init__(self, asked: KeyboardInterrupt, ended: Mapping[str, Any]) -> None:
        super().__init__(*asked.args)
        self.ended = ended


def _interrupted(cut: CutShort, specs: Sequence[CellSpec], tell: Callable[[Mapping[str, Any]], object]) -> Interrupted:
    """What is said of an interrupt, after ``tell`` has told and kept what was measured by then."""
    if cut.ended:
        tell(cut.ended)
    left = some_of(spec.id for spec in specs if spec.id not in cut.ended)
    done = f"{len(cut.ended)} of {len(specs)} kernels were counted"
    return Interrupted(f"interrupted{doing(cut)}; {done}; not counted: {left}")


def _costed(
    specs: Sequence[CellSpec], others: Sequence[CellSpec], tables: Mapping[str, CostTable], by: float
) -> list[Costed]:
    """The tables that there are, each beside that of the kernel it is compared with."""
    return [Costed(tables[spec.id], _other(spec, others, tables), by) for spec in specs if spec.id in tables]


def counted_profile(matrix: Matrix) -> Profile:
    """The machine profile that costs are counted on. Raises ``UsageError`` where the matrix has none."""
    profile = matrix.profiles.get(PROFILE)
    if profile is None or not profile.counted:
        raise UsageError(f"{matrix.path}: costs need a profile {PROFILE!r} with `counted: true`")
    return profile


def count_kernels(
    matrix: Matrix,
    pairs: Sequence[tuple[Kernel, CostTable | None]],
    folder: Path,
    *,
    scale: float,
    aside: Console,
    quiet: bool,
) -> tuple[str, ...]:
    """Count on these kernels, and write the reports into ``folder``; beside each stands what it is compared with.

    Returns a line for each kernel whose costs could not be counted, or not all.
    """
    profile = counted_profile(matrix)
    for arch in dict.fromkeys(kernel.arch for kernel, _ in pairs):
        cost_program(arch)
    specs = [CellSpec(matrix.kernels[kernel.name], kernel.arch, profile) for kernel, _ in pairs]
    resolution = Resolution({(kernel.name, kernel.arch): kernel for kernel, _ in pairs})
    run = _CostRun(folder, resolution, scale, (), aside, quiet)
    rows = cost_rows()

    def keep(tables: Mapping[str, CostTable]) -> None:
        both = [(tables.get(spec.id), other) for spec, (_, other) in zip(specs, pairs, strict=True)]
        _keep(folder, [Costed(table, other, DEFAULT_BY) for table, other in both if table], rows)

    try:
        tables = run.each(specs, run.one, None)
    except CutShort as cut:
        keep(cut.ended)  # the next time only the others are counted
        raise
    keep(tables)
    told = ((spec.id, uncounted(tables[spec.id], rows)) for spec in specs)
    return tuple(f"{name}: {why}" for name, why in told if why)


def uncounted(table: CostTable, rows: Collection[str]) -> str:
    """Why a kernel has no number for some of ``rows``; "" where it has all."""
    if table.lost:
        return f"its costs were not counted: {table.lost}"
    if not (lacking := without_number(table, rows)):
        return ""
    row, why = next(iter(lacking.items()))
    return f"{len(lacking)} of {len(rows)} costs have no number, the first is {row}: {why}"


def _functions(
    specs: Sequence[CellSpec], others: Sequence[CellSpec], found: Mapping[str, FunctionCosts], *, as_json: bool
) -> int:
    pairs = [(found[spec.id], _other(spec, others, found)) for spec in specs if spec.id in found]
    if as_json:
        click.echo(json.dumps([functions_json(here, there) for here, there in pairs], indent=1))
    else:
        click.echo("\n".join(line for here, there in pairs for line in functions_lines(here, there)))
    return 3 if any(one.lost for pair in pairs for one in pair if one) else 0


def _refuse_uncounted(specs: Sequence[CellSpec]) -> None:
    for spec in specs:
        if not spec.profile.counted:
            raise UsageError(
                f"profile {spec.profile.name}: its clock counts no instructions; "
                f"use --profile {PROFILE}, or give it `counted: true`"
            )


def _other(spec: CellSpec, others: Sequence[CellSpec], found: Mapping[str, Measured]) -> Measured | None:
    """What was measured of the kernel that a cell is compared with."""
    return next((found.get(other.id) for other in others if other.arch == spec.arch and other.id != spec.id), None)


@dataclass(frozen=True)
class _CostRun:
    """What all kernels of one call have in common."""

    folder: Path
    resolution: Resolution
    scale: float
    rows: tuple[str, ...]
    aside: Console
    quiet: bool
    guests: list[Guest] = field(default_factory=list)

    def each(
        self, specs: Sequence[CellSpec], work: Callable[[CellSpec], Measured], jobs: int | None
    ) -> Mapping[str, Measured]:
        """Do the work for each cell, several at a time. Interrupted, end the guests: nobody waits for their answers.
        Raises ``CutShort`` with those there are."""
        with ThreadPoolExecutor(jobs or os.cpu_count() or 1, "cost") as pool:
            coming = {spec.id: pool.submit(work, spec) for spec in specs}
            try:
                return {name: one.result() for name, one in coming.items()}
            except KeyboardInterrupt as asked:
                pool.shutdown(wait=False, cancel_futures=True)
                ended = {name: one for name, one in coming.items() if one.done() and not one.cancelled()}
                for guest in self.guests:
                    guest.stop()
                raise CutShort(asked, {k: one.result() for k, one in ended.items() if not one.exception()}) from asked

    def one(self, spec: CellSpec) -> CostTable:
        """Measure one kernel; each in a thread that lives as long as its guest."""
        kernel = self.resolution.kernels[spec.kernel.name, spec.arch]
        if not isinstance(kernel, Kernel):
            return CostTable(spec.kernel.name, spec.arch, lost=str(kernel))

        say = partial(self._say, spec)
        say("booting")
        table = measure(kernel, spec.profile, lambda: self._guest(kernel, spec), self.rows, say)
        say(f"incomplete: {table.lost}" if table.lost else f"{len(table.costs)} costs")
        return replace(table, kernel=spec.kernel.name, sha256=kernel.sha256)

    def by_function(self, spec: CellSpec, row: str) -> FunctionCosts:
        """Measure one row of one kernel, function by function."""
        kernel = self.resolution.kernels[spec.kernel.name, spec.arch]
        if not isinstance(kernel, Kernel):
            return FunctionCosts(spec.kernel.name, spec.arch, row, lost=str(kernel))
        self._say(spec, "booting")
        with tempfile.TemporaryDirectory(prefix="sealmatrix-") as scratch:
            counted = Path(scratch) / "counted"
            loaded = plugin(spec.arch, counted)
            found = functions(kernel, row, lambda: self._guest(kernel, spec, loaded), counted)
        self._say(spec, f"no answer: {found.lost}" if found.lost else "measured")
        return replace(found, kernel=spec.kernel.name)

    def _guest(self, kernel: Kernel, spec: CellSpec, loaded: str = "") -> Guest:
        wishes = Wishes(acceleration="tcg", scale=self.scale, load=float(os.cpu_count() or 1), plugin=loaded)
        guest = QemuGuest(kernel, spec.profile, self.folder / spec.id, wishes)
        self.guests.append(guest)
        return guest

    def _say(self, spec: CellSpec, text: str) -> None:
        if not self.quiet:
            self.aside.print(f"{spec.id}: {text}", highlight=False, markup=False, soft_wrap=True)


def _keep(folder: Path, costed: Sequence[Costed], names: dict[str, str]) -> None:
    with telling(folder):
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps([cost_json(one) for one in costed], indent=1)
        write_atomically(folder / "cost.json", text.encode())
        write_atomically(folder / "junit.xml", cost_junit(costed).encode())
        write_atomically(folder / "cost.html", cost_page(costed, names).encode())
