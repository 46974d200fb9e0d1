"""The kernel's numbers: system calls by name, and the constants of memory management. All of them are ABI."""

import errno
import os

# name: (x86_64, arm64); arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h
_CALLS = {
    "brk": (12, 214),
    "close": (3, 57),
    "fallocate": (285, 47),
    "ftruncate": (77, 46),
    "getpid": (39, 172),
    "getrandom": (318, 278),
    "gettid": (186, 178),
    "madvise": (28, 233),
    "mbind": (237, 235),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "mincore": (27, 232),
    "mlock": (149, 228),
    "mlock2": (325, 284),
    "mlockall": (151, 230),
    "mmap": (9, 222),
    "move_pages": (279, 239),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "mseal": (462, 462),
    "msync": (26, 227),
    "munlock": (150, 229),
    "munlockall": (152, 231),
    "munmap": (11, 215),
    "openat": (257, 56),
    "pidfd_open": (434, 434),
    "pkey_alloc": (330, 289),
    "pkey_free": (331, 290),
    "pkey_mprotect": (329, 288),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "read": (0, 63),
    "remap_file_pages": (216, 234),
    "set_mempolicy_home_node": (450, 450),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmdt": (67, 197),
    "shmget": (29, 194),
    "userfaultfd": (323, 282),
    "write": (1, 64),
}
MACHINE = os.uname().machine
ARM64 = MACHINE == "aarch64"
CALLS = {name: numbers[ARM64] for name, numbers in _CALLS.items()}

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
