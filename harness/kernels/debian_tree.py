"""``source: debian-source``: a kernel built once from a source package of Debian's, with fragments, and kept.

What was built is known by its content: the package's version, the architecture and the text of every fragment. So two
entries, two runs and two machines with one cache share it, and nobody needs a compiler for what is kept.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import KernelUnavailable
from harness.kernels.archive import Archive, Saying
from harness.kernels.builds import Build, is_complete, make_build, stored_builds
from harness.kernels.sources import SourceTree, debian_source
from harness.kernels.store import Store, telling
from harness.kernels.tree import build_tree, check_tools, own_fragments, watched
from harness.kernels.tree_links import link_tree
from harness.kernels.tree_source import fragment_file
from harness.matrix.sources.debian_tree import DebianTreeSource
from harness.model.architectures import Arch

SYMBOLS = "symbols"


@dataclass(frozen=True, kw_only=True)
class From:
    """Where a source may come from: ``version`` of the package, "" for the newest; not fetched where ``offline``."""

    archive: Archive | None = None
    version: str = ""
    offline: bool = False


def built_series(store: Store, source: DebianTreeSource, arch: Arch, say: Saying, whence: From) -> Build:
    """Return the kernel that ``source`` means, built unless it is kept.

    Raises ``UsageError`` for what is no fragment, ``KernelUnavailable``, ``ToolMissing``, ``BuildError`` or
    ``StoreError``.
    """
    extra = tuple(fragment_file(fragment) for fragment in source.fragments)
    tree = debian_source(
        source.series, say, store=store, archive=whence.archive, version=whence.version, offline=whence.offline
    )
    fragments = (*own_fragments(arch, _numbers(source.series)), *extra)
    ident = _ident(tree, arch, fragments)
    if (kept := _kept(store, ident)) is not None:
        return kept
    check_tools(arch)
    with store.lock("kernels from source packages", say):  # make uses every core by itself
        return _kept(store, ident) or _built(store, source, arch, say, tree, fragments, ident)


def _built(
    store: Store, source: DebianTreeSource, arch: Arch, say: Saying, tree: SourceTree, fragments: Sequence[Path],
    ident: str,
) -> Build:  # fmt: skip
    folder = store.root / "builds" / ident
    flavour = flavour_of(source)
    say(f"building {tree.where} ({flavour}): many minutes, and never again while it is kept")
    with telling(folder):
        link_tree(tree.path, folder / "tree")
    out = folder / "build"
    with watched(out, f"building {tree.where} ({flavour})", say):
        built = build_tree(folder / "tree", arch, out, fragments)
    with telling(folder):
        image, config = built.image.read_bytes(), (out / ".config").read_bytes()
        build = make_build(
            store, image, config, arch,
            kind="tree", where=tree.where, suite="", flavour=flavour, release=built.release,
            package_version=tree.version,
        )  # fmt: skip
        if built.config.get("KCOV") == "y":
            store.write_record(f"{SYMBOLS}/{build.image}", {"vmlinux": store.put((out / "vmlinux").read_bytes())})
        store.write_record(f"own/{ident}", {"image": build.image, "config": build.config, "arch": arch})
        shutil.rmtree(folder)
    return build


def symbols_of(store: Store, image: str) -> Path | None:
    """The vmlinux of an image (its sha256), with its symbols and line numbers, where it was kept."""
    record = store.read_record(f"{SYMBOLS}/{image}")
    return store.find(str(record.get("vmlinux", ""))) if record else None


def flavour_of(source: DebianTreeSource) -> str:
    """What its fragments make of it: "debug", "kasan"; "own" without any."""
    return "-".join(fragment.stem for fragment in source.fragments) or "own"


def _kept(store: Store, ident: str) -> Build | None:
    record = store.read_record(f"own/{ident}")
    if record is None:
        return None
    for build in stored_builds(store):
        if {"image": build.image, "config": build.config, "arch": build.arch} == record and is_complete(store, build):
            return build
    return None


def _ident(tree: SourceTree, arch: Arch, fragments: Sequence[Path]) -> str:
    digest = hashlib.sha256(f"{tree.where}\0{arch}".encode())
    for fragment in fragments:
        try:
            digest.update(b"\0" + fragment.read_bytes())
        except OSError as error:
            raise KernelUnavailable(f"{fragment}: cannot be read: {error.strerror or error}") from None
    return digest.hexdigest()[:24]


def _numbers(series: str) -> tuple[int, int]:
    major, minor = series.split(".")
    return int(major), int(minor)
