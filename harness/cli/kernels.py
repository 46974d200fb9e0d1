"""``sealmatrix kernels``: which kernels the matrix names, what they were resolved to, what is stored."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from harness.cli import options as shared
from harness.cli.kernel_rows import Row, entry_row, facts_of_kernel, offer_row, print_facts, print_rows
from harness.errors import InfrastructureError, UsageError, nearest
from harness.kernels.builds import stored_builds
from harness.kernels.debian import Candidate
from harness.kernels.lock import read_lock
from harness.kernels.model import Kernel
from harness.kernels.prune import remove_builds, unused_builds
from harness.kernels.resolve import Resolution, available, provide, resolve
from harness.kernels.store import Store
from harness.matrix.load import find_matrix, load_matrix, lock_path
from harness.matrix.model import CellSpec, Matrix
from harness.matrix.plan import plan_cells
from harness.matrix.sources.debian import DebianSource
from harness.model.architectures import Arch
from harness.model.run_record import read_run
from harness.runs.run_store import run_folders


@click.group()
def kernels() -> None:
    """List, fetch and pin the kernels of the matrix.

    \b
    sealmatrix kernels list                        entries, and what is locked and stored of them
    sealmatrix kernels list --available            every build the archive offers for them
    sealmatrix kernels fetch -s nightly            everything the nightly run needs, for use offline
    sealmatrix kernels lock --update debian-6.12   take the newest 6.12 from now on
    sealmatrix kernels show debian-6.12:arm64
    sealmatrix kernels prune --dry-run             stored kernels that nothing names
    """


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options every command here takes."""
    for option in (
        shared.JSON_TABLE,
        shared.MATRIX,
        shared.ARCHITECTURES,
        click.option("-s", "--selection", metavar="NAME", help="A selection of the matrix."),
        click.argument("names", nargs=-1, metavar="[NAME|GLOB]..."),
    ):
        command = option(command)
    return command


@kernels.command("list")
@click.option("--available", "offered", is_flag=True, help="List every build the archive has for these entries.")
@click.option("--refresh", is_flag=True, help="With --available: download the package indexes again.")
@_options
def list_(
    *,
    names: tuple[str, ...],
    selection: str | None,
    arches: tuple[str, ...],
    path: Path | None,
    as_json: bool,
    offered: bool,
    refresh: bool,
) -> int:
    """List the entries of the matrix, or those that are named.

    STATE is "stored" (can run offline), "locked" (pinned, but must be fetched), "changed" (the entry has changed since
    it was locked) or "open" (not pinned yet).
    """
    matrix = load_matrix(find_matrix(path))
    cells = _cells(matrix, names, selection, arches, everything=True)
    store = Store()
    if offered:
        found, failures = _offers(cells, store, refresh=refresh)
        print_rows([offer_row(candidate, store) for candidate in found], as_json)
        for failure in failures:
            click.echo(f"sealmatrix: {failure}", err=True)
        return InfrastructureError.exit_code if failures else 0
    lock = read_lock(lock_path(matrix))
    images = {build.image: build for build in stored_builds(store)}
    print_rows([entry_row(cell, lock, images, store) for cell in cells], as_json)
    return 0


@kernels.command()
@click.option("--refresh", is_flag=True, help="Download the package indexes again first.")
@shared.QUIET
@_options
def fetch(
    *,
    names: tuple[str, ...],
    selection: str | None,
    arches: tuple[str, ...],
    path: Path | None,
    as_json: bool,
    refresh: bool,
    quiet: bool,
) -> int:
    """Fetch kernels into the store, so that runs need no network (selection "default" if none is named).

    Exit status 3 when one is not available; the others are fetched all the same.
    """
    matrix = load_matrix(find_matrix(path))
    cells = _cells(matrix, names, selection, arches)
    return _report(provide(matrix, cells, refresh=refresh, progress=None if quiet else _tell), as_json)


@kernels.command()
@click.option("--update", is_flag=True, help="Ignore the lock file and take the newest builds.")
@shared.QUIET
@_options
def lock(
    *,
    names: tuple[str, ...],
    selection: str | None,
    arches: tuple[str, ...],
    path: Path | None,
    as_json: bool,
    update: bool,
    quiet: bool,
) -> int:
    """Write kernels.lock, which pins the build of each entry (selection "default" if none is named).

    Kernels are fetched for it, because the lock holds the digests of what is in the packages.
    """
    matrix = load_matrix(find_matrix(path))
    cells = _cells(matrix, names, selection, arches)
    done = provide(matrix, cells, refresh=update, update=update, progress=None if quiet else _tell)
    code = _report(done, as_json)
    if done.unlocked is not None:
        raise done.unlocked
    if not as_json:
        what = f"{len(done.found)} entries written" if done.found else "nothing changed"
        click.echo(f"{lock_path(matrix)}: {what}")
    return code


@kernels.command()
@click.argument("name", metavar="NAME[:ARCH]")
@shared.MATRIX
@shared.JSON_TABLE
def show(name: str, path: Path | None, as_json: bool) -> int:
    """Show a stored kernel: release, origin, digests, image, page size, options that matter to sealing."""
    matrix = load_matrix(find_matrix(path))
    entry, _, arch = name.partition(":")
    if entry not in matrix.kernels:
        near = nearest(entry, matrix.kernels, listed_by="sealmatrix kernels list")
        raise UsageError(f"no kernel {entry!r} in {matrix.path}{near}")
    cells = plan_cells(matrix, kernels=[entry], arches=[arch] if arch else [])
    pairs = [(cell.kernel, cell.arch) for cell in cells]
    found = resolve(pairs, store=Store(), lock=read_lock(lock_path(matrix)), offline=True).kernels
    facts = [facts_of_kernel(kernel) for kernel in found.values() if isinstance(kernel, Kernel)]
    failures = [kernel for kernel in found.values() if isinstance(kernel, InfrastructureError)]
    if as_json:
        click.echo(json.dumps(facts, indent=1))
    else:
        for kernel in facts:
            print_facts(kernel)
    for failure in failures:
        click.echo(f"sealmatrix: {failure}; to fetch it: sealmatrix kernels fetch {shlex.quote(entry)}", err=True)
    return InfrastructureError.exit_code if failures else 0


@kernels.command()
@shared.DRY_RUN
@shared.RUNS
@shared.MATRIX
def prune(*, dry_run: bool, results: Path, path: Path | None) -> None:
    """Remove stored kernels that neither the lock file nor a run in the results folder names.

    What is removed is fetched again when it is asked for, as long as the archive has it.
    """
    store, matrix = Store(), load_matrix(find_matrix(path))
    images = {entry.image for entry in read_lock(lock_path(matrix)).entries.values()}
    for folder in run_folders(results):
        images |= {cell.kernel.sha256 for cell in read_run(folder).cells if cell.kernel}
    if not images:
        raise UsageError(f"{lock_path(matrix)} and {results} name no kernel; nothing would be kept")
    unused = unused_builds(store, images)
    for one in unused:
        said = "would remove" if dry_run else "removed"
        click.echo(f"{said} {one.build.release} {one.build.arch} ({one.size / 1e6:.1f} MB)")
    if not dry_run:
        remove_builds(store, unused)
    click.echo(f"{len(unused)} kernels, {sum(one.size for one in unused) / 1e6:.1f} MB")


def _cells(
    matrix: Matrix, names: Sequence[str], selection: str | None, arches: Sequence[str], *, everything: bool = False
) -> tuple[CellSpec, ...]:
    """One cell for each kernel and architecture meant; profiles play no part here."""
    globs = ["*"] if everything and not names and selection is None else names
    cells = plan_cells(matrix, selection=selection, kernels=globs, arches=arches)
    return tuple({(cell.kernel.name, cell.arch): cell for cell in cells}.values())


def _offers(cells: Iterable[CellSpec], store: Store, *, refresh: bool) -> tuple[list[Candidate], list[str]]:
    """Every build the suites of these cells offer, each once, and why some suites could not be asked."""
    wanted: dict[tuple[str, str, Arch], DebianSource] = {}
    for cell in cells:
        source = cell.kernel.source
        if isinstance(source, DebianSource):
            for suite in source.suites:
                wanted[suite, source.flavour, cell.arch] = DebianSource((suite,), source.flavour, release="newest")
    found: list[Candidate] = []
    failures: list[str] = []
    for (_, _, arch), source in wanted.items():
        try:
            found += available(source, arch, store=store, refresh=refresh)
        except InfrastructureError as error:
            failures.append(str(error))
    return found, list(dict.fromkeys(failures))


def _report(done: Resolution, as_json: bool) -> int:
    rows: list[Row] = [
        {
            "kernel": name,
            "arch": arch,
            "release": kernel.release if isinstance(kernel, Kernel) else "",
            "image": kernel.image_format if isinstance(kernel, Kernel) else "",
            "sha256": kernel.sha256 if isinstance(kernel, Kernel) else "",
            "note": kernel.origin.note if isinstance(kernel, Kernel) else str(kernel),
        }
        for (name, arch), kernel in done.kernels.items()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        print_rows(
            [{**row, "sha256": row["sha256"][:12], "note": "" if row["release"] else "unavailable"} for row in rows]
        )
    for remark in done.remarks:
        click.echo(f"sealmatrix: {remark}", err=True)
    failures = [kernel for kernel in done.kernels.values() if isinstance(kernel, InfrastructureError)]
    for failure in failures:
        click.echo(f"sealmatrix: {failure}", err=True)
    return max((failure.exit_code for failure in failures), default=0)


def _tell(name: str, arch: str, text: str) -> None:
    click.echo(f"{name} {arch}: {text}", err=True)
