"""The Debian packages the static Python is made of: which ones, and getting their files.

``python.lock`` names each by version and sha256, so that every machine builds the same program. A version that has left
the archive and is not stored is replaced by the suite's present one: the interpreter is a tool and not what is tested,
apt has checked its signature, and a payload's sha256, which every run keeps, tells which one it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

from harness.errors import BuildError, KernelUnavailable
from harness.kernels.archive import AptArchive, Package, Saying
from harness.kernels.packages import package_files
from harness.kernels.store import Store
from harness.model.architectures import DEBIAN_ARCH, Arch
from harness.model.json_text import parse_json

# Bookworm's Python is 3.11, which is also the oldest the harness itself runs on: what a host's own parser accepts as a
# scenario of 3.11, this interpreter does. It is a third smaller than 3.13, and starts faster.
SUITE = "bookworm"
PYTHON = "3.11"
NAMES = (
    f"libpython{PYTHON}-dev",
    f"libpython{PYTHON}-minimal",
    f"libpython{PYTHON}-stdlib",
    "libc6-dev",
    "libexpat1-dev",
    "libgcc-12-dev",
    "zlib1g-dev",
)
LOCK = Path(__file__).with_name("python.lock")


class Packages(Protocol):
    """Where packages come from; the seam at which tests put a fake."""

    def named(self, suite: str, architecture: str, names: Iterable[str]) -> tuple[Package, ...]:
        """Return a suite's packages of these names."""
        ...

    def download(self, architecture: str, packages: Sequence[Package], folder: Path, say: Saying) -> list[Path]:
        """Fetch packages of one suite into ``folder``, verified; returns the files in the same order."""
        ...


@dataclass(frozen=True)
class Pinned:
    """A package by version and the sha256 of its .deb."""

    name: str
    version: str
    sha256: str


def pinned(arch: Arch, lock: Path = LOCK) -> tuple[Pinned, ...]:
    """The packages ``python.lock`` names for an architecture. Raises ``BuildError`` when it does not name them all."""
    try:
        rows = parse_json(lock.read_text(encoding="utf-8"))[arch]
        found = tuple(Pinned(*(row[field] for field in ("name", "version", "sha256"))) for row in rows)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise BuildError(f"{lock}: cannot be read: {problem!r}; reinstall sealmatrix") from None
    if sorted(package.name for package in found) != sorted(NAMES):
        raise BuildError(f"{lock}: does not name {', '.join(NAMES)} for {arch}; reinstall sealmatrix")
    return found


def obtain(arch: Arch, wanted: Sequence[Pinned], store: Store, packages: Packages, say: Saying) -> tuple[Pinned, ...]:
    """Have the packages in the store; returns those that were had. Raises ``KernelUnavailable`` or ``StoreError``."""
    with store.lock(f"python packages {arch}", say):
        absent = [package for package in wanted if store.find(package.sha256) is None]
        if not absent:
            return tuple(wanted)
        offered = {p.name: p for p in packages.named(SUITE, DEBIAN_ARCH[arch], [p.name for p in absent])}
        if lacking := [package.name for package in absent if package.name not in offered]:
            raise KernelUnavailable(f"the archive's {SUITE} ({arch}) has no {', '.join(lacking)}")
        had = {p.name: Pinned(p.name, p.version, p.sha256) for p in offered.values()}
        fresh = [p for p in offered.values() if store.find(p.sha256) is None]
        with store.scratch() as folder:
            files = packages.download(DEBIAN_ARCH[arch], fresh, folder, say) if fresh else []
            for package, file in zip(fresh, files, strict=True):
                store.take(file, package.sha256)
        return tuple(had.get(package.name, package) for package in wanted)


def contents(store: Store, packages: Iterable[Pinned]) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every file of the packages. Raises ``KernelUnavailable`` for a damaged one."""
    paths = []
    for package in packages:
        path = store.find(package.sha256)
        if path is None:
            raise KernelUnavailable(f"{package.name}: vanished from the store while it was being read; run again")
        paths.append(path)
    return chain.from_iterable(map(package_files, paths))


def system_packages(store: Store) -> Packages:
    """The archive this machine's apt, or ``SEALMATRIX_MIRROR``, names."""
    return AptArchive(store)
