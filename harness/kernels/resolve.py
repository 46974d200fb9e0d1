"""From entries of the matrix to kernels: the lock first, then the archive, then what is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from harness.errors import InfrastructureError, KernelUnavailable, StoreError, ToolMissing
from harness.kernels.archive import AptArchive, Archive
from harness.kernels.branches import knows, named, newest
from harness.kernels.builds import Build, is_complete, kernel_of, stored_builds
from harness.kernels.debian import Candidate, NotOffered, candidates, describe, matches, select
from harness.kernels.debian_tree import From, built_series
from harness.kernels.download import download, shown
from harness.kernels.fetch import (
    debian_modules,
    fetch_candidate,
    file_modules,
    package_modules,
    stored_file,
    stored_packages,
)
from harness.kernels.lock import Lock, Locked, LockKey, asked, locked, read_lock, update_lock
from harness.kernels.missing import refuse_missing
from harness.kernels.model import Kernel
from harness.kernels.packages import kind_of
from harness.kernels.store import Store
from harness.kernels.tree_source import built_source
from harness.kernels.versions import version_key
from harness.matrix.load import lock_path
from harness.matrix.model import (
    CellSpec,
    DebianSource,
    DebianTreeSource,
    FileSource,
    KernelSpec,
    MachineSource,
    Matrix,
    PackageSource,
    TreeSource,
    UrlSource,
)
from harness.model.architectures import Arch

Progress = Callable[[str, str, str], None]
"""Called from several threads with (kernel name, architecture, what is being done); the first two may be empty."""

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


@dataclass(frozen=True)
class _Outcome:
    build: Build
    note: str = ""
    entry: Locked | None = None
    remarks: tuple[str, ...] = field(default=())


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
    stop the others. Raises ``ConfigError`` for a damaged lock file and for a file of an entry that is not there. That
    the lock cannot be written is remarked: what was resolved can be run all the same.
    """
    cells = tuple(cells)
    refuse_missing(matrix, cells)
    store = store or Store()
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
    tell = progress or (lambda name, arch, text: None)
    resolver = _Resolver(store, archive or AptArchive(store), lock, offline, refresh, update, tell)
    pool = ThreadPoolExecutor(max_workers=_PARALLEL, thread_name_prefix="kernels")
    try:
        results = list(pool.map(lambda pair: resolver.attempt(*pair), wanted))
    finally:
        # Whoever interrupts does not wait for a package to be unpacked; what is kept is kept whole.
        pool.shutdown(wait=False, cancel_futures=True)
    kernels = {(spec.name, arch): kernel for (spec, arch), (kernel, _) in zip(wanted, results, strict=True)}
    outcomes = [outcome for _, outcome in results if outcome is not None]
    found = tuple(outcome.entry for outcome in outcomes if outcome.entry is not None)
    return Resolution(kernels, found, tuple(remark for outcome in outcomes for remark in outcome.remarks))


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


@dataclass(frozen=True)
class _Resolver:
    store: Store
    archive: Archive
    lock: Lock
    offline: bool
    refresh: bool
    update: bool
    progress: Progress

    def attempt(self, spec: KernelSpec, arch: Arch) -> tuple[Resolved, _Outcome | None]:
        """Resolve one entry; what cannot be had is returned, not raised."""
        try:
            outcome = self._outcome(spec, arch)
            kernel = kernel_of(self.store, outcome.build, spec.name, self._modules(spec, outcome.build), outcome.note)
            if kernel is None:
                raise KernelUnavailable("vanished from the store while it was being read; run again")
        except InfrastructureError as error:
            self.progress(spec.name, arch, "unavailable")
            return type(error)(f"{spec.name} ({arch}): {error}") if _is_plain(error) else error, None
        self.progress(spec.name, arch, f"ready: {kernel.release}")
        return kernel, outcome

    def _outcome(self, spec: KernelSpec, arch: Arch) -> _Outcome:
        match spec.source:
            case DebianSource():
                return self._debian(spec, arch)
            case FileSource() as source:
                self.progress(spec.name, arch, "reading")
                return self._as_it_is(spec, stored_file(self.store, source, arch), source.image)
            case PackageSource() as source:
                self.progress(spec.name, arch, "reading")
                return self._as_it_is(spec, stored_packages(self.store, source, arch), source.packages[0])
            case UrlSource() as source:
                return self._url(spec, source, arch)
            case TreeSource(branch=branch) as source if branch:
                return self._branch(spec, source, arch)
            case TreeSource() as source:
                build = built_source(self.store, source, arch, partial(self.progress, spec.name, arch))
                return self._as_it_is(spec, build, source.tree)
            case DebianTreeSource() as source:
                return self._series(spec, source, arch)
            case MachineSource():
                raise KernelUnavailable("is the kernel of a machine (`source: machine`); there is nothing to fetch")

    def _modules(self, spec: KernelSpec, build: Build) -> Callable[[tuple[str, ...]], tuple[tuple[str, bytes], ...]]:
        if isinstance(spec.source, DebianSource):
            return debian_modules(self.store, None if self.offline else self.archive, build)
        if isinstance(spec.source, FileSource) and spec.source.modules is not None:
            return file_modules(self.store, build, spec.source.modules)
        if isinstance(spec.source, PackageSource):
            return package_modules(self.store, spec.source, build)
        if isinstance(spec.source, UrlSource) and build.kind == "package":
            packages = tuple(download(self.store, url, lambda text: None, offline=True) for url in spec.source.urls)
            return package_modules(self.store, PackageSource(packages), build)
        return partial(_no_modules, build)

    # --- files and trees --------------------------------------------------------------------------------------------

    def _as_it_is(self, spec: KernelSpec, build: Build, place: Path) -> _Outcome:
        """A file is what it is now: whoever rebuilt a kernel means the new one, and is told that it changed."""
        entry, before = locked(spec, build), self.lock.entries.get((spec.name, build.arch))
        if entry == before:
            return _Outcome(build)
        changed = before is not None and before.image != entry.image
        remark = f"{spec.name} ({build.arch}): {place} is not the build in the lock file; the new one is used"
        return _Outcome(build, entry=entry, remarks=(remark,) if changed else ())

    def _series(self, spec: KernelSpec, source: DebianTreeSource, arch: Arch) -> _Outcome:
        """The lock file says which source is meant; another compiler makes another image of it, which is remarked."""
        entry = self.lock.entries.get((spec.name, arch))
        if entry is None or entry.asked != asked(spec) or self.update:
            entry = None
        whence = From(
            archive=None if self.offline else self.archive,
            version=entry.package_version if entry else "",
            offline=self.offline,
        )
        build = built_series(self.store, source, arch, partial(self.progress, spec.name, arch), whence)
        return self._as_it_is(spec, build, Path(build.where))

    def _branch(self, spec: KernelSpec, source: TreeSource, arch: Arch) -> _Outcome:
        """What a branch had when it was locked, or, where it is looked at anew, what it has now."""
        say, entry = partial(self.progress, spec.name, arch), self.lock.entries.get((spec.name, arch))
        if entry is not None and (entry.asked != asked(spec) or not entry.commit):
            entry = None
        remarks: tuple[str, ...] = ()
        commit = entry.commit if entry is not None else ""
        if entry is None or self.update:
            try:
                commit = newest(self.store, source, say, offline=self.offline)
            except (KernelUnavailable, ToolMissing) as error:
                if entry is None:
                    raise
                remarks = (f"{spec.name} ({arch}): {error}; the locked commit is used: {commit[:12]}",)
        if entry is not None and entry.commit == commit and (kept := self._stored_exactly(entry)) is not None:
            return _Outcome(kept, remarks=remarks)
        if not knows(self.store, source.tree, commit):
            self._fetch_commit(source, commit, say)
        build = built_source(self.store, replace(source, commit=commit), arch, say)
        return _Outcome(build, entry=locked(spec, build, commit), remarks=remarks)

    def _fetch_commit(self, source: TreeSource, commit: str, say: Callable[[str], None]) -> None:
        """Fetch a branch for a commit that the lock names. Raises ``KernelUnavailable`` where the branch lacks it."""
        if not self.offline:
            newest(self.store, source, say, offline=False)
        if self.offline or not knows(self.store, source.tree, commit):
            why = "fetching is off" if self.offline else "`sealmatrix kernels lock --update` takes the newest one"
            raise KernelUnavailable(
                f"{named(source)} does not have commit {commit[:12]}, which {self.lock.path.name} names; {why}"
            )

    # --- URLs -------------------------------------------------------------------------------------------------------

    def _url(self, spec: KernelSpec, source: UrlSource, arch: Arch) -> _Outcome:
        """What is behind a URL is locked: other bytes there later are an error, and nothing is fetched twice."""
        say = partial(self.progress, spec.name, arch)
        entry = self.lock.entries.get((spec.name, arch))
        locked_before = entry is not None and entry.asked == asked(spec) and not self.update
        files = [download(self.store, url, say, sha256=source.sha256, offline=self.offline) for url in source.urls]
        where = ", ".join(map(shown, source.urls))
        say("reading")
        if all(kind_of(path) for path in files):
            build = stored_packages(self.store, PackageSource(tuple(files)), arch, where)
        else:
            build = stored_file(self.store, FileSource(files[0]), arch, where)
        if locked_before and entry is not None and (entry.image, entry.triples()) != (build.image, build.packages):
            raise KernelUnavailable(
                f"{where}: has changed since {self.lock.path.name} was written; `kernels lock --update` accepts that"
            )
        return _Outcome(build, entry=None if locked_before else locked(spec, build))

    # --- Debian -----------------------------------------------------------------------------------------------------

    def _debian(self, spec: KernelSpec, arch: Arch) -> _Outcome:
        entry = self.lock.entries.get((spec.name, arch))
        if entry is None or self.update:
            return self._anew(spec, arch)
        if entry.asked != asked(spec):
            outcome = self._anew(spec, arch)
            remark = (
                f"{spec.name} ({arch}): its entry has changed since it was locked; it is now {outcome.build.release}"
            )
            return _Outcome(outcome.build, outcome.note, outcome.entry, (remark,))
        return _Outcome(self._stored_exactly(entry) or self._fetch_exactly(spec, entry))

    def _anew(self, spec: KernelSpec, arch: Arch) -> _Outcome:
        assert isinstance(spec.source, DebianSource)
        if self.offline:
            return self._stored_match(spec, spec.source, arch, "fetching is off")
        try:
            build = self._fetch_selected(spec, spec.source, arch)
        except (KernelUnavailable, ToolMissing) as error:
            return self._locked_before(spec, arch, str(error)) or self._stored_match(
                spec, spec.source, arch, str(error)
            )
        return _Outcome(build, entry=locked(spec, build))

    def _locked_before(self, spec: KernelSpec, arch: Arch, why: str) -> _Outcome | None:
        """What the entry was locked to, where nothing newer can be had."""
        entry = self.lock.entries.get((spec.name, arch))
        kept = self._stored_exactly(entry) if entry is not None and entry.asked == asked(spec) else None
        if kept is None:
            return None
        note = f"{why}; the locked build is used"
        return _Outcome(kept, note, remarks=(f"{spec.name} ({arch}): {note}: {kept.release}",))

    def _fetch_selected(self, spec: KernelSpec, source: DebianSource, arch: Arch) -> Build:
        say = partial(self.progress, spec.name, arch)
        say("reading the index")
        try:
            candidate = select(self.archive, source, arch, refresh=self.refresh)
            return fetch_candidate(self.store, self.archive, candidate, say)
        except KernelUnavailable:
            if self.refresh:
                raise
        # A kept index may name what the mirror has replaced since.
        candidate = select(self.archive, source, arch, refresh=True)
        return fetch_candidate(self.store, self.archive, candidate, say)

    def _stored_match(self, spec: KernelSpec, source: DebianSource, arch: Arch, why: str) -> _Outcome:
        """Fall back on the newest stored build that fits, and say so; it is not locked, for it was not resolved."""
        fitting = [
            build
            for build in stored_builds(self.store)
            if (build.kind, build.arch, build.flavour) == ("debian", arch, source.flavour)
            and build.suite in source.suites
            and matches(source, build.version, build.package_version)
            and is_complete(self.store, build)
        ]
        if not fitting:
            raise KernelUnavailable(f"{why}; and no {describe(source)} is stored")
        newest = max(fitting, key=lambda build: version_key(build.package_version))
        note = f"{why}; the newest stored build is used"
        return _Outcome(newest, note, remarks=(f"{spec.name} ({arch}): {note}: {newest.release}",))

    def _stored_exactly(self, entry: Locked) -> Build | None:
        for build in stored_builds(self.store):
            same = (build.image, build.config, build.arch) == (entry.image, entry.config, entry.arch)
            if same and build.packages == entry.triples() and is_complete(self.store, build):
                return build
        return None

    def _fetch_exactly(self, spec: KernelSpec, entry: Locked) -> Build:
        what = f"{self.lock.path.name} names {entry.release} ({entry.package_version}), which is not stored"
        if self.offline:
            raise KernelUnavailable(f"{what}, and --offline forbids fetching it")
        assert isinstance(spec.source, DebianSource)
        source = DebianSource((entry.suite,), spec.source.flavour, version=entry.package_version)
        try:
            build = self._fetch_selected(spec, source, entry.arch)
        except NotOffered as error:
            remedy = f"`sealmatrix kernels lock --update {spec.name}` takes the current build"
            raise NotOffered(f"{what}; {error}; {remedy}") from None
        except KernelUnavailable as error:
            raise KernelUnavailable(f"{what}; {error}") from None
        if (build.image, build.packages) != (entry.image, entry.triples()):
            raise KernelUnavailable(f"{what}; the archive now has different content under that version")
        return build


def _no_modules(build: Build, names: tuple[str, ...]) -> tuple[tuple[str, bytes], ...]:
    if not names:
        return ()
    raise KernelUnavailable(f"{build.release}: module {names[0]} is wanted; name the folder of modules in the matrix")


def _is_plain(error: InfrastructureError) -> bool:
    """Errors that are one sentence can be told again with the kernel's name in front; the store's name a path."""
    return type(error).__init__ is Exception.__init__ and not isinstance(error, StoreError)
