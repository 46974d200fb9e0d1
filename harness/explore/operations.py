"""The operations a program is made of: names, arguments, and how the model takes each of them.

``guest_payload/c/explore_ops.c`` has the function for each number. ``nature`` is what the model asks first:

=============  ====================================================================================================
``replaces``   a sealed unit in its range makes it fail with EPERM, and leaves no trace (munmap, mmap(MAP_FIXED), brk)
``changes``    a sealed unit in its range makes it fail with EPERM; what becomes of plain units is undefined (mprotect)
``moves``      as ``changes``, for the source, for what it grows into and for the destination (mremap)
``discards``   refused only where it discards what the caller could not overwrite (madvise)
``harmless``   permitted on sealed memory, and changes nothing of it
``writes``     a store: what may be written changes, nothing else does
``seals``      mseal
``process``    concerns the process and no range: fork, mlockall, personality, rights of a protection key
=============  ====================================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from harness.errors import nearest

Nature = Literal["replaces", "changes", "moves", "discards", "harmless", "writes", "seals", "process"]
PROTS = ("none", "r", "w", "rw", "x", "rx", "wx", "rwx")
ADVICE: Mapping[str, int] = {
    "normal": 0, "random": 1, "sequential": 2, "willneed": 3, "dontneed": 4, "free": 8, "remove": 9, "dontfork": 10,
    "dofork": 11, "mergeable": 12, "unmergeable": 13, "hugepage": 14, "nohugepage": 15, "dontdump": 16, "dodump": 17,
    "wipeonfork": 18, "keeponfork": 19, "cold": 20, "pageout": 21, "populate-read": 22, "populate-write": 23,
    "dontneed-locked": 24, "collapse": 25, "guard-install": 102, "guard-remove": 103,
}  # fmt: skip
DISCARDS = frozenset(ADVICE[n] for n in (
    "dontneed", "free", "remove", "dontfork", "wipeonfork", "dontneed-locked", "guard-install"))  # fmt: skip
_MAPS = ("anon", "shared-anon", "shared-file", "private-file", "zero")
MOVES = ("same", "shrink", "grow", "grow-or-move", "to", "to-keep", "elsewhere", "elsewhere-keep", "double",
         "to-shorter", "to-longer")  # fmt: skip
# How mmap is asked: from noreserve on MAP_FIXED with another flag, which replaces what is there as MAP_FIXED does.
MAPPINGS = ("noreplace", "hint", "noreserve", "locked", "populate")
SEALINGS = ("", "flags", "unaligned", "empty", "rounded", "too-long", "wraps", "tagged", "unaligned-empty")

# Those whose length the kernel rounds up to whole pages. Of the other ranged ones, remap_file_pages rounds down,
# userfaultfd refuses with EINVAL, mseal has ways of its own to be asked, and the rest are given no length.
ROUNDING_UP = frozenset({
    "munmap", "mmap", "mprotect", "pkey_mprotect", "mremap", "madvise", "mlock", "mbind", "msync", "name", "mincore",
    "shmat", "brk",
})  # fmt: skip


@dataclass(frozen=True)
class Argument:
    """An argument by its names, in the order of their numbers, or a number below ``limit``. An empty name is one that
    need not be said."""

    names: Mapping[str, int] = field(default_factory=dict)
    limit: int = 0
    optional: bool = False


def _names(*names: str, base: int = 0) -> Argument:
    return Argument({name: n for n, name in enumerate(names, base)}, optional="" in names)


_NUMBER = Argument(limit=256)
_OPTIONAL = Argument(limit=256, optional=True)
_NONE = Argument(optional=True)  # an argument this operation does not have


@dataclass(frozen=True)
class Operation:
    """One kind of step. ``clauses`` are those of the contract (``Rule.contract``) its answers rest on."""

    number: int
    name: str
    nature: Nature
    clauses: tuple[str, ...]
    takes: tuple[Argument, ...] = ()
    ranged: bool = True

    @property
    def rounds_up(self) -> bool:
        """Whether the kernel rounds its length up to whole pages, so that a step of it may be ``unrounded``."""
        return self.name in ROUNDING_UP

    def words(self, a: int, b: int, c: int) -> list[str]:
        """The arguments as a person reads them."""
        said = []
        for argument, value in zip(self.takes, (a, b, c), strict=False):
            name = next((n for n, number in argument.names.items() if number == value), None)
            if name is None and argument.optional and not value:
                continue
            said.append(str(value) if name is None else name)
        return [word for word in said if word]

    def arguments(self, words: Sequence[str]) -> tuple[int, int, int]:
        """Read them back. Raises ``ValueError``."""
        values = [0, 0, 0]
        left = list(words)
        for place, argument in enumerate(self.takes):
            if left and left[0] in argument.names:
                values[place] = argument.names[left.pop(0)]
            elif left and left[0].isdigit() and int(left[0]) < argument.limit:
                values[place] = int(left.pop(0))
            elif not argument.optional:
                raise ValueError(f"{self.name} wants {' or '.join(argument.names) or 'a number'} here")
        if left:
            raise ValueError(f"{self.name} does not know {left[0]!r}")
        return values[0], values[1], values[2]


# Beyond what a window can have: memory whose addresses carry tags (PROT_MTE), which arm64 alone has.
_PROT = Argument({**{name: n for n, name in enumerate(PROTS)}, "r-tagged": 9, "rw-tagged": 11})
_TABLE: tuple[Operation, ...] = (
    Operation(1, "munmap", "replaces", ("U1",)),
    Operation(2, "mmap", "replaces", ("U2", "U3"), (_names(*_MAPS, base=1), _PROT, _names("", *MAPPINGS))),
    Operation(3, "mprotect", "changes", ("P1", "P2"), (_PROT, _NONE, _names("", "growsdown"))),
    Operation(4, "pkey_mprotect", "changes", ("P1", "P2"), (_PROT, _names("", "key", "last-key"))),
    Operation(5, "mremap", "moves", ("R1", "R2", "R3", "R4"), (_names(*MOVES), _OPTIONAL)),
    Operation(6, "madvise", "discards", ("M1", "M2", "M3", "M4", "M5", "M6", "M8", "M9"),
              (Argument(ADVICE), _NONE, _names("", "process", "process-twice", "process-each"))),
    Operation(7, "mseal", "seals", ("A1", "A2", "A3", "A4", "A5", "A6", "A7", "A9"), (_names(*SEALINGS), _OPTIONAL)),
    Operation(8, "mlock", "harmless", ("O1",), (_names("lock", "onfault", "unlock"),)),
    Operation(9, "mlockall", "process", ("O1",), (_NUMBER,), ranged=False),
    Operation(10, "fork", "process", ("O3",), (_names("goes-on", "stays", "exits", "grandchild"),), ranged=False),
    Operation(11, "write", "writes", ("M2",), (_NUMBER, _NONE, _names("", "vm"))),
    Operation(12, "read", "harmless", ("O1",)),
    Operation(13, "mbind", "harmless", ("O1",),
              (_names("default", "bind", "move", "home", "preferred", "interleave", "local", "preferred-many"),)),
    Operation(14, "msync", "harmless", ("O1",), (_NUMBER,)),
    Operation(15, "name", "harmless", ("O1",), (_names("no", "one", "two", "long"),)),
    Operation(16, "mincore", "harmless", ("O1",)),
    Operation(17, "rights", "process", ("M3",), (_names("open", "closed", "read-only"),), ranged=False),
    Operation(18, "clear_refs", "process", ("O1",), (_NUMBER,), ranged=False),
    Operation(19, "remap_file_pages", "replaces", ("U5",), (_NUMBER,)),
    Operation(20, "shmat", "replaces", ("U5",), (_names("", "read-only", "executable"),)),
    Operation(21, "userfaultfd", "harmless", ("O6",),
              (_names("missing", "write-protect", "unregister", "close", "both"),)),
    Operation(22, "brk", "replaces", ("U4", "U7"), (_names("shrink", "grow"),)),
    Operation(23, "personality", "process", ("O1",), (_names("usual", "read-implies-exec"),), ranged=False),
    Operation(24, "shmdt", "replaces", ("U5",)),
    Operation(25, "move_pages", "harmless", ("O1",), (_names("to-0", "to-1"),)),
    Operation(26, "merge_all", "process", ("O1",), (_names("on", "off"),), ranged=False),
)  # fmt: skip
OPERATIONS: Mapping[int, Operation] = {operation.number: operation for operation in _TABLE}
_BY_NAME = {operation.name: operation for operation in _TABLE}


def by_name(name: str) -> Operation:
    """The operation of a name. Raises ``ValueError``."""
    if name not in _BY_NAME:
        raise ValueError(f"there is no operation {name!r}{nearest(name, _BY_NAME)}")
    return _BY_NAME[name]
