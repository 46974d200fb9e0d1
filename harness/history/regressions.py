"""Regressions: findings with a life. A night opens them, confirms them and sees them end; people add what they know.

``new``        seen by one guest
``confirmed``  seen by two, or on two cells
``bisected``   confirmed, and the first bad build or commit is known
``known``      somebody knows of it: it is no news as long as it lasts
``fixed``      no cell shows it any more
``closed``     somebody said that it is none

The first three are open. One that has ended and comes back is another one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from sqlalchemy import Connection, insert, select, update

from harness.errors import UsageError
from harness.history.tables import RegressionRow

RegressionState = Literal["new", "confirmed", "bisected", "known", "fixed", "closed"]
OPEN: frozenset[str] = frozenset({"new", "confirmed", "bisected"})
LIVING: frozenset[str] = OPEN | {"known"}


@dataclass(frozen=True)
class Regression:
    """One regression. ``number`` is 0 until the database has given it one.

    ``headline`` and ``kind`` are what it is known by, ``rule`` and ``probe`` show it most plainly. ``good`` is the last
    version without it, ``first`` and ``last`` are the first and last with it. ``bisected`` is what the search for its
    beginning found, ``bisection`` the session of that search. ``events`` are (time, run, what).
    """

    number: int
    state: RegressionState
    kind: str
    headline: str
    sentence: str
    rule: str
    probe: str
    rules: tuple[str, ...]
    cells: tuple[str, ...]
    good: str
    first: str
    last: str
    opened_run: str
    opened: str
    seen_run: str = ""
    fixed_in: str = ""
    bisected: str = ""
    bisection: str = ""
    owner: str = ""
    link: str = ""
    note: str = ""
    events: tuple[tuple[str, str, str], ...] = ()

    @property
    def name(self) -> str:
        """``R7``."""
        return f"R{self.number}"

    def told(self, time: str, run: str, what: str, **changed: Any) -> Regression:
        """The same after something happened to it."""
        return replace(self, **changed, events=(*self.events, (time, run, what)))


@dataclass(frozen=True)
class SeenCause:
    """What a night saw of one cause that was not there the night before."""

    kind: str
    headline: str
    sentence: str
    rule: str
    probe: str
    rules: tuple[str, ...]
    cells: tuple[str, ...]
    good: str
    bad: str
    confirmed: bool


@dataclass(frozen=True)
class Cells:
    """How the cells of a night stand, for regressions that are open already. ``shows`` says whether a cell shows a
    regression, None where the cell cannot tell. ``versions`` are those of the kernels, ``repeated`` the cells that ran
    twice."""

    shows: Callable[[Regression, str], bool | None]
    versions: Mapping[str, str]
    repeated: Collection[str]


@dataclass(frozen=True)
class Changed:
    """What became of the regressions in a night."""

    opened: tuple[Regression, ...] = ()
    confirmed: tuple[Regression, ...] = ()
    bisected: tuple[Regression, ...] = ()
    fixed: tuple[Regression, ...] = ()


def after_night(
    known: Iterable[Regression], seen: Iterable[SeenCause], cells: Cells, *, run: str, time: str
) -> tuple[Regression, ...]:
    """The living regressions, the new and the ended ones after a night. Pure; the same night again changes nothing.

    What is seen joins a living regression of its kind that shares a rule with it; else it is a new one.
    """
    living = {r.number: r for r in known if r.state in LIVING}
    fresh: list[Regression] = []
    for one in seen:
        match = next((r for r in living.values() if _same(r, one)), None)
        twin = next((i for i, r in enumerate(fresh) if _same(r, one)), None)
        if match is not None:
            living[match.number] = _joined(match, one, run, time)
        elif twin is not None:
            fresh[twin] = _joined(fresh[twin], one, run, time)
        else:
            fresh.append(_opened(one, run, time))
    return (*(_aged(one, cells, run, time) for one in living.values()), *fresh)


def _same(known: Regression, seen: SeenCause) -> bool:
    if known.kind != seen.kind:
        return False
    if not known.rules and not seen.rules:
        return known.headline == seen.headline or bool(set(known.cells) & set(seen.cells))
    return bool(set(known.rules) & set(seen.rules))


def _opened(seen: SeenCause, run: str, time: str) -> Regression:
    state: RegressionState = "confirmed" if seen.confirmed else "new"
    return Regression(
        number=0, state=state, kind=seen.kind, headline=seen.headline, sentence=seen.sentence, rule=seen.rule,
        probe=seen.probe, rules=seen.rules, cells=seen.cells, good=seen.good, first=seen.bad, last=seen.bad,
        opened_run=run, opened=time, seen_run=run, events=((time, run, f"opened, {state}"),),
    )  # fmt: skip


def _joined(known: Regression, seen: SeenCause, run: str, time: str) -> Regression:
    cells = tuple(dict.fromkeys((*known.cells, *seen.cells)))
    rules = tuple(dict.fromkeys((*known.rules, *seen.rules)))
    new = replace(known, cells=cells, rules=rules, last=seen.bad, seen_run=run)
    if more := [cell for cell in seen.cells if cell not in known.cells]:
        new = new.told(time, run, f"also on {', '.join(more)}")
    if seen.confirmed and new.state == "new":
        new = new.told(time, run, "confirmed", state="confirmed")
    return new


def _aged(known: Regression, cells: Cells, run: str, time: str) -> Regression:
    """A living regression after one more night. It ends when all of its cells answer and none shows it."""
    told = {cell: cells.shows(known, cell) for cell in known.cells}
    showing = [cell for cell, shows in told.items() if shows]
    if all(shows is False for shows in told.values()):
        version = cells.versions.get(known.cells[0], "")
        return known.told(time, run, f"fixed in {version}", state="fixed", fixed_in=version)
    if showing:
        known = replace(known, last=cells.versions.get(showing[-1], known.last), seen_run=run)
        again = known.opened_run != run or any(cell in cells.repeated for cell in showing)
        if known.state == "new" and again:
            known = known.told(time, run, "confirmed", state="confirmed")
    return known


# --- the database -----------------------------------------------------------------------------------------------------


def regressions(connection: Connection) -> tuple[Regression, ...]:
    """All of them, the newest last."""
    rows = connection.execute(select(RegressionRow.__table__).order_by(RegressionRow.number)).mappings()
    return tuple(_read(row) for row in rows)


def _read(row: Mapping[Any, Any]) -> Regression:
    found = {field.name: row[field.name] for field in fields(Regression)}
    events = tuple((str(time), str(run), str(what)) for time, run, what in found["events"])
    return Regression(**{**found, "rules": tuple(found["rules"]), "cells": tuple(found["cells"]), "events": events})


def regression(connection: Connection, name: str) -> Regression:
    """One by its name, ``R7`` or ``7``. Raises ``UsageError`` where there is none."""
    number = name.removeprefix("R").removeprefix("r")
    found = {str(one.number): one for one in regressions(connection)}
    if number not in found:
        raise UsageError(f"there is no regression {name!r}; to list them: sealmatrix regressions list --all")
    return found[number]


def keep(connection: Connection, one: Regression) -> Regression:
    """Write one down; a new one gets its number."""
    row = {**asdict(one), "rules": list(one.rules), "cells": list(one.cells), "events": [list(e) for e in one.events]}
    del row["number"]
    if one.number:
        connection.execute(update(RegressionRow).where(RegressionRow.number == one.number).values(**row))
        return one
    given = connection.execute(insert(RegressionRow).values(**row)).inserted_primary_key
    assert given is not None
    return replace(one, number=int(given[0]))


def record_night(connection: Connection, seen: Iterable[SeenCause], cells: Cells, *, run: str, time: str) -> Changed:
    """Bring the regressions up to date with a night, in the connection's transaction; returns what the night changed,
    also where it had been recorded before."""
    before = {one.number: one for one in regressions(connection)}
    for one in after_night(before.values(), seen, cells, run=run, time=time):
        if one != before.get(one.number):
            keep(connection, one)
    return changed_in(regressions(connection), run)


def changed_in(known: Iterable[Regression], run: str) -> Changed:
    """What a run changed, by what the regressions tell of it."""
    opened, confirmed, bisected, fixed = [], [], [], []
    for one in known:
        told = [what for _, where, what in one.events if where == run]
        if one.opened_run == run:
            opened.append(one)
        elif "confirmed" in told:
            confirmed.append(one)
        if any(what.startswith("bisected") for what in told):
            bisected.append(one)
        if any(what.startswith("fixed") for what in told):
            fixed.append(one)
    return Changed(tuple(opened), tuple(confirmed), tuple(bisected), tuple(fixed))
