"""``sealmatrix mutants``: kernels broken on purpose, and whether a suite notices."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.cli import options as shared
from harness.cli.announce import hush
from harness.cli.mechanical import (
    learning,
    list_mechanical,
    mechanical_of,
    print_score,
    show_mechanical,
    tried_mechanical,
)
from harness.cli.mutant_text import hearing, mutant_json, print_mutant, print_report
from harness.config.duration import seconds_of
from harness.errors import UsageError, nearest
from harness.guests.accel import AccelWanted
from harness.kernels.sources import SourceTree, debian_source
from harness.kernels.store import default_root
from harness.kernels.tree_source import fragment_file
from harness.matrix.load import default_path, load_matrix, shipped_path
from harness.matrix.model import Profile
from harness.matrix.plan import asked_of
from harness.model.architectures import Arch
from harness.mutants.catalogue import choose, load_mutants
from harness.mutants.exploring import ExploreSuite
from harness.mutants.first_failure import FirstFailureSuite
from harness.mutants.foreign import ForeignSuite
from harness.mutants.mechanical.neighbours import Neighbours
from harness.mutants.model import Mutant
from harness.mutants.ours import OwnSuite
from harness.mutants.records import Records
from harness.mutants.report import EXIT_NO_ANSWER, Report, make_report
from harness.mutants.runner import build_mutants, run_mutants
from harness.mutants.suite import Suite
from harness.mutants.workshop import MutationOptions, MutationProgress, OnMutationProgress, work_folder
from harness.reports.style import print_table, screen
from harness.rules.load import load_catalogue
from harness.suites.gather import SuiteWords

RESULTS = Path("results") / "mutants"
MECHANICAL = click.option(
    "--mechanical", is_flag=True, help="Every small change of the code that seals, instead of the catalogue."
)


_RESULTS = click.option(
    "--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True, help="Folder that has the runs."
)
_FRAGMENTS = click.option(
    "--fragment",
    "fragments",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="NAME",
    help="Configure kernels with this, too: debug, kasan, or a file; repeatable.",
)


@click.group()
def mutants() -> None:
    """Mutation testing: build kernels with one injected bug each and check that the tests fail.

    \b
    sealmatrix mutants list
    sealmatrix mutants run                                  our suite, Debian's 6.12 sources
    sealmatrix mutants run --source debian:7.3 --only 'fork-*'
    sealmatrix mutants run --source debian:7.3 --fragment debug --only deep     with the kernel's assertions
    sealmatrix mutants build                                once, before several suites are run
    sealmatrix mutants run --tree ~/linux --suite ./mseal_test
    sealmatrix mutants run --tree ~/linux --mechanical      every small change of the code that seals
    sealmatrix mutants report
    """


@mutants.command("list")
@click.option("--only", multiple=True, metavar="GLOB", help="By id or kind; repeatable.")
@MECHANICAL
@click.option("--source", metavar="debian:X.Y", help="Of --mechanical: a kernel source [default: debian:6.12].")
@click.option("--tree", type=click.Path(path_type=Path, file_okay=False), help="Of --mechanical: a kernel source tree.")
@shared.ARCHITECTURE
@_RESULTS
@shared.JSON_TABLE
def list_mutants(
    only: tuple[str, ...],
    mechanical: bool,
    source: str | None,
    tree: Path | None,
    arch: Arch,
    results: Path,
    as_json: bool,
) -> None:
    """List the mutants, with --mechanical those that a tree has, and what became of them."""
    if mechanical:
        list_mechanical(mechanical_of(_origin(source, tree, lambda heard: None), arch, only), results, as_json=as_json)
        return
    chosen = choose(load_mutants(), only)
    if as_json:
        click.echo(json.dumps([mutant_json(mutant) for mutant in chosen], indent=1))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("mutant", "kind", "breaks", "what"):
        table.add_column(heading, no_wrap=heading == "mutant", overflow="fold")
    for mutant in chosen:
        table.add_row(mutant.id, mutant.kind, " ".join(mutant.breaks), escape(mutant.what))
    console = screen()
    print_table(console, table)
    console.print(f"{len(chosen)} mutants", highlight=False)


@mutants.command("show")
@click.argument("name", metavar="MUTANT")
@_RESULTS
@shared.JSON
def show_mutant(name: str, results: Path, as_json: bool) -> None:
    """Show one mutant: what it changes in which sources, and of a mechanical one what noticed it in --results."""
    if (known := tried_mechanical(results).get(name)) is not None:
        show_mechanical(known, as_json=as_json)
        return
    (mutant,) = _exactly(name)
    if as_json:
        click.echo(json.dumps(mutant_json(mutant), indent=1))
        return
    print_mutant(mutant)


@mutants.command("run")
@click.option("--source", metavar="debian:X.Y", help="A distribution's kernel source [default: debian:6.12].")
@click.option(
    "--tree", type=click.Path(path_type=Path, file_okay=False), help="A kernel source tree; it is not modified."
)
@shared.ARCHITECTURE
@_FRAGMENTS
@click.option("--only", multiple=True, metavar="GLOB", help="Mutants by id or kind; repeatable.")
@click.option(
    "-r", "--run", "probes", multiple=True, metavar="GLOB", help="Only these probes of our suite; repeatable."
)
@click.option("-s", "--selection", metavar="NAME", help="Only the probes of this shipped selection.")
@click.option(
    "--explore",
    "exploring",
    metavar="TIME",
    help="Explore each kernel for this time instead of running our suite: 120s.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of the exploration.")
@click.option(
    "--suite", "--suite-binary", metavar="SUITE", help="Run a foreign suite instead of ours: a name, or a program."
)
@click.option("--suite-arg", "arguments", multiple=True, metavar="ARG", help="Argument for that program; repeatable.")
@click.option(
    "-p",
    "--profile",
    "profile_name",
    default="two-cpus",
    show_default=True,
    metavar="NAME",
    help="Machine profile to boot on.",
)
@shared.ACCEL
@shared.COMPILERS
@MECHANICAL
@click.option("--whole", is_flag=True, help="Ask a mechanical mutant every rule, not only until one fails.")
@click.option("--again", is_flag=True, help="Run mutants again that an earlier run has decided.")
@_RESULTS
@shared.QUIET
@shared.JSON
def run_them(
    source: str | None,
    tree: Path | None,
    arch: Arch,
    fragments: tuple[Path, ...],
    only: tuple[str, ...],
    probes: tuple[str, ...],
    selection: str | None,
    exploring: str | None,
    seed: int,
    suite: str | None,
    arguments: tuple[str, ...],
    profile_name: str,
    accel: AccelWanted,
    jobs: int | None,
    mechanical: bool,
    whole: bool,
    again: bool,
    results: Path,
    quiet: bool,
    as_json: bool,
) -> int:
    """Build mutants and run a suite against each. Continues an interrupted run.

    Exit status: 0 every mutant was killed, 1 one survived, 3 one gave no answer, 130 interrupted.
    """
    probes = _meant_probes(exploring, suite, probes, selection)
    if whole and not mechanical:
        raise click.UsageError("--whole belongs to --mechanical; the catalogue's mutants are asked every rule anyway")
    hush(quiet or as_json)
    catalogued = () if mechanical else choose(load_mutants(), only)
    extra = tuple(map(fragment_file, fragments))
    profile = _profile(profile_name)
    with hearing(Console(stderr=True), quiet=quiet or as_json) as on_progress:
        origin = _origin(source, tree, on_progress)
        made = mechanical_of(origin, arch, only, on_progress) if mechanical else ()
        near = Neighbours(made)
        asked: Suite
        if exploring:
            asked = ExploreSuite(arch, profile, seconds_of(exploring), seed, acceleration=accel)
        elif suite:
            words = SuiteWords(suites=(suite,), arguments=arguments)
            asked = ForeignSuite(words, arch, profile, acceleration=accel)
        elif mechanical and not whole:
            asked = FirstFailureSuite(arch, profile, probes, acceleration=accel, ask_first=near.ask_first)
        else:
            asked = OwnSuite(arch, profile, probes, acceleration=accel)
        work = work_folder(default_root(), origin.where)
        task = MutationOptions(
            origin.path, origin.where, arch, made or catalogued, work, results,
            jobs=jobs, every=again, fragments=extra, quick=mechanical,
        )  # fmt: skip
        records = run_mutants(task, asked, learning(near, on_progress))
    if mechanical:
        return print_score(records, [mutant.id for mutant in made], as_json=as_json)
    return print_report(_report(records, catalogued), as_json=as_json)


def _meant_probes(
    exploring: str | None, suite: str | None, probes: tuple[str, ...], selection: str | None
) -> tuple[str, ...]:
    """The probes of our suite that are meant, none for all."""
    some = bool(probes) or selection is not None
    if exploring and (suite or some):
        raise click.UsageError("--explore cannot be combined with --run, --selection or --suite")
    if suite and some:
        raise click.UsageError("--run and --selection mean probes of our own suite; a --suite takes --suite-arg")
    if selection is None:
        return probes
    if probes:
        raise click.UsageError("--run and --selection exclude each other; give one")
    return asked_of(load_matrix(shipped_path()), selection).probes


@mutants.command("build")
@click.option("--source", metavar="debian:X.Y", help="A distribution's kernel source [default: debian:6.12].")
@click.option(
    "--tree", type=click.Path(path_type=Path, file_okay=False), help="A kernel source tree; it is not modified."
)
@shared.ARCHITECTURE
@_FRAGMENTS
@click.option("--only", multiple=True, metavar="GLOB", help="Mutants by id or kind; repeatable.")
@shared.COMPILERS
@shared.QUIET
def build_them(
    source: str | None,
    tree: Path | None,
    arch: Arch,
    fragments: tuple[Path, ...],
    only: tuple[str, ...],
    jobs: int | None,
    quiet: bool,
) -> int:
    """Build mutants in advance and keep their kernels, so that `run` needs no compiler.

    Exit status: 0 all are there, 3 one does not build, 130 interrupted.
    """
    chosen = choose(load_mutants(), only)
    extra = tuple(map(fragment_file, fragments))
    with hearing(Console(stderr=True), quiet=quiet) as on_progress:
        origin = _origin(source, tree, on_progress)
        work = work_folder(default_root(), origin.where)
        problems = build_mutants(
            MutationOptions(origin.path, origin.where, arch, chosen, work, RESULTS, jobs=jobs, fragments=extra),
            on_progress,
        )
    for name, problem in problems.items():
        click.echo(f"{name}: {problem}", err=True)
    click.echo(f"{origin.where}, {arch}: {len(chosen)} mutants asked for, {len(problems)} do not build")
    return EXIT_NO_ANSWER if problems else 0


@mutants.command("report")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False), required=False)
@click.option("--only", multiple=True, metavar="GLOB", help="Mutants by id or kind; repeatable.")
@_RESULTS
@click.option("--all", "every", is_flag=True, help="Every mutant, with all the rules that noticed it.")
@MECHANICAL
@shared.JSON
def report(
    folder: Path | None, only: tuple[str, ...], results: Path, every: bool, mechanical: bool, as_json: bool
) -> int:
    """Show the result of a run: FOLDER, or the newest in --results.

    \b
    sealmatrix mutants report                         the mutants that survived, and the rules that killed none
    sealmatrix mutants report --all --only atomicity  which rule noticed what
    """
    if folder is None:
        found = sorted(results.glob("*/session.json"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise UsageError(f"{results}: has no run of mutants; to make one: sealmatrix mutants run")
        folder = found[-1].parent
    if mechanical or Records(folder).has_only_mechanical():
        return print_score(Records(folder), only, every=every, as_json=as_json)
    return print_report(_report(Records(folder), choose(load_mutants(), only)), as_json=as_json, every=every)


def _exactly(name: str) -> tuple[Mutant, ...]:
    known = load_mutants()
    if name not in known:
        return choose(known, [name])[:1]
    return (known[name],)


def _origin(source: str | None, tree: Path | None, on_progress: OnMutationProgress) -> SourceTree:
    if source and tree:
        raise click.UsageError("--source and --tree exclude each other; give one")
    if tree is not None:
        return SourceTree(tree, f"tree {tree.resolve()}")
    kind, _, series = (source or "debian:6.12").partition(":")
    if kind != "debian" or not series.replace(".", "").isdecimal():
        raise UsageError(f"--source {source}: write debian: and a series, such as debian:6.12")
    return debian_source(series, lambda text: on_progress(MutationProgress(text, f"linux-source-{series}", 0, 0)))


def _profile(name: str) -> Profile:
    profiles = load_matrix(default_path()).profiles
    if name not in profiles:
        raise UsageError(f"--profile {name}: kernels.yaml has no such profile{nearest(name, profiles)}")
    return profiles[name]


def _report(records: Records, chosen: tuple[Mutant, ...]) -> Report:
    session = records.session()
    if session is None:
        raise UsageError(f"{records.folder}: has no run of mutants")
    fates = {mutant.id: record for mutant in chosen if (record := records.read(mutant.id)) is not None}
    return make_report(session, chosen, fates, load_catalogue() if session.suite == OwnSuite.name else {})
