"""The store: bytes by their sha256, and small JSON records that say what they are, under the user's cache directory.

``blobs/ab/abcd…``  files named by the digest of what is in them, read-only
``records/…``       JSON: one file for each kernel build
``locks/…``         flock(2) targets: two runs at once never do the same work twice, nor see half of it
``work/…``          scratch on the same file system, so that finished files are renamed into place
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import platformdirs

from harness.errors import StoreError

SETTING = "SEALMATRIX_CACHE"
_STALE_SECONDS = 24 * 3600
_REMEDIES = {
    errno.ENOSPC: f"no space left; free some, or set {SETTING} to a directory with room",
    errno.EDQUOT: f"disk quota exceeded; free some, or set {SETTING} to a directory with room",
    errno.EFBIG: f"file size limit exceeded (ulimit -f); raise it, or set {SETTING} elsewhere",
    errno.EACCES: f"permission denied; set {SETTING} to a directory you may write",
    errno.EPERM: f"not permitted; set {SETTING} to a directory you may write",
    errno.EROFS: f"read-only file system; set {SETTING} to a directory you may write",
}


def default_root() -> Path:
    """Return the directory ``SEALMATRIX_CACHE`` names, or the user's own cache directory for this project."""
    setting = os.environ.get(SETTING)
    return Path(setting).absolute() if setting else Path(platformdirs.user_cache_dir("sealmatrix"))


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` into one ``StoreError`` line about ``path`` with the remedy."""
    try:
        yield
    except OSError as error:
        reason = _REMEDIES.get(error.errno or 0, error.strerror or str(error))
        raise StoreError(f"{path}: {reason}") from None


class Store:
    """A store rooted at ``root``, which need not exist yet. Safe for several threads and processes at once."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()
        self._verified: set[str] = set()
        self._guard = threading.Lock()

    def find(self, digest: str) -> Path | None:
        """Return the file with this sha256, or None. A damaged file counts as absent and is removed.

        Digests are verified once in a process: a disk that lies would otherwise decide a verdict.
        """
        path = self._blob(digest)
        with telling(path), self._guard:
            if not path.is_file():
                return None
            if digest not in self._verified:
                if file_sha256(path) != digest:
                    path.unlink()
                    return None
                self._verified.add(digest)
            return path

    def holds(self, digest: str) -> bool:
        """Say whether a file of this name is there, without reading it."""
        path = self._blob(digest)
        with telling(path):
            return path.is_file()

    def put(self, data: bytes) -> str:
        """Store bytes and return their sha256."""
        digest = hashlib.sha256(data).hexdigest()
        if self.find(digest) is None:
            _write_durably(self._blob(digest), data)
        return digest

    def take(self, file: Path, digest: str) -> Path:
        """Move a file whose sha256 is already verified to be ``digest`` into the store; it must lie in ``work/``."""
        path = self._blob(digest)
        with telling(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
            file.chmod(0o444)
            file.replace(path)
        return path

    def write_record(self, name: str, content: dict[str, Any]) -> None:
        """Store a JSON record; ``name`` may hold ``/``."""
        _write_durably(self._record(name), json.dumps(content, indent=1, sort_keys=True).encode() + b"\n", 0o644)

    def read_record(self, name: str) -> dict[str, Any] | None:
        """Return a record, or None when it is absent or unreadable: everything recorded can be found out again."""
        return _read_object(self._record(name))

    def records(self, folder: str) -> Iterator[dict[str, Any]]:
        """Yield all readable records of a folder, by name."""
        path = self.root / "records" / folder
        with telling(path):
            files = sorted(path.glob("*.json")) if path.is_dir() else []
        for file in files:
            record = _read_object(file)
            if record is not None:
                yield record

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the named lock, waiting for whoever holds it now, in this or another process."""
        with self._lock_file(name) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield

    def try_lock(self, name: str, holder: str = "") -> ExitStack | None:
        """Take the named lock and return what gives it back, or None while somebody else holds it: ``held_by``."""
        with ExitStack() as stack:
            descriptor = stack.enter_context(self._lock_file(name))
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, holder.encode(), 0)
            return stack.pop_all()

    def held_by(self, name: str) -> str:
        """Who took the named lock last, in the words given to ``try_lock``."""
        with self._lock_file(name) as descriptor:
            return os.pread(descriptor, 1024, 0).decode("utf-8", "replace")

    @contextmanager
    def _lock_file(self, name: str) -> Iterator[int]:
        path = self.root / "locks" / hashlib.sha256(name.encode()).hexdigest()[:32]
        with telling(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield an empty folder on the store's own file system, gone afterwards."""
        base = self.root / "work"
        with telling(base):
            base.mkdir(parents=True, exist_ok=True)
            _sweep(base)
            folder = Path(tempfile.mkdtemp(dir=base))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _blob(self, digest: str) -> Path:
        return self.root / "blobs" / digest[:2] / digest

    def _record(self, name: str) -> Path:
        return self.root / "records" / f"{name}.json"


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's contents, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file under a temporary name, flush it to the disk and rename it. Raises ``OSError``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary = Path(name)
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _write_durably(path: Path, data: bytes, mode: int = 0o444) -> None:
    with telling(path):
        write_atomically(path, data, mode)


def _read_object(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _sweep(base: Path) -> None:
    """Remove what killed processes left behind."""
    limit = time.time() - _STALE_SECONDS
    for folder in base.iterdir():
        if folder.lstat().st_mtime < limit:
            shutil.rmtree(folder, ignore_errors=True)
