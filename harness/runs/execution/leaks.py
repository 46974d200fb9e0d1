"""Memory that the kernel has lost, looked for when all probes have run: kernels built with kmemleak only."""

from __future__ import annotations

from harness.guests.model import Exited, Guest, Output
from harness.kernels.model import Kernel
from harness.runs.execution.payload_stream import error_tail
from harness.runs.model import Cell, Workload


def looks_for_leaks(cell: Cell, guest: Guest, workload: Workload) -> bool:
    """Whether a cell's kernel can look, has a console of its own to say on what it finds, and is told by our payload.

    A kernel may have kmemleak and leave it off until a boot parameter turns it on.
    """
    if not isinstance(cell.kernel, Kernel) or cell.kernel.config.get("DEBUG_KMEMLEAK") != "y":
        return False
    off = cell.kernel.config.get("DEBUG_KMEMLEAK_DEFAULT_OFF") == "y"
    for parameter in cell.profile.boot:
        off = {"kmemleak=on": False, "kmemleak=off": True}.get(parameter, off)
    return not off and workload.name == "c" and guest.console is not None


def look_for_leaks(guest: Guest, program: str) -> str:
    """Have the kernel look; what it finds is on its console. Returns why it did not look, "" when it did."""
    errors = bytearray()
    status: int | None = None
    for event in guest.run([program, "--leaks"]):
        match event:
            case Output(_, data):
                errors = (errors + data)[-4096:]
            case Exited():
                status = event.status
    if status == 0:
        return ""
    return f"the kernel did not look for memory it has lost: {error_tail(bytes(errors)) or 'it did not say why'}"
