"""Tables in a terminal: nothing is cut off, and sentences have room to be read."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from harness.cli.history import _table as history_table
from harness.cli.kernel_rows import print_rows
from harness.reports.style import print_table

STATEMENT = "munmap of a range that touches a sealed page fails with EPERM, and nothing in the range changes."


def printed(table: Table, width: int, *, terminal: bool = True) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.soft_wrap = not terminal
    print_table(console, table)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def rules() -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("rule", "level", "outcome", "statement"):
        table.add_column(heading, overflow="fold", no_wrap=heading != "statement")
    table.add_row("munmap-blocked-everywhere", "required", "interface", STATEMENT)
    return table


def test_a_sentence_stands_below_its_row_where_it_has_no_room_beside_it() -> None:
    head, *sentence = printed(rules(), 80)
    assert head.split() == ["munmap-blocked-everywhere", "required", "interface"]
    assert len(sentence) == 2
    assert all(line.startswith("    ") for line in sentence)
    assert " ".join(" ".join(sentence).split()) == STATEMENT


@pytest.mark.parametrize(("width", "terminal", "lines"), [(100, True, 3), (200, True, 2), (80, False, 2)])
def test_with_room_it_stands_beside_it_and_a_pipe_has_a_line_a_row(width: int, terminal: bool, lines: int) -> None:
    told = printed(rules(), width, terminal=terminal)
    assert told[0].split() == ["rule", "level", "outcome", "statement"]
    assert len(told) == lines


def test_two_columns_of_sentences_are_named() -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("bug", "what", "noticed by"):
        table.add_column(heading, overflow="fold")
    table.add_row("cve-2025-40040", STATEMENT, "\\[T] " + STATEMENT)
    told = " ".join(" ".join(printed(table, 80)).split())
    assert told == f"cve-2025-40040 what: {STATEMENT} noticed by: [T] {STATEMENT}"


def test_a_column_that_would_be_broken_letter_by_letter_stands_below() -> None:
    table = history_table("run", "started", "state", "exit", "cells", "rules")
    counts = "170 miss, 1 pass, 2 observed"
    table.add_row("20261130-092127-b600", "2026-11-30 09:21", "interrupted", "130", "1, 1 not clean", counts)
    row, below = printed(table, 80)
    assert row.endswith("interrupted  130  1, 1 not clean") and below.strip() == counts


def test_the_slowest_cells_keep_all_their_columns_in_80() -> None:
    headings = ("cell", "release", "acceleration", "runs", "mean", "longest", "boot")
    table = history_table(*headings)
    table.add_row("debian-6.12.x86_64", "6.12.117+deb13-cloud-amd64", "tcg", "3", "4.0 s", "8.2 s", "2.7 s")
    head, first, second = printed(table, 80)
    assert tuple(head.split()) == headings
    assert first.endswith("2.7 s")
    assert first.split()[1] + second.strip() == "6.12.117+deb13-cloud-amd64"


KERNEL = {
    "kernel": "debian-6.12-riscv", "arch": "riscv64", "asked": "debian trixie-backports cloud release=6.12",
    "release": "6.12.117+deb13-cloud-amd64", "state": "changed", "labels": ["stable", "full"],
}  # fmt: skip


def listed(monkeypatch: pytest.MonkeyPatch, width: int, *, terminal: bool = True) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.soft_wrap = not terminal
    monkeypatch.setattr("harness.cli.kernel_rows.screen", lambda: console)
    print_rows([KERNEL, {**KERNEL, "release": "", "labels": []}])
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_a_kernel_is_one_line_of_any_terminal_and_no_word_is_broken(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    head, first, second, *told = listed(monkeypatch, width)
    assert max(map(len, (head, first, second))) <= width
    assert {"kernel", "arch", "state", "release"} <= set(head.split())
    whole = {"debian-6.12-riscv", "riscv64", "changed"}
    assert whole <= set(first.split()) and whole <= set(second.split())
    left_out = {"asked", "labels"} - set(head.split())
    said = " ".join(told)
    assert all(name in said for name in left_out) and bool(told) == bool(left_out)
    assert ("…" in first) or width >= 120 or left_out


def test_a_list_of_kernels_that_is_piped_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    _, first, _ = listed(monkeypatch, 60, terminal=False)
    assert all(str(value) in first for name, value in KERNEL.items() if name != "labels") and "stable,full" in first
