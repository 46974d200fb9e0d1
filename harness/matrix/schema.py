"""What ``kernels.yaml`` may hold, as pydantic models: names, types, and what one entry alone can get wrong."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, Tag, model_validator

from harness.config.duration import duration
from harness.config.loader import Strict, kind_by
from harness.matrix.model import OverSsh
from harness.matrix.sources.debian import DebianEntry
from harness.matrix.sources.debian_tree import DebianTreeEntry
from harness.matrix.sources.file import FileEntry
from harness.matrix.sources.machine import MachineEntry
from harness.matrix.sources.package import PackageEntry
from harness.matrix.sources.tree import TreeEntry
from harness.matrix.sources.url import UrlEntry
from harness.matrix.words import EntryName, matching, refuse_repeats
from harness.model.architectures import ARCHES, Arch

_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}\Z")
_CPU = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.,=+-]{0,199}\Z")
_BOARD = re.compile(r"[a-z][a-z0-9_.-]*=[A-Za-z0-9_.+-]+(,[a-z][a-z0-9_.-]*=[A-Za-z0-9_.+-]+){0,19}\Z")
_HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:%_-]{0,252}\Z")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}\Z")
_JUMP = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,63}@)?(\[[0-9A-Fa-f:%.]+\]|[A-Za-z0-9][A-Za-z0-9._-]*)(:\d{1,5})?\Z")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}\Z")
_DIRECTORY = re.compile(r"(~|/)[A-Za-z0-9_./+-]{0,150}\Z")
_BOOT = re.compile(r"[\x21-\x7e]{1,200}\Z")


ProfileName = Annotated[str, matching(_PROFILE, "a profile name (letters, digits, '_', '-'; at most 32)")]
Cpu = Annotated[str, matching(_CPU, "a QEMU CPU model such as max,pauth-impdef=on")]
BoardName = Annotated[str, matching(_BOARD, "options of a QEMU machine such as mte=on")]
BootParameter = Annotated[str, matching(_BOOT, "one boot parameter: printable, without spaces")]
Host = Annotated[str, matching(_HOST, "a host name or an address")]
User = Annotated[str, matching(_USER, "a user name without a password")]
Jump = Annotated[str, matching(_JUMP, "[user@]host[:port] without a password")]
Variable = Annotated[str, matching(_VARIABLE, "the name of an environment variable, such as BOARD_SECRET")]
Directory = Annotated[str, matching(_DIRECTORY, "an absolute directory, or one under ~, in plain characters")]


def _seconds(value: object) -> object:
    return duration(value) if isinstance(value, str) else value


class ProfileEntry(Strict):
    """A machine; ``memory`` and ``swap`` in MiB, ``numa`` in nodes, ``hugepages`` in huge pages.

    ``counted`` gives it a clock that counts instructions."""

    guest: Literal["qemu"] = "qemu"
    smp: int = Field(default=1, ge=1, le=64)
    memory: int = Field(default=256, ge=96, le=65536)
    cpu: dict[Arch, Cpu] = Field(default_factory=dict)
    board: dict[Arch, BoardName] = Field(default_factory=dict)
    boot: tuple[BootParameter, ...] = ()
    numa: int = Field(default=1, ge=1, le=8)
    swap: int = Field(default=0, ge=0, le=16384)
    hugepages: int = Field(default=0, ge=0, le=4096)
    counted: bool = False

    @model_validator(mode="after")
    def _possible(self) -> ProfileEntry:
        if self.memory < 64 * self.numa:
            raise ValueError(f"memory {self.memory} is too little for {self.numa} nodes; give each at least 64 (MiB)")
        if self.counted and (self.smp > 1 or self.guest != "qemu"):
            raise ValueError("a machine that is counted has `guest: qemu` and one CPU (smp: 1)")
        return self


class VirtmeProfile(ProfileEntry):
    """``guest: virtme``; ``root`` names directories by architecture, for the host's own its root unless named."""

    guest: Literal["virtme"]  # type: ignore[assignment]
    root: dict[Arch, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)


class SshProfile(Strict):
    """``guest: ssh``: a machine that is as it is. Paths are relative to the matrix's own folder, or begin with ~."""

    guest: Literal["ssh"]
    host: Host
    port: int = Field(default=22, ge=1, le=65535)
    user: User | None = None
    key: str | None = Field(default=None, min_length=1)
    secret: Variable | None = None
    jump: Jump | None = None
    known_hosts: str | None = Field(default=None, min_length=1)
    directories: tuple[Directory, ...] = Field(default=OverSsh.directories, min_length=1)
    install: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    patience: int = Field(default=300, ge=1, le=86400)


AnyProfile = Annotated[
    Annotated[ProfileEntry, Tag("guest=qemu")]
    | Annotated[VirtmeProfile, Tag("guest=virtme")]
    | Annotated[SshProfile, Tag("guest=ssh")],
    kind_by("guest", default="qemu"),
]


class SelectionEntry(Strict):
    """A named part of the matrix; ``kernels`` are names, ``also`` those of other selections, ``probes`` and
    ``crosscheck`` globs, ``explore`` how long each cell is explored."""

    kernels: tuple[EntryName, ...] = Field(min_length=1)
    architectures: tuple[Arch, ...] = Field(default=ARCHES, min_length=1)
    profiles: tuple[ProfileName, ...] = Field(default=("standard",), min_length=1)
    also: tuple[EntryName, ...] = ()
    probes: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    crosscheck: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    explore: Annotated[float, BeforeValidator(_seconds)] = 0.0

    @model_validator(mode="after")
    def _each_once(self) -> SelectionEntry:
        refuse_repeats("kernels", self.kernels)
        refuse_repeats("architectures", self.architectures)
        refuse_repeats("profiles", self.profiles)
        refuse_repeats("also", self.also)
        refuse_repeats("probes", self.probes)
        refuse_repeats("crosscheck", self.crosscheck)
        return self


# Every kernel source: a row for each value of ``source:``.
KernelEntry = Annotated[
    Annotated[DebianEntry, Tag("source=debian")]
    | Annotated[FileEntry, Tag("source=file")]
    | Annotated[PackageEntry, Tag("source=package")]
    | Annotated[UrlEntry, Tag("source=url")]
    | Annotated[TreeEntry, Tag("source=tree")]
    | Annotated[DebianTreeEntry, Tag("source=debian-source")]
    | Annotated[MachineEntry, Tag("source=machine")],
    kind_by("source"),
]


class MatrixFile(Strict):
    """A whole file; it adds to the matrix that comes with sealmatrix unless ``extends`` says none."""

    version: Literal["1"]
    extends: Literal["shipped", "none"] = "shipped"
    kernels: dict[EntryName, KernelEntry] = Field(min_length=1)
    profiles: dict[ProfileName, AnyProfile] = Field(default_factory=dict)
    selections: dict[EntryName, SelectionEntry] = Field(default_factory=dict)
