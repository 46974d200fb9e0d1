"""What kernels, modules and packages are compressed with, and how it is undone."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable

import zstandard

from harness.errors import ImageError
from harness.kernels import lz4
from harness.model.unzstd import unpacked

MAX_UNPACKED = 512 * 1024 * 1024

_MAGICS = {
    "gzip": b"\x1f\x8b\x08",
    "xz": b"\xfd7zXZ\0",
    "zstd": b"\x28\xb5\x2f\xfd",
    "lzma": b"\x5d\0\0",
    "bzip2": b"BZh",
    "lz4": lz4.MAGIC,
}


def compression_of(data: bytes) -> str:
    """Name the compression of ``data`` by its magic number, "" for none that we know."""
    return next((name for name, magic in _MAGICS.items() if data.startswith(magic)), "")


def decompress(data: bytes, what: str) -> bytes:
    """Undo gzip, xz, zstd, lzma, bzip2 or lz4; other bytes are returned as they are. Raises ``ImageError``."""
    name = compression_of(data)
    return undo(name, data, what) if name else data


def undo(name: str, data: bytes, what: str) -> bytes:
    """Undo one compression; bytes behind the first stream are ignored (kernels append the unpacked size)."""
    try:
        content = _DECOMPRESSORS[name](data)
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError, OSError, ValueError) as error:
        raise ImageError(f"{what} is damaged ({name}: {error})") from None
    if len(content) > MAX_UNPACKED:
        raise ImageError(f"{what} unpacks to more than {MAX_UNPACKED >> 20} MiB")
    return content


def _complete(done: bool, data: bytes) -> bytes:
    if not done and len(data) <= MAX_UNPACKED:
        raise EOFError("cut short")
    return data


def gunzip(data: bytes) -> bytes:
    """Undo gzip up to a byte more than ``MAX_UNPACKED``. Raises ``zlib.error`` or ``EOFError``."""
    stream = zlib.decompressobj(31)
    content = stream.decompress(data, MAX_UNPACKED + 1)
    return _complete(stream.eof, content)


def _unxz(data: bytes) -> bytes:
    stream = lzma.LZMADecompressor()
    content = stream.decompress(data, MAX_UNPACKED + 1)
    return _complete(stream.eof, content)


def _unbzip2(data: bytes) -> bytes:
    stream = bz2.BZ2Decompressor()
    content = stream.decompress(data, MAX_UNPACKED + 1)
    return _complete(stream.eof, content)


def _unzstd(data: bytes) -> bytes:
    # Kernels are packed with windows up to 128 MiB (zstd --ultra -22), beyond the library's default.
    with unpacked(io.BytesIO(data), window=1 << 27) as stream:
        return stream.read(MAX_UNPACKED + 1)


_DECOMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gunzip,
    "xz": _unxz,
    "lzma": _unxz,
    "zstd": _unzstd,
    "bzip2": _unbzip2,
    "lz4": lambda data: lz4.unpack(data, MAX_UNPACKED),
}
