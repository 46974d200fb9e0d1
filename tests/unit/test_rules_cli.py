"""``sealmatrix rules show``: a rule has a C program, or says why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.main import cli


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("munmap-blocked", "program   sealmatrix rules show munmap-blocked --reproducer"),
        ("race-unmap", "program   none: "),
    ],
)
def test_a_rule_has_a_program_or_says_why_not(rule: str, said: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["rules", "show", rule, "--results", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert said in done.output
