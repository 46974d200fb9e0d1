"""What `mutants run` refuses before it fetches or builds anything."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from harness.cli.mutants import mutants
from harness.errors import UsageError


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["-s", "smoke", "-r", "munmap/*"], "exclude each other"),
        (["-s", "smoke", "--suite", "./mine"], "mean probes of our own suite"),
        (["-s", "smoke", "--explore", "9s"], "cannot be combined"),
        (["-s", "smok"], "unknown selection 'smok'"),
        (["--whole"], "belongs to --mechanical"),
    ],
)
def test_words_that_do_not_go_together(words: list[str], why: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(mutants, ["run", *words, "--results", str(tmp_path / "results")], standalone_mode=False)
    assert isinstance(done.exception, click.UsageError | UsageError)
    assert why in str(done.exception)
    assert not (tmp_path / "results").exists()
