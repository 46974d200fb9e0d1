"""U2, P2: a call over plain, sealed and plain pages. How far does it get before it is refused?"""

import guest

FIXED = guest.MAP_PRIVATE | guest.MAP_ANONYMOUS | guest.MAP_FIXED
for name, call in (
    ("munmap", guest.munmap),
    ("mmap(MAP_FIXED)", lambda area: guest.mmap(area, guest.R, FIXED)),
    ("mprotect", lambda area: guest.mprotect(area, guest.R)),
    ("madvise(DONTNEED)", lambda area: guest.madvise(area, guest.MADV_DONTNEED)),
):
    area = guest.pages(3)
    guest.mseal(area[1])
    guest.observe(name, answer=call(area), window=guest.window(area))
    guest.expect(f"{name}: the sealed page is untouched", guest.window(area[1])[0], "rw-p a1 s", "rw-p 00 s")
