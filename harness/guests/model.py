"""The ``Guest`` seam: what a run needs of a machine, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

# Bytes a payload may write before its guest counts as lost; a whole suite writes a tenth of it.
FLOOD = 64 << 20

Start = Literal["", "cold", "warm"]


@dataclass(frozen=True)
class Deadlines:
    """Seconds of wall time a guest may take: ``boot`` until hello, ``probe`` for one half of one probe,
    ``silence`` between two pieces of output while the payload runs, ``total`` for the whole payload."""

    boot: float
    probe: float
    silence: float
    total: float


@dataclass(frozen=True)
class Booted:
    """What a guest said of itself when it came up, and how it was run.

    ``start`` is "cold" for one that booted, "warm" for one that was restored from a saved guest, "" for the host
    itself; ``saved_guest`` is the key of the one it came from, or was saved as.
    """

    release: str
    machine: str
    page_size: int
    cmdline: str
    acceleration: str  # "kvm", "tcg" or "none" (the host itself)
    acceleration_reason: str
    boot_seconds: float
    argv: tuple[str, ...] = ()  # of the emulator, as run
    versions: Mapping[str, str] = field(default_factory=dict)  # e.g. {"qemu": "7.2.22"}
    digests: Mapping[str, str] = field(default_factory=dict)  # sha256: initramfs, vmlinux, ...
    notes: tuple[str, ...] = ()  # set-up steps that failed in the guest
    start: Start = ""
    start_reason: str = ""
    saved_guest: str = ""
    cpu: str = ""  # the emulator's model of a processor
    config: Mapping[str, str] = field(default_factory=dict, repr=False)  # the kernel's, where only the machine tells it


@dataclass(frozen=True)
class Output:
    """Bytes the payload wrote; ``stream`` is ``"out"`` or ``"err"``."""

    stream: str
    data: bytes


@dataclass(frozen=True)
class Exited:
    """How the payload ended: an exit status, or the signal that killed it (the other is None)."""

    status: int | None
    signal: int | None


Event = Output | Exited


class Guest(Protocol):
    """A machine. Methods are called in the order boot, push*, run*, stop, from one thread; ``stop`` may be called
    from any thread at any time, more than once, and makes the others raise ``LostGuest`` or ``BootFailed``.

    ``console`` is the file its console is kept in (None where there is none); it is complete after ``stop``.
    """

    console: Path | None

    def boot(self) -> Booted:
        """Start the machine and wait for its hello. Raises ``BootFailed`` or another ``InfrastructureError``."""
        ...

    def push(self, name: str, content: bytes, mode: int = 0o755) -> str:
        """Put a file into the guest's memory-backed work directory and return its path there."""
        ...

    def run(self, argv: Sequence[str]) -> Iterator[Event]:
        """Run a program, yielding what it writes as it arrives; the last event, always, is ``Exited``.

        Raises ``LostGuest`` when the machine dies, hangs past a deadline or breaks the channel's protocol.
        """
        ...

    def stop(self) -> None:
        """End the machine and release everything. Never raises for a machine that is already gone."""
        ...


Waits = Callable[[str], None]


@runtime_checkable
class Queues(Protocol):
    """A guest whose ``boot`` may have to wait for somebody else. It tells ``waits`` for whom; "" when it need not."""

    waits: Waits
