"""Files of a run that may come from elsewhere: as much of them as any run of ours writes, and not more.

docs/internals/guests.md has the table of all bounds.
"""

from __future__ import annotations

import errno
from pathlib import Path

JOURNAL = 256 << 20  # bytes: a payload may write 64 MiB, twice, and further guests as much; a suite writes 3 MiB
STORED = 64 << 20  # bytes of run.json, plan.json, verdicts.json, report.html: a run of a thousand cells has less


def read_stored(path: Path, limit: int = STORED) -> bytes:
    """Read a file of a run. Raises ``OSError``, also where it is longer than that."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit >> 20} MiB, which no run writes", str(path))
    return data
