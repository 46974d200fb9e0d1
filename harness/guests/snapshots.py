"""Saved guests: machines that had just said hello, kept so that the next run of the same machine need not boot.

``guests/KEY/`` in the cache: ``state`` (QEMU's migration stream), ``console.log`` (the boot's), ``guest.json``.
The key is a digest over everything that could matter, so a guest is either exactly the one wanted or not there. A
folder appears whole, by a rename, and whatever does not answer as it did when it was saved is removed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.guests.devices import Machine, argv
from harness.guests.handshake import Hello
from harness.guests.identity import Identity
from harness.kernels.store import Store, file_sha256, telling
from harness.model.architectures import host_arch
from harness.model.json_text import parse_json

FORMAT = 2
LIMIT = 4 << 30  # bytes of all saved guests together; one is 45 to 70 MB


@dataclass(frozen=True)
class SavedGuest:
    """One saved guest. ``facts`` are what its key is the digest of; ``hello`` is what it said when it had booted."""

    key: str
    folder: Path
    kernel: str
    arch: str
    profile: str
    saved: str
    boot_seconds: float
    sha256: str
    size: int
    hello: Hello
    facts: Mapping[str, Any]
    console_sha256: str

    @property
    def state(self) -> Path:
        """QEMU's migration stream."""
        return self.folder / "state"

    @property
    def console(self) -> Path:
        """The console of the boot."""
        return self.folder / "console.log"

    def undamaged(self) -> bool:
        """Whether its state, and the console of its boot, are what was saved."""
        try:
            return file_sha256(self.console) == self.console_sha256 and file_sha256(self.state) == self.sha256
        except OSError:
            return False


def facts_of(machine: Machine, initramfs: str, emulator: Identity) -> dict[str, Any]:
    """Return everything that could matter to a saved guest: two with the same facts are the same machine.

    QEMU's arguments stand for processor, memory, devices, acceleration and boot parameters. In them the image and the
    initial RAM file system are named by their digests, and what is only this cell's own (console, sockets) is left out.
    """
    kernel = machine.kernel
    paths = {str(kernel.image): kernel.image.name, str(machine.initramfs): initramfs, str(machine.emulator): ""}
    nobody = replace(machine, console=Path(), channel_fd=-1, monitor_fd=-1, incoming_fd=-1)
    return {
        "format": FORMAT,
        "host": host_arch(),
        "kernel": kernel.sha256,
        "image": kernel.image_sha256,
        "image_format": kernel.image_format,
        "initramfs": initramfs,
        "emulator": asdict(emulator),
        "argv": [paths.get(word, word) for word in argv(nobody)],
    }


def key_of(facts: Mapping[str, Any]) -> str:
    """Return the name under which the guest with these facts is saved."""
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


class SavedGuests:
    """The saved guests in the cache. Safe for several threads and processes at once."""

    def __init__(self, store: Store | None = None, limit: int = LIMIT) -> None:
        self._store = store or Store()
        self._folder = self._store.root / "guests"
        self._limit = limit

    def find(self, facts: Mapping[str, Any]) -> SavedGuest | None:
        """Return the guest with these facts and mark it used; None when it was never saved, or not whole."""
        found = _read(self._folder / key_of(facts))
        if found is None or found.facts != parse_json(json.dumps(facts)):
            return None
        with suppress(OSError):
            os.utime(found.folder)
        return found

    def keep(self, machine: Machine, facts: Mapping[str, Any], hello: Hello, seconds: float, save: Save) -> str:
        """Have ``save`` write a guest's state and keep it, in place of whatever has its key, which is returned.

        Raises ``StoreError`` and whatever ``save`` does; nothing is left of it then.
        """
        folder = self._folder / key_of(facts)
        with self._store.scratch() as scratch, telling(folder):
            state = scratch / "state"
            with state.open("xb") as file:
                save(file.fileno())
            shutil.copyfile(machine.console, scratch / "console.log")
            record = {
                "kernel": f"{machine.kernel.name} ({machine.kernel.release})",
                "arch": machine.kernel.arch,
                "profile": machine.profile.name,
                "saved": datetime.now(UTC).isoformat(timespec="seconds"),
                "boot_seconds": round(seconds, 3),
                "sha256": file_sha256(state),
                "console_sha256": file_sha256(scratch / "console.log"),
                "size": state.stat().st_size,
                "hello": asdict(hello),
                "facts": facts,
            }
            (scratch / "guest.json").write_text(json.dumps(record, indent=1) + "\n")
            self._folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(FileExistsError):  # another run was quicker: its guest is as good
                _rename(scratch, folder)
        self._shrink(folder)
        return folder.name

    def discard(self, guest: SavedGuest) -> None:
        """Remove one; a run that is restoring it has it open and goes on."""
        shutil.rmtree(guest.folder, ignore_errors=True)

    def all(self) -> list[SavedGuest]:
        """Return them, the one used last first."""
        folders = sorted(self._folders(), key=_used, reverse=True)
        return [guest for guest in map(_read, folders) if guest is not None]

    def clear(self) -> int:
        """Remove all, whole or not, and return how many there were."""
        folders = list(self._folders())
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        return len(folders)

    def _folders(self) -> Iterator[Path]:
        return self._folder.iterdir() if self._folder.is_dir() else iter(())

    def _shrink(self, newest: Path) -> None:
        """Remove what was used longest ago until the rest is within the limit; what is not whole counts as oldest."""
        left = self._limit
        for folder in sorted(self._folders(), key=lambda f: (f == newest, _used(f)), reverse=True):
            left -= _size(folder)
            if left < 0 and folder != newest:
                shutil.rmtree(folder, ignore_errors=True)


Save = Callable[[int], None]
"""Writes a guest's state to an open file."""


def _rename(scratch: Path, folder: Path) -> None:
    try:
        scratch.rename(folder)
    except OSError as error:
        if folder.is_dir():
            raise FileExistsError(str(folder)) from error
        raise


def _read(folder: Path) -> SavedGuest | None:
    """The guest in a folder; None when it is not whole, or of another format."""
    try:
        record = parse_json((folder / "guest.json").read_bytes())
        said = record.pop("hello")
        hello = Hello(**{**said, "notes": tuple(said["notes"])})
        guest = SavedGuest(key=folder.name, folder=folder, hello=hello, **record)
        if guest.facts["format"] == FORMAT and guest.state.stat().st_size == guest.size and guest.console.is_file():
            return guest
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return None


def _used(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _size(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in folder.iterdir())
    except OSError:
        return 0
