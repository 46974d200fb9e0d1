"""Costs in the nightly: growth opens a regression once, which ends with it, and a comparison shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from harness.cli.cost import uncounted
from harness.cli.main import cli
from harness.cost.model import Cost, CostTable
from harness.history.database import database_url, reading, writing
from harness.history.regressions import Regression, keep, regressions
from harness.history.tables import CostRow
from harness.kernels.model import Kernel, Origin
from harness.matrix.load import parse_matrix
from harness.matrix.model import Profile
from harness.model.run_record import KernelRecord, read_run
from harness.nightly.bisecting import ends, task_of
from harness.nightly.costs import earlier_kernels, earlier_nights, unmeasured
from harness.nightly.marks import read_mark, write_mark
from harness.nightly.messages import repeating
from harness.reports.cost import Costed, cost_json
from harness.runs.model import Cell
from tests.nights import WANTED, Machines, night, nothing

KEYS = {name: name * 40 for name in "ab"}
NOTHING: Mapping[str, str] = {}
KILLED = "its process was killed by signal 9 after 3 calls"
ROWS = ("munmap/1/none", "munmap/8/none", "mprotect/1/none")


def kernel(digest: str) -> KernelRecord:
    return KernelRecord(
        name="mine", release="6.12.0-fake", version=f"6.12.{int(digest, 16)}", arch="x86_64", flavour="own",
        sha256=digest * 64, image_format="vmlinux", config_sha256="", origin_kind="file", origin="a file",
    )  # fmt: skip


def table_of(digest: str, munmap: float, without: Mapping[str, str] = NOTHING, rows: Sequence[str] = ()) -> CostTable:
    """The costs of a kernel; ``without`` are rows that have no number, and why, and ``rows`` all that were asked."""
    amounts = {"munmap/1/none": munmap, "munmap/8/none": 8 * munmap, "mprotect/1/none": 500.0}
    costs = {
        row: Cost(row, trouble=without[row]) if row in without else Cost(row, first=2 * amount, settled=amount, calls=9)
        for row, amount in amounts.items()
        if not rows or row in rows
    }
    return CostTable("mine", "x86_64", "6.12.0-fake", f"6.12.{int(digest, 16)}", costs, sha256=digest * 64)


def counted(
    results: Path, digest: str, munmap: float, without: Mapping[str, str] = NOTHING, rows: Sequence[str] = ()
) -> None:
    """What `sealmatrix cost` writes of a kernel."""
    table = table_of(digest, munmap, without, rows)
    folder = results / "cost" / f"20261128-00000{len(list(results.glob('cost/*')))}"
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
    table = table_of("1", 1000.0)
    known, here = {("1" * 64, "x86_64"): table}, {"a": ("2" * 64, "x86_64")}
    (found,) = earlier_kernels(earlier_nights(tmp_path, "nightly", "n-99"), here, known).items()
    assert (found[0], found[1].run, found[1].kernel.sha256) == ("a", "n-00", "1" * 64)
    assert earlier_kernels(earlier_nights(tmp_path, "nightly", "n-00"), here, known) == {}
    two = Kernel("mine", "r", "x86_64", "own", Path("x"), "vmlinux", "2" * 64, Origin("file", "x"))
    old = Kernel("mine", "r", "x86_64", "own", Path("x"), "vmlinux", "1" * 64, Origin("file", "x"))
    cells = tuple(Cell(str(n), "x86_64", Profile("p"), k) for n, k in enumerate((two, two, old, None)))
    assert unmeasured(cells, known, ROWS) == {("2" * 64, "x86_64"): ("0", two)}


def test_a_kernel_of_which_some_rows_have_a_number_is_not_counted() -> None:
    old = Kernel("mine", "r", "x86_64", "own", Path("x"), "vmlinux", "1" * 64, Origin("file", "x"))
    cells = (Cell("a", "x86_64", Profile("p"), old),)

    def asked_again(table: CostTable, rows: Sequence[str] = ROWS) -> bool:
        return bool(unmeasured(cells, {("1" * 64, "x86_64"): table}, rows))

    assert not asked_again(table_of("1", 1000.0))
    assert asked_again(table_of("1", 1000.0, rows=ROWS[:1]))
    assert asked_again(table_of("1", 1000.0, {ROWS[0]: KILLED}))
    # A kernel without mseal is not asked for rows with seals.
    assert asked_again(table_of("1", 1000.0), (*ROWS, "munmap/1/refused", "mseal/1/none"))
    without_mseal = replace(table_of("1", 1000.0), mseal=False)
    assert not asked_again(without_mseal, (*ROWS, "munmap/1/refused", "munmap/1/beside", "mseal/1/none"))


def test_rows_without_a_number_are_told() -> None:
    assert uncounted(table_of("1", 1000.0), ROWS) == ""
    assert uncounted(CostTable("mine", "x86_64", lost="it hangs"), ROWS) == "its costs were not counted: it hangs"
    assert uncounted(table_of("1", 1000.0, {ROWS[1]: KILLED}), ROWS) == (
        f"1 of 3 costs have no number, the first is munmap/8/none: {KILLED}"
    )
    assert uncounted(table_of("1", 1000.0, rows=ROWS[:2]), ROWS) == (
        "1 of 3 costs have no number, the first is mprotect/1/none: it was not asked"
    )


def test_a_regression_is_not_ended_by_a_cost_without_a_number(tmp_path: Path, machines: Machines) -> None:
    counted(tmp_path, "1", 1000.0)
    counted(tmp_path, "2", 1200.0)
    counted(tmp_path, "3", 1000.0, {"munmap/1/none": KILLED})  # munmap/8/none is as it was
    counted(tmp_path, "4", 1000.0, rows=("mprotect/1/none",))
    counted(tmp_path, "6", 1000.0)
    nights(tmp_path, machines, "1", "2")

    def after(number: int, digest: str) -> tuple[str, list[str]]:
        machines.kernels = dict.fromkeys(KEYS, kernel(digest))
        ended = night(tmp_path, f"n-{number:02}", {name: f"{name}{digest}" * 20 for name in KEYS}, machines)
        return known(tmp_path)[0].state, [
            line for line in ended.mark.news if line.startswith("costs: not known whether R1 (")
        ]

    state, (said,) = after(2, "3")
    assert (state, said.endswith(f"still holds: munmap/1/none has no number: {KILLED}")) == ("confirmed", True)
    state, (said,) = after(3, "4")
    assert (state, said.endswith("munmap/1/none has no number: it was not asked")) == ("confirmed", True)
    state, (said,) = after(4, "5")
    assert (state, said.endswith("still holds: nothing was counted on 6.12.5")) == ("confirmed", True)
    assert after(5, "6") == ("fixed", [])


def test_costs_that_cannot_be_compared_are_told(tmp_path: Path, machines: Machines) -> None:
    counted(tmp_path, "1", 1000.0)
    counted(tmp_path, "2", 1000.0, {"munmap/8/none": KILLED})
    nights(tmp_path, machines, "1")
    machines.kernels = dict.fromkeys(KEYS, kernel("2"))
    said = night(tmp_path, "n-01", {name: f"{name}2" * 20 for name in KEYS}, machines).mark.news
    (line,) = (line for line in said if line.startswith("costs: "))
    assert line.endswith(f"and 6.12.1: 1 cost cannot be compared, the first is munmap/8/none: {KILLED}")
    assert known(tmp_path) == []


def test_growth_of_a_kernel_that_is_counted_late_is_told_once(tmp_path: Path, machines: Machines) -> None:
    counted(tmp_path, "1", 1000.0)
    nights(tmp_path, machines, "1", "2")  # the second kernel could not be counted
    keys = {name: f"{name}2" * 20 for name in KEYS}
    assert known(tmp_path) == []
    counted(tmp_path, "2", 1200.0)
    told = night(tmp_path, "n-02", keys, machines)  # nothing boots, and there is something to tell
    assert (told.exit_code, told.mark.taken) == (1, len(KEYS))
    (one,) = known(tmp_path)
    assert (one.state, one.good, one.first, one.opened_run) == ("confirmed", "6.12.1", "6.12.2", "n-02")
    old, new = ends(tmp_path, one)
    assert [end.kernel.version for end in (old, new) if end.kernel] == ["6.12.1", "6.12.2"]
    nothing(tmp_path, "n-03", keys, machines)
    with writing(database_url(tmp_path)) as connection:
        keep(connection, replace(one, state="closed"))
    counted(tmp_path, "9", 1000.0)  # something else is counted: a whole night, and the growth is no news
    later = night(tmp_path, "n-04", keys, machines)
    assert (later.exit_code, [r.state for r in known(tmp_path)]) == (0, ["closed"])


def test_what_grew_late_ends_against_the_kernel_it_was_compared_with(tmp_path: Path, machines: Machines) -> None:
    counted(tmp_path, "1", 1000.0)
    nights(tmp_path, machines, "1", "2")
    counted(tmp_path, "2", 1200.0)
    night(tmp_path, "n-02", {name: f"{name}2" * 20 for name in KEYS}, machines)
    for digest, munmap, state in (("3", 1200.0, "confirmed"), ("4", 1000.0, "fixed")):
        counted(tmp_path, digest, munmap)
        machines.kernels = dict.fromkeys(KEYS, kernel(digest))
        night(tmp_path, f"n-0{digest}", {name: f"{name}{digest}" * 20 for name in KEYS}, machines)
        assert [one.state for one in known(tmp_path)] == [state]


def test_costs_are_compared_with_nights_of_the_same_selection_that_ended(tmp_path: Path, machines: Machines) -> None:
    counted(tmp_path, "1", 1000.0)
    counted(tmp_path, "2", 1200.0)
    counted(tmp_path, "3", 1200.0)
    machines.kernels = dict.fromkeys(KEYS, kernel("1"))
    night(tmp_path, "n-00", {name: f"{name}1" * 20 for name in KEYS}, machines)
    machines.kernels = dict.fromkeys(KEYS, kernel("2"))
    night(tmp_path, "n-01", {name: f"{name}2" * 20 for name in KEYS}, machines, replace(WANTED, selection="other"))
    night(tmp_path, "n-02", {name: f"{name}2" * 20 for name in KEYS}, machines)
    write_mark(tmp_path / "n-02", read_mark(tmp_path / "n-02").model_copy(update={"state": "given up"}))
    assert [run.id for run in earlier_nights(tmp_path, "nightly", "n-09")] == ["n-00"]
    assert [run.id for run in earlier_nights(tmp_path, "other", "n-09")] == ["n-01"]


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
