"""The record of bugs: it names only what is there, and knows which versions have each."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.bugs.record import BUGS, Bug, load_bugs, parse_bugs
from harness.cli.main import cli
from harness.errors import ConfigError
from harness.explore.known import load_known
from harness.matrix.load import default_path, load_matrix
from harness.matrix.sources.debian import DebianSource
from harness.model.rule import KernelFacts, Where
from harness.model.version import version_order
from harness.mutants.catalogue import load_mutants
from harness.rules.load import load_catalogue

RECORD = load_bugs().bugs


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
    assert [bug.id for bug in load_bugs().of("6.18.15")] == ["cve-2026-23416"]
    assert "cve-2025-40040" in [bug.id for bug in load_bugs().of("6.12.43")]
    assert load_bugs().of("7.3.4") == ()


VERSIONS = [
    f"{major}.{minor}.{patch}" for major, last in ((6, 19), (7, 3)) for minor in range(last + 1) for patch in range(60)
]


@pytest.mark.parametrize("bug", RECORD.values(), ids=list(RECORD))
def test_its_ranges_hold_the_versions_that_it_affects(bug: Bug) -> None:
    ranges = bug.where("6.10")
    wanted = [v for v in VERSIONS if bug.affects(v) and version_order(v) >= version_order("6.10")]
    assert [v for v in VERSIONS if any(KernelFacts(v, "x86_64", 4096) in one for one in ranges)] == wanted


def known_of_the_record() -> dict[str, tuple[str, tuple[Where, ...]]]:
    """What our lists of known differences say of published bugs: by entry, the bug and the kernels."""
    found = {f"explore: {one.id}": (one.bug or _named(one.source), one.where) for one in load_known()}
    for rule in load_catalogue().values():
        for known in rule.known:
            bug = _named(known.source)
            ranges = found.get(f"rule: {rule.id} {bug}", ("", ()))[1]
            found[f"rule: {rule.id} {bug}"] = bug, (*ranges, known.where)
    return {entry: told for entry, told in found.items() if told[0]}


def _named(source: str) -> str:
    """The id of a bug that a source names, "" where it names none."""
    cve = re.search(r"CVE-\d+-\d+", source)
    return cve[0].lower() if cve else next((bug for bug in RECORD if bug in source), "")


@pytest.mark.parametrize(("bug", "ranges"), known_of_the_record().values(), ids=known_of_the_record())
def test_what_is_known_of_a_bug_is_known_of_the_versions_that_have_it(bug: str, ranges: tuple[Where, ...]) -> None:
    releases = (getattr(entry.source, "release", None) for entry in load_matrix(default_path()).kernels.values())
    builds = {release for release in releases if release}
    covered = [v for v in (*sorted(builds), *VERSIONS) if not load_bugs().outside(v)]
    assert bug in RECORD
    assert {"6.12.43", "6.16.12", "6.17.8"} <= builds
    known = [v for v in covered if any(KernelFacts(v, "x86_64", 4096) in one for one in ranges)]
    assert known == [v for v in covered if RECORD[bug].affects(v)]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("{bug: cve-2025-4004, reason: r, source: s}", "cve-2025-4004: no such bug"),
        ('{bug: cve-2025-40040, until: "6.12", reason: r, source: s}', "leave out since and until"),
    ],
)
def test_a_rule_names_a_bug_that_is_recorded_and_no_versions_beside_it(entry: str, says: str, tmp_path: Path) -> None:
    text = f"""family: f
rules:
  - {{id: a, contract: M8, level: required, outcome: blocked, statement: s, sources: [s], probes: [{{operations: x}}],
     known: [{entry}]}}
"""
    (tmp_path / "f.yaml").write_text(text)
    with pytest.raises(ConfigError, match=says) as caught:
        load_catalogue(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ("6.9.12", "the record begins with 6.10"),
        ("6.10-rc1", "the record begins with 6.10"),
        ("6.10", ""),
        ("7.3.99", ""),
        ("7.4-rc1", "the record is of 2026-11-29, when 7.3 was the newest release"),
        ("99.99", "the record is of 2026-11-29, when 7.3 was the newest release"),
        ("0.0.0", "the record begins with 6.10"),
        ("mine", "it tells no upstream version"),
    ],
)
def test_what_the_record_covers(version: str, why: str) -> None:
    assert load_bugs().outside(version) == why


def test_the_record_covers_every_kernel_of_the_matrix() -> None:
    newest = max(version_order(b.upstream) for b in RECORD.values())
    assert newest <= version_order(load_bugs().newest)
    matrix = load_matrix(default_path())
    sources = [entry.source for entry in matrix.kernels.values() if isinstance(entry.source, DebianSource)]
    versions = [source.release for source in sources if source.release]
    told = [version for version in versions if version_order(version) >= version_order("6.10")]
    assert told
    assert [version for version in told if load_bugs().outside(version)] == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("    unnoticed: only 32", "    rules: [x]\n    unnoticed: only 32", "either rules or exploration notice it"),
        ('"6.11": "6.11.10"', '"6.11": "6.12.10"', "6.12.10 is no release of 6.11"),
        ('on: "2026-11-29"', "on: soon", "covers.on"),
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
    assert "7.3.4: none of the recorded bugs; the record is of 2026-11-29\n" in checked.output
    assert runner.invoke(cli, ["bugs", "check", "7.3.4"], standalone_mode=False).return_value == 0


@pytest.mark.parametrize("version", ["0.0.0", "99.99"])
def test_a_version_the_record_does_not_cover_is_not_said_to_have_none(version: str) -> None:
    checked = CliRunner().invoke(cli, ["bugs", "check", version], standalone_mode=False)
    assert checked.return_value == 3
    assert f"{version}: not known: the record " in checked.output
    assert "none" not in checked.output
    (told,) = json.loads(CliRunner().invoke(cli, ["bugs", "check", version, "--json"]).output)
    assert (told["covered"], told["bugs"]) == (False, [])


def test_bugs_of_a_version_before_the_record_are_told_all_the_same() -> None:
    checked = CliRunner().invoke(cli, ["bugs", "check", "6.6.50"], standalone_mode=False)
    assert checked.return_value == 1
    assert "6.6.50: affected by, and perhaps by others, for the record begins with 6.10\n" in checked.output
