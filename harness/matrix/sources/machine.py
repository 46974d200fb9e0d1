"""``source: machine``: the kernel that a machine reached over SSH runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.matrix.sources.base import Source, SourceEntry


@dataclass(frozen=True)
class MachineSource(Source):
    """Whatever kernel a machine reached over SSH runs."""

    @property
    def asked(self) -> str:
        return "machine"


class MachineEntry(SourceEntry):
    """``source: machine``: what a machine reached over SSH runs."""

    source: Literal["machine"]

    def noun(self, folder: Path) -> MachineSource:
        return MachineSource()
