"""Has a guest run one probe under a tracer, and reads which functions of mm/ its sealed call went through.

Where the kernel has ftrace's function_graph, that is asked; else QEMU's own log of the code it executed, with the
symbols the kernel tells (/proc/kallsyms). Two kernels that are compared are asked by the same means.
"""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import InfrastructureError, LostGuest
from harness.guests.model import Exited, Guest, Output
from harness.guests.qemu import Wishes
from harness.kernels.model import Kernel
from harness.matrix.model import InQemu
from harness.model.architectures import ARCHITECTURES
from harness.runs.interactive import Hold, equip, opened
from harness.runs.kernel_calls import (
    BEHIND,
    FIRST,
    ComparedCalls,
    KernelCalls,
    Means,
    Symbols,
    operation_of,
    parse_executed,
    parse_graph,
    parse_symbols,
)
from harness.runs.model import Cell

_PROBE_SECONDS = 600  # a traced kernel is slow, and a busy machine slower
_FTRACE = f"""
T=/sys/kernel/tracing
mkdir -p $T && mount -t tracefs tracefs $T 2>/dev/null; cd $T 2>/dev/null || exit 8
grep -qw function_graph available_tracers 2>/dev/null && [ -e available_filter_functions_addrs ] || exit 8
at() {{ grep -E " [tT] ($1)\\$" /proc/kallsyms | sort | head -n1 | cut -d' ' -f1; }}
first=$(at '{"|".join(FIRST)}'); behind=$(at '{"|".join(BEHIND)}')
[ -n "$first" ] && [ -n "$behind" ] || exit 7
awk -v a=$first -v b=$behind '$1>=a && $1<b {{print NR}}' available_filter_functions_addrs >/work/wanted
grep -nE " ($2mseal|$2clock_gettime)\\$" available_filter_functions_addrs | cut -d: -f1 >>/work/wanted
cat /work/wanted >set_ftrace_filter && echo 0 >tracing_on && echo 32768 >buffer_size_kb &&
	echo function_graph >current_tracer || exit 8
for o in nofuncgraph-irqs funcgraph-proc nofuncgraph-duration nofuncgraph-cpu nofuncgraph-overhead function-fork; do
	echo $o >trace_options
done
cat >/work/traced <<'END'
echo $$ >set_ftrace_pid; echo 1 >tracing_on
exec timeout {_PROBE_SECONDS} /work/payload --lone --run "$1"
END
sh /work/traced "$1" >/work/stream
echo 0 >tracing_on
grep -v '^#' trace
"""
_NO_FTRACE, _NO_SYMBOLS = 8, 7
_SECONDS = 20.0  # that QEMU's monitor has to answer
_ASKED_TOO_MUCH = 511 << 20  # bytes of QEMU's log; it may write no file of more than 512 MiB


class _Untraced(Exception):
    """This means is not there; says why."""


@dataclass(frozen=True, kw_only=True)
class Tracer:
    """How guests are started to trace; ``say`` tells what is going on."""

    wishes: Wishes
    say: Callable[[str], None] = lambda text: None

    def compare(self, probe: str, here: Cell, there: Cell | None) -> ComparedCalls:
        """Trace a probe in one kernel and, where there is one, in the kernel it is compared with."""
        if there is None:
            return ComparedCalls(probe, self.trace(probe, here), None)
        mine = self.trace(probe, here)
        other = self.trace(probe, there, only=mine.means)
        if mine.means == "ftrace" and other.means is None:
            mine, other = self.trace(probe, here, only="qemu"), self.trace(probe, there, only="qemu")
        return ComparedCalls(probe, mine, other)

    def trace(self, probe: str, cell: Cell, only: Means | None = None) -> KernelCalls:
        """Trace a probe's sealed call in a guest of this cell; what cannot be had is told in ``why``."""
        if not isinstance(cell.kernel, Kernel) or not isinstance(cell.profile.guest, InQemu):
            return KernelCalls(cell.id, None, (), "only a kernel in a QEMU guest of ours can be traced")
        cell = replace(cell, profile=replace(cell.profile, smp=1, swap=0))  # one CPU, so that calls have an order
        why: list[str] = []
        for means, ask in (("ftrace", self._by_ftrace), ("qemu", self._by_qemu)):
            if only in (None, means):
                self.say(f"tracing {probe} on {cell.id} ({means})")
                try:
                    return KernelCalls(cell.id, means, ask(probe, cell))  # type: ignore[arg-type]
                except (_Untraced, InfrastructureError) as problem:
                    why.append(f"{means}: {problem}")
        return KernelCalls(cell.id, None, (), "; ".join(why))

    def _by_ftrace(self, probe: str, cell: Cell) -> tuple[tuple[int, str], ...]:
        entry = ARCHITECTURES[cell.arch].entry
        with (
            tempfile.TemporaryDirectory(prefix="sealmatrix-") as name,
            opened(cell, Hold(replace(self.wishes, endless=True), Path(name)), self.say) as (guest, _),
        ):
            equip(guest, cell, self.say, [("trace", _FTRACE.encode())], python=False)
            status, text = _output(guest, ["sh", "/work/trace", probe, entry])
        if status == _NO_SYMBOLS:
            raise _Untraced("the kernel does not tell where its functions lie (/proc/kallsyms)")
        if status == _NO_FTRACE or status is None:
            raise _Untraced("the kernel has no function_graph tracer")
        return _sliced(operation_of(parse_graph(text.splitlines()), entry))

    def _by_qemu(self, probe: str, cell: Cell) -> tuple[tuple[int, str], ...]:
        entry = ARCHITECTURES[cell.arch].entry
        with tempfile.TemporaryDirectory(prefix="sealmatrix-") as name:
            folder = Path(name)
            wishes = replace(self.wishes, acceleration="tcg", hmp=folder / "hmp", endless=True)
            with opened(cell, Hold(wishes, folder), self.say) as (guest, _):
                equip(guest, cell, self.say, python=False)
                _, text = _output(guest, ["cat", "/proc/kallsyms"])
                symbols = parse_symbols(text.splitlines())
                if symbols is None:
                    raise _Untraced("the kernel does not tell where its functions lie (/proc/kallsyms)")
                _ask(folder / "hmp", f"logfile {folder / 'log'}", "log exec,nochain")
                status, _ = _output(guest, ["timeout", str(_PROBE_SECONDS), "payload", "--lone", "--run", probe])
                _ask(folder / "hmp", "log none")
                if status:
                    raise _Untraced(f"the payload did not end well while it was logged (exit status {status})")
            return _sliced(_read_log(folder / "log", symbols, entry))


def _sliced(found: tuple[tuple[int, str], ...] | None) -> tuple[tuple[int, str], ...]:
    if found is None:
        raise _Untraced("the sealed half did not come to its operation")
    return found


def _read_log(log: Path, symbols: Symbols, entry: str) -> tuple[tuple[int, str], ...] | None:
    if log.stat().st_size > _ASKED_TOO_MUCH:
        raise _Untraced("the probe executes too much code to log it")
    with log.open(encoding="ascii", errors="replace") as lines:
        return operation_of(parse_executed(lines, symbols, entry), entry)


def _output(guest: Guest, words: Sequence[str]) -> tuple[int | None, str]:
    """A command's exit status and standard output."""
    out = bytearray()
    status: int | None = None
    for event in guest.run(["/bin/sh", "-c", 'exec "$@"', "sh", *words]):
        match event:
            case Output("out", data):
                out += data
            case Exited():
                status = event.status
    return status, out.decode("utf-8", "replace")


def _ask(place: Path, *commands: str) -> None:
    """Give QEMU's monitor some commands, each answered by its next prompt. Raises ``LostGuest``."""
    try:
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(_SECONDS)
            monitor.connect(str(place))
            _prompt(monitor)
            for command in commands:
                monitor.sendall(command.encode() + b"\n")
                _prompt(monitor)
    except OSError as problem:
        raise LostGuest(f"QEMU's monitor: {problem}") from None


def _prompt(monitor: socket.socket) -> None:
    heard, until = b"", time.monotonic() + _SECONDS
    while not heard.rstrip().endswith(b"(qemu)"):
        data = monitor.recv(4096)
        if not data or time.monotonic() > until:
            raise LostGuest("QEMU's monitor does not answer")
        heard += data
