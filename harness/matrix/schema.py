"""What ``kernels.yaml`` may hold, as pydantic models: names, types, and what one entry alone can get wrong."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Tag, model_validator

from harness.config.duration import duration
from harness.config.loader import Strict, Unknown, kind_by
from harness.matrix.model import OverSsh
from harness.model.architectures import ARCHES, DEBIAN_ARCH, FLAVOURS, Arch

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}\Z")
_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}\Z")
_SUITE = re.compile(r"[a-z][a-z0-9-]{0,39}\Z")
_RELEASE = re.compile(r"(newest|\d{1,4}(\.\d{1,6}){1,3}(-rc\d{1,3})?)\Z")
_SERIES = re.compile(r"\d{1,2}\.\d{1,3}\Z")
_VERSION = re.compile(r"\d[A-Za-z0-9.+~:-]{0,79}\Z")
_PACKAGE = re.compile(r"linux-image-[a-z0-9.+{}-]{2,80}\Z")
_CPU = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.,=+-]{0,199}\Z")
_BOARD = re.compile(r"[a-z][a-z0-9_.-]*=[A-Za-z0-9_.+-]+(,[a-z][a-z0-9_.-]*=[A-Za-z0-9_.+-]+){0,19}\Z")
_COMMIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./^~-]{0,199}\Z")
_REMOTE = re.compile(r"[A-Za-z0-9_./~][\x21-\x7e]{0,999}\Z")
_BRANCH = re.compile(r"[A-Za-z0-9_](?!.*(\.\.|//|@\{))[A-Za-z0-9_./@+-]{0,199}(?<![./])\Z")
_HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:%_-]{0,252}\Z")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}\Z")
_JUMP = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,63}@)?(\[[0-9A-Fa-f:%.]+\]|[A-Za-z0-9][A-Za-z0-9._-]*)(:\d{1,5})?\Z")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}\Z")
_DIRECTORY = re.compile(r"(~|/)[A-Za-z0-9_./+-]{0,150}\Z")
_URL = re.compile(r"(https?|file)://[\x21-\x7e]{1,2000}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_BOOT = re.compile(r"[\x21-\x7e]{1,200}\Z")


def _matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.match(value):
            raise ValueError(f"{value[:80]!r} is not {what}")
        return value

    return AfterValidator(check)


EntryName = Annotated[str, _matching(_NAME, "a name (letters, digits, '.', '_', '+', '-'; at most 64, no path)")]
ProfileName = Annotated[str, _matching(_PROFILE, "a profile name (letters, digits, '_', '-'; at most 32)")]
ArchiveSuite = Annotated[str, _matching(_SUITE, "the name of a suite, such as trixie-backports")]
Release = Annotated[str, _matching(_RELEASE, "a release: write newest, 6.12, 6.12.43 or 7.3-rc7")]
SeriesNumber = Annotated[str, _matching(_SERIES, "a series: write 6.12 or 7.3")]
PackageVersion = Annotated[str, _matching(_VERSION, "a package version such as 6.12.43-1~bpo12+1")]
PackageName = Annotated[str, _matching(_PACKAGE, "a kernel metapackage such as linux-image-cloud-{arch}")]
Cpu = Annotated[str, _matching(_CPU, "a QEMU CPU model such as max,pauth-impdef=on")]
BoardName = Annotated[str, _matching(_BOARD, "options of a QEMU machine such as mte=on")]
BootParameter = Annotated[str, _matching(_BOOT, "one boot parameter: printable, without spaces")]
Remote = Annotated[str, _matching(_REMOTE, "a remote of the tree, or the URL of a repository")]
BranchName = Annotated[str, _matching(_BRANCH, "the name of a branch, such as mm-unstable")]
Revision = Annotated[str, _matching(_COMMIT, "a commit, tag or branch")]
Host = Annotated[str, _matching(_HOST, "a host name or an address")]
User = Annotated[str, _matching(_USER, "a user name without a password")]
Jump = Annotated[str, _matching(_JUMP, "[user@]host[:port] without a password")]
Variable = Annotated[str, _matching(_VARIABLE, "the name of an environment variable, such as BOARD_SECRET")]
Url = Annotated[str, _matching(_URL, "the URL of a file (http, https or file)")]
Sha256 = Annotated[str, _matching(_SHA256, "a sha256 in 64 hexadecimal digits")]
Directory = Annotated[str, _matching(_DIRECTORY, "an absolute directory, or one under ~, in plain characters")]


def _seconds(value: object) -> object:
    return duration(value) if isinstance(value, str) else value


class _Kernel(Strict):
    architectures: tuple[Arch, ...] = Field(min_length=1)
    labels: tuple[EntryName, ...] = ()

    @model_validator(mode="after")
    def _each_once(self) -> _Kernel:
        _refuse_repeats("architectures", self.architectures)
        _refuse_repeats("labels", self.labels)
        return self


class DebianKernel(_Kernel):
    """``source: debian``."""

    source: Literal["debian"]
    suites: tuple[ArchiveSuite, ...] = Field(min_length=1)
    flavour: str = "cloud"
    release: Release | None = None
    version: PackageVersion | None = None
    package: PackageName | None = None

    @model_validator(mode="after")
    def _possible(self) -> DebianKernel:
        given = [key for key in ("release", "version", "package") if getattr(self, key) is not None]
        if len(given) != 1:
            had = f"both {' and '.join(given)} are given" if given else "none is given"
            raise ValueError(f"exactly one of release, version, package says which kernel is meant; {had}")
        _refuse_repeats("suites", self.suites)
        if self.flavour not in FLAVOURS:
            raise Unknown("flavour", self.flavour, tuple(FLAVOURS))
        for arch in self.architectures:
            if arch not in FLAVOURS[self.flavour]:
                have = ", ".join(FLAVOURS[self.flavour])
                raise ValueError(f"flavour {self.flavour} does not exist for {arch} (only for {have})")
            if self.package is not None:
                self._package_fits(arch)
        return self

    @property
    def flavour_meant(self) -> str:
        """The flavour, which a metapackage's name says already."""
        package = (self.package or "").replace("{arch}", DEBIAN_ARCH[self.architectures[0]])
        by_package = {
            f"linux-image-{suffix}": flavour for flavour, suffixes in FLAVOURS.items() for suffix in suffixes.values()
        }
        return by_package.get(package, self.flavour)

    def _package_fits(self, arch: Arch) -> None:
        name = str(self.package).replace("{arch}", DEBIAN_ARCH[arch])
        for ours, flavours in FLAVOURS.items():
            if name == f"linux-image-{flavours.get(arch)}":
                if "flavour" in self.model_fields_set and ours != self.flavour:
                    raise ValueError(f"package {self.package} is flavour {ours}; flavour says {self.flavour}")
                return
        raise ValueError(
            f"package {self.package} is not a kernel metapackage for {arch}; "
            "write linux-image-cloud-{arch}, linux-image-{arch} or (arm64) linux-image-arm64-16k"
        )


class FileKernel(_Kernel):
    """``source: file``. Paths are relative to the matrix's own folder."""

    source: Literal["file"]
    image: str = Field(min_length=1)
    config: str | None = Field(default=None, min_length=1)
    modules: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _possible(self) -> FileKernel:
        if len(self.architectures) > 1:
            raise ValueError("one image file is for one architecture; make an entry for each")
        return self


class PackageKernel(_Kernel):
    """``source: package``. Paths are relative to the matrix's own folder."""

    source: Literal["package"]
    packages: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _possible(self) -> PackageKernel:
        if len(self.architectures) > 1:
            raise ValueError("a package is for one architecture; make an entry for each")
        _refuse_repeats("packages", self.packages)
        return self


class UrlKernel(_Kernel):
    """``source: url``: one image, or the packages of one kernel; ``sha256`` of the one file."""

    source: Literal["url"]
    urls: tuple[Url, ...] = Field(min_length=1)
    sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _possible(self) -> UrlKernel:
        if len(self.architectures) > 1:
            raise ValueError("what is behind a URL is for one architecture; make an entry for each")
        if self.sha256 is not None and len(self.urls) > 1:
            raise ValueError("sha256 is of one file, and there are several urls")
        _refuse_repeats("urls", self.urls)
        return self


class TreeKernel(_Kernel):
    """``source: tree``. Paths are relative to the matrix's own folder."""

    source: Literal["tree"]
    tree: str = Field(min_length=1)
    commit: Revision | None = None
    branch: BranchName | None = None
    remote: Remote | None = None
    fragments: tuple[Annotated[str, Field(min_length=1)], ...] = ()

    @model_validator(mode="after")
    def _one_of_both(self) -> TreeKernel:
        if self.commit and self.branch:
            raise ValueError("commit and branch exclude each other: a branch is fetched, a commit is there")
        if self.remote and not self.branch:
            raise ValueError("remote says where branch is fetched from, and there is no branch")
        return self


class DebianTreeKernel(_Kernel):
    """``source: debian-source``: built from the newest source package of a series."""

    source: Literal["debian-source"]
    series: SeriesNumber
    fragments: tuple[Annotated[str, Field(min_length=1)], ...] = ()

    @model_validator(mode="after")
    def _fragments_once(self) -> DebianTreeKernel:
        _refuse_repeats("fragments", self.fragments)
        return self


class MachineKernel(_Kernel):
    """``source: machine``: what a machine reached over SSH runs."""

    source: Literal["machine"]


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
        _refuse_repeats("kernels", self.kernels)
        _refuse_repeats("architectures", self.architectures)
        _refuse_repeats("profiles", self.profiles)
        _refuse_repeats("also", self.also)
        _refuse_repeats("probes", self.probes)
        _refuse_repeats("crosscheck", self.crosscheck)
        return self


KernelEntry = Annotated[
    Annotated[DebianKernel, Tag("source=debian")]
    | Annotated[FileKernel, Tag("source=file")]
    | Annotated[PackageKernel, Tag("source=package")]
    | Annotated[UrlKernel, Tag("source=url")]
    | Annotated[TreeKernel, Tag("source=tree")]
    | Annotated[DebianTreeKernel, Tag("source=debian-source")]
    | Annotated[MachineKernel, Tag("source=machine")],
    kind_by("source"),
]


class MatrixFile(Strict):
    """A whole file; it adds to the matrix that comes with sealmatrix unless ``extends`` says none."""

    version: Literal["1"]
    extends: Literal["shipped", "none"] = "shipped"
    kernels: dict[EntryName, KernelEntry] = Field(min_length=1)
    profiles: dict[ProfileName, AnyProfile] = Field(default_factory=dict)
    selections: dict[EntryName, SelectionEntry] = Field(default_factory=dict)


def _refuse_repeats(key: str, words: tuple[str, ...]) -> None:
    for position, word in enumerate(words):
        if word in words[:position]:
            raise ValueError(f"{key} names {word} twice")
