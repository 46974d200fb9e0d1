"""How long, in words."""

from __future__ import annotations

import re

from harness.errors import UsageError

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(s|m|h)?\Z")
_UNITS = {"s": 1, "m": 60, "h": 3600, None: 1}


def duration(text: str) -> float:
    """Read ``60s``, ``5m``. Raises ``ValueError``."""
    match = _DURATION.match(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is not a time: write a number and s, m or h, such as 60s")
    return float(match[1]) * _UNITS[match[2]]


def seconds_of(text: str, option: str = "--time") -> float:
    """The same for an option. Raises ``UsageError``."""
    try:
        return duration(text)
    except ValueError:
        raise UsageError(f"{option} {text}: write a number and s, m or h, such as 60s") from None
