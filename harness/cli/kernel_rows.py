"""What is told of kernels, as rows that are a table or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from harness.kernels.builds import Build
from harness.kernels.config import page_size
from harness.kernels.debian import Candidate
from harness.kernels.lock import Lock, Locked
from harness.kernels.model import Kernel
from harness.kernels.store import Store
from harness.matrix.model import CellSpec
from harness.reports.style import Page, print_table, screen

OPTIONS = (
    "MSEAL_SYSTEM_MAPPINGS",
    "CHECKPOINT_RESTORE",
    "ANON_VMA_NAME",
    "USERFAULTFD",
    "HUGETLBFS",
    "TRANSPARENT_HUGEPAGE",
    "SECRETMEM",
    "MEMFD_CREATE",
    "SYSVIPC",
    "SWAP",
    "NUMA",
    "KSM",
    "X86_INTEL_MEMORY_PROTECTION_KEYS",
    "ARM64_POE",
    "ARM64_MTE",
    "COMPAT",
    "IA32_EMULATION",
    "PROC_MEM_ALWAYS_FORCE",
    "PROC_MEM_FORCE_PTRACE",
    "PROC_MEM_NO_FORCE",
    "VIRTIO_CONSOLE",
)
"""Options that decide which rules can be asked, in the order ``show`` prints them."""
Row = Mapping[str, Any]


def entry_row(cell: CellSpec, lock: Lock, images: Mapping[str, Build], store: Store) -> Row:
    """An entry of the matrix: what it is locked to, and whether that is stored."""
    entry = lock.entries.get((cell.kernel.name, cell.arch))
    return {
        "kernel": cell.kernel.name,
        "arch": cell.arch,
        "asked": cell.kernel.source.asked,
        "release": entry.release if entry else "",
        "state": _state(cell, entry, images, store),
        "labels": list(cell.kernel.labels),
    }


def _state(cell: CellSpec, entry: Locked | None, images: Mapping[str, Build], store: Store) -> str:
    if entry is None:
        return "open"
    if entry.asked != cell.kernel.source.asked:
        return "changed"
    build = images.get(entry.image)
    return "stored" if build and store.holds(build.boot) and store.holds(build.config or build.boot) else "locked"


def offer_row(candidate: Candidate, store: Store) -> Row:
    """A build that an archive offers."""
    size = sum(package.size for package in candidate.needed)
    return {
        "version": candidate.version,
        "arch": candidate.arch,
        "flavour": candidate.flavour,
        "suite": candidate.suite,
        "package version": candidate.package_version,
        "MB": round(size / 1e6, 1),
        "state": "stored" if all(store.holds(package.sha256) for package in candidate.needed) else "",
    }


def facts_of_kernel(kernel: Kernel) -> Row:
    """All that is known of a stored kernel."""
    return {
        "kernel": kernel.name,
        "arch": kernel.arch,
        "flavour": kernel.flavour,
        "release": kernel.release,
        "version": kernel.version,
        "origin": kernel.origin.where,
        "note": kernel.origin.note,
        "packages": [" ".join(package) for package in kernel.origin.packages],
        "image": kernel.image_format,
        "image file": str(kernel.image),
        "image sha256": kernel.sha256,
        "config sha256": kernel.config_sha256,
        "page size": page_size(kernel.config),
        "options": {name: kernel.config.get(name, "n") for name in OPTIONS} if kernel.config else {},
    }


def print_facts(facts: Row) -> None:
    """Print that, one fact a line."""
    click.echo(f"{facts['kernel']} ({facts['arch']})")
    for key, value in facts.items():
        if key in ("kernel", "arch") or not value:
            continue
        lines = [f"{name}={setting}" for name, setting in value.items()] if isinstance(value, dict) else value
        for number, line in enumerate(lines if isinstance(lines, list) else [lines]):
            click.echo(f"  {key if number == 0 else '':<14} {line}")


def print_rows(rows: Sequence[Row], as_json: bool = False) -> None:
    """Print rows as a table, or as JSON."""
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    if not rows:
        return
    texts = {head: [_cell_text(row[head]) for row in rows] for head in rows[0]}
    console = screen()
    widths = _widths(texts, None if console.soft_wrap else console.width)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    for head, width in widths.items():
        table.add_column(head, overflow="ellipsis", no_wrap=True, max_width=width)
    for line in zip(*(texts[head] for head in widths), strict=True):
        table.add_row(*(Text(text) for text in line))
    print_table(console, table)
    if left_out := [head for head in texts if head not in widths]:
        page = Page(console)
        page.line(f"not shown, the terminal is too narrow: {', '.join(left_out)} (--json has everything)", style="dim")


_GAP = 2
_LEAST = 10  # narrower than this, a text that is cut says nothing
_CUT = ("release", "package version", "labels", "suite", "note", "sha256", "asked", "MB", "image")
"""Columns that are cut, or left out, where the terminal has no room for all; the first is the last to go."""


def _widths(texts: Mapping[str, Sequence[str]], room: int | None) -> dict[str, int]:
    """The columns that have room, and how much: every row stays one line."""
    needs = {head: max(map(len, (head, *column))) for head, column in texts.items()}
    if room is None:
        return needs
    given = {head: need for head, need in needs.items() if head not in _CUT}
    room -= sum(given.values()) + _GAP * len(given)
    for head in _CUT:
        if head in needs and room >= min(needs[head], _LEAST):
            given[head] = min(needs[head], room)
            room -= given[head] + _GAP
    return {head: given[head] for head in needs if head in given}


def _cell_text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
