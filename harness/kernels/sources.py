"""Kernel sources out of Debian's ``linux-source-X.Y`` packages, fetched and unpacked once into the store's cache."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InfrastructureError, KernelUnavailable, ToolMissing
from harness.kernels.archive import AptArchive, Archive, Package, Saying
from harness.kernels.packages import package_files
from harness.kernels.store import Store, telling
from harness.kernels.versions import version_key
from harness.processes.children import run

_ARCHITECTURE = "amd64"  # source packages are "all" and stand in every architecture's index
# In the order they are asked: what is stable first, what is unreleased last.
_SUITES = ("trixie", "trixie-backports", "sid", "bookworm-backports", "experimental")
_TARBALL = re.compile(r"usr/src/linux-source-[\d.]+\.tar\.xz\Z")


@dataclass(frozen=True)
class SourceTree:
    """An unpacked source. ``where`` names it for reports: package and version."""

    path: Path
    where: str
    version: str = ""


def debian_source(
    series: str,
    say: Saying,
    *,
    store: Store | None = None,
    archive: Archive | None = None,
    version: str = "",
    offline: bool = False,
) -> SourceTree:
    """Return the newest source of a series ("6.12") in the first suite that has it; offline, what is unpacked.

    With ``version``, exactly that one of the package is meant, unpacked or in any suite. Raises
    ``KernelUnavailable``, ``ToolMissing`` or ``StoreError``.
    """
    store = store or Store()
    root = store.root / "sources"
    name = f"linux-source-{series}"
    if version and (there := root / _folder(name, version)).is_dir():
        return SourceTree(there, f"{name} {version}", version)
    try:
        if offline:
            raise KernelUnavailable(f"{name}{f' {version}' if version else ''} is not unpacked, and fetching is off")
        package = _chosen(archive or AptArchive(store), name, version, say)
    except InfrastructureError as problem:
        if version:
            raise
        return _unpacked_already(root, series, problem)
    folder = root / _folder(package.name, package.version)
    with store.lock(f"source {folder.name}", say):
        if not folder.is_dir():
            _fetch(store, archive or AptArchive(store), package, folder, say)
    return SourceTree(folder, f"{package.name} {package.version}", package.version)


def _folder(name: str, version: str) -> str:
    return f"{name}_{version.replace(':', '%3a')}"


def _chosen(archive: Archive, name: str, version: str, say: Saying) -> Package:
    """The newest of the first suite that has one; with ``version``, that one of whichever suite."""
    problems: list[KernelUnavailable] = []
    for suite in _SUITES:
        say(f"reading the index of {suite}")
        try:
            found = [p for p in archive.packages(suite, _ARCHITECTURE) if p.name == name and version in ("", p.version)]
        except KernelUnavailable as problem:
            problems.append(problem)
            continue
        if found:
            return max(found, key=lambda package: version_key(package.version))
    raise problems[0] if problems else KernelUnavailable(f"no suite of Debian has {f'{name} {version}'.strip()}")


def _unpacked_already(root: Path, series: str, problem: InfrastructureError) -> SourceTree:
    there = (path for path in root.glob(f"linux-source-{series}_*") if (path / "Kbuild").is_file())
    stored = sorted(there, key=lambda path: version_key(path.name.partition("_")[2]))
    if not stored:
        raise problem
    version = stored[-1].name.partition("_")[2].replace("%3a", ":")
    return SourceTree(stored[-1], f"linux-source-{series} {version}", version)


def _fetch(store: Store, archive: Archive, package: Package, folder: Path, say: Saying) -> None:
    """Download, take the tarball out, unpack, and rename into place: a folder that exists is whole."""
    for program, owner in (("tar", "tar"), ("xz", "xz-utils")):
        if shutil.which(program) is None:
            raise ToolMissing(program, owner)
    with store.scratch() as scratch, telling(folder):
        (file,) = archive.download(_ARCHITECTURE, [package], scratch, say)
        say("unpacking")
        for name, content in package_files(file):
            if _TARBALL.match(name):
                (scratch / "source.tar.xz").write_bytes(content)
                break
        else:
            raise KernelUnavailable(f"{file.name}: holds no source")
        file.unlink()
        unpacked = scratch / "tree"
        unpacked.mkdir()
        _untar(scratch / "source.tar.xz", unpacked)
        folder.parent.mkdir(parents=True, exist_ok=True)
        unpacked.rename(folder)


def _untar(tarball: Path, folder: Path) -> None:
    argv = ["tar", "-xJf", str(tarball), "-C", str(folder), "--strip-components=1", "--no-same-owner"]
    done = run(argv, what="unpacking a kernel's source")
    if done.status:
        raise KernelUnavailable(f"cannot unpack the source: {done.err.decode('utf-8', 'replace').strip()[:200]}")
