"""What the entries of a matrix name and what is not there: found out before anything is fetched, built or booted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.errors import ConfigError
from harness.matrix.model import CellSpec, InVirtme, Matrix


def refuse_missing(matrix: Matrix, cells: Iterable[CellSpec]) -> None:
    """Raise ``ConfigError`` for the first file or folder of these cells that cannot be read."""
    for cell in cells:
        for key, path, folder in _named(cell):
            if problem := _problem(path, folder=folder):
                raise ConfigError(matrix.path, 0, f"{key}: {path}: {problem}")


def _named(cell: CellSpec) -> Iterator[tuple[str, Path, bool]]:
    """Every (key, path, whether that is a folder) that the cell's kernel and machine name."""
    for named in cell.kernel.source.named_paths:
        yield f"kernels.{cell.kernel.name}.{named.key}", named.path, named.folder
    guest = cell.profile.guest
    if isinstance(guest, InVirtme) and cell.arch in guest.roots:
        yield f"profiles.{cell.profile.name}.root.{cell.arch}", guest.roots[cell.arch], True


def _problem(path: Path, *, folder: bool) -> str:
    noun = "folder" if folder else "file"
    try:
        if not path.exists():
            return f"no such {noun}"
        if not (path.is_dir() if folder else path.is_file()):
            return f"this is not a {noun}"
    except OSError as problem:  # a folder on the way that cannot be searched
        return problem.strerror or str(problem)
    return "" if os.access(path, os.R_OK) else f"this {noun} cannot be read: permission denied"
