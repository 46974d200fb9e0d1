"""The red team at the cache: a file that is used is what it was kept as, or it is not used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.guests.initramfs import initramfs
from harness.guests.pid1 import keep_archive
from harness.kernels.store import Store, demand, keep_made, made

CONTENT = initramfs(b"\x7fELF the program that runs first")


def one_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def one_bit_under_the_old_times(path: Path) -> None:
    was = path.stat()
    one_bit(path)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def replaced(path: Path) -> None:
    """By another file, under the same name."""
    other = path.with_name("other")
    other.write_bytes(b"x" * path.stat().st_size)
    other.replace(path)


def linked(path: Path) -> None:
    """To another file, which may be changed at any time."""
    other = path.with_name("other")
    shutil.copyfile(path, other)
    one_bit(other)
    path.unlink()
    path.symlink_to(other)


FORGERIES = (one_bit, one_bit_under_the_old_times, cut, longer, emptied, replaced, linked)
forged = pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__.replace("_", " "))
Forge = Callable[[Path], None]


def writable(path: Path) -> Path:
    path.chmod(0o644)
    return path


@forged
def test_a_stored_kernel(forge: Forge, tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = store.put(CONTENT)
    path = store.find(digest)
    assert path is not None
    forge(writable(path))
    assert store.find(digest) is None


@forged
def test_an_image_that_is_about_to_boot(forge: Forge, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(CONTENT)
    demand(path, sha256(CONTENT).hexdigest(), "the image")
    forge(path)
    with pytest.raises(StoreError, match="the image has the sha256"):
        demand(path, sha256(CONTENT).hexdigest(), "the image")


@forged
def test_a_program_that_was_built(forge: Forge, tmp_path: Path) -> None:
    path = tmp_path / "program"
    keep_made(path, CONTENT, 0o755)
    assert made(path)
    forge(path)
    assert made(path) == ""


@forged
def test_an_initial_ram_file_system(forge: Forge, tmp_path: Path) -> None:
    archive = keep_archive(CONTENT, (), None, tmp_path)
    forge(writable(archive.path))
    again = keep_archive(CONTENT, (), None, tmp_path)
    assert again.path.read_bytes() == CONTENT
