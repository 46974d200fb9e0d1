"""What every kernel source says of itself, so that nobody else asks which one it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from harness.config.loader import Strict
from harness.matrix.words import EntryName, refuse_repeats
from harness.model.architectures import Arch

PathText = Annotated[str, Field(min_length=1)]
"""A path as it is written in a matrix."""


@dataclass(frozen=True)
class NamedPath:
    """A path that an entry names under ``key`` (``packages[1]``), and whether that is a folder."""

    key: str
    path: Path
    folder: bool = False


@dataclass(frozen=True)
class Source(ABC):
    """Where a kernel comes from."""

    @property
    @abstractmethod
    def asked(self) -> str:
        """The source as text for a lock file; when it changes, what was locked for it no longer counts."""

    @property
    def named_paths(self) -> tuple[NamedPath, ...]:
        """The files and folders that must be there before anything is fetched, built or booted."""
        return ()

    @property
    def words(self) -> tuple[str, ...]:
        """What to write on a command line, in any folder, to mean this kernel; empty where an entry is needed."""
        return ()

    @property
    def boot_files(self) -> tuple[Path, ...]:
        """The files of a kernel that lies on disk; when one changes, it is another kernel."""
        return ()


class SourceEntry(Strict):
    """The keys that an entry of every source has."""

    architectures: tuple[Arch, ...] = Field(min_length=1)
    labels: tuple[EntryName, ...] = ()

    @model_validator(mode="after")
    def _each_once(self) -> SourceEntry:
        refuse_repeats("architectures", self.architectures)
        refuse_repeats("labels", self.labels)
        return self

    @abstractmethod
    def noun(self, folder: Path) -> Source:
        """Return the source that this entry of a matrix in ``folder`` means."""


def joined(*words: str) -> str:
    """Return the words that are not empty as one text."""
    return " ".join(filter(None, words))


def place(folder: Path, value: str) -> Path:
    """A path as a matrix has it: relative to its folder; ``~`` is the user's home, as far as there is such a user."""
    path = Path(value)
    with suppress(RuntimeError):
        path = path.expanduser()
    return folder / path


def places(folder: Path, values: Sequence[str]) -> tuple[Path, ...]:
    """Return the places of several paths."""
    return tuple(place(folder, value) for value in values)


def optional_place(folder: Path, value: str | None) -> Path | None:
    """Return the place of a path that may not be given."""
    return None if value is None else place(folder, value)
