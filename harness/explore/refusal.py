"""What a step must, may or must not be refused with EPERM for. Pure."""

from __future__ import annotations

from errno import EINVAL, ENOMEM
from typing import Literal

from harness.explore.operations import DISCARDS, OPERATIONS, SEALINGS
from harness.explore.state import (
    ANON,
    BRK,
    EMPTY,
    GUARD,
    KEEP_CLEAR,
    KEYED,
    KIND,
    MMAP,
    NO_SEAL,
    REMAP_FILE,
    REMOVE,
    SEALED,
    SHARED_ANON,
    SHARED_FILE,
    SHMDT,
    TO,
    UNKNOWN,
    ZERO,
    State,
    arriving,
)
from harness.explore.wire import MAPPED, WRITE

RefusalDemand = Literal["", "must", "may", "undefined", "open"]
"""Why EPERM may come: never, it must, or the answer is not promised."""


def refusal_of(op: bytes, state: State, before: bytes) -> RefusalDemand:
    """Why a step may be refused, before it is done. ``before`` is the look."""
    attrs = state.attrs
    if op[0] == BRK and not op[3] and not any(before[2 + i] & MAPPED for i in range(op[1], op[1] + op[2])):
        return "open"  # where the heap has nothing, it cannot shrink, seals or not
    if max(attrs) < SEALED:
        return ""
    if op[0] == SHMDT:
        return "undefined"  # it takes what it may of a segment, wherever that ends, and says that it has
    nature = OPERATIONS[op[0]].nature
    inside = attrs[op[1] : op[1] + op[2]]
    if nature == "replaces":
        if (op[0] == MMAP and op[5] in KEEP_CLEAR) or (op[0] == BRK and op[3]):  # or a heap that grows
            return ""
        if not inside or max(inside) < SEALED:
            return ""
        return "must" if op[0] != REMAP_FILE or min(inside) >= SEALED else "undefined"
    if nature == "changes":
        if op[5] and inside and min(inside) < SEALED:  # PROT_GROWSDOWN begins where the mapping does
            return "undefined"
        if not inside or max(inside) < SEALED:
            return ""
        return "must" if min(inside) >= SEALED else "undefined"
    if nature == "moves":
        return _mremap_refusal(op, attrs, inside, before)
    if nature == "discards":
        return _advice_refusal(op, state, before) if op[3] in DISCARDS else ""
    return ""


def mseal_answer(op: bytes, before: bytes) -> int:
    """What mseal must answer: 0 or an errno."""
    how = op[3] % len(SEALINGS)
    if how in NO_SEAL:
        return EINVAL
    if how == EMPTY:
        return 0
    return 0 if all(before[2 + i] & MAPPED for i in range(op[1], op[1] + op[2])) else ENOMEM


def _mremap_refusal(op: bytes, attrs: bytes, inside: bytes, before: bytes) -> RefusalDemand:
    arrive = arriving(op[3], op[2])
    onto = attrs[op[4] : op[4] + arrive] if op[3] in TO else b""
    source, destination = max(inside, default=0) >= SEALED, max(onto, default=0) >= SEALED
    if not source and not destination:
        return ""
    # Mappings are moved one by one (6.17), and where the source has a hole, nothing at the destination goes.
    goes = [before[2 + op[1] + min(k, op[2] - 1)] & MAPPED for k in range(len(onto))]
    if not source and not any(there and attr >= SEALED for there, attr in zip(goes, onto, strict=True)):
        return "undefined"
    if op[3] in TO and op[4] + arrive > len(attrs):
        return "undefined"  # it ends outside the window
    if source and min(inside) < SEALED:
        return "undefined"
    if destination and not source and min(onto) < SEALED and min(onto) & KIND == 0:
        return "undefined"
    return "must"


def _advice_refusal(op: bytes, state: State, before: bytes) -> RefusalDemand:
    attrs, advice = state.attrs, op[3]
    guarded = other = open_ = 0
    for i in range(op[1], op[1] + op[2]):
        attr = attrs[i]
        if not attr & SEALED:
            other += 1
        elif of_another_thread(op, attr, before[2 + i]):
            open_ += 1
        elif protected(attr, before[2 + i], state.rights):
            guarded += 1
        elif _open(attr & KIND, advice):
            open_ += 1
        else:
            other += 1
    if guarded:
        return "undefined" if other or open_ else "must"
    return "open" if open_ else ""


def protected(attr: int, seen: int, rights: int) -> bool:
    """M1, M3: sealed private anonymous memory that the caller cannot write."""
    return attr & KIND == ANON and (not seen & WRITE or bool(attr & KEYED and rights))


def of_another_thread(op: bytes, attr: int, seen: int) -> bool:
    """Protection keys are per thread, and what the second thread's let it do is what they were when it began."""
    return bool(op[7] & 1 and attr & KEYED and attr & KIND == ANON and seen & WRITE)


def _open(kind: int, advice: int) -> bool:
    """M6, M7: private /dev/zero, guard regions in files, holes in shared memory; and what nobody knows the kind of."""
    if kind in (ZERO, UNKNOWN):
        return True
    return (advice == GUARD and kind != ANON) or (advice == REMOVE and kind in (SHARED_ANON, SHARED_FILE))
