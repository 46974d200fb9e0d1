"""``sealmatrix doctor``: what is missing on this machine, and the exact command that cures it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click
from rich.text import Text

from harness.cli import options as shared
from harness.cli.checks import (
    ToolCheck,
    boot_checks,
    compiler_check,
    install_line,
    kernel_checks,
    python_check,
    read_tools,
    store_check,
    stored_kernels,
    tool_checks,
)
from harness.errors import InfrastructureError
from harness.guests.accel import KvmMemory
from harness.kernels.store import Store
from harness.matrix.load import default_path, load_matrix
from harness.matrix.plan import plan_cells
from harness.reports.style import screen

SCHEMA = 1
_STYLE = {"ok": "green", "note": "yellow", "wrong": "bold red"}


@click.command()
@shared.MATRIX
@click.option("--offline", is_flag=True, help="Do not contact the archive.")
@shared.JSON_TABLE
def doctor(path: Path | None, offline: bool, as_json: bool) -> int:
    """Show what the default matrix needs that is missing on this machine, and how to install it.

    It checks tools, Python packages, the store, the archive and the compiler, and boots one stored kernel for each
    architecture, also under KVM, even if that failed before. Exit status: 0 the default matrix can run, 3 it cannot.
    """
    console = screen(highlight=False)
    checks = []
    for check in examine(path, offline=offline):
        checks.append(check)
        if not as_json:
            console.print(_line(check), soft_wrap=True)
    ready = all(check.status != "wrong" for check in checks)
    install = install_line(checks)
    if as_json:
        told = [asdict(check) for check in checks]
        click.echo(json.dumps({"schema_version": SCHEMA, "ready": ready, "install": install, "checks": told}, indent=1))
    else:
        if install:
            console.print(f"\nto install what is absent:\n  {install}", soft_wrap=True)
        console.print("\nthe default matrix can run" if ready else "\nthe default matrix cannot run")
    return 0 if ready else InfrastructureError.exit_code


def examine(path: Path | None, *, offline: bool) -> Iterator[ToolCheck]:
    """Yield every finding as it is made. Raises ``UsageError`` for a matrix that does not load."""
    matrix = load_matrix(path or default_path())
    cells = plan_cells(matrix)
    store = Store()
    memory = KvmMemory()
    memory.forget()
    yield from tool_checks(read_tools())
    yield python_check()
    room = store_check(store)
    yield room
    if room.status == "wrong":
        return  # everything below is kept in the store
    yield compiler_check()
    stored = stored_kernels(matrix, cells, store)
    yield from kernel_checks(cells, stored, store, offline=offline)
    yield from boot_checks(cells, stored, memory)


def _line(check: ToolCheck) -> Text:
    remedy = f"; remedy: {check.remedy}" if check.remedy else ""
    return Text.assemble((f"{check.status:<6}", _STYLE[check.status]), f"{check.name:<28}{check.found}{remedy}")
