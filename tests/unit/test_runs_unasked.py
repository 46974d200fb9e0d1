"""A run in which nothing was asked is not green, unless the matrix says that nothing was expected."""

from __future__ import annotations

from collections.abc import Sequence
from errno import ENOSYS
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from harness.matrix.load import load_matrix
from harness.model.rule import KernelFacts
from harness.model.run_record import CellRecord, MachineRecord
from harness.model.verdict import RuleResult, Status
from harness.observations.collector import Journalled
from harness.observations.model import Plan
from harness.reports.markdown import markdown
from harness.reports.terminal import print_run
from harness.runs.execution.cell_records import remarked
from harness.runs.judging import kernel_facts
from harness.verdicts.refused import FILTER_NOTE
from tests.builders import cell, result, rule, run


def kernel(release: str, name: str = "k", **changed: object) -> CellRecord:
    made = cell(name)
    assert made.kernel is not None
    return made.model_copy(update={"kernel": made.kernel.model_copy(update={"release": release}), **changed})


def said(*statuses: Status) -> Sequence[RuleResult]:
    return [result(rule(f"r{i}"), status, "why") for i, status in enumerate(statuses)]


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        pytest.param([(kernel("7.3.4"), said("skip", "skip"))], 3, id="all skipped"),
        pytest.param([(kernel("7.3.4"), said("skip", "pass"))], 0, id="one asked"),
        pytest.param([(kernel("7.3.4"), said("skip", "observed"))], 0, id="one observed"),
        pytest.param([(kernel("7.3.4"), said("skip", "fail"))], 1, id="one failed"),
        pytest.param([(kernel("6.1.176"), said("skip", "skip"))], 0, id="older than mseal"),
        pytest.param([(kernel("7.3.4", before_mseal=True), said("skip", "skip"))], 0, id="the matrix says so"),
        pytest.param(
            [(kernel("6.1.176", "a"), said("skip")), (kernel("7.3.4", "b"), said("skip"))],
            3,
            id="the other one skipped",
        ),
        pytest.param(
            [(kernel("6.1.176", "a"), said("skip")), (kernel("7.3.4", "b"), said("pass"))], 0, id="the other one asked"
        ),
        pytest.param([(kernel("next-20261123"), said("skip"))], 3, id="a version nobody can read"),
    ],
)
def test_exit_status(cells: Sequence[tuple[CellRecord, Sequence[RuleResult]]], code: int, tmp_path: Path) -> None:
    done = run(tmp_path, cells)
    assert done.exit_code == code
    console = Console(width=120, file=StringIO(), record=True)
    print_run(console, done)
    assert ("no rule was asked" in console.export_text()) == (code == 3)
    assert ("No rule was asked" in markdown(done)) == (code == 3)


def test_on_a_machine_of_its_own_the_release_is_what_it_says(tmp_path: Path) -> None:
    host = kernel("", machine=MachineRecord(guest="host", smp=1, memory=0, boot=(), release="5.15.0"))
    host = host.model_copy(update={"kernel": None})
    assert run(tmp_path, [(host, said("skip"))]).exit_code == 0
    newer = host.model_copy(update={"machine": MachineRecord(guest="host", smp=1, memory=0, boot=(), release="6.18.1")})
    assert run(tmp_path, [(newer, said("skip"))]).exit_code == 3


def test_the_matrix_labels_the_kernels_that_have_no_mseal() -> None:
    matrix = load_matrix(Path(__file__).parents[2] / "kernels.yaml")
    labelled = {kernel.name for kernel in matrix.kernels.values() if "before-mseal" in kernel.labels}
    assert labelled == {"debian-6.1", "debian-6.1-full"}


def test_a_filter_in_front_of_the_kernel_is_recorded_and_told(tmp_path: Path) -> None:
    features = {"mseal": ENOSYS, "seccomp": 2}
    plan = Plan(1, "c", "id", "x86_64", "7.3.4", 4096, False, (), features)
    facts = kernel_facts("x86_64", Journalled(plan, (), {}, (), True, ()))
    told = remarked(kernel("7.3.4"), facts)
    assert told.machine is not None
    assert told.machine.filter == FILTER_NOTE
    for mode in (0, 1):
        assert remarked(told, KernelFacts("7.3.4", "x86_64", 4096, features={"seccomp": mode})) is told
    console = Console(width=200, file=StringIO(), record=True)
    print_run(console, run(tmp_path, [(told, said("miss"))]))
    assert FILTER_NOTE in console.export_text()
