"""Exploration that is guided by the code that programs reach."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import pytest

from harness.errors import LostGuest
from harness.explore.covered import SEEN_BITS, ReachedCode
from harness.explore.executor import Executor
from harness.explore.exploration import Exploration
from harness.explore.program import Program, parse_program
from harness.explore.session import Explorer
from harness.explore.source import ProgramSource
from harness.explore.wire import Reader, WireError, encode, shape_of
from harness.guests.model import Event, Exited, Output
from harness.reports.explore import Explored, explored_json
from harness.reports.explore_text import explored_lines
from tests.support.promising_kernel import PromisingKernel

PAYLOAD = Path(__file__).parents[2] / "guest_payload/c/payload.h"
PROGRAM = parse_program("window 1 x 1 page, usual: anon rw\nmunmap 0-0")


def test_both_ends_have_as_many_bits() -> None:
    assert f"COVERAGE_SEEN_BITS = {SEEN_BITS}" in PAYLOAD.read_text()
    assert len(ReachedCode().seen) == 2**SEEN_BITS // 8


def test_a_pair_counts_for_the_first_program_of_a_batch_that_ran_it() -> None:
    code = ReachedCode()
    assert code.take({3: [(0, 1), (1, 2)], 1: [(0, 1)], 2: [(0, 1)]}) == [1, 3]
    assert code.pairs == {(0, 1), (1, 2)}
    assert sum(byte.bit_count() for byte in code.seen) == 2
    assert code.take({0: [(1, 2)]}) == [] and code.take({}) == []


def frame(body: bytes) -> bytes:
    return b"C\0" + len(body).to_bytes(2, "little") + body


def test_a_programs_pairs_may_come_in_several_frames() -> None:
    reader = Reader([shape_of(encode(PROGRAM))])
    pairs = struct.pack("<III", 0, 7, 8)
    reader.feed(frame(pairs)[:5])
    reader.feed(frame(pairs)[5:] + frame(struct.pack("<IIIII", 0, 8, 9, 9, 10)))
    assert reader.pairs == {0: [(7, 8), (8, 9), (9, 10)]}


@pytest.mark.parametrize("body", [b"", struct.pack("<I", 1), struct.pack("<II", 0, 5)])
def test_damaged_coverage_is_no_coverage(body: bytes) -> None:
    with pytest.raises(WireError):
        Reader([shape_of(encode(PROGRAM))]).feed(frame(body))


def test_programs_that_reach_new_code_are_kept_and_changed_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Program] = []
    programs = [parse_program(f"window 4 x 1 page, usual: anon 4 rw\nmunmap 0-{n}") for n in (0, 1, 1, 2)]
    kernel = PromisingKernel(tmp_path, covers=lambda program: [(0, 1), (1, program.steps[0].units)])
    code, outcome, source = ReachedCode(), Exploration(5), ProgramSource(5)
    monkeypatch.setattr(source.random, "keep", kept.append)
    monkeypatch.setattr(source.random, "learn", lambda *_: None)  # states are another reason to keep one
    explorer = Explorer(lambda: kernel, b"elf", lambda _text: None, covered=code)
    explorer.batch(programs, source, outcome)
    assert kept == [programs[0], programs[1], programs[3]]
    assert outcome.pairs == len(code.pairs) == 4
    kept.clear()
    explorer.batch(programs, source, outcome)
    assert kept == [] and outcome.pairs == 4
    told = Explored("k", "x86_64", outcome)
    assert "4 pairs of blocks" in "\n".join(explored_lines(told, tmp_path)) and explored_json(told)["pairs"] == 4


def test_a_kernel_without_kcov_gives_no_answer_and_says_why(tmp_path: Path) -> None:
    class Without(PromisingKernel):
        def run(self, argv):
            assert argv[3] == "--seen"
            events: list[Event] = [
                Output("err", b"payload: coverage: /sys/kernel/debug/kcov: No such file or directory\n"),
                Exited(3, None),
            ]
            yield from events

    with pytest.raises(LostGuest, match="kcov: No such file"):
        list(Executor(Without(tmp_path), b"elf").run([encode(PROGRAM)], seen=ReachedCode().seen))


def test_where_no_block_ran_nothing_guided_it_and_that_is_no_whole_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr("harness.explore.session.time.monotonic", lambda: next(clock))
    monkeypatch.setattr(ProgramSource, "batch", lambda *_: [PROGRAM])
    for pairs, lost in ([], "no program ran any block of instrumented code"), ([(0, 1)], ""):
        kernel = PromisingKernel(tmp_path, covers=lambda _, pairs=pairs: pairs)  # type: ignore[misc]
        explorer = Explorer(lambda kernel=kernel: kernel, b"elf", lambda _: None, covered=ReachedCode())  # type: ignore[misc]
        outcome = explorer.explore(ProgramSource(5), 3, Exploration(5))
        assert outcome.judged and outcome.lost.startswith(lost) and bool(outcome.lost) == bool(lost)
        assert Explored("k", "x86_64", outcome).exit_code == (3 if lost else 0)
