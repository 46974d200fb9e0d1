#!/usr/bin/env python3
"""One run of the suite in a guest of its own, for bench/suite.py: a program of its own, because it is run with another
checkout's harness as well, and so uses only what they have in common.

    PYTHONPATH=DIR bench/suite_once.py KERNEL ARCH CPUS|counted STREAM [PAYLOAD OPTION ...]

Writes the payload's stream to STREAM, and prints seconds on the wall, of QEMU's CPU, and by the guest's clock from the
mark of its first probe to that of its end.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.matrix import emulator
from harness.guests.model import Output
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
from harness.kernels.resolve import provide
from harness.matrix.load import default_path, load_matrix
from harness.matrix.plan import plan_cells
from harness.payload.build import build


def _cpu(guest: QemuGuest) -> float:
    found = emulator(guest.pid or 0)
    return found.cpu_seconds if found else 0.0


def between_marks(console: str) -> float:
    """Seconds of the kernel's clock from the first mark to the last; 0 where there are no two."""
    times = re.findall(r"^\[ *(\d+\.\d+)\].* sealmatrix: (?:begin|end)\b", console, re.MULTILINE)
    return float(times[-1]) - float(times[0]) if times else 0.0


def main() -> None:
    name, arch, cpus, stream, *options = sys.argv[1:]
    matrix = load_matrix(default_path())
    (cell,) = plan_cells(matrix, kernels=[name], arches=[arch])  # type: ignore[list-item]
    kernel = provide(matrix, [cell], progress=lambda *_: None).kernels[cell.kernel.name, cell.arch]
    if not isinstance(kernel, Kernel):
        raise kernel
    payload = build(cell.arch)
    if cpus == "counted":  # the guest's clock counts its instructions
        profile = replace(cell.profile, smp=1, memory=512, counted=True)
    else:
        profile = replace(cell.profile, smp=int(cpus), memory=256 * int(cpus))
    with tempfile.TemporaryDirectory(prefix="sealmatrix-bench-") as folder, Path(stream).open("wb") as said:
        guest = QemuGuest(kernel, profile, Path(folder), Wishes(acceleration="tcg", scale=10))
        try:
            guest.boot()
            program = guest.push("payload", payload.path.read_bytes())
            before, begun = _cpu(guest), time.monotonic()
            for event in guest.run([program, "--kmsg", *options]):
                if isinstance(event, Output) and event.stream == "out":
                    said.write(event.data)
            seconds = {"wall": time.monotonic() - begun, "cpu": _cpu(guest) - before}
            console = guest.console.read_text(errors="replace") if guest.console else ""
            print(json.dumps({**seconds, "guest": between_marks(console)}))
        finally:
            guest.stop()


if __name__ == "__main__":
    main()
