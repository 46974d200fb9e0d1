"""M7: a private mapping of /dev/zero is anonymous memory with a file's name. May it be discarded when it is sealed?"""

import os

import guest

fd = os.open("/dev/zero", os.O_RDWR)
area = guest.pages(2, guest.R, guest.MAP_PRIVATE, fd)
guest.mseal(area[0])
for name, page in (("sealed", area[0]), ("plain", area[1])):
    guest.observe(f"{name}: MADV_DONTNEED", guest.madvise(page, guest.MADV_DONTNEED))
    guest.observe(f"{name}: contents", guest.contents(page))
guest.expect("still sealed", guest.seals(area), "s-")
