"""The calls. Each takes a window and answers what the kernel did; those that say so answer with an address."""

import errno
import os
import struct

import _kernel

from crosscheck.window import DESTINATION, SOURCE_FILL, StepFailed, need, new_object, pkey_alloc
from guest import numbers as n
from guest.calls import PAGE, Answer, syscall

TAG = 0xAB << 56
AT_HWCAP2, HWCAP2_BTI, HWCAP2_MTE = 26, 1 << 17, 1 << 18
PROT_BTI, PROT_MTE = 0x10, 0x20
EVERY_BIT = (1 << 64) - 1
MOVE = n.MREMAP_MAYMOVE | n.MREMAP_FIXED
REPLACE = n.MAP_FIXED | n.MAP_PRIVATE


class Operation:
    """``perform(window)`` makes the call; ``prepare(window)`` comes before the sealing.

    ``address``: a success is an address. ``seals``: it seals by itself, so that seals are looked for in both halves.
    """

    def __init__(self, family, perform, prepare=None, *, address=False, seals=False):
        self.family, self.perform, self.prepare = family, perform, prepare
        self.address, self.seals = address, seals


def tagged(w, address):
    """The address with a tag in its top byte, which only arm64 ignores."""
    if not n.ARM64:
        raise StepFailed("tagged pointers", errno.EOPNOTSUPP)
    return address | TAG


def need_tags(w):
    """Ask in the set-up, so that the half ends there."""
    tagged(w, w.start)


def offered(bit, what):
    """A ``prepare`` that ends the half where the kernel does not offer what a bit of AT_HWCAP2 stands for."""

    def prepare(w):
        with open("/proc/self/auxv", "rb") as file:  # noqa: PTH123 - pathlib takes long to import
            entries = dict(struct.iter_unpack("QQ", file.read()))
        if not (n.ARM64 and entries.get(AT_HWCAP2, 0) & bit):
            raise StepFailed(what, errno.EOPNOTSUPP)

    return prepare


def _mseal(flags=0, offset=0, length=None):
    """mseal of the range, with one argument wrong or otherwise."""

    def perform(w):
        long = w.length if length is None else length(w) if callable(length) else length
        return syscall("mseal", w.start + offset, long, flags)

    return Operation("arguments", perform, seals=True)


ARGUMENTS = {
    "mseal": _mseal(),
    "mseal-flags-1": _mseal(flags=1),
    "mseal-flags-high": _mseal(flags=1 << 63),
    "mseal-flags-bit32": _mseal(flags=1 << 32),
    "mseal-flags-all": _mseal(flags=EVERY_BIT),
    "mseal-flags-empty": _mseal(flags=1, length=0),
    "mseal-flags-unaligned": _mseal(flags=1, offset=1),
    "mseal-unaligned-1": _mseal(offset=1),
    "mseal-unaligned-2048": _mseal(offset=2048),
    "mseal-unaligned-empty": _mseal(offset=1, length=0),
    "mseal-empty": _mseal(length=0),
    "mseal-less-one-byte": _mseal(length=lambda w: w.length - 1),
    "mseal-one-byte-more": _mseal(length=lambda w: w.short),
    "mseal-length-wraps": _mseal(length=EVERY_BIT),
    "mseal-end-overflows": _mseal(length=(1 << 64) - PAGE),
    "mseal-end-is-zero": _mseal(length=lambda w: (1 << 64) - w.start),
    "mseal-beyond-task": _mseal(length=1 << 62),
    "mseal-page": _mseal(length=PAGE),
    "mseal-tagged": Operation(
        "arguments", lambda w: syscall("mseal", tagged(w, w.start), w.length, 0), need_tags, seals=True
    ),
}

MUNMAP = {
    "munmap": Operation("munmap", lambda w: syscall("munmap", w.start, w.length)),
    "munmap-short": Operation("munmap", lambda w: syscall("munmap", w.start, w.short)),
    "munmap-far": Operation("munmap", lambda w: syscall("munmap", w.start - 8 * w.unit, w.length + 16 * w.unit)),
    "munmap-tagged": Operation("munmap", lambda w: syscall("munmap", tagged(w, w.start), w.length), need_tags),
}


def _map(prot, flags, kind=None):
    """mmap over the range, of anonymous memory or of a new object."""

    def prepare(w):
        if kind:
            w.other = new_object(kind, "other", w.units)

    def perform(w):
        return syscall("mmap", w.start, w.length, prot, flags, w.other, 0)

    return Operation("mmap-fixed", perform, prepare, address=True)


def _map_again(w):
    """The region's own object at its own place: nothing but the mapping itself would be new."""
    return syscall("mmap", w.start, w.length, w.prot, REPLACE, w.fd, w.start - w.base)


MMAP_FIXED = {
    "mmap-fixed-anon": _map(n.RW, REPLACE | n.MAP_ANONYMOUS),
    "mmap-fixed-none": _map(n.PROT_NONE, REPLACE | n.MAP_ANONYMOUS | n.MAP_NORESERVE),
    "mmap-fixed-shared": _map(n.RW, n.MAP_FIXED | n.MAP_SHARED | n.MAP_ANONYMOUS),
    "mmap-fixed-file": _map(n.R, REPLACE, "file"),
    "mmap-fixed-file-none": _map(n.PROT_NONE, REPLACE, "file"),
    "mmap-fixed-file-shared": _map(n.RW, n.MAP_FIXED | n.MAP_SHARED, "file"),
    "mmap-fixed-memfd": _map(n.RW, n.MAP_FIXED | n.MAP_SHARED, "memfd"),
    "mmap-fixed-again": Operation("mmap-fixed", _map_again, address=True),
    "mmap-noreplace": _map(n.RW, n.MAP_FIXED_NOREPLACE | n.MAP_PRIVATE | n.MAP_ANONYMOUS),
}


def _remap(flags, grow=0, prepare=None, place=lambda w: w.start):
    """mremap of the range to so many units more, to a free place where the flags want one."""

    def perform(w):
        return syscall("mremap", place(w), w.length, w.length + grow * w.unit, flags, DESTINATION)

    return Operation("mremap", perform, prepare, address=True)


def _double(flags):
    return Operation("mremap", lambda w: syscall("mremap", w.start, 0, w.length, flags, DESTINATION), address=True)


def _map_source(w):
    where = (DESTINATION, w.length, n.RW, n.MAP_PRIVATE | n.MAP_ANONYMOUS | n.MAP_FIXED_NOREPLACE, -1, 0)
    w.source = need(syscall("mmap", *where), "mmap of a source")
    _kernel.write(w.source, bytes([SOURCE_FILL]) * w.length)


def _onto(flags, grow=0):
    """mremap of other memory onto the range."""

    def perform(w):
        return syscall("mremap", w.source, w.length - grow * w.unit, w.length, flags, w.start)

    return Operation("mremap", perform, _map_source, address=True)


MREMAP = {
    "mremap-move": _remap(MOVE),
    "mremap-move-shrink": _remap(MOVE, grow=-1),
    "mremap-move-grow": _remap(MOVE, grow=1),
    "mremap-shrink": _remap(0, grow=-1),
    "mremap-expand": _remap(0, grow=1),
    "mremap-expand-move": _remap(n.MREMAP_MAYMOVE, grow=1),
    "mremap-same": _remap(0),
    "mremap-dontunmap": _remap(n.MREMAP_MAYMOVE | n.MREMAP_DONTUNMAP),
    "mremap-dontunmap-fixed": _remap(MOVE | n.MREMAP_DONTUNMAP),
    "mremap-double": _double(n.MREMAP_MAYMOVE),
    "mremap-double-fixed": _double(MOVE),
    "mremap-onto": _onto(MOVE),
    "mremap-onto-grow": _onto(MOVE, grow=1),
    "mremap-onto-dontunmap": _onto(MOVE | n.MREMAP_DONTUNMAP),
    "mremap-tagged-shrink": _remap(0, grow=-1, prepare=need_tags, place=lambda w: tagged(w, w.start)),
}


def _protect(prot, prepare=None):
    return Operation("mprotect", lambda w: syscall("mprotect", w.start, w.length, prot), prepare)


def _protect_key(prot, key):
    return Operation("mprotect", lambda w: syscall("pkey_mprotect", w.start, w.length, prot, key))


def _new_key(w):
    w.other = pkey_alloc(0)


MPROTECT = {
    "mprotect-none": _protect(n.PROT_NONE),
    "mprotect-r": _protect(n.R),
    "mprotect-rw": _protect(n.RW),
    "mprotect-rx": _protect(n.RX),
    "mprotect-rwx": _protect(n.RWX),
    "mprotect-w": _protect(n.PROT_WRITE),
    "mprotect-x": _protect(n.PROT_EXEC),
    "bti-mprotect": _protect(n.RX | PROT_BTI, offered(HWCAP2_BTI, "branch target identification")),
    "mte-mprotect": _protect(n.RW | PROT_MTE, offered(HWCAP2_MTE, "memory tagging")),
    "mprotect-same": Operation("mprotect", lambda w: syscall("mprotect", w.start, w.length, w.prot)),
    "mprotect-short": Operation("mprotect", lambda w: syscall("mprotect", w.start, w.short, n.PROT_NONE)),
    "pkey-mprotect-any": _protect_key(n.RW, -1),
    "pkey-mprotect-default": _protect_key(n.PROT_NONE, 0),
    "pkey-mprotect-new": Operation(
        "mprotect", lambda w: syscall("pkey_mprotect", w.start, w.length, n.R, w.other), _new_key
    ),
    "mprotect-tagged": Operation(
        "mprotect", lambda w: syscall("mprotect", tagged(w, w.start), w.length, n.PROT_NONE), need_tags
    ),
}

DISCARDS = {
    "dontneed": n.MADV_DONTNEED,
    "free": n.MADV_FREE,
    "dontneed-locked": n.MADV_DONTNEED_LOCKED,
    "remove": n.MADV_REMOVE,
    "dontfork": n.MADV_DONTFORK,
    "wipeonfork": n.MADV_WIPEONFORK,
    "guard-install": n.MADV_GUARD_INSTALL,
}


def _advise(advice):
    return Operation("madvise", lambda w: syscall("madvise", w.start, w.length, advice))


def _advise_process(advice, pieces=lambda w: [(w.start, w.length)]):
    """process_madvise on ourselves; that all bytes were advised is told as 0."""

    def prepare(w):
        w.other = need(syscall("pidfd_open", os.getpid(), 0), "pidfd_open")

    def perform(w):
        ranges = pieces(w)
        vector = b"".join(struct.pack("QQ", *piece) for piece in ranges)
        answer = syscall("process_madvise", w.other, vector, len(ranges), advice, 0)
        return Answer(0) if answer == w.length else answer

    return Operation("process-madvise", perform, prepare)


def _unit_by_unit(w):
    return [(at, w.unit) for at in range(w.start, w.start + w.length, w.unit)]


MADVISE = {
    **{f"madvise-{name}": _advise(advice) for name, advice in DISCARDS.items()},
    "madvise-dontneed-tagged": Operation(
        "madvise", lambda w: syscall("madvise", tagged(w, w.start), w.length, n.MADV_DONTNEED), need_tags
    ),
    **{f"process-madvise-{name}": _advise_process(advice) for name, advice in DISCARDS.items()},
    "process-madvise-ranges-dontneed": _advise_process(n.MADV_DONTNEED, _unit_by_unit),
}

OPERATIONS = {**ARGUMENTS, **MUNMAP, **MMAP_FIXED, **MREMAP, **MPROTECT, **MADVISE}
