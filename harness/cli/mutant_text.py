"""Mutants and their fates for a person: progress, the report, one mutant's changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from harness.cli.mechanical import print_alone
from harness.errors import some_of
from harness.mutants.catalogue import load_mutants
from harness.mutants.model import Edit, Mutant
from harness.mutants.ours import OwnSuite
from harness.mutants.report import Report, ReportLine
from harness.mutants.workshop import MutationProgress, OnMutationProgress

_COLOURS = {
    "killed": "green",
    "survived": "bold red",
    "no-answer": "yellow",
    "not-built": "yellow",
    "identical": "yellow",
}


@contextmanager
def hearing(console: Console, *, quiet: bool) -> Iterator[OnMutationProgress]:
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
    text = some_of(f"{name} ({how})" for name, how in record.by.items()) or record.reason
    return f"[{heard.done}/{heard.total}] {heard.subject}: [{colour}]{record.state}[/]{spent} {escape(text)}".rstrip()


def print_report(report: Report, *, as_json: bool, every: bool = False) -> int:
    """Print what became of the mutants, and return the exit status."""
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=1))
        return report.exit_code
    console = Console(highlight=False, soft_wrap=True)
    session = report.session
    console.print(f"[bold]{session.suite}[/] against {escape(session.source)} ({session.release}, {session.arch})")
    if report.unasked:
        console.print(f"a part of the suite: {len(report.unasked)} rules were not asked")
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


def print_mutant(mutant: Mutant) -> None:
    """Print what a mutant changes in which sources."""
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


def mutant_json(mutant: Mutant) -> dict[str, Any]:
    """Return a mutant as `list --json` and `show --json` have it."""

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
