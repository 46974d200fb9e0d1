"""To which functions of the kernel the instructions of one cost went: a plugin of QEMU counts, /proc/kallsyms names."""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.cost.measure import booted, cost_program, output_of
from harness.cost.model import read_costs
from harness.errors import BuildError, InfrastructureError, LostGuest
from harness.guests.accel import emulator, emulator_version
from harness.guests.devices import option
from harness.guests.model import Guest
from harness.kernels.model import Kernel
from harness.kernels.store import telling
from harness.model.architectures import ARCHITECTURES, Arch, this_arch
from harness.payload.compiler import ElfTarget

PROGRAM = "(the program)"
_PLACE = struct.Struct("=QQ")
_CLONE = re.compile(r"(\.(isra|constprop|part|cold|llvm)(\.\d+)?)+$")
_NEW_API = (9, 1)  # of QEMU, in which a plugin reads an instruction by another call


@dataclass(frozen=True)
class FunctionCosts:
    """Instructions a call, by function of the kernel; ``lost`` says why there are none."""

    kernel: str
    arch: str
    row: str
    functions: Mapping[str, float] = field(default_factory=dict)
    lost: str = ""

    @property
    def total(self) -> float:
        """Of one call, the program's own few included."""
        return sum(self.functions.values())


def plugin(arch: Arch, out: Path) -> str:
    """The plugin with its arguments, as QEMU takes them; it counts into ``out``. Raises ``BuildError``."""
    begin, end = ARCHITECTURES[arch].marks
    return f"{option(_library(_api(emulator_version(emulator(arch)))))},out={option(out)},begin={begin},end={end}"


def _api(version: str) -> int:
    match = re.match(r"(\d+)\.(\d+)", version)
    return 4 if match is not None and (int(match[1]), int(match[2])) >= _NEW_API else 1


def _library(api: int) -> Path:
    source = Path(__file__).parent / "plugin" / "functions.c"
    if not source.is_file():
        raise BuildError(f"{source} is missing; reinstall sealmatrix")
    return ElfTarget((source,), this_arch(), "functions.so", (("API", str(api)),), shared=True).make()


def functions(kernel: Kernel, row: str, make: Callable[[], Guest], counted: Path) -> FunctionCosts:
    """Boot the guest that ``make`` returns, which has the plugin, and measure one row. ``counted`` is the file that the
    plugin writes."""
    try:
        content = cost_program(kernel.arch).read_bytes()
        with booted(make) as guest:
            _, costs = read_costs(output_of(guest, content, (row,)))
            if row not in costs or costs[row].trouble:
                raise LostGuest(costs[row].trouble if row in costs else f"this kernel has no {row}")
            symbols = read_symbols(output_of(guest, content, ("--symbols",)))
    except InfrastructureError as problem:
        return FunctionCosts(kernel.name, kernel.arch, row, lost=str(problem))
    with telling(counted):
        places = _PLACE.iter_unpack(counted.read_bytes())
        named = by_function(((address, count) for address, count in places if count), symbols)
    calls = costs[row].calls
    return FunctionCosts(kernel.name, kernel.arch, row, {name: count / calls for name, count in named.items()})


def read_symbols(lines: Iterable[bytes]) -> list[tuple[int, str]]:
    """Read /proc/kallsyms. Raises ``LostGuest`` where it hides the addresses, or has none."""
    symbols = []
    for line in lines:
        words = line.split()
        if len(words) >= 3:
            symbols.append((int(words[0], 16), words[2].decode("ascii", "replace")))
    if not any(address for address, _ in symbols):
        raise LostGuest("this kernel does not tell the addresses of its functions (/proc/kallsyms)")
    return sorted(symbols)


def by_function(places: Iterable[tuple[int, int]], symbols: list[tuple[int, str]]) -> Counter[str]:
    """Add up counts by the function that each address lies in; what a compiler split off counts for its function."""
    starts = [address for address, _ in symbols]
    found: Counter[str] = Counter()
    for address, count in places:
        at = bisect_right(starts, address) - 1
        found[_CLONE.sub("", symbols[at][1]) if at >= 0 else PROGRAM] += count
    return found


def largest(here: FunctionCosts, there: FunctionCosts | None, most: int = 10) -> list[tuple[str, float, float]]:
    """The functions that differ most: (name, instructions here, there). Without another kernel, the largest ones."""
    names = {*here.functions, *(there.functions if there else ())}
    told = [
        (name, here.functions.get(name, 0.0), there.functions.get(name, 0.0) if there else 0.0)
        for name in sorted(names)
    ]
    return sorted(told, key=lambda one: -abs(one[1] - one[2]))[:most]
