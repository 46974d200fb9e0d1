"""What a scenario imports: memory, the system calls on it, what became of it, and telling that to the host.

Described in docs/use/scenarios.md. A scenario is short because everything it is likely to need is here by name.
"""

from guest.calls import (
    PAGE,
    Answer,
    Area,
    Fault,
    SetupFailed,
    madvise,
    memfd,
    mmap,
    mprotect,
    mremap,
    mseal,
    munmap,
    need,
    pages,
    process_madvise,
    syscall,
)
from guest.looking import Mapping, contents, maps, perms, sealed, seals, window
from guest.numbers import *  # noqa: F403 - the kernel's own names
from guest.numbers import error_name
from guest.processes import Child, in_child
from guest.scenario import expect, observe, skip

__all__ = [
    "PAGE",
    "Answer",
    "Area",
    "Child",
    "Fault",
    "Mapping",
    "SetupFailed",
    "contents",
    "error_name",
    "expect",
    "in_child",
    "madvise",
    "maps",
    "memfd",
    "mmap",
    "mprotect",
    "mremap",
    "mseal",
    "munmap",
    "need",
    "observe",
    "pages",
    "perms",
    "process_madvise",
    "sealed",
    "seals",
    "skip",
    "syscall",
    "window",
]
