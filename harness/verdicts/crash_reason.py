"""What is said of a probe that ran when the kernel reported something, and back to what was reported. Pure.

Probes share a process, and there are two lanes, so a report may fall on many that ran at that moment. Each of them
fails: any one may be it, and none was seen to be well.
"""

from __future__ import annotations

import re

from harness.errors import some_of
from harness.guests.console import Crash

_SHARED = re.compile(r"the kernel reported while the probe ran, and beside it [^:]*: (.*)", re.DOTALL)


_LOST = "memory that the probe's process had asked for is lost: "


def crash_reason(crash: Crash, probe: str) -> str:
    """The reason of the verdict on a probe."""
    if crash.kind == "leak":
        return f"{_LOST}{crash.title}"
    others = [other for other in crash.suspects if other != probe]
    ran = f"ran, and beside it {some_of(others)}" if others else "ran"
    return f"the kernel reported while the probe {ran}: {crash.title}"


def shared_crash(reason: str) -> str:
    """What was reported, where a verdict's reason says that other probes ran beside; else ""."""
    match = _SHARED.fullmatch(reason)
    return match[1] if match else ""


def is_of_lost_memory(reason: str) -> bool:
    """Whether a verdict's reason is that the kernel has lost memory, and not that it crashed."""
    return reason.startswith(_LOST)
