"""Which stock kernel another kernel is compared with, where the user names none."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.kernels.lock import Lock
from harness.kernels.versions import version_key
from harness.matrix.model import KernelSpec, Matrix
from harness.matrix.sources.debian import DebianSource
from harness.model.architectures import Arch

_WHOLE_SERIES = re.compile(r"\d+\.\d+")
_NUMBERS = re.compile(r"(\d+)\.(\d+)")


def baseline_for(matrix: Matrix, lock: Lock, arch: Arch, version: str, *, flavours: Iterable[str]) -> str:
    """Return the name of the newest stock kernel of ``version``'s release, or else of the nearest one; "" for none.

    Stock kernels are the matrix's Debian entries in one of ``flavours`` that exist for ``arch``. Where the lock does
    not say yet what an entry is, its own words do; one that follows its suite ("newest") is the last resort.
    """
    wanted = _series(version)
    allowed = tuple(flavours)
    known = [
        (spec.name, said)
        for spec in matrix.kernels.values()
        if isinstance(spec.source, DebianSource) and spec.source.flavour in allowed and arch in spec.arches
        if any(_series(said := _version(spec, lock, arch)))
    ]
    if not known or not any(wanted):
        return next((spec.name for spec in matrix.kernels.values() if _follows_suite(spec, arch, allowed)), "")
    order = sorted({_series(said) for _, said in known} | {wanted})

    def distance(pair: tuple[str, str]) -> int:
        return abs(order.index(_series(pair[1])) - order.index(wanted))

    nearest = min(map(distance, known))
    near = [pair for pair in known if distance(pair) == nearest]
    # An entry that asks for no more than "6.12" is the newest of it, whichever that turns out to be.
    return max(near, key=lambda pair: (_follows_series(matrix.kernels[pair[0]]), version_key(pair[1])))[0]


def _follows_series(spec: KernelSpec) -> bool:
    return isinstance(spec.source, DebianSource) and bool(_WHOLE_SERIES.fullmatch(spec.source.release or ""))


def _version(spec: KernelSpec, lock: Lock, arch: Arch) -> str:
    entry = lock.entries.get((spec.name, arch))
    if entry is not None:
        return entry.version
    assert isinstance(spec.source, DebianSource)
    return spec.source.release or spec.source.version or ""


def _follows_suite(spec: KernelSpec, arch: Arch, flavours: tuple[str, ...]) -> bool:
    source = spec.source
    return (
        isinstance(source, DebianSource)
        and source.release == "newest"
        and source.flavour in flavours
        and arch in spec.arches
    )


def _series(version: str) -> tuple[int, int]:
    match = _NUMBERS.match(version)
    return (int(match[1]), int(match[2])) if match else (0, 0)
