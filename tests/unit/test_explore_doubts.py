"""What an exploration does not know for sure: it neither passes nor is put down to the wrong kernel or cause."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from harness.explore.against import Against, Compared
from harness.explore.exploration import Exploration
from harness.explore.program import Program, Step, parse_program
from harness.explore.record import record_of
from harness.explore.session import Explorer
from harness.explore.source import ProgramSource
from harness.explore.verdicts import judge_exploration
from harness.guests.model import Event, Exited, Output
from harness.reports.explore import Explored, explored_json
from tests.support.promising_kernel import MLOCK, MUNMAP, Memory, PromisingKernel, framed, read_batch

KASAN = "[    2.000000] BUG: KASAN: slab-use-after-free in mlock_fixup+0x1/0x2\n"
WARNING = "[    2.000000] WARNING: CPU: 0 PID: 1 at mm/vma.c:830 vma_merge_existing_range+0x1/0x2\n"
DROP = "** 7 printk messages dropped **\n"
PLAN = b'{"explore":1,"lanes":1,"page_size":4096,"procmap_query":1,"keys":0,"mseal":0}'


def program(steps: str, units: int = 1, traits: str = " sealed written") -> Program:
    return parse_program(f"window {units} x 1 page, usual: anon {units} rw{traits}\n{steps}")


def explored(kernel: PromisingKernel, programs: Sequence[Program], **facts: str) -> Explored:
    outcome = Exploration(5, **facts)
    Explorer(lambda: kernel, b"elf", lambda _text: None).explore(ProgramSource(5), 0.0, outcome, programs)
    return Explored("k", "x86_64", outcome)


def lets_through(times: list[int]) -> Callable[[Memory, Step], bool]:
    """munmap of one sealed unit goes through so many times, of two always."""

    def defect(memory: Memory, step: Step) -> bool:
        if step.op != MUNMAP or not memory.sealed[step.start]:
            return False
        if len(memory.prot) == 2:
            return True
        times[0] -= 1
        return times[0] >= 0

    return defect


def test_alarms_that_do_not_come_again_do_not_hide_one_that_would(tmp_path: Path) -> None:
    programs = [program("munmap 0-0")] * 30 + [program("munmap 0-1", 2)]
    one = explored(PromisingKernel(tmp_path, lets_through([30])), programs)
    assert one.outcome.lost and one.exit_code == 3


def test_an_alarm_that_does_not_come_again_is_a_missing_answer_for_its_operation(tmp_path: Path) -> None:
    one = explored(PromisingKernel(tmp_path, lets_through([1])), [program("munmap 0-0"), program("mprotect 0-0 r")])
    assert (one.exit_code, len(one.outcome.unconfirmed)) == (3, 1)
    told = {
        (verdict.rule, verdict.probe.partition("/")[0]): verdict.status
        for result in judge_exploration(record_of(one.outcome), None)
        for verdict in result.verdicts
    }
    assert told["explore-sealed-unchanged", "munmap"] == "miss"
    assert told["explore-sealed-unchanged", "mprotect"] == "pass"


class EveryFourth(PromisingKernel):
    """In a process of many programs, every fourth munmap of sealed memory goes through."""

    count = 0

    def run(self, argv: Sequence[str]) -> Iterator[Event]:
        self.count = 0
        alone = struct.unpack_from("<4sHHII", self._files[argv[2].rpartition("/")[2]])[2] == 1

        def defect(memory: Memory, step: Step) -> bool:
            if step.op != MUNMAP or not memory.sealed[step.start]:
                return False
            self.count += 1
            return self.count % 4 == 0 and not alone

        self.defect = defect
        yield from super().run(argv)


@pytest.mark.parametrize("steps", ["munmap 0-0", "madvise 0-0 mergeable\nmadvise 0-0 unmergeable\nmunmap 0-0"])
def test_a_known_bug_is_no_excuse_for_what_shows_without_its_steps(tmp_path: Path, steps: str) -> None:
    programs = [program("munmap 0-0")] * 3 + [program(steps)]
    one = explored(EveryFourth(tmp_path), programs, release="6.12.43", arch="x86_64", upstream="6.12.43")
    assert [finding.cause for finding in one.outcome.findings] == [""] and one.exit_code == 1


class Twice(PromisingKernel):
    """Tells of program 0 twice, and of program 1 not at all; or ends a program in a way there is not."""

    status = 0

    def run(self, argv: Sequence[str]) -> Iterator[Event]:
        programs = read_batch(self._files[argv[2].rpartition("/")[2]])
        yield Output("out", framed(b"P", PLAN))
        for index in (0, 0 if not self.status else 1):
            head = struct.pack("<IBBBB", index, self.status, 0, 0, 0)
            yield Output("out", framed(b"F", head + self._passes(programs[index])))
        yield Output("out", framed(b"E", b"{}"))
        yield Exited(0, None)


@pytest.mark.parametrize(("status", "why"), [(0, "told of program 0 twice"), (77, "ended in a way there is not: 77")])
def test_facts_come_once_for_each_program_and_are_of_a_kind_there_is(tmp_path: Path, status: int, why: str) -> None:
    kernel = Twice(tmp_path)
    kernel.status = status
    one = explored(kernel, [program("munmap 0-0"), program("mprotect 0-0 r")])
    assert why in one.outcome.lost and one.exit_code == 3


def test_where_there_is_no_console_nothing_is_said_of_it(tmp_path: Path) -> None:
    kernel = PromisingKernel(tmp_path)
    kernel.console = None  # as over SSH, or on this machine
    one = explored(kernel, [program("munmap 0-0")])
    assert explored_json(one)["oracles"]["console"] == "skip"


def test_a_report_that_comes_once_is_not_replaced_by_one_that_comes_always(tmp_path: Path) -> None:
    once = [KASAN]

    def shouts(one: Program) -> str:
        return (once.pop() if once else "") + (WARNING if any(step.op == MLOCK for step in one.steps) else "")

    one = explored(PromisingKernel(tmp_path, shouts=shouts), [program("mlock 0-0 lock"), program("munmap 0-0")])
    assert ["vma_merge" in finding.problem.text for finding in one.outcome.findings] == [True]
    assert ["KASAN" in problem.text for problem, _ in one.outcome.unconfirmed] == [True]


class OtherMlock(PromisingKernel):
    def _perform(self, memory: Memory, step: Step) -> int:
        return 22 if step.op == MLOCK and step.units > 1 else super()._perform(memory, step)


@pytest.mark.parametrize("dies", [False, True])
def test_what_happens_while_a_difference_is_made_small_counts(tmp_path: Path, *, dies: bool) -> None:
    """And it is the kernel's that it happened on."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    batches = [0]

    class Here(PromisingKernel):
        def run(self, argv: Sequence[str]) -> Iterator[Event]:
            batches[0] += 1
            yield from super().run(argv)

    here = Here(
        tmp_path / "here",
        shouts=lambda _one: KASAN if batches[0] > 1 else "",
        dies=lambda _one: dies and batches[0] > 1,
    )
    there = OtherMlock(tmp_path / "there")
    both = Compared(Exploration(5), Exploration(5))
    one, other = (Explorer(lambda k=k: k, b"elf", lambda _text: None) for k in (here, there))  # type: ignore[misc]
    corpus = [program("munmap 0-0\nmlock 1-2 lock", 3, "")]
    Against(one, other, lambda _: None).explore(ProgramSource(5), 0.0, both, corpus)
    assert Explored("here", "x86_64", both.here).exit_code == 1
    assert Explored("there", "x86_64", both.there).exit_code == 0


def test_programs_without_room_for_their_memory_are_not_explored(tmp_path: Path) -> None:
    for judged, lost in ((80, True), (95, False)):
        outcome = Exploration(5, programs=100, judged=judged)
        Explorer(lambda: PromisingKernel(tmp_path), b"elf", lambda _text: None).finish((), outcome)
        assert ("had no room for their memory" in outcome.lost) == lost
