"""From entries of the matrix to kernels, several at once, under the lock file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from harness.errors import InfrastructureError, KernelUnavailable, StoreError
from harness.kernels.archive import AptArchive, Archive
from harness.kernels.builds import kernel_of
from harness.kernels.debian import Candidate, candidates
from harness.kernels.fetch import (
    debian_modules,
    fetch_candidate,
)
from harness.kernels.lock import Lock, Locked, LockKey, read_lock, update_lock
from harness.kernels.missing import refuse_missing
from harness.kernels.model import Kernel
from harness.kernels.providers.debian import provide_debian
from harness.kernels.providers.debian_tree import provide_series
from harness.kernels.providers.files import provide_file, provide_packages
from harness.kernels.providers.request import KernelMeans, Progress, Provided, Request
from harness.kernels.providers.tree import provide_tree
from harness.kernels.providers.url import provide_url
from harness.kernels.store import Store
from harness.matrix.load import lock_path
from harness.matrix.model import CellSpec, KernelSpec, Matrix
from harness.matrix.sources.base import Source
from harness.matrix.sources.debian import DebianSource
from harness.matrix.sources.debian_tree import DebianTreeSource
from harness.matrix.sources.file import FileSource
from harness.matrix.sources.machine import MachineSource
from harness.matrix.sources.package import PackageSource
from harness.matrix.sources.tree import TreeSource
from harness.matrix.sources.url import UrlSource
from harness.model.architectures import Arch

Resolved = Kernel | InfrastructureError
_PARALLEL = 4


@dataclass(frozen=True)
class Resolution:
    """What became of each (kernel name, architecture), the lock entries that are new, and remarks for the user.

    ``unlocked`` says why the lock file could not be written, where it could not.
    """

    kernels: Mapping[LockKey, Resolved]
    found: tuple[Locked, ...] = ()
    remarks: tuple[str, ...] = ()
    unlocked: StoreError | None = None


def _of_machine(request: Request, source: MachineSource) -> Provided:
    raise KernelUnavailable("is the kernel of a machine (`source: machine`); there is nothing to fetch")


PROVIDERS: Mapping[type[Source], Callable[[Request, Any], Provided]] = {
    DebianSource: provide_debian,
    FileSource: provide_file,
    PackageSource: provide_packages,
    UrlSource: provide_url,
    TreeSource: provide_tree,
    DebianTreeSource: provide_series,
    MachineSource: _of_machine,
}
"""How a kernel of each source is had."""


def provide(
    matrix: Matrix,
    cells: Iterable[CellSpec],
    *,
    store: Store | None = None,
    archive: Archive | None = None,
    offline: bool = False,
    refresh: bool = False,
    update: bool = False,
    progress: Progress | None = None,
) -> Resolution:
    """Resolve the kernels of ``cells`` under the matrix's lock file, and keep what was found in it.

    ``offline`` uses only what is stored; ``refresh`` reads the suites' indexes anew; ``update`` disregards the lock.
    What a machine runs is nobody's to provide. One kernel that cannot be had is an error in its own place and does not
    stop the others. Raises ``ConfigError`` for a damaged lock file and for a file of an entry that is not there, and
    ``StoreError`` where there can be no store. That the lock cannot be written is remarked: what was resolved can be
    run all the same.
    """
    cells = tuple(cells)
    refuse_missing(matrix, cells)
    store = store or Store()
    store.prepare()
    path = lock_path(matrix)
    wanted = tuple(
        dict.fromkeys(
            (cell.kernel.name, cell.arch) for cell in cells if not isinstance(cell.kernel.source, MachineSource)
        )
    )
    resolution = resolve(
        [(matrix.kernels[name], arch) for name, arch in wanted],
        store=store,
        lock=read_lock(path),
        archive=archive,
        offline=offline,
        refresh=refresh,
        update=update,
        progress=progress,
    )
    valid = [(spec.name, arch) for spec in matrix.kernels.values() for arch in spec.arches if spec.listed]
    found = [entry for entry in resolution.found if matrix.kernels[entry.kernel].listed]
    try:
        if found:
            update_lock(store, path, found, valid)
    except StoreError as error:
        remark = f"{error}; a later run may resolve to other builds"
        return replace(resolution, remarks=(*resolution.remarks, remark), unlocked=error)
    return resolution


def resolve(
    wanted: Sequence[tuple[KernelSpec, Arch]],
    *,
    store: Store,
    lock: Lock,
    archive: Archive | None = None,
    offline: bool = False,
    refresh: bool = False,
    update: bool = False,
    progress: Progress | None = None,
) -> Resolution:
    """Resolve entries without touching the lock file; see ``provide``."""
    means = KernelMeans(
        store=store,
        archive=archive or AptArchive(store),
        lock=lock,
        progress=progress or (lambda name, arch, text: None),
        offline=offline,
        refresh=refresh,
        update=update,
    )
    requests = [Request(spec, arch, means) for spec, arch in wanted]
    pool = ThreadPoolExecutor(max_workers=_PARALLEL, thread_name_prefix="kernels")
    try:
        results = list(pool.map(_attempt, requests))
    finally:
        # Whoever interrupts does not wait for a package to be unpacked; what is kept is kept whole.
        pool.shutdown(wait=False, cancel_futures=True)
    kernels = {(spec.name, arch): kernel for (spec, arch), (kernel, _) in zip(wanted, results, strict=True)}
    provided = [one for _, one in results if one is not None]
    found = tuple(one.entry for one in provided if one.entry is not None)
    return Resolution(kernels, found, tuple(remark for one in provided for remark in one.remarks))


def available(
    source: DebianSource,
    arch: Arch,
    *,
    store: Store | None = None,
    archive: Archive | None = None,
    refresh: bool = False,
) -> tuple[Candidate, ...]:
    """Return every build of the source's flavour its suites offer, oldest first. Raises ``KernelUnavailable``."""
    return candidates(archive or AptArchive(store or Store()), source, arch, refresh=refresh)


def provide_candidate(
    candidate: Candidate, *, name: str, store: Store | None = None, archive: Archive | None = None
) -> Kernel:
    """Return the kernel one candidate is, fetched unless stored, called ``name``; no lock is involved."""
    store = store or Store()
    archive = archive or AptArchive(store)
    build = fetch_candidate(store, archive, candidate, lambda text: None)
    kernel = kernel_of(store, build, name, debian_modules(store, archive, build))
    if kernel is None:
        raise KernelUnavailable(f"{name}: vanished from the store while it was being read; run again")
    return kernel


def _attempt(request: Request) -> tuple[Resolved, Provided | None]:
    """Resolve one entry; what cannot be had is returned, not raised."""
    spec, arch = request.spec, request.arch
    try:
        provided = PROVIDERS[type(spec.source)](request, spec.source)
        kernel = kernel_of(request.means.store, provided.build, spec.name, provided.modules, provided.note)
        if kernel is None:
            raise KernelUnavailable("vanished from the store while it was being read; run again")
    except InfrastructureError as error:
        request.say("unavailable")
        return type(error)(f"{spec.name} ({arch}): {error}") if _is_plain(error) else error, None
    request.say(f"ready: {kernel.release}")
    return kernel, provided


def _is_plain(error: InfrastructureError) -> bool:
    """Errors that are one sentence can be told again with the kernel's name in front; the store's name a path."""
    return type(error).__init__ is Exception.__init__ and not isinstance(error, StoreError)
