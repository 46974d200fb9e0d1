"""Costs in the nightly: growth opens a regression once, which ends with it, and a comparison shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from harness.cli.main import cli
from harness.cost.model import Cost, CostTable
from harness.history.database import database_url, reading
from harness.history.regressions import Regression, regressions
from harness.history.tables import CostRow
from harness.kernels.model import Kernel, Origin
from harness.matrix.load import parse_matrix
from harness.matrix.model import Profile
from harness.model.run_record import KernelRecord, read_run
from harness.nightly.bisecting import task_of
from harness.nightly.costs import costs_before, unmeasured
from harness.nightly.messages import repeating
from harness.reports.cost import Costed, cost_json
from harness.runs.model import Cell
from tests.nights import Machines, night

KEYS = {name: name * 40 for name in "ab"}


def kernel(digest: str) -> KernelRecord:
    return KernelRecord(
        name="mine", release="6.12.0-fake", version=f"6.12.{int(digest, 16)}", arch="x86_64", flavour="own",
        sha256=digest * 64, image_format="vmlinux", config_sha256="", origin_kind="file", origin="a file",
    )  # fmt: skip


def counted(results: Path, digest: str, munmap: float, mprotect: float = 500.0) -> None:
    """What `sealmatrix cost` writes of a kernel."""
    amounts = {"munmap/1/none": munmap, "munmap/8/none": 8 * munmap, "mprotect/1/none": mprotect}
    costs = {row: Cost(row, first=2 * amount, settled=amount, calls=9) for row, amount in amounts.items()}
    table = CostTable("mine", "x86_64", "6.12.0-fake", f"6.12.{int(digest, 16)}", costs, sha256=digest * 64)
    folder = results / "cost" / f"20261128-00000{int(digest, 16)}"
    folder.mkdir(parents=True)
    (folder / "cost.json").write_text(json.dumps([cost_json(Costed(table, None, 2.0))]))


def known(results: Path) -> list[Regression]:
    with reading(database_url(results)) as connection:
        return list(regressions(connection))


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    monkeypatch.setenv("SEALMATRIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("harness.runs.programs._names", dict)
    return Machines(tmp_path / "booted")


def nights(results: Path, machines: Machines, *digests: str) -> None:
    for number, digest in enumerate(digests):
        machines.kernels = dict.fromkeys(KEYS, kernel(digest))
        night(results, f"n-{number:02}", {name: f"{name}{digest}" * 20 for name in KEYS}, machines)


def test_growth_is_a_regression_once_and_ends(tmp_path: Path, machines: Machines) -> None:
    for digest, munmap in (("1", 1000.0), ("2", 1200.0), ("3", 1201.0), ("4", 1001.0)):
        counted(tmp_path, digest, munmap)
    machines.kernels = dict.fromkeys(KEYS, kernel("1"))
    nights(tmp_path, machines, "1")
    assert known(tmp_path) == []
    nights_after = Machines(tmp_path / "booted", kernels=dict.fromkeys(KEYS, kernel("2")))
    second = night(tmp_path, "n-01", {name: f"{name}2" * 20 for name in KEYS}, nights_after)
    assert second.exit_code == 1
    (one,) = known(tmp_path)
    assert (one.kind, one.state, one.cells, one.rules) == ("cost", "confirmed", ("a", "b"), ("cost.munmap",))
    assert one.sentence == ("munmap/1/none takes 20.0 % more instructions (1,000 → 1,200), and 1 other costs grew")
    assert second.mark.news[1].startswith("new: R1 munmap/1/none takes 20.0 % more")
    nights_after.kernels = dict.fromkeys(KEYS, kernel("3"))
    third = night(tmp_path, "n-02", {name: f"{name}3" * 20 for name in KEYS}, nights_after)
    assert (third.exit_code, [r.state for r in known(tmp_path)]) == (0, ["confirmed"])
    nights_after.kernels = dict.fromkeys(KEYS, kernel("4"))
    fourth = night(tmp_path, "n-03", {name: f"{name}4" * 20 for name in KEYS}, nights_after)
    assert (fourth.exit_code, known(tmp_path)[0].state) == (0, "fixed")
    with reading(database_url(tmp_path)) as connection:
        wanted = select(CostRow.kernel_sha256, CostRow.settled).where(CostRow.row == "munmap/1/none")
        kept = {digest[0]: settled for digest, settled in connection.execute(wanted)}
    assert kept == {
        "1": 1000.0, "2": 1200.0, "3": 1201.0, "4": 1001.0,
    }  # fmt: skip


def test_what_was_not_counted_neither_opens_nor_ends_one(tmp_path: Path, machines: Machines) -> None:
    counted(tmp_path, "1", 1000.0)
    counted(tmp_path, "2", 1010.0)  # less than two per cent
    counted(tmp_path, "4", 1300.0)
    nights(tmp_path, machines, "1", "2", "3")
    assert known(tmp_path) == []
    machines.kernels = dict.fromkeys(KEYS, kernel("2"))
    night(tmp_path, "n-03", {name: f"{name}2" * 20 for name in KEYS}, machines)
    machines.kernels = dict.fromkeys(KEYS, kernel("4"))
    night(tmp_path, "n-04", {name: f"{name}4" * 20 for name in KEYS}, machines)
    assert [one.state for one in known(tmp_path)] == ["confirmed"]
    machines.kernels = dict.fromkeys(KEYS, kernel("5"))
    night(tmp_path, "n-05", {name: f"{name}5" * 20 for name in KEYS}, machines)
    assert [one.state for one in known(tmp_path)] == ["confirmed"]


def test_each_new_kernel_is_counted_once_beside_the_one_before(tmp_path: Path, machines: Machines) -> None:
    counted(tmp_path, "1", 1000.0)
    nights(tmp_path, machines, "1")
    table = CostTable("mine", "x86_64", sha256="1" * 64)
    assert list(costs_before(tmp_path, "n-99", {("1" * 64, "x86_64"): table})) == [("mine", "x86_64")]
    assert costs_before(tmp_path, "n-00", {("1" * 64, "x86_64"): table}) == {}
    two = Kernel("mine", "r", "x86_64", "own", Path("x"), "vmlinux", "2" * 64, Origin("file", "x"))
    old = Kernel("mine", "r", "x86_64", "own", Path("x"), "vmlinux", "1" * 64, Origin("file", "x"))
    cells = tuple(Cell(str(n), "x86_64", Profile("p"), k) for n, k in enumerate((two, two, old, None)))
    assert list(unmeasured(cells, {("1" * 64, "x86_64"): table})) == [("2" * 64, "x86_64")]


def test_its_commands_and_its_search(tmp_path: Path, machines: Machines) -> None:
    counted(tmp_path, "1", 1000.0)
    counted(tmp_path, "2", 1200.0)
    nights(tmp_path, machines, "1", "2")
    (one,) = known(tmp_path)
    assert repeating(one) == ()  # these cells are called otherwise than a matrix would call them
    old, new = (read_run(tmp_path / name).cells[0] for name in ("n-00", "n-01"))
    matrix = parse_matrix(
        b"version: 1\nkernels:\n  mine: {source: file, image: x, architectures: [x86_64]}\nprofiles: {standard: {}}\n"
        b"selections:\n  default: {kernels: [mine]}\n",
        tmp_path / "kernels.yaml",
    )
    task = task_of(one, old, new, matrix)
    assert (task.cost, task.by, task.profile, task.probe) == ("munmap/1/none", 2.0, "counted", "")


def test_a_comparison_shows_the_costs_of_both_kernels(tmp_path: Path, machines: Machines) -> None:
    counted(tmp_path, "1", 1000.0)
    counted(tmp_path, "2", 1200.0)
    nights(tmp_path, machines, "1", "2")

    def compared(*words: str) -> str:
        found = CliRunner().invoke(cli, ["compare", *words, "--results", str(tmp_path)], standalone_mode=False)
        assert found.exception is None, found.exception
        return found.output

    told = compared("n-00", "n-01")
    assert "3 costs compared: 2 grew by 2 % or more" in told
    assert "munmap/1/none" in told
    assert "costs compared" not in compared("n-01", "n-01")
