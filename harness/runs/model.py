"""The nouns of a run, and the events it tells while it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness.errors import InfrastructureError
from harness.guests.model import Guest
from harness.kernels.model import Kernel
from harness.matrix.model import Profile
from harness.model.architectures import Arch
from harness.model.rule import ProbeName
from harness.model.verdict import Status

Stage = Literal["waiting", "booting", "pushing", "probing", "judging", "done"]


@dataclass(frozen=True)
class Cell:
    """One kernel on one profile. ``kernel`` is None on the host itself, and an error where none could be had.

    ``before_mseal``: the matrix says of the kernel that there is nothing to ask.
    """

    id: str
    arch: Arch
    profile: Profile
    kernel: Kernel | InfrastructureError | None
    before_mseal: bool = False


@dataclass(frozen=True)
class Workload:
    """The payload as a cell needs it: bytes, identity, arguments, and what it plans to do.

    ``files`` are pushed beside it; ``second`` is the other payload, which runs after it in the same guest and must see
    the same.
    """

    name: str
    id: str
    sha256: str
    content: bytes
    arguments: tuple[str, ...]
    planned: tuple[ProbeName, ...]
    files: tuple[tuple[str, bytes], ...] = ()
    second: Workload | None = None


@dataclass(frozen=True)
class Told:
    """An event of a run, for whoever shows progress. ``probes`` observations have arrived out of ``planned``;
    ``statuses`` are the rules by status, once the cell is judged."""

    cell: str
    stage: Stage
    seconds: float
    probes: int = 0
    planned: int = 0
    note: str = ""
    statuses: Mapping[Status, int] = field(default_factory=dict)


Tell = Callable[[Told], None]
MakeGuest = Callable[[Cell, Path], Guest]
