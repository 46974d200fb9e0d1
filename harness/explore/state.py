"""The model's own part of a program's state, and the units that it is about. Pure.

Looking does not show what is sealed, what kind of memory it is, or what its twin knows no more: a byte for each unit.
"""

from __future__ import annotations

from errno import errorcode
from typing import NamedTuple

from harness.explore.operations import ADVICE, MOVES, PROTS, SEALINGS, Operation
from harness.explore.program import Segment
from harness.explore.wire import LEFT_OUT, MAPPED, MIX, SEGV, UNREAD

SEALED, KIND, KEYED, DONTFORK, WIPE, ASTRAY = 0x80, 0x07, 0x08, 0x10, 0x20, 0x40
ANON, SHARED_ANON, SHARED_FILE, PRIVATE_FILE, ZERO, UNKNOWN, GROWN = 1, 2, 3, 4, 5, 6, 7
REMOVE, GUARD, UNGUARD = ADVICE["remove"], ADVICE["guard-install"], ADVICE["guard-remove"]
FREE, COLLAPSE = ADVICE["free"], ADVICE["collapse"]
NO_CONTENTS = frozenset({ADVICE["dontfork"], ADVICE["wipeonfork"]})
MMAP, PKEY_MPROTECT, MREMAP, MADVISE, FORK, MSYNC, RIGHTS, REMAP_FILE, SHMAT = 2, 4, 5, 6, 10, 14, 17, 19, 20
USERFAULTFD, BRK, SHMDT = 21, 22, 24
MAPS = frozenset({MMAP, REMAP_FILE, SHMAT, BRK})
PROTECTS = frozenset({3, PKEY_MPROTECT})
EXEC_ONLY = PROTS.index("x")
CHILD_ACTS = (0, 3)  # of fork: the child goes on with the program, or a child of its own does
CLOSE = 3  # of userfaultfd: whatever was registered
KEEP_CLEAR = (1, 2)  # mmap with MAP_FIXED_NOREPLACE, or a hint: nothing that is there goes
WHOLE = frozenset({1, BRK})  # refused, it has changed plain memory no more than sealed memory
SHORTER, LONGER = MOVES.index("to-shorter"), MOVES.index("to-longer")
TO = frozenset({MOVES.index("to"), MOVES.index("to-keep"), MOVES.index("double"), SHORTER, LONGER})
RESIZES = {MOVES.index("shrink"), MOVES.index("grow"), MOVES.index("grow-or-move")}
KEEPS = {MOVES.index("to-keep"), MOVES.index("elsewhere-keep")}
NO_SEAL = {
    SEALINGS.index("flags"),
    SEALINGS.index("unaligned"),
    SEALINGS.index("too-long"),
    SEALINGS.index("wraps"),
    SEALINGS.index("unaligned-empty"),
}
EMPTY = SEALINGS.index("empty")


class State(NamedTuple):
    """The hidden part: ``attrs`` has a byte for each unit, ``rights`` are those of the protection key; ``freed`` has
    a bit for each unit that the kernel may empty whenever it likes (MADV_FREE), ``unlocked`` one for each that may be
    locked no more in the twin."""

    attrs: bytes
    rights: int = 0
    freed: int = 0
    unlocked: int = 0


def initial(segments: tuple[Segment, ...]) -> State:
    """The state of a window that was just made and sealed."""
    return State(b"".join(bytes((s.kind | (SEALED if s.sealed else 0),)) * s.units for s in segments))


def errno_text(number: int) -> str:
    """An answer as a person reads it."""
    if number == LEFT_OUT:
        return "left out"
    return errorcode.get(number, str(number)) if number else "0"


def differs(before: bytes, after: bytes, n: int, i: int) -> bool:
    """Whether unit ``i`` of ``n`` looks otherwise."""
    return before[2 + i] != after[2 + i] or before[2 + n + i] != after[2 + n + i]


def any_astray(attrs: bytes | bytearray, units: range) -> bool:
    """Whether the twin knows nothing of one of the units."""
    return any(map(ASTRAY.__and__, attrs[units.start : units.stop]))


def arriving(how: int, units: int) -> int:
    """How many units there are where mremap moves so many to."""
    return units + (how == LONGER) - (how == SHORTER)


def footprint_of(op: bytes, operation: Operation, n: int) -> range:
    """The units whose state decides what an operation does."""
    if operation.nature != "moves":
        return range(op[1], op[1] + op[2])
    low, high = op[1], op[1] + op[2]
    if op[3] in TO:
        low, high = min(low, op[4]), max(high, op[4] + arriving(op[3], op[2]))
    if op[3] in RESIZES:
        high = max(high, op[1] + op[4])
    return range(low, min(high + 1, n))


def unit_text(look: bytes, n: int, i: int) -> str:
    """What a unit looks like, for a person."""
    seen, contents = look[2 + i], look[2 + n + i]
    if not seen & MAPPED:
        return "-"
    perms = "".join(letter if seen & bit else "-" for letter, bit in (("r", 2), ("w", 4), ("x", 8)))
    data = {UNREAD: ".", SEGV: "segv", 0xF2: "bus", MIX: "mix"}.get(contents, f"{contents:02x}")
    return f"{perms}{'s' if seen & 16 else 'p'}{' ragged' if seen & 128 else ''} {data}"


def changes_text(before: bytes, after: bytes, n: int, units: tuple[int, ...]) -> str:
    """What became of units, as a person reads it."""
    said = []
    for i in units[:3]:
        said.append(f"unit {i}: {unit_text(before, n, i)} → {unit_text(after, n, i)}")
    more = f" and {len(units) - 3} more" if len(units) > 3 else ""
    return "; ".join(said) + more
