"""Zstandard, read so that a file that was cut off is an error.

The library's own stream reader ends such a file as if it were whole, with what it could unpack of it.
"""

from __future__ import annotations

import io
from typing import BinaryIO

import zstandard

_CHUNK = 1 << 10  # bytes at a time: a block of 4 may unpack to 128 KiB


class _Unpacking(io.RawIOBase):
    def __init__(self, file: BinaryIO, window: int) -> None:
        self._file, self._left = file, b""
        self._frame = zstandard.ZstdDecompressor(max_window_size=window).decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._left and not self._frame.eof:
            if not (data := self._file.read(_CHUNK)):
                raise EOFError("it is cut off")
            self._left = self._frame.decompress(data)
        part, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def unpacked(file: BinaryIO, window: int = 0) -> io.BufferedReader:
    """Read what is packed in the first frame of ``file``. ``window`` is the largest its writer may have used, 0 for the
    library's default.

    Reading raises ``EOFError`` where the frame is not complete, ``zstandard.ZstdError`` where it is damaged.
    """
    return io.BufferedReader(_Unpacking(file, window), 1 << 16)
