"""From hundreds of failing verdicts to the few sentences that explain them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.guests.console import Crash
from harness.model.rule import ProbeName
from harness.model.verdict import Kind, RuleResult, Verdict
from harness.payload.build import probe_list
from harness.rules.load import load_catalogue
from harness.verdicts.causes import Cause, causes
from harness.verdicts.crash_reason import crash_reason, is_of_lost_memory, shared_crash
from harness.verdicts.features import LAYOUTS, call_of, features
from harness.verdicts.judge import assign

PROBES = tuple(ProbeName(p.operation, p.region, p.span, p.layout) for p in probe_list())
ASSIGNED = assign(load_catalogue(), PROBES)
REFUSED = frozenset(probe.id for rule, probes in ASSIGNED if rule.outcome == "blocked" for probe in probes)


def results(broken: Callable[[ProbeName], Kind | None]) -> list[RuleResult]:
    """The whole suite on a kernel on which ``broken`` says which probe fails, and how."""
    found = []
    for rule, probes in ASSIGNED:
        if rule.outcome != "blocked":
            continue
        verdicts = tuple(
            Verdict(rule.id, p.id, "fail" if (kind := broken(p)) else "pass", "why" if kind else "", kind)
            for p in probes
        )
        found.append(RuleResult(rule, verdicts))
    return found


def of_call(call: str) -> Callable[[ProbeName], Kind | None]:
    return lambda probe: "bypass" if probe.id in REFUSED and call_of(probe.operation) == call else None


@pytest.mark.parametrize("call", ["mprotect", "munmap", "mremap", "madvise", "mmap(MAP_FIXED)"])
def test_one_missing_check_is_one_cause(call: str) -> None:
    (cause,) = causes(results(of_call(call)))
    assert (cause.call, cause.kind, cause.where) == (call, "bypass", "")
    assert cause.headline == f"{call} gets at sealed memory: every region and span"
    assert cause.first.probe.split("/")[1] in ("anon-rw", "anon-r")


def test_two_missing_checks_are_two_causes() -> None:
    def broken(probe: ProbeName) -> Kind | None:
        return of_call("mprotect")(probe) or of_call("mremap")(probe)

    assert {cause.call for cause in causes(results(broken))} == {"mprotect", "mremap"}


def test_where_a_cause_shows_is_said() -> None:
    def only_heads(probe: ProbeName) -> Kind | None:
        return of_call("munmap")(probe) if probe.span == "head" else None

    (cause,) = causes(results(only_heads))
    assert cause.headline == "munmap gets at sealed memory: only in the span head (SSs)"


def test_a_region_that_is_not_sealed_at_all_is_one_cause_over_all_calls() -> None:
    def memfd(probe: ProbeName) -> Kind | None:
        return "bypass" if probe.id in REFUSED and probe.region == "memfd-shared-rw" else None

    (cause,) = causes(results(memfd))
    assert cause.call == ""
    assert cause.headline == "every call gets at sealed memory: only on memfds (memfd-shared-rw)"


def test_what_had_happened_before_is_said() -> None:
    def after_mlock(probe: ProbeName) -> Kind | None:
        return "seal-lost" if probe.id in REFUSED and probe.operation.startswith("after-mlock-") else None

    (cause,) = causes(results(after_mlock))
    assert cause.headline == "munmap, mmap(MAP_FIXED), mprotect or mremap loses the seal: only after mlock"


@given(st.sets(st.integers(0, len(PROBES) - 1), max_size=40))
def test_no_failing_probe_is_hidden_and_the_numbers_add_up(picked: set[int]) -> None:
    chosen = {PROBES[i].id for i in picked}
    seen = results(lambda probe: "bypass" if probe.id in chosen else None)
    found = causes(seen)
    failing = [v.probe for result in seen for v in result.verdicts if v.status == "fail"]
    assert sum(sum(cause.kinds.values()) for cause in found) == len(failing)
    assert {probe for cause in found for probe in cause.probes} == set(failing)
    for one, other in itertools.combinations(found, 2):
        assert one != other
    for cause in found:
        assert 0 < cause.failed <= cause.judged


def test_a_check_that_unmapping_shares_is_one_cause_over_its_calls() -> None:
    def past(probe: ProbeName) -> Kind | None:
        said = dict(features(probe.id, "guard"))
        return "bypass" if probe.id in REFUSED and {"does", "past"} <= said.keys() else None

    (cause,) = causes(results(past))
    assert cause.unmaps
    assert "munmap" in cause.calls
    assert cause.headline.startswith("unmapping (munmap, mmap(MAP_FIXED), mremap")
    assert cause.headline.endswith("gets at sealed memory: only where a sealed mapping goes on past the range")


def test_what_is_spared_is_said() -> None:
    def broken(probe: ProbeName) -> Kind | None:
        return None if probe.region.startswith("file-") else of_call("mprotect")(probe)

    (cause,) = causes(results(broken))
    assert cause.headline == "mprotect gets at sealed memory: nearly every region and span, but not on mapped files"


def test_a_pass_where_any_answer_is_right_tells_nothing_of_the_seal() -> None:
    mixed = next(rule for rule, _ in ASSIGNED if rule.outcome == "undefined")
    blocked = next(rule for rule, _ in ASSIGNED if rule.id == "mprotect-blocked")
    failing = tuple(Verdict(blocked.id, f"mprotect-r/anon-rw/{s}", "fail", "why", "bypass") for s in ("exact", "head"))
    seen = "control 0, sealed 0"
    passing = tuple(
        Verdict(mixed.id, f"mprotect-rw/{region}/into", "pass", "", observed=seen) for region in ("anon-rw", "memfd-rw")
    )
    (cause,) = causes([RuleResult(blocked, failing), RuleResult(mixed, passing)])
    assert (cause.failed, cause.judged) == (2, 2)


def test_the_spans_are_laid_out_as_the_payload_lays_them_out() -> None:
    seen = {probe.span: probe.layout for probe in PROBES}
    assert {span: seen[span] for span in LAYOUTS} == dict(LAYOUTS)


def test_nothing_failed_nothing_explained() -> None:
    assert causes(results(lambda probe: None)) == ()


@pytest.mark.parametrize(
    ("operation", "call"),
    [
        ("after-mlock-munmap", "munmap"),
        ("pkey-mprotect-new", "mprotect"),
        ("process-madvise-ranges-dontneed", "madvise"),
        ("fork-mmap-fixed", "mmap(MAP_FIXED)"),
        ("madvise-dontneed-locked", "madvise"),
        ("race-mprotect-crowd", "mprotect"),
        ("brk-shrink-short", "brk"),
        ("after-refused-munmap-mremap", "mremap"),
        ("clone-vm-munmap", "munmap"),
        ("program32-process-madvise-dontneed", "madvise"),
        ("shadow-stack-mmap-fixed", "mmap(MAP_FIXED)"),
        ("hwpoison", "madvise"),
        ("fork-exec", "fork-exec"),
    ],
)
def test_the_call_an_operation_is_about(operation: str, call: str) -> None:
    assert call_of(operation) == call


def test_a_report_that_falls_on_many_probes_is_one_cause_in_the_kernels_words() -> None:
    """Of 124 probes that ran at that moment one had executed a program; none of the others has to do with it."""
    title = "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008 in do_mmap: Oops"
    ran = [probe for probe in PROBES if probe.id in REFUSED][::40]
    crash = Crash("oops", title, (), ran[0].id, fatal=True, also=tuple(probe.id for probe in ran[1:]))
    found = results(lambda probe: "crash" if probe in ran else of_call("mprotect")(probe))
    told = [
        replace(
            result,
            verdicts=tuple(
                replace(v, reason=crash_reason(crash, v.probe)) if v.kind == "crash" else v for v in result.verdicts
            ),
        )
        for result in found
    ]
    second, first = causes(told)  # what gets at sealed memory is graver
    assert first.headline == f"the kernel crashes while one of several probes runs: {title}"
    fewer = [replace(r, verdicts=tuple(v for v in r.verdicts if v.probe != ran[0].id)) for r in told]
    assert causes(fewer)[1].headline == first.headline  # by which a night knows it again, however many ran then
    assert f"{len(ran)} probes)" in first.sentence
    assert set(first.probes) == {probe.id for probe in ran}
    assert second.headline.startswith("mprotect gets at sealed memory")
    reason = crash_reason(crash, ran[0].id)
    assert f"and {len(ran) - 4} more: " in reason and shared_crash(reason) == title
    lost = crash_reason(replace(crash, kind="leak", also=()), ran[0].id)
    assert is_of_lost_memory(lost) and not is_of_lost_memory(reason)
    alone = crash_reason(replace(crash, also=()), ran[0].id)
    assert alone == f"the kernel reported while the probe ran: {title}" and not shared_crash(alone)


def test_memory_that_is_lost_is_no_crash_in_the_headline() -> None:
    probe = "mseal-end-is-zero/anon-rw/unmapped"
    reason = crash_reason(Crash("leak", "kmemleak: unreferenced object (size 192) in do_mseal", (), probe, True), probe)
    verdict = Verdict("args-overflow", probe, "fail", reason, "crash")
    cause = Cause(
        call="mseal", calls=("mseal",), kind="crash", where="", spared="", unmaps=False, failed=1, judged=1,
        rules=("args-overflow",), probes=(probe,), kinds={"crash": 1}, verdicts=(verdict,),
    )  # fmt: skip
    assert cause.headline == f"the kernel loses memory in mseal: only in {probe}"
