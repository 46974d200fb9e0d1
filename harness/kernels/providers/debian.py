"""``source: debian``: the lock first, then the archive, then what is stored."""

from __future__ import annotations

import shlex
from dataclasses import replace

from harness.errors import KernelUnavailable, ToolMissing
from harness.kernels.builds import Build, is_complete, stored_builds
from harness.kernels.debian import NotOffered, describe, matches, select
from harness.kernels.fetch import debian_modules, fetch_candidate
from harness.kernels.lock import Locked
from harness.kernels.providers.request import Provided, Request, stored_exactly
from harness.kernels.versions import version_key
from harness.matrix.sources.debian import DebianSource


def provide_debian(request: Request, source: DebianSource) -> Provided:
    """Return the build that the lock names, else the one that the suites have now."""
    entry = request.entry
    if entry is None or request.means.update:
        return _anew(request, source)
    if entry.asked != source.asked:
        provided = _anew(request, source)
        changed = f"its entry has changed since it was locked; it is now {provided.build.release}"
        return replace(provided, remarks=(request.remark(changed),))
    return _provided(request, stored_exactly(request, entry) or _fetch_exactly(request, source, entry))


def _provided(request: Request, build: Build, note: str = "") -> Provided:
    means = request.means
    modules = debian_modules(means.store, None if means.offline else means.archive, build)
    return Provided(build, modules, note)


def _anew(request: Request, source: DebianSource) -> Provided:
    if request.means.offline:
        return _stored_match(request, source, "fetching is off")
    try:
        build = _fetch_selected(request, source)
    except (KernelUnavailable, ToolMissing) as error:
        return _locked_before(request, str(error)) or _stored_match(request, source, str(error))
    return replace(_provided(request, build), entry=request.lock_to(build))


def _locked_before(request: Request, why: str) -> Provided | None:
    """What the entry was locked to, where nothing newer can be had."""
    entry = request.valid_entry
    kept = stored_exactly(request, entry) if entry is not None else None
    if kept is None:
        return None
    return _instead(request, kept, f"{why}; the locked build is used")


def _instead(request: Request, build: Build, note: str) -> Provided:
    """A build that nothing resolved to: it is not locked, and the user is told."""
    return replace(_provided(request, build, note), remarks=(request.remark(f"{note}: {build.release}"),))


def _fetch_selected(request: Request, source: DebianSource) -> Build:
    means = request.means
    request.say("reading the index")
    try:
        candidate = select(means.archive, source, request.arch, refresh=means.refresh)
        return fetch_candidate(means.store, means.archive, candidate, request.say)
    except KernelUnavailable:
        if means.refresh:
            raise
    # A kept index may name what the mirror has replaced since.
    candidate = select(means.archive, source, request.arch, refresh=True)
    return fetch_candidate(means.store, means.archive, candidate, request.say)


def _stored_match(request: Request, source: DebianSource, why: str) -> Provided:
    """Fall back on the newest stored build that fits."""
    store = request.means.store
    fitting = [
        build
        for build in stored_builds(store)
        if (build.kind, build.arch, build.flavour) == ("debian", request.arch, source.flavour)
        and build.suite in source.suites
        and matches(source, build.version, build.package_version)
        and is_complete(store, build)
    ]
    if not fitting:
        raise KernelUnavailable(f"{why}; and no {describe(source)} is stored")
    newest = max(fitting, key=lambda build: version_key(build.package_version))
    return _instead(request, newest, f"{why}; the newest stored build is used")


def _fetch_exactly(request: Request, source: DebianSource, entry: Locked) -> Build:
    what = f"{request.means.lock.path.name} names {entry.release} ({entry.package_version}), which is not stored"
    if request.means.offline:
        raise KernelUnavailable(f"{what}, and --offline forbids fetching it")
    locked_source = DebianSource((entry.suite,), source.flavour, version=entry.package_version)
    try:
        build = _fetch_selected(request, locked_source)
    except NotOffered as error:
        remedy = f"to take the current build: sealmatrix kernels lock --update {shlex.quote(request.spec.name)}"
        raise NotOffered(f"{what}; {error}; {remedy}") from None
    except KernelUnavailable as error:
        raise KernelUnavailable(f"{what}; {error}") from None
    if (build.image, build.packages) != (entry.image, entry.triples()):
        raise KernelUnavailable(f"{what}; the archive now has different content under that version")
    return build
