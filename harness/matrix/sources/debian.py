"""``source: debian``: a kernel out of a Debian archive."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from harness.config.loader import Unknown
from harness.matrix.sources.base import Source, SourceEntry, joined
from harness.matrix.words import matching, refuse_repeats
from harness.model.architectures import DEBIAN_ARCH, FLAVOURS, Arch

_SUITE = re.compile(r"[a-z][a-z0-9-]{0,39}\Z")
_RELEASE = re.compile(r"(newest|\d{1,4}(\.\d{1,6}){1,3}(-rc\d{1,3})?)\Z")
_VERSION = re.compile(r"\d[A-Za-z0-9.+~:-]{0,79}\Z")
_PACKAGE = re.compile(r"linux-image-[a-z0-9.+{}-]{2,80}\Z")

ArchiveSuite = Annotated[str, matching(_SUITE, "the name of a suite, such as trixie-backports")]
Release = Annotated[str, matching(_RELEASE, "a release: write newest, 6.12, 6.12.43 or 7.3-rc7")]
PackageVersion = Annotated[str, matching(_VERSION, "a package version such as 6.12.43-1~bpo12+1")]
PackageName = Annotated[str, matching(_PACKAGE, "a kernel metapackage such as linux-image-cloud-{arch}")]


@dataclass(frozen=True)
class DebianSource(Source):
    """A kernel out of a Debian archive.

    ``release`` selects: ``"newest"``, a prefix such as ``"6.12"`` (the newest 6.12.y), or one upstream
    version (``"6.12.43"``). ``version`` pins one exact package version (``"6.12.43-1~bpo12+1"``).
    ``package`` names a metapackage (``"linux-image-cloud-amd64"``; ``{arch}`` stands for Debian's
    architecture name) whose current version is meant. Exactly one of the three is set.
    """

    suites: tuple[str, ...]
    flavour: str = "cloud"
    release: str | None = None
    version: str | None = None
    package: str | None = None

    @property
    def asked(self) -> str:
        wish = {"release": self.release, "version": self.version, "package": self.package}
        words = (f"{key}={word}" for key, word in wish.items() if word is not None)
        return joined("debian", ",".join(self.suites), self.flavour, *words)


class DebianEntry(SourceEntry):
    """``source: debian``."""

    source: Literal["debian"]
    suites: tuple[ArchiveSuite, ...] = Field(min_length=1)
    flavour: str = "cloud"
    release: Release | None = None
    version: PackageVersion | None = None
    package: PackageName | None = None

    @model_validator(mode="after")
    def _possible(self) -> DebianEntry:
        given = [key for key in ("release", "version", "package") if getattr(self, key) is not None]
        if len(given) != 1:
            had = f"both {' and '.join(given)} are given" if given else "none is given"
            raise ValueError(f"exactly one of release, version, package says which kernel is meant; {had}")
        refuse_repeats("suites", self.suites)
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

    def noun(self, folder: Path) -> DebianSource:
        return DebianSource(self.suites, self.flavour_meant, self.release, self.version, self.package)
