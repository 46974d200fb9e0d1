"""Reproducers, compiled with the system's compiler and run on the running kernel, see what the payload sees."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from errno import EPERM
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.model.rule import ProbeName, Rule
from harness.observations.model import Half, Observation, errno_name
from harness.observations.stream import parse_line
from harness.payload.build import probe_list, trace
from harness.reproducer.program import reproducer, written_probe
from harness.reproducer.trace import parse_trace
from harness.rules.load import load_catalogue
from tests.support.payload_here import program
from tests.support.reproducers import UNSEALED, compiled_and_run

RULES = load_catalogue()
PROBES = {p.id: ProbeName(p.operation, p.region, p.span, p.layout) for p in probe_list()}
SPANS = ("exact", "plain", "into", "gap-amid")  # the plainest of a family's probes


# Families whose probes are more than calls on memory that other calls made; their programs are written by hand.
UNWRITTEN = {"races", "heap", "userfaultfd", "force", "rings", "system", "program32"}


def candidates() -> dict[str, list[str]]:
    """The probes of every family, one of each operation, plainest span first."""
    found: dict[str, dict[str, str]] = {}
    for info in sorted(probe_list(), key=lambda p: SPANS.index(p.span) if p.span in SPANS else len(SPANS)):
        found.setdefault(info.family, {}).setdefault(info.operation, info.id)
    return {family: list(by_operation.values()) for family, by_operation in found.items()}


def written(probes: list[str]) -> tuple[str, str] | None:
    """The first probe that can be written down and its program."""
    for probe_id in probes:
        with suppress(UsageError):
            probe = PROBES[probe_id]
            if written_probe(rule_of(probe)) != probe_id:  # those have tests of their own
                return probe_id, reproducer(rule_of(probe), probe, parse_trace(trace(probe_id)))
    return None


def rule_of(probe: ProbeName) -> Rule:
    return next(rule for rule in RULES.values() if rule.speaks_for(probe))


def sealed_half(probe: str, folder: Path) -> Half:
    done = subprocess.run([program(), "--run", probe], cwd=folder, capture_output=True, check=True)
    found = [record for line in done.stdout.splitlines() if isinstance(record := parse_line(line), Observation)]
    return found[0].sealed


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no cc here")
@pytest.mark.parametrize("family", candidates())
def test_a_reproducer_says_what_the_payload_says(family: str, tmp_path: Path) -> None:
    found = written(candidates()[family])
    if found is None:
        assert family in UNWRITTEN
        return
    probe_id, text = found
    sealed = sealed_half(probe_id, tmp_path)
    if sealed.stage != "done":
        pytest.skip(f"not offered here: {sealed.said}")
    done = compiled_and_run(text, tmp_path)
    answer = re.findall(r" answered (-?\d+) \((.*)\)", done.stdout)[-1]
    assert (answer[0] == "-1") == bool(sealed.errno), (done.stdout, sealed.said)
    if sealed.errno:
        assert answer[1] == os.strerror(sealed.errno), errno_name(sealed.errno)
    assert done.returncode == 0, (text, done.stdout, done.stderr)


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no cc here")
@pytest.mark.parametrize(
    ("probe_id", "said"),
    [
        ("munmap/anon-r/exact", "munmap is refused with EPERM"),
        ("munmap/anon-r/exact", "unit 1 holds what it held"),
        ("munmap/anon-r/into", "unit 1 holds what it held"),  # plain, and nothing may be done in part
        ("madvise-dontneed/anon-r/exact", "unit 1 holds what it held"),
        ("mprotect-rw/anon-r/exact", "unit 1 is sealed"),
        ("mseal/anon-r/plain", "unit 1 is sealed"),
        ("smaps-mseal/anon-r/exact", "smaps shows the seal of unit 1"),
    ],
)
def test_a_reproducer_says_when_a_promise_is_broken(probe_id: str, said: str, tmp_path: Path) -> None:
    probe = PROBES[probe_id]
    text = reproducer(rule_of(probe), probe, parse_trace(trace(probe_id)))
    done = compiled_and_run(text.replace("static int broken;\n", UNSEALED), tmp_path)
    assert done.returncode == 1, (text, done.stdout, done.stderr)
    assert f"BROKEN: {said}" in done.stdout


# Whether the program ends with 0 on this machine, whatever it runs, the payload tells.
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no cc here")
@pytest.mark.parametrize(
    ("rule_id", "probe_id", "kept"),
    [
        ("munmap-blocked", "munmap/anon-r/into", lambda seen: seen.errno == EPERM),
        ("args-seal-range", "mseal/anon-rw/into", lambda seen: seen.errno == 0),
        # Windows at other places, and of larger units.
        ("munmap-blocked", "munmap/anon-high-r/into", lambda seen: seen.errno == EPERM),
        ("mprotect-mixed", "mprotect-rw/anon-low-r/around", lambda seen: seen.errno == EPERM),
        ("madvise-discard-read-only", "madvise-dontneed/anon-pieces-r/exact", lambda seen: seen.errno == EPERM),
        ("mremap-source-blocked", "mremap-move/anon-untouched-vast-r/exact", lambda seen: seen.errno == EPERM),
        ("munmap-blocked", "munmap/anon-huge-part-r/exact", lambda seen: seen.errno == EPERM),
        ("munmap-blocked", "munmap/anon-untouched-gigabytes-r/into", lambda seen: seen.errno == EPERM),
        ("pages-placement", "mbind-preferred/hugetlb-private-r/middle", lambda seen: seen.errno == 0),
        ("munmap-blocked", "munmap/file-shared-read-only-r/into", lambda seen: seen.errno == EPERM),
        (
            "system-smaps-shows",
            "smaps-mseal/anon-r/into",
            lambda seen: all(u and u.seal == "s" for u in seen.units_after[1:]),
        ),
        ("system-mappings-sealed", "system-mprotect/vdso-rx/single", lambda seen: seen.errno == EPERM),
        ("system-mappings-sealed", "system-munmap/vvar-r/single", lambda seen: seen.errno == EPERM),
    ],
)
def test_a_reproducer_of_mixed_and_foreign_memory(
    rule_id: str, probe_id: str, kept: Callable[[Half], bool], tmp_path: Path
) -> None:
    seen = sealed_half(probe_id, tmp_path)
    if seen.stage != "done":
        pytest.skip(f"not offered here: {seen.said}")
    text = reproducer(RULES[rule_id], PROBES[probe_id], parse_trace(trace(probe_id)))
    done = compiled_and_run(text, tmp_path)
    assert done.returncode == (0 if kept(seen) else 1), (text, done.stdout, done.stderr)


def test_a_race_is_no_small_program() -> None:
    probe = next(p for p in PROBES.values() if p.operation == "race-munmap")
    with pytest.raises(UsageError, match="the race needs thousands of rounds"):
        reproducer(
            RULES["race-unmap"],
            probe,
            parse_trace(
                '{"trace":"x","layout":"SSS","base":1,"destination":2,"page_size":4096,"mapping":"","traits":[]}'
            ),
        )
