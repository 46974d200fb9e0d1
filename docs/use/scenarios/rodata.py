"""M5: a program's data, relocated, then read-only and sealed. The thread wants its contents kept (guideline 2a)."""

import os

import guest

fd = guest.memfd(1)
os.pwrite(fd, b"\x11" * guest.PAGE, 0)
for kind, where in (("anonymous", {}), ("private file", {"flags": guest.MAP_PRIVATE, "fd": fd})):
    data = guest.pages(1, guest.R, **where)
    guest.mseal(data)
    guest.observe(f"{kind}: MADV_DONTNEED", guest.madvise(data, guest.MADV_DONTNEED))
    guest.observe(f"{kind}: its contents, a0 before", guest.contents(data))
