"""The stream of docs/reference/protocol.md, as this payload writes it: one JSON object a line, one write each."""

import contextlib
import os

from guest import _identity
from guest.calls import PAGE, syscall
from guest.numbers import MACHINE

STREAM = 1
_ESCAPES = {i: f"\\u{i:04x}" for i in range(32)} | {ord('"'): '\\"', ord("\\"): "\\\\", 0x7F: "\\u007f"}
_LONGEST = 4000
_written = 0  # bytes, by this process


def encode(value):
    """A value as JSON. The module json would do, but takes half as long to import as everything else together."""
    kind = type(value)
    if kind is str:
        plainly = value.isascii() and value.isprintable() and '"' not in value and "\\" not in value
        return f'"{value}"' if plainly else f'"{value.translate(_ESCAPES)}"'
    if kind is list or kind is tuple:
        return f"[{','.join(map(encode, value))}]"
    if kind is dict:
        return "{" + ",".join([f"{encode(k)}:{encode(v)}" for k, v in value.items()]) + "}"
    if kind is bool:
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, int):
        return int.__repr__(value)
    raise TypeError(f"no JSON for {kind.__name__}")


def plain(value):
    """A value as facts may have it: None, a bool, a number, a text, or a list of those; anything else as text."""
    if value is None or type(value) in (bool, int):
        return value
    if hasattr(type(value), "told"):
        return value.told()
    if isinstance(value, list | tuple):
        return [_flat(plain(part)) for part in value]
    return str(value)[:_LONGEST]


def _flat(value):
    return str(value) if isinstance(value, list) else value


def emit(**record):
    """Write one record."""
    # Lone surrogates, which a name in a file system may hold, have no UTF-8; what replaces them is JSON's escape.
    write_line(encode(record).encode("utf-8", "backslashreplace") + b"\n")


def write_line(line):
    """Write a line that is a record."""
    global _written  # noqa: PLW0603
    view = memoryview(line)
    while view:
        view = view[os.write(1, view) :]
    _written += len(line)


def emit_end(probes):
    """Write the last record. It says how much was written before, so that the host sees whether anybody else did."""
    emit(type="end", probes=probes, bytes=_written)


def _seccomp():
    """Its mode, 2 where a filter may answer for the kernel; 0 for a kernel without."""
    lines = _text("/proc/self/status").split("\n")
    return next((int(line.split()[1]) for line in lines if line.startswith("Seccomp:")), 0)


def emit_plan(probes):
    """Write the first record: who speaks, on what, and what is going to be tried."""
    system = os.uname()
    features = {
        "mseal": syscall("mseal", 0, 0, 0).errno,
        "smaps": _openable("/proc/self/smaps"),
        "pagemap": _openable("/proc/self/pagemap"),
        "seccomp": _seccomp(),
        "cmdline": _text("/proc/cmdline"),
    }
    emit(
        type="plan", stream=STREAM, payload="python", id=_identity.ID, machine=MACHINE, release=system.release,
        page_size=PAGE, pid1=os.getpid() == 1, features=features, probes=probes,
    )  # fmt: skip


class KernelLog:
    """Names probes in the kernel's log, so that what the console says can be put down to them.

    At the level of an alert: a quiet console that shows reports shows the names as well.
    """

    def __init__(self, *, wanted):
        self._fd = -1
        if wanted:
            with contextlib.suppress(OSError):
                self._fd = os.open("/dev/kmsg", os.O_WRONLY | os.O_CLOEXEC)

    def begin(self, probe):
        """A probe is about to begin."""
        if self._fd >= 0:
            os.write(self._fd, f"<1>sealmatrix: begin {probe}\n".encode())


def _openable(path):
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno
    return 0


def _text(path):
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 2048).decode("utf-8", "replace").strip()
    finally:
        os.close(fd)
