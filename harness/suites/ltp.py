"""The Linux Test Project's output, of its present library and of the one before.

::

    mseal01.c:45: TPASS: mprotect() failed as expected: EPERM (1)      lib/tst_test.c, lib/tst_res_.c
    mmap01      1  TPASS  :  call succeeded                            lib/tst_res.c
    Summary:
    passed   4

A test of the present library has no name of its own; the place in its source says which it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from harness.suites.lines import Line
from harness.suites.model import TestOutput, TestResult, TestStatus

MAX_TESTS = 10_000
_NEW = re.compile(r"^(?P<name>[\w./+-]+\.[ch]:\d+): (?P<word>TPASS|TFAIL|TBROK|TCONF|TWARN): ?(?P<said>.*)$")
_OLD = re.compile(r"^(?P<name>[\w.+-]+ +\d+) +(?P<word>TPASS|TFAIL|TBROK|TCONF|TWARN) *: +(?P<said>.*)$")
_COUNT = re.compile(r"^(passed|failed|broken|skipped|warnings) +(\d+)$")
_STATUS: Mapping[str, TestStatus] = {
    "TPASS": "pass", "TFAIL": "fail", "TBROK": "broken", "TCONF": "skip", "TWARN": "broken",
}  # fmt: skip
_COUNTED = {"TFAIL": "failed", "TBROK": "broken", "TWARN": "warnings"}


def is_ltp(lines: Sequence[Line]) -> bool:
    """Whether a result of LTP stands in the output."""
    return any(_NEW.match(line.text) or _OLD.match(line.text) for line in lines)


def read_ltp(lines: Sequence[Line]) -> TestOutput:
    """Read the output of a program of LTP."""
    tests: list[TestResult] = []
    words: Counter[str] = Counter()
    told: dict[str, int] = {}
    before, left_out = 0.0, 0
    for number, line in enumerate(lines, start=1):
        if count := _COUNT.match(line.text):
            told[count[1]] = int(count[2][:9])
        match = _NEW.match(line.text) or _OLD.match(line.text)
        if match is None:
            continue
        word = match["word"]
        words[word] += 1
        if len(tests) >= MAX_TESTS and (word == "TPASS" or len(tests) >= 2 * MAX_TESTS):
            left_out += 1
            continue
        name, said = " ".join(match["name"].split()), match["said"]
        tests.append(TestResult((name,), _STATUS[word], said, number, round(max(0.0, line.seconds - before), 6)))
        before = line.seconds
    doubts = [
        f"its summary counts {told[name]} {name}, and {words[word]} were printed"
        for word, name in _COUNTED.items()
        if told.get(name, 0) > words[word]
    ]
    if left_out:
        doubts.append(f"more than {MAX_TESTS} tests reported; the rest was not read")
    return TestOutput(tuple(tests), "ltp", doubts=tuple(doubts))
