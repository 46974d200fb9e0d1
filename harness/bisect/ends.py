"""Ends of a search that are kernels of a person's own: an image, a built tree, packages, or a URL of one.

Such a kernel takes its place among the builds of the suites by its version. Over commits it stands for the commit that
it was built from: its release names that, or else the tag of its version does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.bisect.candidates import BisectBuild, BisectBuilds
from harness.bisect.repository import KernelRepository
from harness.bisect.session import BisectOptions
from harness.errors import InfrastructureError, UsageError, some_of
from harness.kernels.argument import Reading, read_arguments
from harness.kernels.download import is_url
from harness.kernels.model import Kernel
from harness.kernels.resolve import provide
from harness.kernels.store import Store
from harness.matrix.model import Matrix
from harness.matrix.plan import STANDARD, plan_cells
from harness.matrix.sources.debian import DebianSource
from harness.matrix.sources.machine import MachineSource
from harness.model.architectures import Arch
from harness.model.version import version_order

_COMMIT = re.compile(r"-g([0-9a-f]{8,40})(?=$|[-+.])")
_VERSION = re.compile(r"\d+\.\d+")


@dataclass(frozen=True, kw_only=True)
class OwnKernel:
    """An end that was given as files. ``words`` mean it again, from anywhere; ``name`` is what a report calls it."""

    option: str
    words: tuple[str, ...]
    kernel: Kernel

    @property
    def name(self) -> str:
        """What it is called: its own name, which no build of a suite has."""
        return self.kernel.name

    @property
    def build(self) -> BisectBuild:
        """The kernel as a point of a search."""
        kernel = self.kernel
        return BisectBuild(kernel.name, kernel.version, kernel.release, "", lambda: kernel, own=True)

    @property
    def told(self) -> str:
        """How a message names it."""
        return f"{self.option} {self.name} ({self.kernel.release})"


def own_ends(task: BisectOptions, matrix: Matrix) -> tuple[BisectOptions, tuple[OwnKernel, ...]]:
    """Read the ends that are given as files or URLs, and name them in the task; the first one may say for which
    architecture."""
    read: list[OwnKernel | None] = []
    for option, words in (("--good", task.good_words), ("--bad", task.bad_words)):
        if not words or not _is_own(words, matrix, listed=task.kernels, revisions=bool(task.tree)):
            read.append(None)
            continue
        wanted = None if task.any_arch else task.arch
        one = _read(option, words, matrix, wanted, offline=task.offline)
        task = replace(task, arch=one.kernel.arch, any_arch=False)
        read.append(one)
    good, bad = _apart(*read)
    task = replace(
        task,
        good=good.name if good else task.good,
        good_words=good.words if good else (),
        bad=bad.name if bad else task.bad,
        bad_words=bad.words if bad else (),
    )
    return task, tuple(filter(None, (good, bad)))


def _is_own(words: Sequence[str], matrix: Matrix, *, listed: Sequence[str] = (), revisions: bool = False) -> bool:
    """Say whether an end is a kernel of files or URLs, or an entry of the matrix that is none of Debian's and not
    among the ``listed`` ones that are searched. A file that is called like a version or an entry has to be written
    with a slash, as everywhere; with ``revisions`` what has one and is no file is a revision."""
    word, *more = words
    if more or is_url(word) or word.startswith("~"):
        return True
    if (entry := matrix.kernels.get(word)) is not None:
        return not isinstance(entry.source, DebianSource | MachineSource) and not listed
    if Path(word).exists():
        return "/" in word or not _VERSION.fullmatch(word)
    return "/" in word and not revisions


def _read(option: str, words: Sequence[str], matrix: Matrix, arch: Arch | None, *, offline: bool) -> OwnKernel:
    """Read a kernel that was given as an end. ``arch`` is the one it has to be for, if any.

    Raises ``UsageError``, one line, for words that are no kernel, or several.
    """
    reading = Reading(
        store=Store(), say=lambda text: None, arches=(arch,) if arch else (), offline=offline
    )  # fmt: skip
    try:
        known, names = read_arguments(matrix, words, reading)
    except UsageError as problem:
        raise UsageError(f"{option} {problem}") from None
    if len(names) != 1:
        raise UsageError(f"{option} {' '.join(words)}: {len(names)} kernels, and an end is one: {some_of(names)}")
    (cell, *_) = plan_cells(known, kernels=names, profiles=[STANDARD])
    (found,) = provide(known, [cell], offline=offline).kernels.values()
    if isinstance(found, InfrastructureError):
        raise UsageError(f"{option} {' '.join(words)}: {found}")
    meant = (names[0],) if names[0] in matrix.kernels else known.kernels[names[0]].source.words
    return OwnKernel(option=option, words=meant, kernel=found)


def commit_of(repository: KernelRepository, own: OwnKernel) -> str:
    """The commit a kernel was built from: as ``CONFIG_LOCALVERSION_AUTO`` has put it into the release, or the tag of
    its version. Raises ``UsageError``."""
    named = _COMMIT.search(own.kernel.release)
    if named and repository.knows(named[1]):
        return repository.resolve(own.told, named[1])
    if repository.knows(f"v{own.kernel.version}"):
        return repository.resolve(own.told, f"v{own.kernel.version}")
    raise UsageError(
        f"{own.told}: {repository.folder} does not have its commit, nor v{own.kernel.version}; give a revision"
    )


def _apart(good: OwnKernel | None, bad: OwnKernel | None) -> tuple[OwnKernel | None, OwnKernel | None]:
    """Give two kernels that are called alike two names."""
    if good and bad and good.name == bad.name:
        return good, replace(bad, kernel=replace(bad.kernel, name=f"{bad.name}-2"))
    return good, bad


def with_own(choices: BisectBuilds, own: Sequence[OwnKernel], *, older: str) -> BisectBuilds:
    """Put kernels among builds by their versions, behind those of their own; only a single one that is the ``older``
    end stands before those, so that the other end may be one of them.

    Around builds that stand in an order of the person's, they are the first and the last. Raises ``UsageError`` for a
    kernel that does not say its version.
    """
    builds = list(choices.builds)
    ordered = all(build.version for build in builds)
    for one in sorted(own, key=lambda one: one.option != older):
        mine, first = version_order(one.kernel.version), one.option == older
        if ordered and not mine:
            raise UsageError(f"{one.told}: its release does not begin with a version, so it has no place among builds")
        orders = [version_order(build.version) for build in builds]
        if not ordered:
            at = 0 if first else len(builds)
        elif first and len(own) == 1:
            at = sum(order < mine for order in orders)
        else:
            at = sum(order <= mine for order in orders)
        builds.insert(at, one.build)
    return replace(choices, builds=tuple(builds))
