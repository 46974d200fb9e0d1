"""Which QEMU this is: its version in its own words and the digest of its bytes, found out once for each file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from harness.guests.accel import emulator_version
from harness.kernels.store import default_root, file_sha256
from harness.model.atomic_files import write_atomically
from harness.model.json_text import parse_json


@dataclass(frozen=True)
class Identity:
    """One QEMU binary. ``sha256`` is "" where it cannot be read."""

    version: str
    sha256: str


def identify(program: Path, folder: Path | None = None) -> Identity:
    """Return what a QEMU is. Asking it takes as long as restoring a guest, so the answer is kept in the cache.

    It is kept for the file as it lies there: another path, inode, size or time, and it is asked again.
    """
    try:
        real = program.resolve()
        status = real.stat()
    except OSError:
        return Identity(emulator_version(program), "")
    state = (str(real), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    key = sha256(json.dumps(state).encode()).hexdigest()[:24]
    path = (folder or default_root() / "emulators") / f"{key}.json"
    return _read(path) or _find_out(program, real, path)


def _read(path: Path) -> Identity | None:
    try:
        return Identity(**parse_json(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _find_out(program: Path, real: Path, path: Path) -> Identity:
    try:
        found = Identity(emulator_version(program), file_sha256(real))
        if found.version != "unknown":
            write_atomically(path, json.dumps(asdict(found)).encode())
    except OSError:  # unreadable, or a full disk: the next guest will just ask again
        return Identity(emulator_version(program), "")
    return found
