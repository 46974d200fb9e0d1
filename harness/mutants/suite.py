"""What a suite says of a kernel, and what the difference between two such answers means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from harness.kernels.model import Kernel

DIVISION = "division/"
"""Begins what is observed of how mappings are divided, by rule; of a mutant it is told once."""
SuiteVerdict = Literal["killed", "survived", "no-answer"]


@dataclass(frozen=True)
class SuiteResult:
    """One suite on one kernel.

    ``failed`` maps what failed (rules, or tests of a suite that is not ours) to how; ``passed`` is what passed and
    ``skipped`` what does not apply to this kernel. ``lost`` says why the answer is incomplete, "" where it is not.
    ``observed`` has a digest of what was recorded for each rule that promises nothing, and of how mappings were
    divided; ``probes`` one probe of each
    rule that failed. ``whole``: everything was asked; a suite may end with the first failure.
    """

    failed: Mapping[str, str]
    passed: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    lost: str = ""
    observed: Mapping[str, str] = field(default_factory=dict)
    probes: Mapping[str, str] = field(default_factory=dict)
    whole: bool = True


class Suite(Protocol):
    """A suite: boots a kernel, keeps what it leaves in ``folder``, answers. Called from one thread at a time.

    ``digest`` changes with anything that may change its answers. ``strict`` suites must not fail anything on the
    unchanged kernel. ``stop`` may be called from another thread and ends a call that is going on.
    """

    name: str
    digest: str
    strict: bool

    def __call__(self, kernel: Kernel, folder: Path) -> SuiteResult:
        """Run on one kernel. Raises ``InfrastructureError`` for what is not the kernel's doing."""
        ...

    def beside(self, unchanged: Kernel) -> None:
        """Take the unchanged kernel, which stays while mutants are tried, for a suite that asks it again."""
        ...

    def stop(self) -> None:
        """End what is running."""
        ...


@dataclass(frozen=True)
class SuiteReaction:
    """How a suite took a mutant. ``by`` is what failed now and did not before, ``lost`` what passed before and now
    neither passed nor failed. Lost coverage is noticed too, and so is what was observed otherwise where nothing is
    promised, but both are weaker than a failure: ``reason`` tells."""

    outcome: SuiteVerdict
    by: Mapping[str, str] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    reason: str = ""


def compare(pristine: SuiteResult, mutant: SuiteResult) -> SuiteReaction:
    """Return what the suite noticed. A guest that was lost counts only with a failure that was seen before."""
    by = {name: how for name, how in mutant.failed.items() if pristine.failed.get(name) != how}
    if by:
        return SuiteReaction("killed", by, reason=mutant.lost)
    if mutant.lost:
        return SuiteReaction("no-answer", reason=mutant.lost)
    still = {*mutant.passed, *mutant.failed}
    lost = tuple(name for name in pristine.passed if name not in still)
    if lost:
        return SuiteReaction(
            "killed", lost=lost, reason="lost coverage: what passed on the unchanged kernel no longer ran"
        )
    differ = [name for name, seen in pristine.observed.items() if mutant.observed.get(name, seen) != seen]
    otherwise = {DIVISION[:-1] if n.startswith(DIVISION) else n: "observed otherwise" for n in differ}
    if otherwise:
        return SuiteReaction(
            "killed", otherwise, reason="no promise was broken: what is recorded and not judged differs"
        )
    return SuiteReaction("survived")


def steady(one: SuiteResult, other: SuiteResult) -> SuiteResult:
    """One of two answers of the unchanged kernel, without what is recorded and was another in the other."""
    return replace(one, observed={n: seen for n, seen in one.observed.items() if other.observed.get(n) == seen})
