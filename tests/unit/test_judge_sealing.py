"""What mseal itself does to memory, on journals that were forged by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from errno import ENOMEM, EPERM
from typing import Any

import pytest

from harness.errors import UsageError
from harness.guests.console import Crash
from harness.model.rule import ProbeName, Rule
from harness.model.verdict import KINDS, Verdict
from harness.observations.model import Half, Observation
from harness.rules.load import load_catalogue
from harness.verdicts.judge import Evidence, assign, judge
from tests.support.observed import KERNEL, half, observation, rule, units, verdict

SEALING = load_catalogue()["sealing-changes-nothing"]
LAYOUT = "pPSs"


def forged(index: int, unit: str, layout: str = LAYOUT, **control: object) -> Observation:
    """A sealed half in which one unit is another from the beginning, and in the end as well."""
    window = [*units(layout, seal="s")]
    window[index] = unit
    sealed = half(layout, sealed=True, before=tuple(window), after=tuple(window))
    return observation(layout, half(layout, sealed=False, **control), sealed)


def judged(
    seen: Observation | None, probe: str = "munmap/anon-rw/into", the_rule: Rule = SEALING, **told: Any
) -> Verdict:
    """What a rule says beside another, which speaks for the probe's operation."""
    name = ProbeName(*probe.split("/"), seen.layout if seen else "SSS")
    seen = replace(seen, probe=name.id) if seen else None
    evidence = Evidence(KERNEL, {name.id: seen} if seen else {}, **told)
    results = judge(assign({"r": rule(), "s": the_rule}, [name]), evidence)
    return results[-1].worst


@pytest.mark.parametrize(
    ("flags", "status"), [("rd mr mw me ac dd", "pass"), ("rd mr mw me ac", "fail"), ("rd mr mw me ac dd nh", "fail")]
)
def test_a_flag_of_the_mapping_that_sealing_takes_or_gives_is_a_failure(flags: str, status: str) -> None:
    the_rule = load_catalogue()["pages-flags"]
    name = "listed-flags-dontdump/anon-rw/into"
    control = half(LAYOUT, sealed=False, extra={"flags": "rd mr mw me ac dd"})
    sealed = half(LAYOUT, sealed=True, result=0, errno=0, extra={"flags": flags})
    seen = replace(observation(LAYOUT, control, sealed), probe=name)
    evidence = Evidence(KERNEL, {name: seen})
    results = judge(assign({"r": the_rule}, [ProbeName(*name.split("/"), LAYOUT)]), evidence)
    assert results[-1].worst.status == status


def test_it_speaks_for_every_probe_and_leaves_none_without_a_rule_of_its_own() -> None:
    probe = ProbeName("an-operation-of-tomorrow", "anon-rw", "exact", "SSS")
    assert SEALING.speaks_for(probe)
    with pytest.raises(UsageError, match="no rule covers 1 probes, the first is an-operation-of-tomorrow"):
        assign({SEALING.id: SEALING}, [probe])


def test_it_is_at_least_as_grave_as_a_lost_seal() -> None:
    assert KINDS.index("changed-by-mseal") < KINDS.index("seal-lost")


@pytest.mark.parametrize(
    ("index", "unit", "said"),
    [
        pytest.param(0, "-", "unit 0 was unmapped", id="a plain neighbour is gone"),
        pytest.param(0, "rw-p anon 00 a -", "unit 0: contents a0 → 00", id="a plain neighbour is zeroed"),
        pytest.param(1, "r-xp anon a1 a -", "unit 1: protection rw-p → r-xp", id="write turned to execute, plain"),
        pytest.param(2, "r-xp anon a2 a s", "unit 2: protection rw-p → r-xp", id="write turned to execute, sealed"),
        pytest.param(2, "rwxp anon a2 a s", "unit 2: protection rw-p → rwxp", id="execute added"),
        pytest.param(3, "rw-s anon a3 a s", "unit 3: protection rw-p → rw-s", id="private turned shared"),
        pytest.param(2, "rw-p file+2 a2 a s", "unit 2: backing anon → file+2", id="another backing"),
        pytest.param(2, "rw-p anon mix a s", "unit 2: contents a2 → mix", id="a sealed page is written to"),
        pytest.param(3, "-", "unit 3 was unmapped", id="a sealed page is missing"),
        pytest.param(3, "rw-p anon a3 n s", "from an anonymous one to none", id="a page is no longer there"),
        pytest.param(3, "rw-p anon a3 f s", "from an anonymous one to one of an object", id="another page is there"),
    ],
)
def test_what_sealing_changed(index: int, unit: str, said: str) -> None:
    found = judged(forged(index, unit))
    assert (found.status, found.kind) == ("fail", "changed-by-mseal")
    assert said in found.reason


@pytest.mark.parametrize(
    ("before", "unit", "status"),
    [
        pytest.param("rw-p anon a3 a ?", "rw-p anon a3 a s", "pass", id="the seal"),
        pytest.param("rw-p anon a3 a ?", "rw-p anon a3 s s", "pass", id="swapped out"),
        pytest.param("rw-p anon a3 ? ?", "rw-p anon a3 n s", "pass", id="pagemap was not readable"),
        pytest.param("r--p file+3 53 f ?", "r--p file+3 53 n s", "pass", id="a file's page went"),
        pytest.param("r--p file+3 53 n ?", "r--p file+3 53 f s", "pass", id="a file's page came"),
        pytest.param("rw-s shared+3 a3 f ?", "rw-s shared+3 a3 s s", "pass", id="shared memory swapped out"),
        pytest.param("---p anon segv a ?", "---p anon segv n s", "fail", id="a page nobody can read was discarded"),
        pytest.param("---p anon segv s ?", "---p anon segv n s", "fail", id="one that was swapped out, too"),
        pytest.param("r--p anon . n ?", "r--p anon . a s", "fail", id="a page nobody asked for"),
        pytest.param("r--p file+3 a3 a ?", "r--p file+3 53 f s", "fail", id="a copied page is the file's again"),
    ],
)
def test_which_changes_are_innocent(before: str, unit: str, status: str) -> None:
    window = (*units(LAYOUT)[:3], before)
    found = judged(forged(3, unit, before=window, after=window))
    assert found.status == status, found.reason


def test_what_the_kernel_may_drop_by_itself_is_not_held_against_it() -> None:
    dropped = forged(3, "rw-p anon 00 n s")
    assert judged(dropped).kind == "changed-by-mseal"
    assert judged(dropped, "munmap/droppable-rw/into").status == "pass"
    assert judged(forged(3, "rwxp anon 00 n s"), "munmap/droppable-rw/into").status == "fail"
    assert judged(forged(3, "rwxp anon a3 a s"), "munmap/droppable-rw/into").status == "fail"


def test_an_operation_that_only_seals_leaves_either_half_as_it_was() -> None:
    now = {"result": 0, "errno": 0}
    after = ("rwxp anon a0 a s", *units("PSs", seal="s")[1:])
    seals = observation("PSs", half("PSs", sealed=False, after=after, **now), half("PSs", sealed=True, **now))
    assert judged(seals, "mseal/anon-rw/x").kind == "changed-by-mseal"
    assert "the control half, by the operation: unit 0" in judged(seals, "mseal/anon-rw/x").reason
    assert judged(seals).status == "pass"  # what munmap does is not for this rule to say
    sealed = replace(
        seals, control=half("PSs", sealed=False, **now), sealed=half("PSs", sealed=True, after=after, **now)
    )
    assert judged(sealed, "thread-mseal/anon-rw/x").kind == "changed-by-mseal"


@pytest.mark.parametrize("seals", [(), (0, 0), (0, 0, 0)])
def test_a_sealed_half_that_does_not_tell_its_seals_is_an_error(seals: Sequence[int]) -> None:
    seen = observation("SPS", sealed=half("SPS", sealed=True, seal=tuple(seals)))
    expected = "pass" if len(seals) == 2 else "error"
    for the_rule in (rule(), SEALING):
        assert judged(seen, the_rule=the_rule).status == expected


def test_a_window_that_was_never_as_planned_is_an_error() -> None:
    gone = ("-", *units("SSS")[1:])
    seen = observation(control=half("SSS", sealed=False, before=gone), sealed=half("SSS", sealed=True, before=gone))
    filled = observation("SGS", half("SGS", sealed=False, before=units("SSS")), half("SGS", sealed=True))
    for the_rule in (rule(), SEALING):
        assert judged(seen, the_rule=the_rule).status == judged(filled, the_rule=the_rule).status == "error"


def test_what_became_of_the_operation_is_no_matter() -> None:
    """Killed, hung or without an answer: the windows were looked at before."""
    window = units("SSS", seal="s")
    for ending in ({"signal": 11}, {"timeout": True}, {}):
        sealed = Half(stage="operation", seal=(0,), before=window, **ending)  # type: ignore[arg-type]
        assert judged(observation(sealed=sealed)).status == "pass"
        changed = replace(sealed, before=("-", *window[1:]))
        assert judged(observation(sealed=changed)).kind == "changed-by-mseal"
        sealing = observation(control=half("SSS", sealed=False), sealed=sealed)
        assert judged(sealing, "mseal/anon-rw/x").status in ("fail", "error")  # its operation seals, and was not seen
    assert judged(observation(sealed=replace(sealed, before=window[:2]))).status == "error"
    assert judged(observation(sealed=Half(stage="seal", seal=(EPERM,)))).kind == "interface"
    broke = Half(stage="setup", step="mmap", step_errno=ENOMEM)
    assert judged(observation(control=broke, sealed=broke)).status == "error"


def test_a_crash_is_blamed_on_the_rule_of_the_operation() -> None:
    probe = "munmap/anon-rw/SSS"
    crash = Crash(kind="oops", title="Oops", lines=("x",), during=probe, fatal=True)
    assert verdict(rule(), None, begun=(probe,), crashes=(crash,), lost="gone").kind == "crash"
    found = judged(None, probe, begun=(probe,), crashes=(crash,), lost="gone")
    assert (found.status, found.kind) == ("error", None)
    assert judged(observation(), probe, crashes=(crash,)).status == "pass"
