"""The initial RAM file system of a guest: PID 1, the modules it loads, and a console to start with.

The archive is cpio's "newc" form, which the kernel unpacks itself (``Documentation/driver-api/early-userspace/
buffer-format.rst``). It is written without compression: at some 60 KB there is nothing to gain. The same input
gives the same bytes, always, because a run records the digest: no times, no owners, inode numbers in order.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

MODULES = "modules"


@dataclass(frozen=True)
class Entry:
    """One member of the archive; ``mode`` holds type and permissions, ``device`` is (major, minor)."""

    name: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _member(inode: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    fields = (
        inode,
        entry.mode,
        0,  # uid
        0,  # gid
        1,  # links
        0,  # mtime
        len(entry.content),
        0,  # major and minor of the device that holds the file
        0,
        *entry.device,
        len(name),
        0,  # checksum, unused in this form
    )
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name) + _padded(entry.content)


def cpio(entries: Iterable[Entry]) -> bytes:
    """Write a newc archive of the entries, in their order (a directory comes before what it holds)."""
    members = [_member(inode, entry) for inode, entry in enumerate(entries, start=1)]
    return b"".join(members) + _member(0, Entry("TRAILER!!!", 0))


def initramfs(init: bytes, modules: Iterable[tuple[str, bytes]] = ()) -> bytes:
    """Return the archive a guest boots from.

    ``init`` is PID 1's static ELF; ``modules`` are (file name, ELF bytes) in loading order, which their names
    in the archive keep (``/modules/00-virtio.ko``). The kernel opens ``/dev/console`` for PID 1 before
    anything is mounted, hence the device node.
    """
    directory, program, plain = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755, stat.S_IFREG | 0o644
    return cpio(
        [
            Entry("dev", directory),
            Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
            Entry(MODULES, directory),
            *(Entry(f"{MODULES}/{n:02d}-{name}", plain, content) for n, (name, content) in enumerate(modules)),
            Entry("init", program, init),
        ]
    )
