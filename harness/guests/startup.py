"""Bringing one machine up, one way: restored from a saved guest where there is one that can be trusted, else booted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

from harness.errors import BootFailed, StoreError
from harness.guests.devices import Machine
from harness.guests.handshake import Hello
from harness.guests.meant import demand_image, other_than_image, other_than_recorded
from harness.guests.model import Start
from harness.guests.monitor import MonitorError
from harness.guests.protocol import await_hello, telling_as
from harness.guests.qemu_process import Link
from harness.guests.restore import Doubt, begin_console, restored
from harness.guests.snapshots import SavedGuest, SavedGuests
from harness.kernels.store import telling

StartLink = Callable[[Machine, bool], Link]
"""Starts QEMU; with True it can be asked to save its guest."""


@dataclass(frozen=True)
class Up:
    """A guest that has said hello; see ``Booted`` for ``start``. ``restored`` is what it came from."""

    link: Link
    hello: Hello
    seconds: float
    start: Start
    reason: str
    saved_guest: str = ""
    restored: SavedGuest | None = None


@dataclass(frozen=True)
class Startup:
    """What it takes to bring a machine up within ``seconds``. Raises ``BootFailed``; nothing is left running then.

    ``stopped`` says that we ended the guest ourselves.
    """

    machine: Machine
    seconds: float
    start: StartLink
    saved: SavedGuests
    stopped: Callable[[], bool]

    def boot(self, cold: str) -> Up:
        """Boot, because of ``cold``."""
        return self._boot(cold, None)

    def restore_or_boot(self, facts: Mapping[str, Any]) -> Up:
        """Restore the guest saved under ``facts``; where there is none, or any doubt about it, boot and save."""
        saved = self.saved.find(facts)
        if saved is None:
            return self._boot("no saved guest for this machine", facts)
        try:
            return self._restore(saved)
        except Doubt as doubt:
            if self.stopped():  # which is no reason to doubt what is saved
                raise BootFailed("the guest was stopped") from doubt
            self.saved.discard(saved)
            return self._boot(f"saved guest {saved.key} was discarded: {doubt}", facts)

    def _restore(self, saved: SavedGuest) -> Up:
        begun = time.monotonic()
        try:
            begin_console(saved, self.machine.console)
            state = os.open(saved.state, os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, StoreError) as problem:
            raise Doubt(str(problem)) from problem
        try:
            link = self.start(changed(self.machine, incoming_fd=state), False)
        finally:
            os.close(state)
        with _or_nothing(link):
            hello = restored(link, saved, self.seconds)
            if other := other_than_recorded(self.machine.kernel, hello):
                raise Doubt(other)
        reason = f"restored from a guest that had booted in {saved.boot_seconds:g} s at {saved.saved}"
        return Up(link, hello, time.monotonic() - begun, "warm", reason, saved.key, saved)

    def _boot(self, cold: str, facts: Mapping[str, Any] | None) -> Up:
        """Boot the kernel; with ``facts``, the guest is saved under them once it is up."""
        demand_image(self.machine.kernel)
        begun = time.monotonic()
        with telling(self.machine.console):
            self.machine.console.write_bytes(b"")
        link = self.start(self.machine, facts is not None)
        with _or_nothing(link):
            late = f"no hello within {self.seconds:g} s under {self.machine.acceleration.upper()}"
            with telling_as(BootFailed):
                hello = await_hello(link, begun + self.seconds, late)
            kernel = self.machine.kernel
            if other := other_than_recorded(kernel, hello) or other_than_image(kernel, hello):
                raise BootFailed(f"the wrong kernel booted: {other}")
            up = Up(link, hello, time.monotonic() - begun, "cold", cold)
            return up if facts is None else self._keep(up, facts)

    def _keep(self, up: Up, facts: Mapping[str, Any]) -> Up:
        def save(descriptor: int) -> None:
            with telling_as(BootFailed):
                up.link.save(descriptor, self.seconds)

        try:
            key = self.saved.keep(self.machine, facts, up.hello, up.seconds, save)
        except (MonitorError, StoreError) as problem:
            return changed(up, reason=f"{up.reason}, and it could not be saved: {problem}")
        return changed(up, saved_guest=key)


@contextmanager
def _or_nothing(link: Link) -> Iterator[None]:
    """End a guest that does not come up, whatever the reason."""
    try:
        yield
    except BaseException:
        link.kill()
        link.close()
        raise


def empty_console(path: Path) -> None:
    """Make the console's file and its folder, so that what cannot be written is told before anything is started."""
    with telling(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
