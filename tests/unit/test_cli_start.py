"""What a command does not need is not imported: a whole warm run is to take a second and a half."""

from __future__ import annotations

import importlib
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from harness.cli.main import COMMANDS, cli

HEAVY = ("alembic", "sqlalchemy", "paramiko", "distributed", "dask", "elftools", "jinja2", "numpy", "kcidb_io")


def loaded(statement: str) -> set[str]:
    program = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_a_run_begins_without_what_only_its_end_needs() -> None:
    assert loaded("import harness.cli.run") & set(HEAVY) == set()


def test_the_collector_seldom_walks_through_what_a_run_keeps() -> None:
    program = "import atexit, gc; from harness.cli.main import main; "
    program += "atexit.register(lambda: print(gc.get_threshold())); main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1].startswith("(50000,")


def test_help_imports_no_command() -> None:
    modules = loaded("import harness.cli.main")
    assert modules & {*HEAVY, "rich", "pydantic", "yaml"} == set()
    listed = CliRunner().invoke(cli, ["--help"]).output
    assert [name for name in COMMANDS if f"\n  {name} " not in listed] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_table_says(name: str) -> None:
    module, attribute, line = COMMANDS[name]
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    assert (command.name, line[-1]) in ((name, "."), (name, "?"))
