"""``sealmatrix bugs``: bugs that really happened, which kernels have them, and what of ours notices each."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from harness.bugs.record import Bug, load_bugs
from harness.cli import options as shared
from harness.errors import UsageError, nearest
from harness.kernels.argument import Reading, read_arguments
from harness.kernels.model import Kernel
from harness.kernels.resolve import provide
from harness.kernels.store import Store
from harness.matrix.load import default_path, load_matrix
from harness.matrix.plan import plan_cells
from harness.model.verdict import EXIT_FAILED, EXIT_NO_ANSWER, EXIT_OK
from harness.model.version import version_order
from harness.reports.style import print_table, screen

_VERSION = re.compile(r"\d+\.\d+(\.\d+)?(-rc\d+)?\Z")


@click.group()
def bugs() -> None:
    """Real bugs in sealing and in the kernel code it depends on.

    \b
    sealmatrix bugs list
    sealmatrix bugs show cve-2025-40040
    sealmatrix bugs check debian-6.16.3
    """


@bugs.command("list")
@shared.JSON_TABLE
def list_bugs(as_json: bool) -> None:
    """List the bugs, the versions affected by each, and which of our tests notice it."""
    found = tuple(load_bugs().bugs.values())
    if as_json:
        click.echo(json.dumps([bug_json(bug) for bug in found], indent=1))
        return
    _print(found)
    unnoticed = sum(1 for bug in found if bug.unnoticed)
    click.echo(f"{len(found)} bugs; {len(found) - unnoticed} are noticed, {unnoticed} are not, and the record says why")


@bugs.command("show")
@click.argument("bug_id", metavar="BUG")
@shared.JSON
def show_bug(bug_id: str, as_json: bool) -> None:
    """Show one bug."""
    known = load_bugs().bugs
    bug = known.get(bug_id.lower())
    if bug is None:
        raise UsageError(f"{bug_id}: no such bug{nearest(bug_id, known, listed_by='sealmatrix bugs list')}")
    if as_json:
        click.echo(json.dumps(bug_json(bug), indent=1))
        return
    for name, text in (
        ("bug", f"{bug.id}: {bug.title}"),
        ("wrong", bug.wrong),
        ("versions", bug.range),
        ("commits", f"broken by {bug.broken}, fixed by {bug.fixed}"),
        ("noticed by", bug.noticed),
        ("mutants", ", ".join(bug.mutants) or "none"),
        ("source", bug.source),
    ):
        click.echo(f"{name:11} {text}")


@bugs.command("check")
@click.argument("kernels", nargs=-1, required=True, metavar="KERNEL...")
@shared.ARCHITECTURES
@shared.OFFLINE
@shared.JSON
def check(kernels: tuple[str, ...], arches: tuple[str, ...], offline: bool, as_json: bool) -> int:
    """Show which of the bugs a kernel has, going by its upstream version.

    \b
    sealmatrix bugs check 6.16.3
    sealmatrix bugs check debian-6.12.43 debian-newest

    A distribution may have backported the fix: run the rules to be sure. Exit status: 0 none, 1 some, 3 the record does
    not cover the version. What was published later than the record is in no answer.
    """
    record = load_bugs()
    versions = {word: word for word in kernels if _VERSION.match(word)}
    versions |= _versions([word for word in kernels if word not in versions], arches, offline=offline)
    found = {word: record.of(version) for word, version in versions.items()}
    outside = {word: record.outside(version) for word, version in versions.items()}
    if as_json:
        told = [
            {
                "kernel": word,
                "version": versions[word],
                "covered": not outside[word],
                "bugs": [bug_json(bug) for bug in of],
            }
            for word, of in found.items()
        ]
        click.echo(json.dumps(told, indent=1))
    else:
        for word, of in found.items():
            version = "" if word == versions[word] else f" ({versions[word]})"
            click.echo(f"{word}{version}: {_answer(of, outside[word], record.on)}")
            for bug in of:
                click.echo(f"  {bug.id}: {bug.title}\n    {bug.range}\n    noticed by {bug.noticed}")
    if any(found.values()):
        return EXIT_FAILED
    return EXIT_NO_ANSWER if any(outside.values()) else EXIT_OK


def _answer(of: Sequence[Bug], outside: str, on: date) -> str:
    if not outside:
        return "affected by" if of else f"none of the recorded bugs; the record is of {on}"
    return f"affected by, and perhaps by others, for {outside}" if of else f"not known: {outside}"


def _versions(words: Sequence[str], arches: Sequence[str], *, offline: bool) -> dict[str, str]:
    """The upstream versions of kernels that are named or lie somewhere. Raises ``UsageError``."""
    if not words:
        return {}
    reading = Reading(store=Store(), say=lambda text: None, offline=offline)
    found: dict[str, str] = {}
    matrix = load_matrix(default_path())
    for word in words:
        matrix, names = read_arguments(matrix, [word], reading)
        specs = plan_cells(matrix, kernels=names, arches=arches)[:1]
        (kernel, *_) = provide(matrix, specs, offline=offline).kernels.values()
        if not isinstance(kernel, Kernel):
            raise UsageError(str(kernel))
        version = kernel.version or kernel.release
        if not version_order(version):
            raise UsageError(f"{word}: {version} tells no upstream version; give one, such as 6.12.43")
        found[word] = version
    return found


def _print(found: Sequence[Bug]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("bug", "versions", "what", "noticed by"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "bug")
    for bug in found:
        table.add_row(bug.id, escape(bug.range), escape(bug.title), escape(bug.noticed))
    print_table(screen(), table)


def bug_json(bug: Bug) -> dict[str, Any]:
    """For programs."""
    return {
        "id": bug.id,
        "cve": bug.cve,
        "title": bug.title,
        "wrong": bug.wrong,
        "broken_by": bug.broken,
        "mended_by": bug.fixed,
        "since": bug.since,
        "upstream": bug.upstream,
        "mended": dict(bug.mended),
        "rules": list(bug.rules),
        "exploration": bug.exploration,
        "mutants": list(bug.mutants),
        "unnoticed": bug.unnoticed,
        "source": bug.source,
    }
