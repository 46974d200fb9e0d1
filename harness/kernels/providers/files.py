"""``source: file`` and ``source: package``: read anew each time, for whoever rebuilt a kernel means the new one."""

from __future__ import annotations

from harness.kernels.fetch import file_modules, package_modules, stored_file, stored_packages
from harness.kernels.providers.request import Provided, Request, as_it_is, no_modules
from harness.matrix.sources.file import FileSource
from harness.matrix.sources.package import PackageSource


def provide_file(request: Request, source: FileSource) -> Provided:
    """Store an image on disk."""
    request.say("reading")
    store = request.means.store
    build = stored_file(store, source, request.arch)
    modules = file_modules(store, build, source.modules) if source.modules is not None else no_modules(build)
    return as_it_is(request, build, source.image, modules)


def provide_packages(request: Request, source: PackageSource) -> Provided:
    """Store the kernel in packages on disk."""
    request.say("reading")
    store = request.means.store
    build = stored_packages(store, source, request.arch)
    return as_it_is(request, build, source.packages[0], package_modules(store, source, build))
