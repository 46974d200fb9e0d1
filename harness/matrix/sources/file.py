"""``source: file``: a kernel image on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from harness.matrix.sources.base import NamedPath, PathText, Source, SourceEntry, optional_place, place


@dataclass(frozen=True)
class FileSource(Source):
    """A kernel that lies on disk: bzImage, ELF vmlinux, Image, gzip or EFI-zboot Image."""

    image: Path
    config: Path | None = None
    modules: Path | None = None

    @property
    def asked(self) -> str:
        return f"file {self.image.name}"

    @property
    def named_paths(self) -> tuple[NamedPath, ...]:
        config = (NamedPath("config", self.config),) if self.config is not None else ()
        modules = (NamedPath("modules", self.modules, folder=True),) if self.modules is not None else ()
        return (NamedPath("image", self.image), *config, *modules)

    @property
    def words(self) -> tuple[str, ...]:
        return (str(self.image.absolute()),)

    @property
    def boot_files(self) -> tuple[Path, ...]:
        return (self.image,)


class FileEntry(SourceEntry):
    """``source: file``. Paths are relative to the matrix's own folder."""

    source: Literal["file"]
    image: PathText
    config: PathText | None = None
    modules: PathText | None = None

    @model_validator(mode="after")
    def _possible(self) -> FileEntry:
        if len(self.architectures) > 1:
            raise ValueError("one image file is for one architecture; make an entry for each")
        return self

    def noun(self, folder: Path) -> FileSource:
        config, modules = optional_place(folder, self.config), optional_place(folder, self.modules)
        return FileSource(place(folder, self.image), config, modules)
