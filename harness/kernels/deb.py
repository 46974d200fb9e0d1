"""Reading single files out of a .deb, without unpacking it and without dpkg.

A .deb is an ar(5) archive whose member ``data.tar.*`` holds the files (deb(5)). The tar is streamed and left as soon
as the caller has what it wants: an image lies near the front of a package that is mostly modules.
"""

from __future__ import annotations

import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from gzip import BadGzipFile, GzipFile
from pathlib import Path
from typing import IO, cast

import zstandard

from harness.errors import KernelUnavailable

MAX_FILE = 512 * 1024 * 1024
_AR_MAGIC = b"!<arch>\n"
_DAMAGE = (
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    zstandard.ZstdError,
    BadGzipFile,
    EOFError,
    ValueError,
    OverflowError,
)


class _Window(io.RawIOBase):
    """``size`` bytes of an open file, from where it stands."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer))
        data = self.file.read(min(len(view), self.left))
        view[: len(data)] = data
        self.left -= len(data)
        return len(data)


def files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (name, contents) of each regular file in a package, in its own order; names have no leading ``./``.

    Raises ``KernelUnavailable`` naming the package when it is damaged.
    """
    try:
        with ExitStack() as stack:
            data = _data_member(stack.enter_context(path.open("rb")), stack)
            archive = stack.enter_context(tarfile.open(fileobj=data, mode="r|"))
            for member in archive:
                if not member.isreg() or member.size > MAX_FILE:
                    continue
                content = archive.extractfile(member)
                assert content is not None
                yield member.name.removeprefix("./"), content.read()
    except _DAMAGE as error:
        raise KernelUnavailable(f"{path.name}: damaged package: {' '.join(str(error).split())}") from None


def _data_member(file: IO[bytes], stack: ExitStack) -> IO[bytes]:
    if file.read(8) != _AR_MAGIC:
        raise ValueError("not a .deb (no ar archive)")
    while header := file.read(60):
        if len(header) < 60 or header[58:] != b"`\n":
            raise ValueError("its ar header is broken")
        name, size = header[:16].decode("ascii", "replace").rstrip(" /"), int(header[48:58])
        if name.startswith("data.tar"):
            return _unpacked(name, io.BufferedReader(_Window(file, size), 1 << 16), stack)
        file.seek(size + size % 2, io.SEEK_CUR)
    raise ValueError("it has no data.tar")


def _unpacked(name: str, raw: io.BufferedReader, stack: ExitStack) -> IO[bytes]:
    match name.removeprefix("data.tar"):
        case "":
            return raw
        case ".xz" | ".lzma":
            return stack.enter_context(lzma.LZMAFile(raw))
        case ".gz":
            return stack.enter_context(cast("IO[bytes]", GzipFile(fileobj=raw)))
        case ".zst":
            unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 27)
            return cast("IO[bytes]", stack.enter_context(unpacker.stream_reader(raw)))
        case other:
            raise ValueError(f"unknown compression {other!r}")
