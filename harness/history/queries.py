"""Questions to the history, each one statement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from harness.errors import UsageError, nearest
from harness.history.tables import CellRow, ResultRow, RuleRow, RunRow
from harness.model.verdict import STATUSES
from harness.runs.repeats import first_id


def stands(status: str, state: str) -> str:
    """A status as it counts over time: at best ``error`` in a cell that is not clean."""
    return status if state == "finished" or status in ("fail", "error", "miss") else "error"


@dataclass(frozen=True)
class RunLine:
    """One run. ``cells`` is their number, ``unclean`` that of those that were lost or whose kernel crashed."""

    id: str
    folder: str
    started: str
    state: str
    exit_code: int
    cells: int
    unclean: int
    counts: Mapping[str, int]

    @property
    def cells_told(self) -> str:
        """``7``, or ``7, 2 not clean``."""
        return f"{self.cells}, {self.unclean} not clean" if self.unclean else str(self.cells)


@dataclass(frozen=True)
class Point:
    """A rule's result in one cell of one run. ``state`` is the cell's: what one that is not clean kept is no pass."""

    run: str
    started: str
    cell: str
    release: str
    version: str
    arch: str
    status: str
    kind: str
    reason: str
    state: str = "finished"

    @property
    def stands(self) -> str:
        """The status as it counts over time, see ``stands``."""
        return stands(self.status, self.state)


@dataclass(frozen=True)
class RuleHistory:
    """A rule over all runs that judged it, oldest first."""

    rule: str
    family: str
    contract: str
    statement: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Flaky:
    """A rule that answered differently though kernel, machine, payload, probes and catalogue were the same."""

    rule: str
    cell: str
    release: str
    runs: int
    statuses: Mapping[str, int]


@dataclass(frozen=True)
class Slow:
    """What a cell costs, in seconds."""

    cell: str
    release: str
    acceleration: str
    runs: int
    mean: float
    longest: float
    boot: float


def runs(connection: Connection, limit: int | None = None) -> tuple[RunLine, ...]:
    """The newest runs, oldest first. A cell and its repeats are one cell, and a rule counts there with its worst."""
    newest = select(RunRow.id).order_by(RunRow.started.desc(), RunRow.id.desc()).limit(limit).subquery()
    wanted = (
        select(RunRow.id, RunRow.folder, RunRow.started, RunRow.state, RunRow.exit_code, RunRow.counts)
        .join(newest, newest.c.id == RunRow.id)
        .order_by(RunRow.started, RunRow.id)
    )
    inside = select(CellRow.run_id, CellRow.number, CellRow.cell, CellRow.state).join(
        newest, newest.c.id == CellRow.run_id
    )
    cells: dict[str, dict[str, dict[int, str]]] = {}
    for run, number, cell, state in connection.execute(inside):
        cells.setdefault(run, {}).setdefault(first_id(cell), {})[number] = state
    again = {number: (run, first) for run, found in cells.items() for first, ones in found.items() if len(ones) > 1
             for number in ones}  # fmt: skip
    twice = _told_again(connection, again)
    return tuple(
        RunLine(run, folder, started, state, exit_code, len(found := cells.get(run, {})),
                sum(any(one != "finished" for one in ones.values()) for ones in found.values()),
                _less(counts, twice.get(run, Counter())))
        for run, folder, started, state, exit_code, counts in connection.execute(wanted)
    )  # fmt: skip


def _less(counts: Mapping[str, int], told: Counter[str]) -> Mapping[str, int]:
    return {status: number - told[status] for status, number in counts.items()}


_AT_ONCE = 500


def _told_again(connection: Connection, cells: Mapping[int, tuple[str, str]]) -> Mapping[str, Counter[str]]:
    """How many results of each status a run has beyond the worst of each rule and cell: those of its repeats."""
    answers: dict[tuple[str, str, int], list[str]] = {}
    for number, rule, status in results_of(connection, tuple(cells), ResultRow.rule_number, ResultRow.status):
        answers.setdefault((*cells[number], rule), []).append(status)
    found: dict[str, Counter[str]] = {}
    for (run, _, _), statuses in answers.items():
        beyond = found.setdefault(run, Counter())
        beyond.update(statuses)
        beyond[worst(statuses)] -= 1
    return found


def results_of(
    connection: Connection, numbers: Sequence[int], *columns: Any, group: Sequence[Any] = ()
) -> Iterator[Sequence[Any]]:
    """Columns of the results of cells, each behind the cell's number. A statement takes only so many of them."""
    for start in range(0, len(numbers), _AT_ONCE):
        part = numbers[start : start + _AT_ONCE]
        wanted = select(ResultRow.cell_number, *columns).where(ResultRow.cell_number.in_(part))
        yield from connection.execute(wanted.group_by(*group) if group else wanted)


def worst(statuses: Iterable[str]) -> str:
    """The worst of some statuses. Others may write to the database: a word that is none counts as the worst."""
    return min(statuses, key=lambda status: STATUSES.index(status) if status in STATUSES else -1)


def rule_names(connection: Connection) -> tuple[str, ...]:
    """All rules that were ever judged, in the order in which they were first."""
    return tuple(connection.scalars(select(RuleRow.id).order_by(RuleRow.number)))


def rule_history(connection: Connection, rule: str) -> RuleHistory:
    """A rule over time. Raises ``UsageError`` for one no run has judged."""
    found = connection.execute(select(RuleRow.__table__).where(RuleRow.id == rule)).first()
    if found is None:
        near = nearest(rule, rule_names(connection), listed_by="sealmatrix rules list")
        raise UsageError(f"no run in the history judged a rule {rule!r}{near}")
    wanted = (
        select(
            RunRow.id, RunRow.started, CellRow.cell, CellRow.release, CellRow.version, CellRow.arch,
            ResultRow.status, ResultRow.kind, ResultRow.reason, CellRow.state,
        )
        .select_from(ResultRow)
        .join(CellRow, CellRow.number == ResultRow.cell_number)
        .join(RunRow, RunRow.id == CellRow.run_id)
        .where(ResultRow.rule_number == found.number)
        .order_by(RunRow.started, RunRow.id, CellRow.number)
    )  # fmt: skip
    points = tuple(Point(*row) for row in connection.execute(wanted))  # type: ignore[call-arg]  # untyped from ten columns on
    return RuleHistory(found.id, found.family, found.contract, found.statement, points)


def flaky(connection: Connection) -> tuple[Flaky, ...]:
    """Rules that changed between repeats, the most repeated first. Cells that were lost are no answer and no repeat."""
    same = (
        RuleRow.id, CellRow.cell, CellRow.release, CellRow.kernel_sha256, CellRow.acceleration, CellRow.page_size,
        RunRow.payload_id, RunRow.catalogue_sha256, RunRow.plan_sha256,
    )  # fmt: skip
    answer = ResultRow.status + " " + ResultRow.kind
    wanted = (
        select(*same, answer, func.count())
        .select_from(ResultRow)
        .join(CellRow, CellRow.number == ResultRow.cell_number)
        .join(RunRow, RunRow.id == CellRow.run_id)
        .join(RuleRow, RuleRow.number == ResultRow.rule_number)
        .where(CellRow.state == "finished", CellRow.kernel_sha256 != "")
        .group_by(*same, answer)
    )
    groups: dict[tuple[str, ...], dict[str, int]] = {}
    for *key, status, number in connection.execute(wanted):
        groups.setdefault(tuple(key), {})[status.strip()] = number
    found = [
        Flaky(key[0], key[1], key[2], sum(statuses.values()), statuses)
        for key, statuses in groups.items()
        if len(statuses) > 1
    ]
    return tuple(sorted(found, key=lambda f: (-f.runs, f.rule, f.cell)))


def slowest(connection: Connection, limit: int) -> tuple[Slow, ...]:
    """The cells that take longest on the mean."""
    mean = func.avg(CellRow.seconds)
    wanted = (
        select(
            CellRow.cell, func.max(CellRow.release), CellRow.acceleration, func.count(), mean,
            func.max(CellRow.seconds), func.avg(CellRow.boot),
        )
        .where(CellRow.state == "finished")
        .group_by(CellRow.cell, CellRow.acceleration)
        .order_by(mean.desc(), CellRow.cell)
        .limit(limit)
    )  # fmt: skip
    return tuple(Slow(*row) for row in connection.execute(wanted))


def latest_results(connection: Connection, run: str) -> Sequence[tuple[str, str, str, str]]:
    """(rule, family, cell, status as it counts over time) of one run; a cell's repeats count with their worst."""
    wanted = (
        select(RuleRow.id, RuleRow.family, CellRow.cell, ResultRow.status, CellRow.state)
        .select_from(CellRow)
        .join(ResultRow, ResultRow.cell_number == CellRow.number)
        .join(RuleRow, RuleRow.number == ResultRow.rule_number)
        .where(CellRow.run_id == run)
        .order_by(RuleRow.number, CellRow.number)
    )
    found: dict[tuple[str, str, str], list[str]] = {}
    for rule, family, cell, status, state in connection.execute(wanted):
        found.setdefault((rule, family, first_id(cell)), []).append(stands(status, state))
    return [(*key, worst(statuses)) for key, statuses in found.items()]
