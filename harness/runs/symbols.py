"""Where in the source a crash happened: frames of its stack as ``file:line``, from the vmlinux of whoever built it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.errors import SealmatrixError
from harness.guests.console import Crash
from harness.model.architectures import ARCHITECTURES, Arch
from harness.processes.children import OutOfTime, run

VMLINUX = "vmlinux"
_FRAME = re.compile(r"(?:^|[ :])(?P<frame>(?P<name>[A-Za-z_][\w.]*)\+0x(?P<offset>[0-9a-f]+)/0x(?P<size>[0-9a-f]+))")
_GUESS = re.compile(r"^\s*\? ")
_FRAMES = 12
_SECONDS = 60.0


def built_vmlinux(given: str, arch: Arch) -> Path | None:
    """The vmlinux that a person's build left for the kernel they named, by the path of its image or tree."""
    if not given.startswith(("/", "~", ".")):
        return None
    place = Path(given).expanduser().absolute()
    tops = [place.parents[image.count("/")] for image in ARCHITECTURES[arch].built if place.match(image)]
    return next((top / VMLINUX for top in (*tops, place, place.parent) if (top / VMLINUX).is_file()), None)


def frames(lines: Sequence[str]) -> tuple[str, ...]:
    """The frames of a report's stack as ``function+0x12/0x340``, those that are guesses left out."""
    found = (match["frame"] for line in lines if not _GUESS.match(line) and (match := _FRAME.search(line)))
    return tuple(dict.fromkeys(found))[:_FRAMES]


def symbolised(crashes: Sequence[Crash], vmlinux: Path | None) -> tuple[Crash, ...]:
    """The crashes with the places of their frames, ``mm/mprotect.c:612``; as they are where nobody can tell them."""
    if vmlinux is None or not any(frames(crash.lines) for crash in crashes):
        return tuple(crashes)
    try:
        known = _places(vmlinux, {frame for crash in crashes for frame in frames(crash.lines)})
    except (OSError, OutOfTime, SealmatrixError):  # a vmlinux that cannot be read tells nothing, and harms nothing
        return tuple(crashes)
    return tuple(
        replace(
            crash, places=tuple(f"{frame} {known[frame]}" for frame in frames(crash.lines) if frame in known)
        )
        for crash in crashes
    )  # fmt: skip


def _places(vmlinux: Path, wanted: set[str]) -> dict[str, str]:
    if not all(map(shutil.which, ("nm", "addr2line"))):
        return {}
    names = {match["name"]: None for frame in wanted if (match := _FRAME.search(frame))}
    table = run(["nm", "--print-size", str(vmlinux)], what="reading symbols", seconds=_SECONDS).out
    addresses: dict[tuple[str, int], int] = {}
    for line in table.decode("utf-8", "replace").splitlines():
        address, size, _, name, *_ = [*line.split(), "", "", ""]
        if name in names:
            addresses[name, int(size, 16)] = int(address, 16)
    places: dict[str, int] = {}
    for frame in sorted(wanted):
        match = _FRAME.search(frame)
        start = addresses.get((match["name"], int(match["size"], 16))) if match else None
        if match and start is not None:
            places[frame] = start + int(match["offset"], 16)
    if not places:
        return {}
    asked = [hex(address) for address in places.values()]
    told = run(["addr2line", "-e", str(vmlinux), *asked], what="reading line numbers", seconds=_SECONDS).out
    lines = told.decode("utf-8", "replace").splitlines()
    return {f: _short(line, vmlinux.parent) for f, line in zip(places, lines, strict=False) if not line.startswith("?")}


def _short(place: str, tree: Path) -> str:
    """A place without the folder it was built in and without discriminators."""
    return place.partition(" ")[0].removeprefix(f"{tree}/").removeprefix("./")
