"""The state that a step leaves behind, whatever was right or wrong about it. Pure."""

from __future__ import annotations

from errno import EPERM

from harness.explore.operations import ADVICE, SEALINGS, Operation
from harness.explore.refusal import RefusalDemand, of_another_thread, protected
from harness.explore.state import (
    ANON,
    ASTRAY,
    BRK,
    DONTFORK,
    EMPTY,
    EXEC_ONLY,
    FREE,
    GROWN,
    KEEP_CLEAR,
    KEEPS,
    KEYED,
    KIND,
    MAPS,
    MMAP,
    MREMAP,
    PKEY_MPROTECT,
    PRIVATE_FILE,
    PROTECTS,
    REMAP_FILE,
    RESIZES,
    RIGHTS,
    SEALED,
    SHARED_ANON,
    SHARED_FILE,
    SHMAT,
    TO,
    UNKNOWN,
    WHOLE,
    WIPE,
    State,
    any_astray,
    arriving,
    differs,
    footprint_of,
)
from harness.explore.wire import MAPPED


def state_after(
    op: bytes,
    operation: Operation,
    state: State,
    before: bytes,
    after: bytes,
    said: int,
    twin: bytes,
    refusal: RefusalDemand,
    *,
    divided: bool,
) -> State:
    """What is known after a step: of ``said``, and of what the twin shows."""
    n = len(state.attrs)
    attrs, rights, freed, unlocked = bytearray(state.attrs), state.rights, state.freed, state.unlocked
    inside = range(op[1], op[1] + op[2])
    refused = refusal == "must" and said == EPERM
    if operation.nature == "seals":
        if said == 0 and op[3] % len(SEALINGS) != EMPTY:
            for i in inside:  # what grew may be sealed or not until somebody seals it
                attrs[i] = SEALED | (attrs[i] if attrs[i] & KIND != GROWN else attrs[i] & ~KIND | ANON)
        return State(bytes(attrs), rights, freed, unlocked)
    if op[0] == RIGHTS and said == 0:
        rights = op[3] % 3
    elif op[0] in MAPS and said == 0:
        _mapped(attrs, op, before, after)
    elif op[0] == PKEY_MPROTECT and said == 0 and op[4]:
        for i in inside:
            attrs[i] |= KEYED
    elif op[0] in PROTECTS and op[3] == EXEC_ONLY:
        _executable(attrs, op)
    elif op[0] == MREMAP:
        _moved(attrs, state.attrs, op, before, after, n, said)
        if op[3] in KEEPS and said == 0:  # MREMAP_DONTUNMAP may unlock all of the mapping that it moves a part of
            unlocked |= sum(1 << i for i in _joined(after, n, op[1], op[1] + op[2]))
    elif operation.nature == "discards" and not refused:
        _advised(attrs, op, said)
        if op[3] == FREE:
            freed |= sum(1 << i for i in inside if not _may_not_be_freed(op, state, before, i))
    _come_and_gone(attrs, operation, before, after)
    _astray(attrs, op, operation, after, twin, refusal, refused=refused, divided=divided)
    return State(bytes(attrs), rights, _still_freed(freed, op, operation, state.attrs, after, said), unlocked)


def _may_not_be_freed(op: bytes, state: State, before: bytes, i: int) -> bool:
    """Whether MADV_FREE must spare a unit (M1), whatever it does to others of its range, or knows none of its sort."""
    attr, seen = state.attrs[i], before[2 + i]
    if attr & KIND in (SHARED_ANON, SHARED_FILE, PRIVATE_FILE):
        return True
    return bool(attr & SEALED) and protected(attr, seen, state.rights) and not of_another_thread(op, attr, seen)


def _still_freed(freed: int, op: bytes, operation: Operation, attrs: bytes, after: bytes, said: int) -> int:
    """The units that may be emptied at any time, without those that are gone or new. mremap takes it along, but for
    what was sealed before: nothing can have come there."""
    if not freed:
        return 0
    if operation.nature == "replaces" and said == 0 and op[0] in MAPS and (op[0] != MMAP or op[5] not in KEEP_CLEAR):
        freed &= ~(((1 << op[2]) - 1) << op[1])
    elif op[0] == MREMAP and op[3] in TO:
        old = freed
        for k in range(arriving(op[3], op[2])):
            i = op[4] + k
            if i < len(attrs) and attrs[i] < SEALED:
                came = old >> (op[1] + min(k, op[2] - 1)) & 1
                freed = freed & ~(1 << i) | came << i if said == 0 else freed | came << i
    return freed & sum(1 << i for i in range(len(attrs)) if after[2 + i] & MAPPED)


def _astray(
    attrs: bytearray,
    op: bytes,
    operation: Operation,
    after: bytes,
    twin: bytes,
    refusal: RefusalDemand,
    *,
    refused: bool,
    divided: bool,
) -> None:
    """Say of which units the twin may know nothing from here on."""
    n = len(attrs)
    footprint = footprint_of(op, operation, n)
    freed = operation.nature == "discards" and op[3] == FREE and not refused
    whole = refusal in ("undefined", "open") or divided or freed
    if operation.nature == "moves":  # what went astray comes to wherever the twin moves it
        whole = whole or any_astray(attrs, footprint)
    plain = refused and op[0] not in WHOLE
    for i in footprint if whole or plain else ():
        if whole or attrs[i] < SEALED:
            attrs[i] |= ASTRAY
    if after[2:] != twin[2:]:
        for i in range(n):
            if differs(after, twin, n, i):
                attrs[i] |= ASTRAY


def _joined(look: bytes, n: int, start: int, end: int) -> range:
    """A range with all that is mapped without a hole before and behind it."""
    while start > 0 and look[1 + start] & MAPPED:
        start -= 1
    while end < n and look[2 + end] & MAPPED:
        end += 1
    return range(start, end)


def _come_and_gone(attrs: bytearray, operation: Operation, before: bytes, after: bytes) -> None:
    """Of what is not mapped nothing is known, and of what came by no call only that a mapping above it grew down: it
    is as sealed as that, or not (O7)."""
    for i in range(len(attrs)):
        there = after[2 + i] & MAPPED
        if not there and attrs[i] < SEALED:
            attrs[i] &= ASTRAY
        elif there and not before[2 + i] & MAPPED and operation.nature not in ("replaces", "moves"):
            attrs[i] = GROWN | ASTRAY
        elif attrs[i] & KIND == 0:
            attrs[i] |= UNKNOWN


def _mapped(attrs: bytearray, op: bytes, before: bytes, after: bytes) -> None:
    """What is new has a kind of its own. A hint that was taken is seen; one that was not has mapped nothing here."""
    kind = {MMAP: op[3], BRK: ANON}.get(op[0], SHARED_FILE)
    for i in range(op[1], op[1] + op[2]):
        if op[0] in (REMAP_FILE, SHMAT) or (op[0] == MMAP and op[5] not in KEEP_CLEAR) or before[2 + i] != after[2 + i]:
            attrs[i] = (attrs[i] & (SEALED | ASTRAY)) | kind


def _executable(attrs: bytearray, op: bytes) -> None:
    """What may only be executed gets a protection key of the kernel's own on some processors, and later none."""
    for i in range(op[1], op[1] + op[2]):
        if attrs[i] & KEYED and attrs[i] < SEALED:
            attrs[i] = attrs[i] & ~(KEYED | KIND) | UNKNOWN


def _moved(attrs: bytearray, old: bytes, op: bytes, before: bytes, after: bytes, n: int, said: int) -> None:
    """Plain units that came are of the sort of those they came from; whatever did not come is as it was.

    Since 6.17 mappings are moved one by one, so one that fails may have come a part of the way: where that does not
    show, nobody knows of which sort a unit is."""
    if op[3] in TO:
        for k in range(arriving(op[3], op[2])):
            i, source = op[4] + k, op[1] + min(k, op[2] - 1)
            if i < n and attrs[i] < SEALED and after[2 + i] & MAPPED and before[2 + i] != after[2 + i]:
                attrs[i] = old[source] & (KIND | KEYED | DONTFORK | WIPE | ASTRAY)
            elif i < n and attrs[i] < SEALED and attrs[i] & KIND != GROWN:
                kind = old[source] & KIND
                kind = kind if said == 0 or kind == attrs[i] & KIND else UNKNOWN
                attrs[i] = (attrs[i] & ~KIND) | (kind if after[2 + i] & MAPPED else 0)
    elif op[3] in RESIZES:
        for i in range(op[1] + op[2], min(op[1] + op[4], n)):
            if attrs[i] < SEALED and not before[2 + i] & MAPPED and after[2 + i] & MAPPED:
                attrs[i] = old[op[1]] & (KIND | KEYED | DONTFORK | WIPE | ASTRAY)


def _advised(attrs: bytearray, op: bytes, said: int) -> None:
    """What a child will get is known from here on, or from here on not known: a bit says that it may be so."""
    bit = {ADVICE["dontfork"]: DONTFORK, ADVICE["wipeonfork"]: WIPE}.get(op[3], 0)
    gone = {ADVICE["dofork"]: DONTFORK, ADVICE["keeponfork"]: WIPE}.get(op[3], 0)
    for i in range(op[1], op[1] + op[2]):
        if bit:
            attrs[i] |= bit
        elif gone and said == 0:
            attrs[i] &= ~gone
