"""Races, and what a rule needs of a machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.errors import ConfigError
from harness.model.rule import KernelFacts, ProbeName, asked_options
from harness.observations.model import Half, Observation
from harness.rules.load import load_catalogue
from harness.verdicts.observation import judge_observation
from harness.verdicts.rounds import read_outcomes

KERNEL = KernelFacts("6.12.1", "x86_64", 4096)
UNMAP, CHANGE, ANSWERS = (load_catalogue()[name] for name in ("race-unmap", "race-change", "race-answers"))
UNIT = "rw-p anon a0 a "


def rounds_of(outcomes: str) -> int:
    """As many as the outcomes tell of."""
    return sum(int(words[4]) for part in outcomes.split("; ") if len(words := part.split()) == 6)


def half(outcomes: str, *, sealed: bool = True, **extra: int) -> Half:
    seen = (UNIT + ("s" if sealed else "-"),) * 3
    refused = (1 if sealed else 0,) * 3
    return Half(
        "done", seal=(0,) if sealed else (), result=0, before=seen, after=seen, write="www",
        extra={"rounds": rounds_of(outcomes), "outcomes": outcomes} | extra, mprotect=refused, munmap=refused,
    )  # fmt: skip


def judged(operation: str, sealed: str, control: str = "- 0 - changed 10 1", **extra: int):
    probe = ProbeName(operation, "anon-rw", "exact", "SSS")
    seen = Observation(probe.id, "SSS", 4096, 1, half(control, sealed=False), half(sealed, **extra))
    rule = next(rule for rule in (UNMAP, CHANGE) if rule.speaks_for(probe))
    finding = judge_observation(rule, probe, seen, KERNEL)
    return finding.status, finding.kind


@pytest.mark.parametrize(
    ("operation", "outcomes", "status", "kind"),
    [
        ("race-munmap", "0 1 kept kept 25 1; 12 0 changed changed 40 2", "pass", None),
        # One side hardly ever came first: it is not known what the kernel does then.
        ("race-munmap", "0 1 kept kept 24 1; 12 0 changed changed 4000 2", "skip", None),
        ("race-munmap", "0 1 kept kept 6 1", "skip", None),
        ("race-mprotect", "0 1 kept kept 60 1", "skip", None),
        # mseal and munmap both say that they came first.
        ("race-munmap", "0 1 kept kept 9 1; 0 0 changed changed 1 7", "fail", "interface"),
        ("race-munmap", "0 0 kept changed 1 7", "fail", "bypass"),
        # Refused, and yet the range is gone after mseal had returned.
        ("race-mremap", "0 1 kept changed 1 7", "fail", "bypass"),
        ("race-mprotect", "0 1 kept kept 30 1; 0 0 changed changed 30 2", "pass", None),
        ("race-mprotect", "0 0 kept changed 1 3", "fail", "bypass"),
        ("race-madvise", "0 1 kept partly 1 3", "fail", "bypass"),
        ("race-mmap-fixed", "12 0 changed changed 1 3", "fail", "interface"),
        ("race-mmap-fixed", "0 13 kept kept 1 3", "fail", "interface"),
        ("race-munmap", "", "error", None),
        ("race-munmap", "0 1 kept kept 6", "error", None),
        ("race-munmap", "x" * 500, "error", None),
    ],
)
def test_rounds(operation, outcomes, status, kind):
    assert judged(operation, outcomes) == (status, kind)


def answers(sealed: str, control: str = "- 12 - kept 30 1", *, after: tuple[int | None, int | None] = (0, 1)):
    """What is said of race-mseal, and what ``mprotect`` answered in the end in the two halves (None: not told)."""
    probe = ProbeName("race-mseal", "anon-rw", "exact", "SSS")
    control_after, sealed_after = ({} if one is None else {"mprotect_after": one} for one in after)
    halves = half(control, sealed=False, **control_after), half(sealed, **sealed_after)
    return judge_observation(ANSWERS, probe, Observation(probe.id, "SSS", 4096, 1, *halves), KERNEL)


@pytest.mark.parametrize(
    ("outcomes", "status", "kind"),
    [
        ("0 12 kept kept 30 1", "pass", None),
        ("0 12 kept kept 24 1", "skip", None),
        ("0 12 kept kept 300 1; 0 0 kept kept 1 7", "fail", "interface"),  # the hole was told nothing
        ("0 12 kept kept 300 1; 12 12 kept kept 1 7", "fail", "interface"),  # one was told of the other's hole
        # No answer of the other was seen, or too few: that is no win.
        ("0 - kept kept 300 1", "skip", None),
        ("0 - kept kept 300 1; 0 12 kept kept 24 2", "skip", None),
        ("0 - kept kept 300 1; 0 12 kept kept 25 2", "pass", None),
        ("0 12 kept kept 30 1; 12 - kept kept 1 7", "fail", "interface"),  # whatever the other was told
    ],
)
def test_each_of_two_calls_of_mseal_is_told_its_own_answer(outcomes, status, kind):
    finding = answers(outcomes)
    assert (finding.status, finding.kind) == (status, kind)


def test_a_control_in_which_no_call_returned_proves_nothing():
    finding = answers("0 12 kept kept 30 1", "- - - kept 30 1")
    assert (finding.status, finding.reason) == (
        "skip", "inconclusive race: outcome '- ENOMEM - kept' in 0 of 30 control rounds, at least 1 needed",
    )  # fmt: skip


def test_what_a_control_leaves_open_excuses_no_wrong_answer_beside_it():
    finding = answers("0 0 kept kept 200 1", "- - - kept 20 1")
    assert (finding.status, finding.kind) == ("fail", "interface")


@pytest.mark.parametrize(
    ("after", "status", "reason"),
    [
        ((0, 0), "fail", "the sealed half tells mprotect_after '0' instead of 'EPERM'"),
        ((1, 1), "fail", "the control half tells mprotect_after 'EPERM' instead of '0'"),
        ((0, None), "miss", "the sealed half does not tell mprotect_after, as payloads once did not"),
        ((None, 1), "miss", "the control half does not tell mprotect_after, as payloads once did not"),
    ],
)
def test_whether_the_mapping_is_sealed_in_the_end_is_asked(after, status, reason):
    finding = answers("0 12 kept kept 30 1", after=after)
    assert (finding.status, finding.reason) == (status, reason)


def page_zero(errno: int, **extra: str | int) -> Half:
    whole = (UNIT + "-",)
    return Half("done", result=-1 if errno else 0, errno=errno, before=whole, after=whole, write="w", extra=extra,
                mprotect=(0,), munmap=(0,))  # fmt: skip


@pytest.mark.parametrize(
    ("errno", "extra", "status", "reason"),
    [
        (1, {"page_zero": "kept"}, "pass", ""),
        (10, {"page_zero": "not whole before"}, "fail", "tells page_zero 'not whole before' instead of 'kept'"),
        (
            10,
            {"page_zero": "changed by a refused call"},
            "fail",
            "tells page_zero 'changed by a refused call' instead of 'kept'",
        ),
        (0, {}, "fail", "answered 0 instead of EPERM"),
        (13, {"page_zero": "kept"}, "fail", "answered EACCES instead of EPERM"),
        (1, {}, "miss", "does not tell page_zero, as payloads once did not"),
    ],
)
def test_what_became_of_the_page_at_address_zero_is_told_apart(errno, extra, status, reason):
    rule = load_catalogue()["system-page-zero-sealed"]
    probe = ProbeName("page-zero-munmap", "anon-rw", "exact", "P")
    seen = page_zero(errno, **extra)
    finding = judge_observation(rule, probe, Observation(probe.id, "P", 4096, 1, seen, seen), KERNEL)
    assert finding.status == status
    assert finding.reason.removeprefix("the control half ") == reason


def test_a_list_of_mappings_that_cannot_be_read_gives_no_verdict():
    rule = load_catalogue()["system-page-zero-sealed"]
    probe = ProbeName("page-zero-munmap", "anon-rw", "exact", "P")
    unread = Half("operation", "read of /proc/self/maps", 5, before=(UNIT + "-",))
    finding = judge_observation(rule, probe, Observation(probe.id, "P", 4096, 1, unread, unread), KERNEL)
    assert finding.status == "error"


@pytest.mark.parametrize("extra", [{"rounds": 66}, {"outcomes_left_out": 1}])
def test_rounds_that_are_not_told_may_have_gone_any_way(extra):
    whole = "0 1 kept kept 25 1; 12 0 changed changed 40 2"
    assert judged("race-munmap", whole) == ("pass", None)
    assert judged("race-munmap", whole, **extra) == ("error", None)


def test_a_control_that_did_not_work_proves_nothing():
    assert judged("race-munmap", "0 1 kept kept 6 1", control="- 22 - kept 10 1") == ("fail", "interface")


def test_outcomes_are_read_whole():
    (one,) = read_outcomes(half("12 0 changed changed 4 2"))
    assert (one.told, one.count, one.first) == ("ENOMEM 0 changed changed", 4, 2)
    assert read_outcomes(Half("setup", "two CPUs", 95)) == ()


@pytest.mark.parametrize(
    ("needs", "features", "lacks"),
    [
        (("swap",), {"swap": 0}, "swap, which the tested machine lacks"),
        (("swap",), {"swap": 65532}, ""),
        (("two-nodes", "two-cpus"), {"nodes": 2, "cpus": 1}, "two CPUs, which the tested machine lacks"),
        (("hugepages",), {"hugepages": 0}, "huge pages, which the tested machine lacks"),
        (("swap",), {}, ""),  # an older payload did not say: the probe itself will
        (("boot:a.b=never",), {"cmdline": "quiet a.b=never"}, ""),
        (
            ("boot:a.b=never",),
            {"cmdline": "quiet a.b=nevermore"},
            "the boot parameter a.b=never, which the tested machine lacks",
        ),
    ],
)
def test_what_a_rule_needs(needs, features, lacks):
    assert replace(UNMAP, needs=needs).lacks(replace(KERNEL, features=features)) == lacks


@pytest.mark.parametrize(
    ("needs", "config", "lacks"),
    [
        ("config:X", {"X": "y"}, ""),
        ("config:X", {"X": "n"}, "a kernel built with CONFIG_X"),
        ("config:!X", {"X": "n"}, ""),
        ("config:!X", {"X": "y"}, "a kernel built without CONFIG_X"),
        ("config:X", {}, "the kernel's configuration (CONFIG_X is unknown)"),
        ("config:!X", {"Y": "n"}, "the kernel's configuration (CONFIG_X is unknown)"),
    ],
)
def test_how_a_kernel_has_to_be_built(needs, config, lacks):
    rule = replace(UNMAP, needs=(needs,))
    assert asked_options([rule]) == {"X"}
    assert rule.lacks(replace(KERNEL, config=config)) == lacks


@pytest.mark.parametrize(
    ("built", "error", "statuses"),
    [
        ("y", 1, ["pass", "skip"]),
        ("y", 0, ["fail", "skip"]),
        ("n", 0, ["skip", "pass"]),
        ("n", 1, ["skip", "fail"]),
        (None, 1, ["skip", "skip"]),
    ],
)
def test_system_mappings_are_sealed_where_the_kernel_was_built_so_and_nowhere_else(built, error, statuses):
    rules = [load_catalogue()[name] for name in ("system-mappings-sealed", "system-mappings-not-sealed")]
    probe = ProbeName("system-munmap", "vdso-rx", "single", "P")
    unit = "r-xp [vdso] mix f -"
    gone = not error
    seen = Half("done", result=-error, errno=error, before=(unit,), after=("-" if gone else unit,), write="-",
                mprotect=(12 if gone else 1,), munmap=(error,))  # fmt: skip
    kernel = replace(KERNEL, config={} if built is None else {"MSEAL_SYSTEM_MAPPINGS": built})
    found = [judge_observation(rule, probe, Observation(probe.id, "P", 8192, 1, seen, seen), kernel) for rule in rules]
    assert [finding.status for finding in found] == statuses
    assert all(finding.reason for finding in found if finding.status != "pass")


def test_what_is_lacking_is_a_skip_with_its_reason():
    probe = ProbeName("race-munmap", "anon-rw", "exact", "SSS")
    seen = Observation(probe.id, "SSS", 4096, 1, Half("setup", "two CPUs", 95), Half("setup", "two CPUs", 95))
    finding = judge_observation(UNMAP, probe, seen, replace(KERNEL, features={"cpus": 1}))
    assert (finding.status, finding.reason) == ("skip", "needs two CPUs, which the tested machine lacks")


def test_a_need_nobody_knows(tmp_path):
    text = """
family: f
rules:
  - {id: a, contract: A1, level: required, outcome: blocked, statement: s, sources: [x], needs: swop,
     probes: [{operations: "*"}]}
"""
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"'swop' is nothing a rule can need.*did you mean 'swap'"):
        load_catalogue(tmp_path)
