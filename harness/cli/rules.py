"""``sealmatrix rules``: the contract, as the judge reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.cli import options as shared
from harness.errors import UsageError, nearest
from harness.model.codec import whole_rule_json
from harness.model.rule import Known, ProbeName, Rule
from harness.payload.build import probe_list, trace
from harness.reports.style import print_table, screen
from harness.reproducer.program import reproducer, written_probe
from harness.reproducer.trace import parse_trace
from harness.rules.load import load_catalogue, rule_named
from harness.runs.run_store import seen_by_runs

_TRIED = 20  # probes that are tried before a rule is said to have no C program


@click.group()
def rules() -> None:
    """List and show rules: what is promised, where it is promised, and what tests it.

    \b
    sealmatrix rules list --level required
    sealmatrix rules show munmap-blocked
    """


@rules.command("list")
@click.option("--family", help="Only this family.")
@click.option("--level", type=click.Choice(["required", "permitted", "open", "uncovered"]), help="Only this level.")
@shared.JSON_TABLE
def list_rules(family: str | None, level: str | None, as_json: bool) -> None:
    """List the rules."""
    chosen = [
        rule for rule in load_catalogue().values() if family in (None, rule.family) and level in (None, rule.level)
    ]
    if as_json:
        click.echo(json.dumps([_rule_json(rule, ()) for rule in chosen], indent=1))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("rule", "contract", "level", "outcome", "statement"):
        table.add_column(heading, overflow="fold", no_wrap=heading != "statement")
    for rule in chosen:
        table.add_row(rule.id, rule.contract, rule.level, rule.outcome, escape(rule.statement))
    print_table(screen(), table)


@rules.command("show")
@click.argument("rule_id", metavar="RULE")
@click.option(
    "--probe", "probe_id", metavar="PROBE", help="Probe to reproduce [default: the first that has a program]."
)
@click.option("--reproducer", "as_program", is_flag=True, help="Print a stand-alone C program for one probe.")
@shared.RUNS
@shared.JSON
def show_rule(rule_id: str, probe_id: str | None, as_program: bool, results: Path, as_json: bool) -> None:
    """Show one rule: its statement, its sources, its probes, and what the last runs saw.

    \b
    sealmatrix rules show munmap-blocked
    sealmatrix rules show munmap-blocked --reproducer > reproducer.c
    cc reproducer.c && ./a.out
    """
    rule = rule_named(load_catalogue(), rule_id)
    names = (ProbeName(p.operation, p.region, p.span, p.layout) for p in probe_list())
    probes = [name for name in names if rule.speaks_for(name)]
    if as_program or probe_id:
        click.echo(_program(rule, _candidates(rule, probes, probe_id)), nl=False)
        return
    if as_json:
        click.echo(json.dumps(_rule_json(rule, probes), indent=1))
        return
    console = Console(highlight=False, soft_wrap=True)
    thread = f" (the mail thread wants: {rule.thread})" if rule.thread else ""
    console.print(f"[bold]{rule.id}[/]  {rule.contract}, family {rule.family}")
    console.print(f"  {escape(rule.statement)}")
    console.print(f"  level     {rule.level}")
    console.print(f"  outcome   {rule.outcome}{thread}{', atomic' if rule.atomic else ''}")
    if rule.outcome == "blocked":
        console.print(f"  refusal   {' or '.join(rule.errnos)}")
    for source in rule.sources:
        console.print(f"  source    {escape(source)}")
    for known in rule.known:
        console.print(f"  known     {_known(known)}")
    for need in rule.needs:
        console.print(f"  needs     {need}")
    for run, cells in seen_by_runs(results, rule.id):
        console.print(f"  run       {run}")
        for cell, status, reason in cells:
            console.print(f"    {cell}  [bold]{status}[/]  {escape(reason)}")
    if probes:
        console.print(f"  program   {escape(_program_or_why_not(rule, probes))}")
    console.print(f"  probes    {len(probes)}")
    for probe in probes:
        console.print(f"    {probe.id}  {probe.layout}")


def _candidates(rule: Rule, probes: Sequence[ProbeName], wanted: str | None) -> Sequence[ProbeName]:
    by_id = {probe.id: probe for probe in probes}
    if not by_id:
        raise UsageError(f"{rule.id} has no probe")
    if wanted is None:
        return _plainest_first(rule, probes)
    if wanted not in by_id:
        near = nearest(wanted, by_id, listed_by=f"sealmatrix rules show {rule.id}")
        raise UsageError(f"{rule.id} has no probe {wanted}{near}")
    return [by_id[wanted]]


def _plainest_first(rule: Rule, probes: Sequence[ProbeName]) -> Sequence[ProbeName]:
    """The probes with the one in front that a program was written for; the rest in the payload's order."""
    return sorted(probes, key=lambda probe: probe.id != written_probe(rule))


def _program(rule: Rule, candidates: Sequence[ProbeName]) -> str:
    """The reproducer of the first that can be written down. Raises ``UsageError`` of the last where none can."""
    for probe in candidates[:-1]:
        with suppress(UsageError):
            return reproducer(rule, probe, parse_trace(trace(probe.id)))
    return reproducer(rule, candidates[-1], parse_trace(trace(candidates[-1].id)))


def _program_or_why_not(rule: Rule, probes: Sequence[ProbeName]) -> str:
    """The command that prints the rule's C program; where there is none, why."""
    try:
        _program(rule, _plainest_first(rule, probes)[:_TRIED])
    except UsageError as why:
        return f"none: {why}"
    return f"sealmatrix rules show {rule.id} --reproducer"


def _known(known: Known) -> str:
    def version(value: tuple[int, int, int] | None) -> str:
        return "…" if value is None else ".".join(map(str, value))

    kernels = f"{version(known.where.since)} to before {version(known.where.until)}"
    arches = f" on {', '.join(known.where.arches)}" if known.where.arches else ""
    return escape(f"{kernels}{arches}: {known.reason} [{known.source}]")


def _rule_json(rule: Rule, probes: Sequence[ProbeName]) -> dict[str, Any]:
    facts = whole_rule_json(rule)
    return facts | {"probes": [probe.id for probe in probes]} if probes else facts
