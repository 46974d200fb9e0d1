"""Comparing a window before and after an operation, unit by unit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from errno import EPERM
from functools import lru_cache

from harness.observations.model import Half, Observation, Unit


@dataclass(frozen=True)
class WindowProblem:
    """A broken part of the invariant; ``bypass`` unless it is only the seal that went."""

    text: str
    bypass: bool = True


def sealed_units(half: Half) -> frozenset[int]:
    """Units that behave as sealed: ``munmap`` or ``mprotect`` of them is refused with EPERM.

    Either will do, so that a kernel with one broken check is blamed by the rules for that check and not by all.
    """
    return _refused(half.mprotect, half.munmap)


@lru_cache(maxsize=4096)  # thousands of halves tell some hundred different things
def _refused(mprotect: tuple[int, ...], munmap: tuple[int, ...]) -> frozenset[int]:
    return frozenset(i for i, errnos in enumerate(zip(mprotect, munmap, strict=True)) if EPERM in errnos)


def unit_change(index: int, before: Unit | None, after: Unit | None) -> str | None:
    """What happened to a unit, in words; None when nothing did."""
    if before is after:  # as nearly all are
        return None
    match before, after:
        case None, None:
            return None
        case None, Unit():
            return f"unit {index} was mapped"
        case Unit(), None:
            return f"unit {index} was unmapped"
        case Unit(), Unit():
            for what, old, new in (
                ("backing", before.backing, after.backing),
                ("protection", before.perms, after.perms),
                ("contents", before.data, after.data),
            ):
                if old != new:
                    return f"unit {index}: {what} {old} → {new}"
            if _discarded(before, after):
                return f"unit {index}: its page was discarded"
    return None


def _discarded(before: Unit, after: Unit) -> bool:
    """A private page that cannot be read (PROT_NONE): pagemap alone tells that its contents went."""
    unreadable = before.data in ("segv", ".") and after.data in ("segv", ".")
    return unreadable and before.presence in ("a", "s") and after.presence == "n"


def changes(half: Half, units: Iterable[int]) -> list[str]:
    """What happened to these units, in words; empty when nothing did."""
    before, after = half.units_before, half.units_after
    found = (unit_change(i, before[i], after[i]) for i in units)
    return [text for text in found if text is not None]


def window_problems(seen: Observation, contents: str) -> list[WindowProblem]:
    """Where the sealed half breaks the invariant. ``contents``: a rule's word for them, or ``free``."""
    sealed, control = seen.sealed, seen.control
    behaves_sealed = sealed_units(sealed)
    problems = []
    for i in (i for i, c in enumerate(seen.layout) if c in "sS"):
        before, after = sealed.units_before[i], sealed.units_after[i]
        wanted = _wanted(before, after, control.units_after[i], contents)
        if text := unit_change(i, wanted, after):
            problems.append(WindowProblem(text))
        elif after and not after.writable and sealed.write[i] == "w":
            problems.append(WindowProblem(f"unit {i}: a store went through although it is {after.perms}"))
        elif after and after.writable and sealed.write[i] == "-" and control.write[i] == "w" and _same(control, i):
            problems.append(WindowProblem(f"unit {i}: a store faults although it is {after.perms}"))
        elif after and i not in behaves_sealed:
            problems.append(WindowProblem(f"unit {i} is no longer sealed", bypass=False))
    return problems


def _same(half: Half, index: int) -> bool:
    """Whether the operation left the unit as it was: what replaced it may well be writable where it was not."""
    return not changes(half, [index])


def spread_units(seen: Observation) -> list[int]:
    """Units of the sealed half that behave as sealed without having been sealed."""
    return sorted(i for i in sealed_units(seen.sealed) if seen.layout[i] not in "sS")


def _wanted(before: Unit | None, after: Unit | None, control_after: Unit | None, contents: str) -> Unit | None:
    """What a sealed unit has to look like afterwards: as before, but for the contents it may have."""
    if before is None or contents == "kept" or (contents == "read-only-kept" and not before.writable):
        return before
    other = control_after if contents == "as-control" else after
    if other is None or (other.data, other.presence) == (before.data, before.presence):
        return before
    return replace(before, data=other.data, presence=other.presence)
