"""The kernel's numbers: system calls by name, and the constants of memory management. All of them are ABI."""

import errno
import os

from guest.call_numbers import NUMBERS

MACHINE = os.uname().machine
ARM64 = MACHINE == "aarch64"
CALLS = {name: numbers[ARM64] for name, numbers in NUMBERS.items() if numbers[ARM64] is not None}

PROT_NONE, PROT_READ, PROT_WRITE, PROT_EXEC = 0, 1, 2, 4
PROT_GROWSDOWN, PROT_GROWSUP = 0x01000000, 0x02000000
R, RW, RX, RWX = PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC, PROT_READ | PROT_WRITE | PROT_EXEC

MAP_SHARED, MAP_PRIVATE, MAP_DROPPABLE = 1, 2, 8
MAP_FIXED, MAP_ANONYMOUS, MAP_FIXED_NOREPLACE = 0x10, 0x20, 0x100000
MAP_GROWSDOWN, MAP_LOCKED, MAP_NORESERVE, MAP_POPULATE = 0x100, 0x2000, 0x4000, 0x8000
MAP_STACK, MAP_HUGETLB = 0x20000, 0x40000

MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP = 1, 2, 4

MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED = 0, 1, 2, 3, 4
MADV_FREE, MADV_REMOVE, MADV_DONTFORK, MADV_DOFORK = 8, 9, 10, 11
MADV_MERGEABLE, MADV_UNMERGEABLE, MADV_HUGEPAGE, MADV_NOHUGEPAGE = 12, 13, 14, 15
MADV_DONTDUMP, MADV_DODUMP, MADV_WIPEONFORK, MADV_KEEPONFORK = 16, 17, 18, 19
MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE = 20, 21, 22, 23
MADV_DONTNEED_LOCKED, MADV_COLLAPSE = 24, 25
MADV_GUARD_INSTALL, MADV_GUARD_REMOVE = 102, 103

PKEY_DISABLE_ACCESS, PKEY_DISABLE_WRITE = 1, 2
SHM_REMAP, IPC_PRIVATE, IPC_CREAT, IPC_RMID = 0o40000, 0, 0o1000, 0


def error_name(number: int) -> str:
    """``EPERM`` for 1."""
    return errno.errorcode.get(number, f"errno {number}")


def error_number(word: str) -> int:
    """1 for ``EPERM``. Raises ``ValueError`` for a word that is no error's name."""
    known = getattr(errno, word, None) if word[:1] == "E" else None
    if known is None and word[:6] == "errno " and word[6:].isdecimal():
        known = int(word[6:])  # as error_name calls it
    if known is None:
        raise ValueError(f"{word!r} is no error's name: an answer is compared with one, such as 'EPERM', or a number")
    return known


def call_number(name: str) -> int:
    """The number of a system call on this machine. Raises ``ValueError`` for a name that is none's here."""
    if name in CALLS:
        return CALLS[name]
    if name in NUMBERS:
        raise ValueError(f"{MACHINE} has no system call {name}: take what came in its place, as openat for open")
    from difflib import get_close_matches  # noqa: PLC0415 - it takes long to import, and is needed only here

    near = " or ".join(get_close_matches(name, CALLS)) or "no name is like it"
    raise ValueError(f"no system call is called {name!r} here ({near}); one that is newer can be given by its number")
