"""How long, in words."""

from __future__ import annotations

import re

from harness.errors import UsageError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)?\Z")
_UNITS = {"s": 1, "m": 60, "h": 3600, None: 1}


def seconds_of(text: str) -> float:
    """Read ``60s``, ``5m``. Raises ``UsageError``."""
    match = _DURATION.match(text)
    if match is None:
        raise UsageError(f"--time {text}: write a number and s, m or h, such as 60s")
    return float(match[1]) * _UNITS[match[2]]
