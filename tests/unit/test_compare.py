from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from harness.compare.diff import CHANGES, Change, Side, compare, exit_code, probe_change
from harness.compare.series import compare_series
from harness.model.rule import KernelFacts, Rule, Where
from harness.model.verdict import Kind, RuleResult, Status, Verdict
from harness.model.version import version_order
from tests.builders import result, rule

RULE = rule("munmap-across")


def verdict(status: Status, kind: Kind | None = None, observed: str = "o", probe: str = "p") -> Verdict:
    return Verdict("r", probe, status, "why", kind, observed)


def side(*results: RuleResult, version: str = "6.12.117", repeats: tuple[tuple[RuleResult, ...], ...] = ()) -> Side:
    by_rule = {r.rule.id: r for r in results}
    more = tuple({r.rule.id: r for r in repeat} for repeat in repeats)
    return Side("run", f"debian-{version}.x86_64", f"debian-{version}", version, "x86_64", "standard", "cloud", 4096,
                by_rule, more)  # fmt: skip


def verdicts(of: Rule, *statuses: Status, observed: str = "o") -> RuleResult:
    return RuleResult(of, tuple(Verdict(of.id, f"p{i}", s, "why", None, observed) for i, s in enumerate(statuses)))


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ("pass", "pass", "unchanged"),
        ("pass", "fail", "introduced"),
        ("pass", "known", "changed"),
        ("pass", "skip", "lost coverage"),
        ("pass", "miss", "lost coverage"),
        ("pass", "error", "lost coverage"),
        ("pass", None, "lost coverage"),
        ("fail", "pass", "fixed"),
        ("fail", "skip", "lost coverage"),
        ("fail", "miss", "lost coverage"),
        ("known", "pass", "fixed"),
        ("known", "fail", "introduced"),
        ("known", "fixed", "fixed"),
        ("fixed", "pass", "unchanged"),
        ("skip", "pass", "gained"),
        ("skip", "skip", "unchanged"),
        ("skip", "fail", "introduced"),
        ("skip", "miss", "lost coverage"),
        ("miss", "miss", "unchanged"),
        ("miss", "error", "unchanged"),
        ("miss", "pass", "gained"),
        ("miss", "fail", "introduced"),
        ("observed", "observed", "unchanged"),
        ("observed", "fail", "introduced"),
        (None, "pass", "gained"),
        (None, "fail", "introduced"),
    ],
)
def test_every_way_from_one_status_to_another(before: Status | None, after: Status | None, change: Change) -> None:
    old, new = (None if status is None else verdict(status) for status in (before, after))
    assert probe_change(old, new) == change


def test_another_observation_is_a_change_and_a_graver_failure_is_introduced() -> None:
    assert probe_change(verdict("observed"), verdict("observed", observed="x")) == "changed"
    assert probe_change(verdict("pass"), verdict("pass", observed="x")) == "changed"
    assert probe_change(verdict("fail", "wrong-errno"), verdict("fail", "bypass")) == "introduced"
    assert probe_change(verdict("fail", "bypass"), verdict("fail", "wrong-errno")) == "changed"
    assert probe_change(verdict("skip"), verdict("skip", observed="x")) == "unchanged"


def test_a_failing_rule_hides_no_probe_that_begins_to_fail() -> None:
    pair = compare(side(verdicts(RULE, "fail", "pass", "pass")), side(verdicts(RULE, "fail", "pass", "fail")))
    (change,) = pair.rules
    assert (change.change, change.worst and change.worst.probe) == ("introduced", "p2")
    assert change.counts == {"introduced": 1, "unchanged": 2}
    assert exit_code([pair]) == 1


def test_a_rule_that_still_fails_is_not_fixed() -> None:
    (change,) = compare(side(verdicts(RULE, "fail", "fail")), side(verdicts(RULE, "fail", "pass"))).rules
    assert change.change == "changed"


def test_a_part_that_is_skipped_now_is_lost_coverage_and_says_how_much() -> None:
    pair = compare(side(verdicts(RULE, "pass", "pass")), side(verdicts(RULE, "pass", "skip")))
    assert pair.rules[0].counts == {"lost coverage": 1, "unchanged": 1}
    assert exit_code([pair]) == 1
    assert exit_code([compare(pair.before, pair.after, across=True)]) == 0


def test_a_guest_lost_on_another_machine_is_still_no_answer() -> None:
    pair = compare(side(verdicts(RULE, "pass")), side(verdicts(RULE, "miss")), across=True)
    assert exit_code([pair]) == 1


def test_a_rule_that_is_not_there_any_more_lost_its_coverage() -> None:
    pair = compare(side(result(RULE)), side(result(rule("other"))))
    assert {c.rule.id: c.change for c in pair.rules} == {"other": "gained", "munmap-across": "lost coverage"}


def test_a_rule_that_does_not_speak_for_the_later_kernel_lost_nothing() -> None:
    old_only = Rule(**{**vars(RULE), "where": Where(until=(7, 0, 0))})
    after = side(verdicts(old_only, "skip"), version="7.3.4")
    after = Side(**{**vars(after), "facts": KernelFacts("7.3.4", "x86_64", 4096)})
    pair = compare(side(verdicts(old_only, "pass")), after)
    assert pair.counts["unchanged"] == 1


def repeated(*answers: Status, words: Sequence[str] = ()) -> Side:
    """A cell of one probe that was run once for each answer."""
    texts = words or ["seen"] * len(answers)
    first, *rest = (verdicts(RULE, answer, observed=text) for answer, text in zip(answers, texts, strict=True))
    return side(first, repeats=tuple((one,) for one in rest))


@pytest.mark.parametrize(
    ("before", "after", "change", "failed", "code"),
    [
        # Fails in every repeat: introduced, whatever the words.
        (repeated("pass"), repeated("fail", "fail", "fail"), "introduced", 0, 1),
        (repeated("pass"), repeated("fail", "fail", "fail", words="abc"), "introduced", 3, 1),
        (repeated("pass", "pass"), repeated("fail", "error"), "introduced", 1, 1),
        (repeated("pass", "fail"), repeated("fail", "fail"), "introduced", 0, 1),
        # Fails in some: unstable, and a failure was seen.
        (repeated("pass"), repeated("fail", "pass", "fail"), "unstable", 2, 1),
        (repeated("pass"), repeated("pass", "pass", "fail"), "unstable", 1, 1),
        (repeated("skip"), repeated("skip", "fail"), "unstable", 1, 1),
        (repeated("known"), repeated("known", "fail"), "unstable", 1, 1),
        (repeated("pass"), repeated("pass", "fail", "miss"), "unstable", 1, 1),
        # Where it failed before, at times or always, that is no news.
        (repeated("fail"), repeated("fail", "pass"), "flaky", 1, 0),
        (repeated("fail", "pass"), repeated("fail", "pass"), "flaky", 1, 0),
        # Lost is lost.
        (repeated("pass"), repeated("pass", "miss"), "lost coverage", 0, 1),
        (repeated("pass"), repeated("error", "pass", "pass"), "lost coverage", 0, 1),
        (repeated("pass", "fail"), repeated("miss", "miss"), "lost coverage", 0, 1),
        # The rest is flaky.
        (repeated("pass"), repeated("pass", "pass", words="ab"), "flaky", 0, 0),
        (repeated("pass"), repeated("pass", "known"), "flaky", 0, 0),
        (repeated("pass", "fail"), repeated("pass", "pass"), "flaky", 0, 0),
        (repeated("fail", "fail"), repeated("fail", "fail", words="ab"), "changed", 2, 0),
    ],
)
def test_repeats_are_weighed(before: Side, after: Side, change: str, failed: int, code: int) -> None:
    pair = compare(before, after)
    assert pair.rules[0].change == change
    assert [probe.failed for probe in pair.rules[0].probes] == [failed]
    assert exit_code([pair]) == code


def test_a_later_cell_that_is_not_clean_is_never_unchanged() -> None:
    clean = side(verdicts(RULE, "pass"))
    lost = replace(clean, trouble="lost: panic")
    assert exit_code([compare(clean, clean)]) == 0
    assert exit_code([compare(clean, lost)]) == 1
    assert exit_code([compare(lost, lost)]) == 3
    assert exit_code([compare(lost, clean)]) == 0


def test_a_steady_probe_of_a_flaky_rule_is_introduced() -> None:
    flaky = side(verdicts(RULE, "pass", "fail"), repeats=((verdicts(RULE, "fail", "fail"),),))
    (change,) = compare(side(verdicts(RULE, "pass", "pass")), flaky).rules
    assert change.change == "introduced"
    assert change.counts == {"introduced": 1, "unstable": 1}


def test_flakiness_before_does_not_excuse_no_answer_now() -> None:
    flaky = side(verdicts(RULE, "pass"), repeats=((verdicts(RULE, "fail"),),))
    assert compare(flaky, side(verdicts(RULE, "miss"))).rules[0].change == "lost coverage"


def test_repeats_that_agree_change_nothing() -> None:
    steady = side(verdicts(RULE, "pass", "skip"), repeats=((verdicts(RULE, "pass", "skip"),),))
    assert compare(steady, steady).counts == {change: int(change == "unchanged") for change in CHANGES}


def test_versions_sort_with_candidates_before_their_release() -> None:
    versions = ["7.3.4", "6.2", "7.3-rc7", "6.12.117", "7.3", "6.12.9", "7.3-rc10"]
    ordered = ["6.2", "6.12.9", "6.12.117", "7.3-rc7", "7.3-rc10", "7.3", "7.3.4"]
    assert sorted(versions, key=version_order) == ordered
    assert sorted(["6.2", "linux"], key=version_order) == ["linux", "6.2"]


def test_stretches_have_a_first_and_a_last_kernel() -> None:
    told: list[tuple[str, Status]] = [
        ("6.18.5", "fail"), ("6.12.43", "pass"), ("6.16.3", "pass"), ("6.17.8", "fail"), ("7.0.4", "pass"),
    ]  # fmt: skip
    series = compare_series([side(verdicts(RULE, status), version=version) for version, status in told])
    _, stretches = series.rules[RULE.id]
    assert [(s.first.version, s.last.version, s.kernels, s.change) for s in stretches] == [
        ("6.12.43", "6.16.3", 2, None),
        ("6.17.8", "6.18.5", 2, "introduced"),
        ("7.0.4", "7.0.4", 1, "fixed"),
    ]


def test_what_changed_behind_a_gap_is_held_against_the_last_answer() -> None:
    def observed(version: str, status: Status, seen: str) -> Side:
        return side(RuleResult(RULE, (Verdict(RULE.id, "p", status, "", None, seen),)), version=version)

    lost = observed("6.13", "miss", "")
    same = compare_series([observed("6.12", "pass", "a"), lost, observed("6.14", "pass", "a")])
    assert [step.rules[0].change for step in same.steps] == ["lost coverage", "gained"]
    other = compare_series([observed("6.12", "pass", "a"), lost, observed("6.14", "pass", "b")])
    change = other.steps[1].rules[0]
    assert (change.change, change.probes[0].since.version) == ("changed", "6.12")
