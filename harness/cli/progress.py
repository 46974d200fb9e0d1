"""Progress of a run while it goes: a live table on a terminal, plain lines where there is none.

Cells tell what they do from their own threads. Telling only stores an event; drawing happens at a fixed, low rate in
a thread of rich's, so that a fast payload cannot make the harness busy.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.model.verdict import STATUSES, Status
from harness.reports.style import MARKS, Ink
from harness.runs.model import OnProgress, ProgressEvent

_DRAWN_PER_SECOND = 4
_BAR = 20
# Lines of the screen left free for what was printed before.
_SPARE_LINES = 4
# What a terminal with too few lines shows first.
_URGENCY = {"probing": 0, "exploring": 0, "judging": 0, "pushing": 0, "booting": 1, "done": 2, "waiting": 3}


@contextmanager
def progress(console: Console, quiet: bool, planned: Sequence[str]) -> Iterator[OnProgress]:
    """Show how the cells (ids, in the order of the run) get on until the block ends, however it ends.

    Yields what to call with each event, from any thread. ``quiet`` shows nothing.
    """
    if quiet:
        yield _ignore
    elif console.is_terminal:
        board = Board(planned, Ink.of(console), time.monotonic)
        drawn = Live(
            console=console,
            get_renderable=lambda: board.table(console.height - _SPARE_LINES),
            refresh_per_second=_DRAWN_PER_SECOND,
            transient=True,
        )
        with drawn:
            yield board.on_progress
    else:
        yield Lines(console, time.monotonic).on_progress


def _ignore(told: ProgressEvent) -> None:
    """Quiet."""


class Lines:
    """One line for each change of a cell's stage, and one for its end."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._console, self._clock, self._begun = console, clock, clock()
        self._ink = Ink.of(console)
        self._stages: dict[str, str] = {}
        self._lock = threading.Lock()

    def on_progress(self, told: ProgressEvent) -> None:
        """Print the event if it is news."""
        with self._lock:
            if self._stages.get(told.cell) == told.stage:
                return
            self._stages[told.cell] = told.stage
            why = ended(told) if told.stage == "done" else told.note
            what = f"{told.stage}: {why}" if why else told.stage
            line = f"{self._clock() - self._begun:7.1f} s  {told.cell}  {what}"
            self._console.print(Text(self._ink.safe(line)), soft_wrap=True)


class Board:
    """The last event of each cell, and the table that shows them."""

    def __init__(self, planned: Sequence[str], ink: Ink, clock: Callable[[], float]) -> None:
        self._ink, self._clock = ink, clock
        self._lock = threading.Lock()
        self._told = {cell: (ProgressEvent(cell, "waiting", 0.0), 0.0) for cell in planned}

    def on_progress(self, told: ProgressEvent) -> None:
        """Keep the event until the table is drawn."""
        with self._lock:
            self._told[told.cell] = (told, self._clock())

    def table(self, height: int) -> Group:
        """Draw the cells in the run's order; those that do not fit are counted in the last line."""
        with self._lock:
            told = list(self._told.values())
        now = self._clock()
        fitting = max(1, height - 1)
        shown = {id(entry) for entry in sorted(told, key=lambda e: _URGENCY[e[0].stage])[:fitting]}
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
        for entry in told:
            if id(entry) in shown:
                table.add_row(*self._row(*entry, now))
        rest = Counter(entry[0].stage for entry in told if id(entry) not in shown)
        more = Text(", ".join(f"{n} more {stage}" for stage, n in rest.items()), style="dim")
        return Group(table, more) if rest else Group(table)

    def _row(self, told: ProgressEvent, since: float, now: float) -> tuple[Text, ...]:
        running = told.stage not in ("waiting", "done")
        seconds = told.seconds + (now - since if running else 0.0)
        elapsed = Text("" if told.stage == "waiting" else f"{seconds:.0f} s", justify="right")
        style = "dim" if told.stage == "waiting" else ""
        return Text(self._ink.safe(told.cell), style=style), Text(told.stage, style=style), elapsed, self._state(told)

    def _state(self, told: ProgressEvent) -> Text:
        if told.stage == "done":
            status = worst(told)
            return Text(self._ink.safe(ended(told)), style=MARKS[status].style if status else "")
        if not told.planned or told.note:
            return Text(self._ink.safe(told.note))
        full = _BAR * min(told.probes, told.planned) // told.planned
        return Text(f"[{'#' * full}{' ' * (_BAR - full)}] {told.probes}/{told.planned}")


def worst(told: ProgressEvent) -> Status | None:
    """The worst status of a cell's rules."""
    return next((status for status in STATUSES if told.statuses.get(status)), None)


def ended(told: ProgressEvent) -> str:
    """How a cell ended: ``12 pass, 3 skip``, worst first, and why it was lost where it was."""
    counted = told.statuses
    sums = ", ".join(f"{counted[status]} {status}" for status in STATUSES if counted.get(status))
    sums = sums or "no rule was judged"
    return f"{sums}; {told.note}" if told.note else sums
