"""What a worker says of itself, and whether it is the same sealmatrix as ours. No dask here."""

from __future__ import annotations

import functools
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness import __version__
from harness.errors import UsageError
from harness.guests.accel import host_facts
from harness.model.architectures import ARCHES, ARCHITECTURES, Arch
from harness.payload.build import payload_id
from harness.runs.model import Cell
from harness.runs.planning.schedule import available_memory, need

# What a worker announces itself under in Dask's worker information, and the stem of its resources' names.
NAME = "sealmatrix"

# The rooms a cell passes through on a worker: what is different here may tell another result.
_PARTS = ("errors.py", "matrix", "kernels", "payload", "guests", "rules", "observations", "runs", "cluster")


@dataclass(frozen=True)
class WorkerFacts:
    """One worker. ``code`` is a digest of what observes a cell, ``payload`` the id of its C payload; ``kvm`` says
    that the device opens and the machine's own architecture is meant; ``memory`` in MiB, free when it started."""

    version: str
    code: str
    payload: str
    arches: tuple[Arch, ...]
    kvm: bool
    cells: int
    cores: int
    memory: int
    host: Mapping[str, str]

    @property
    def same(self) -> str:
        """The name of the resource that only workers with the same code and payload have."""
        return f"{NAME}-{self.code[:12]}-{self.payload}"

    def told(self) -> dict[str, Any]:
        """As plain values, for Dask's worker information."""
        return asdict(self) | {"arches": list(self.arches), "host": dict(self.host)}


def own_facts(cells: int | None = None) -> WorkerFacts:
    """This machine as a worker for so many cells at once (as many as there are cores)."""
    uname = platform.uname()
    cores = os.cpu_count() or 1
    return WorkerFacts(
        version=__version__,
        code=code_digest(),
        payload=payload_id(),
        arches=tuple(arch for arch in ARCHES if shutil.which(ARCHITECTURES[arch].emulator)),
        kvm=not host_facts().kvm,
        cells=cells or cores,
        cores=max(cores, cells or 0),
        memory=available_memory(),
        host={
            "name": uname.node,
            "system": uname.system,
            "release": uname.release,
            "machine": uname.machine,
            "cores": str(cores),
            "python": platform.python_version(),
        },
    )


def read_facts(told: object) -> WorkerFacts | None:
    """What another worker told; None for a worker that is none of ours, or one of another age."""
    if not isinstance(told, Mapping):
        return None
    try:
        arches = tuple(arch for arch in ARCHES if arch in told["arches"])
        host = {str(key): str(value) for key, value in told["host"].items()}
        return WorkerFacts(**{**told, "arches": arches, "host": host})
    except (TypeError, KeyError, AttributeError):
        return None


@functools.cache
def code_digest() -> str:
    """Digest of the sources that observe a cell."""
    root = Path(__file__).resolve().parent.parent
    digest = sha256()
    for path in sorted(_sources(root)):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sources(root: Path) -> Iterator[Path]:
    for part in _PARTS:
        place = root / part
        yield from place.rglob("*.py") if place.is_dir() else [place]


def check_same(ours: WorkerFacts, theirs: Mapping[str, object]) -> dict[str, WorkerFacts]:
    """The facts of all workers by address. Raises ``UsageError`` for the first that is another sealmatrix than ours."""
    found = {}
    for address, told in theirs.items():
        facts = read_facts(told)
        if facts is None or facts.same != ours.same:
            version = told.get("version", "unknown") if isinstance(told, Mapping) else "unknown"
            other = f"code {facts.code[:12]}, payload {facts.payload}" if facts else "of another age"
            raise UsageError(
                f"the worker at {address} is sealmatrix {version} ({other}), this is {ours.version} "
                f"(code {ours.code[:12]}, payload {ours.payload}); install the same on both, or stop that worker"
            )
        found[address] = facts
    return found


def resources(facts: WorkerFacts) -> dict[str, float]:
    """A worker as Dask resources. What is only there or not comes in as many pieces as there may be cells."""
    pieces: dict[str, int] = dict.fromkeys((*facts.arches, facts.same), facts.cells)
    if facts.kvm:
        pieces["kvm"] = facts.cells
    return {"cores": facts.cores, "memory": facts.memory} | {name: float(number) for name, number in pieces.items()}


def demanded(cell: Cell, acceleration: str, ours: WorkerFacts, workers: Mapping[str, WorkerFacts]) -> dict[str, float]:
    """What a cell needs of a worker. A guest with more processors than any worker has takes all of the greatest."""
    cores = max((facts.cores for facts in workers.values()), default=1)
    wants = need(cell, cores)
    found: dict[str, float] = {"cores": wants.cores, "memory": wants.memory, cell.arch: 1, ours.same: 1}
    return found | {"kvm": 1} if acceleration == "kvm" else found


def unmet(demands: Mapping[str, float], offers: Mapping[str, Mapping[str, float]]) -> str:
    """Why none of the workers (resources by address) can ever run a cell, "" when one can."""
    if any(all(offer.get(name, 0) >= number for name, number in demands.items()) for offer in offers.values()):
        return ""
    lacking = [
        name
        for name, number in demands.items()
        if not name.startswith(NAME) and all(offer.get(name, 0) < number for offer in offers.values())
    ]
    what = ", ".join(f"{name} {demands[name]:g}" if name in ("cores", "memory") else name for name in lacking)
    if not offers:
        return "no worker is left"
    return f"none of {len(offers)} workers has {what}" if what else "no worker satisfies all requirements at once"
