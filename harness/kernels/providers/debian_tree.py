"""``source: debian-source``: built once from the source package that the lock names, else from the newest."""

from __future__ import annotations

from pathlib import Path

from harness.kernels.debian_tree import From, built_series
from harness.kernels.providers.request import Provided, Request, as_it_is, no_modules
from harness.matrix.sources.debian_tree import DebianTreeSource


def provide_series(request: Request, source: DebianTreeSource) -> Provided:
    """The lock file says which source is meant; another compiler makes another image of it, which is remarked."""
    means = request.means
    entry = None if means.update else request.valid_entry
    whence = From(
        archive=None if means.offline else means.archive,
        version=entry.package_version if entry else "",
        offline=means.offline,
    )
    build = built_series(means.store, source, request.arch, request.say, whence)
    return as_it_is(request, build, Path(build.where), no_modules(build))
