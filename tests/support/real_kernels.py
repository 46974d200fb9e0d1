"""Kernels of kernels.yaml, fetched where they are not stored."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from harness.guests.qemu import QemuGuest
from harness.kernels.lock import read_lock
from harness.kernels.model import Kernel
from harness.kernels.resolve import resolve
from harness.kernels.store import Store
from harness.matrix.load import load_matrix, lock_path
from harness.model.architectures import Arch

ROOT = Path(__file__).parents[2]
GetKernel = Callable[[str, Arch], Kernel]
MakeGuest = Callable[..., QemuGuest]


@functools.lru_cache
def stored_kernel(name: str, arch: Arch) -> Kernel:
    matrix = load_matrix(ROOT / "kernels.yaml")
    wanted = [(matrix.kernels[name], arch)]
    found = resolve(wanted, store=Store(), lock=read_lock(lock_path(matrix))).kernels[name, arch]
    if isinstance(found, Kernel):
        return found
    raise found
