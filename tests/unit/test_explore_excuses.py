"""What the model excuses is no more than its reasons cover: defects a reviewer hid behind an excuse, and are found."""

from __future__ import annotations

from dataclasses import dataclass
from errno import EINVAL, ENOMEM, EPERM

import pytest

from harness.explore.judge import Judged, ProgramJudge
from harness.explore.program import parse_program
from harness.explore.wire import (
    BUS,
    DONE,
    FILE,
    LEFT_OUT,
    MAPPED,
    NO_WINDOW,
    NOT_TRIED,
    READ,
    SHARED,
    UNREAD,
    WRITE,
    Pass,
    ProgramFacts,
)

_SEEN = {
    "-": 0, "rw": MAPPED | READ | WRITE, "r": MAPPED | READ, "none": MAPPED,
    "rs": MAPPED | READ | SHARED | FILE, "rws": MAPPED | READ | WRITE | SHARED | FILE,
}  # fmt: skip
_CONTENTS = {".": UNREAD, "bus": BUS}
Steps = list[tuple[int, str]]
L = LEFT_OUT


def look(text: str, divided: int | None = None) -> bytes:
    """Of ``PERMS:CONTENTS`` for each unit; a mapping each unless ``divided`` says where mappings begin."""
    units = [unit.split(":") for unit in text.split()]
    begins = (1 << len(units)) - 1 if divided is None else divided
    seen = bytes(_SEEN[perms] for perms, _ in units)
    return bytes((begins & 255, begins >> 8)) + seen + bytes(_CONTENTS.get(c) or int(c, 16) for _, c in units)


def side(first: str, steps: Steps, end: str, divided: int | None = None) -> Pass:
    """One way through; ``end`` has a letter for each unit: ``S`` behaves as sealed, ``p`` as plain, ``-`` not tried."""
    answers = {"S": (EPERM, EPERM), "p": (0, 0), "-": (NOT_TRIED, NOT_TRIED)}
    tried = [answers[letter] for letter in end]
    looks = (look(first), *(look(text, divided) for _, text in steps))
    said = tuple((answer, 0) for answer, _ in steps)
    return Pass(0, looks, said, bytes(m for m, _ in tried), bytes(u for _, u in tried))


@dataclass(frozen=True)
class Case:
    """A program, and what its two halves saw. ``wanted`` is the oracle that notices, "" where nothing is wrong."""

    program: str
    first: str
    sealed: Steps
    twin: Steps
    end: str
    wanted: str
    child: tuple[str, Steps] | None = None
    twin_child: tuple[str, Steps] | None = None
    fork: int = -1
    divided: tuple[int, int] | None = None


def judged(case: Case) -> Judged:
    program = parse_program(case.program)
    blank = "-" * len(case.end)
    mine, other = case.divided or (None, None)
    child = side(*case.child, case.end) if case.child else None
    twin_child = side(*case.twin_child, blank) if case.twin_child else None
    sealed, twin = side(case.first, case.sealed, case.end, mine), side(case.first, case.twin, blank, other)
    facts = ProgramFacts(DONE, 0, 1, len(program.steps), sealed, twin, child, twin_child, case.fork)
    return ProgramJudge().judge(program, [step.to_bytes() for step in program.steps], facts)


def window(units: int, segments: str, *steps: str, place: str = "usual") -> str:
    return "\n".join((f"window {units} x 1 page, {place}: {segments}", *steps))


ONE = "anon r sealed written"
DISCARD = "madvise 0-0 dontneed"
FREED = [(EPERM, "r:a0")]
KEPT = [(L, "r:a0")]
CASES = {
    "a refused MADV_FREE, and a refused discard that discards": Case(
        window(1, ONE, "madvise 0-0 free", DISCARD), "r:a0", [*FREED, (EPERM, "r:00")], [*KEPT, (L, "r:a0")], "S",
        "sealed-unchanged",
    ),
    "a refused MADV_FREE, and mlock that empties": Case(
        window(1, ONE, "madvise 0-0 free", "mlock 0-0 lock"), "r:a0", [*FREED, (0, "r:00")], [*KEPT, (0, "r:a0")], "S",
        "sealed-unchanged",
    ),
    "a refused MADV_FREE, and another error": Case(
        window(1, ONE, "madvise 0-0 free", "mprotect 0-0 none"), "r:a0", [*FREED, (EINVAL, "r:a0")],
        [*KEPT, (0, "none:.")], "S", "refused",
    ),
    "a refused MADV_FREE alone": Case(
        window(1, ONE, "madvise 0-0 free"), "r:a0", FREED, KEPT, "S", "",
    ),
    "what was freed may be empty later": Case(
        window(1, "anon rw written", "madvise 0-0 free", "mseal 0-0", "mlock 0-0 lock"), "rw:a0",
        [(0, "rw:a0"), (0, "rw:a0"), (0, "rw:00")], [(0, "rw:a0"), (0, "rw:a0"), (0, "rw:a0")], "S", "",
    ),
    "new memory where freed memory was": Case(
        window(1, "anon rw written", "madvise 0-0 free", "munmap 0-0", "mmap 0-0 anon rw", "write 0-0 33",
               "mprotect 0-0 r", "mseal 0-0", DISCARD), "rw:a0",
        [(0, "rw:a0"), (0, "-:."), (0, "rw:00"), (0, "rw:21"), (0, "r:21"), (0, "r:21"), (EPERM, "r:00")],
        [(0, "rw:a0"), (0, "-:."), (0, "rw:00"), (0, "rw:21"), (0, "r:21"), (0, "r:21"), (L, "r:21")], "S",
        "sealed-unchanged",
    ),
    "freed memory that was to be moved onto sealed memory": Case(
        window(2, "anon rw written | anon r sealed written", "madvise 0-0 free", "mremap 0-0 to 1", "mlock 1-1 lock"),
        "rw:a0 r:a1", [(0, "rw:a0 r:a1"), (EPERM, "rw:a0 r:a1"), (0, "rw:a0 r:00")],
        [(0, "rw:a0 r:a1"), (L, "rw:a0 r:a1"), (0, "rw:a0 r:a1")], "pS", "sealed-unchanged",
    ),
    "MADV_FREE of a file, which knows no such thing, and mlock that empties": Case(
        window(1, "shared-file r sealed", "madvise 0-0 free", "mlock 0-0 lock"), "rs:51",
        [(EINVAL, "rs:51"), (0, "rs:00")], [(EINVAL, "rs:51"), (0, "rs:51")], "S", "sealed-unchanged",
    ),
    "a child without what MADV_DONTFORK was refused for": Case(
        window(1, ONE, "madvise 0-0 dontfork", "madvise 0-0 free", "fork goes-on"), "r:a0", [*FREED * 2, (0, "r:a0")],
        [*KEPT * 2, (0, "r:a0")], "S", "sealed-unchanged", ("-:.", []), ("r:a0", []), 2,
    ),
    "a wiped child, though MADV_WIPEONFORK was refused": Case(
        window(1, ONE, "madvise 0-0 wipeonfork", "madvise 0-0 free", "fork goes-on"), "r:a0",
        [*FREED * 2, (0, "r:a0")], [*KEPT * 2, (0, "r:a0")], "S", "sealed-unchanged", ("r:00", []), ("r:a0", []), 2,
    ),
    "a refused munmap that unmaps what is beside its range": Case(
        window(3, "anon rw written | anon rw sealed written | anon rw written", "munmap 0-1"), "rw:a0 rw:a1 rw:a2",
        [(EPERM, "rw:a0 rw:a1 -:.")], [(L, "rw:a0 rw:a1 rw:a2")], "pS-", "refused",
    ),
    "a refused mprotect that protects its neighbour": Case(
        window(2, "anon rw written | anon rw sealed written", "mprotect 1-1 none"), "rw:a0 rw:a1",
        [(EPERM, "none:. rw:a1")], [(L, "rw:a0 rw:a1")], "pS", "refused",
    ),
    "a refused discard that empties its neighbour": Case(
        window(2, "anon rw written | anon r sealed written", "madvise 1-1 dontneed"), "rw:a0 r:a1",
        [(EPERM, "rw:00 r:a1")], [(L, "rw:a0 r:a1")], "pS", "refused",
    ),
    "a sealed page of a file that changes when other memory is written": Case(
        window(3, "anon rw written | shared-file r sealed | anon rw written", "mprotect 0-1 r", "write 2-2 33"),
        "rw:a0 rs:51 rw:a2", [(EPERM, "rw:a0 rs:51 rw:a2"), (0, "rw:a0 rs:77 rw:21")],
        [(L, "rw:a0 rs:51 rw:a2"), (0, "rw:a0 rs:51 rw:21")], "pSp", "sealed-unchanged",
    ),
    "a sealed page of a file that changes at a fork whose child does nothing": Case(
        window(2, "anon rw written | shared-file r sealed", "mprotect 0-1 r", "fork stays"), "rw:a0 rs:51",
        [(EPERM, "rw:a0 rs:51"), (0, "rw:a0 rs:77")], [(L, "rw:a0 rs:51"), (0, "rw:a0 rs:51")], "pS",
        "sealed-unchanged",
    ),
    "a sealed page that is gone once userfaultfd is asked to tell": Case(
        window(2, "anon rw written | anon rw sealed written", "mprotect 0-1 r", "userfaultfd 0-1 missing"),
        "rw:a0 rw:a1", [(EPERM, "rw:a0 rw:a1"), (0, "rw:a0 rw:bus")], [(L, "rw:a0 rw:a1"), (0, "rw:a0 rw:a1")], "pS",
        "sealed-unchanged",
    ),
    "a parent without memory that its child was refused something of": Case(
        window(2, "anon rw sealed written | shared-file rw", "fork goes-on", "munmap 0-0"), "rw:a0 rws:51",
        [(0, "rw:a0 -:."), (EPERM, "rw:a0 -:.")], [(0, "rw:a0 rws:51"), (L, "rw:a0 rws:51")], "S-", "same-as-twin",
        ("rw:a0 rws:51", [(EPERM, "rw:a0 rws:51")]), ("rw:a0 rws:51", [(L, "rw:a0 rws:51")]), 0,
    ),
    "a move of plain memory that is refused where mappings are divided otherwise": Case(
        window(4, "anon rw 2 written | anon rw sealed written | hole", "mlock 0-0 lock", "mremap 0-1 elsewhere"),
        "rw:a0 rw:a1 rw:a2 -:.", [(0, "rw:a0 rw:a1 rw:a2 -:."), (EPERM, "rw:a0 rw:a1 rw:a2 -:.")],
        [(0, "rw:a0 rw:a1 rw:a2 -:."), (L, "rw:a0 rw:a1 rw:a2 -:.")], "ppS-", "same-as-twin", divided=(0b111, 0b101),
    ),
    "a collapse at a low address that empties plain memory": Case(
        window(2, "anon rw written | anon rw sealed written", "madvise 0-0 collapse", place="low"), "rw:a0 rw:a1",
        [(0, "rw:00 rw:a1")], [(EINVAL, "rw:a0 rw:a1")], "pS", "same-as-twin",
    ),
    "a collapse at a low address": Case(
        window(2, "anon rw written | anon rw sealed written", "madvise 0-0 collapse", place="low"), "rw:a0 rw:a1",
        [(0, "rw:a0 rw:a1")], [(EINVAL, "rw:a0 rw:a1")], "pS", "",
    ),
    "memory that grew, and was then sealed": Case(
        window(2, "hole | anon rw written growsdown sealed", "write 0-0 49", "mprotect 0-0 r", "mseal 0-0", DISCARD,
               place="4gib"), "-:. rw:a1",
        [(0, "rw:31 rw:a1"), (0, "r:31 rw:a1"), (0, "r:31 rw:a1"), (0, "r:00 rw:a1")],
        [(0, "rw:31 rw:a1"), (0, "r:31 rw:a1"), (L, "r:31 rw:a1"), (0, "r:00 rw:a1")], "SS", "sealed-unchanged",
    ),
    "a discard that succeeds where plain memory refuses it": Case(
        window(1, "anon r sealed written locked", DISCARD), "r:a0", [(0, "r:a0")], [(EINVAL, "r:a0")], "S", "refused",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_an_excuse_covers_its_reason_and_no_more(case: Case) -> None:
    found = judged(case)
    assert found.asked
    assert [problem.oracle for problem in found.problems[:1]] == ([case.wanted] if case.wanted else [])


@pytest.mark.parametrize(("error", "asked"), [(EPERM, True), (ENOMEM, False)])
def test_memory_that_cannot_be_made_is_no_room_unless_it_is_refused(error: int, *, asked: bool) -> None:
    program = parse_program(window(1, ONE))
    nothing = side("-:.", [], "-")
    facts = ProgramFacts(NO_WINDOW, error, 1, 0, nothing, nothing, None, None, -1)
    found = ProgramJudge().judge(program, [], facts)
    assert (found.asked, bool(found.problems)) == (asked, asked)


def test_a_window_that_sealing_unmaps_is_a_finding() -> None:
    program = parse_program(window(1, ONE))
    facts = ProgramFacts(DONE, 0, 1, 0, side("-:.", [], "-"), side("r:a0", [], "-"), None, None, -1)
    found = ProgramJudge().judge(program, [], facts)
    assert [problem.oracle for problem in found.problems] == ["sealed-unchanged"]


def test_who_looked_and_saw_nothing_was_asked_nothing() -> None:
    assert not judged(Case(window(1, ONE), "-:.", [], [], "-", "")).asked
