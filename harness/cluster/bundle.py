"""A cell as it travels to a worker: everything that has bytes is named by its sha256. No dask here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path

from harness.errors import KernelUnavailable, StoreError
from harness.guests.meant import demand_image
from harness.guests.pid1 import build_init, make_archive
from harness.guests.qemu import Wishes
from harness.kernels.model import Kernel
from harness.kernels.modules import Loaded
from harness.kernels.store import Store, file_sha256, telling
from harness.model.architectures import Arch
from harness.model.json_text import parse_json
from harness.runs.model import Cell, Workload

Names = tuple[str, ...]
_MADE_HERE = ("image", "config", "modules")


@dataclass(frozen=True)
class KernelParcel:
    """A kernel: its plain fields, and digests of the image QEMU gets, of the options as JSON, and of the modules that
    were asked for, by what was asked (file name, digest)."""

    plain: Mapping[str, object]
    image: str
    config: str
    modules: Mapping[Names, tuple[tuple[str, str], ...]]

    def digests(self) -> Iterator[str]:
        """Everything it consists of."""
        yield self.image
        yield self.config
        for files in self.modules.values():
            yield from (digest for _, digest in files)


@dataclass(frozen=True)
class WorkloadParcel:
    """A workload: its plain fields, and digests of the payload and of the files beside it."""

    bare: Workload
    content: str
    files: tuple[tuple[str, str], ...]
    second: WorkloadParcel | None

    def digests(self) -> Iterator[str]:
        """Everything it consists of."""
        yield self.content
        yield from (digest for _, digest in self.files)
        if self.second:
            yield from self.second.digests()


@dataclass(frozen=True)
class Parcel:
    """One cell of one run. ``init`` is PID 1's ELF."""

    run: str
    cell: Cell  # without its kernel
    kernel: KernelParcel
    workload: WorkloadParcel
    init: str
    wishes: Wishes

    def digests(self) -> tuple[str, ...]:
        """Everything a worker must have, each once."""
        return tuple(dict.fromkeys((*self.kernel.digests(), *self.workload.digests(), self.init)))


@dataclass
class Shelf:
    """Bytes by digest, on the side of the submitter: files where there are files."""

    held: dict[str, Path | bytes] = field(default_factory=dict)

    def add(self, data: bytes) -> str:
        """Keep bytes, and return their digest."""
        digest = sha256(data).hexdigest()
        self.held[digest] = data
        return digest

    def add_file(self, path: Path) -> str:
        """Keep a file, and return its digest."""
        with telling(path):
            digest = file_sha256(path)
        self.held[digest] = path
        return digest

    def read(self, digest: str) -> bytes:
        """The bytes. Raises ``StoreError`` when their file is gone or has changed."""
        held = self.held[digest]
        if isinstance(held, bytes):
            return held
        with telling(held):
            data = held.read_bytes()
        if sha256(data).hexdigest() != digest:
            raise StoreError(f"{held}: changed while the run goes on")
        return data


def pack(run: str, cell: Cell, workload: Workload, wishes: Wishes, shelf: Shelf) -> Parcel:
    """Make a parcel, and put what it names on the shelf. Raises what making an initial RAM file system raises."""
    kernel = cell.kernel
    assert isinstance(kernel, Kernel)
    demand_image(kernel)
    recorder = _Recorder(kernel.modules)
    recording = replace(kernel, modules=recorder)
    init = build_init(cell.arch)
    make_archive(recording, init, profile=cell.profile)
    modules = {
        names: tuple((file, shelf.add(content)) for file, content in loaded)
        for names, loaded in recorder.loaded.items()
    }
    plain = {f.name: getattr(kernel, f.name) for f in fields(Kernel) if f.name not in _MADE_HERE}
    config = shelf.add(json.dumps(dict(kernel.config), sort_keys=True).encode())
    return Parcel(
        run=run,
        cell=replace(cell, kernel=None),
        kernel=KernelParcel(plain, shelf.add_file(kernel.image), config, modules),
        workload=_pack_workload(workload, shelf),
        init=shelf.add_file(init),
        wishes=wishes,
    )


def _pack_workload(workload: Workload, shelf: Shelf) -> WorkloadParcel:
    return WorkloadParcel(
        bare=replace(workload, content=b"", files=(), second=None),
        content=shelf.add(workload.content),
        files=tuple((name, shelf.add(content)) for name, content in workload.files),
        second=_pack_workload(workload.second, shelf) if workload.second else None,
    )


class _Recorder:
    """Modules, remembering what was asked for."""

    def __init__(self, modules: Callable[[Names], Loaded]) -> None:
        self._modules = modules
        self.loaded: dict[Names, Loaded] = {}

    def __call__(self, names: Names) -> Loaded:
        self.loaded[names] = self._modules(names)
        return self.loaded[names]


def missing(parcel: Parcel, store: Store) -> tuple[str, ...]:
    """What of a parcel is not in a store. Everything found is verified, once in a process."""
    return tuple(digest for digest in parcel.digests() if store.find(digest) is None)


def keep(data: bytes, digest: str, store: Store) -> None:
    """Take in what was sent. Raises ``StoreError`` when it is not what it should be."""
    found = sha256(data).hexdigest()
    if found != digest:
        raise StoreError(f"what arrived as {digest[:16]} has the sha256 {found[:16]}; it is not used")
    store.put(data)


def unpack(parcel: Parcel, store: Store) -> tuple[Cell, Workload, Path]:
    """The cell with its kernel, the workload with its content, and PID 1, out of a store that has all of it."""
    cell, plain = parcel.cell, parcel.kernel.plain
    kernel = Kernel(
        **plain,  # type: ignore[arg-type]
        image=_path(store, parcel.kernel.image),
        config=parse_json(_path(store, parcel.kernel.config).read_bytes()),
        modules=_Modules(cell.arch, parcel.kernel.modules, store),
    )
    return replace(cell, kernel=kernel), _unpack_workload(parcel.workload, store), _path(store, parcel.init)


def _unpack_workload(parcel: WorkloadParcel, store: Store) -> Workload:
    return replace(
        parcel.bare,
        content=_path(store, parcel.content).read_bytes(),
        files=tuple((name, _path(store, digest).read_bytes()) for name, digest in parcel.files),
        second=_unpack_workload(parcel.second, store) if parcel.second else None,
    )


@dataclass(frozen=True)
class _Modules:
    arch: Arch
    known: Mapping[Names, tuple[tuple[str, str], ...]]
    store: Store

    def __call__(self, names: Names) -> Loaded:
        if names not in self.known:
            raise KernelUnavailable(f"the modules {' '.join(names)} did not come with the kernel ({self.arch})")
        return tuple((file, _path(self.store, digest).read_bytes()) for file, digest in self.known[names])


def _path(store: Store, digest: str) -> Path:
    path = store.find(digest)
    if path is None:
        raise StoreError(f"{digest[:16]} vanished from the store while the cell began")
    return path
