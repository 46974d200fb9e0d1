"""An option that two commands have is written once, and many values are never handed on by position."""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import fields
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from harness.cli.cell_options import CellOptions
from harness.cli.crosscheck import crosscheck
from harness.cli.run import run
from harness.errors import SealmatrixError

HARNESS = Path(__file__).parents[2] / "harness"
CLI = HARNESS / "cli"
# What a reader can still count; a swapped pair of the same type passes every check of types.
MOST = 9


def declared(path: Path) -> set[str]:
    """Every option of a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "click.option":
            found.add(ast.unparse(node).replace("click.Path(path_type=Path)", "_PATH"))
    return found


def test_no_two_modules_declare_the_same_option() -> None:
    where = defaultdict(list)
    for path in sorted(CLI.glob("*.py")):
        for option in declared(path):
            where[option].append(path.name)
    assert {option: names for option, names in where.items() if len(names) > 1} == {}


def test_run_takes_what_every_command_takes_that_boots_cells() -> None:
    assert {field.name for field in fields(CellOptions)} <= {option.name for option in run.params}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "--ssh", "board"], "use either --host"),
        (["--host", "-k", "debian-6.12"], "--host and --ssh run a machine's kernel"),
        (["--ssh", "board", "-f", "kernels.yaml"], "--host and --ssh run a machine's kernel"),
    ],
)
@pytest.mark.parametrize("command", [run, crosscheck])
def test_a_machine_runs_the_kernel_it_has(command: click.Command, words: list[str], said: str) -> None:
    found = CliRunner().invoke(command, words)
    assert found.exit_code == 2
    assert said in found.output


def test_crosscheck_takes_the_path_of_a_kernel(tmp_path: Path) -> None:
    """It was looked for among the names of kernels.yaml first."""
    image = tmp_path / "bzImage"
    image.write_bytes(b"no kernel")
    found = CliRunner().invoke(crosscheck, ["-k", str(image), "--offline", "--results", str(tmp_path)])
    assert isinstance(found.exception, SealmatrixError)
    assert "kernels list" not in str(found.exception)
    assert str(image) in str(found.exception)


def test_nothing_takes_or_is_made_of_many_values_by_position() -> None:
    found = []
    for path in sorted(HARNESS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path.relative_to(HARNESS)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Call) and len(node.args) > MOST and ast.unparse(node.func) != "select":
                found.append(f"{where}: {ast.unparse(node.func)}")
            # Click hands options over by name.
            if isinstance(node, ast.FunctionDef) and len(node.args.args) > MOST and path.parent != CLI:
                found.append(f"{where}: def {node.name}")
    assert found == []
