"""Measuring: the cost payload in a guest whose clock counts instructions. Through the ``Guest`` seam."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from harness.cost.model import CostTable, read_costs
from harness.errors import BuildError, InfrastructureError, LostGuest
from harness.guests.devices import COUNTED, cpu_model
from harness.guests.model import Exited, Guest, Output
from harness.kernels.model import Kernel
from harness.matrix.model import Profile
from harness.model.architectures import ARCHITECTURES, Arch, this_arch
from harness.model.json_text import parse_json
from harness.payload.build import payload_root
from harness.payload.compiler import compile_static
from harness.processes.children import OutOfTime, run

_LIST_SECONDS = 60


def cost_program(arch: Arch) -> Path:
    """The cost payload for ``arch``, built once. Raises ``BuildError`` or ``StoreError``."""
    return compile_static([payload_root() / "cost" / "cost.c"], arch, "cost")


@cache
def cost_rows() -> dict[str, str]:
    """The rows that the payload has, and what each operation is. Raises ``BuildError``."""
    program = cost_program(this_arch())
    try:
        done = run([str(program), "--list"], what="asking the cost payload", seconds=_LIST_SECONDS)
        lines = [parse_json(line) for line in done.out.splitlines()]
        return {line["row"]: line["what"] for line in lines}
    except (OSError, OutOfTime, ValueError, KeyError) as problem:
        raise BuildError(f"{program} --list: {problem}") from problem


def measure(
    kernel: Kernel, profile: Profile, make: Callable[[], Guest], rows: Sequence[str], on_progress: Callable[[str], None]
) -> CostTable:
    """Boot the guest that ``make`` returns, and measure. A kernel that gives no answer is a table that says why."""
    pinned = pinned_by(kernel, profile)
    try:
        content = cost_program(kernel.arch).read_bytes()
        with booted(make) as guest:
            on_progress("booted; measuring")
            plan, costs = read_costs(output_of(guest, content, rows))
    except InfrastructureError as problem:
        return CostTable(kernel.name, kernel.arch, kernel.release, kernel.version, pinned=pinned, lost=str(problem))
    return CostTable(kernel.name, kernel.arch, kernel.release, kernel.version, costs, plan.mseal, pinned)


@contextmanager
def booted(make: Callable[[], Guest]) -> Iterator[Guest]:
    """A guest that is up, and stopped afterwards, also where it did not come up. Raises what booting raises."""
    guest = make()
    try:
        guest.boot()
        yield guest
    finally:
        guest.stop()


def output_of(guest: Guest, program: bytes, arguments: Sequence[str]) -> list[bytes]:
    """Run the cost payload and return the lines it wrote. Raises ``LostGuest``."""
    path = guest.push("cost", program)
    written, complaints = bytearray(), bytearray()
    for event in guest.run([path, *arguments]):
        match event:
            case Output("out", data):
                written += data
            case Output(_, data):
                complaints = (complaints + data)[-2000:]
            case Exited(0, None):
                return bytes(written).splitlines()
            case Exited(status, signal):
                said = complaints.decode("utf-8", "replace").strip()
                raise LostGuest(f"the cost payload ended with status {status}, signal {signal}: {said}")
    raise LostGuest("the cost payload never ended")


def pinned_by(kernel: Kernel, profile: Profile) -> tuple[str, ...]:
    """What is held still so that a count can be repeated, in words."""
    facts = ARCHITECTURES[kernel.arch]
    return (
        f"QEMU {' '.join(COUNTED)}, one CPU, one host thread",
        f"CPU model {cpu_model(profile, kernel.arch, 'tcg')}",
        f"{profile.memory} MiB of memory",
        f"no random addresses (nokaslr {' '.join(facts.counted)})",
        "mitigations as the kernel chooses them for this CPU" if not _mitigations(profile) else _mitigations(profile),
        "each call begins just after the timer's interrupt, and after a grace period of RCU",
    )


def _mitigations(profile: Profile) -> str:
    return next((word for word in profile.boot if word.startswith("mitigations=")), "")
