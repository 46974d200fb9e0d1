"""``source: url``: a kernel behind URLs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from harness.matrix.sources.base import Source, SourceEntry, joined
from harness.matrix.words import Sha256, matching, refuse_repeats
from harness.secret_urls import bare_url

_URL = re.compile(r"(https?|file)://[\x21-\x7e]{1,2000}\Z")
Url = Annotated[str, matching(_URL, "the URL of a file (http, https or file)")]


@dataclass(frozen=True)
class UrlSource(Source):
    """A kernel behind URLs: one image, or the packages of one kernel. ``sha256`` is what the one file must be."""

    urls: tuple[str, ...] = field(repr=False)  # they may hold a password
    sha256: str = ""

    @property
    def asked(self) -> str:
        return joined("url", *self.words, self.sha256)

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(map(bare_url, self.urls))


class UrlEntry(SourceEntry):
    """``source: url``: one image, or the packages of one kernel; ``sha256`` of the one file."""

    source: Literal["url"]
    urls: tuple[Url, ...] = Field(min_length=1)
    sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _possible(self) -> UrlEntry:
        if len(self.architectures) > 1:
            raise ValueError("what is behind a URL is for one architecture; make an entry for each")
        if self.sha256 is not None and len(self.urls) > 1:
            raise ValueError("sha256 is of one file, and there are several urls")
        refuse_repeats("urls", self.urls)
        return self

    def noun(self, folder: Path) -> UrlSource:
        return UrlSource(self.urls, self.sha256 or "")
