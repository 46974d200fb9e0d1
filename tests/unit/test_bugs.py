"""The record of bugs: it names only what is there, and knows which versions have each."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from harness.bugs.record import BUGS, Bug, bugs_of, load_bugs, parse_bugs
from harness.cli.main import cli
from harness.errors import ConfigError
from harness.mutants.catalogue import load_mutants
from harness.rules.load import load_catalogue

RECORD = load_bugs()


@pytest.mark.parametrize("bug", RECORD.values(), ids=list(RECORD))
def test_what_a_bug_names_is_there(bug: Bug) -> None:
    assert [rule for rule in bug.rules if rule not in load_catalogue()] == []
    assert [mutant for mutant in bug.mutants if mutant not in load_mutants()] == []
    assert bug.rules or bug.exploration or bug.unnoticed
    assert not bug.unnoticed or bug.noticed.startswith("nothing: ")


def test_every_real_mutant_puts_a_bug_of_the_record_back() -> None:
    named = [mutant for bug in RECORD.values() for mutant in bug.mutants]
    assert sorted(named) == sorted(m.id for m in load_mutants().values() if m.kind == "real")


def test_there_are_at_least_twelve() -> None:
    assert len(RECORD) >= 12


@pytest.mark.parametrize(
    ("version", "has"),
    [
        pytest.param("5.12.19", False, id="before"),
        pytest.param("6.12.43", True, id="in the series"),
        pytest.param("6.12.54", True, id="the last with it"),
        pytest.param("6.12.55", False, id="mended in the series"),
        pytest.param("6.16.12", True, id="a series that was given up"),
        pytest.param("6.17.3", False, id="mended in the next"),
        pytest.param("6.18-rc7", True, id="before upstream's release"),
        pytest.param("6.18", False, id="upstream"),
        pytest.param("7.3.4", False, id="after"),
        pytest.param("mine", False, id="no version"),
    ],
)
def test_versions(version: str, has: bool) -> None:
    assert RECORD["cve-2025-40040"].affects(version) is has


def test_what_a_kernel_of_the_matrix_has() -> None:
    assert [bug.id for bug in bugs_of("6.18.15")] == ["cve-2026-23416"]
    assert "cve-2025-40040" in [bug.id for bug in bugs_of("6.12.43")]
    assert bugs_of("7.3.4") == ()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("    unnoticed: only 32", "    rules: [x]\n    unnoticed: only 32", "either rules or exploration notice it"),
        ('"6.11": "6.11.10"', '"6.11": "6.12.10"', "6.12.10 is no release of 6.11"),
        ("broken: af8ca1c14906", "broken: af8ca1", "bugs[6].commits.broken"),
        ("id: cve-2024-53111", "id: cve-2025-40040", "cve-2025-40040 is there twice"),
    ],
)
def test_a_fault_is_one_line(old: str, new: str, says: str) -> None:
    text = BUGS.read_text()
    assert old in text
    with pytest.raises(ConfigError) as caught:
        parse_bugs(text.replace(old, new, 1).encode())
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_commands() -> None:
    runner = CliRunner()
    listed = runner.invoke(cli, ["bugs", "list", "--json"])
    assert {bug["id"] for bug in json.loads(listed.output)} == set(RECORD)
    shown = runner.invoke(cli, ["bugs", "show", "CVE-2025-40040"])
    assert "rule after-mergeable-unmergeable" in shown.output
    checked = runner.invoke(cli, ["bugs", "check", "6.18.15", "7.3.4"], standalone_mode=False)
    assert checked.return_value == 1
    assert "6.18.15: affected by\n  cve-2026-23416" in checked.output
    assert "7.3.4: none of the recorded bugs" in checked.output
    assert runner.invoke(cli, ["bugs", "check", "7.3.4"], standalone_mode=False).return_value == 0
