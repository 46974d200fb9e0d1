"""What ``mseal`` itself does to memory: nothing but seal it. Pure.

Until the seal both halves of a probe do the same, so the sealed half's window has to look as the control's does when
the operation begins. An operation that only seals has to leave the window of either half as it was.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache

from harness.model.rule import SEALING_OPERATIONS, ProbeName
from harness.observations.model import Observation, Snapshot, Unit
from harness.verdicts.window import unit_change

_DROPPABLE = "droppable-*"
# Where pagemap says that a page is. What is anonymous stays there, in memory (a) or swapped out (s); pages of an object
# come and go (f, n, s) while the object keeps the contents.
_ANONYMOUS = frozenset("as")
_OBJECT = frozenset("fns")


def only_seals(probe: ProbeName) -> bool:
    """Whether a probe's operation has to leave the window of either half as it was."""
    return _only_seals(probe.operation)


@cache
def _only_seals(operation: str) -> bool:
    return any(fnmatchcase(operation, glob) for glob in SEALING_OPERATIONS)


def sealing_changes(probe: ProbeName, seen: Observation) -> list[str]:
    """What sealing changed besides the seal, in words; empty when nothing."""
    control, sealed = seen.control, seen.sealed
    found = _differences(probe, control.units_before, sealed.units_before)
    if only_seals(probe):
        for name, half in (("control", control), ("sealed", sealed)):
            if half.stage != "done":
                continue
            changed = _differences(probe, half.units_before, half.units_after)
            found += [f"the {name} half, by the operation: {text}" for text in changed]
    return found


def _differences(probe: ProbeName, before: Snapshot, after: Snapshot) -> list[str]:
    if before == after:
        return []
    droppable = fnmatchcase(probe.region, _DROPPABLE)  # the kernel may take its pages away whenever it likes
    found = []
    for i, (old, now) in enumerate(zip(before, after, strict=True)):
        new = now
        if droppable and old and new and new.data in ("00", old.data):
            new = replace(new, data=old.data, presence=old.presence)
        text = unit_change(i, old, new) or (_moved(i, old, new) if old and new else None)
        if text is not None:
            found.append(text)
    return found


def _moved(index: int, old: Unit, new: Unit) -> str | None:
    """Whether another page is there, one where none was, or none where one was."""
    if old.presence == new.presence:
        return None
    pair = {old.presence, new.presence}
    anonymous = old.backing in ("anon", "heap", "stack")
    allowed = _OBJECT if not anonymous else frozenset("fn")
    if "?" in pair or pair <= _ANONYMOUS or pair <= allowed:
        return None
    return f"unit {index}: its page went from {_PRESENCE[old.presence]} to {_PRESENCE[new.presence]}"


_PRESENCE = {"a": "an anonymous one", "f": "one of an object", "s": "one swapped out", "n": "none"}
