"""Files of a run that may come from elsewhere: as much of them as any run of ours writes, and not more.

A file may lie there packed, ``observations.jsonl.zst`` for ``observations.jsonl``: every reader of evidence comes here.
docs/internals/guests.md has the table of all bounds.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from harness.model.atomic_files import write_atomically
from harness.model.unzstd import unpacked

JOURNAL_LIMIT = 256 << 20  # bytes: a payload may write 64 MiB, twice; a suite writes 3 MiB
STORED = 64 << 20  # bytes of run.json, plan.json, verdicts.json, report.html: a run of a thousand cells has less
_CHUNK = 1 << 20
_REMEDY = "copy it again from where it is whole, or run the cell again"


def packed(path: Path) -> Path:
    """Where a file lies when it is packed."""
    return path.with_name(f"{path.name}.zst")


def is_stored(path: Path) -> bool:
    """Say whether a file is there, as it is or packed."""
    return path.is_file() or packed(path).is_file()


@contextmanager
def open_stored(path: Path) -> Iterator[BinaryIO]:
    """Open a file as it is, or packed where it is not there. Raises ``OSError``, also while it is read, for a packed
    one that is damaged or cut off."""
    if path.is_file() or not packed(path).is_file():
        with path.open("rb") as file:
            yield file
        return
    with packed(path).open("rb") as file, unpacked(file) as stream:
        try:
            yield cast(BinaryIO, stream)
        except (EOFError, zstandard.ZstdError) as problem:
            what = str(problem) if isinstance(problem, EOFError) else f"it is damaged: {problem}"
            raise OSError(errno.EIO, f"{what}; {_REMEDY}", str(packed(path))) from problem


def read_stored(path: Path, limit: int = STORED) -> bytes:
    """Read a file of a run. Raises ``OSError``, also where it is longer than that."""
    with open_stored(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, too_long(limit), str(path))
    return data


def too_long(limit: int) -> str:
    """What is said of a file of a run that is longer than ``limit``."""
    return f"it has more than {limit >> 20} MiB, which no run writes"


def stored_sha256(path: Path) -> str:
    """The sha256 of what is in a packed file, which is that of the file it was. Raises ``OSError``."""
    digest, read = hashlib.sha256(), 0
    with open_stored(path) as file:
        while (part := file.read(_CHUNK)) and read <= JOURNAL_LIMIT:
            digest.update(part)
            read += len(part)
    return digest.hexdigest()


def pack(path: Path) -> bool:
    """Pack a file, if it is there and not packed yet. Killed at any time, one of both is whole. Raises ``OSError``."""
    if not path.is_file() or path.is_symlink():
        return False
    write_atomically(packed(path), zstandard.ZstdCompressor(level=10, write_checksum=True).compress(path.read_bytes()))
    path.unlink()
    return True
