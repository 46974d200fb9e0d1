"""Kernel modules for guests whose kernel has not built in what the harness needs.

The modules of a package are packed once into one zip in the store, as they came, because a .deb can only be read from
its beginning (10 s for a full kernel); after that, single modules are a seek away.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import ImageError, KernelUnavailable
from harness.kernels.compression import decompress
from harness.kernels.store import Store, file_sha256, telling

_MODULE = re.compile(r"(.+)\.ko(?:\.(?:xz|zst|gz))?\Z")
Loaded = tuple[tuple[str, bytes], ...]


class ModuleSet:
    """The modules of one kernel: ``open_zip`` gives the packed file when it is first needed, ``config`` the options."""

    def __init__(self, release: str, config: Mapping[str, str], find_zip: Callable[[], Path]) -> None:
        self.release, self.config, self._find_zip = release, config, find_zip

    def __call__(self, names: tuple[str, ...]) -> Loaded:
        """Return modules and what they depend on, dependencies first; what is built in yields nothing."""
        wanted = [name for name in map(_canonical, names) if self.config.get(name.upper()) != "y"]
        if not wanted:
            return ()
        with zipfile.ZipFile(self._find_zip()) as archive:
            return _closure(wanted, _Tree(archive, self.release))


class _Tree:
    """Modules in a zip, by canonical name."""

    def __init__(self, archive: zipfile.ZipFile, release: str) -> None:
        self.archive, self.release = archive, release
        self.paths = {_canonical(stem): path for path in archive.namelist() if (stem := module_stem(path))}
        self.builtin: set[str] = set()
        if "modules.builtin" in archive.namelist():
            lines = archive.read("modules.builtin").decode("utf-8", "replace").splitlines()
            self.builtin = {_canonical(stem) for line in lines if (stem := module_stem(line))}

    def read(self, name: str) -> bytes | None:
        """Return a module's plain ELF bytes, or None when it is built in."""
        path = self.paths.get(name)
        if path is not None:
            return decompress(self.archive.read(path), f"the module {Path(path).name}")
        if name in self.builtin:
            return None
        raise KernelUnavailable(f"kernel {self.release} has no module {name}, built in or loadable")


def _closure(names: Iterable[str], tree: _Tree) -> Loaded:
    done: dict[str, bytes | None] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in done:
            return
        if name in above:
            raise KernelUnavailable(f"modules of {tree.release} depend on each other: {' > '.join((*above, name))}")
        data = tree.read(name)
        for needed in depends(data) if data is not None else ():
            visit(needed, (*above, name))
        done[name] = data

    for name in names:
        visit(name, ())
    return tuple((f"{name}.ko", data) for name, data in done.items() if data is not None)


def depends(module: bytes) -> tuple[str, ...]:
    """Return what a module's ``.modinfo`` says it depends on. Raises ``ImageError`` for what is no module."""
    # Imported here: a set of modules is read once and then kept (``kept``), and every run would pay for it.
    from elftools.common.exceptions import ELFError  # noqa: PLC0415
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415

    try:
        section = ELFFile(io.BytesIO(module)).get_section_by_name(".modinfo")
        data = bytes(section.data()) if section is not None else None
    except (ELFError, ValueError, KeyError, IndexError, OverflowError, AttributeError, TypeError) as error:
        raise ImageError(f"damaged module: {error or type(error).__name__}") from None
    if data is None:
        raise ImageError("not a kernel module: it has no .modinfo section")
    entries = (entry for entry in data.split(b"\0") if entry.startswith(b"depends="))
    words = next(entries, b"depends=").removeprefix(b"depends=").decode("utf-8", "replace")
    return tuple(_canonical(word) for word in words.split(",") if word)


def kept(store: Store, key: str, load: Callable[[tuple[str, ...]], Loaded]) -> Callable[[tuple[str, ...]], Loaded]:
    """Return a loader that reads each set of modules once: what ``load`` gave is in the store, under ``key``."""

    def loader(names: tuple[str, ...]) -> Loaded:
        of = " ".join((key, *names))
        record = f"modules/{hashlib.sha256(of.encode()).hexdigest()}"
        known = _stored(store, store.read_record(record))
        if known is not None:
            return known
        loaded = load(names)
        store.write_record(record, {"of": of, "files": [[name, store.put(data)] for name, data in loaded]})
        return loaded

    return loader


def _stored(store: Store, record: Mapping[str, Any] | None) -> Loaded | None:
    """The modules a record names; None when it names none, or one of them is gone."""
    if record is None or not isinstance(record.get("files"), list):
        return None
    found = [(str(name), store.find(str(digest))) for name, digest in record["files"]]
    return tuple((name, path.read_bytes()) for name, path in found if path) if all(p for _, p in found) else None


def pack(store: Store, key: str, files: Callable[[], Iterator[tuple[str, bytes]]]) -> Path:
    """Return the zip of all modules among ``files`` (name, bytes), made on first use and kept under ``key``."""
    record = f"modules/{hashlib.sha256(key.encode()).hexdigest()}"
    with store.lock(record):
        known: Any = (store.read_record(record) or {}).get("zip")
        path = store.find(known) if isinstance(known, str) else None
        if path is None:
            with store.scratch() as folder:
                made = folder / "modules.zip"
                with telling(made):
                    _write_zip(made, files())
                    digest = file_sha256(made)
                path = store.take(made, digest)
            store.write_record(record, {"zip": digest, "of": key})
        return path


def _write_zip(path: Path, files: Iterator[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        seen: set[str] = set()
        for name, data in files:
            entry = "modules.builtin" if Path(name).name == "modules.builtin" else name
            if entry in seen or not (module_stem(name) or entry == "modules.builtin"):
                continue
            seen.add(entry)
            plain = entry.endswith(".ko")
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED if plain else zipfile.ZIP_STORED, 1 if plain else None)


def folder_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of a folder of modules, such as /lib/modules/RELEASE or a build tree, in a fixed order."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (module_stem(path.name) or path.name == "modules.builtin"):
            yield str(path.relative_to(folder)), path.read_bytes()


def folder_key(folder: Path) -> str:
    """Return what tells one state of a folder of modules from another: names, inodes, sizes and times."""
    states = [
        f"{path.relative_to(folder)}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"
        for path in sorted(folder.rglob("*.ko*"))
        for status in (path.stat(),)
    ]
    return f"folder {folder.resolve()} {hashlib.sha256(chr(10).join(states).encode()).hexdigest()}"


def module_stem(path: str) -> str:
    """Return a module file's name without folders and endings, ``""`` for other files."""
    match = _MODULE.match(path.rsplit("/", 1)[-1])
    return match.group(1) if match else ""


def _canonical(name: str) -> str:
    """The kernel takes - and _ in module names for the same."""
    return name.removesuffix(".ko").replace("-", "_")
