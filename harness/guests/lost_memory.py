"""An object of kmemleak's list, as the payload puts it into the kernel's log (guest_payload/c/leaks.c). Pure.

The list is that of ``print_unreferenced()``, mm/kmemleak.c: who asked for the memory, and by which functions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

BEGIN = r"kmemleak: unreferenced object "

# The names of our own processes: a batch's, a lane's, the payload's; of the payload once it has executed itself, and of
# its 32-bit program, which older kernels call by the number of a descriptor.
_BY = re.compile(
    r'  comm "(?P<ours>(?:probe-(?P<place>\d+)|sealmatrix-\d+|payload[\w-]*|exe|\d+|memfd:program3\w*)(?="))?'
)
_FRAME = re.compile(r"    (?:\[<[0-9a-f]+>\] )?(?P<frame>(?P<function>[A-Za-z_]\w*)[\w.]*\+0x[0-9a-f]+/0x.*)")
_ALLOCATOR = re.compile(r"_*(?:kmem_cache_alloc|kmalloc|kzalloc|kvmalloc|kcalloc|vmalloc|slab_|kmemleak|alloc_pages)")


class LostMemory:
    """One object while its lines are read. ``ours`` says that a process of ours may have asked for it: nothing is told
    of a process that is not named. ``probe`` is which one's that was, "" where it ran more than one; ``lines`` are
    those worth quoting."""

    def __init__(self, message: str) -> None:
        self.lines: list[str] = []
        self.ours, self.probe, self._function = True, "", ""
        self._named = False
        self._object = re.sub(r"0x[0-9a-f]+ |:$", "", message)  # the same wherever it lay

    @property
    def title(self) -> str:
        """Its size, and the first function that is no allocator's."""
        return f"{self._object} in {self._function}" if self._function else self._object

    def add(self, message: str, planned: Sequence[str]) -> None:
        """Take one more line. ``planned`` are the ids of the payload's plan, in which processes are named."""
        line = message.removeprefix("kmemleak: ")
        if by := _BY.match(line):
            if self._named:  # of another object, whose first line is lost
                return
            self._named, self.ours = True, by["ours"] is not None
            self.probe = planned[int(by["place"])] if by["place"] and int(by["place"]) < len(planned) else ""
            self.lines.append(line.strip())
        elif frame := _FRAME.match(line):
            self._function = self._function or ("" if _ALLOCATOR.match(frame["function"]) else frame["function"])
            self.lines.append(frame["frame"])
