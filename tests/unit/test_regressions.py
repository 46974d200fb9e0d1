"""The life of regressions: a year of nights with twelve planted ones, each opened once, none lost, none false."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from junitparser import Failure, JUnitXml, Skipped

from harness.cli.main import cli
from harness.history.database import database_url, writing
from harness.history.regressions import Cells, Regression, SeenCause, after_night, keep, record_night, regressions
from harness.reports.regressions import regressions_kcidb, regressions_xml
from tests.support.histories import regression

kcidb_io = pytest.importorskip("kcidb_io", reason="kcidb-io is not installed (pip install kcidb-io)")

CELLS = [f"debian-{number}.{arch}" for number in range(28) for arch in ("x86_64", "arm64")][:55]
RULES = [f"family-{number % 8}-rule-{number}" for number in range(99)]


@dataclass(frozen=True)
class Planted:
    """A defect: which rules it breaks on which cells, from one night to another (the first without it)."""

    kind: str
    rules: tuple[str, ...]
    cells: tuple[str, ...]
    begins: int
    ends: int


def planted(seed: int) -> list[Planted]:
    """Twelve, each with rules of its own, so that no two are one."""
    draw = random.Random(seed)
    rules = draw.sample(RULES, 36)
    found = []
    for number in range(12):
        begins = draw.randrange(1, 330)
        cells = tuple(draw.sample(CELLS, draw.randrange(1, 6)))
        mine = tuple(rules[3 * number : 3 * number + 3])
        kind = draw.choice(("bypass", "over-blocked"))
        found.append(Planted(kind, mine, cells, begins, begins + draw.randrange(2, 60)))
    return found


def broken(defects: Iterable[Planted], night: int) -> dict[tuple[str, str], str]:
    """Which rules fail on which cells in a night, and how."""
    alive = [one for one in defects if one.begins <= night < one.ends]
    return {(cell, rule): one.kind for one in alive for cell in one.cells for rule in one.rules}


def seen_since(old: dict[tuple[str, str], str], new: dict[tuple[str, str], str], night: int) -> list[SeenCause]:
    """What a comparison of two nights sees: one finding a cell and kind, as if causes were never put together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for (cell, rule), kind in new.items():
        if (cell, rule) not in old:
            groups.setdefault((cell, kind), []).append(rule)
    return [
        SeenCause(
            kind, "headline", "sentence", rules[0], "p", tuple(rules), (cell,), "old", f"v{night}", confirmed=True
        )
        for (cell, kind), rules in groups.items()
    ]


def cells_of(failing: dict[tuple[str, str], str], silent: set[str], night: int) -> Cells:
    def shows(one: Regression, cell: str) -> bool | None:
        return None if cell in silent else any((cell, rule) in failing for rule in one.rules)

    return Cells(shows, dict.fromkeys(CELLS, f"v{night}"), ())


@pytest.mark.parametrize("seed", range(5))
def test_a_year_of_nights_opens_each_once_loses_none_and_invents_none(seed: int) -> None:
    """Cells fall silent now and then, and a night in fifty is done twice, as after a kill."""
    draw = random.Random(1000 + seed)
    defects = planted(seed)
    # Two that begin on one cell in one night with one kind cannot be told apart: none of these seeds has any.
    known: dict[int, Regression] = {}
    before: dict[tuple[str, str], str] = {}
    for night in range(365):
        failing = broken(defects, night)
        silent = {cell for cell in CELLS if draw.random() < 0.01}
        told = {key: kind for key, kind in failing.items() if key[0] not in silent}
        told |= {key: kind for key, kind in before.items() if key[0] in silent}  # the last answer stands
        seen = seen_since(before, told, night)
        for _ in range(2 if draw.random() < 0.02 else 1):
            cells = cells_of(failing, silent, night)
            for one in after_night(known.values(), seen, cells, run=f"n-{night}", time=str(night)):
                number = one.number or len(known) + 1
                known[number] = one if one.number else Regression(**{**vars(one), "number": number})
        before = told
    assert len(known) == 12
    for defect in defects:
        (one,) = [r for r in known.values() if set(r.rules) == set(defect.rules)]
        assert set(one.cells) == set(defect.cells)
        assert defect.begins <= int(one.opened_run.removeprefix("n-")) <= defect.begins + 3
        assert one.state == ("fixed" if defect.ends < 360 else one.state)
        assert sum(what.startswith("opened") for _, _, what in one.events) == 1


def kept(results: Path, *found: Regression) -> None:
    with writing(database_url(results)) as connection:
        for regression in found:
            keep(connection, regression)


def test_the_same_night_twice_is_one(tmp_path: Path) -> None:
    seen = [SeenCause("bypass", "h", "s", "r", "p", ("r",), ("a",), "1", "2", True)]
    cells = Cells(lambda *_: True, {"a": "2"}, ())
    with writing(database_url(tmp_path)) as connection:
        first = record_night(connection, seen, cells, run="n-1", time="1")
        again = record_night(connection, seen, cells, run="n-1", time="2")
        assert [r.name for r in first.opened] == [r.name for r in again.opened] == ["R1"]
        assert len(regressions(connection)) == 1


def test_people_say_what_they_know(tmp_path: Path) -> None:
    kept(tmp_path, regression(), regression(rules=("q",)))

    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, ["regressions", *words, "--results", str(tmp_path)], standalone_mode=False)

    assert run("list").return_value == 1
    assert run("known", "R1", "--link", "https://lore.example/x", "--owner", "mm").output == "R1 is known\n"
    shown = run("show", "R1").output
    assert "https://lore.example/x" in shown
    assert "$ sealmatrix run -k debian-7.3 -a x86_64 -r munmap/anon-rw/exact" in shown
    counted, nothing, *one_a_line = run("digest").output.splitlines()
    assert counted.startswith("2 regressions open, 0 fixed or closed since ")
    assert (nothing, [line.split()[0] for line in one_a_line]) == ("", ["R1", "R2"])
    assert run("close", "R2", "--note", "the machine was at fault").exit_code == 0
    assert run("list").return_value == 0
    assert "R2" in run("list", "--all").output
    twice = run("known", "R2")
    assert twice.exception is not None
    assert "can be changed" in str(twice.exception)
    told = json.loads(run("list", "--all", "-F", "json").output)
    assert [r["state"] for r in told["regressions"]] == ["known", "closed"]


def test_where_no_night_has_run_the_list_says_who_opens_regressions(tmp_path: Path) -> None:
    kept(tmp_path)
    listed = CliRunner().invoke(cli, ["regressions", "list", "--results", str(tmp_path)], standalone_mode=False)
    assert listed.output == "no open regression; sealmatrix nightly opens them, other runs do not\n"
    assert listed.return_value == 0


def test_junit_and_kcidb_read_back() -> None:
    found = [
        regression(number=1),
        regression(number=2, state="known", link="https://lore.example/x"),
        regression(number=3, state="fixed"),
    ]
    (suite,) = JUnitXml.fromstring(regressions_xml(found).encode())
    results = [case.result[0] if case.result else None for case in suite]
    assert [type(result) for result in results] == [Failure, Skipped, type(None)]
    data = regressions_kcidb(found)
    assert kcidb_io.schema.V5_3.is_valid(data)
    assert [issue["id"] for issue in data["issues"]] == ["sealmatrix:R1", "sealmatrix:R2"]
    assert kcidb_io.schema.V5_3.is_valid(regressions_kcidb([]))
