"""What the default matrix needs of a machine, looked at piece by piece; ``doctor`` prints it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal, get_args

from harness.errors import InfrastructureError, SealmatrixError, ToolMissing
from harness.guests.accel import KvmMemory
from harness.guests.programs import make_programs
from harness.guests.qemu import QemuGuest
from harness.kernels.archive import AptArchive
from harness.kernels.lock import read_lock
from harness.kernels.model import Kernel
from harness.kernels.resolve import Resolved, resolve
from harness.kernels.store import SETTING, Store, telling
from harness.kernels.tree import has_header
from harness.matrix.load import lock_path
from harness.matrix.model import CellSpec, Matrix
from harness.matrix.sources.debian import DebianSource
from harness.model.architectures import Arch
from harness.payload.build import build
from harness.processes.children import OutOfTime, ask
from harness.secret_urls import masked

CheckStatus = Literal["ok", "note", "wrong"]
ToolKind = Literal["program", "file", "header", "module"]
ToolPurpose = Literal["run", "fetch", "build", "test"]
# The columns of tools.tsv behind the one for Debian.
OTHER_SYSTEMS = ("Fedora", "Arch", "openSUSE", "Alpine")

# The default matrix takes 0.6 GB of store, payloads and the compiler's cache 0.3 GB.
ROOM_NEEDED = 1 << 30


@dataclass(frozen=True)
class ToolCheck:
    """One finding. ``wrong`` stands in the way of the default matrix, ``note`` does not.

    ``package`` is the Debian package that cures it, ``remedy`` what else does or is to be known; both may be empty.
    """

    name: str
    status: CheckStatus
    found: str
    package: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Tool:
    """One row of ``tools.tsv``: the columns are explained there."""

    kind: ToolKind
    name: str
    purpose: ToolPurpose
    why: str
    package: str
    elsewhere: tuple[str, ...] = ()

    def remedy(self, *, apt: bool) -> str:
        """How to get it where apt installs packages, and where it does not."""
        if apt:
            return f"apt-get install {self.package}"
        names = zip(OTHER_SYSTEMS, self.elsewhere, strict=True)
        named = ", ".join(f"{system} {name}" for system, name in names if name != "-")
        return f"install its package: {named or 'none is known'}"


def read_tools(text: str | None = None) -> tuple[Tool, ...]:
    """Read the table of tools, the shipped one by default. Raises ``ValueError`` for a row it does not understand."""
    if text is None:
        text = Path(__file__).with_name("tools.tsv").read_text(encoding="utf-8")
    tools = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            kind, name, purpose, why, package, *elsewhere = line.split("\t")
            if kind not in get_args(ToolKind):
                raise ValueError(f"unknown kind {kind!r}")
            if purpose not in get_args(ToolPurpose):
                raise ValueError(f"unknown purpose {purpose!r}")
            if len(elsewhere) != len(OTHER_SYSTEMS):
                raise ValueError(f"{name}: {1 + len(elsewhere)} names of packages, not {1 + len(OTHER_SYSTEMS)}")
            tools.append(Tool(kind, name, purpose, why, package, tuple(elsewhere)))  # type: ignore[arg-type]
    return tuple(tools)


def find_tool(tool: Tool) -> str | None:
    """Return a tool's version ("there" when it tells none), or None when it is absent."""
    if tool.kind == "header":
        return "there" if has_header(tool.name) else None
    if tool.kind == "file":
        return "there" if Path(tool.name).exists() else None
    path = shutil.which(tool.name)
    if path is None:
        return None
    try:
        done = ask([path, "--version"])
    except (OSError, OutOfTime) as error:
        return f"present, but does not answer: {error}"
    version = re.search(r"\d+(?:\.\d+)+", done.out.decode("utf-8", "replace"))
    return version.group() if version else "there"


def has_apt(status: Path = Path("/var/lib/dpkg/status")) -> bool:
    """Whether packages are installed with apt here; another system may have it as a program like any other."""
    return shutil.which("apt-get") is not None and status.is_file() and status.stat().st_size > 0


_INSTEAD = {
    "run": "",
    "fetch": "run --host, run --ssh and your own images or trees do not need it",
    "build": "only building kernels from source needs it",
    "test": "",
}


def tool_checks(
    tools: Iterable[Tool], find: Callable[[Tool], str | None] = find_tool, *, apt: bool | None = None
) -> Iterator[ToolCheck]:
    """Look for what running and building need; modules of Python and our tests' tools matter to scripts/setup only."""
    apt = has_apt() if apt is None else apt
    for tool in tools:
        if tool.kind == "module" or tool.purpose == "test":
            continue
        version = find(tool)
        name = Path(tool.name).name
        if version is not None:
            yield ToolCheck(name, "ok", version)
            continue
        found = "; ".join(filter(None, (f"absent; it {tool.why}", _INSTEAD[tool.purpose])))
        if tool.purpose == "build":
            yield ToolCheck(name, "note", found, remedy=tool.remedy(apt=apt))
        elif apt:
            yield ToolCheck(name, "wrong", found, tool.package)  # one line installs them all
        else:
            yield ToolCheck(name, "wrong", found, remedy=tool.remedy(apt=apt))


def python_check(requirements: Iterable[str] | None = None) -> ToolCheck:
    """Every package this distribution depends on is installed."""
    if requirements is None:
        requirements = metadata.requires("sealmatrix") or ()
    names = [re.split(r"[^A-Za-z0-9._-]", line)[0] for line in requirements if "extra ==" not in line]
    absent = [name for name in names if not list(metadata.distributions(name=name))]
    version = f"Python {platform.python_version()}"
    if absent:
        return ToolCheck(
            "python packages", "wrong", f"{version} lacks {', '.join(absent)}", remedy="pip install sealmatrix"
        )
    return ToolCheck("python packages", "ok", f"{version}, {len(names)} packages")


def store_check(store: Store, needed: int = ROOM_NEEDED) -> ToolCheck:
    """The store can be written and has room, in bytes."""
    try:
        with telling(store.root):
            store.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=store.root) as file:
                file.write(b"room")
            free = shutil.disk_usage(store.root).free
    except SealmatrixError as error:
        return ToolCheck("store", "wrong", str(error))
    found = f"{store.root}: {free / 1e9:.1f} GB free"
    if free < needed:
        remedy = f"free some space, or set {SETTING} to a directory with room"
        return ToolCheck("store", "note", f"{found}; a first run needs {needed / 1e9:.1f} GB", remedy=remedy)
    return ToolCheck("store", "ok", found)


def compiler_check() -> ToolCheck:
    """The payload and PID 1 compile for every architecture (from the cache when they have before)."""
    try:
        make_programs(get_args(Arch))
        first = build(get_args(Arch)[0])
    except SealmatrixError as error:
        return ToolCheck("payload", "wrong", str(error))
    return ToolCheck("payload", "ok", f"{first.id}, {len(first.probes)} probes, built by {first.compiler}")


def archive_check(store: Store, suite: str) -> ToolCheck:
    """The mirror answers with a signed index of ``suite``."""
    archive = AptArchive(store)
    try:
        packages = archive.packages(suite, "amd64", refresh=True)
    except SealmatrixError as error:
        return ToolCheck("archive", "wrong", str(error), error.package if isinstance(error, ToolMissing) else "")
    return ToolCheck(
        "archive", "ok", f"{masked(archive.mirror)}: {suite} is signed and has {len(packages)} kernel packages"
    )


StoredKernels = Mapping[tuple[str, Arch], Resolved]


def stored_kernels(matrix: Matrix, cells: Iterable[CellSpec], store: Store) -> StoredKernels:
    """Which kernels of ``cells`` a run would find without the network. Nothing is fetched or locked."""
    pairs = tuple(dict.fromkeys((cell.kernel.name, cell.arch) for cell in cells))
    wanted = [(matrix.kernels[name], arch) for name, arch in pairs]
    return resolve(wanted, store=store, lock=read_lock(lock_path(matrix)), offline=True).kernels


def kernel_checks(
    cells: Iterable[CellSpec], stored: StoredKernels, store: Store, *, offline: bool
) -> Iterator[ToolCheck]:
    """Every kernel is stored, or the archive can be reached to fetch it."""
    here = sum(isinstance(kernel, Kernel) for kernel in stored.values())
    complete = here == len(stored)
    suites = [cell.kernel.source.suites[0] for cell in cells if isinstance(cell.kernel.source, DebianSource)]
    if offline or not suites:
        archive = ToolCheck("archive", "note", "not asked")
    else:
        archive = archive_check(store, suites[0])
        if complete and archive.status == "wrong":
            archive = ToolCheck("archive", "note", archive.found, archive.package, archive.remedy)
    yield archive
    found = f"{here} of {len(stored)} of the default matrix are stored"
    if complete:
        yield ToolCheck("kernels", "ok", found)
    elif archive.status == "ok":
        yield ToolCheck("kernels", "note", f"{found}; the others are fetched when a run needs them")
    else:
        yield ToolCheck("kernels", "wrong", found, remedy="sealmatrix kernels fetch, once the archive can be reached")


def boot_checks(cells: Iterable[CellSpec], stored: StoredKernels, memory: KvmMemory) -> Iterator[ToolCheck]:
    """Boot the first stored kernel of each architecture: the only proof of an acceleration, or of a guest at all."""
    first: dict[Arch, tuple[Kernel | None, CellSpec]] = {}
    for cell in cells:
        kernel = stored[cell.kernel.name, cell.arch]
        if first.get(cell.arch, (None,))[0] is None:
            first[cell.arch] = (kernel if isinstance(kernel, Kernel) else None, cell)
    for arch, (found, cell) in first.items():
        if found is None:
            remedy = "sealmatrix kernels fetch"
            yield ToolCheck(f"{arch} guest", "note", "not booted: no kernel is stored yet", remedy=remedy)
        else:
            yield boot_check(found, cell, memory)


def boot_check(kernel: Kernel, cell: CellSpec, memory: KvmMemory) -> ToolCheck:
    """Boot one kernel with acceleration ``auto`` and end it."""
    name = f"{cell.arch} guest"
    with tempfile.TemporaryDirectory(prefix="sealmatrix-doctor-") as folder:
        guest = QemuGuest(kernel, cell.profile, Path(folder), kvm_memory=memory)
        try:
            booted = guest.boot()
        except ToolMissing as error:
            return ToolCheck(name, "wrong", f"not booted: {error.tool} is absent", error.package)
        except InfrastructureError as error:
            return ToolCheck(name, "wrong", f"{kernel.release}: {error}")
        finally:
            guest.stop()
    found = f"{booted.release} up in {booted.boot_seconds:.1f} s under {booted.acceleration.upper()}"
    return ToolCheck(name, "ok", f"{found}: {booted.acceleration_reason}")


def install_line(checks: Iterable[ToolCheck]) -> str:
    """The command that installs every package that is wanting, "" when none is."""
    packages = sorted({check.package for check in checks if check.package})
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get install {' '.join(packages)}" if packages else ""
