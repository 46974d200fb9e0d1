"""Which builds are searched: every version the suites offer or the store still has, or entries of the matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial

from harness.errors import InfrastructureError, KernelUnavailable, ToolMissing, UsageError, nearest
from harness.kernels.archive import Archive
from harness.kernels.builds import Build, is_complete, kernel_of, stored_builds
from harness.kernels.debian import matches
from harness.kernels.fetch import debian_modules
from harness.kernels.model import Kernel
from harness.kernels.resolve import available, provide, provide_candidate
from harness.kernels.store import Store
from harness.kernels.versions import version_key, within
from harness.matrix.model import CellSpec, Matrix
from harness.matrix.plan import STANDARD
from harness.matrix.sources.debian import DebianSource
from harness.model.architectures import Arch


@dataclass(frozen=True)
class BisectBuild:
    """One build that may be asked. ``name`` tells it from all others, ``version`` is upstream's ("" when unknown);
    ``get`` fetches it and raises ``InfrastructureError`` when it cannot be had. An ``own`` one is a kernel of the
    person's, which only its name means."""

    name: str
    version: str
    release: str
    suite: str
    get: Callable[[], Kernel] = field(repr=False, compare=False)
    own: bool = False


@dataclass(frozen=True)
class BisectBuilds:
    """Builds, oldest first, and what the user should know about the list."""

    builds: tuple[BisectBuild, ...]
    remarks: tuple[str, ...] = ()


def from_suites(
    matrix: Matrix,
    arch: Arch,
    flavour: str = "cloud",
    *,
    offline: bool = False,
    store: Store | None = None,
    archive: Archive | None = None,
) -> BisectBuilds:
    """Every build of a flavour in any suite the matrix names, and those stored builds that have left the archive."""
    store = store or Store()
    sources = [k.source for k in matrix.kernels.values() if isinstance(k.source, DebianSource)]
    suites = tuple(dict.fromkeys(suite for source in sources for suite in source.suites))
    found: dict[str, BisectBuild] = {}
    remarks: tuple[str, ...] = ()
    if not offline:
        try:
            for candidate in available(DebianSource(suites, flavour), arch, store=store, archive=archive):
                name = candidate.package_version
                get = partial(provide_candidate, candidate, name=name, store=store, archive=archive)
                found[name] = BisectBuild(name, candidate.version, candidate.release, candidate.suite, get)
        except (KernelUnavailable, ToolMissing) as problem:
            remarks = (f"{problem}; only stored kernels are searched",)
    for build in stored_builds(store):
        if (build.kind, build.arch, build.flavour) == ("debian", arch, flavour):
            get = partial(_stored, store, build)
            name = build.package_version
            found.setdefault(name, BisectBuild(name, build.version, build.release, build.suite, get))
    return BisectBuilds(tuple(sorted(found.values(), key=lambda choice: version_key(choice.name))), remarks)


def _stored(store: Store, build: Build) -> Kernel:
    name = build.package_version
    kernel = kernel_of(store, build, name, debian_modules(store, None, build)) if is_complete(store, build) else None
    if kernel is None:
        raise KernelUnavailable(f"{name}: no longer stored, and it has left the archive")
    return kernel


def from_matrix(matrix: Matrix, arch: Arch, globs: Sequence[str], *, offline: bool = False) -> BisectBuilds:
    """Entries of the matrix in the order they are named, those of one glob in the matrix's. Raises ``UsageError``."""
    names: dict[str, None] = {}
    for glob in globs:
        taken = [name for name in matrix.kernels if fnmatchcase(name, glob)]
        if not taken:
            near = nearest(glob, matrix.kernels, listed_by="sealmatrix kernels list")
            raise UsageError(f"--kernels {glob}: {matrix.path} has no such kernel{near}")
        names.update(dict.fromkeys(taken))
    fitting = [name for name in names if arch in matrix.kernels[name].arches]
    return BisectBuilds(
        tuple(BisectBuild(name, "", "", "", partial(_entry, matrix, name, arch, offline)) for name in fitting)
    )


def _entry(matrix: Matrix, name: str, arch: Arch, offline: bool) -> Kernel:
    spec = CellSpec(matrix.kernels[name], arch, matrix.profiles[STANDARD])
    found = provide(matrix, [spec], offline=offline).kernels[name, arch]
    if isinstance(found, InfrastructureError):
        raise found
    return found


def between(choices: BisectBuilds, matrix: Matrix, good: str, bad: str, *, fixed: bool) -> tuple[BisectBuild, ...]:
    """The builds from one end to the other, oldest first. Raises ``UsageError`` when they are no two ends."""
    builds = choices.builds
    if len(builds) < 2:
        raise UsageError("fewer than two kernels to search; to list them: sealmatrix bisect --list")
    ends = {"--good": _find(builds, matrix, "--good", good), "--bad": _find(builds, matrix, "--bad", bad)}
    old, new = ("--bad", "--good") if fixed else ("--good", "--bad")
    if ends[old] == ends[new]:
        raise UsageError(f"--good {good} and --bad {bad} are the same kernel: {builds[ends[old]].name}")
    if ends[old] > ends[new]:
        remedy = "leave --fixed out" if fixed else "add --fixed to find the first good kernel"
        older, newer = builds[ends[old]].name, builds[ends[new]].name
        raise UsageError(
            f"the {old[2:]} kernel {older} is newer than the {new[2:]} one {newer}; swap them, or {remedy}"
        )
    return builds[ends[old] : ends[new] + 1]


def _find(builds: Sequence[BisectBuild], matrix: Matrix, option: str, text: str) -> int:
    """A build by package version, release, upstream version (the newest that fits) or entry of the matrix."""
    for i, choice in enumerate(builds):
        if choice.own and choice.name == text:
            return i
    offered = [(i, choice) for i, choice in enumerate(builds) if not choice.own]
    if text in ("oldest", "newest") and offered:
        return offered[0 if text == "oldest" else -1][0]
    if named := [i for i, choice in offered if text in (choice.name, choice.release)]:
        return named[-1]
    if hits := [i for i, choice in offered if choice.version and within(choice.version, text)]:
        return hits[-1]
    entry = matrix.kernels.get(text)
    if entry is not None and isinstance(entry.source, DebianSource):
        source = entry.source
        fitting = [i for i, c in offered if c.suite in source.suites and matches(source, c.version, c.name)]
        if fitting:
            return fitting[-1]
    names = [choice.version or choice.name for _, choice in offered]
    raise UsageError(
        f"{option} {text}: no such kernel here{nearest(text, names, listed_by='sealmatrix bisect --list')}"
    )
