"""The catalogue and the payload's tables hold each other to account."""

from __future__ import annotations

import errno
from itertools import combinations
from typing import get_args

import pytest

from harness.matrix.load import default_path, load_matrix
from harness.model.rule import CONFIG, Level, ProbeName, Rule, covers
from harness.model.version import parse_version
from harness.payload.build import probe_list
from harness.rules.load import load_catalogue, rule_named
from harness.runs.planning.payload_tasks import matcher
from harness.verdicts.judge import assign

RULES = load_catalogue()
PROBES = tuple(ProbeName(p.operation, p.region, p.span, p.layout) for p in probe_list())


def test_every_probe_is_claimed() -> None:
    # ``assign`` refuses what no rule speaks for: what it saw would be judged by nobody.
    claimed = [(rule, probes) for rule, probes in assign(RULES, PROBES) if rule.outcome != "unchanged"]
    assert {probe for _, probes in claimed for probe in probes} == set(PROBES)


def test_rules_are_assigned_what_they_speak_for() -> None:
    for rule, probes in assign(RULES, PROBES):
        assert probes == tuple(probe for probe in PROBES if rule.speaks_for(probe))


def test_the_smoke_selection_touches_every_family() -> None:
    wanted = load_matrix(default_path()).selections["smoke"].probes
    chosen = [probe for probe in probe_list() if matcher(wanted)(probe.id)]
    assert sorted(probe.id for probe in chosen) == sorted(wanted), "a line that is no probe"
    assert {probe.family for probe in chosen} == {probe.family for probe in probe_list()}


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_every_rule_is_sound(rule: Rule) -> None:
    for selector in rule.probes:
        assert any(probe in selector for probe in PROBES), f"{selector} takes no probe: stale?"
    assert rule.statement.endswith(".")
    assert rule.sources
    assert all(source.strip() for source in rule.sources)
    assert rule.contract
    assert rule.level in get_args(Level)
    names = {*rule.errnos, *(rule.expect_control.errnos if rule.expect_control else ())}
    assert all(name == "0" or hasattr(errno, name) for name in names)
    assert (rule.outcome == "interface") == (rule.expect_control is not None)
    for known in rule.known:
        assert known.reason
        assert known.source
    if rule.level in ("open", "uncovered"):
        assert rule.outcome == rule.level, "what is not promised is never failed"


def test_one_promise_per_probe() -> None:
    """A probe may be looked at twice, but only one rule says what it must answer."""
    for probe in PROBES:
        judging = [r for r in RULES.values() if r.speaks_for(probe) and asks(r)]
        for one, other in combinations(judging, 2):
            assert exclude_each_other(one, other), f"{probe.id}: {one.id}, {other.id}"


def asks(rule: Rule) -> bool:
    """Whether a rule is about what the operation answers; of what sealing did before, one speaks for all probes."""
    return rule.level in ("required", "permitted") and rule.outcome != "unchanged"


def exclude_each_other(one: Rule, other: Rule) -> bool:
    """Whether no kernel can be asked both: one needs to have been built with what the other needs it without."""
    options = {need.removeprefix(CONFIG) for need in one.needs if need.startswith(CONFIG)}
    others = {need.removeprefix(CONFIG) for need in other.needs if need.startswith(CONFIG)}
    return any(f"!{option}" in others for option in options) or any(f"!{option}" in options for option in others)


CLAUSES = {"A": 11, "U": 7, "R": 4, "P": 3, "M": 9, "O": 11, "S": 13}


@pytest.mark.parametrize(
    "clause", [f"{letter}{n}" for letter, last in CLAUSES.items() if letter != "S" for n in range(1, last + 1)]
)
def test_every_clause_of_the_contract_has_a_rule(clause: str) -> None:
    assert [rule.id for rule in RULES.values() if clause in rule.contract.split()]


# Only one call can be asked: where tags are, and where the limit of mappings is.
ASKED_BY_ONE_CALL = {"A9", "A10"}


def test_no_promise_rests_on_one_rule() -> None:
    """Two rules that are judged, at least, of other operations or on other regions, for every required clause."""
    judging = {
        rule: [p for p in PROBES if rule.speaks_for(p)]
        for rule in RULES.values()
        if rule.level in ("required", "permitted")
    }
    for clause in {c for rule in judging if rule.level == "required" for c in rule.contract.split()}:
        naming = [rule for rule in judging if clause in rule.contract.split()]
        if clause in ASKED_BY_ONE_CALL:
            continue
        assert len(naming) >= 2, clause
        operations = [{p.operation for p in judging[rule]} for rule in naming]
        regions = [{p.region for p in judging[rule]} for rule in naming]
        assert any(a != b for a, b in combinations(operations, 2)) or any(a != b for a, b in combinations(regions, 2))


def test_rules_name_clauses_there_are() -> None:
    for rule in RULES.values():
        for clause in rule.contract.split():
            assert 1 <= int(clause[1:]) <= CLAUSES[clause[0]], f"{rule.id}: {clause}"


@pytest.mark.parametrize(
    ("layout", "expected"),
    [("SSS", "sealed"), ("pPSs", "mixed"), ("sPs", "plain"), ("SGS", "mixed"), ("Gs", "gap"), ("PGP", "gap")],
)
def test_covers(layout: str, expected: str) -> None:
    assert covers(layout) == expected


def test_versions() -> None:
    assert parse_version("6.12.117+deb13-cloud-amd64") == (6, 12, 117)
    assert parse_version("7.3-rc7") == (7, 3, 0)
    with pytest.raises(ValueError, match="not a kernel version"):
        parse_version("next-20261123")


def test_a_wrong_name_finds_the_nearest() -> None:
    with pytest.raises(Exception, match="did you mean 'munmap-blocked'"):
        rule_named(RULES, "munmap-blockd")
