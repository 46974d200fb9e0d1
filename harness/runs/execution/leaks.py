"""Memory that the kernel has lost, looked for when all probes have run: kernels built with kmemleak only."""

from __future__ import annotations

from harness.guests.model import Exited, Guest, Output
from harness.kernels.model import Kernel
from harness.observations.stream import printable
from harness.runs.model import Cell


def looks_for_leaks(cell: Cell, guest: Guest) -> bool:
    """Whether a cell's kernel can look, and has a console of its own to say on what it finds."""
    return isinstance(cell.kernel, Kernel) and cell.kernel.config.get("DEBUG_KMEMLEAK") == "y" and bool(guest.console)


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
    said = " | ".join(printable(line) for line in bytes(errors).splitlines() if line.strip())
    return f"the kernel did not look for memory it has lost: {said or 'the guest did not say why'}"
