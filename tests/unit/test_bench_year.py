"""The simulated year, a fortnight of it: the bench sees what it planted, and would see what is lost or false."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.reports import Size
from bench.year import LIMITS, ROOM, Found, Measured, Year, as_text, judged, measured
from harness.history.database import database_url, reading
from harness.history.regressions import regressions
from harness.nightly.prune import Keep

YEAR = Year(Size(8, 99, 99, 0), 14, 3)


def test_a_fortnight_opens_each_once_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALMATRIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("harness.runs.programs._names", dict)
    told = measured(YEAR, tmp_path, Keep(last=3, weeks=2))
    assert told.found.kept, told.found
    assert told.kept
    assert (told.nights, told.found.opened) == (14, 12)
    assert 0 < told.runs <= 14
    assert "ok (at most 4000)" in as_text(told)
    with reading(database_url(tmp_path / "results")) as connection:
        known = regressions(connection)
    first, *others = known
    assert judged(YEAR, others).lost
    assert judged(YEAR, [*known, first]).twice
    assert judged(YEAR, [*known, replace(first, number=99, rules=("fork-rule-98",))]).false
    assert judged(YEAR, [replace(first, cells=first.cells[:0]), *others]).lost


def test_what_is_over_is_said() -> None:
    values = {limit.name: limit.most for limit in LIMITS} | {ROOM.name: 5000.0}
    over = Measured(Found(1, 0, ("rule-1",), (), (), ()), 1, 1, 0, 1.0, values)
    assert not over.kept
    assert "  lost: rule-1" in as_text(over)
    assert "OVER (at most 4000)" in as_text(over)
