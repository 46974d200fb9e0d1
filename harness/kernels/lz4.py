"""The legacy LZ4 frame kernels are packed with (Debian's 6.1 among them), undone.

Facts from the LZ4 frame and block format documents: a magic number, then blocks, each with its packed size in four
little-endian bytes; a block is a row of sequences (literals, then a copy from what was unpacked before). Pure Python
takes 1.3 s for a 53 MB kernel, once, and a dependency less.
"""

from __future__ import annotations

MAGIC = b"\x02\x21\x4c\x18"
_MAX_BLOCK = 8 * 1024 * 1024


def unpack(data: bytes, limit: int) -> bytes:
    """Return the unpacked bytes, more than ``limit`` at most by one block. Raises ``ValueError`` for damaged data.

    Four bytes or fewer behind the last block are taken for the unpacked size kernels append, and ignored.
    """
    if not data.startswith(MAGIC):
        raise ValueError("no legacy LZ4 frame")
    unpacked = bytearray()
    position = len(MAGIC)
    while position + 4 < len(data) and len(unpacked) <= limit:
        size = int.from_bytes(data[position : position + 4], "little")
        packed = data[position + 4 : position + 4 + size]
        if len(packed) != size or not size:
            raise ValueError("a block is cut short")
        try:
            unpacked += _block(packed)
        except IndexError:
            raise ValueError("a sequence is cut short") from None
        position += 4 + size
    return bytes(unpacked)


def _block(packed: bytes) -> bytearray:
    out = bytearray()
    position, end = 0, len(packed)
    while True:
        token = packed[position]
        length, position = _length(packed, position + 1, token >> 4)
        if length:
            out += packed[position : position + length]
            position += length
        if position >= end:
            return out
        distance = packed[position] | packed[position + 1] << 8
        length, position = _length(packed, position + 2, token & 15)
        if not 0 < distance <= len(out) or len(out) + length > _MAX_BLOCK:
            raise ValueError("a sequence points outside its block")
        _copy(out, distance, length + 4)


def _length(packed: bytes, position: int, length: int) -> tuple[int, int]:
    """Return a length and the position behind it; 15 means that more bytes follow, 255 that yet more do."""
    if length == 15:
        more = 255
        while more == 255:
            more = packed[position]
            position += 1
            length += more
    return length, position


def _copy(out: bytearray, distance: int, length: int) -> None:
    start = len(out) - distance
    if distance >= length:
        out += out[start : start + length]
    else:  # the copy reads what it writes: the last bytes repeat
        out += (bytes(out[start:]) * (length // distance + 1))[:length]
