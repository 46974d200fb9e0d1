"""Frozen nouns of a matrix: what the user asked for, before anything is fetched or booted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from harness.matrix.sources.base import Source
from harness.model.architectures import ARCHES, Arch


@dataclass(frozen=True)
class KernelSpec:
    """One entry of ``kernels:``, for one or more architectures; ``listed`` is False for one named on a command line,
    which no lock file holds. ``version`` is the upstream version of one whose file has been read."""

    name: str
    source: Source
    arches: tuple[Arch, ...]
    labels: tuple[str, ...] = ()
    listed: bool = True
    version: str = ""


@dataclass(frozen=True)
class InQemu:
    """A guest in QEMU with an initial RAM file system of our own and nothing else."""

    kind: ClassVar[str] = "qemu"


@dataclass(frozen=True)
class InVirtme:
    """A guest in QEMU on a root directory, which it sees but cannot change; ``roots`` by architecture."""

    roots: Mapping[Arch, Path]
    kind: ClassVar[str] = "virtme"


@dataclass(frozen=True)
class OverSsh:
    """A machine that answers SSH, and is not ours.

    ``user`` and ``jump`` ("user@host:port") may be empty. ``secret`` is the *name* of an environment variable that
    holds the key's passphrase or, without a key, a password. ``known_hosts`` defaults to the user's own.
    ``directories`` are tried in their order. ``install`` is a command of this side that makes the machine boot a
    kernel, its words with ``{image}``, ``{release}``, ``{arch}``, ``{host}``, ``{port}`` and ``{user}``; the machine
    then has ``patience`` seconds to come back.
    """

    host: str
    port: int = 22
    user: str = ""
    key: Path | None = None
    secret: str = ""
    jump: str = ""
    known_hosts: Path | None = None
    directories: tuple[str, ...] = ("/dev/shm", "/tmp", "/var/tmp", "~")
    install: tuple[str, ...] = ()
    patience: int = 300
    kind: ClassVar[str] = "ssh"


@dataclass(frozen=True)
class OnHost:
    """This machine itself, without a guest."""

    kind: ClassVar[str] = "host"


GuestKind = InQemu | InVirtme | OverSsh | OnHost


@dataclass(frozen=True)
class Profile:
    """A machine to boot a kernel on: ``memory`` in MiB, ``cpu`` a QEMU CPU model for each architecture and ``board``
    further options of its machine (``mte=on``).

    ``numa`` is its number of memory nodes, ``swap`` the MiB of a disk to swap to (0: none) and ``hugepages`` how many
    huge pages of the kernel's default size are set aside. What of these could not be had, the guest says when it is up.
    ``guest`` is how it is entered; over SSH, everything else is as it is. The clock of a ``counted`` machine counts
    instructions: it is emulated, has one CPU, and a program takes the same time on a busy host as on an idle one.
    """

    name: str
    smp: int = 1
    memory: int = 256
    cpu: Mapping[Arch, str] = field(default_factory=dict)
    board: Mapping[Arch, str] = field(default_factory=dict)
    boot: tuple[str, ...] = ()
    numa: int = 1
    swap: int = 0
    hugepages: int = 0
    guest: GuestKind = InQemu()
    counted: bool = False


STANDARD_PROFILE = Profile("standard", smp=1, memory=256, swap=64, hugepages=8)
"""The machine that has everything a rule may need; used where a matrix does not write ``standard`` down itself."""


@dataclass(frozen=True)
class Selection:
    """A named part of the matrix: kernels by architectures by profiles, and what the selections in ``also`` mean.

    ``probes`` are globs over probe ids, with ``!`` before those to leave out; none means all. ``crosscheck`` are globs
    of those that the second payload observes too; none means none. ``explore`` are the seconds that each cell is
    explored for.
    """

    name: str
    kernels: tuple[str, ...]
    arches: tuple[Arch, ...] = ARCHES
    profiles: tuple[str, ...] = ("standard",)
    also: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()
    crosscheck: tuple[str, ...] = ()
    explore: float = 0.0


@dataclass(frozen=True)
class CellSpec:
    """One kernel entry, one architecture, one profile: what becomes a cell once the kernel is resolved."""

    kernel: KernelSpec
    arch: Arch
    profile: Profile

    @property
    def id(self) -> str:
        """A name that is unique in a matrix, and safe as a file name and a JUnit classname."""
        base = f"{self.kernel.name}.{self.arch}"
        return base if self.profile.name == "standard" else f"{base}.{self.profile.name}"


@dataclass(frozen=True)
class Matrix:
    """A whole ``kernels.yaml``; ``path`` is where it came from, ``sha256`` the digest of its bytes."""

    path: Path
    sha256: str
    kernels: Mapping[str, KernelSpec]
    profiles: Mapping[str, Profile]
    selections: Mapping[str, Selection]
