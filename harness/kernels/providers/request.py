"""What a provider is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import KernelUnavailable
from harness.kernels.archive import Archive
from harness.kernels.builds import Build, is_complete, stored_builds
from harness.kernels.lock import Lock, Locked, locked
from harness.kernels.model import ModuleLoader
from harness.kernels.modules import Loaded
from harness.kernels.store import Store
from harness.matrix.model import KernelSpec
from harness.model.architectures import Arch

Progress = Callable[[str, str, str], None]
"""Called from several threads with (kernel name, architecture, what is being done); the first two may be empty."""


@dataclass(frozen=True, kw_only=True)
class KernelMeans:
    """What every request may use. ``offline`` uses only what is stored, ``refresh`` reads indexes anew, ``update``
    disregards the lock."""

    store: Store
    archive: Archive
    lock: Lock
    progress: Progress
    offline: bool = False
    refresh: bool = False
    update: bool = False


@dataclass(frozen=True)
class Provided:
    """The build that an entry means, ``modules`` to load its modules with, and the lock entry where that is new.

    ``note`` is for the reader of a report, ``remarks`` are for the user now.
    """

    build: Build
    modules: ModuleLoader
    note: str = ""
    entry: Locked | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """One entry of the matrix on one architecture."""

    spec: KernelSpec
    arch: Arch
    means: KernelMeans

    def say(self, text: str) -> None:
        """Tell the user what is being done."""
        self.means.progress(self.spec.name, self.arch, text)

    def remark(self, text: str) -> str:
        """Return a sentence for the user that begins with the kernel it is about."""
        return f"{self.spec.name} ({self.arch}): {text}"

    @property
    def entry(self) -> Locked | None:
        """What the entry was locked to, whatever it asked for then."""
        return self.means.lock.entries.get((self.spec.name, self.arch))

    @property
    def valid_entry(self) -> Locked | None:
        """What the entry was locked to, if it still asks for the same."""
        entry = self.entry
        return entry if entry is not None and entry.asked == self.spec.source.asked else None

    def lock_to(self, build: Build, commit: str = "") -> Locked:
        """Return the lock entry for a build, from a commit of its branch if so."""
        return locked(self.spec, build, commit)


def stored_exactly(request: Request, entry: Locked) -> Build | None:
    """Return the build that a lock entry names, if it is stored whole."""
    for build in stored_builds(request.means.store):
        same = (build.image, build.config, build.arch) == (entry.image, entry.config, entry.arch)
        if same and build.packages == entry.triples() and is_complete(request.means.store, build):
            return build
    return None


def as_it_is(request: Request, build: Build, place: Path, modules: ModuleLoader) -> Provided:
    """A file is what it is now: whoever rebuilt a kernel means the new one, and is told that it changed."""
    entry, before = request.lock_to(build), request.entry
    if entry == before:
        return Provided(build, modules)
    changed = before is not None and before.image != entry.image
    remark = request.remark(f"{place} is not the build in the lock file; the new one is used")
    return Provided(build, modules, entry=entry, remarks=(remark,) if changed else ())


def no_modules(build: Build) -> ModuleLoader:
    """Return the loader for a build that has no modules."""

    def load(names: tuple[str, ...]) -> Loaded:
        if not names:
            return ()
        raise KernelUnavailable(
            f"{build.release}: module {names[0]} is wanted; name the folder of modules in the matrix"
        )

    return load
