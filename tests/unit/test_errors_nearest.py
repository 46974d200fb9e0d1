"""A word that names nothing: the line says what may have been meant, and is no list of a hundred names."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from harness.cli.main import cli
from harness.errors import SealmatrixError, nearest, some_of
from harness.matrix.load import default_path, load_matrix
from harness.mutants.catalogue import load_mutants
from harness.rules.load import load_catalogue

MANY = [f"name-{number:03}" for number in range(98)]


def test_what_is_said_of_a_word() -> None:
    assert nearest("name-0071", MANY) == " (did you mean 'name-071'?)"
    assert nearest("qqq", ["b", "a"]) == " (valid: a, b)"
    assert nearest("qqq", []) == ""
    assert nearest("qqq-7", MANY, listed_by="sealmatrix rules list") == " (to list all 98: sealmatrix rules list)"
    assert nearest("qqq", MANY) == ""
    # Few names may be wide.
    assert nearest("qqq", [f"{'long-' * 5}{n}" for n in range(12)]) == ""


@pytest.mark.parametrize("word", ["mainline", "nonsense", "performance", "hello-world", "fedora", "ubuntu-24.04"])
def test_a_name_that_only_shares_some_letters_is_not_suggested(word: str) -> None:
    for names in (load_catalogue(), load_mutants(), load_matrix(default_path()).kernels):
        assert nearest(word, names, listed_by="sealmatrix X list") == f" (to list all {len(names)}: sealmatrix X list)"


def test_names_in_an_error_are_at_most_three() -> None:
    assert some_of(MANY[:3]) == "name-000, name-001, name-002"
    assert some_of(iter(MANY)) == "name-000, name-001, name-002 and 95 more"
    assert some_of(()) == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rules", "show", "qqq"], f"(to list all {len(load_catalogue())}: sealmatrix rules list)"),
        (["run", "-r", "qqq", "--rule", "qqq"], f"(to list all {len(load_catalogue())}: sealmatrix rules list)"),
        (["mutants", "show", "qqq"], f"(to list all {len(load_mutants())}: sealmatrix mutants list)"),
        (["mutants", "list", "--only", "qqq*"], f"(to list all {len(load_mutants())}: sealmatrix mutants list)"),
        (["bisect", "--rule", "qqq", "--good", "6.12", "--bad", "7.3"], ": sealmatrix rules list)"),
        (["kernels", "show", "qqq"], ": sealmatrix kernels list)"),
        (["kernels", "list", "qqq"], ": sealmatrix kernels list)"),
        (["run", "-k", "qqq"], ": sealmatrix kernels list)"),
        (["bugs", "show", "*"], ": sealmatrix bugs list)"),
        (["rules", "show", "*"], ": sealmatrix rules list)"),
        (["exec", "qqq", "--", "true"], ": sealmatrix kernels list)"),
        (["rules", "show", "munmap-blocked", "--probe", "qqq"], ": sealmatrix rules show munmap-blocked)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_no_name_is_like_it_and_the_command_that_lists_all_is_told(words: list[str], told: str) -> None:
    done = CliRunner().invoke(cli, words)
    assert isinstance(done.exception, SealmatrixError), done.output
    assert done.exception.exit_code == 2
    line = str(done.exception)
    assert told in line
    assert "nearest" not in line
    assert line.count(", ") <= 1
    assert len(line) < 200


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["coverage", "*"], "one kernel at a time: this means debian-6.1.x86_64.two-cpus, "),
        (["exec", "*", "--", "true"], "one kernel at a time: * means "),
        (["shell", "debian-*"], "one kernel at a time: debian-* means "),
        (["run", "--host", *(f"--run=qqq{n}" for n in range(51))], "no probe matches qqq0, qqq1, qqq2 and 48 more; "),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_many_things_that_were_meant_are_not_all_told(words: list[str], told: str) -> None:
    done = CliRunner().invoke(cli, words)
    assert isinstance(done.exception, SealmatrixError), done.output
    assert done.exception.exit_code == 2
    assert told in str(done.exception)
    assert str(done.exception).count(", ") <= 3


@pytest.mark.parametrize(
    "words",
    [
        ["rules", "show"],
        ["run", "-s"],
        ["run", "-k"],
        ["mutants", "show"],
        ["report", "-F"],
        ["show", "tests/data/runs/matrix", "--rule"],
        ["show"],
        ["scenario"],
    ],
)
def test_a_word_that_fills_the_screen_is_shortened(words: list[str]) -> None:
    command = [sys.executable, "-m", "harness", *words, "q" * 5000]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr) < 700
    assert "q" * 100 in done.stderr
