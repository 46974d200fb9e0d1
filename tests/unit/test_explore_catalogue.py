"""Model and catalogue held against each other: a probe of the table, written as a program, is judged alike by both."""

from __future__ import annotations

import pytest

from harness.explore.operations import ADVICE, MOVES, OPERATIONS, by_name
from harness.explore.program import KINDS, PROTS, Segment, Step
from harness.explore.refusal import refusal_of
from harness.explore.state import initial
from harness.model.rule import ProbeName
from harness.payload.build import probe_list
from harness.rules.load import load_catalogue

REGIONS = {
    **{f"anon-{prot}": ("anon", prot, 2) for prot in ("rw", "r", "none", "rx")},
    **{f"anon-locked-{prot}": ("anon", prot, 6) for prot in ("rw", "r")},
    **{f"anon-untouched-{prot}": ("anon", prot, 0) for prot in ("rw", "r", "none")},
    **{f"shared-anon-{prot}": ("shared-anon", prot, 2) for prot in ("rw", "r")},
    **{f"file-shared-{prot}": ("shared-file", prot, 0) for prot in ("rw", "r")},
    **{f"file-private-clean-{prot}": ("private-file", prot, 0) for prot in ("rw", "r")},
    **{f"file-private-copied-{prot}": ("private-file", prot, 2) for prot in ("rw", "r")},
    **{f"zero-private-{prot}": ("zero", prot, 0) for prot in ("rw", "r")},
    "anon-high-r": ("anon", "r", 2),
    "memfd-shared-rw": ("shared-file", "rw", 0),
    "memfd-private-rw": ("private-file", "rw", 0),
}
_SIMPLE = {
    "munmap": ("munmap", 0, 0, 0),
    "mmap-fixed-anon": ("mmap", 1, 3, 0),
    "mmap-fixed-none": ("mmap", 1, 0, 0),
    "mmap-fixed-file": ("mmap", 4, 3, 0),
    "mmap-fixed-file-shared": ("mmap", 3, 3, 0),
    "mmap-fixed-shared": ("mmap", 2, 3, 0),
    "mmap-hint": ("mmap", 1, 3, 2),
    "pkey-mprotect-new": ("pkey_mprotect", 3, 1, 0),
    "pkey-mprotect-default": ("pkey_mprotect", 3, 0, 0),
    "mremap-same": ("mremap", MOVES.index("same"), 0, 0),
    "mremap-move": ("mremap", MOVES.index("elsewhere"), 0, 0),
    "mremap-dontunmap": ("mremap", MOVES.index("elsewhere-keep"), 0, 0),
    "mlock": ("mlock", 0, 0, 0),
    "mlock-onfault": ("mlock", 1, 0, 0),
    "munlock": ("mlock", 2, 0, 0),
    "mbind-bind": ("mbind", 1, 0, 0),
    "msync-sync": ("msync", 4, 0, 0),
    "mincore": ("mincore", 0, 0, 0),
    "prctl-name": ("name", 1, 0, 0),
    "set-mempolicy-home-node": ("mbind", 3, 0, 0),
    "remap-file-pages": ("remap_file_pages", 1, 0, 0),
    "shmat-remap": ("shmat", 0, 0, 0),
    "brk-moved-shrink": ("brk", 0, 0, 0),
    **{f"mprotect-{prot}": ("mprotect", PROTS.index(prot), 0, 0) for prot in PROTS},
    **{f"madvise-{name}": ("madvise", number, 0, 0) for name, number in ADVICE.items()},
    **{f"process-madvise-{name}": ("madvise", number, 0, 1) for name, number in ADVICE.items()},
}
SAME = {"blocked": {"must"}, "permitted": {""}, "undefined": {"undefined"}, "open": {"open"}}


def _written(probe: ProbeName) -> tuple[tuple[Segment, ...], Step] | None:
    """A probe as a program; None where the window or the operation is of another sort."""
    if probe.region not in REGIONS or probe.operation not in _SIMPLE:
        return None
    kind, prot, traits = REGIONS[probe.region]
    segments = tuple(
        Segment(0, 0, 1) if c in "gG" else Segment(KINDS.index(kind), PROTS.index(prot), 1, traits | (c in "sS"))
        for c in probe.layout
    )
    covered = [i for i, c in enumerate(probe.layout) if c.isupper()]
    name, a, b, c = _SIMPLE[probe.operation]
    return segments, Step(by_name(name).number, covered[0], len(covered), a, b, c)


PROBES = [ProbeName(p.operation, p.region, p.span, p.layout) for p in probe_list()]


def test_what_the_model_has_refused_is_what_the_rules_have_refused() -> None:
    compared: set[int] = set()
    differ = []
    rules = load_catalogue().values()
    count = 0
    for probe in PROBES:
        written = _written(probe)
        outcomes = {rule.outcome for rule in rules if rule.speaks_for(probe)} & set(SAME)
        if written is None or not any(c in "sS" for c in probe.layout) or not outcomes:
            continue
        segments, step = written
        look = b"\0\0" + bytes((1 | s.prot << 1) if s.kind else 0 for s in segments) + bytes(len(segments))
        said = refusal_of(step.to_bytes(), initial(segments), look)
        count += 1
        compared.add(step.op)
        # Where the thread and upstream differ in what is open, the stricter rule is the one that fails a kernel.
        outcome = next(o for o in ("blocked", "undefined", "permitted", "open") if o in outcomes)
        if said not in SAME[outcome]:
            differ.append(f"{probe.id} ({probe.layout}): rules say {sorted(outcomes)}, the model {said!r}")
    assert not differ, "\n".join(differ[:20])
    assert count > 1000
    assert {OPERATIONS[op].nature for op in compared} >= {"replaces", "changes", "moves", "discards", "harmless"}


@pytest.mark.parametrize("name", sorted({clause for o in OPERATIONS.values() for clause in o.clauses}))
def test_every_clause_the_model_cites_has_a_rule(name: str) -> None:
    assert any(name in rule.contract.split() for rule in load_catalogue().values())
