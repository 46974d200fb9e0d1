"""A private copy of a source tree that costs no space: folders of our own, symbolic links to the tree's files.

Mutating replaces a link by a file; the tree itself is never written. Every write renames a finished file into place
with a fresh time, so that make sees it, also when an original comes back. What an interrupted process left behind is
put right on opening: whatever file a mutant may touch is compared with the original's bytes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.errors import BuildError, StoreError, UsageError
from harness.kernels.store import telling
from harness.kernels.tree import check_tree
from harness.kernels.tree_links import link_tree
from harness.model.atomic_files import write_atomically
from harness.mutants.edit import apply_edit
from harness.mutants.model import Edit


class TreeCopy:
    """The copy of ``origin`` in ``folder``; made by ``open_copy``."""

    def __init__(self, origin: Path, folder: Path) -> None:
        self.origin, self.folder = origin, folder

    @contextmanager
    def mutated(self, edits: Sequence[Edit]) -> Iterator[None]:
        """Have ``edits`` applied inside the block and the originals back after it.

        Raises ``BuildError`` before anything is written when a pattern does not match, ``StoreError``.
        """
        texts = self._edited(edits)
        try:
            for name, text in texts.items():
                self._write(name, text.encode("utf-8", "surrogateescape"))
            yield
        finally:
            self.repair(texts)

    def repair(self, names: Iterable[str]) -> list[str]:
        """Put the originals back where a file differs from them; returns the names of those that did."""
        different = [name for name in names if self._bytes(self.folder, name) != self._bytes(self.origin, name)]
        for name in different:
            self._write(name, self._bytes(self.origin, name) or b"")
        return different

    def _edited(self, edits: Sequence[Edit]) -> dict[str, str]:
        texts: dict[str, str] = {}
        for edit in edits:
            if edit.file not in texts:
                content = self._bytes(self.origin, edit.file)
                if content is None:
                    raise BuildError(f"{edit.file}: the source has moved on: there is no such file")
                texts[edit.file] = content.decode("utf-8", "surrogateescape")
            texts[edit.file] = apply_edit(texts[edit.file], edit)
        return texts

    def _bytes(self, folder: Path, name: str) -> bytes | None:
        try:
            return (folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{folder / name}: cannot be read: {error.strerror}") from error

    def _write(self, name: str, content: bytes) -> None:
        with telling(self.folder / name):
            write_atomically(self.folder / name, content)


@contextmanager
def open_copy(origin: Path, folder: Path, touched: Iterable[str]) -> Iterator[TreeCopy]:
    """Make or reopen the copy of ``origin`` in ``folder`` and hold it for this process.

    ``touched`` are the files mutants may change. Raises ``UsageError`` when ``origin`` is no clean kernel tree or
    another process has the copy, ``StoreError`` when it cannot be written.
    """
    origin = origin.resolve()
    check_tree(origin)
    with ExitStack() as stack:
        with telling(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder.with_name(folder.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        stack.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"{folder} is in use by another run of mutants; wait for it to end") from error
        with telling(folder):
            link_tree(origin, folder)
        copy = TreeCopy(origin, folder)
        copy.repair(name for name in touched if (origin / name).is_file())
        yield copy
