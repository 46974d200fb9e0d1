"""Bisecting what a test of a foreign suite says."""

from __future__ import annotations

from harness.bisect.predicate import BisectQuestion
from harness.errors import UsageError
from harness.suites.gather import SuiteWords, meant_suites
from harness.suites.judge import suite_test


def test_question(word: str, test: str) -> BisectQuestion:
    """What is asked of each kernel: whether a test passes there. Raises ``UsageError`` for several suites at once.

    Whether the suite has such a test only a kernel tells: its programs are not read, they are run.
    """
    specs = meant_suites(SuiteWords(suites=(word,)))
    if len(specs) != 1:
        names = ", ".join(spec.name for spec in specs)
        raise UsageError(f"--suite {word} has several suites ({names}); name one as {word}:NAME")
    name = specs[0].name
    ident = test if test.startswith(f"{name}/") else f"{name}/{test}"
    return BisectQuestion(suite_test(name, specs[0].title, ident, test, specs[0].title), (ident,))
