"""A word that names nothing: the line says what may have been meant, and is no list of a hundred names."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from harness.cli.main import cli
from harness.errors import SealmatrixError, nearest
from harness.mutants.catalogue import load_mutants
from harness.rules.load import load_catalogue

MANY = [f"name-{number:03}" for number in range(98)]


def test_what_is_said_of_a_word() -> None:
    assert nearest("name-0071", MANY) == " (did you mean 'name-071'?)"
    assert nearest("qqq", ["b", "a"]) == " (valid: a, b)"
    assert nearest("qqq", []) == ""
    told = nearest("qqq-7", MANY, listed_by="sealmatrix rules list")
    assert told.startswith(" (nearest: name-")
    assert told.endswith("; `sealmatrix rules list` lists all 98)")
    assert sum(name in told for name in MANY) == 3
    assert nearest("qqq", MANY).endswith("; and 95 more)")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rules", "show", "qqq"], f"`sealmatrix rules list` lists all {len(load_catalogue())}"),
        (["run", "-r", "qqq", "--rule", "qqq"], f"`sealmatrix rules list` lists all {len(load_catalogue())}"),
        (["mutants", "show", "qqq"], f"`sealmatrix mutants list` lists all {len(load_mutants())}"),
        (["mutants", "list", "--only", "qqq*"], f"`sealmatrix mutants list` lists all {len(load_mutants())}"),
        (["bisect", "--rule", "qqq", "--good", "6.12", "--bad", "7.3"], "`sealmatrix rules list` lists all"),
        (["kernels", "show", "qqq"], "`sealmatrix kernels list` lists all"),
        (["kernels", "list", "qqq"], "`sealmatrix kernels list` lists all"),
        (["run", "-k", "qqq"], "`sealmatrix kernels list` lists all"),
        (["exec", "qqq", "--", "true"], "`sealmatrix kernels list` lists all"),
        (["rules", "show", "munmap-blocked", "--probe", "qqq"], "`sealmatrix rules show munmap-blocked` lists all"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_three_names_and_the_command_that_lists_all(words: list[str], told: str) -> None:
    done = CliRunner().invoke(cli, words)
    assert isinstance(done.exception, SealmatrixError), done.output
    assert done.exception.exit_code == 2
    line = str(done.exception)
    assert told in line
    assert line.count(", ") <= 3
    assert len(line) < 260
