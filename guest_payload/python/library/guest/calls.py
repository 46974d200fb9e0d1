"""Memory and the system calls on it. Nothing here raises because a kernel refuses: the refusal is the answer."""

import os
import struct

import _kernel

from guest import numbers as n

PAGE = os.sysconf("SC_PAGESIZE")
Fault = _kernel.Fault
FILL = 0xA0  # what page 0 of new memory holds; page i holds a0+i
# How a child ended that returned no answer (processes.in_child): texts that an answer may be compared with, too.
ENDINGS = ("killed by ", "no end in ", "raised ", "ended by ", "exited with status ")


class Answer(int):
    """What a system call returned: 0 or more, or minus the error's number. ``str()`` is ``0`` or ``EPERM``.

    A refusal equals its error's name and number, as well as that number with a minus.
    """

    @property
    def errno(self):
        """The error's number, 0 where there was none."""
        return -int(self) if -4096 < self < 0 else 0

    def __eq__(self, other):
        if isinstance(other, str):
            return not other.startswith(ENDINGS) and self.errno == n.error_number(other)
        if isinstance(other, Answer):
            return int(self) == int(other)
        return int(self) == other or (self.errno != 0 and self.errno == other)

    def __ne__(self, other):
        return not self == other

    def __hash__(self):
        raise TypeError("an answer cannot be looked up in a set or a dict: compare it with ==, or look up str(answer)")

    def __str__(self):
        return n.error_name(self.errno) if self.errno else str(int(self))

    __repr__ = __str__

    def told(self):
        """As a fact: a number, or the error's name."""
        return str(self) if self.errno else int(self)


class SetupFailed(Exception):
    """Memory that a scenario needs could not be had."""


class Area:
    """A range of memory, counted in pages: ``area[1]`` and ``area[1:]`` are areas too, ``len(area)`` is in pages."""

    __slots__ = ("length", "start")

    def __init__(self, start, length):
        self.start, self.length = start, length

    @property
    def end(self):
        """The first address behind it."""
        return self.start + self.length

    def __len__(self):
        return (self.length + PAGE - 1) // PAGE

    def __getitem__(self, which):
        pages = range(len(self))[which]
        if isinstance(pages, int):
            pages = range(pages, pages + 1)
        if pages.step != 1 or not pages:
            raise ValueError("a part of an area is one or more pages in a row")
        return Area(self.start + pages.start * PAGE, len(pages) * PAGE)

    def grown(self, pages):
        """The same area with so many pages more (or fewer) at its end."""
        return Area(self.start, self.length + pages * PAGE)

    def read(self, length=None):
        """Bytes of it; raises ``Fault`` where they cannot be read."""
        return _kernel.read(self.start, self.length if length is None else length)

    def write(self, data, offset=0):
        """Put bytes into it; raises ``Fault`` where that cannot be done."""
        _kernel.write(self.start + offset, data)

    def fill(self):
        """Fill page *i* with a0+*i*; what comes after ff is 01, for 00 is what a discarded page holds."""
        for i in range(len(self)):
            _kernel.write(self.start + i * PAGE, bytes([(FILL + i - 1) % 255 + 1]) * PAGE)
        return self

    def __eq__(self, other):
        """An area is the answer of a call that was not refused: it is no error. Raises for a word that is none."""
        if isinstance(other, str):
            if not other.startswith(ENDINGS):
                n.error_number(other)
            return False
        if isinstance(other, Area):
            return (self.start, self.length) == (other.start, other.length)
        return NotImplemented

    def __hash__(self):
        return hash((self.start, self.length))

    def __repr__(self):
        return f"an area of {len(self)} pages"


def syscall(call, *arguments):
    """Make a system call by name or number. An area stands for two arguments, address and length.

    Raises ``ValueError`` for a name that is no system call's on this machine.
    """
    plain = []
    for argument in arguments:
        plain += [argument.start, argument.length] if isinstance(argument, Area) else [argument]
    return Answer(_kernel.syscall(n.call_number(call) if isinstance(call, str) else call, *plain))


def mmap(where, prot=n.RW, flags=n.MAP_PRIVATE | n.MAP_ANONYMOUS, fd=-1, offset=0):
    """Map an area, or so many pages wherever the kernel likes. Returns the area, or the refusal."""
    area = where if isinstance(where, Area) else Area(0, where * PAGE)
    return _mapped(syscall("mmap", area, prot, flags, fd, offset), area.length)


def mremap(area, pages, flags=0, to=0):
    """Move or resize; ``to`` counts with MREMAP_FIXED. Returns the new area, or the refusal."""
    target = to.start if isinstance(to, Area) else to
    return _mapped(syscall("mremap", area, pages * PAGE, flags, target), pages * PAGE)


def _mapped(answer, length):
    return answer if answer.errno else Area(int(answer), length)


def mseal(area, flags=0):
    """Seal an area."""
    return syscall("mseal", area, flags)


def munmap(area):
    """Unmap an area."""
    return syscall("munmap", area)


def mprotect(area, prot):
    """Change the protection of an area."""
    return syscall("mprotect", area, prot)


def madvise(area, advice):
    """Give advice on an area."""
    return syscall("madvise", area, advice)


def process_madvise(areas, advice, pid=None):
    """Give advice on areas of a process, this one if none is named. All bytes advised count as 0."""
    areas = [areas] if isinstance(areas, Area) else list(areas)
    pidfd = syscall("pidfd_open", os.getpid() if pid is None else pid, 0)
    if pidfd.errno:
        return pidfd
    vector = b"".join(struct.pack("QQ", area.start, area.length) for area in areas)
    answer = syscall("process_madvise", int(pidfd), vector, len(areas), advice, 0)
    os.close(pidfd)
    return Answer(0) if answer == sum(area.length for area in areas) else answer


def pages(count, prot=n.RW, flags=n.MAP_PRIVATE | n.MAP_ANONYMOUS, fd=-1, at=None):
    """So many new pages, page *i* filled with a0+*i*, then protected. Raises ``SetupFailed``.

    They are mapped at ``at``, where nothing may be; by default in a place far from everything else.
    """
    at = _places.take(count * PAGE) if at is None else at
    flags |= n.MAP_FIXED_NOREPLACE
    area = need(mmap(Area(at, count * PAGE), n.RW, flags, fd), "mmap").fill()
    if prot != n.RW:
        need(mprotect(area, prot), "mprotect")
    return area


class _Places:
    """Where pages() puts memory: far from all else and from each other, the same on every kernel.

    So nothing merges with what Python has mapped, and there is room to grow. All are well below the end of an address
    space of 39 bits.
    """

    FIRST, END, APART = 0x500000000, 0x4000000000, 0x10000000

    def __init__(self):
        self._next = self.FIRST

    def take(self, length):
        """The next place for so many bytes."""
        at, self._next = self._next, self._next + (length // self.APART + 1) * self.APART
        if self._next > self.END:
            raise SetupFailed("pages: there is no place left; name an address of your own: pages(…, at=ADDRESS)")
        return at


_places = _Places()


def memfd(pages_in_it, name="memfd"):
    """A memfd of so many pages of zeroes; the descriptor. Raises ``SetupFailed``."""
    fd = need(syscall("memfd_create", name.encode() + b"\0", 0), "memfd_create")
    need(syscall("ftruncate", fd, pages_in_it * PAGE), "ftruncate")
    return int(fd)


def need(answer, what):
    """The answer itself, where it is no refusal. Raises ``SetupFailed``: without this, the scenario asks nothing."""
    if isinstance(answer, Answer) and answer.errno:
        raise SetupFailed(f"{what}: {answer}")
    return answer
