"""Costs on real kernels: the same kernel costs the same twice, and the functions of a call add up to its cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.main import cli

pytestmark = pytest.mark.kernels

ROWS = ("munmap/1", "mprotect/8", "mremap-grow/1", "fault-anon-write/1")


def counted(tmp_path: Path, *words: str) -> list[dict[str, object]]:
    rows = [word for row in ROWS for word in ("--row", row)]
    done = CliRunner().invoke(cli, ["cost", *words, *rows, "--results", str(tmp_path), "--json"])
    assert done.exit_code in (0, 1), done.output
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_the_same_kernel_costs_the_same_twice(arch: str, tmp_path: Path) -> None:
    first, second = (
        {cost["row"]: cost["settled"] for cost in counted(tmp_path / name, "debian-6.12", "-a", arch)[0]["costs"]}  # type: ignore[attr-defined]
        for name in ("first", "second")
    )
    assert first.keys() == second.keys()
    assert len(first) == 11
    # A tenth of a per cent, or a few dozen instructions where that is less: what arm64 varies by from boot to boot.
    assert {
        row: (cost, second[row]) for row, cost in first.items() if abs(cost - second[row]) > max(30, cost / 1000)
    } == {}


def test_another_kernel_is_compared_row_by_row(tmp_path: Path) -> None:
    (one,) = counted(tmp_path, "debian-newest", "-a", "x86_64", "--against", "debian-6.12", "--by", "50")
    changed = {change["row"]: change["percent"] for change in one["changes"]}  # type: ignore[attr-defined]
    assert one["lost"] == ""
    assert len(changed) == 11
    assert changed["mremap-grow/1/none"] > 0
    assert (next(tmp_path.iterdir()) / "junit.xml").is_file()


def test_the_functions_of_a_call_add_up_to_its_cost(tmp_path: Path) -> None:
    words = ["cost", "debian-6.12", "-a", "x86_64", "--functions", "munmap/8", "--results", str(tmp_path), "--json"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    (told,) = json.loads(done.stdout)
    total = sum(told["functions"].values())
    assert 25_000 < total < 60_000
    assert told["functions"]["unmap_page_range"] > 100
    assert sum(amount for name, amount in told["functions"].items() if name == "(the program)") < total / 100
