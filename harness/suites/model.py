"""What a foreign test program said, test by test. Nothing is judged here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TestStatus = Literal["pass", "fail", "skip", "todo", "unexpected-pass", "broken", "missing"]
Convention = Literal["plain", "kselftest", "ltp"]


@dataclass(frozen=True)
class TestResult:
    """One test. ``path`` are the names of the subtests around it and its own, as they were printed.

    ``todo`` is a failure that the program itself expects, ``unexpected-pass`` the same when it passes, ``broken`` a
    test that could not be made, and ``missing`` one that was planned and did not report. ``said`` is the reason that
    was given, ``line`` where in the output (from 1; 0 for a test without a line), ``seconds`` the time since the test
    before it.
    """

    path: tuple[str, ...]
    status: TestStatus
    said: str = ""
    line: int = 0
    seconds: float = 0.0

    __test__ = False  # for pytest


@dataclass(frozen=True)
class TestOutput:
    """All that a program printed, as far as it is a format we read.

    ``convention`` is that of the exit status that goes with the format. ``skipped`` says why the program had nothing to
    test, ``bailed`` why it gave up; both are "" where it did not. ``doubts`` say in what its output contradicts itself:
    more tests than planned, a summary that counts other failures than were printed, output that was cut off.
    """

    tests: tuple[TestResult, ...]
    convention: Convention = "plain"
    skipped: str = ""
    bailed: str = ""
    doubts: tuple[str, ...] = ()

    __test__ = False


@dataclass(frozen=True)
class Chunk:
    """Bytes that a program wrote to one of its streams, ``seconds`` after it began."""

    seconds: float
    stream: str
    data: bytes
