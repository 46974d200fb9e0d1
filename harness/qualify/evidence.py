"""The evidence of a qualification: what it rests on, copied, and ``sha256sums`` over every file.

``sha256sums`` is what ``sha256sum --check`` reads. Its own digest seals the whole: whoever keeps that one number can
tell whether anything, the list itself included, was altered.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from harness.errors import StoreError, UsageError
from harness.model.atomic_files import write_text

SUMS = "sha256sums"
SIGNATURE = "sha256sums.sig"
_SEALS = (SUMS, SIGNATURE)
_LINE = re.compile(r"([0-9a-f]{64})  (.+)\Z")
_RUN_FILES = ("run.json", "plan.json", "verdicts.json")


@dataclass(frozen=True)
class Verified:
    """What verifying found. Paths are relative; ``digest`` is of ``sha256sums`` itself."""

    files: int
    digest: str
    altered: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    @property
    def intact(self) -> bool:
        """Whether every file is as it was, and there is no other."""
        return not (self.altered or self.missing or self.added)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder that appears whole or not at all. Raises ``UsageError`` when it exists, ``StoreError`` for the disk."""
    if folder.exists():
        raise UsageError(f"{folder} exists; choose a new folder; a qualification is never overwritten")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(folder)
    except OSError as problem:
        raise StoreError(f"{folder}: cannot be written: {problem.strerror or problem}") from problem
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def copy_run(run: Path, cells: Iterable[str], target: Path) -> None:
    """Copy what a run left of some cells: its record, its plan, and each cell's folder whole.

    Raises ``UsageError`` for a link among it: nobody knows what it will lead to.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name in _RUN_FILES:
        if (run / name).is_file():
            shutil.copyfile(run / name, target / name)
    for cell in cells:
        if (run / "cells" / cell).is_dir():
            _refuse_links(run / "cells" / cell)
            shutil.copytree(run / "cells" / cell, target / "cells" / cell, dirs_exist_ok=True)


def _refuse_links(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            raise UsageError(f"{path}: is a link; evidence must be files, so copy its target")


def digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def seal(folder: Path) -> str:
    """Write ``sha256sums`` over every file of a folder and return its own digest."""
    lines = [f"{digest(folder / name)}  {name}\n" for name in sorted(_files(folder)) if name not in _SEALS]
    write_text(folder / SUMS, "".join(lines))
    return digest(folder / SUMS)


def verify(folder: Path) -> Verified:
    """Hold a folder against its ``sha256sums``. Raises ``UsageError`` when there is none, or it is no such list."""
    wanted = _read_sums(folder / SUMS)
    found = set(_files(folder)) - {*_SEALS}
    altered = tuple(name for name in sorted(found & set(wanted)) if not _is(folder / name, wanted[name]))
    missing = tuple(sorted(set(wanted) - found))
    return Verified(len(wanted), digest(folder / SUMS), altered, missing, tuple(sorted(found - set(wanted))))


def _is(path: Path, wanted: str) -> bool:
    """A link is never the file that was sealed: what it leads to can change without it."""
    return path.is_file() and not path.is_symlink() and digest(path) == wanted


def _files(folder: Path) -> Iterator[str]:
    """Everything in a folder that is not itself a folder, links and devices included."""
    for base, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(base) / name).is_symlink()]
        yield from ((Path(base) / name).relative_to(folder).as_posix() for name in (*files, *links))


def _read_sums(path: Path) -> Mapping[str, str]:
    if not path.is_file():
        raise UsageError(f"{path.parent} holds no {SUMS}: it is not a qualification, or its list was removed")
    sums: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageError(f"{path}: cannot be read: {problem}") from problem
    for number, line in enumerate(lines, 1):
        match = _LINE.match(line)
        if match is None or match[2] in sums or Path(match[2]).is_absolute() or ".." in Path(match[2]).parts:
            raise UsageError(f"{path}:{number}: is not a line of a checksum list of this folder")
        sums[match[2]] = match[1]
    if not sums:
        raise UsageError(f"{path}: is empty")
    return sums
