"""``sealmatrix mutants``: kernels broken on purpose, and whether a suite notices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
    print_alone,
    print_score,
    show_mechanical,
    tried_mechanical,
)
from harness.config.duration import seconds_of
from harness.errors import UsageError, nearest
from harness.guests.accel import AccelWanted
from harness.kernels.sources import SourceTree, debian_source
from harness.kernels.store import default_root
from harness.kernels.tree_source import fragment_file
from harness.matrix.load import default_path, load_matrix
from harness.matrix.model import Profile
from harness.model.architectures import Arch
from harness.mutants.catalogue import choose, load_mutants
from harness.mutants.exploring import ExploreSuite
from harness.mutants.first_failure import FirstFailureSuite
from harness.mutants.foreign import ForeignSuite
from harness.mutants.mechanical.neighbours import Neighbours
from harness.mutants.model import Edit, Mutant
from harness.mutants.ours import OwnSuite
from harness.mutants.records import Records
from harness.mutants.report import EXIT_NO_ANSWER, Report, ReportLine, make_report
from harness.mutants.runner import (
    MutationOptions,
    MutationProgress,
    OnMutationProgress,
    build_mutants,
    run_mutants,
    work_folder,
)
from harness.mutants.suite import Suite
from harness.reports.style import print_table, screen
from harness.rules.load import load_catalogue
from harness.suites.gather import SuiteWords

RESULTS = Path("results") / "mutants"
MECHANICAL = click.option(
    "--mechanical", is_flag=True, help="Every small change of the code that seals, instead of the catalogue."
)
_COLOURS = {
    "killed": "green",
    "survived": "bold red",
    "no-answer": "yellow",
    "not-built": "yellow",
    "identical": "yellow",
}


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
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
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
        click.echo(json.dumps([_mutant_json(mutant) for mutant in chosen], indent=1))
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
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
@shared.JSON
def show_mutant(name: str, results: Path, as_json: bool) -> None:
    """Show one mutant: what it changes in which sources, and of a mechanical one what noticed it in --results."""
    if (known := tried_mechanical(results).get(name)) is not None:
        show_mechanical(known, as_json=as_json)
        return
    (mutant,) = _exactly(name)
    if as_json:
        click.echo(json.dumps(_mutant_json(mutant), indent=1))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{mutant.id}[/]  {mutant.kind}, breaks {' '.join(mutant.breaks)}")
    console.print(f"  {escape(mutant.what)}")
    if mutant.arches:
        console.print(f"  only on {', '.join(mutant.arches)}")
    if mutant.fragments:
        console.print(f"  only in kernels built with {', '.join(mutant.fragments)}")
    for series, edits in mutant.edits.items():
        console.print(f"  from {series[0]}.{series[1]} on")
        for edit in edits:
            for line in _edit_lines(edit):
                console.print(f"    {escape(line)}")
        if why := mutant.equivalent.get(series):
            console.print(f"    equivalent: {escape(why)}")
    for series, why in mutant.absent.items():
        console.print(f"  not from {series[0]}.{series[1]} on: {escape(why)}")


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
@click.option("-p", "--profile", "profile_name", default="two-cpus", show_default=True, metavar="NAME")
@shared.ACCEL
@shared.COMPILERS
@MECHANICAL
@click.option("--whole", is_flag=True, help="Ask a mechanical mutant every rule, not only until one fails.")
@click.option("--again", is_flag=True, help="Run mutants again that an earlier run has decided.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
@shared.QUIET
@shared.JSON
def run_them(
    source: str | None,
    tree: Path | None,
    arch: Arch,
    fragments: tuple[Path, ...],
    only: tuple[str, ...],
    probes: tuple[str, ...],
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

    Exit status: 0 every mutant was killed, 1 one survived, 3 one gave no answer.
    """
    if exploring and (suite or probes):
        raise click.UsageError("--explore cannot be combined with --run or --suite")
    if suite and probes:
        raise click.UsageError("--run selects probes of our own suite; a --suite takes --suite-arg")
    if whole and not mechanical:
        raise click.UsageError("--whole belongs to --mechanical; the catalogue's mutants are asked every rule anyway")
    hush(quiet or as_json)
    catalogued = () if mechanical else choose(load_mutants(), only)
    extra = tuple(map(fragment_file, fragments))
    profile = _profile(profile_name)
    with _hearing(Console(stderr=True), quiet=quiet or as_json) as on_progress:
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
    return _print(_report(records, catalogued), as_json=as_json)


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

    Exit status: 0 all are there, 3 one does not build.
    """
    chosen = choose(load_mutants(), only)
    extra = tuple(map(fragment_file, fragments))
    with _hearing(Console(stderr=True), quiet=quiet) as on_progress:
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
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
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
            raise UsageError(f"{results}: has no run of mutants; `sealmatrix mutants run` makes one")
        folder = found[-1].parent
    if mechanical or Records(folder).has_only_mechanical():
        return print_score(Records(folder), only, every=every, as_json=as_json)
    return _print(_report(Records(folder), choose(load_mutants(), only)), as_json=as_json, every=every)


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


@contextmanager
def _hearing(console: Console, *, quiet: bool) -> Iterator[OnMutationProgress]:
    """Decided mutants as lines; what is going on as a status where there is a terminal."""
    if quiet:
        yield lambda heard: None
        return
    with console.status("starting") as status:

        def on_progress(heard: MutationProgress) -> None:
            if heard.record is not None:
                console.print(_fate(heard), highlight=False, soft_wrap=True)
            elif console.is_terminal:
                status.update(f"[{heard.done}/{heard.total}] {heard.stage} {escape(heard.subject)}")
            elif not heard.done:
                console.print(f"{heard.stage} {heard.subject}", highlight=False, markup=False, soft_wrap=True)

        yield on_progress


def _fate(heard: MutationProgress) -> str:
    record = heard.record
    assert record is not None
    colour = _COLOURS.get(record.state, "dim")
    spent = f" {sum(record.seconds.values()):.1f} s" if record.seconds else ""
    noticed = ", ".join(f"{name} ({how})" for name, how in list(record.by.items())[:3])
    more = f" and {len(record.by) - 3} more" if len(record.by) > 3 else ""
    text = f"{noticed}{more}" or record.reason
    return f"[{heard.done}/{heard.total}] {heard.subject}: [{colour}]{record.state}[/]{spent} {escape(text)}".rstrip()


def _print(report: Report, *, as_json: bool, every: bool = False) -> int:
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=1))
        return report.exit_code
    console = Console(highlight=False, soft_wrap=True)
    session = report.session
    console.print(f"[bold]{session.suite}[/] against {escape(session.source)} ({session.release}, {session.arch})")
    for line in report.lines:
        if every or line.state not in ("killed", "inapplicable", "untried"):
            console.print(_told(line))
    strange = [line.mutant.id for line in report.lines if line.state == "killed" and not line.as_meant]
    if strange and session.suite == OwnSuite.name:
        console.print(f"noticed by other rules than intended: {', '.join(strange)}")
    if report.idle and (len(report.lines) < len(load_mutants()) or "untried" in report.counts):
        console.print(f"{len(report.idle)} rules noticed no mutant that was tried")
    elif report.idle:
        console.print(f"rules that noticed nothing: {', '.join(report.idle)}")
    noun = "rules" if session.suite == OwnSuite.name else "checks"
    print_alone(console, report.alone)
    if report.unanswered:
        console.print(f"rules this kernel cannot answer: {', '.join(report.unanswered)}")
    console.print(f"{len(report.lines)} mutants: " + ", ".join(f"{n} {state}" for state, n in report.counts.items()))
    if report.together or report.alone:
        one = sum(len(mutants) for mutants in report.alone.values())
        console.print(f"{report.together} are noticed by two or more {noun}, {one} by one alone")
    return report.exit_code


def _told(line: ReportLine) -> str:
    colour = _COLOURS.get(line.state, "dim")
    noticed = ", ".join(f"{name} ({how})" for name, how in line.record.by.items()) if line.record else ""
    why = noticed or (line.record.reason if line.record else "") or line.equivalent
    return f"  [{colour}]{line.state}[/] {line.mutant.id}: {escape(line.mutant.what)}" + (
        f" ({escape(why)})" if why else ""
    )


def _mutant_json(mutant: Mutant) -> dict[str, Any]:
    def number(series: tuple[int, int]) -> str:
        return f"{series[0]}.{series[1]}"

    return {
        "id": mutant.id,
        "kind": mutant.kind,
        "what": mutant.what,
        "breaks": list(mutant.breaks),
        "arches": list(mutant.arches),
        "fragments": list(mutant.fragments),
        "equivalent": {number(series): why for series, why in mutant.equivalent.items()},
        "edits": {
            number(series): [{"file": e.file, "in": e.scope, "find": e.find, e.place: e.text} for e in edits]
            for series, edits in mutant.edits.items()
        },
        "absent": {number(series): why for series, why in mutant.absent.items()},
    }


def _edit_lines(edit: Edit) -> list[str]:
    where = f"{edit.file}, in {edit.scope}" if edit.scope else edit.file
    words = {"put": "becomes", "before": "gets before it", "after": "gets after it"}
    return [f"{where}:", f"  {edit.find}", f"  {words[edit.place]}", f"  {edit.text or '(nothing)'}"]
