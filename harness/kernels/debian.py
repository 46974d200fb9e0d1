"""Debian's kernels: which builds the suites offer, and which one a source means.

Up to 6.18 the image lies in ``linux-image-RELEASE``; later that package is a shell which depends on ``linux-binary-``
(image), ``linux-base-`` (configuration) and ``linux-modules-RELEASE``. Which one it is, is read from Depends and
not from version numbers. The signed packages of superseded versions stay in a suite longer than the
others: of those builds the image can be had, but neither configuration nor modules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.errors import KernelUnavailable
from harness.kernels.archive import Archive, Package
from harness.kernels.versions import upstream, version_key, within
from harness.matrix.sources.debian import DebianSource
from harness.model.architectures import DEBIAN_ARCH, FLAVOURS, Arch

_IMAGE = re.compile(r"linux-image-(\d[0-9a-z.+~]*(?:-rc\d+|-\d+)?)-([a-z0-9-]+)\Z")


class NotOffered(KernelUnavailable):
    """The suites could be read, and do not have the build."""


@dataclass(frozen=True)
class Candidate:
    """One build a suite offers. ``release`` is as ``uname -r`` says, ``version`` upstream's, ``package_version``
    Debian's. ``image``, ``config`` and ``modules`` are the packages these lie in (often one and the same); the
    last two are None when they have left the archive."""

    suite: str
    arch: Arch
    flavour: str
    release: str
    version: str
    package_version: str
    package: str
    image: Package
    config: Package | None
    modules: Package | None

    @property
    def needed(self) -> tuple[Package, ...]:
        """The packages to fetch for image and configuration."""
        return (self.image,) if self.config in (None, self.image) else (self.image, self.config)


def candidates_in(packages: Iterable[Package], arch: Arch, flavour: str) -> tuple[Candidate, ...]:
    """Return the builds of one flavour among the packages of suites, oldest first, each version once."""
    by_id = {(package.suite, package.name, package.version): package for package in packages}
    suffix = FLAVOURS[flavour].get(arch)
    found: dict[str, Candidate] = {}
    for package in by_id.values():
        match = _IMAGE.match(package.name)
        if match and match.group(2) == suffix:
            candidate = _candidate(package, by_id, arch, flavour)
            if candidate is not None:
                found.setdefault(package.version, candidate)
    return tuple(sorted(found.values(), key=lambda candidate: version_key(candidate.package_version)))


_ById = dict[tuple[str, str, str], Package]


def _candidate(package: Package, by_id: _ById, arch: Arch, flavour: str) -> Candidate | None:
    release = package.name.removeprefix("linux-image-")
    depends = {name for name, _ in package.depends}

    def part(kind: str) -> Package | None:
        name = f"linux-{kind}-{release}"
        return by_id.get((package.suite, name, package.version)) if name in depends else package

    image, config, modules = part("binary"), part("base"), part("modules")
    if image is None:
        return None  # a suite in the middle of an update: the shell is there and its parts are not
    version = upstream(package.version)
    return Candidate(
        suite=package.suite,
        arch=arch,
        flavour=flavour,
        release=release,
        version=version,
        package_version=package.version,
        package=package.name,
        image=image,
        config=config,
        modules=modules,
    )


def candidates(archive: Archive, source: DebianSource, arch: Arch, *, refresh: bool = False) -> tuple[Candidate, ...]:
    """Return every build of the source's flavour in its suites, oldest first. Raises ``KernelUnavailable``."""
    return candidates_in(_packages(archive, source, arch, refresh=refresh), arch, source.flavour)


def select(archive: Archive, source: DebianSource, arch: Arch, *, refresh: bool = False) -> Candidate:
    """Return the build the source means. Raises ``NotOffered`` saying what the suites have instead."""
    packages = _packages(archive, source, arch, refresh=refresh)
    offered = candidates_in(packages, arch, source.flavour)
    chosen = [candidate for candidate in offered if _meant(source, arch, candidate, packages)]
    if chosen:
        return chosen[-1]
    where = f"{', '.join(source.suites)} ({DEBIAN_ARCH[arch]}, {source.flavour})"
    have = ", ".join(candidate.version for candidate in offered[-8:]) or "no kernel at all"
    raise NotOffered(f"no {describe(source)} in {where}; newest there: {have}")


def matches(source: DebianSource, version: str, package_version: str) -> bool:
    """Say whether a build fits ``release`` or ``version`` (a metapackage's target only an index knows)."""
    if source.version is not None:
        return package_version == source.version
    return source.release in (None, "newest") or within(version, str(source.release))


def describe(source: DebianSource) -> str:
    """Return what the source asks for, in a few words."""
    if source.version is not None:
        return f"package version {source.version}"
    if source.package is not None:
        return f"target of {source.package}"
    return "newest kernel" if source.release == "newest" else f"kernel {source.release}"


def _packages(archive: Archive, source: DebianSource, arch: Arch, *, refresh: bool) -> tuple[Package, ...]:
    return tuple(
        package for suite in source.suites for package in archive.packages(suite, DEBIAN_ARCH[arch], refresh=refresh)
    )


def _meant(source: DebianSource, arch: Arch, candidate: Candidate, packages: Sequence[Package]) -> bool:
    if source.package is None:
        return matches(source, candidate.version, candidate.package_version)
    name = source.package.replace("{arch}", DEBIAN_ARCH[arch])
    metapackages = [package for package in packages if package.name == name]
    newest = max(metapackages, key=lambda package: version_key(package.version), default=None)
    return newest is not None and (candidate.package, candidate.package_version) in newest.depends
