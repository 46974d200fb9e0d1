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
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs

from harness.errors import StoreError
from harness.model.atomic_files import write_atomically
from harness.model.json_text import parse_json
from harness.processes.children import go_on

SETTING = "SEALMATRIX_CACHE"
_LOCK_SECONDS = 0.1  # between two attempts at a lock
_STALE_SECONDS = 24 * 3600
_ROOM, _PLACE = "a directory with room", "a directory you may write"
_REMEDIES = {
    errno.ENOSPC: ("no space left", "free some, or ", _ROOM),
    errno.EDQUOT: ("disk quota exceeded", "free some, or ", _ROOM),
    errno.EFBIG: ("file size limit exceeded (ulimit -f)", "raise it, or ", _ROOM),
    errno.EACCES: ("permission denied", "", _PLACE),
    errno.EPERM: ("not permitted", "", _PLACE),
    errno.EROFS: ("read-only file system", "", _PLACE),
    errno.EEXIST: ("a file is there, not a directory", "", _PLACE),
    errno.ENOTDIR: ("not a directory", "", _PLACE),
}


def default_root() -> Path:
    """Return the directory ``SEALMATRIX_CACHE`` names, or the user's own cache directory for this project."""
    setting = os.environ.get(SETTING)
    return Path(setting).absolute() if setting else Path(platformdirs.user_cache_dir("sealmatrix"))


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` into one ``StoreError`` line about ``path`` with the remedy. Only of what lies in the store
    the setting is named: it moves no results folder."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: {_what_to_do(path, error)}") from None


def _what_to_do(path: Path, error: OSError) -> str:
    code, root = error.errno or 0, default_root()
    ours = path.absolute().is_relative_to(root)
    if ours and code == errno.ENOENT and not root.is_dir():
        return f"{root} cannot be made; set {SETTING} to {_PLACE}"
    if code not in _REMEDIES:
        return error.strerror or str(error)
    what, first, other = _REMEDIES[code]
    return f"{what}; {first}{f'set {SETTING} to' if ours else 'name'} {other}"


class Store:
    """A store rooted at ``root``, which need not exist yet. Safe for several threads and processes at once."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()

    def prepare(self) -> None:
        """Make its directory. Raises ``StoreError`` where there can be none: better once than for each kernel."""
        with telling(self.root):
            self.root.mkdir(parents=True, exist_ok=True)

    def find(self, digest: str) -> Path | None:
        """Return the file with this sha256, or None. A damaged file counts as absent and is removed."""
        path = self.locate(digest)
        with telling(self._blob(digest)):
            if path is not None and file_sha256(path) != digest:
                path.unlink(missing_ok=True)
                return None
        return path

    def locate(self, digest: str) -> Path | None:
        """Return the file of this name without reading it, or None; the caller has to ``demand`` its digest."""
        path = self._blob(digest)
        with telling(path):
            return path if path.is_file() else None

    def holds(self, digest: str) -> bool:
        """Say whether a file of this name is there, without reading it."""
        return self.locate(digest) is not None

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
    def lock(self, name: str, say: Callable[[str], None] = lambda text: None) -> Iterator[None]:
        """Hold the named lock, waiting for its holder, in this or another process; ``say`` is told of that.

        Raises ``Interrupted`` where the wait is not wanted any more.
        """
        ours, told = f"process {os.getpid()}", False
        while (held := self.try_lock(name, ours)) is None:
            if not told:
                theirs = self.held_by(name)
                say(f"waiting for another sealmatrix ({theirs})" if theirs != ours else "waiting for its turn")
            told = True
            go_on(_LOCK_SECONDS)
        with held:
            yield

    def try_lock(self, name: str, holder: str = "") -> ExitStack | None:
        """Take the named lock and return what gives it back, or None while somebody else holds it: ``held_by``."""
        with ExitStack() as stack:
            descriptor = stack.enter_context(self._lock_file(name))
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            with suppress(OSError):  # a full disk; the lock is held all the same
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


class _Digests:
    """The digests of files, read once in a process for each state of a file: inode, size and times.

    A disk that lies would otherwise decide a verdict, and a large image takes longer to read than some cells to run.
    """

    # Two writes within one tick of the file system's clock have the same time: what is so young is read again.
    _YOUNG = 50_000_000

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], str] = {}

    def of(self, path: Path) -> str:
        """Raises ``OSError``."""
        with path.open("rb") as stream:
            state = _state(stream.fileno())
            if (known := self._known.get(state)) is not None:
                return known
            found = hashlib.file_digest(stream, "sha256").hexdigest()
            *_, changed = state
            if _state(stream.fileno()) == state and time.time_ns() - changed > self._YOUNG:
                self._known[state] = found
        return found


def _state(descriptor: int) -> tuple[int, ...]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


_DIGESTS = _Digests()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's contents, in hexadecimal. Raises ``OSError``."""
    return _DIGESTS.of(path)


def demand(path: Path, digest: str, what: str) -> None:
    """See that a file is what it is to be, before it is used. Raises ``StoreError``; a damaged file is removed, so that
    the next run makes or fetches it again."""
    with telling(path):
        found = file_sha256(path)
        if found != digest:
            path.unlink(missing_ok=True)
            raise StoreError(
                f"{path}: {what} has the sha256 {found[:16]} and should have {digest[:16]}; it was removed, run again"
            )


def keep_made(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Keep something we made, with its digest beside it, by which ``made`` knows it again. Raises ``OSError``."""
    write_atomically(path, data, mode)
    write_atomically(_beside(path), hashlib.sha256(data).hexdigest().encode() + b"\n")


def made(path: Path) -> str:
    """The digest of something kept by ``keep_made``; "" when it is not there, or not as it was made."""
    try:
        found = file_sha256(path)
        return found if _beside(path).read_bytes().strip() == found.encode() else ""
    except OSError:
        return ""


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _write_durably(path: Path, data: bytes, mode: int = 0o444) -> None:
    with telling(path):
        write_atomically(path, data, mode)


def _read_object(path: Path) -> dict[str, Any] | None:
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _sweep(base: Path) -> None:
    """Remove what killed processes left behind."""
    limit = time.time() - _STALE_SECONDS
    for folder in base.iterdir():
        if folder.lstat().st_mtime < limit:
            shutil.rmtree(folder, ignore_errors=True)
