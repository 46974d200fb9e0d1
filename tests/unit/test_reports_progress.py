"""Progress: lines where there is no terminal, a table where there is one, and a terminal that is left as it was."""

from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console

from harness.cli.progress import Board, Lines, progress
from harness.reports.style import Ink
from harness.runs.model import ProgressEvent, Stage

DONE = ProgressEvent("a", "done", 4.0, 3, 3, "", {"pass": 1, "fail": 1})


def piped() -> Console:
    return Console(file=io.StringIO(), width=100)


def terminal() -> Console:
    return Console(file=io.StringIO(), width=100, height=24, force_terminal=True)


def text(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def drawn(board: Board, height: int = 20) -> str:
    console = piped()
    console.print(board.table(height))
    return text(console)


def test_lines_are_one_for_each_stage_and_one_for_the_end() -> None:
    console = piped()
    with progress(console, quiet=False, planned=["a"]) as on_progress:
        for told in (
            ProgressEvent("a", "booting", 0),
            *(ProgressEvent("a", "probing", i, i, 3) for i in range(3)),
            DONE,
        ):
            on_progress(told)
    lines = [line.split(maxsplit=2)[2] for line in text(console).splitlines()]
    assert [line.split() for line in lines] == [
        ["a", "booting"], ["a", "probing"], ["a", "done:", "1", "fail,", "1", "pass"]
    ]  # fmt: skip


def test_a_cell_that_waits_says_for_whom() -> None:
    console = piped()
    lines = Lines(console, lambda: 0.0)
    board = Board(["a"], Ink.of(console), lambda: 0.0)
    for told in (
        ProgressEvent("a", "booting", 0),
        ProgressEvent("a", "waiting", 0, 0, 9, "board is used by process 7"),
        ProgressEvent("a", "booting", 1),
    ):
        lines.on_progress(told)
        board.on_progress(told)
        assert ("process 7" in drawn(board)) == (told.stage == "waiting")
    assert "a  waiting: board is used by process 7" in text(console)


def test_quiet_says_nothing() -> None:
    for console in (piped(), terminal()):
        with progress(console, quiet=True, planned=["a"]) as on_progress:
            on_progress(DONE)
        assert text(console) == ""


def test_a_lost_cell_says_why_on_one_safe_line() -> None:
    console = piped()
    Lines(console, lambda: 0.0).on_progress(ProgressEvent("a", "done", 1.0, 0, 3, "panic\x1b[2J\nmore"))
    assert text(console).count("\n") == 1
    assert "no rule was judged; panic\\x1b[2J more" in text(console)


def test_the_table_shows_stage_time_and_share() -> None:
    now = 100.0
    board = Board(["a", "b"], Ink(rich=True), lambda: now)
    board.on_progress(ProgressEvent("a", "probing", 7.0, 5, 10))
    now = 103.0
    shown = drawn(board)
    assert "a  probing  10 s  [##########          ] 5/10" in shown
    assert "b  waiting" in shown
    board.on_progress(DONE)
    assert "a  done     4 s  1 fail, 1 pass" in drawn(board)


def test_a_low_terminal_shows_the_running_cells_and_counts_the_others() -> None:
    cells = [f"c{i}" for i in range(30)]
    board = Board(cells, Ink(rich=True), lambda: 0.0)
    board.on_progress(ProgressEvent("c29", "probing", 1.0, 1, 2))
    board.on_progress(ProgressEvent("c0", "done", 1.0))
    shown = drawn(board, height=4)
    assert len(shown.splitlines()) == 4
    assert "c29  probing" in shown
    assert "27 more waiting" in shown


def test_the_cursor_comes_back_after_an_interruption() -> None:
    console = terminal()
    with pytest.raises(KeyboardInterrupt), progress(console, quiet=False, planned=["a"]) as on_progress:
        on_progress(ProgressEvent("a", "booting", 0.0))
        raise KeyboardInterrupt
    assert text(console).rindex("\x1b[?25h") > text(console).rindex("\x1b[?25l")


def test_telling_from_many_threads_loses_nothing() -> None:
    console = piped()
    stages: tuple[Stage, ...] = ("booting", "probing", "done")
    with progress(console, quiet=False, planned=[]) as on_progress:
        threads = [
            threading.Thread(target=lambda n=n: [on_progress(ProgressEvent(f"c{n}", s, 0.0)) for s in stages])
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(text(console).splitlines()) == 24
