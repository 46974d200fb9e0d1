"""Consoles of real kernels, each with the reports that are to be found on it at its head.

``python -m tests.console_goldens --write`` writes the heads again; what differs is what has to be reviewed. A new log
is put into tests/data/console as it is, and gets its head the same way. ``from:``, where the log comes from, is kept.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from harness.guests.console import Crash, find_crashes

FOLDER = Path(__file__).parent / "data" / "console"
UNKNOWN = "unknown; please say"
END = b"\n--- console ---\n"


@dataclass(frozen=True)
class Golden:
    """``head`` tells the reports, one field a line; a line ``--- console ---`` ends it."""

    path: Path
    head: str
    log: bytes

    @property
    def console(self) -> str:
        return self.log.decode("utf-8", "replace")

    @property
    def crashes(self) -> tuple[Crash, ...]:
        return find_crashes(self.console)

    @property
    def expected(self) -> str:
        """The head as it should be."""
        first = self.head.partition("\n")[0]
        lines = [first if first.startswith("from: ") else f"from: {UNKNOWN}", f"reports: {len(self.crashes)}"]
        for crash in self.crashes:
            lines += ["", f"kind: {crash.kind}, {'a crash' if crash.fatal else 'a note'}", f"title: {crash.title}"]
            lines += [f"probe: {', '.join(crash.suspects) or 'none'}"]
            lines += ["of memory management: yes"] if crash.warns_of_memory else []
        return "\n".join(lines) + "\n"

    def write(self) -> None:
        self.path.write_bytes(self.expected.encode() + END + self.log)


def goldens() -> list[Golden]:
    found = []
    for path in sorted(FOLDER.glob("*.log")):
        head, end, log = path.read_bytes().partition(END)
        found.append(Golden(path, head.decode(), log) if end else Golden(path, "", head))
    return found


if __name__ == "__main__":
    for golden in goldens():
        if sys.argv[1:] == ["--write"]:
            golden.write()
        elif golden.head != golden.expected:
            sys.stdout.write(f"{golden.path.name}\n{golden.expected}\n")
