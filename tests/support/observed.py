"""Observations in which everything is as it should be but for what a test changes, and their verdicts."""

from __future__ import annotations

import re
from errno import ENOMEM, EPERM

from harness.model.rule import KernelFacts, ProbeName, Rule, Selector
from harness.model.verdict import Verdict
from harness.observations.model import Half, Observation
from harness.verdicts.judge import Evidence, assign, judge

KERNEL = KernelFacts("6.12.117+deb13-cloud-amd64", "x86_64", 4096)


def units(layout: str, perms: str = "rw-p", seal: str = "-") -> tuple[str, ...]:
    return tuple(
        "-" if c in "gG" else f"{perms} anon {0xA0 + i:02x} a {seal if c in 'sS' else '-'}"
        for i, c in enumerate(layout)
    )


def half(layout: str, *, sealed: bool, perms: str = "rw-p", **changed: object) -> Half:
    """A half in which the operation was refused (sealed) or did nothing visible (control)."""
    eperm = tuple(EPERM if sealed and c in "sS" else ENOMEM if c in "gG" else 0 for c in layout)
    before = units(layout, perms, "s" if sealed else "-")
    facts: dict[str, object] = {
        "stage": "done",
        "seal": (0,) * len(re.findall("[sS]+", layout)) if sealed else (),
        "result": -1 if sealed else 0,
        "errno": EPERM if sealed else 0,
        "before": before,
        "after": before,
        "write": "".join("w" if perms[1] == "w" and c not in "gG" else "-" for c in layout),
        "mprotect": eperm,
        "munmap": eperm,
    }
    return Half(**(facts | changed))  # type: ignore[arg-type]


def observation(layout: str = "SSS", control: Half | None = None, sealed: Half | None = None) -> Observation:
    return Observation(
        probe=f"munmap/anon-rw/{layout}",
        layout=layout,
        unit=4096,
        microseconds=3000,
        control=control or half(layout, sealed=False, after=("-",) * len(layout)),
        sealed=sealed or half(layout, sealed=True),
    )


def rule(**changed: object) -> Rule:
    facts: dict[str, object] = {
        "id": "r",
        "contract": "U1",
        "family": "munmap",
        "level": "required",
        "outcome": "blocked",
        "statement": "s",
        "sources": ("T",),
        "probes": (Selector(("*",)),),
    }
    return Rule(**(facts | changed))  # type: ignore[arg-type]


def verdict(the_rule: Rule, seen: Observation | None, **evidence: object) -> Verdict:
    probe = ProbeName("munmap", "anon-rw", seen.layout if seen else "SSS", seen.layout if seen else "SSS")
    observations = {probe.id: seen} if seen else {}
    given = Evidence(**({"kernel": KERNEL, "observations": observations} | evidence))  # type: ignore[arg-type]
    (result,) = judge(assign({"r": the_rule}, [probe]), given)
    return result.worst
