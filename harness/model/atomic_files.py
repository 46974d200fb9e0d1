"""Writing a file so that everybody sees the old one or the new one whole, and nothing else stays behind."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from harness.errors import StoreError


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file under a temporary name, flush it to the disk and rename it; the folder is made where it is not
    there. Whatever ends this, an interrupt too, leaves no temporary file. Raises ``OSError``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a file of a run, or a report, like ``write_atomically``. Raises ``StoreError``."""
    try:
        write_atomically(path, text.encode())
    except OSError as problem:
        raise StoreError(f"{path}: cannot be written: {problem.strerror}") from problem


def write_output(path: Path, text: str) -> None:
    """Write a file that a person named. A link stays one and what it leads to is written; a pipe or a device
    (``/dev/stdout``) is written into, and never replaced. Raises ``StoreError``."""
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                file.write(text.encode())
        else:
            target = Path(os.path.realpath(path))
            mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o644
            write_atomically(target, text.encode(), mode)
    except OSError as problem:
        raise StoreError(f"{path}: cannot be written: {problem.strerror}") from problem
