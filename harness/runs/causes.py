"""A cause as every report tells it: the sentence, the plainest evidence, and the commands that follow from it.

The terminal, the page, Markdown, JUnit, ``verdicts.json``, qualification: each lays out what stands here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from harness.explore.keep import found_program
from harness.explore.verdicts import is_generated
from harness.model.architectures import ARCHITECTURES, Arch
from harness.model.rule import Rule
from harness.model.run_record import CellRecord, RunRecord
from harness.model.verdict import RuleResult, Verdict
from harness.model.version import version_order
from harness.runs.cells import together, upstream_version
from harness.runs.commands import (
    bisect_command,
    bisect_program_command,
    exec_command,
    program_command,
    repeat_command,
    replay_command,
    shell_command,
)
from harness.runs.model import RunDone
from harness.runs.programs import Reproduce, first_with_program, reproduce
from harness.verdicts.causes import Cause
from harness.verdicts.features import call_of, plainness

SOURCE = "repro.c"
"""What the commands call the program of a probe."""


@dataclass(frozen=True)
class Shared:
    """One cause, and the cells it was found on."""

    cause: Cause
    cells: tuple[str, ...]


def shared_causes(done: RunDone, cells: Collection[str] | None = None) -> list[Shared]:
    """What the failures have in common, gravest first; cells that fail alike are told together."""
    groups: dict[tuple[str, tuple[str, ...]], list[tuple[str, Cause]]] = {}
    for cell in done.record.cells if cells is None else [cell for cell in done.record.cells if cell.id in cells]:
        for cause in done.causes_of(cell.id):
            groups.setdefault((cause.headline, cause.rules), []).append((cell.id, cause))
    found = [Shared(group[0][1], tuple(cell for cell, _ in group)) for group in groups.values()]
    return sorted(found, key=lambda one: (one.cause.first.badness, -len(one.cause.probes)))


@dataclass(frozen=True)
class Command:
    """Something to do next: what it is for, and the line to paste into a shell."""

    what: str
    line: str


@dataclass(frozen=True, eq=False)
class ReportedCause:
    """One cause, with the cells it was found on; ``where`` names them for people. ``commands`` are for the first."""

    cause: Cause
    cells: tuple[str, ...]
    where: str
    commands: tuple[Command, ...]

    @property
    def sentence(self) -> str:
        """What broke, in which call and for which memory, and how much says so."""
        return self.cause.sentence

    @property
    def example(self) -> Verdict:
        """The plainest probe that shows it."""
        return self.cause.first

    @property
    def kinds(self) -> str:
        """How it shows, where that is in several ways: ``bypass (200), seal-lost (3)``."""
        kinds = self.cause.kinds
        return ", ".join(f"{kind} ({count})" for kind, count in kinds.items()) if len(kinds) > 1 else ""

    def evidence(self) -> list[str]:
        """What stands below the sentence, as plain lines: how it shows, where, and the plainest probe."""
        said = [f"as {self.kinds}"] if self.kinds else []
        said += [f"on {self.where}"] if self.where else []
        return [*said, f"for example {self.example.probe}: {self.example.reason}"]


def command_line(command: Command) -> str:
    """A command as a line of text: ``repeat: sealmatrix run …``."""
    return f"{command.what + ':':<8}{command.line}"


def told_causes(
    done: RunDone, make: Reproduce = reproduce, cells: Collection[str] | None = None
) -> tuple[ReportedCause, ...]:
    """What the failures of a run, or of some ``cells`` of it, have in common, gravest first."""
    found = shared_causes(done, cells)
    rules = _rules(done) if found else {}
    return tuple(_tell(done, one, rules, make) for one in found)


def _rules(done: RunDone) -> Mapping[str, Rule]:
    return {
        result.rule.id: result.rule
        for results in done.results.values()
        for result in results
        if isinstance(result.rule, Rule)
    }


def _tell(done: RunDone, one: Shared, rules: Mapping[str, Rule], make: Reproduce) -> ReportedCause:
    record = done.record
    cell = next(cell for cell in record.cells if cell.id == one.cells[0])
    where = together(record, one.cells) if len(record.cells) > 1 else ""
    return ReportedCause(one.cause, one.cells, where, tuple(_commands(done, cell, one.cause, rules, make)))


def _commands(
    done: RunDone, cell: CellRecord, cause: Cause, rules: Mapping[str, Rule], make: Reproduce
) -> Iterable[Command]:
    if is_generated(cause.first.probe):
        return _program_commands(done, cell, cause.first)
    good = _good(done, cell, cause.first)
    suite = cause.call if cause.suite else ""
    return commands_for(done.record, cell, cause.verdicts, rules, make=make, good=good, suite=suite)


def _program_commands(done: RunDone, cell: CellRecord, first: Verdict) -> Iterable[Command]:
    """What to do with a program that was found."""
    program = found_program(done.folder / "cells" / cell.id, first)
    replay = replay_command(done.record, cell, program) if program else ""
    yield Command("repeat", replay or repeat_command(done.record, cell, first.probe))
    if program is None:
        return
    if program.with_suffix(".c").is_file() and (
        there := exec_command(done.record, cell, str(program.with_suffix(".c")))
    ):
        yield Command("as C", there)
    if look := shell_command(done.record, cell):
        yield Command("look", look)
    if bisect := bisect_program_command(done.record, cell, program, _good(done, cell, first)):
        yield Command("bisect", bisect)


def commands_for(
    run: RunRecord,
    cell: CellRecord,
    verdicts: Sequence[Verdict],
    rules: Mapping[str, Rule],
    *,
    make: Reproduce = reproduce,
    good: CellRecord | None = None,
    suite: str = "",
) -> Iterable[Command]:
    """What can be done about failing verdicts of a cell, the plainest of them first; ``good`` is an older kernel of the
    run that kept the rule, ``suite`` the one whose tests they are."""
    first = verdicts[0]
    yield Command("repeat", repeat_command(run, cell, first.probe, suite))
    if program := first_with_program(verdicts, rules, make):
        yield Command("as C", f"{program_command(program.rule, program.probe)} > {SOURCE}")
        if there := exec_command(run, cell, SOURCE):
            yield Command("run it", there)
    if look := shell_command(run, cell):
        yield Command("look", look)
        if stop := "" if suite else _breakpoint(cell, call_of(first.probe.partition("/")[0])):
            yield Command("debug", f"{look} --gdb  # in gdb: hbreak {stop}")
    if bisect := bisect_command(run, cell, first.rule, first.probe, good, suite=suite):
        yield Command("bisect", bisect)


def plainest_failures(result: RuleResult) -> list[Verdict]:
    """The failing verdicts of a rule, gravest kind first, among them the one a person understands best."""
    failing = [verdict for verdict in result.verdicts if verdict.status == "fail"]
    return sorted(failing, key=lambda verdict: (verdict.kind != result.kind, *plainness(verdict)))


_CALL_ENTRIES = {"mmap(MAP_FIXED)": "mmap", "/proc/PID/mem": "", "a growing stack": "", "a change of the file": ""}


def _breakpoint(cell: CellRecord, call: str) -> str:
    """The function in which the kernel takes the plainest probe's system call; "" where it is none."""
    name = _CALL_ENTRIES.get(call, call)
    known = ARCHITECTURES.get(cast(Arch, cell.arch)) if name.isidentifier() else None
    return f"{known.entry}{name}" if known else ""


def kept_before(done: RunDone, one: ReportedCause) -> str:
    """The cell of the newest older kernel of the run that kept what a cause broke, "" for none."""
    bad = next(cell for cell in done.record.cells if cell.id == one.cells[0])
    good = _good(done, bad, one.example)
    return good.id if good else ""


def _good(done: RunDone, bad: CellRecord, broken: Verdict) -> CellRecord | None:
    """The newest older kernel of the run, on the same machine, on which the rule was kept. A kernel that a person has
    built may be of the very version of the stock kernel beside it."""
    built = bad.kernel is not None and bad.kernel.origin_kind != "debian"
    kept = [
        cell
        for cell in done.record.cells
        if (cell.arch, cell.profile) == (bad.arch, bad.profile)
        and any(r.rule.id == broken.rule and r.status == "pass" for r in done.results.get(cell.id, ()))
        and upstream_version(cell)
        and (_order(cell) < _order(bad) or (built and _order(cell) == _order(bad)))
    ]
    return max(kept, key=_order, default=None)


def _order(cell: CellRecord) -> Any:
    return version_order(upstream_version(cell))


def causes_json(told: Sequence[ReportedCause]) -> list[dict[str, Any]]:
    """Causes as plain data, as ``docs/verdicts.schema.json`` says."""
    return [
        {
            "sentence": one.sentence,
            "call": one.cause.call,
            "kind": one.cause.kind,
            "where": one.cause.where,
            "failed": one.cause.failed,
            "judged": one.cause.judged,
            "kinds": {str(kind): count for kind, count in one.cause.kinds.items()},
            "rules": list(one.cause.rules),
            "probes": list(one.cause.probes),
            "cells": list(one.cells),
            "example": {
                "rule": one.example.rule,
                "probe": one.example.probe,
                "reason": one.example.reason,
                "observed": one.example.observed,
            },
            "commands": {command.what: command.line for command in one.commands},
        }
        for one in told
    ]


def first_lines(causes: Iterable[Cause], result: RuleResult) -> list[str]:
    """The sentences of the causes that a failing rule belongs to, that of its worst verdict first."""
    worst = result.worst.probe
    mine = [cause for cause in causes if result.rule.id in cause.rules]
    return [cause.sentence for cause in sorted(mine, key=lambda cause: worst not in cause.probes)]
