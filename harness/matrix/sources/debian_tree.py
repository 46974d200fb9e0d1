"""``source: debian-source``: a kernel to be built from Debian's source package of a series."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import model_validator

from harness.matrix.sources.base import PathText, Source, SourceEntry, joined, places
from harness.matrix.words import matching, refuse_repeats

_SERIES = re.compile(r"\d{1,2}\.\d{1,3}\Z")
SeriesNumber = Annotated[str, matching(_SERIES, "a series: write 6.12 or 7.3")]


@dataclass(frozen=True)
class DebianTreeSource(Source):
    """A kernel to be built like one of ``TreeSource``, from Debian's newest source package of a series ("7.3")."""

    series: str
    fragments: tuple[Path, ...] = ()

    @property
    def asked(self) -> str:
        return joined("debian-source", self.series, *(fragment.name for fragment in self.fragments))


class DebianTreeEntry(SourceEntry):
    """``source: debian-source``: built from the newest source package of a series."""

    source: Literal["debian-source"]
    series: SeriesNumber
    fragments: tuple[PathText, ...] = ()

    @model_validator(mode="after")
    def _fragments_once(self) -> DebianTreeEntry:
        refuse_repeats("fragments", self.fragments)
        return self

    def noun(self, folder: Path) -> DebianTreeSource:
        return DebianTreeSource(self.series, places(folder, self.fragments))
