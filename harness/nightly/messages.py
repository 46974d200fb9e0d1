"""What is sent when something is new: one message for each cause, with the commands that repeat it. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from harness.explore.verdicts import is_generated
from harness.history.regressions import LIVING, Changed, Regression
from harness.runs.cells import plural


@dataclass(frozen=True)
class Message:
    """``key`` tells it from every other of its night; ``commands`` repeat what it says."""

    key: str
    event: str
    subject: str
    lines: tuple[str, ...]
    commands: tuple[str, ...] = ()
    regression: Regression | None = None

    @property
    def tells(self) -> str:
        """The key of another message that says no more than this one: that a regression was bisected."""
        one = self.regression
        return f"bisected-{one.name}" if one and one.bisected and self.event in ("new", "confirmed") else ""

    @property
    def text(self) -> str:
        """The whole message as plain text."""
        shown = [*self.lines, *([""] if self.commands else []), *(f"    {line}" for line in self.commands)]
        return "\n".join(shown) + "\n"


def messages(changed: Changed, alarms: Iterable[str], run: str, page: str) -> tuple[Message, ...]:
    """The messages of a night; none where nothing is new."""
    found = [
        _message(event, one, run, page)
        for event, ones in (
            ("new", changed.opened),
            ("confirmed", changed.confirmed),
            ("bisected", changed.bisected),
            ("fixed", changed.fixed),
        )
        for one in ones
    ]
    for alarm in alarms:
        cell = alarm.partition(":")[0]
        lines = (
            "A cell that had answered before was asked again, and answered differently:",
            alarm,
            f"run {run}, {page}",
        )
        subject = f"[sealmatrix] alarm: {cell} answers differently than before"
        found.append(
            Message(
                f"alarm-{cell}",
                "alarm",
                subject,
                lines,
                (shlex.join(["sealmatrix", "show", run, "--cell", f"{cell}*"]),),
            )
        )
    return tuple(found)


def _message(event: str, one: Regression, run: str, page: str) -> Message:
    where = ", ".join(one.cells)
    lines = [f"{one.name} ({one.state}): {one.sentence}", f"on {where}"]
    fixed = f", fixed in {one.fixed_in}" if one.fixed_in else ""
    lines.append(f"last good {one.good}, first bad {one.first}{fixed}")
    lines += [f"bisected: {one.bisected}"] if one.bisected else []
    lines.append(f"run {run}, {page}")
    subject = f"[sealmatrix] {event}: {one.name} {one.sentence}"
    commands = () if event == "fixed" else repeating(one)
    return Message(f"{event}-{one.name}", event, subject[:200], tuple(lines), commands, one)


def repeating(one: Regression) -> tuple[str, ...]:
    """The commands that repeat a regression: the cell again, its program in C, the search for where it began.
    What generated programs showed is explored again."""
    kernel, _, arch = one.cells[0].partition("~")[0].rpartition(".") if one.cells else ("", "", "")
    if not kernel:
        return ()
    cell = [kernel, "-a", arch]
    ends = ["-a", arch, "--good", one.good, "--bad", one.last]
    if one.kind == "cost":
        words = [["cost", *cell, "--row", one.probe], ["bisect", "--cost", one.probe, *ends]]
    elif is_generated(one.probe):
        words = [["explore", *cell]]
    else:
        words = [["run", "-k", *cell, *(["-r", one.probe] if one.probe else [])]]
        if one.rule and one.probe:
            words.append(["rules", "show", one.rule, "--probe", one.probe, "--reproducer"])
            words.append(["bisect", "--rule", one.rule, "--probe", one.probe, *ends])
    return tuple(shlex.join(["sealmatrix", *line]) for line in words)


def digest(known: Iterable[Regression], since: str) -> Message:
    """What is open, and what ended since a day (``2026-11-22``)."""
    everything = list(known)
    living = [one for one in everything if one.state in LIVING]
    ended = [one for one in everything if one.state not in LIVING and one.events and one.events[-1][0] >= since]
    lines = [f"{plural(len(living), 'regression')} open, {len(ended)} fixed or closed since {since}", ""]
    lines += [f"{one.name} ({one.state}): {one.sentence}, since {one.first}" for one in living]
    lines += [
        f"{one.name} ({one.state}{f' in {one.fixed_in}' if one.fixed_in else ''}): {one.sentence}" for one in ended
    ]
    return Message(f"digest-{since}", "digest", f"[sealmatrix] {lines[0]}", tuple(lines))
