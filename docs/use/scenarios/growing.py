"""R2: may sealed memory grow? The thread left it a question (guideline 3a); upstream refuses it."""

import guest

area = guest.pages(2)
guest.mseal(area)
guest.expect("growing in place", guest.mremap(area, 3), "EPERM")
guest.expect("growing by moving", guest.mremap(area, 3, guest.MREMAP_MAYMOVE), "EPERM")
behind = guest.Area(area.end, guest.PAGE)
guest.need(guest.mmap(behind, guest.RW, guest.MAP_PRIVATE | guest.MAP_ANONYMOUS | guest.MAP_FIXED_NOREPLACE), "mmap")
guest.expect("mapping behind it and sealing that", guest.mseal(area.grown(1)), 0)
guest.observe("sealed afterwards", guest.seals(area.grown(1)))
guest.observe("mappings it is listed as", len(guest.maps(area.grown(1))))
