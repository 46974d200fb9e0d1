"""Which stored kernels are kept: those that a lock file names, and those of runs that are kept."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from harness.kernels.builds import Build, stored_builds
from harness.kernels.debian_tree import symbols_of
from harness.kernels.store import Store, telling


@dataclass(frozen=True)
class Unused:
    """A build that nothing names, and what only it needs: digests of files, and bytes in all."""

    build: Build
    blobs: tuple[str, ...]
    size: int


def unused_builds(store: Store, images: Collection[str]) -> tuple[Unused, ...]:
    """The builds whose published image is none of ``images``, with the files that no other build needs."""
    builds = stored_builds(store)
    gone = [build for build in builds if build.image not in images]
    needed = {digest for build in builds if build.image in images for digest in _files(store, build)}
    counted: set[str] = set()
    found = []
    for build in gone:
        blobs = tuple(d for d in _files(store, build) if d not in needed and d not in counted and store.holds(d))
        counted.update(blobs)
        found.append(Unused(build, blobs, sum(path.stat().st_size for d in blobs if (path := store.locate(d)))))
    return tuple(found)


def _files(store: Store, build: Build) -> tuple[str, ...]:
    modules = (build.modules_package,) if build.modules_package else ()
    symbols = symbols_of(store, build.image)
    packages = tuple(digest for _, _, digest in (*build.packages, *modules))
    known = (build.image, build.boot, build.config, symbols.name if symbols else "", *packages)
    return tuple(dict.fromkeys(filter(None, known)))


def remove_builds(store: Store, unused: Collection[Unused]) -> None:
    """Remove builds: the record first, so that one removed in part is no build any more."""
    for one in unused:
        with store.lock(f"build {one.build.id}"), telling(store.root):
            (store.root / "records" / "builds" / f"{one.build.id}.json").unlink(missing_ok=True)
            for digest in one.blobs:
                if (path := store.locate(digest)) is not None:
                    path.unlink(missing_ok=True)
