"""Judging suites: each test is a check of its own, and that a program runs to its end is one more. Pure.

A test passes when its program says so. What was planned and did not report is ``miss``, as is a program that did not
run; a program that gave up, printed something else than it counts, or was ended at its deadline is an ``error``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from harness.guests.console import Crash
from harness.model.rule import KernelFacts, Known, Test
from harness.model.verdict import Judgement, RuleResult, Status, Verdict, cut_short
from harness.rules.warnings import is_allowed
from harness.suites.definition import SuiteAsked
from harness.suites.model import TestOutput, TestResult, TestStatus
from harness.suites.parse import exit_said, exit_words, parse_output, test_ids
from harness.suites.records import ProgramRun

END = "runs-to-its-end"
_STATUS: Mapping[TestStatus, Status] = {
    "pass": "pass", "fail": "fail", "skip": "skip", "todo": "known", "unexpected-pass": "fixed", "broken": "error",
    "missing": "miss",
}  # fmt: skip


def judge_suites(
    suites: Sequence[SuiteAsked],
    runs: Mapping[str, ProgramRun],
    kernel: KernelFacts | None,
    lost: str,
    crashes: Sequence[Crash],
) -> tuple[RuleResult, ...]:
    """Judge what one cell's programs printed, by suite and program."""
    return tuple(
        result
        for suite in suites
        for ident in suite.ids()
        for result in _judge_program(suite, ident, runs.get(ident), kernel, lost, crashes)
    )


def test_times(suites: Sequence[SuiteAsked], runs: Mapping[str, ProgramRun]) -> Mapping[str, int]:
    """Microseconds by check, as far as the stream tells them."""
    times: dict[str, int] = {}
    for suite in suites:
        for ident in suite.ids():
            if (run := runs.get(ident)) is None:
                continue
            output = parse_output(run.chunks, suite.form)
            spent = [round(test.seconds * 1e6) for test in output.tests]
            times |= {f"{ident}/{name}": t for name, t in zip(test_ids(output, suite.drop), spent, strict=True)}
            times[f"{ident}/{END}"] = max(0, round(run.seconds * 1e6) - sum(spent))
    return times


test_times.__test__ = False  # type: ignore[attr-defined]  # for pytest


def _judge_program(
    suite: SuiteAsked,
    ident: str,
    run: ProgramRun | None,
    kernel: KernelFacts | None,
    lost: str,
    crashes: Sequence[Crash],
) -> Iterator[RuleResult]:
    output = parse_output(run.chunks, suite.form) if run else TestOutput(())
    crash = next((crash for crash in crashes if ident in crash.suspects and _counts(crash, kernel)), None)
    ending = _ending(suite, run, output, lost, crash)
    yield _result(suite, ident, END, "the program runs to its end", ending, kernel, "")
    for name, test in zip(test_ids(output, suite.drop), output.tests, strict=True):
        found = _judge_test(test, ending)
        yield _result(suite, ident, name, " / ".join(test.path), found, kernel, test.status)


def _counts(crash: Crash, kernel: KernelFacts | None) -> bool:
    return crash.fatal or (crash.warns_of_memory and not is_allowed(crash.title, kernel))


def _judge_test(test: TestResult, ending: Judgement) -> Judgement:
    said = test.said or {"fail": "not ok", "broken": "it could not be tested"}.get(test.status, "")
    match test.status:
        case "fail":
            return Judgement("fail", f"{test.path[-1]}: {said}", "test")
        case "missing" if ending.status in ("fail", "error", "miss"):
            return Judgement("miss", f"{said}: {ending.reason}")
        case "pass":
            return Judgement("pass", "")
        case "todo":
            return Judgement("known", f"the program itself expects this failure: {said}" if said else "expected")
        case "unexpected-pass":
            return Judgement("fixed", f"the program itself expects a failure: {said}" if said else "passes")
        case _:
            return Judgement(_STATUS[test.status], said or "no reason was given")


def _ending(suite: SuiteAsked, run: ProgramRun | None, output: TestOutput, lost: str, crash: Crash | None) -> Judgement:
    if crash is not None:
        return Judgement("fail", f"the kernel reported while it ran: {crash.title}", "crash")
    if run is None:
        return Judgement("miss", lost or "the program did not run")
    if not run.ended:
        return Judgement(cut_short(lost), lost or "it is not known how the program ended")
    if run.late:
        return Judgement("error", f"it did not end within {run.limit:g} s, and was killed")
    if run.status == 126 and not output.tests:
        return Judgement("error", f"it could not be run: {_last_line(run)}")
    if run.cut:
        return Judgement("error", "it printed more than is kept; the rest was not read")
    if output.bailed:
        return Judgement("error", f"Bail out! {output.bailed}")
    if output.doubts:
        return Judgement("error", "; ".join(output.doubts))
    return _exited(suite, run, output)


def _exited(suite: SuiteAsked, run: ProgramRun, output: TestOutput) -> Judgement:
    """How the program ended, held against what its tests say: a failure that no test tells is its own."""
    convention = output.convention if suite.convention == "auto" else suite.convention
    said = exit_said(convention, run.status, run.signal)
    words = exit_words(convention, run.status, run.signal)
    if output.skipped or (said == "skip" and not any(test.status == "pass" for test in output.tests)):
        reason = next((test.said for test in output.tests if test.status == "skip" and test.said), "")
        return Judgement("skip", output.skipped or reason or _last_line(run) or words)
    explained = any(test.status in ("fail", "broken", "missing") for test in output.tests)
    if run.signal is not None or (said == "fail" and not explained):
        return Judgement("fail", f"{words}: {_last_line(run)}" if _last_line(run) else words, "test")
    if output.tests and all(test.status == "skip" for test in output.tests):
        # It ended well and tested nothing: a pass of its own would make a run green in which nothing was asked.
        first = next((test.said for test in output.tests if test.said), "")
        return Judgement("skip", f"every test was skipped: {first}" if first else "every test was skipped")
    return Judgement("pass", words if explained else "")


def _last_line(run: ProgramRun) -> str:
    """The last thing it said, on standard error where it said something there."""
    for stream in ("err", "out"):
        text = b"".join(chunk.data for chunk in run.chunks if chunk.stream == stream).decode("utf-8", "replace")
        lines = [line for line in text.splitlines() if line.strip()]
        if lines:
            return "".join(c if c.isprintable() else "?" for c in lines[-1].strip())[:200]
    return ""


def _result(
    suite: SuiteAsked,
    program: str,
    name: str,
    statement: str,
    found: Judgement,
    kernel: KernelFacts | None,
    observed: str,
) -> RuleResult:
    ident = f"{program}/{name}"
    known = _known(suite, ident)
    rule = suite_test(suite.name, suite.title, ident, statement, suite.source, known=known)
    if kernel is not None and (here := next((one for one in known if kernel in one.where), None)):
        if found.status == "fail" and found.kind == "test":
            found = Judgement("known", f"{here.reason} [{here.source}]; {found.reason}")
        elif found.status == "pass":
            found = Judgement("fixed", f"known to fail here ({here.reason} [{here.source}]), and it passes")
    verdict = Verdict(ident, ident, found.status, found.reason, found.kind, observed)
    return RuleResult(rule, (verdict,))


def test_of(suites: Sequence[SuiteAsked], ident: str, statement: str) -> Test:
    """The check of an id, as it was judged. Raises ``KeyError`` for one of another suite."""
    suite = next((one for one in suites if ident.startswith(f"{one.name}/")), None)
    if suite is None:
        raise KeyError(ident)
    return suite_test(suite.name, suite.title, ident, statement, suite.source, known=_known(suite, ident))


test_of.__test__ = False  # type: ignore[attr-defined]


def _known(suite: SuiteAsked, ident: str) -> tuple[Known, ...]:
    below = ident.removeprefix(f"{suite.name}/")
    return tuple(one for one in suite.known if any(fnmatchcase(below, glob) for glob in one.probes))


def suite_test(
    suite: str, title: str, ident: str, statement: str, source: str, *, known: tuple[Known, ...] = ()
) -> Test:
    """A test as the check it is."""
    return Test(ident, suite, suite, "required", "interface", statement, (source or title,), known=known)
