"""A window: a few units of one kind of memory, laid out as a span says."""

import errno
import os

import _kernel

from guest import numbers as n
from guest.calls import PAGE, Fault, syscall

LAYOUTS = {
    "exact": "SSS", "head": "SSs", "middle": "sSs", "tail": "sSS",
    "into": "pPSs", "out-of": "sSPp", "around": "PSP", "across-holes": "SPS", "first": "SPP", "last": "PPS",
    "beside": "sPs", "before": "Ps", "after": "sP",
    "gap-amid": "SGS", "gap-around": "GSG",
    "plain": "pPPp", "plain-wide": "pPPPPp",
    "hole-start": "GPPp", "hole-middle": "PGP", "hole-end": "pPPG", "unmapped": "GG",
}  # fmt: skip
BASE = 0x400000  # below the program, so that a window is listed first
HUGE_BASE, DESTINATION = 0x640000000, 0x700000000  # each far from everything else
FILL, FILE_FILL, SOURCE_FILL = 0xA0, 0x50, 0xC0
NEAR = 16  # units: how far off an address is still told relative to the window
HUGE_LIMIT = 4 << 20
ANONYMOUS = n.MAP_PRIVATE | n.MAP_ANONYMOUS
SHARED = n.MAP_SHARED | n.MAP_ANONYMOUS
MIXED = (n.RW, n.R, n.PROT_NONE, n.RX)  # by unit


class StepFailed(Exception):
    """Something a probe needs could not be had: what, and the error number."""

    def __init__(self, step, number):
        super().__init__(step, number)
        self.step, self.number = step, number


def need(answer, step):
    """The answer, unless it is a refusal. Raises ``StepFailed``."""
    if answer.errno:
        raise StepFailed(step, answer.errno)
    return int(answer)


def pkey_alloc(rights):
    """A new protection key. A processor without them answers ENOSPC, which is no want of space."""
    answer = syscall("pkey_alloc", 0, rights)
    if answer.errno:
        raise StepFailed("protection keys", errno.EOPNOTSUPP if answer.errno == errno.ENOSPC else answer.errno)
    _kernel.key_rights()  # from now on a fault must not cost the thread its rights
    return int(answer)


def new_object(kind, name, units):
    """A memfd, or a file that has no name any more, of so many pages; page *i* holds 50+*i*."""
    if kind == "memfd":
        fd = need(syscall("memfd_create", name.encode() + b"\0", 0), "memfd_create")
    else:
        path = f"sealmatrix.{os.getpid()}.{name}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = need(
            syscall("openat", -100, path.encode() + b"\0", flags, 0o600), "create a file in the working directory"
        )
        os.unlink(path)  # noqa: PTH108 - pathlib takes longer to import than this takes to run
    for i in range(units):
        os.pwrite(fd, bytes([FILE_FILL + i]) * PAGE, i * PAGE)
    return fd


class Window:
    """Memory under test. ``start`` and ``length`` are what the operation covers."""

    def __init__(self, region, layout):
        self.region, self.layout = region, layout
        self.units, self.unit, self.base = len(layout), PAGE, BASE
        self.prot, self.flags = region.prot, region.flags
        self.fd = self.other = -1
        self.source = 0

    def at(self, unit):
        """Where a unit is."""
        return self.base + unit * self.unit

    @property
    def _covered(self):
        return [i for i, mark in enumerate(self.layout) if mark.isupper()]

    @property
    def start(self):
        """Where the operation's range begins."""
        return self.at(self._covered[0])

    @property
    def length(self):
        """How long it is."""
        return len(self._covered) * self.unit

    @property
    def short(self):
        """As long, but for all of the last page but its first byte."""
        return self.length - PAGE + 1

    def make(self):
        """Map, fill and protect it, and make its gaps. Raises ``StepFailed``."""
        self.region.make(self)
        for i, mark in enumerate(self.layout):
            if mark in "gG":
                need(syscall("munmap", self.at(i), self.unit), "munmap of a gap")

    def map(self, prot):
        """Map all units where the window is to be."""
        where = (self.base, self.units * self.unit, prot, self.flags | n.MAP_FIXED_NOREPLACE, self.fd, 0)
        if need(syscall("mmap", *where), "mmap") != self.base:
            raise StepFailed("the window's place", errno.EEXIST)

    def fill(self):
        """Fill unit *i* with a0+*i*; of a huge page, the first words of every 4 KiB."""
        for i in range(self.units):
            for at in range(self.at(i), self.at(i + 1), PAGE if self.unit == PAGE else 4096):
                _kernel.write(at, bytes([FILL + i]) * (PAGE if self.unit == PAGE else 8))

    def protect(self):
        """Give the units their protections."""
        if self.region.mixed:
            for i in range(self.units):
                need(syscall("mprotect", self.at(i), self.unit, MIXED[i % 4]), "mprotect")
        elif self.prot != n.RW:
            need(syscall("mprotect", self.base, self.units * self.unit, self.prot), "mprotect")

    def seal(self):
        """Seal each run of sealed units; the error numbers, up to and with the first refusal."""
        found, i = [], 0
        while i < self.units and not any(found):
            end = i
            while end < self.units and self.layout[end] in "sS":
                end += 1
            if end > i:
                found.append(syscall("mseal", self.at(i), (end - i) * self.unit, 0).errno)
            i = max(end, i + 1)
        return found

    def locate(self, address):
        """An address as an observation tells it."""
        if address == DESTINATION:
            return "destination"
        units, rest = divmod(address - self.base, self.unit)
        if rest or not -NEAR <= units < NEAR + self.units:
            return "elsewhere"
        return f"base{'-' if units < 0 else '+'}{abs(units)}"

    def look(self, *, seals):
        """Every unit as an observation tells it."""
        found = [None] * self.units
        for start, end, perms, offset, path, sealed in _listed(self.base, self.at(self.units), seals=seals):
            for i in range(self.units):
                if start <= self.at(i) < end:
                    found[i] = [perms, _backing(path, offset + self.at(i) - start, self.unit), sealed]
        presence = self._presence()  # before touching: reading a page brings it in
        return [
            f"{unit[0]} {unit[1]} {self._data(i)} {presence[i]} {unit[2]}" if unit else "-"
            for i, unit in enumerate(found)
        ]

    def _data(self, i):
        if self.region.unread:
            return "."
        try:
            if self.unit == PAGE:
                data = _kernel.read(self.at(i), PAGE)
            else:
                data = b"".join(_kernel.read(at, 8) for at in range(self.at(i), self.at(i + 1), 4096))
        except Fault as fault:
            return "bus" if fault.signal == 7 else "segv"
        return f"{data[0]:02x}" if data == data[:1] * len(data) else "mix"

    def _presence(self):
        try:
            fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return "?" * self.units
        try:
            return [_present(os.pread(fd, 8, self.at(i) // PAGE * 8)) for i in range(self.units)]
        finally:
            os.close(fd)

    def writes(self):
        """Which units take a store, one letter each."""
        found = ""
        for i in range(self.units):
            try:
                _kernel.write(self.at(i), b"\x77")
                found += "w"
            except Fault:
                found += "-"
        return found


def _present(entry):
    bits = int.from_bytes(entry, "little")
    if len(entry) < 8:
        return "?"
    if bits >> 62 & 1:
        return "s"
    if not bits >> 63:
        return "n"
    return "f" if bits >> 61 & 1 else "a"


def _listed(base, end, *, seals):
    """The mappings of a place: [start, end, perms, offset, path, seal]. Nothing behind the place is read."""
    found = []
    for line in _lines(b"/proc/self/smaps" if seals else b"/proc/self/maps"):
        if line[:1] in b"0123456789abcdef":
            place, perms, offset, _device, _inode, *path = line.split(None, 5)
            first, last = (int(word, 16) for word in place.split(b"-"))
            if first >= end:
                break
            name = path[0].decode(errors="replace") if path else ""
            found.append([first, last, perms.decode(), int(offset, 16), name, "-" if seals else "?"])
        elif line[:8] == b"VmFlags:" and b" sl" in line:
            found[-1][5] = "s"
    return [entry for entry in found if entry[1] > base]


def _lines(path):
    fd, rest = os.open(path, os.O_RDONLY | os.O_CLOEXEC), b""
    try:
        while part := os.read(fd, 4096):
            *lines, rest = (rest + part).split(b"\n")
            yield from lines
    finally:
        os.close(fd)


def _backing(path, offset, unit):
    if not path or path.startswith("[anon:"):
        return "anon"
    if path.startswith("/dev/zero ("):
        name = "shared"
    elif path.startswith("/dev/zero"):
        name = "zero"
    else:
        name = path.removesuffix(" (deleted)").rpartition("/")[2].replace(":", ".").rpartition(".")[2]
    return f"{name}+{offset // unit}" if path.startswith("/") else name


def _make_memory(w):
    if w.region.filled:
        w.map(n.RW)
        w.fill()
        w.protect()
    else:
        # What is never written is never mapped writable on the way either; every page is looked at once.
        w.map(w.prot)
        for i in range(w.units):
            _kernel.read(w.at(i), 1)


def _make_file(w):
    w.fd = new_object("file", "file", w.units)
    _make_memory(w)


def _make_memfd(w):
    w.fd = new_object("memfd", "memfd", w.units)
    _make_memory(w)


def _make_zero(w):
    w.fd = os.open("/dev/zero", os.O_RDWR | os.O_CLOEXEC)
    _make_memory(w)


def _make_locked(w):
    _make_memory(w)
    need(syscall("mlock", w.base, w.units * w.unit), "mlock")


def _make_untouched(w):
    w.map(w.prot)


def _make_keyed(rights):
    def make(w):
        _make_memory(w)
        key = pkey_alloc(rights)
        need(syscall("pkey_mprotect", w.base, w.units * w.unit, w.prot, key), "pkey_mprotect")

    return make


def _make_huge(w):
    """Units of one transparent huge page each, whatever the system's policy."""
    try:
        with open("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "rb") as file:  # noqa: PTH123 - see above
            w.unit = int(file.read())
    except OSError:
        raise StepFailed("transparent huge pages", errno.EOPNOTSUPP) from None
    if w.unit > HUGE_LIMIT:
        raise StepFailed("transparent huge pages of at most 4 MiB", errno.EFBIG)
    w.base = HUGE_BASE
    w.map(n.RW)
    syscall("madvise", w.base, w.units * w.unit, n.MADV_HUGEPAGE)  # a hint: it saves the copying
    w.fill()
    answer = syscall("madvise", w.base, w.units * w.unit, n.MADV_COLLAPSE)
    for _ in range(100):  # a page may be in somebody else's hands for a moment
        if answer.errno != errno.EAGAIN:
            break
        answer = syscall("madvise", w.base, w.units * w.unit, n.MADV_COLLAPSE)
    need(answer, "transparent huge pages (MADV_COLLAPSE)")
    w.protect()


class Region:
    """A kind of memory: its protection, how it is mapped, and how it is made."""

    def __init__(self, prot, flags, make=_make_memory, *, filled=True, mixed=False, unread=False):
        self.prot, self.flags, self.make = prot, flags, make
        self.filled, self.mixed, self.unread = filled, mixed, unread


REGIONS = {
    "anon-rw": Region(n.RW, ANONYMOUS),
    "anon-r": Region(n.R, ANONYMOUS),
    "anon-none": Region(n.PROT_NONE, ANONYMOUS),
    "anon-rx": Region(n.RX, ANONYMOUS),
    "anon-mixed": Region(n.RW, ANONYMOUS, mixed=True),
    "shared-anon-rw": Region(n.RW, SHARED),
    "shared-anon-r": Region(n.R, SHARED),
    "file-private-clean-r": Region(n.R, n.MAP_PRIVATE, _make_file, filled=False),
    "file-private-clean-rw": Region(n.RW, n.MAP_PRIVATE, _make_file, filled=False),
    "file-private-copied-r": Region(n.R, n.MAP_PRIVATE, _make_file),
    "file-private-copied-rw": Region(n.RW, n.MAP_PRIVATE, _make_file),
    "file-shared-rw": Region(n.RW, n.MAP_SHARED, _make_file, filled=False),
    "file-shared-r": Region(n.R, n.MAP_SHARED, _make_file, filled=False),
    "memfd-shared-rw": Region(n.RW, n.MAP_SHARED, _make_memfd, filled=False),
    "memfd-private-rw": Region(n.RW, n.MAP_PRIVATE, _make_memfd, filled=False),
    "anon-locked-rw": Region(n.RW, ANONYMOUS, _make_locked),
    "anon-locked-r": Region(n.R, ANONYMOUS, _make_locked),
    "anon-untouched-rw": Region(n.RW, ANONYMOUS, _make_untouched, unread=True),
    "anon-untouched-r": Region(n.R, ANONYMOUS, _make_untouched, unread=True),
    "anon-untouched-none": Region(n.PROT_NONE, ANONYMOUS, _make_untouched, unread=True),
    "zero-private-rw": Region(n.RW, n.MAP_PRIVATE, _make_zero),
    "zero-private-r": Region(n.R, n.MAP_PRIVATE, _make_zero),
    "pkey-no-write-rw": Region(n.RW, ANONYMOUS, _make_keyed(n.PKEY_DISABLE_WRITE)),
    "pkey-no-access-rw": Region(n.RW, ANONYMOUS, _make_keyed(n.PKEY_DISABLE_ACCESS)),
    "anon-huge-r": Region(n.R, ANONYMOUS, _make_huge),
}
