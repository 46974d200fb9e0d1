"""What ``sealmatrix mutants`` does and prints where the mutants are mechanical."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from textwrap import shorten
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.errors import UsageError, nearest
from harness.kernels.sources import SourceTree
from harness.model.architectures import Arch
from harness.mutants.mechanical.model import MechanicalMutant, choose_mechanical
from harness.mutants.mechanical.neighbours import Neighbours
from harness.mutants.mechanical.reviewed import load_reviewed
from harness.mutants.mechanical.table import FATES, UNCOUNTED, Score, ScoreLine, fate_of, score, why_equivalent
from harness.mutants.records import MutantRecord, Records
from harness.mutants.workshop import MutationProgress, OnMutationProgress
from harness.reports.style import print_table, screen

_COLUMNS = (*FATES, *UNCOUNTED, "inapplicable")
_CODE_WIDTH = 70
_HEADINGS = {**UNCOUNTED, "inapplicable": "not built in"}


def mechanical_of(
    origin: SourceTree, arch: Arch, only: Sequence[str], on_progress: OnMutationProgress = lambda heard: None
) -> tuple[MechanicalMutant, ...]:
    """The mechanical mutants of a source. Raises ``UsageError``, also where the parser is not installed."""
    try:
        from harness.mutants.mechanical.made import mechanical_mutants  # noqa: PLC0415
    except ModuleNotFoundError as problem:
        raise UsageError(
            f"mechanical mutants need tree-sitter ({problem.name} is not installed): "
            "pip install 'sealmatrix[mechanical]'"
        ) from problem
    on_progress(MutationProgress("looking for code that seals in", origin.where, 0, 0))
    return choose_mechanical(mechanical_mutants(origin.path, arch, load_reviewed()), only)


def learning(near: Neighbours, on_progress: OnMutationProgress) -> OnMutationProgress:
    """Have ``near`` hear what killed which mutant."""

    def heard(event: MutationProgress) -> None:
        if event.record is not None and event.record.state == "killed":
            near.learn(event.record.mutant, event.record.probes.items())
        on_progress(event)

    return heard


def tried_mechanical(results: Path) -> Mapping[str, MutantRecord]:
    """The newest record of each mechanical mutant that was tried."""
    folders = sorted(results.glob("*/session.json"), key=lambda path: path.stat().st_mtime)
    return {r.mutant: r for folder in folders for r in Records(folder.parent).all() if r.about}


def list_mechanical(mutants: Sequence[MechanicalMutant], results: Path, *, as_json: bool) -> None:
    """Print what a tree has, and what became of each."""
    tried, reviewed = tried_mechanical(results), load_reviewed()

    def fate(mutant: MechanicalMutant) -> str:
        record = tried.get(mutant.id)
        return fate_of(record, reviewed) if record else "untried"

    if as_json:
        click.echo(json.dumps([{"id": m.id, "fate": fate(m), **m.told} for m in mutants], indent=1))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("mutant", "part", "fate", "line", "was", "becomes"):
        table.add_column(heading, no_wrap=heading == "mutant", overflow="fold")
    for mutant in mutants:
        about = mutant.about
        where = f"{about.file}:{about.line}"
        texts = (escape(_short(about.was)), escape(_short(about.becomes or "nothing")))
        table.add_row(mutant.id, about.part, fate(mutant), where, *texts)
    console = screen()
    print_table(console, table)
    console.print(f"{len(mutants)} mutants", highlight=False)


def _short(code: str) -> str:
    """The beginning of it: a change may be of a whole loop, and ``mutants show`` prints all of that."""
    return shorten(code, _CODE_WIDTH, placeholder=" …")


def show_mechanical(record: MutantRecord, *, as_json: bool) -> None:
    """Print one mutant and what noticed it."""
    reviewed = load_reviewed()
    why = why_equivalent(record, reviewed)
    if as_json:
        click.echo(json.dumps({**record_json(record), "reviewed": why}, indent=1))
        return
    about, console = record.about, Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{record.mutant}[/]  {about['operator']} in {escape(about['function'])} ({about['part']})")
    console.print(escape(str(about["diff"])))
    console.print(f"  {fate_of(record, reviewed)}{': ' + escape(record.reason) if record.reason else ''}")
    for rule, how in record.by.items():
        console.print(f"  noticed by {rule} ({escape(how)}) {record.probes.get(rule, '')}".rstrip())
    if record.by and not record.whole:
        console.print("  (asked until the first failure; others may notice it, too)")
    if why:
        console.print(f"  reviewed as equivalent: {escape(why)}")


def record_json(record: MutantRecord) -> dict[str, Any]:
    """A mechanical mutant and its fate, for programs."""
    return {
        "mutant": record.mutant,
        **record.about,
        "state": record.state,
        "by": dict(record.by),
        "probes": dict(record.probes),
        "whole": record.whole,
        "lost": list(record.lost),
        "reason": record.reason,
        "seconds": dict(record.seconds),
    }


def print_score(records: Records, only: Sequence[str], *, every: bool = False, as_json: bool) -> int:
    """Print the score of a session's mechanical mutants, and return the exit status."""
    session = records.session()
    if session is None:
        raise UsageError(f"{records.folder}: has no run of mutants")
    chosen = _chosen([record for record in records.all() if record.about], only)
    reviewed = load_reviewed()
    found = score(chosen, reviewed)
    if as_json:
        mutants = [record_json(record) for record in chosen]
        session_json = {"source": session.source, "release": session.release, "arch": session.arch}
        click.echo(json.dumps({**session_json, **found.to_json(), "mutants": mutants}, indent=1))
        return found.exit_code
    console = screen()
    console.print(f"[bold]{session.suite}[/] against {escape(session.source)} ({session.release}, {session.arch})")
    for heading, lines in (("function", found.functions), ("operator", found.operators), ("part", found.parts)):
        print_table(console, _table(heading, lines, found.total))
    _print_words(console, found, chosen if every else ())
    return found.exit_code


def _chosen(records: Sequence[MutantRecord], only: Sequence[str]) -> list[MutantRecord]:
    def named(record: MutantRecord, glob: str) -> bool:
        names = (record.mutant, *(str(record.about[name]) for name in ("function", "file", "operator", "part")))
        return any(fnmatchcase(name, glob) for name in names)

    for glob in only:
        if not any(named(record, glob) for record in records):
            near = nearest(glob, [r.mutant for r in records], listed_by="sealmatrix mutants report --mechanical --all")
            raise UsageError(f"no mechanical mutant matches {glob}{near}")
    return [record for record in records if not only or any(named(record, glob) for glob in only)]


def _table(heading: str, lines: Sequence[ScoreLine], total: ScoreLine) -> Table:
    """One line for each, and all together; fates that nobody has are left out."""
    columns = [column for column in _COLUMNS if column in total.counts]
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(heading, overflow="fold")
    for column in (*(_HEADINGS.get(column, column) for column in columns), "score"):
        table.add_column(column, justify="right")
    for line in (*lines, total):
        score_text = "" if line.score is None else f"{line.score:.1f} %"
        cells = [str(line.counts.get(column, "")) for column in columns]
        table.add_row(line.name, *cells, score_text, style="bold" if line is total else "")
    return table


def print_alone(console: Console, alone: Mapping[str, Sequence[str]]) -> None:
    """Say of each rule which mutants it is the only one to notice: what would go unseen without it."""
    for rule, mutants in alone.items():
        console.print(f"noticed by {rule} alone: {', '.join(mutants)}", highlight=False, soft_wrap=True)


def _print_words(console: Console, found: Score, every: Sequence[MutantRecord]) -> None:
    for record in every:
        noticed = ", ".join(f"{rule} ({how})" for rule, how in record.by.items()) or record.reason
        console.print(f"  {record.state} {record.mutant}: {escape(noticed)}", highlight=False, soft_wrap=True)
    for title, records in (
        ("survived, and nobody has reviewed it", found.gaps),
        ("reviewed as equivalent, and noticed all the same", found.wrong),
        ("no answer", found.unanswered),
    ):
        for record in records:
            about = record.about
            told = f"{_short(str(about['was']))} → {_short(str(about['becomes'] or 'nothing'))}"
            console.print(f"  {title}: {record.mutant}: {escape(told)}", highlight=False, soft_wrap=True)
    print_alone(console, found.alone)
    times = ", ".join(f"{name} {seconds} s" for name, seconds in found.seconds.items())
    console.print(
        f"{sum(found.total.counts.values())} mutants: {found.total.counted} count, {found.total.noticed} are noticed"
        + (f", {found.together} of them by two rules or more" if found.together else "")
        + (f"; median of one that was tried: {times}" if times else ""),
        highlight=False,
        soft_wrap=True,
    )
