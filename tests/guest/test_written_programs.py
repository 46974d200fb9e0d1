"""Hand-written reproducers: they compile everywhere without a warning, run, and notice a kernel that seals nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.model.architectures import ARCHES, Arch
from harness.payload.build import trace
from harness.payload.compiler import compile_static
from harness.reproducer.program import reproducer
from harness.reproducer.trace import parse_trace
from harness.reproducer.written import NONE, written
from tests.support.reproducers import PROBES, RULES, UNSEALED, compiled_and_run, text_of

# What they look at is not to be had everywhere: huge pages, protection keys, a second node, names, tags.
NOT_EVERYWHERE = {
    "after-key-freed", "args-part-of-huge-page", "args-part-of-hugetlb-page", "args-tagged",
    "consumer-jit-discard-refused",
    "madvise-discard-hugetlb", "madvise-discard-key", "pages-collapse", "pages-migrate", "pages-name", "pages-poisoned",
    "pages-soft-offline", "shadow-stack-blocked", "threads-key-closed", "threads-key-opened",
    "uprobe-writes", "uring-fixed-read-only", "uring-read-only", "uring-read-writable",
}  # fmt: skip
NEEDS_ROOT = {"args-map-limit", "args-memory-fails", "system-page-zero-sealed"}


def has_program(rule_id: str) -> bool:
    rule = RULES[rule_id]
    mine = [probe for probe in PROBES.values() if rule.speaks_for(probe)]
    for probe in sorted(mine, key=lambda probe: "huge" in probe.region):
        try:
            reproducer(rule, probe, parse_trace(trace(probe.id)))
        except UsageError:
            continue
        return True
    return False


def test_at_most_eight_rules_have_no_program_and_each_says_why() -> None:
    assert len(NONE) <= 8
    assert not set(NONE) & set(written())
    for rule, why in NONE.items():
        probe = next(probe for probe in PROBES.values() if RULES[rule].speaks_for(probe))
        with pytest.raises(UsageError, match=why):
            reproducer(RULES[rule], probe, parse_trace(trace(probe.id)))
    for rule, (probe_id, _) in written().items():
        assert RULES[rule].speaks_for(PROBES[probe_id]), rule
    assert [rule for rule in RULES if rule not in NONE and not has_program(rule)] == []


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no cc here")
@pytest.mark.parametrize("rule", written())
def test_a_written_program_runs_and_notices_what_is_not_sealed(rule: str, tmp_path: Path) -> None:
    text = text_of(rule)
    done = compiled_and_run(text, tmp_path)
    assert done.returncode in ((0, 2) if rule in NOT_EVERYWHERE | NEEDS_ROOT else (0,)), done.stdout + done.stderr
    if done.returncode == 0 and "SYS_mseal," in text:
        broken = compiled_and_run(text.replace("static int broken;\n", UNSEALED), tmp_path)
        assert broken.returncode == 1, broken.stdout + broken.stderr
        assert "BROKEN: " in broken.stdout


@pytest.mark.parametrize("arch", ARCHES)
def test_every_written_program_compiles_for_every_architecture(arch: Arch, tmp_path: Path) -> None:
    """With the payload's own flags, among them -Wall -Wextra -Werror."""
    for rule in written():
        source = tmp_path / f"{rule}.c"
        source.write_text(text_of(rule))
        assert compile_static([source], arch, rule).is_file()
