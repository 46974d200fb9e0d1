"""What is mapped, with which protection and contents, and whether it is sealed."""

from guest import numbers as n
from guest.calls import PAGE, Area, Fault, mprotect


class Mapping:
    """A line of /proc/self/maps; ``sealed`` is what smaps says, None where it was not asked or cannot be."""

    __slots__ = ("end", "offset", "path", "perms", "sealed", "start")

    def __init__(self, line):
        place, self.perms, offset, _device, _inode, *path = line.split(None, 5)
        start, end = place.split("-")
        self.start, self.end, self.offset = int(start, 16), int(end, 16), int(offset, 16)
        self.path = path[0].rstrip("\n") if path else ""
        self.sealed = None

    def __repr__(self):
        sealed = {True: " sealed", False: "", None: ""}[self.sealed]
        return f"{self.start:x}-{self.end:x} {self.perms}{sealed} {self.path}".rstrip()


def maps(area=None, *, flags=False):
    """The mappings of this process, or those that touch an area; with ``flags``, smaps tells which are sealed."""
    found = []
    with open("/proc/self/smaps" if flags else "/proc/self/maps", encoding="utf-8", errors="replace") as lines:  # noqa: PTH123
        for line in lines:
            if line.startswith("VmFlags:"):
                found[-1].sealed = "sl" in line.split()
            elif not flags or line[:1] in "0123456789abcdef":  # a field of smaps begins with a capital
                found.append(Mapping(line))
    return [m for m in found if area is None or (m.start < area.end and m.end > area.start)]


def perms(area):
    """The protection of each page: ``rw-p``, or ``-`` where nothing is mapped; one word where all are alike."""
    return _each(area, lambda page, mapping: mapping.perms if mapping else "-")


def contents(area):
    """What each page holds: two digits where all bytes are alike, else ``mix``; ``segv`` or ``bus`` where it faults."""
    return _each(area, lambda page, mapping: data(page) if mapping else "-")


def seals(area):
    """Which pages behave as sealed: ``s`` where mprotect to the protection they have is refused with EPERM."""
    return "".join(_seal(page, mapping) for page, mapping in _pages(area))


def sealed(area):
    """Whether every page of it behaves as sealed."""
    return set(seals(area)) == {"s"}


def window(area):
    """All of that, page by page: ``rw-p a0 s``."""
    found = []
    for page, mapping in _pages(area):
        found.append(f"{mapping.perms} {data(page)} {_seal(page, mapping)}" if mapping else "-")
    return found


def data(page):
    """What one page holds, in a word."""
    try:
        found = page.read(PAGE)
    except Fault as fault:
        return "bus" if fault.signal == 7 else "segv"
    return f"{found[0]:02x}" if found == found[:1] * PAGE else "mix"


def protection(mapping):
    """A mapping's protection as mprotect wants it."""
    bits = ((n.PROT_READ, "r"), (n.PROT_WRITE, "w"), (n.PROT_EXEC, "x"))
    return sum(bit for bit, letter in bits if letter in mapping.perms)


def _seal(page, mapping):
    if mapping is None:
        return " "
    return "s" if str(mprotect(page, protection(mapping))) == "EPERM" else "-"


def _pages(area):
    found = maps(area)
    for i in range(len(area)):
        at = area.start + i * PAGE
        yield Area(at, PAGE), next((m for m in found if m.start <= at < m.end), None)


def _each(area, tell):
    words = [tell(page, mapping) for page, mapping in _pages(area)]
    return words[0] if len(set(words)) == 1 else " ".join(words)
