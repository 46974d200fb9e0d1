"""What foreign test programs print: broken real logs in tests/data/suites, and any bytes at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.suites.lines import MAX_LINE, MAX_LINES
from harness.suites.model import Chunk, TestOutput
from harness.suites.parse import exit_said, exit_words, parse_output, test_ids
from harness.suites.tap import MAX_TESTS

LOGS = Path(__file__).parents[1] / "data" / "suites"


def read(data: bytes, size: int = 0) -> TestOutput:
    size = size or max(1, len(data))
    return parse_output(Chunk(i / 10, "out", data[i : i + size]) for i in range(0, len(data), size))


def said(output: TestOutput) -> list[tuple[str, str]]:
    return list(zip(test_ids(output), (test.status for test in output.tests), strict=True))


def log(name: str) -> TestOutput:
    return read((LOGS / name).read_bytes())


def test_a_later_pass_hides_no_failure_and_a_parent_is_no_better_than_its_subtests() -> None:
    assert said(log("ktap-later-pass-hides-nothing.txt")) == [
        ("munmap/whole", "fail"),
        ("munmap/whole-2", "pass"),
        ("munmap", "fail"),
        ("munmap-2", "pass"),
        ("mprotect", "pass"),
    ]
    assert log("ktap-later-pass-hides-nothing.txt").doubts == ("3 tests reported and 2 were planned",)


def test_tap_14_subtests_keep_their_path_and_directives_count() -> None:
    output = log("tap14-nested.txt")
    assert said(output) == [
        ("first-js/a-in-a-name", "pass"),
        ("first-js/deeper/x", "pass"),
        ("first-js/deeper/y", "todo"),
        ("first-js/deeper", "pass"),
        ("first-js", "pass"),
        ("second-js", "skip"),
    ]
    assert output.tests[0].path == ("first.js", "a # in a name")
    assert (output.tests[2].said, output.tests[5].said) == ("not written yet", "no such thing")


def test_what_was_planned_and_did_not_report_is_missing_and_any_bytes_can_be_read() -> None:
    output = log("tap-cut-off-not-utf8.txt")
    assert [test.status for test in output.tests] == ["pass", "pass", "fail", "missing"]
    assert output.tests[1].path == (r"caf\xe9 \xff\xfe",)
    assert output.tests[2].path == (r"col\x00our",)
    assert output.tests[3].path == ("test 4",)


def test_the_kselftest_runner_nests_with_number_signs() -> None:
    output = log("kselftest-runner-nested.txt")
    assert said(output) == [
        ("selftests-mm-mseal-test/test-seal-addseal", "pass"),
        ("selftests-mm-mseal-test/test-seal-munmap-line-1018", "fail"),
        ("selftests-mm-mseal-test", "fail"),
    ]
    assert output.tests[2].said == "exit=1"
    ids = test_ids(output, ["^test_seal_", r": line:\d+$", "^selftests: "])
    assert ids == ("mm-mseal-test/addseal", "mm-mseal-test/munmap", "mm-mseal-test")


def test_a_log_that_a_panic_ends_in_the_middle_misses_what_was_planned() -> None:
    assert said(log("dmesg-kunit.txt")) == [
        ("example/example-simple-test", "pass"),
        ("example/test-2", "missing"),
        ("test-1", "missing"),
    ]


def test_real_kselftest_logs() -> None:
    output = log("kselftest-mseal-7.3-one-failure.txt")
    assert (len(output.tests), output.doubts, output.convention) == (87, (), "kselftest")
    assert sum(test.status == "fail" for test in output.tests) == 1
    ids = test_ids(output, ["^test_(seal_)?", r": line:\d+$"])
    assert {"mprotect-two-vma", "mprotect-two-vma-2", "discard-ro-anon-on-pkey"} <= set(ids)
    bailed = log("kselftest-bail-out-before-the-plan.txt")
    assert bailed.bailed.startswith("check_vmflag")
    assert not bailed.tests
    expected = log("kselftest-xfail-before-the-name.txt")
    assert expected.tests[0].path == ("mremap - Source and Destination Regions Overlapping",)
    assert expected.tests[0].status == "todo"
    steps = log("kselftest-harness-steps.txt")
    assert steps.tests[0].path == ("process_madvise.basic",)
    assert len(steps.tests) == 7


def test_a_name_with_an_address_is_the_same_in_each_process() -> None:
    first, second = read(b"1..1\nok 1 at 0x7f6ed13b9000\n"), read(b"1..1\nok 1 at 0x7eaabbb9000\n")
    assert test_ids(first) == test_ids(second)


def test_ltp_new_and_old() -> None:
    new = log("ltp-new-with-summary.txt")
    assert said(new) == [
        ("mseal01-c-131", "pass"),
        ("mseal01-c-45", "pass"),
        ("mseal01-c-131-2", "pass"),
        ("pkey-h-40", "skip"),
        ("mseal01-c-131-3", "pass"),
        ("mseal01-c-78", "fail"),
    ]
    assert (new.convention, new.doubts) == ("ltp", ())
    old = log("ltp-old.txt")
    assert [test.status for test in old.tests] == ["pass", "fail", "skip", "broken", "broken"]
    assert old.tests[0].path == ("mmap01 1",)


def test_a_summary_that_counts_failures_nobody_saw_is_doubted() -> None:
    assert log("ltp-summary-counts-more.txt").doubts == ("its summary counts 2 failed, and 0 were printed",)
    totals = read(b"1..1\nok 1 a\n# Totals: pass:0 fail:1 xfail:0 xpass:0 skip:0 error:0\n")
    assert totals.doubts == ("it counts 1 failures, and printed 0",)


def test_prose_is_no_result() -> None:
    assert log("prose-that-begins-with-ok.txt") == TestOutput(())
    assert read(b"1..1\nok, then\nok\n").tests[0].path == ("test 1",)


def test_a_plan_of_nothing_says_why() -> None:
    assert read(b"TAP version 13\n1..0 # SKIP sealing not supported\n").skipped == "sealing not supported"
    assert read(b"TAP version 13\n1..2\nok 1 a\nBail out! no memory\n").bailed == "no memory"


def test_more_than_the_plan_and_two_plans_are_doubted() -> None:
    assert read(b"1..1\nok 1 a\nok 2 b\n").doubts == ("2 tests reported and 1 were planned",)
    assert read(b"1..1\n1..3\nok 1 a\n").doubts == ("it planned 1 tests, and then 3",)


def test_a_flood_is_bounded_and_keeps_its_failures() -> None:
    flood = b"".join(b"ok %d x\n" % n for n in range(1, MAX_TESTS + 50)) + b"not ok 99999 the one\n"
    output = read(b"1..99999\n" + flood)
    assert len(output.tests) <= 3 * MAX_TESTS
    assert [test.path for test in output.tests if test.status == "fail"] == [("the one",)]
    assert any("the rest was not read" in doubt for doubt in output.doubts)
    assert read(b"x\n" * (MAX_LINES + 10)).doubts == (f"it printed more than {MAX_LINES} lines; the rest was not read",)
    assert len(read(b"1..1\nok 1 " + b"x" * (10 * MAX_LINE)).tests[0].path[0]) < MAX_LINE


def test_times_are_those_of_the_stream() -> None:
    chunks = [Chunk(0.5, "out", b"1..2\nok 1 a\nok"), Chunk(2.0, "out", b" 2 b\n")]
    assert [test.seconds for test in parse_output(chunks).tests] == [0.5, 1.5]


def test_streams_have_their_own_lines() -> None:
    chunks = [Chunk(0, "out", b"1..1\nok 1"), Chunk(1, "err", b"a.c:1: words\n"), Chunk(2, "out", b" name\n")]
    assert said(parse_output(chunks)) == [("name", "pass")]


@pytest.mark.parametrize(
    ("convention", "status", "signal", "word", "words"),
    [
        ("plain", 0, None, "pass", "exit status 0"),
        ("plain", 4, None, "fail", "exit status 4"),
        ("kselftest", 4, None, "skip", "exit status 4, which kselftest has for a skip"),
        ("ltp", 32, None, "skip", "exit status 32, which ltp has for a skip"),
        ("ltp", 33, None, "fail", "exit status 33"),
        ("kselftest", None, 11, "fail", "killed by signal 11"),
    ],
)
def test_what_an_exit_says(convention: str, status: int | None, signal: int | None, word: str, words: str) -> None:
    assert exit_said(convention, status, signal) == word  # type: ignore[arg-type]
    assert exit_words(convention, status, signal) == words  # type: ignore[arg-type]


LINES = st.lists(
    st.one_of(
        st.builds(
            "{}{}ok {} {}{}".format,
            st.sampled_from(["", "  ", "    ", "# ", "\t"]),
            st.sampled_from(["", "not "]),
            st.integers(0, 12),
            st.sampled_from(["a", "b", "- c", ""]),
            st.sampled_from(["", " # SKIP", " # TODO later"]),
        ),
        st.sampled_from(["1..3", "  1..2", "KTAP version 1", "# Subtest: x", "Bail out! y", "a.c:1: TFAIL: z", "ok"]),
        st.text(max_size=20),
    ),
    max_size=25,
)


def failures(output: TestOutput) -> set[int]:
    return {test.line for test in output.tests if test.status in ("fail", "broken")}


@given(LINES, LINES)
def test_nothing_that_follows_takes_a_failure_back(lines: list[str], more: list[str]) -> None:
    before = read("".join(f"{line}\n" for line in ["1..1", *lines]).encode("utf-8", "surrogatepass"))
    after = read("".join(f"{line}\n" for line in ["1..1", *lines, *more]).encode("utf-8", "surrogatepass"))
    if before.convention == after.convention:
        assert failures(before) - {0} <= failures(after)


@given(st.binary(max_size=400), st.integers(1, 7))
def test_any_bytes_in_any_pieces_are_the_same_tests(data: bytes, size: int) -> None:
    whole, pieces = read(data), read(data, size)
    assert said(whole) == said(pieces)
    ids = test_ids(whole)
    assert len(set(ids)) == len(ids)


def test_what_announces_tests_and_reports_none_is_in_doubt() -> None:
    found = parse_output([Chunk("out", 0.0, b"TAP version 13\n")])
    assert found.tests == ()
    assert found.doubts == ("it announced tests and reported none",)
