"""``source: tree``: built as the folder, the commit or the branch is now."""

from __future__ import annotations

from dataclasses import replace

from harness.errors import KernelUnavailable, ToolMissing
from harness.kernels.branches import knows, newest
from harness.kernels.providers.request import Provided, Request, as_it_is, no_modules, stored_exactly
from harness.kernels.tree_source import built_source
from harness.matrix.sources.tree import TreeSource


def provide_tree(request: Request, source: TreeSource) -> Provided:
    """Build what the source is now, as far as it changed."""
    if source.branch:
        return _branch(request, source)
    build = built_source(request.means.store, source, request.arch, request.say)
    return as_it_is(request, build, source.tree, no_modules(build))


def _branch(request: Request, source: TreeSource) -> Provided:
    """What a branch had when it was locked, or, where it is looked at anew, what it has now."""
    means, entry = request.means, request.valid_entry
    if entry is not None and not entry.commit:
        entry = None
    remarks: tuple[str, ...] = ()
    commit = entry.commit if entry is not None else ""
    if entry is None or means.update:
        try:
            commit = newest(means.store, source, request.say, offline=means.offline)
        except (KernelUnavailable, ToolMissing) as error:
            if entry is None:
                raise
            remarks = (request.remark(f"{error}; the locked commit is used: {commit[:12]}"),)
    if entry is not None and entry.commit == commit and (kept := stored_exactly(request, entry)) is not None:
        return Provided(kept, no_modules(kept), remarks=remarks)
    if not knows(means.store, source.tree, commit):
        _fetch_commit(request, source, commit)
    build = built_source(means.store, replace(source, commit=commit), request.arch, request.say)
    return Provided(build, no_modules(build), entry=request.lock_to(build, commit), remarks=remarks)


def _fetch_commit(request: Request, source: TreeSource, commit: str) -> None:
    """Fetch a branch for a commit that the lock names. Raises ``KernelUnavailable`` where the branch lacks it."""
    means = request.means
    if not means.offline:
        newest(means.store, source, request.say, offline=False)
    if means.offline or not knows(means.store, source.tree, commit):
        why = "fetching is off" if means.offline else "to take the newest one: sealmatrix kernels lock --update"
        raise KernelUnavailable(
            f"{source.branch_text} does not have commit {commit[:12]}, which {means.lock.path.name} names; {why}"
        )
