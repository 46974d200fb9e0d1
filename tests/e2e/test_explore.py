"""Exploration of real kernels: no alarm on one that keeps its promises, and the facts behind that."""

from __future__ import annotations

from dataclasses import replace
from errno import EACCES, EFAULT, EPERM
from pathlib import Path

import pytest

from harness.explore.corpus import load_corpus
from harness.explore.difference import behaviour, first_difference
from harness.explore.executor import Executor
from harness.explore.exploration import Exploration
from harness.explore.fixed_sorts import attached, growing, keyed
from harness.explore.judge import ProgramJudge
from harness.explore.program import parse_program
from harness.explore.session import Explorer
from harness.explore.source import ProgramSource
from harness.explore.verdicts import EXPLORE_RULES
from harness.explore.wire import NO_WINDOW, ProgramFacts, encode
from harness.guests.qemu import QemuGuest
from harness.matrix.model import Profile
from harness.model.architectures import Arch
from harness.payload.build import build
from harness.rules.load import load_catalogue
from harness.runs.run_store import load_run
from tests.support.command_line import only_run, sealmatrix
from tests.support.real_kernels import MakeGuest

pytestmark = pytest.mark.kernels
PROFILE = Profile("two-cpus", smp=2, memory=512)


def executor(make: MakeGuest, name: str, arch: Arch) -> Executor:
    guest = make(name, arch, profile=PROFILE, load=4.0)
    guest.boot()
    return Executor(guest, build(arch).path.read_bytes())


@pytest.mark.parametrize(
    ("name", "arch"), [("debian-6.12", "x86_64"), ("debian-6.12", "arm64"), ("debian-6.17.8", "x86_64")]
)
def test_no_alarm_on_a_kernel_that_keeps_its_promises(guest: MakeGuest, name: str, arch: Arch) -> None:
    def boot() -> QemuGuest:
        made = guest(name, arch, profile=PROFILE, load=4.0)
        made.boot()
        return made

    explorer = Explorer(boot, build(arch).path.read_bytes(), print)
    source, outcome = ProgramSource(20261128), Exploration(20261128)
    programs = [kept.program for kept in load_corpus()] + source.batch(768, 64)
    explorer.explore(source, 0.0, outcome, programs)
    assert outcome.findings == [] and not outcome.lost
    assert outcome.judged >= 0.97 * outcome.programs == 0.97 * len(programs)
    assert outcome.recorded["refused munmap divides mappings otherwise"][0] > 2


def test_the_same_programs_show_the_same_facts_whichever_lane_had_them(guest: MakeGuest) -> None:
    run = executor(guest, "debian-6.12", "x86_64")
    programs = ProgramSource(4).batch(256, 64)
    codes = [encode(program) for program in programs]
    first, second = (dict(run.run(codes)) for _ in range(2))
    assert run.plan is not None and run.plan.lanes == 2
    assert [i for i in first if first[i] != second[i]] == []


def test_the_defect_of_the_cve_shows_as_a_division(guest: MakeGuest) -> None:
    program = next(kept.program for kept in load_corpus() if kept.name == "cve-2026-23416")
    shown = {}
    for name in ("debian-6.12", "debian-6.17.8"):
        ((_, facts),) = executor(guest, name, "x86_64").run([encode(program)])
        shown[name] = facts
    found = first_difference(program, shown["debian-6.17.8"], shown["debian-6.12"])
    assert found is not None and found.sort == "division after mseal that answers 0"
    assert (found.here, found.there) == ("mappings begin at 0 2 3", "mappings begin at 0")


def test_a_window_lower_than_it_is_long_moves_like_its_twin(guest: MakeGuest) -> None:
    """Without a destination the kernel takes address 0 for it; the twin of a low window of 16 KiB pages lay higher."""
    program = parse_program("window 9 x 1 page, low: anon 9 rw\nmremap 0-8 elsewhere-keep")
    ((_, facts),) = executor(guest, "debian-6.12-16k", "arm64").run([encode(program)])
    assert [errno for errno, _ in facts.sealed.answers] == [errno for errno, _ in facts.twin.answers] == [0]


def test_what_raised_an_alarm_of_ours_raises_none_any_more(guest: MakeGuest) -> None:
    """Programs of docs/reference/findings.md whose alarm was a fault of the model or the payload."""
    texts = (
        "window 1 x 1 page, usual: shared-file rw\nremap_file_pages 0-0 1\nmseal 0-0\nmmap 0-0 shared-file rw",
        "window 2 x 1 page, usual: anon r written | anon r sealed written\nmlock 0-1 lock\n"
        "mremap 0-0 elsewhere-keep\nmsync 1-1 2",
        "window 3 x 1 page, usual: shared-anon 3 rw\nmmap 1-1 anon rw\nmremap 1-2 to\nmprotect 0-0 r\nmseal 0-0\n"
        "madvise 0-0 dontfork",
        "window 2 x 1 page, usual: shared-anon 2 rw\nremap_file_pages 0-0 1",
        "window 2 x 1 page, usual: shared-file rw | anon rw sealed\nfork grandchild\nmremap 0-1 elsewhere\n"
        "madvise 0-0 remove",
        "window 1 x 1 page, usual: anon rw\nfork stays\nuserfaultfd 0-0 missing\nuserfaultfd 0-0 close\n"
        "userfaultfd 0-0 write-protect",
    )
    programs = [parse_program(text) for text in texts]
    facts = dict(executor(guest, "debian-6.18.15", "x86_64").run([encode(program) for program in programs], chunk=1))
    for index, program in enumerate(programs):
        judged = ProgramJudge().judge(program, [step.to_bytes() for step in program.steps], facts[index])
        assert judged.asked and judged.problems == (), program


def test_no_window_lies_where_another_has_left_sealed_memory(guest: MakeGuest) -> None:
    """Windows of a place are of all lengths. A hole that a sealed mapping lies in is none: seen on arm64 from 7.0."""
    places = ("usual", "low", "4gib", "top", "tables")
    sealed = [f"window 8 x {pages} pages, {place}: anon 8 rw sealed" for pages in (512, 16) for place in places]
    holes = [f"window 2 x {pages} pages, {place}: hole 2" for pages in (2, 32, 128, 512) for place in places]
    mixed = [line for five in range(0, len(sealed), 5) for line in (*sealed[five : five + 5], *holes)]
    programs = [parse_program(line + "\nread 0-0") for line in mixed]
    told = dict(executor(guest, "debian-6.12", "x86_64").run([encode(p) for p in programs], chunk=len(programs)))
    there = {i: facts for i, facts in told.items() if facts.status != NO_WINDOW}
    assert len(there) > 0.8 * len(programs)
    taken = [i for i, facts in there.items() if "hole" in mixed[i] and any(facts.sealed.looks[0][2:4])]
    assert [mixed[i] for i in taken] == []
    assert all(facts.sealed.looks[0][2:10] == b"\7" * 8 for i, facts in there.items() if "hole" not in mixed[i])


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_every_place_and_every_trait_can_be_had(guest: MakeGuest, arch: Arch) -> None:
    lines = []
    for place in ("usual", "low", "4gib", "top", "tables"):
        for flags in ("", ", quiet", ", crowd"):
            lines.append(
                f"window 5 x 1 page, {place}{flags}: anon rw written sealed | shared-anon r written locked | "
                "shared-file rw named | private-file r written sealed comb | zero rw"
            )
    programs = [
        parse_program(line + "\nmunmap 1-3\nmprotect 2-2 none by-thread\nfork goes-on\nmseal 0-4") for line in lines
    ]
    programs += [replace(program, scale=5, place=0) for program in programs]
    told: dict[int, ProgramFacts] = dict(
        executor(guest, "debian-6.12", arch).run([encode(program) for program in programs])
    )
    assert sorted(told) == list(range(len(programs)))
    assert [str(programs[i]) for i, facts in told.items() if facts.status == NO_WINDOW] == []
    for i, facts in told.items():
        assert [errno for errno, _ in facts.sealed.answers] == [1, 0, 0, 0], programs[i]
        assert facts.child is not None and facts.child.answers == ((0, 0),)
        assert facts.sealed.munmap == b"\1" * 5 and facts.twin.munmap == b"\0" * 5
        assert "EPERM" in behaviour(programs[i], facts)[1]


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_what_was_opened_for_reading_only_cannot_be_made_writable(guest: MakeGuest, arch: Arch) -> None:
    window = "window 3 x 1 page, usual: shared-file r{} | shared-file r written sealed{} | shared-file none{}"
    steps = "\nmprotect 2-2 rw\nmprotect 0-0 rw\nmunmap 0-1"
    programs = [parse_program(window.format(*[word] * 3) + steps) for word in ("", " unwritable")]
    told = dict(executor(guest, "debian-newest", arch).run([encode(program) for program in programs]))
    assert [[errno for errno, _ in told[i].sealed.answers] for i in (0, 1)] == [[0, 0, EPERM], [EACCES, EACCES, EPERM]]


def test_a_program_that_hangs_or_dies_costs_itself_only(guest: MakeGuest, tmp_path: Path) -> None:
    made = guest("debian-6.12", "x86_64", profile=PROFILE, load=4.0)
    made.boot()
    run = Executor(made, build("x86_64").path.read_bytes(), deadline_ms=1)
    program = parse_program(
        "window 16 x 16 pages, usual, crowd: anon 16 rw written sealed\nfork exits times=40\nmunmap 0-3"
    )
    told = dict(run.run([encode(program)] * 3))
    assert sorted(told) == [0, 1, 2]  # out of time or not, each is told of


@pytest.mark.parametrize(("name", "status"), [("debian-6.12", "pass"), ("debian-6.16.3", "known")])
def test_a_run_explores_after_its_probes(tmp_path: Path, name: str, status: str) -> None:
    """6.16.3 has CVE-2025-40040: a program of the corpus shows it, and the run tells of it and is green."""
    words = ["run", name, "-a", "x86_64", "--against", "none", "-r", "munmap/anon-rw/exact", "--explore", "1s", "-q"]
    done = sealmatrix(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    results = {r.rule.id: r for r in load_run(only_run(tmp_path), load_catalogue()).results[f"{name}.x86_64"]}
    assert set(EXPLORE_RULES) <= set(results)
    assert results["explore-exactly-sealed"].status == status
    assert results["explore-refused"].status in {"pass", status}  # a second's programs may meet the same defect there


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_what_is_sealed_grows_is_detached_has_a_key_and_moves_to_another_node(guest: MakeGuest, arch: Arch) -> None:
    programs = [*growing(), *attached(), *keyed()]
    window = "window 3 x 1 page, usual: anon 3 rw written sealed"
    programs += [parse_program(f"{window}\nmove_pages 0-2 {where}") for where in ("to-0", "to-1")]
    run = executor(guest, "debian-6.12", arch)
    judge = ProgramJudge()
    for index, facts in run.run([encode(program) for program in programs]):
        program = programs[index]
        judged = judge.judge(program, [step.to_bytes() for step in program.steps], facts)
        assert judged.asked and not judged.problems, program
        touch = next((i for i, s in enumerate(program.steps) if s.operation.name in ("write", "read", "shmdt")), None)
        if touch is not None:
            assert facts.sealed.answers[touch][0] == 0, program


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_the_window_can_be_the_heap_and_the_process_have_another_personality(guest: MakeGuest, arch: Arch) -> None:
    """Three programs in one process: what one did to its process is undone before the next."""
    plain = "window 4 x 1 page, usual: anon 3 rw written | hole"
    lines = [
        "window 4 x 1 page, usual: anon rw written | anon rw written sealed | anon rw written | hole\n"
        "brk 0-2 shrink\nbrk 2-2 shrink\nbrk 2-2 grow\nbrk 0-2 shrink by-thread\nmunmap 2-2",
        f"{plain}\npersonality read-implies-exec\nmprotect 0-0 r\nmprotect 1-1 r by-thread",
        f"{plain}\nmprotect 0-0 r\nbrk 1-2 shrink",
    ]
    programs = [parse_program(line) for line in lines]
    told = dict(executor(guest, "debian-6.12", arch).run([encode(program) for program in programs]))
    answers = [[errno for errno, _ in told[i].sealed.answers] for i in range(3)]
    assert answers == [[1, 0, 0, 1, 0], [0, 0, 0], [0, 0]]
    readable, executable = 1 | 2, 8
    assert [told[i].sealed.looks[-1][2] & ~4 for i in (1, 2)] == [readable | executable, readable]
    assert told[1].sealed.looks[-1][3] & executable
    assert told[0].twin.munmap == told[1].twin.munmap == bytes(4)


def test_a_length_may_be_no_multiple_of_a_page_and_a_thread_may_fork(guest: MakeGuest) -> None:
    """Each is answered as what it rounds up to, and a thread's child, too, goes on with the program."""
    window = "window 3 x 1 page, usual: anon 3 rw written"
    calls = (
        "munmap 0-1", "mprotect 0-1 r", "madvise 0-1 dontneed", "madvise 0-2 cold process-each", "mlock 0-1 lock",
        "mlock 0-1 unlock", "mremap 0-1 elsewhere", "mmap 0-1 anon r", "msync 0-1 4", "mbind 0-1 local",
        "shmat 0-1 executable", "brk 1-2 shrink",
    )  # fmt: skip
    lines = [f"{window}\n{call}{how}" for call in calls for how in ("", " unrounded")]
    lines.append(f"{window}\nmseal 0-0\nfork goes-on by-thread\nwrite 1-1 7\nmunmap 0-2")
    lines.append(f"{window}\nuserfaultfd 0-2 both\npkey_mprotect 0-2 rw last-key\nrights closed\nread 1-1")
    # The second thread began before there was a key, and may not read what has it; its child looks as the first does.
    keyed_steps = "msync 2-2 4 by-thread\npkey_mprotect 1-1 rw key\nmprotect 0-0 x\nmseal 0-1"
    lines.append(f"{window}\n{keyed_steps}\nfork goes-on by-thread\nread 1-1")
    programs = [parse_program(line) for line in lines]
    told = dict(executor(guest, "debian-6.12", "x86_64").run([encode(program) for program in programs]))
    for index, program in enumerate(programs):
        judged = ProgramJudge().judge(program, [step.to_bytes() for step in program.steps], told[index])
        assert judged.asked and not judged.problems, program
    for i, call in enumerate(calls):
        exact, rounded = (told[2 * i + k].sealed for k in (0, 1))
        assert [a for a, _ in exact.answers] == [a for a, _ in rounded.answers] == [0], call
        assert exact.looks[1][2:] == rounded.looks[1][2:], call
    forked, keyed_ = told[len(lines) - 3], told[len(lines) - 2]
    assert forked.child is not None and [errno for errno, _ in forked.child.answers] == [0, EPERM]
    assert [errno for errno, _ in keyed_.sealed.answers] == [0, 0, 0, EFAULT]
