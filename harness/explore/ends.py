"""The model of sealing, where a program forks and where it ends. Pure. ``model.py`` has its steps."""

from __future__ import annotations

from errno import EPERM

from harness.explore.model import different
from harness.explore.oracles import StepProblem
from harness.explore.state import (
    ASTRAY,
    DONTFORK,
    GROWN,
    KIND,
    SEALED,
    WIPE,
    State,
    changes_text,
    differs,
    errno_text,
    unit_text,
)
from harness.explore.wire import BUS, MAPPED, NOT_TRIED, UNREAD, Pass


def child_state(state: State, before: bytes, child: Pass, twin_child: Pass) -> tuple[list[StepProblem], State]:
    """Judge what a child begins with: as its parent, but for what it was told to go without. ``before`` is the
    parent's look before the fork. userfaultfd is not inherited: what was missing, and gave SIGBUS, is empty there."""
    n = len(state.attrs)
    look, other = child.looks[0], twin_child.looks[0]
    harmed, attrs = [], bytearray(state.attrs)
    for i in range(n):
        attr = attrs[i]
        gone = before[2 + i] & MAPPED and not look[2 + i] & MAPPED
        if attr & SEALED:
            allowed = look[2 + i] == before[2 + i] or (attr & DONTFORK and gone)
            was, now = before[2 + n + i], look[2 + n + i]
            same = was == now or UNREAD in (was, now) or (was == BUS and now == other[2 + n + i])
            if not allowed or not (same or gone or (attr & WIPE and look[2 + n + i] == 0)):
                harmed.append(i)
        if gone:
            attrs[i] = attr & ASTRAY
        if differs(look, other, n, i):
            attrs[i] |= ASTRAY
    found = []
    if harmed:
        units = tuple(harmed)
        found.append(
            StepProblem("sealed-unchanged", 0, "fork", changes_text(before, look, n, units), ("O3",), units, child=True)
        )
    units = different(look, other, n, state.attrs)
    units = tuple(i for i in units if i not in harmed)
    if units:
        text = "a child begins with other memory than without seals: " + "; ".join(
            f"unit {i}: {unit_text(look, n, i)}, without seals {unit_text(other, n, i)}" for i in units[:3]
        )
        found.append(StepProblem("same-as-twin", 0, "fork", text, ("O3",), units, child=True))
    return found, State(bytes(attrs), state.rights, state.freed, state.unlocked)


def problems_of_end(state: State, sealed: Pass, twin: Pass) -> list[StepProblem]:
    """Exactly what is sealed behaves so, and nothing of the twin does."""
    attrs, look = state.attrs, sealed.looks[-1]
    lost, spread, stuck = [], [], []
    for i, attr in enumerate(attrs):
        if attr & SEALED:
            if look[2 + i] & MAPPED and (sealed.mprotect[i] != EPERM or sealed.munmap[i] != EPERM):
                lost.append(i)
        elif EPERM in (sealed.mprotect[i], sealed.munmap[i]) and attr & KIND != GROWN:
            spread.append(i)
        if twin.munmap[i] not in (0, NOT_TRIED):
            stuck.append(i)
    found = []
    for units, clause, was in ((lost, "O8", "unit {} was sealed"), (spread, "U7", "nobody sealed unit {}")):
        if units:
            i = units[0]
            text = (
                f"{was.format(i)}, and in the end mprotect to its own protection answers "
                f"{errno_text(sealed.mprotect[i])}, munmap {errno_text(sealed.munmap[i])}"
            )
            found.append(StepProblem("exactly-sealed", 0, "end", text, (clause, "A7"), tuple(units)))
    if stuck:
        said = errno_text(twin.munmap[stuck[0]])
        text = f"in the twin, where nothing is sealed, munmap of unit {stuck[0]} answers {said}"
        found.append(StepProblem("exactly-sealed", 0, "end", text, ("U7",), tuple(stuck)))
    return found
