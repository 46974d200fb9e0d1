"""O4: /proc/PID/mem writes where a store would fault. The thread wishes it denied (guideline 7); nobody promises it."""

import os

import guest

area = guest.pages(2, guest.R)
guest.mseal(area[0])
mem = os.open("/proc/self/mem", os.O_RDWR)
for name, page in (("sealed", area[0]), ("plain", area[1])):
    try:
        guest.observe(f"{name}: bytes written", os.pwrite(mem, b"\x99" * guest.PAGE, page.start))
    except OSError as refusal:
        guest.observe(f"{name}: bytes written", guest.error_name(refusal.errno))
    guest.observe(f"{name}: contents", guest.contents(page))
guest.expect("the seal", guest.seals(area), "s-")
