"""Reading files out of packages (.deb, .rpm, .pkg.tar.*) through bsdtar (libarchive), without unpacking them to disk.

bsdtar turns every format into one plain tar stream, which is read member by member and left as soon as the caller has
what it wants: an image lies near the front of a package that is mostly modules. A .deb holds its files in an inner
archive (deb(5)), so two of them work in a row.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from harness.errors import KernelUnavailable, ToolMissing
from harness.kernels.store import telling
from harness.processes.children import DEVNULL, PIPE, Child, start

MAX_FILE = 512 * 1024 * 1024
MAX_FILES = 200_000
"""More members than any kernel package has; a made-up archive could name files for ever."""

_MAGICS = ((b"!<arch>\ndebian-binary", "deb"), (b"\xed\xab\xee\xdb", "rpm"))
_COMPRESSED_TAR = (".pkg.tar", ".pkg.tar.zst", ".pkg.tar.xz", ".pkg.tar.gz")


def package_kind(path: Path, head: bytes) -> str:
    """Return ``"deb"``, ``"rpm"``, ``"pkg"`` or ``""`` by a file's first bytes, and for Arch's archives by its name."""
    for magic, kind in _MAGICS:
        if head.startswith(magic):
            return kind
    return "pkg" if path.name.endswith(_COMPRESSED_TAR) else ""


def kind_of(path: Path) -> str:
    """Return the kind of package a file is, "" for another file. Raises ``StoreError``."""
    with telling(path), path.open("rb") as file:
        return package_kind(path, file.read(32))


def package_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (name, contents) of each regular file in a package, in its own order; names have no leading ``./``.

    Raises ``KernelUnavailable`` naming the package when it is damaged or no package at all, and ``ToolMissing``.
    """
    if shutil.which("bsdtar") is None:
        raise ToolMissing("bsdtar", "libarchive-tools")
    kind = kind_of(path)
    if not kind:
        raise KernelUnavailable(f"{path.name}: damaged package: neither a .deb, an .rpm nor a .pkg.tar")
    whole = f"@{path.absolute()}"
    stages = [["bsdtar", "-cf", "-", "--format=pax", whole]]
    if kind == "deb":
        stages = [
            ["bsdtar", "-xOf", str(path.absolute()), "data.tar*"],
            ["bsdtar", "-cf", "-", "--format=pax", "@-"],
        ]
    yield from _members(path, stages)


def _members(path: Path, stages: Sequence[Sequence[str]]) -> Iterator[tuple[str, bytes]]:
    with ExitStack() as stack:
        said = stack.enter_context(tempfile.TemporaryFile())
        running: list[Child] = []
        what = f"unpacking {path.name}"
        for words in stages:
            before = running[-1].stdout if running else DEVNULL
            running.append(stack.enter_context(start(words, what=what, stdin=before, stdout=PIPE, stderr=said)))
            if not isinstance(before, int):
                before.close()
        pipe = running[-1].stdout
        try:
            with tarfile.open(fileobj=pipe, mode="r|") as archive:
                yield from _regular(archive, path)
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise KernelUnavailable(f"{path.name}: damaged package: {_words(said) or error}") from None
        # A tar that ends early can end well: only the exit statuses tell that everything was there.
        while pipe.read(1 << 16):
            pass
        if any(child.wait() for child in running):
            raise KernelUnavailable(f"{path.name}: damaged package: {_words(said) or 'bsdtar could not read it'}")


def _regular(archive: tarfile.TarFile, path: Path) -> Iterator[tuple[str, bytes]]:
    for count, member in enumerate(archive):
        if count == MAX_FILES:
            raise KernelUnavailable(f"{path.name}: damaged package: more than {MAX_FILES} files")
        if member.isreg() and member.size <= MAX_FILE:
            content = archive.extractfile(member)
            assert content is not None
            yield member.name.removeprefix("./").removeprefix("/"), content.read()


def _words(said: IO[bytes]) -> str:
    said.seek(0)
    lines = [line.strip() for line in said.read(4096).decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[0].removeprefix("bsdtar: ")[:200] if lines else ""
