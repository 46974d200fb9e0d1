"""From what a program printed, and how it ended, to its tests. The only place that knows the formats."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Literal, get_args

from harness.suites.lines import MAX_LINES, Line, lines_of
from harness.suites.ltp import is_ltp, read_ltp
from harness.suites.model import Chunk, Convention, TestOutput
from harness.suites.tap import is_tap, read_tap

Format = Literal["auto", "tap", "ltp", "exit"]
FORMATS: tuple[Format, ...] = get_args(Format)
PARSER = "suites-1"
"""Changes with the names that tests get: answers that are kept under others cannot be compared with new ones."""
_LONGEST = 100
_NO_ID = re.compile(r"[^a-z0-9]+")


def parse_output(chunks: Iterable[Chunk], form: Format = "auto") -> TestOutput:
    """Read a program's output. A program that prints neither format has no tests: its exit status is its result."""
    lines = list(lines_of(chunks))
    found = _read(lines[:MAX_LINES], form)
    if len(lines) > MAX_LINES:
        doubt = f"it printed more than {MAX_LINES} lines; the rest was not read"
        return TestOutput(found.tests, found.convention, found.skipped, found.bailed, (*found.doubts, doubt))
    return found


def _read(lines: Sequence[Line], form: Format) -> TestOutput:
    if form == "ltp" or (form == "auto" and is_ltp(lines)):
        return read_ltp(lines)
    if form == "tap" or (form == "auto" and is_tap(lines)):
        found = read_tap(lines)
        if is_tap(lines) and not (found.tests or found.skipped or found.bailed or found.doubts):
            return replace(found, doubts=("it announced tests and reported none",))
        return found
    return TestOutput(())


def test_ids(output: TestOutput, drop: Sequence[str] = ()) -> tuple[str, ...]:
    """Ids for the tests of an output, in their order: ``munmap/whole``, each once.

    ``drop`` are regular expressions of what is left out of names: a beginning that all of them have, the line that a
    failure adds. A name that comes again is numbered: ``mprotect``, ``mprotect-2``.
    """
    dropped = [re.compile(pattern) for pattern in drop]
    used: set[str] = set()
    found: list[str] = []
    counts: dict[str, int] = {}
    for test in output.tests:
        base = _short("/".join(_slug(part, dropped) for part in test.path))
        number = counts.get(base, 0) + 1
        while (unique := base if number == 1 else f"{base}-{number}") in used:
            number += 1
        counts[base] = number
        used.add(unique)
        found.append(unique)
    return tuple(found)


test_ids.__test__ = False  # type: ignore[attr-defined]  # for pytest


def _slug(name: str, drop: Sequence[re.Pattern[str]]) -> str:
    for pattern in drop:
        name = pattern.sub("", name) or name
    slug = _short(_NO_ID.sub("-", name.lower()).strip("-"), name)
    return slug or f"name-{sha256(name.encode()).hexdigest()[:8]}"


def _short(ident: str, whole: str = "") -> str:
    """An id that fits into a name of a file beside its suite's and its program's."""
    if len(ident) <= _LONGEST:
        return ident
    return f"{ident[: _LONGEST - 9].rstrip('-./')}-{sha256((whole or ident).encode()).hexdigest()[:8]}"


def exit_said(convention: Convention, status: int | None, signal: int | None) -> Literal["pass", "fail", "skip"]:
    """What an exit status says by a convention.

    kselftest has 4 for a skip, 2 and 3 for what was expected; LTP has bits, of which 32 is "does not apply".
    """
    if signal is not None or status is None:
        return "fail"
    if status == 0:
        return "pass"
    if convention == "kselftest":
        return "skip" if status == 4 else "pass" if status in (2, 3) else "fail"
    if convention == "ltp":
        return "skip" if status == 32 else "fail"
    return "fail"


def exit_words(convention: Convention, status: int | None, signal: int | None) -> str:
    """An exit in words."""
    if signal is not None:
        return f"killed by signal {signal}"
    skip = (convention, status) in (("kselftest", 4), ("ltp", 32))
    return f"exit status {status}" + (f", which {convention} has for a skip" if skip else "")
