"""Exploring kernels that do not exist: what becomes a finding, how small it gets, and what is no finding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from harness.errors import GuestError
from harness.explore.against import Against, Compared
from harness.explore.executor import CHUNK, Executor
from harness.explore.exploration import Exploration
from harness.explore.guest import ConsoleNews, ProgramGuest
from harness.explore.oracles import ORACLES
from harness.explore.program import Program, Segment, Step, parse_program
from harness.explore.session import Explorer
from harness.explore.source import ProgramSource
from harness.explore.wire import encode
from harness.guests.model import Event
from harness.reports.explore import Explored, explored_json, explored_junit
from harness.reports.explore_text import explored_lines
from tests.support.promising_kernel import MLOCK, MPROTECT, MSEAL, MUNMAP, WRITE, Memory, PromisingKernel

ANON, RW = 1, 3
KNOWN = {MUNMAP, MPROTECT, MSEAL, MLOCK, WRITE}


class Batches(ProgramSource):
    """So many batches of what the kernels here know; then there is no more time."""

    def __init__(self, seed: int, clock: list[float], batches: int = 3) -> None:
        super().__init__(seed)
        self._clock, self._left = clock, batches

    def batch(self, size: int, chunk: int) -> list[Program]:
        self._left -= 1
        if self._left < 0:
            self._clock[0] += 1000
        return [_plain(program) for program in super().batch(size, chunk)]


def _plain(program: Program) -> Program:
    segments = tuple(Segment(ANON if s.kind else 0, s.prot & 3, s.units, s.traits & 7) for s in program.segments)
    steps = tuple(
        Step(s.op, s.start, s.units, s.a & 3 if s.op == MPROTECT else s.a) for s in program.steps if s.op in KNOWN
    )
    return Program(segments, steps or (Step(MUNMAP, 0, 1),))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("harness.explore.session.time.monotonic", lambda: now[0])
    monkeypatch.setattr("harness.explore.against.time.monotonic", lambda: now[0])
    return now


def explored(
    kernel: PromisingKernel, clock: list[float], corpus: Sequence[Program] = (), *, batches: int = 3, seed: int = 5
) -> Exploration:
    explorer = Explorer(lambda: kernel, b"elf", lambda _text: None)
    return explorer.explore(Batches(seed, clock, batches), 100.0, Exploration(seed), corpus)


def test_a_kernel_that_keeps_its_promises_has_no_finding(tmp_path: Path, clock: list[float]) -> None:
    outcome = explored(PromisingKernel(tmp_path), clock)
    assert outcome.judged > 500 and outcome.states > 50
    assert outcome.findings == [] and outcome.unconfirmed == [] and not outcome.lost


def test_one_seed_means_the_same_programs_and_findings(tmp_path: Path, clock: list[float]) -> None:
    def defect(memory: Memory, step: Step) -> bool:
        return step.op == MPROTECT and step.units > 2

    outcomes = []
    for seed in (5, 5, 6):
        clock[0] = 0.0
        outcomes.append(explored(PromisingKernel(tmp_path, defect), clock, seed=seed))
    first, second, other = outcomes
    assert first.digest == second.digest != other.digest
    assert first.findings == second.findings != []


def test_the_next_batch_is_drawn_while_the_guest_is_at_work(tmp_path: Path, clock: list[float]) -> None:
    seen: list[str] = []

    class Busy(PromisingKernel):
        def run(self, argv: Sequence[str]) -> Iterator[Event]:
            seen.append("begins")
            yield from super().run(argv)
            seen.append("ends")

    class Drawn(Batches):
        def _draw(self, size: int, chunk: int) -> tuple[list[Program], int]:
            seen.append("drawn")
            return super()._draw(size, chunk)

    explorer = Explorer(lambda: Busy(tmp_path), b"elf", lambda _text: None)
    explorer.explore(Drawn(5, clock, 3), 100.0, Exploration(5))
    assert seen == ["drawn", *["begins", "drawn", "ends"] * 4]


@pytest.mark.parametrize(
    ("defect", "smallest"),
    [
        (lambda memory, step: step.op == MUNMAP and step.units == 3, (3, 1)),
        (lambda memory, step: step.op == MPROTECT and memory.locked[step.start] and memory.sealed[step.start], (1, 1)),
        (lambda memory, step: step.op == MSEAL and step.units > 4, (5, 1)),
    ],
)
def test_a_finding_is_made_small(
    tmp_path: Path, clock: list[float], defect: Callable[[Memory, Step], bool], smallest: tuple[int, int]
) -> None:
    outcome = explored(PromisingKernel(tmp_path, defect), clock, batches=4)
    assert outcome.findings
    finding = min(outcome.findings, key=lambda f: (f.program.units, len(f.program.steps)))
    assert (finding.program.units, len(finding.program.steps)) == smallest
    assert finding.problem.oracle in ORACLES and not finding.company


def test_what_needs_a_process_that_has_run_others_is_found_with_them(tmp_path: Path, clock: list[float]) -> None:
    seals = [0]

    class Aging(PromisingKernel):
        def _pass(self, program: Program, other: list[int] | None) -> tuple[bytes, list[int]]:
            seals[0] += other is None
            return super()._pass(program, other)

        def run(self, argv):  # type: ignore[no-untyped-def]
            seals[0] = 0
            yield from super().run(argv)

    def defect(memory: Memory, step: Step) -> bool:
        return step.op == MUNMAP and seals[0] > 10

    refused = parse_program("window 1 x 1 page, usual: anon rw sealed written\nmunmap 0-0")
    outcome = explored(Aging(tmp_path, defect), clock, [refused] * 14, batches=0)
    (finding,) = outcome.findings
    assert finding.program == refused and len(finding.company) == 10


def test_what_does_not_come_again_is_told_and_is_no_finding(tmp_path: Path, clock: list[float]) -> None:
    once = [True]

    def defect(memory: Memory, step: Step) -> bool:
        return step.op == MUNMAP and memory.sealed[step.start] and once.pop() if once else False

    refused = parse_program("window 1 x 1 page, usual: anon rw sealed written\nmunmap 0-0")
    outcome = explored(PromisingKernel(tmp_path, defect), clock, [refused], batches=0)
    assert not outcome.findings and len(outcome.unconfirmed) == 1


def test_a_warning_on_the_console_is_a_finding_with_its_program(tmp_path: Path, clock: list[float]) -> None:
    def shouts(program: Program) -> str:
        middle = any(step.op == MSEAL and step.units == 3 for step in program.steps)
        return (
            "[    2.000000] WARNING: CPU: 0 PID: 1 at mm/vma.c:830 vma_merge_existing_range+0x1/0x2\n" if middle else ""
        )

    programs = [
        parse_program(f"window 4 x 1 page, usual: anon 4 rw\nmlock 0-3 lock\nmseal 0-{n}") for n in (0, 1, 2, 3)
    ]
    outcome = explored(PromisingKernel(tmp_path, shouts=shouts), clock, programs, batches=0)
    (finding,) = outcome.findings
    assert finding.problem.oracle == "console" and "vma_merge_existing_range" in finding.problem.text
    assert str(finding.program) == "window 3 x 1 page, usual: anon 3 rw\nmseal 0-2"


def test_where_the_kernel_dropped_messages_nobody_knows(tmp_path: Path, clock: list[float]) -> None:
    kernel = PromisingKernel(tmp_path, shouts=lambda program: "** 7 printk messages dropped **\n")
    outcome = explored(kernel, clock)
    assert "dropped messages" in outcome.lost and not outcome.findings
    assert Explored("k", "x86_64", outcome).exit_code == 3


WARNING = "[    2.000000] WARNING: CPU: 0 PID: 1 at mm/vma.c:830 vma_merge_existing_range+0x1/0x2\n"
DROP = "** 7 printk messages dropped **\n"


def _few(text: str) -> list[Program]:
    return [parse_program(f"window 4 x 1 page, usual: anon 4 rw\nmunmap 0-{n}") for n in (0, 1)] + [parse_program(text)]


def test_a_report_among_dropped_messages_does_not_hide_that_they_were_dropped(
    tmp_path: Path, clock: list[float]
) -> None:
    kernel = PromisingKernel(tmp_path, shouts=lambda program: WARNING + DROP if len(program.steps) == 2 else "")
    outcome = explored(kernel, clock, _few("window 2 x 1 page, usual: anon 2 rw\nmlock 0-1 lock\nmseal 0-1"), batches=0)
    assert "dropped messages" in outcome.lost and len(outcome.findings) == 1


def test_a_report_that_does_not_come_again_is_no_finding_and_no_silence(tmp_path: Path, clock: list[float]) -> None:
    once = [WARNING]
    kernel = PromisingKernel(tmp_path, shouts=lambda program: once.pop() if once else "")
    outcome = explored(kernel, clock, batches=1)
    assert not outcome.findings and len(outcome.unconfirmed) == 1
    one = Explored("k", "x86_64", outcome)
    assert "not again" in one.why_not
    assert one.exit_code == 3 and explored_json(one)["oracles"]["console"] == "miss"


def test_two_reports_in_a_batch_are_two_findings(tmp_path: Path, clock: list[float]) -> None:
    other = WARNING.replace("vma.c:830 vma_merge_existing_range", "mlock.c:1 mlock_fixup")

    def shouts(program: Program) -> str:
        ops = {step.op for step in program.steps}
        return WARNING if MSEAL in ops else other if MLOCK in ops else ""

    texts = ("mseal 0-1", "mlock 0-1 lock")
    programs = [parse_program(f"window 2 x 1 page, usual: anon 2 rw\n{text}") for text in texts]
    outcome = explored(PromisingKernel(tmp_path, shouts=shouts), clock, programs, batches=0)
    assert sorted(f.program.steps[-1].op for f in outcome.findings) == sorted((MSEAL, MLOCK))


def test_where_messages_are_dropped_when_it_is_tried_again_nobody_knows(tmp_path: Path, clock: list[float]) -> None:
    """A mutant's finding counts when the unchanged kernel does not show it: a drop there is no answer."""
    programs = _few("window 2 x 1 page, usual: anon 2 rw\nmseal 0-1")
    loud = PromisingKernel(tmp_path / "loud", shouts=lambda p: WARNING if any(s.op == MSEAL for s in p.steps) else "")
    deaf = PromisingKernel(tmp_path / "deaf", shouts=lambda program: DROP)
    for kernel in (loud, deaf):
        kernel.folder.mkdir()
    (finding,) = explored(loud, clock, programs, batches=0).findings
    with pytest.raises(GuestError, match="dropped"):
        Explorer(lambda: deaf, b"elf", lambda _text: None).shows(finding)


def test_what_the_console_says_last_is_read_in_whole_lines(tmp_path: Path) -> None:
    kernel = PromisingKernel(tmp_path)
    assert kernel.console is not None
    kernel.console.write_text("[    1.000000] WARNING: CPU: 0 PID: 1 at mm/vma.c:1 boot+0x1/0x2\n")
    guest = ProgramGuest(lambda: kernel, b"elf", 1000)
    guest.executor()
    assert guest.take() == ConsoleNews()
    for piece, reports, dropped in (
        ("[    2.0", 0, False),
        ("00000] BUG: un", 0, False),
        ("able to handle page fault\n** 3 pri", 1, False),
        ("ntk messages dropped **", 0, False),
        ("\n", 0, True),
    ):
        with kernel.console.open("a") as log:
            log.write(piece)
        news = guest.take()
        assert (len(news.reports), news.dropped) == (reports, dropped), piece
        assert all(crash.kind == "oops" for crash in news.reports)
    with kernel.console.open("a") as log:
        log.write("** 3 printk messages dropped **")  # and then it ended
    guest.stop()
    assert guest.take().dropped and guest.take() == ConsoleNews()


def test_a_guest_that_goes_away_without_a_word_is_no_answer(tmp_path: Path, clock: list[float]) -> None:
    outcome = explored(PromisingKernel(tmp_path, dies=lambda program: True), clock)
    assert outcome.lost and not outcome.findings
    one = Explored("k", "x86_64", outcome)
    assert one.exit_code == 3
    assert set(explored_json(one)["oracles"].values()) == {"miss"}
    assert 'errors="6"' in explored_junit([one])


def test_a_crash_is_a_finding(tmp_path: Path, clock: list[float]) -> None:
    def bad(program: Program) -> bool:
        return any(step.op == MUNMAP and step.units == 2 for step in program.steps)

    def shouts(program: Program) -> str:
        return "[    2.000000] kernel BUG at mm/mmap.c:1!\n" if bad(program) else ""

    programs = [parse_program(f"window 4 x 1 page, usual: anon 4 rw\nmunmap 0-{n}") for n in (0, 1, 2)]
    outcome = explored(PromisingKernel(tmp_path, dies=bad, shouts=shouts), clock, programs, batches=0)
    (finding,) = outcome.findings
    assert finding.problem.oracle == "console" and not outcome.lost
    assert str(finding.program) == "window 2 x 1 page, usual: anon 2 rw\nmunmap 0-1"


def test_two_kernels_differ_in_classes_with_a_small_program_each(tmp_path: Path, clock: list[float]) -> None:
    class Deaf(PromisingKernel):
        def _perform(self, memory: Memory, step: Step) -> int:
            return 22 if step.op == MLOCK and step.units > 1 else super()._perform(memory, step)

    here = Explorer(lambda: PromisingKernel(tmp_path), b"elf", lambda _text: None)
    there = Explorer(lambda: Deaf(tmp_path), b"elf", lambda _text: None)
    compared, progress = Compared(Exploration(5), Exploration(5)), list[str]()
    Against(here, there, progress.append).explore(Batches(5, clock), 100.0, compared)
    assert progress[0].endswith("differences") and progress[-1].startswith("making the program of difference ")
    assert not compared.here.findings and not compared.there.findings
    sorts = {one.difference.sort: one for one in compared.classes.values()}
    plain = sorts["mlock answers 0 or EINVAL"]
    assert (plain.program.units, len(plain.program.steps)) == (2, 1)
    told = Explored("a", "x86_64", compared.here, "b", tuple(compared.classes.values()))
    text = "\n".join(explored_lines(told, tmp_path))
    assert "differs from b: mlock answers 0 or EINVAL" in text


def test_an_interrupted_comparison_says_how_far_both_came(tmp_path: Path, clock: list[float]) -> None:
    class Interrupted(PromisingKernel):
        def _perform(self, memory: Memory, step: Step) -> int:
            raise KeyboardInterrupt

    here = Explorer(lambda: PromisingKernel(tmp_path), b"elf", lambda _text: None)
    there = Explorer(lambda: Interrupted(tmp_path), b"elf", lambda _text: None)
    compared = Compared(Exploration(5), Exploration(5))
    with pytest.raises(KeyboardInterrupt):
        Against(here, there, lambda _text: None).explore(Batches(5, clock), 100.0, compared)
    assert compared.here.programs and not compared.there.programs
    assert compared.here.batches == compared.there.batches


def test_a_damaged_record_loses_the_guest(tmp_path: Path) -> None:
    kernel = PromisingKernel(tmp_path)
    executor = Executor(kernel, b"elf")
    program = parse_program("window 1 x 1 page, usual: anon rw\nmunmap 0-0")
    results = list(executor.run([encode(program)] * (CHUNK + 1)))
    assert sorted(index for index, _ in results) == list(range(CHUNK + 1))
    assert executor.plan is not None and executor.plan.lanes == 1
