"""``source: package``: the packages of a kernel on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from harness.matrix.sources.base import NamedPath, PathText, Source, SourceEntry, joined, places
from harness.matrix.words import refuse_repeats


@dataclass(frozen=True)
class PackageSource(Source):
    """A kernel out of packages on disk: .deb, .rpm or .pkg.tar.*, several where its parts are in several."""

    packages: tuple[Path, ...]

    @property
    def asked(self) -> str:
        return joined("package", *(path.name for path in self.packages))

    @property
    def named_paths(self) -> tuple[NamedPath, ...]:
        return tuple(NamedPath(f"packages[{position}]", path) for position, path in enumerate(self.packages))

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(str(package.absolute()) for package in self.packages)

    @property
    def boot_files(self) -> tuple[Path, ...]:
        return self.packages


class PackageEntry(SourceEntry):
    """``source: package``. Paths are relative to the matrix's own folder."""

    source: Literal["package"]
    packages: tuple[PathText, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _possible(self) -> PackageEntry:
        if len(self.architectures) > 1:
            raise ValueError("a package is for one architecture; make an entry for each")
        refuse_repeats("packages", self.packages)
        return self

    def noun(self, folder: Path) -> PackageSource:
        return PackageSource(places(folder, self.packages))
