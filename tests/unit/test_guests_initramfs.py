"""The initial RAM file system, read back by a reader of its own."""

from __future__ import annotations

import shutil
import stat
import subprocess

import pytest

from harness.guests.initramfs import Entry, cpio, initramfs
from harness.guests.pid1 import keep_archive


def members(archive: bytes) -> dict[str, tuple[int, bytes, tuple[int, int]]]:
    """Name → (mode, content, device), read as the kernel reads it: fixed fields, everything padded to four."""
    found, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, device, length = fields[1], fields[6], (fields[9], fields[10]), fields[11]
        name = archive[at + 110 : at + 110 + length - 1].decode()
        at = -(-(at + 110 + length) // 4) * 4
        if name == "TRAILER!!!":
            assert at == len(archive)
            return found
        found[name] = (mode, archive[at : at + size], device)
        at = -(-(at + size) // 4) * 4


@pytest.mark.parametrize("size", range(9))
def test_whatever_the_lengths_the_members_come_back(size):
    found = members(cpio([Entry("n" * (size + 1), stat.S_IFREG | 0o644, b"x" * size), Entry("b", stat.S_IFDIR)]))
    assert list(found) == ["n" * (size + 1), "b"]
    assert found["n" * (size + 1)] == (stat.S_IFREG | 0o644, b"x" * size, (0, 0))


def test_what_a_guest_boots_from():
    found = members(initramfs(b"\x7fELF init", [("virtio.ko", b"one"), ("virtio_console.ko", b"two")]))
    assert found["init"] == (stat.S_IFREG | 0o755, b"\x7fELF init", (0, 0))
    assert found["dev/console"] == (stat.S_IFCHR | 0o600, b"", (5, 1))
    assert [name for name in found if name.startswith("modules/")] == [
        "modules/00-virtio.ko",
        "modules/01-virtio_console.ko",
    ]
    assert list(found).index("dev") < list(found).index("dev/console")


def test_the_same_input_gives_the_same_bytes():
    assert initramfs(b"init", [("a.ko", b"a")]) == initramfs(b"init", [("a.ko", b"a")])
    assert initramfs(b"init", [("a.ko", b"a"), ("b.ko", b"b")]) != initramfs(b"init", [("b.ko", b"b"), ("a.ko", b"a")])


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
def test_cpio_itself_reads_it():
    done = subprocess.run(["cpio", "-t"], input=initramfs(b"init"), capture_output=True, check=True)
    assert done.stdout.split() == [b"dev", b"dev/console", b"modules", b"init"]


def test_an_archive_that_was_changed_is_written_again(tmp_path):
    """Also where its size is as it was."""
    content = initramfs(b"\x7fELF init")
    archive = keep_archive(content, (), None, tmp_path)
    archive.path.write_bytes(content.replace(b"init", b"1nit"))
    again = keep_archive(content, (), None, tmp_path)
    assert (again, archive.path.read_bytes()) == (archive, content)
