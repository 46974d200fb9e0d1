"""Controls that are refused: which errors excuse the kernel, and what is said of the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from errno import EAGAIN, EBUSY, EFAULT, EINVAL, EMFILE, ENOENT, ENOMEM, ENOSYS, EOPNOTSUPP, EPERM
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from harness.model.rule import KernelFacts, ProbeName
from harness.model.verdict import Judgement
from harness.observations.model import Half, Observation
from harness.payload import probe_list
from harness.rules.load import load_catalogue
from harness.rules.refusals import excuse, load_refusals
from harness.verdicts.observation import judge_observation
from harness.verdicts.refused import FILTER_NOTE
from tests.refusals_table import PATH, refused, table
from tests.support.observed import KERNEL, half, verdict

RULES = load_catalogue()
ROOT = KernelFacts("7.3.4", "x86_64", 4096, features={"capabilities": "1ffffffffff"})
USER = replace(ROOT, features={"capabilities": "0"})
PAYLOAD = Path(__file__).parents[2] / "guest_payload" / "c"


def name_of(probe: str) -> ProbeName:
    return next(ProbeName(*probe.split("/"), p.layout) for p in probe_list() if p.id == probe)


def judged(rule: str, probe: str, error: int, kernel: KernelFacts = ROOT) -> Judgement:
    """The verdict where both halves are refused."""
    name = name_of(probe)
    return judge_observation(RULES[rule], name, refused(name.layout, error), kernel)


def without(probe: str, step: str, error: int, kernel: KernelFacts = ROOT, rule: str = "munmap-blocked") -> Judgement:
    """The verdict where both halves lacked something before their operation."""
    name = name_of(probe)
    lacking = Half(stage="setup", step=step, step_errno=error)
    return judge_observation(RULES[rule], name, Observation(probe, name.layout, 4096, 1, lacking, lacking), kernel)


def test_the_table_is_as_it_was_reviewed() -> None:
    assert table() == PATH.read_text(encoding="utf-8"), "review what `python -m tests.refusals_table --write` changes"


def test_the_reviewed_table_excuses_no_refusal_of_permission() -> None:
    text = PATH.read_text(encoding="utf-8")
    root = text[: text.index("as a user without capabilities")]
    assert not [line for line in root.splitlines() if re.match(r"  (skip|error):.*\bEPERM\b", line)]
    assert text.count("fail over-blocked: every other error") > 50


def test_every_entry_is_about_something_there_is() -> None:
    probes = probe_list()
    there = {kind: {getattr(p, kind) for p in probes} for kind in ("operation", "region", "span")}
    sources = "\n".join(path.read_text(encoding="utf-8") for path in PAYLOAD.glob("*.[ch]"))
    for entry in load_refusals():
        globs = (
            ("operation", entry.selector.operations),
            ("region", entry.selector.regions),
            ("span", entry.selector.spans),
        )
        for kind, names in globs:
            for glob in names:
                assert any(fnmatchcase(name, glob.lstrip("!")) for name in there[kind]), f"{kind} {glob}"
        for step in entry.steps:
            assert f'"{step}"' in sources or f"X({step})" in sources, step


@pytest.mark.parametrize(
    ("rule", "probe", "error", "status", "kind"),
    [
        pytest.param("munmap-blocked", "munmap/anon-rw/exact", EPERM, "fail", "over-blocked", id="plain munmap"),
        pytest.param("munmap-blocked", "munmap/anon-rw/exact", EAGAIN, "fail", "over-blocked", id="again"),
        pytest.param("munmap-blocked", "munmap/anon-rw/exact", ENOSYS, "fail", "over-blocked", id="no munmap"),
        pytest.param("munmap-blocked", "munmap/anon-rw/exact", ENOMEM, "error", None, id="short of memory"),
        pytest.param("munmap-blocked", "munmap/anon-rw/exact", EMFILE, "error", None, id="short of descriptors"),
        pytest.param("mremap-source-blocked", "mremap-move/anon-rw/exact", EPERM, "fail", "over-blocked", id="mremap"),
        pytest.param(
            "madvise-discard-read-only", "madvise-dontneed/anon-r/exact", EPERM, "fail", "over-blocked", id="DONTNEED"
        ),
        pytest.param(
            "madvise-discard-read-only", "madvise-free/anon-r/exact", EINVAL, "fail", "over-blocked", id="not locked"
        ),
        pytest.param(
            "madvise-discard-read-only", "madvise-dontneed/anon-locked-r/exact", EINVAL, "skip", None, id="locked"
        ),
        pytest.param(
            "remap-file-pages-blocked", "remap-file-pages/memfd-shared-rw/exact", EPERM, "fail", "over-blocked",
            id="remap_file_pages",
        ),
        pytest.param(
            "mprotect-blocked", "pkey-mprotect-default/anon-r/exact", EPERM, "fail", "over-blocked", id="pkey_mprotect"
        ),
        pytest.param(
            "mprotect-blocked", "pkey-mprotect-default/anon-r/exact", EINVAL, "skip", None, id="no protection keys"
        ),
        pytest.param("mprotect-mixed", "mprotect-none/anon-r/gap-amid", ENOMEM, "skip", None, id="over a gap"),
        pytest.param("mprotect-mixed", "mprotect-none/anon-r/into", ENOMEM, "error", None, id="over no gap"),
        pytest.param("pages-collapse", "collapse/anon-huge-scattered-rw/exact", EBUSY, "error", None, id="busy page"),
        pytest.param("pages-clear-refs", "clear-refs-all/anon-r/exact", ENOENT, "skip", None, id="no clear_refs"),
        pytest.param("mmap-noreplace", "mmap-noreplace/anon-r/exact", EPERM, "fail", "wrong-errno", id="interface"),
        pytest.param("madvise-discard-zero", "madvise-free/zero-private-r/exact", EPERM, "observed", None, id="open"),
    ],
)  # fmt: skip
def test_what_a_refused_control_means(rule: str, probe: str, error: int, status: str, kind: str | None) -> None:
    found = judged(rule, probe, error)
    assert (found.status, found.kind) == (status, kind), found.reason


# The kernel may have been built without these, so that the control answers ENOSYS: no rule is to make more of it than
# another, whatever its outcome.
ABSENT = {
    "process-vm-write/anon-r/exact": "process-vm-write-read-only",
    "process-vm-write/anon-rw/exact": "process-vm-write-writable",
    "madvise-dontneed/anon-r/exact": "madvise-discard-read-only",
    "madvise-dontneed/anon-rw/exact": "madvise-discard-writable",
    "madvise-cold/anon-r/exact": "madvise-harmless",
    "process-madvise-dontneed/anon-r/exact": "madvise-discard-read-only",
    "thread-madvise-dontneed/anon-r/exact": "threads-discard-blocked",
    "fork-madvise-dontneed/anon-r/exact": "fork-inherits-discard",
    "after-cold-madvise-dontneed/anon-r/exact": "after-advice",
    "mbind-bind/anon-r/exact": "pages-placement",
    "move-pages/anon-r/exact": "pages-placement",
    "collapse/anon-huge-scattered-rw/exact": "pages-collapse",
    "swap-out/anon-r/exact": "pages-swap",
    "hwpoison/anon-r/middle": "pages-poisoned",
    "soft-offline/anon-r/middle": "pages-soft-offline",
}


@pytest.mark.parametrize("error", [EINVAL, EOPNOTSUPP, ENOSYS, EBUSY, EAGAIN])
def test_a_page_that_cannot_be_taken_away_was_not_asked_for(error: int) -> None:
    """MADV_HWPOISON and MADV_SOFT_OFFLINE are there together, or not: CONFIG_MEMORY_FAILURE."""
    lost, moved = (
        judged(rule, probe, error)
        for rule, probe in (
            ("pages-poisoned", "hwpoison/anon-r/middle"),
            ("pages-soft-offline", "soft-offline/anon-r/middle"),
        )
    )
    assert lost == moved
    assert lost.status == ("error" if error in (EBUSY, EAGAIN) else "skip")


def test_what_is_not_excused_of_a_page_taken_away_is_observed() -> None:
    assert judged("pages-poisoned", "hwpoison/anon-r/middle", EPERM).status == "observed"


@pytest.mark.parametrize("probe", ABSENT)
def test_a_call_the_kernel_was_built_without_is_skipped_under_every_rule(probe: str) -> None:
    found = judged(ABSENT[probe], probe, ENOSYS)
    assert found.status == "skip"
    assert "built without" in found.reason


def test_a_race_for_a_call_the_kernel_was_built_without() -> None:
    name = name_of("race-madvise/anon-rw/exact")
    seen = refused(name.layout, 0)
    told = (
        {"rounds": 30, "outcomes": f"- {ENOSYS} - kept 30 0"},
        {"rounds": 60, "outcomes": f"0 {ENOSYS} kept kept 60 0"},
    )
    halves = (
        replace(half, result=0, extra=extra)  # type: ignore[arg-type]
        for half, extra in zip((seen.control, seen.sealed), told, strict=True)
    )
    control, sealed = halves
    found = judge_observation(RULES["race-change"], name, replace(seen, control=control, sealed=sealed), ROOT)
    assert (found.status, "ADVISE_SYSCALLS" in found.reason) == ("skip", True)
    refused_too = replace(sealed, extra={"rounds": 60, "outcomes": f"0 {EPERM} kept kept 60 0"})
    found = judge_observation(RULES["race-change"], name, replace(seen, control=control, sealed=refused_too), ROOT)
    assert found.status == "fail"


@pytest.mark.parametrize(
    ("probe", "step", "error", "kernel", "status"),
    [
        ("munmap/pkey-no-write-rw/exact", "protection keys", EOPNOTSUPP, ROOT, "skip"),
        ("munmap/pkey-no-write-rw/exact", "protection keys", EPERM, ROOT, "error"),
        ("munmap/anon-rw/exact", "mmap", EPERM, ROOT, "error"),
        ("munmap/anon-rw/exact", "mmap", ENOMEM, ROOT, "error"),
        ("munmap/anon-locked-r/exact", "mlock", EPERM, ROOT, "error"),
        ("munmap/anon-locked-r/exact", "mlock", EPERM, USER, "skip"),
        ("munmap/anon-locked-r/exact", "mlock", EPERM, KERNEL, "skip"),  # nobody said what the caller may do
        ("munmap/secretmem-shared-rw/exact", "mmap", EAGAIN, USER, "skip"),
        ("munmap/secretmem-shared-rw/exact", "mmap", EAGAIN, ROOT, "error"),
        ("munmap/secretmem-shared-rw/exact", "memfd_secret", ENOSYS, ROOT, "skip"),
        ("munmap/droppable-rw/exact", "mmap", EINVAL, replace(ROOT, release="6.10.3"), "skip"),
        ("munmap/droppable-rw/exact", "mmap", EINVAL, ROOT, "error"),
        ("munmap/sysv-shared-rw/exact", "shmget", ENOSYS, ROOT, "skip"),
        ("munmap/anon-rw/exact", "a step of tomorrow", EINVAL, ROOT, "error"),
    ],
)
def test_what_was_not_to_be_had(probe: str, step: str, error: int, kernel: KernelFacts, status: str) -> None:
    found = without(probe, step, error, kernel)
    assert found.status == status
    assert step in found.reason


def test_what_a_caller_may_not_do_excuses_only_that_caller() -> None:
    assert judged("pages-lock", "mlock/anon-r/exact", EPERM, USER).status == "skip"
    assert judged("pages-lock", "mlock/anon-r/exact", EPERM, ROOT).kind == "over-blocked"
    locker = replace(ROOT, features={"capabilities": f"{1 << 14:016x}"})
    assert judged("pages-lock", "mlock/anon-r/exact", EPERM, locker).kind == "over-blocked"


def test_ages_of_the_kernel() -> None:
    advice = "process-madvise-dontneed/anon-r/exact"
    old = replace(ROOT, release="6.12.117")
    assert judged("madvise-discard-read-only", advice, EINVAL, old).status == "skip"
    assert judged("madvise-discard-read-only", advice, EINVAL).kind == "over-blocked"
    assert excuse(name_of("mremap-move/anon-mixed/exact"), old, EFAULT)
    assert not excuse(name_of("mremap-move/anon-mixed/exact"), ROOT, EFAULT)


FILTERED: Mapping[str, int | str] = {"capabilities": "1ffffffffff", "seccomp": 2}


def test_behind_a_filter_what_rests_on_a_refusal_says_so() -> None:
    behind = replace(ROOT, features=FILTERED)
    for layout, errno, noted in (("SSS", EPERM, True), ("SSS", 0, False)):
        control = half(layout, sealed=False, result=-1 if errno else 0, errno=errno)
        seen = Observation("munmap/anon-rw/SSS", layout, 4096, 1, control, half(layout, sealed=True))
        found = verdict(RULES["munmap-blocked"], seen, kernel=behind)
        assert (FILTER_NOTE in found.reason) == noted
        assert found.status == ("fail" if errno else "pass")
    seen = Observation("munmap/anon-rw/SSS", "SSS", 4096, 1, control, half("SSS", sealed=True))
    assert FILTER_NOTE not in verdict(RULES["munmap-blocked"], seen, kernel=ROOT).reason


def test_behind_a_filter_what_was_not_refused_says_nothing_of_it() -> None:
    behind = replace(ROOT, features={**FILTERED, "nodes": 1})
    assert FILTER_NOTE not in without("munmap/pkey-no-write-rw/exact", "protection keys", EOPNOTSUPP, behind).reason
    assert FILTER_NOTE in without("munmap/pkey-no-write-rw/exact", "protection keys", ENOSYS, behind).reason
    assert (
        FILTER_NOTE not in judged("pages-migrate", "mbind-migrate/anon-r/exact", EPERM, behind).reason
    )  # needs two nodes


NO_MSEAL = Half(stage="setup", step="mseal", step_errno=ENOSYS)


@pytest.mark.parametrize(
    ("release", "rule", "probe", "status"),
    [
        ("6.1.176", "munmap-blocked", "munmap/anon-rw/exact", "skip"),
        ("6.9.12", "args-empty", "mseal-empty/anon-rw/exact", "skip"),
        ("6.10.0", "args-empty", "mseal-empty/anon-rw/exact", "fail"),
        ("6.10.0", "munmap-blocked", "munmap/anon-rw/exact", "miss"),
        ("7.3.4", "args-empty", "mseal-empty/anon-rw/exact", "fail"),
        ("7.3.4", "madvise-discard-hugetlb", "madvise-free/hugetlb-private-r/exact", "miss"),
        ("7.3.4", "sealing-changes-nothing", "munmap/anon-rw/exact", "miss"),
    ],
)
def test_no_mseal(release: str, rule: str, probe: str, status: str) -> None:
    name = name_of(probe)
    seen = Observation(probe, name.layout, 4096, 1, NO_MSEAL, NO_MSEAL)
    kernel = KernelFacts(release, "x86_64", 4096, features={"mseal": ENOSYS})
    found = judge_observation(RULES[rule], name, seen, kernel)
    assert (found.status, found.kind) == (status, "interface" if status == "fail" else None)
    assert "no mseal (ENOSYS)" in found.reason


def test_a_kernel_that_has_mseal_and_answers_enosys_to_some_of_it() -> None:
    """What the payload found at its start was there; so ENOSYS for this range is a refusal like another."""
    sealed = Half(stage="seal", seal=(ENOSYS,))
    seen = Observation("munmap/anon-rw/SSS", "SSS", 4096, 1, half("SSS", sealed=False), sealed)
    found = verdict(RULES["munmap-blocked"], seen, kernel=replace(ROOT, features={"mseal": 0}))
    assert (found.status, found.kind) == ("fail", "interface")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("refused: [{operations: munmap, errnos: ENOTHING, reason: x}]\nunavailable: []", "'ENOTHING' is no error"),
        ("refused: [{operations: munmap, errnos: [], reason: x}]\nunavailable: []", "errnos"),
        ("refused: [{operations: munmap, errnos: EPERM, reason: ''}]\nunavailable: []", "reason"),
        ("refused: [{steps: mmap, errnos: EPERM, reason: x}]\nunavailable: []", "steps"),
        ("refused: []\nunavailable: [{errnos: EPERM, reason: x}]", "steps"),
        ("refused: [{operations: x, errnos: EPERM, reason: x, lacking: CAP_KILL}]\nunavailable: []", "CAP_KILL"),
        ("refused: [{operations: x, errnos: EPERM, reason: x, until: soon}]\nunavailable: []", "soon"),
        ("refused: [", "not YAML"),
    ],
)
def test_a_table_that_is_wrong_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "refusals.yaml").write_text(text)
    with pytest.raises(Exception, match=r"refusals\.yaml[^\n]*$") as caught:
        load_refusals(tmp_path / "refusals.yaml")
    assert said in str(caught.value)
