"""What system calls cost, along the versions: counted by hand or by a night, and asked of the history."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.history import history
from harness.cost.model import Cost, CostTable
from harness.errors import UsageError
from harness.history.costs import record_costs
from harness.history.database import database_url, writing
from harness.reports.cost import Costed, cost_json

SETTLED = {"6.12.43": 1000.0, "6.9.2": 1200.0, "7.0": 1100.0}  # in no order


def count(results: Path, arch: str, settled: dict[str, float]) -> None:
    """What `sealmatrix cost` leaves."""
    tables = []
    for version, value in settled.items():
        costs = {"munmap/8/none": Cost("munmap/8/none", 9000.0, value, 0.0, 48)}
        costs["brk/1/none"] = Cost("brk/1/none", trouble="the call was refused")
        known = {"version": version, "sha256": f"{arch}{version}", "pinned": ("one CPU",)}
        tables.append(CostTable(f"debian-{version}", arch, f"{version}-cloud", costs=costs, **known))  # type: ignore[arg-type]
    folder = results / "cost" / f"20261129-{arch}"
    folder.mkdir(parents=True)
    (folder / "cost.json").write_text(json.dumps([cost_json(Costed(table, None, 2.0)) for table in tables]))


def test_a_cost_is_told_along_the_versions_of_each_architecture(tmp_path: Path) -> None:
    count(tmp_path, "x86_64", SETTLED)
    count(tmp_path, "arm64", {"7.0": 500.0})
    told = CliRunner().invoke(history, ["cost", "munmap", "--results", str(tmp_path), "--json"])
    assert told.exit_code == 0, told.output
    points = json.loads(told.output)["cost"]
    assert [(p["arch"], p["version"], p["settled"], p["percent"] and round(p["percent"], 1)) for p in points] == [
        ("arm64", "7.0", 500.0, None),
        ("x86_64", "6.9.2", 1200.0, None),
        ("x86_64", "6.12.43", 1000.0, -16.7),
        ("x86_64", "7.0", 1100.0, 10.0),
    ]
    shown = CliRunner().invoke(history, ["cost", "munmap/8/none", "--results", str(tmp_path)])
    assert "1,100" in shown.output and "+10.0 %" in shown.output


def test_what_the_history_knows_of_folders_that_are_gone_is_told_too(tmp_path: Path) -> None:
    count(tmp_path, "x86_64", SETTLED)
    asked = ["cost", "munmap", "--results", str(tmp_path), "--json"]
    before = CliRunner().invoke(history, asked).output
    (tmp_path / "cost" / "20261129-x86_64" / "cost.json").unlink()
    assert CliRunner().invoke(history, asked).output == before


def test_a_row_without_a_number_is_no_cost_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    count(tmp_path, "x86_64", SETTLED)
    refused = CliRunner().invoke(history, ["cost", "brk", "--results", str(tmp_path)])
    with pytest.raises(UsageError, match="brk: no such cost"):
        raise refused.exception or AssertionError(refused.output)


def test_asking_makes_no_history_and_a_wrong_folder_is_an_error(tmp_path: Path) -> None:
    words = ["cost", "munmap", "--results", str(tmp_path / "typo")]
    answer = CliRunner().invoke(history, words)
    assert isinstance(answer.exception, UsageError) and "there is no history in" in str(answer.exception)
    assert list(tmp_path.iterdir()) == []
    with writing(database_url(tmp_path)):
        pass
    nothing = CliRunner().invoke(history, ["cost", "munmap", "--results", str(tmp_path)])
    assert (nothing.exit_code, nothing.output) == (
        0,
        "no kernel was counted yet; to count one: sealmatrix cost KERNEL\n",
    )


def test_rows_that_another_folder_counted_stay(tmp_path: Path) -> None:
    """One history, two results folders: here only munmap was counted, and of brk there is no number."""
    count(tmp_path, "x86_64", SETTLED)
    database = ["--database", str(tmp_path / "all.sqlite"), "--json"]
    known = {"version": "7.0", "sha256": "x86_647.0", "pinned": ("one CPU",)}
    costs = {"brk/1/none": Cost("brk/1/none", 800.0, 700.0, 0.0, 48)}
    url = database_url(tmp_path, str(tmp_path / "all.sqlite"))
    with writing(url) as connection:
        record_costs(connection, [CostTable("debian-7.0", "x86_64", "7.0-cloud", costs=costs, **known)])  # type: ignore[arg-type]
    assert CliRunner().invoke(history, ["cost", "munmap", "--results", str(tmp_path), *database]).exit_code == 0
    told = CliRunner().invoke(history, ["cost", "brk", "--results", str(tmp_path), *database])
    assert [point["settled"] for point in json.loads(told.output)["cost"]] == [700.0]
