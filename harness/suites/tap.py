r"""TAP 12 to 14 and KTAP, nested subtests and all.

https://testanything.org/tap-version-14-specification.html, Documentation/dev-tools/ktap.rst. The results of subtests
are indented and come first, and then the result of the test that they belong to::

    KTAP version 1
    1..2
      KTAP version 1
      # Subtest: munmap
      1..2
      ok 1 whole
      not ok 2 head
    not ok 1 munmap
    ok 2 mprotect # SKIP no memory

``run_kselftest.sh`` writes ``# `` where KTAP has two blanks. ``tap.py`` is not used: it knows no subtests, cuts names
at an escaped ``\#``, raises for ``TAP version 12``, and takes ``# XFAIL`` for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from harness.suites.lines import Line
from harness.suites.model import TestOutput, TestResult, TestStatus

MAX_TESTS = 10_000

_INDENT = re.compile(r"^((?:[ \t]|# (?=\s*(?:(?:not )?ok \d|1\.\.\d|K?TAP version \d)))*)(.*)$")
_VERSION = re.compile(r"K?TAP version \d+$")
_SUBTEST = re.compile(r"# Subtest: *(.*)$")
_PLAN = re.compile(r"1\.\.(\d+)(?:\s*#\s*(?P<why>.*))?$")
_RESULT = re.compile(r"(?P<failed>not )?ok\b(?: +(?P<number>\d+)\b)?(?P<rest>.*)$")
_DIRECTIVE = re.compile(r"(?<!\\)# *(?P<word>SKIP|TODO|XFAIL|XPASS|TIMEOUT|ERROR)\w*:?(?:\s+(?P<why>.*))?$", re.I)
_BAIL = re.compile(r"Bail out!\s*(.*)$")
_TOTALS = re.compile(r"# Totals: pass:(\d+) fail:(\d+) .*error:(\d+)")
# A name that has an address in it is another one in each process.
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{5,}")


@dataclass
class _Level:
    """What was read at one indentation, since the last result line that was indented less."""

    indent: int
    name: str = ""
    planned: int | None = None
    told: str = ""  # why a plan of none has none
    numbers: set[int] = field(default_factory=set)
    found: list[TestResult] = field(default_factory=list)
    count: int = 0

    def take(self, number: int | None) -> int:
        """Count one more result; returns its number."""
        self.count += 1
        number = self.count if number is None else number
        self.numbers.add(number)
        return number

    def lacking(self) -> list[TestResult]:
        """The tests that were planned and did not report."""
        planned = min(self.planned or 0, MAX_TESTS)
        missing = [n for n in range(1, planned + 1) if n not in self.numbers]
        return [TestResult((f"test {n}",), "missing", "planned, and it did not report") for n in missing]

    def too_many(self) -> str:
        """Say that more came than was planned, "" where that is not so."""
        if self.planned is None or self.count <= self.planned:
            return ""
        return f"{self.count} tests reported and {self.planned} were planned"


def is_tap(lines: Sequence[Line]) -> bool:
    """Whether output is TAP: a version, a plan, or a numbered result stands in it."""
    return any(_speaks(line.text) for line in lines)


def _speaks(text: str) -> bool:
    body = _split(text)[1]
    result = _RESULT.match(body)
    return bool(_VERSION.match(body) or _PLAN.match(body) or (result and result["number"]) or _BAIL.match(body))


def read_tap(lines: Sequence[Line]) -> TestOutput:
    """Read the output of a program that speaks TAP."""
    reader = _Reader(named=any(_VERSION.match(b) or _PLAN.match(b) for b in (_split(line.text)[1] for line in lines)))
    for number, line in enumerate(lines, start=1):
        reader.take(number, line)
    return reader.end()


def _split(text: str) -> tuple[int, str]:
    """The indentation of a line, in columns, and the rest of it."""
    match = _INDENT.match(text)
    assert match is not None  # it matches anything
    return len(match[1].expandtabs(4)), match[2]


class _Reader:
    def __init__(self, *, named: bool) -> None:
        self._named = named  # results without a number are results
        self._levels: list[_Level] = [_Level(0)]
        self._bailed = ""
        self._doubts: list[str] = []
        self._totals: tuple[int, int, int] | None = None
        self._before = 0.0
        self._total = 0

    def take(self, number: int, line: Line) -> None:
        indent, body = _split(line.text)
        if match := _TOTALS.match(body):
            self._totals = (int(match[1]), int(match[2]), int(match[3]))
        elif match := _SUBTEST.match(body):
            # TAP 14 has this comment before the subtest, and not indented; KTAP has it inside.
            self._open(indent).name = self._open(indent).name or match[1]
        elif match := _PLAN.match(body):
            self._plan(self._open(indent), int(match[1]), match["why"] or "")
        elif match := _BAIL.match(body):
            self._bailed = self._bailed or match[1] or "no reason was given"
        elif (match := _RESULT.match(body)) and (match["number"] or (self._named and _is_result(match["rest"]))):
            self._result(number, line, indent, match)

    def _open(self, indent: int) -> _Level:
        """The level of an indentation."""
        if indent > self._levels[-1].indent:
            self._levels.append(_Level(indent))
        return next((level for level in self._levels if level.indent >= indent), self._levels[-1])

    def _plan(self, level: _Level, planned: int, why: str) -> None:
        if level.planned is not None and level.planned != planned:
            self._doubts.append(f"it planned {level.planned} tests, and then {planned}")
            planned = max(planned, level.planned)
        level.planned = planned
        match = _DIRECTIVE.match(f"# {why}")
        level.told = (match["why"] if match else why) or ""

    def _result(self, number: int, line: Line, indent: int, match: re.Match[str]) -> None:
        self._total += 1
        if self._total > MAX_TESTS:
            if self._total == MAX_TESTS + 1:
                self._doubts.append(f"more than {MAX_TESTS} tests reported; the rest was not read")
            # A failure is never left out: there may be many passes before it.
            if not match["failed"] or self._total > 2 * MAX_TESTS:
                return
        level = self._open(indent)
        below = self._levels[self._levels.index(level) + 1 :]
        del self._levels[self._levels.index(level) + 1 :]
        taken = level.take(int(match["number"][:9]) if match["number"] else None)
        name, status, said = _read_result(match, taken)
        subtests = [test for inner in below for test in self._close(inner)]
        if status == "pass" and any(test.status in ("fail", "broken", "missing") for test in subtests):
            status, said = "fail", "it says ok, and one of its subtests did not pass"
        level.found += [replace(test, path=(name, *test.path)) for test in subtests]
        seconds = round(max(0.0, line.seconds - self._before), 6)
        level.found.append(TestResult((name,), status, said, number, seconds))
        self._before = line.seconds

    def _close(self, level: _Level) -> list[TestResult]:
        if told := level.too_many():
            self._doubts.append(told)
        return [*level.found, *level.lacking()]

    def end(self) -> TestOutput:
        """The output has ended. A subtest whose test did not report stands under the name it gave itself."""
        top, *open_ = self._levels
        if open_:
            name = next((level.name for level in open_ if level.name), top.name) or "subtest"
            inner = [test for level in open_ for test in self._close(level)]
            top.found += [replace(test, path=(name, *test.path)) for test in inner]
            if top.planned is None and inner:
                top.found.append(TestResult((name,), "missing", "its subtests reported, and it did not"))
        tests = self._close(top)
        if self._totals is not None:
            self._doubts += _against_totals(self._totals, tests)
        skipped = top.told or "no reason was given" if top.planned == 0 and not top.count else ""
        return TestOutput(tuple(tests), "kselftest", skipped, self._bailed, tuple(self._doubts))


def _is_result(rest: str) -> bool:
    """Whether what follows an ``ok`` without a number is a result's: not the words of a sentence that begins so."""
    return not rest or rest[0].isspace()


def _read_result(match: re.Match[str], number: int) -> tuple[str, TestStatus, str]:
    rest = match["rest"].strip().removeprefix("-").strip()
    directive = _DIRECTIVE.search(rest)
    name, _, comment = (rest[: directive.start()] if directive else rest).partition(" # ")
    name = name.strip().replace("\\#", "#").replace("\\\\", "\\")
    said = ((directive["why"] or "") if directive else comment).strip()
    word = directive["word"].upper() if directive else ""
    if not name and said:
        name = said  # kselftest: ok 3 # SKIP NAME
    name = _ADDRESS.sub("0x…", name) or f"test {number}"
    failed = bool(match["failed"])
    match word:
        case "SKIP":
            return name, "skip", said
        case "TODO" | "XFAIL":
            return name, "todo" if failed or word == "XFAIL" else "unexpected-pass", said
        case "XPASS":
            return name, "fail" if failed else "unexpected-pass", said
        case "ERROR":
            return name, "broken", said
        case "TIMEOUT":
            return name, "fail", said or "out of time"
        case _:
            return name, "fail" if failed else "pass", said


def _against_totals(totals: tuple[int, int, int], tests: Sequence[TestResult]) -> list[str]:
    """What kselftest counted itself against what was read: failures that nobody has seen are not passed over."""
    failed = sum(test.status in ("fail", "broken") for test in tests)
    return (
        [f"it counts {totals[1] + totals[2]} failures, and printed {failed}"] if totals[1] + totals[2] > failed else []
    )
