"""Files behind a URL: fetched once, resumable, named by the sha256 of what came, and used without a network afterwards.

``downloads/ID/`` in the store holds one file under the name it has in its URL; ``records/downloads/ID`` says which
URL that was and which bytes it gave. An unfinished file keeps its bytes, and the next attempt asks for the rest.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from harness.errors import KernelUnavailable, UsageError
from harness.kernels.archive import Saying
from harness.kernels.store import Store, file_sha256, telling
from harness.processes.children import go_on, working
from harness.secret_urls import bare_url

SCHEMES = ("http", "https", "file")
MAX_BYTES = 4 << 30
STALL_SECONDS = 30.0
"""How long a server may send nothing before it is given up; a slow one that goes on sending is not."""

_CHUNK = 1 << 20
_UNSAFE = re.compile(r"[^A-Za-z0-9._+~-]")


def is_url(word: str) -> bool:
    """Say whether a word is the address of something rather than a name or a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", word) is not None


def download(
    store: Store, url: str, say: Saying, *, sha256: str = "", offline: bool = False, stall: float = STALL_SECONDS
) -> Path:
    """Return the file behind ``url``, from the store where it is there, else fetched.

    With ``sha256`` it has to be those bytes. Raises ``UsageError`` for a URL that cannot be one, and
    ``KernelUnavailable`` for one that gives no file.
    """
    name = _checked(url)
    key = hashlib.sha256(url.encode()).hexdigest()[:32]
    record = f"downloads/{key}"
    path = store.root / "downloads" / key / name
    with store.lock(record), telling(path):
        known: Any = store.read_record(record) or {}
        if path.is_file() and known.get("sha256") == file_sha256(path) and sha256 in ("", known["sha256"]):
            return path
        if offline:
            raise KernelUnavailable(f"{bare_url(url)} is not stored, and --offline forbids fetching it")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{name}.part")
        with working(f"fetching {bare_url(url)}"):
            _fetch(url, part, say, stall)
        digest = file_sha256(part)
        if sha256 and digest != sha256:
            part.unlink()
            raise KernelUnavailable(
                f"{bare_url(url)}: has unexpected content (sha256 {digest[:16]}…, not {sha256[:16]}…)"
            )
        part.chmod(0o444)
        part.replace(path)
        store.write_record(record, {"url": bare_url(url), "sha256": digest, "bytes": path.stat().st_size})
    return path


def _checked(url: str) -> str:
    """Return the file name a URL ends in. Raises ``UsageError`` for what is no URL we can fetch."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(f"{url[:120]!r}: not a URL ({error})") from None
    if parts.scheme not in SCHEMES:
        raise UsageError(f"{bare_url(url)}: cannot fetch {parts.scheme}://; give one of {', '.join(SCHEMES)}")
    name = _UNSAFE.sub("_", unquote(parts.path.rpartition("/")[2]))[:120]
    if not name.strip("._"):
        raise UsageError(f"{bare_url(url)}: names no file; give the URL of an image or a package")
    return name


def _fetch(url: str, part: Path, say: Saying, stall: float) -> None:
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=stall) as answer:
            status = getattr(answer, "status", 200)
            resumed = have and status == http.client.PARTIAL_CONTENT
            total = int(answer.headers.get("Content-Length") or 0) + (have if resumed else 0)
            if total > MAX_BYTES:
                raise KernelUnavailable(f"{bare_url(url)}: {total} bytes are too many (at most {MAX_BYTES})")
            with part.open("ab" if resumed else "wb") as file:
                got = _copy(answer, file, have if resumed else 0, total, url, say)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            part.unlink()
            return _fetch(url, part, say, stall)
        raise KernelUnavailable(f"{bare_url(url)}: the server answered {error.code} {error.reason}") from None
    except TimeoutError:
        raise KernelUnavailable(f"{bare_url(url)}: the server sent nothing for {stall:.0f} s") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        text = f"the server sent nothing for {stall:.0f} s" if isinstance(reason, TimeoutError) else str(reason)
        raise KernelUnavailable(f"{bare_url(url)}: {text or type(error).__name__}") from None
    if total and got < total:
        raise KernelUnavailable(f"{bare_url(url)}: ended after {got} of {total} bytes; run again to fetch the rest")
    return None


def _copy(answer: Any, file: IO[bytes], got: int, total: int, url: str, say: Saying) -> int:
    name, last = urlsplit(url).path.rpartition("/")[2], -1
    while chunk := answer.read(_CHUNK):
        go_on()
        got += len(chunk)
        if got > MAX_BYTES:
            raise KernelUnavailable(f"{bare_url(url)}: more than {MAX_BYTES} bytes")
        file.write(chunk)
        tenth = got * 10 // total if total else got // (10 * _CHUNK)
        if tenth != last:
            last = tenth
            say(f"fetching {name}: {got >> 20} of {total >> 20} MiB" if total else f"fetching {name}: {got >> 20} MiB")
    return got
