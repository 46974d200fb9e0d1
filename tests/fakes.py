"""A guest that follows a script: the seam at which other rooms are tested without a machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import LostGuest
from harness.guests.model import Booted, Event, Exited, Output

BOOTED = Booted(
    release="6.12.0-fake",
    machine="x86_64",
    page_size=4096,
    cmdline="console=ttyS0",
    acceleration="tcg",
    acceleration_reason="scripted",
    boot_seconds=0.01,
)

# What a script may hold: bytes are standard output, an Event is itself, an exception is raised,
# and an Event of threading is waited for (a payload that hangs until `stop`, or until a test lets it go on).
Step = bytes | Output | Exited | Exception | threading.Event


@dataclass
class FakeGuest:
    """A scripted ``Guest``. ``calls`` records what was asked of it; a script without an end exits with status 0."""

    script: Sequence[Step] = ()
    booted: Booted | Exception = BOOTED
    pushing: Exception | None = None
    console_text: str = ""
    console: Path | None = None
    calls: list[str] = field(default_factory=list)
    pushed: dict[str, bytes] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)

    def boot(self) -> Booted:
        self.calls.append("boot")
        self._check()
        if self.console is not None:
            self.console.write_text(self.console_text)
        if isinstance(self.booted, Exception):
            raise self.booted
        return self.booted

    def push(self, name: str, content: bytes, mode: int = 0o755) -> str:
        self.calls.append(f"push {name} {mode:o}")
        self._check()
        if self.pushing is not None:
            raise self.pushing
        self.pushed[name] = content
        return f"/work/{name}"

    def run(self, argv: Sequence[str]) -> Iterator[Event]:
        self.calls.append("run " + " ".join(argv))
        for step in self.script:
            self._check()
            match step:
                case bytes():
                    yield Output("out", step)
                case threading.Event():
                    while not step.wait(0.01):
                        self._check()
                case Exception():
                    raise step
                case _:
                    yield step
                    if isinstance(step, Exited):
                        return
        self._check()
        yield Exited(0, None)

    def stop(self) -> None:
        self.calls.append("stop")
        self.stopped.set()

    def _check(self) -> None:
        if self.stopped.is_set():
            raise LostGuest("the guest was stopped")
