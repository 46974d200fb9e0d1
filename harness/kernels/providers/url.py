"""``source: url``: fetched once and locked; other bytes there later are an error."""

from __future__ import annotations

from harness.errors import KernelUnavailable
from harness.kernels.download import download
from harness.kernels.fetch import package_modules, stored_file, stored_packages
from harness.kernels.packages import kind_of
from harness.kernels.providers.request import Provided, Request, no_modules
from harness.matrix.sources.file import FileSource
from harness.matrix.sources.package import PackageSource
from harness.matrix.sources.url import UrlSource


def provide_url(request: Request, source: UrlSource) -> Provided:
    """Fetch the files unless they are stored, and store the kernel in them."""
    means = request.means
    locked = None if means.update else request.valid_entry
    files = tuple(
        download(means.store, url, request.say, sha256=source.sha256, offline=means.offline) for url in source.urls
    )
    where = ", ".join(source.words)
    request.say("reading")
    if all(kind_of(path) for path in files):
        packages = PackageSource(files)
        build = stored_packages(means.store, packages, request.arch, where)
        modules = package_modules(means.store, packages, build)
    else:
        build = stored_file(means.store, FileSource(files[0]), request.arch, where)
        modules = no_modules(build)
    if locked is not None and (locked.image, locked.triples()) != (build.image, build.packages):
        raise KernelUnavailable(
            f"{where}: has changed since {means.lock.path.name} was written; "
            "to accept that: sealmatrix kernels lock --update"
        )
    return Provided(build, modules, entry=None if locked is not None else request.lock_to(build))
