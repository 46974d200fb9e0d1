"""JSON that may come from elsewhere: a guest, a folder that somebody copied, a file that somebody edited."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str | bytes | bytearray) -> Any:
    """Read a JSON text. Raises ``ValueError`` for anything else, also for one that is nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
