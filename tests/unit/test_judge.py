"""The judge, outcome by outcome, on hand-made observations."""

from __future__ import annotations

from dataclasses import replace
from errno import EINVAL, ENOMEM, ENOSYS, EPERM
from pathlib import Path

import pytest

from harness.errors import ConfigError
from harness.guests.console import Crash
from harness.model.rule import Expect, KernelFacts, Known, ProbeName, Rule, Where
from harness.model.verdict import INTERRUPTED, KINDS, RuleResult, Verdict, exit_code
from harness.observations.model import Half, Observation
from harness.rules.load import load_catalogue
from harness.rules.warnings import is_allowed, load_warnings
from harness.verdicts.judge import assign
from harness.verdicts.observation import judge_observation
from tests.support.observed import KERNEL, half, observation, rule, units, verdict

PERMITTED = rule(outcome="permitted", level="permitted")
DONE = {"result": 0, "errno": 0}


@pytest.mark.parametrize(
    ("the_rule", "seen", "status", "kind"),
    [
        (rule(), observation(), "pass", None),
        (rule(), observation(sealed=half("SSS", sealed=True, errno=EINVAL)), "fail", "wrong-errno"),
        (rule(errnos=("EPERM", "EINVAL")), observation(sealed=half("SSS", sealed=True, errno=EINVAL)), "pass", None),
        (rule(), observation(sealed=half("SSS", sealed=True, **DONE)), "fail", "bypass"),
        (rule(), observation(sealed=half("SSS", sealed=True, after=("-", *units("SSS")[1:]))), "fail", "bypass"),
        (rule(), observation(sealed=half("SSS", sealed=True, after=units("SSS", "r--p"))), "fail", "bypass"),
        (rule(), observation(control=half("SSS", sealed=False, result=-1, errno=EINVAL)), "fail", "over-blocked"),
        (
            rule(),
            observation(sealed=half("SSS", sealed=True, mprotect=(EPERM, 0, EPERM), munmap=(EPERM, 0, EPERM))),
            "fail",
            "seal-lost",
        ),
        (
            rule(),  # one check is broken, but the unit is still sealed: it is for that check's own rule to say so
            observation(sealed=half("SSS", sealed=True, mprotect=(0, 0, 0))),
            "pass",
            None,
        ),
        (
            rule(),
            observation(
                control=half("SSS", sealed=False, perms="r--p"),
                sealed=half("SSS", sealed=True, perms="r--p", write="-w-"),
            ),
            "fail",
            "bypass",
        ),
        (
            rule(atomic=True),
            observation("pPSs", sealed=half("pPSs", sealed=True, after=("rw-p anon a0 a -", "-", *units("pPSs")[2:]))),
            "fail",
            "not-atomic",
        ),
        (
            rule(),
            observation("pPSs", sealed=half("pPSs", sealed=True, after=("rw-p anon a0 a -", "-", *units("pPSs")[2:]))),
            "pass",
            None,
        ),
        (
            rule(outcome="undefined"),
            observation("PS", sealed=half("PS", sealed=True, after=("-", units("PS")[1]), **DONE)),
            "pass",
            None,
        ),
        (
            rule(outcome="undefined"),
            observation("PS", sealed=half("PS", sealed=True, after=("-", "-"))),
            "fail",
            "bypass",
        ),
        (
            PERMITTED,
            observation(control=half("SSS", sealed=False), sealed=half("SSS", sealed=True, **DONE)),
            "pass",
            None,
        ),
        (PERMITTED, observation(control=half("SSS", sealed=False)), "fail", "over-blocked"),
        (
            PERMITTED,
            observation(control=half("SSS", sealed=False), sealed=half("SSS", sealed=True, errno=EINVAL)),
            "fail",
            "wrong-errno",
        ),
        (
            PERMITTED,
            observation(
                control=half("SSS", sealed=False, after=("rw-p anon 00 a -",) * 3),
                sealed=half("SSS", sealed=True, after=("rw-p anon 00 a s",) * 3, **DONE),
            ),
            "fail",
            "bypass",
        ),
        (
            rule(outcome="permitted", contents="as-control"),
            observation(
                control=half("SSS", sealed=False, after=("rw-p anon 00 a -",) * 3),
                sealed=half("SSS", sealed=True, after=("rw-p anon 00 a s",) * 3, **DONE),
            ),
            "pass",
            None,
        ),
        (
            rule(outcome="permitted", contents="as-control"),  # refused and nothing happened: nobody got at anything
            observation(control=half("SSS", sealed=False, after=("rw-p anon 00 a -",) * 3)),
            "fail",
            "over-blocked",
        ),
        (
            rule(outcome="permitted", contents="as-control"),
            observation(
                control=half("SSS", sealed=False, after=("rw-p anon 00 a -",) * 3),
                sealed=half("SSS", sealed=True, **DONE),
            ),
            "fail",
            "interface",
        ),
        (
            rule(outcome="permitted", contents="as-control"),  # refused, and yet
            observation(
                control=half("SSS", sealed=False),
                sealed=half("SSS", sealed=True, after=("rw-p anon 00 a s",) * 3),
            ),
            "fail",
            "bypass",
        ),
        pytest.param(
            rule(),
            observation("pPSs", sealed=half("pPSs", sealed=True, mprotect=(EPERM,) * 4, munmap=(0, 0, EPERM, EPERM))),
            "fail",
            "over-blocked",
            id="a seal spread to plain units",
        ),
        pytest.param(
            rule(outcome="permitted", contents="as-control"),
            observation(control=half("SSS", sealed=False), sealed=half("SSS", sealed=True, errno=EINVAL)),
            "fail",
            "wrong-errno",
            id="as the control, refused with an error that is not the seal's",
        ),
        pytest.param(
            PERMITTED,
            observation(control=half("SSS", sealed=False), sealed=half("SSS", sealed=True, result=1, errno=0)),
            "fail",
            "interface",
            id="another answer than the control's",
        ),
        pytest.param(
            PERMITTED,
            observation(
                "sPs",
                half("sPs", sealed=False, after=("rw-p anon a0 a -", "-", "rw-p anon a2 a -")),
                half("sPs", sealed=True, **DONE),
            ),
            "fail",
            "interface",
            id="something else with the plain memory beside it",
        ),
        pytest.param(
            rule(outcome="undefined"),
            observation("SGS", sealed=half("SGS", sealed=True, after=units("SSS", seal="s"), write="www")),
            "pass",
            None,
            id="a gap was mapped, which is no sealed unit",
        ),
        pytest.param(
            rule(atomic=True),
            observation("PSs", sealed=half("PSs", sealed=True, before=("-", *units("PSs")[1:]), after=units("PSs"))),
            "fail",
            "not-atomic",
            id="refused, and yet a unit was mapped",
        ),
        pytest.param(
            rule(),
            observation(
                control=half("SSS", sealed=False, perms="---p"),
                sealed=half(
                    "SSS",
                    sealed=True,
                    before=("---p anon segv a s",) * 3,
                    after=("---p anon segv n s",) * 3,
                    write="---",
                ),
            ),
            "fail",
            "bypass",
            id="a PROT_NONE page was discarded",
        ),
        (rule(outcome="open", level="open"), observation(), "observed", None),
        (
            rule(outcome="open", level="open"),
            observation(sealed=half("SSS", sealed=True, after=("rw-p anon 00 a s",) * 3, **DONE)),
            "observed",
            None,
        ),
        (
            rule(outcome="open", level="open"),
            observation(sealed=half("SSS", sealed=True, after=("-",) * 3, **DONE)),
            "fail",
            "bypass",
        ),
    ],
)
def test_outcomes(the_rule: Rule, seen: Observation, status: str, kind: str | None) -> None:
    found = verdict(the_rule, seen)
    assert (found.status, found.kind) == (status, kind), found.reason


@pytest.mark.parametrize(
    ("control", "sealed", "status"),
    [
        (half("SSS", sealed=False), Half(stage="seal", seal=(ENOSYS,)), "miss"),
        (Half(stage="setup", step="memfd_secret", step_errno=ENOSYS), Half(stage="setup"), "skip"),
        (Half(stage="setup", step="mmap", step_errno=ENOMEM), Half(stage="setup"), "error"),
        (Half(stage="operation", timeout=True), half("SSS", sealed=True), "error"),
        (Half(stage="operation", timeout=True), Half(stage="operation", timeout=True), "error"),
        (half("SSS", sealed=False), Half(stage="setup", timeout=True), "error"),
        (half("SSS", sealed=False), Half(stage="seal", timeout=True), "fail"),
        (half("SSS", sealed=False), Half(stage="operation", timeout=True), "fail"),
        (Half(stage="operation", signal=11), half("SSS", sealed=True), "error"),
        (Half(stage="before"), half("SSS", sealed=True), "error"),
        (half("SSS", sealed=False), Half(stage="setup", step="mmap", step_errno=EINVAL), "error"),
        (half("SSS", sealed=False), Half(stage="seal", seal=(EPERM,)), "fail"),
        (half("SSS", sealed=False), Half(stage="operation", seal=(0,), signal=11), "fail"),
        (half("SSS", sealed=False), Half(stage="before", seal=(0,), signal=11), "error"),
        (half("SSS", sealed=False), Half(stage="after", seal=(0,)), "error"),
    ],
)
def test_halves_that_did_not_get_through(control: Half, sealed: Half, status: str) -> None:
    found = verdict(rule(), observation("SSS", control, sealed))
    assert found.status == status
    assert found.reason


@pytest.mark.parametrize("level", ["required", "open"])
def test_what_hangs_only_where_it_is_sealed(level: str) -> None:
    """Also where nothing is promised, and where another difference is known."""
    hung = Half(stage="after", seal=(0,), timeout=True, extra={"unkillable": 1})
    differs = Known(Where(), "differs", "a citation")
    asked = rule(outcome="open" if level == "open" else "blocked", level=level, known=(differs,))
    found = verdict(asked, observation("SSS", half("SSS", sealed=False), hung))
    assert (found.status, found.kind) == ("fail", "hang")
    assert "could not be killed" in found.reason
    assert KINDS.index("hang") == KINDS.index("crash") + 1


@pytest.mark.parametrize(("stage", "status"), [("setup", "error"), ("operation", "fail"), ("after", "fail")])
def test_a_call_that_hangs_where_the_control_half_is_asked_for_its_answer(stage: str, status: str) -> None:
    """mseal itself is the operation of its own probes, in both halves."""
    hung = Half(stage=stage, timeout=True)  # type: ignore[arg-type]
    asked = rule(outcome="interface", expect_control=Expect(errnos=("0",)), expect_sealed=Expect(errnos=("0",)))
    assert verdict(asked, observation("SSS", hung, hung)).status == status
    assert verdict(rule(), observation("SSS", hung, hung)).status == "error"


def test_what_hangs_after_its_seal_has_shown_what_the_seal_did() -> None:
    """Unless its operation only seals, and so was to show more."""
    control, sealed = half("SSS", sealed=False), half("SSS", sealed=True)
    hung = Half(stage="operation", seal=(0,), timeout=True, before=sealed.before)
    asked = rule(outcome="unchanged")
    for operation, status in (("munmap", "pass"), ("mseal", "fail")):
        probe = ProbeName(operation, "anon-rw", "exact", "SSS")
        seen = replace(observation("SSS", control, hung), probe=probe.id)
        assert judge_observation(asked, probe, seen, KERNEL).status == status


def test_what_we_ended_ourselves_says_nothing_of_the_kernel() -> None:
    ours = "munmap/anon-rw/SSS"
    found = verdict(rule(), None, begun=(ours,), lost=INTERRUPTED)
    assert (found.status, found.reason) == ("miss", "the probe began but no observation followed: interrupted")
    odd = observation("SSS", sealed=half("SSS", sealed=True, errno=22))
    assert verdict(rule(), odd).status == "fail"
    for lost, status in (("QEMU was killed", "error"), (INTERRUPTED, "miss")):
        assert verdict(rule(), odd, lost=lost, batched=frozenset({ours})).status == status
    crash = Crash(kind="panic", title="Kernel panic - not syncing", lines=("x",), during=ours, fatal=True)
    assert (
        verdict(rule(), None, begun=(ours,), crashes=(crash,), lost=f"{crash.title} ({INTERRUPTED})").status == "fail"
    )


def test_nothing_starts_as_pass() -> None:
    assert verdict(rule(), None, lost="no boot").status == "miss"
    assert verdict(rule(), None, begun=("munmap/anon-rw/SSS",), lost="QEMU was killed").status == "error"
    crash = Crash(
        kind="panic", title="Kernel panic - not syncing", lines=("x",), during="munmap/anon-rw/SSS", fatal=True
    )
    found = verdict(rule(), None, begun=("munmap/anon-rw/SSS",), crashes=(crash,), lost="gone")
    assert (found.status, found.kind) == ("fail", "crash")
    assert verdict(rule(), observation(), crashes=(crash,)).kind == "crash"


MM_WARNINGS = (
    "WARNING: CPU: 0 PID: 45 at mm/vma.c:1234 vma_merge+0x10/0x20",
    "WARNING: mm/mseal.c:12 at do_mseal+0x1/0x2, CPU#0: sealmatrix-0/61",
    "WARNING: CPU: 0 PID: 45 at arch/x86/mm/fault.c:7 f+0x1/0x2",
)


@pytest.mark.parametrize("title", MM_WARNINGS)
def test_a_warning_of_memory_management_fails_the_probe_that_ran(title: str) -> None:
    asked = "munmap/anon-rw/SSS"
    warning = Crash(kind="warning", title=title, lines=(title,), during=asked, fatal=False)
    assert verdict(rule(), observation()).status == "pass"
    found = verdict(rule(), observation(), crashes=(warning,))
    assert (found.status, found.kind) == ("fail", "crash")
    assert title in found.reason
    elsewhere = replace(warning, during="mprotect/anon-rw/SSS")
    assert verdict(rule(), observation(), crashes=(elsewhere,)).status == "pass"


@pytest.mark.parametrize(
    "title",
    [
        "WARNING: CPU: 0 PID: 45 at kernel/fork.c:12 f+0x1/0x2",
        "WARNING: CPU: 0 PID: 45 at drivers/comm/x.c:12 f+0x1/0x2",
        "WARNING: possible circular locking dependency detected",
    ],
)
def test_a_warning_elsewhere_is_a_note(title: str) -> None:
    warning = Crash(kind="warning", title=title, lines=(title,), during="munmap/anon-rw/SSS", fatal=False)
    assert verdict(rule(), observation(), crashes=(warning,)).status == "pass"


def test_an_allowed_warning_has_a_reason_and_its_kernels(tmp_path: Path) -> None:
    assert load_warnings() == ()
    text = "allowed:\n  - {title: 'WARNING: *mm/vma.c:*', reason: known, since: '6.12', until: '6.13'}\n"
    (tmp_path / "good.yaml").write_text(text)
    entries = load_warnings(tmp_path / "good.yaml")
    assert is_allowed(MM_WARNINGS[0], KernelFacts("6.12.3", "x86_64", 4096), entries)
    assert not is_allowed(MM_WARNINGS[0], KernelFacts("6.13.0", "x86_64", 4096), entries)
    assert not is_allowed(MM_WARNINGS[1], KernelFacts("6.12.3", "x86_64", 4096), entries)
    for number, wrong in enumerate(("allowed: [{title: x}]", "allowed: [{title: x, reason: ''}]", "alowed: []", "{")):
        (tmp_path / f"{number}.yaml").write_text(wrong)
        with pytest.raises(ConfigError, match=rf"{number}\.yaml"):
            load_warnings(tmp_path / f"{number}.yaml")


def test_a_crash_beside_which_two_probes_ran() -> None:
    """Where it cannot be told whose it was both are told of it; where it can, the other only lost its guest."""
    ours, other = "munmap/anon-rw/SSS", "mprotect/anon-rw/SSS"
    crash = Crash(kind="panic", title="panic", lines=("x",), during=other, fatal=True, also=(ours,))
    found = verdict(rule(), None, begun=(other, ours), crashes=(crash,), lost="gone")
    assert (found.status, found.kind) == ("fail", "crash")
    assert other in found.reason
    found = verdict(rule(), None, begun=(other, ours), crashes=(replace(crash, also=()),), lost="gone")
    assert (found.status, found.kind) == ("error", None)


def test_a_probe_without_a_rule_is_refused() -> None:
    with pytest.raises(Exception, match="no rule covers 1 probes"):
        assign({}, [ProbeName("munmap", "anon-rw", "exact", "SSS")])


def test_known_and_fixed() -> None:
    known = rule(known=(Known(Where(since=(6, 12, 0), until=(6, 17, 0)), "so it is", "S"),))
    assert verdict(known, observation(sealed=half("SSS", sealed=True, errno=EINVAL))).status == "known"
    assert verdict(known, observation()).status == "fixed"
    later = replace(known, known=(Known(Where(since=(6, 17, 0)), "so it is", "S"),))
    assert verdict(later, observation(sealed=half("SSS", sealed=True, errno=EINVAL))).status == "fail"


def test_what_replaced_a_unit_may_be_writable_where_it_was_not() -> None:
    """Memory that the thread's protection key does not let it write: the seal kept it, the control lost it."""
    locked = half("SSS", sealed=True, write="---")
    replaced = half("SSS", sealed=False, after=("rw-p other 00 n -",) * 3)
    assert verdict(rule(), observation("SSS", replaced, locked)).status == "pass"
    assert verdict(rule(), observation("SSS", half("SSS", sealed=False), locked)).kind == "bypass"


def test_what_the_kernel_sealed_itself_is_observed() -> None:
    own = half("P", sealed=False, result=-1, errno=EPERM, mprotect=(EPERM,), munmap=(EPERM,))
    seen = observation("P", own, replace(own, seal=()))
    assert verdict(rule(outcome="open", level="open"), seen).status == "observed"


def test_where_atomicity_is_the_question_plain_units_are_part_of_what_was_observed() -> None:
    after = ("-", *units("PS", seal="s")[1:])
    seen = observation("PS", sealed=half("PS", sealed=True, after=after))
    told = [verdict(rule(outcome="open", level="open", atomic=atomic), seen).observed for atomic in (False, True)]
    assert "unit 0" not in told[0]
    assert "unit 0" in told[1]


def test_the_two_readings_of_the_contract() -> None:
    both = rule(outcome="permitted", contents="as-control", thread="blocked")
    discarded = ("r--p file+0 50 f -",) * 3
    copied = ("r--p file+0 a0 a s",) * 3
    control = half("SSS", sealed=False, perms="r--p", before=copied, after=discarded)
    obeys_upstream = half("SSS", sealed=True, perms="r--p", before=copied, after=discarded, write="---", **DONE)
    assert verdict(both, observation("SSS", control, obeys_upstream)).follows == "upstream"
    obeys_thread = half("SSS", sealed=True, perms="r--p", before=copied, after=copied, write="---")
    found = verdict(both, observation("SSS", control, obeys_thread))
    assert (found.status, found.follows) == ("fail", "thread")


def test_interface() -> None:
    seals = rule(outcome="interface", expect_control=Expect(("0",), "range"), expect_sealed=Expect(("0",), "range"))
    sealed_now = (0, EPERM, EPERM)
    control = half("pPP", sealed=False, mprotect=sealed_now, munmap=sealed_now)
    again = half("pPP", sealed=True, mprotect=sealed_now, munmap=sealed_now, seal=(), **DONE)
    assert verdict(seals, observation("pPP", control, again)).status == "pass"
    missed = half("pPP", sealed=False, mprotect=(0, EPERM, 0), munmap=(0, EPERM, 0))
    assert verdict(seals, observation("pPP", missed, again)).kind == "seal-lost"
    spread = half("pPP", sealed=False, mprotect=(EPERM,) * 3, munmap=(EPERM,) * 3)
    assert verdict(seals, observation("pPP", spread, again)).kind == "interface"
    rejects = rule(outcome="interface", expect_control=Expect(("EINVAL",)))
    assert verdict(rejects, observation("pPP", half("pPP", sealed=False), again)).kind == "interface"
    enomem = half("pPP", sealed=False, result=-1, errno=ENOMEM)
    assert verdict(rejects, observation("pPP", enomem, again)).kind == "wrong-errno"


@pytest.mark.parametrize(
    ("errno", "sealed", "kind"),
    [
        (0, (0, EPERM, EPERM), None),
        (0, (0, EPERM, 0), "seal-lost"),  # half there, and nobody was told
        (0, (EPERM, EPERM, EPERM), "interface"),
        (ENOMEM, (0, 0, 0), None),
        (ENOMEM, (0, EPERM, 0), None),
        (ENOMEM, (EPERM, EPERM, 0), "interface"),  # nobody asked for the first
    ],
)
def test_what_an_error_leaves_sealed_is_at_most_what_was_asked_for(
    errno: int, sealed: tuple[int, ...], kind: str | None
) -> None:
    expect = Expect(("0", "ENOMEM"), "by-answer")
    seals = rule(outcome="interface", expect_control=expect, expect_sealed=expect)
    answer = {"result": -1 if errno else 0, "errno": errno}
    control = half("pPP", sealed=False, mprotect=sealed, munmap=sealed, **answer)
    same = half("pPP", sealed=True, mprotect=sealed, munmap=sealed, seal=(), **answer)
    assert verdict(seals, observation("pPP", control, same)).kind == kind


@pytest.mark.parametrize(
    ("layout", "divided", "status"),
    [
        ("sSs", ("|..", "|.."), "pass"),
        ("sSs", ("|..", "|||"), "fail"),  # what is sealed already is left as it is
        ("sSs", ("|||", "|.."), "fail"),
        ("sSP", ("|.|", "|.."), "pass"),  # a part of it was not: mappings may become one, or stay two
        ("sSs", (), "pass"),  # a payload that does not tell
    ],
)
def test_sealing_again_divides_nothing(layout: str, divided: tuple[str, ...], status: str) -> None:
    seals = rule(outcome="interface", expect_control=Expect(("0",), "range"), expect_sealed=Expect(("0",), "range"))
    covered = tuple(EPERM if c.isupper() else 0 for c in layout)
    control = half(layout, sealed=False, mprotect=covered, munmap=covered)
    every = (EPERM,) * len(layout)
    again = half(layout, sealed=True, result=0, errno=0, mprotect=every, munmap=every, divided=divided)
    found = verdict(seals, observation(layout, control, again))
    assert found.status == status
    assert ("no-op" in found.reason or "sealed already" in found.reason) == (status == "fail")


def test_what_an_interface_refuses_has_left_the_contents() -> None:
    refused = rule(outcome="interface", expect_control=Expect(("0",)), expect_sealed=Expect(("EPERM",)))
    gone = tuple(text.replace(" a1 ", " 00 ") for text in units("SSS", "rw-p", "s"))
    control = half("SSS", sealed=False)
    assert verdict(refused, observation("SSS", control)).status == "pass"
    assert verdict(refused, observation("SSS", control, half("SSS", sealed=True, after=gone))).kind == "bypass"
    may = rule(outcome="interface", expect_control=Expect(("0",)), expect_sealed=Expect(("0", "EPERM")))
    assert verdict(may, observation("SSS", control, half("SSS", sealed=True, after=gone))).status == "pass"


@pytest.mark.parametrize(
    ("seals", "status", "reason"),
    [
        ("-ss", "pass", ""),
        ("--s", "fail", "control: smaps does not show the seal of unit 1"),
        ("sss", "fail", "control: smaps shows a seal of unit 0 that is not there"),
        ("?ss", "skip", "smaps was not readable"),
    ],
)
def test_what_smaps_shows_is_held_against_behaviour(seals: str, status: str, reason: str) -> None:
    shows = rule(outcome="interface", expect_control=Expect(("0",), "any", shown=True))
    now = {"mprotect": (0, EPERM, EPERM), "munmap": (0, EPERM, EPERM)}
    after = tuple(f"rw-p anon a{i} a {seal}" for i, seal in enumerate(seals))
    control = half("pPP", sealed=False, after=after, **now)
    found = verdict(shows, observation("pPP", control, half("pPP", sealed=True, seal=(), **now, **DONE)))
    assert (found.status, found.reason) == (status, reason)


def test_worst_and_exit_codes() -> None:
    def one(status: str, kind: str | None = None) -> Verdict:
        return Verdict("r", "p", status, "", kind)  # type: ignore[arg-type]

    result = RuleResult(rule(), (one("pass"), one("fail", "wrong-errno"), one("fail", "bypass"), one("miss")))
    assert (result.status, result.kind) == ("fail", "bypass")
    assert dict(result.counts) == {"fail": 2, "miss": 1, "pass": 1}
    assert exit_code(["pass", "skip", "observed", "known", "fixed"]) == 0
    assert exit_code(["pass", "miss"]) == exit_code(["error"]) == exit_code([]) == 3
    assert exit_code(["miss", "fail"]) == 1


def test_judging_is_by_layout() -> None:
    probe = ProbeName("munmap", "anon-rw", "exact", "SS")
    assert judge_observation(rule(), probe, observation("SSS"), KERNEL).status == "error"


def test_catalogue_errors_are_one_line(tmp_path: Path) -> None:
    for number, text in enumerate(("family: x\nrules: [{id: A}]", "{", "family: [", "rules: 3", "- 1")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "c.yaml").write_text(text)
        with pytest.raises(ConfigError, match=r"/c\.yaml[:0-9]*: [^\n]*$"):
            load_catalogue(folder)
