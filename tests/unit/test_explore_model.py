"""The model, step by step: what it lets pass and what it does not."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from errno import EBUSY, EINVAL, ENOMEM, EPERM

import pytest

from harness.explore.ends import child_state
from harness.explore.judge import Judged, ProgramJudge
from harness.explore.program import Program, parse_program
from harness.explore.state import initial
from harness.explore.wire import LEFT_OUT, NOT_TRIED, Pass, ProgramFacts

MAPPED = 1


@dataclass
class Window:
    """What a kernel that keeps its promises shows; tests spoil it."""

    program: Program
    answers: list[int] = field(default_factory=list)
    twin_answers: list[int] = field(default_factory=list)
    looks: list[list[tuple[int, int]]] = field(default_factory=list)
    twin_looks: list[list[tuple[int, int]]] = field(default_factory=list)
    sealed: set[int] = field(default_factory=set)

    def judge(self) -> Judged:
        steps = [step.to_bytes() for step in self.program.steps]
        return ProgramJudge().judge(self.program, steps, self.facts())

    def facts(self) -> ProgramFacts:
        n = self.program.units
        ends = bytes(EPERM if i in self.sealed else 0 if self.looks[-1][i][0] & MAPPED else NOT_TRIED for i in range(n))
        sealed = Pass(0, tuple(map(_look, self.looks)), tuple((a, 0) for a in self.answers), ends, ends)
        free = bytes(n)
        twin = Pass(0, tuple(map(_look, self.twin_looks)), tuple((a, 0) for a in self.twin_answers), free, free)
        return ProgramFacts(0, 0, 0, 0, sealed, twin)


def _look(units: list[tuple[int, int]]) -> bytes:
    return b"\0\0" + bytes(seen for seen, _ in units) + bytes(contents for _, contents in units)


RW, R, GONE = 1 | 2 | 4, 1 | 2, 0


def window(text: str, *, answer: int = 0, twin: int | None = None, sealed: set[int] | None = None) -> Window:
    """A program of one step that leaves everything as it was; the twin is left out where the answer is EPERM."""
    program = parse_program(text)
    start = [
        ((1 | s.prot << 1 | (16 if s.kind in (2, 3) else 0)) if s.kind else 0, 0xA0 + i if s.kind else 0xF0)
        for i, s in enumerate(_units(program))
    ]
    given = {i for i, s in enumerate(_units(program)) if s.sealed}
    said = (LEFT_OUT if answer == EPERM else answer) if twin is None else twin
    shown = given if sealed is None else sealed
    looks, twin_looks = [list(start), list(start)], [list(start), list(start)]
    return Window(program, [answer], [said], looks, twin_looks, shown)


def _units(program: Program):
    return [s._replace(units=1) for s in program.segments for _ in range(s.units)]


def oracles(judged: Judged) -> list[str]:
    return [problem.oracle for problem in judged.problems]


SEALED_MIDDLE = "window 3 x 1 page, usual: anon rw written | anon rw sealed written | anon rw written\n"


def test_a_refusal_that_changes_nothing_is_right() -> None:
    assert oracles(window(SEALED_MIDDLE + "munmap 0-2", answer=EPERM).judge()) == []


def test_an_unmap_that_succeeds_is_not() -> None:
    spoiled = window(SEALED_MIDDLE + "munmap 0-2", answer=0)
    spoiled.looks[1] = spoiled.twin_looks[1] = [(GONE, 0xF0)] * 3
    spoiled.sealed = set()
    assert oracles(spoiled.judge()) == ["sealed-unchanged", "refused"]


def test_a_refused_unmap_leaves_the_plain_memory_alone() -> None:
    spoiled = window(SEALED_MIDDLE + "munmap 0-2", answer=EPERM)
    spoiled.looks[1][0] = (GONE, 0xF0)
    (problem,) = spoiled.judge().problems
    assert problem.oracle == "refused" and "has changed plain memory" in problem.text


def test_another_error_counts_only_where_the_twin_succeeds() -> None:
    text = "window 2 x 1 page, usual: anon 2 rw sealed written\nmprotect 0-1 r"
    assert oracles(window(text, answer=ENOMEM, twin=0).judge()) == ["refused"]
    assert oracles(window(text, answer=EINVAL, twin=EINVAL).judge()) == []


def test_what_becomes_of_plain_memory_under_a_refused_mprotect_is_nobodys_business() -> None:
    seen = window(SEALED_MIDDLE + "mprotect 0-2 r", answer=EPERM)
    seen.looks[1][0] = (R, 0xA0)
    judged = seen.judge()
    assert oracles(judged) == []
    assert judged.recorded == ("refused mprotect has changed plain memory",)


def test_sealed_memory_must_not_change_under_it() -> None:
    seen = window(SEALED_MIDDLE + "mprotect 0-2 r", answer=EPERM)
    seen.looks[1][1] = (R, 0xA1)
    assert oracles(seen.judge()) == ["sealed-unchanged"]


def test_plain_memory_beside_a_seal_behaves_as_without() -> None:
    text = SEALED_MIDDLE + "mprotect 0-0 r"
    right = window(text)
    right.looks[1][0] = right.twin_looks[1][0] = (R, 0xA0)
    assert oracles(right.judge()) == []
    assert oracles(window(text, answer=EPERM).judge()) == ["same-as-twin"]
    nothing_done = window(text)
    nothing_done.twin_looks[1][0] = (R, 0xA0)
    assert oracles(nothing_done.judge()) == ["same-as-twin"]


@pytest.mark.parametrize(
    ("segment", "answer", "found"),
    [
        ("anon r sealed written", EPERM, []),
        ("anon r sealed written", 0, ["sealed-unchanged", "refused"]),
        ("anon rw sealed written", 0, []),
        ("anon rw sealed written", EPERM, ["same-as-twin"]),
        ("private-file r sealed written", 0, []),
        ("shared-file r sealed", EPERM, ["same-as-twin"]),
        ("zero r sealed", EPERM, []),
        ("zero r sealed", 0, []),
    ],
)
def test_discards_are_refused_for_what_the_caller_could_not_write(segment: str, answer: int, found: list[str]) -> None:
    seen = window(f"window 1 x 1 page, usual: {segment}\nmadvise 0-0 dontneed", answer=answer)
    if answer == 0:
        flags = seen.looks[0][0][0]
        seen.looks[1][0] = seen.twin_looks[1][0] = (flags, 0)
    assert oracles(seen.judge()) == found


def test_a_key_that_forbids_writing_forbids_discarding() -> None:
    steps = ("pkey_mprotect 0-0 rw key", "mseal 0-0", "rights read-only", "madvise 0-0 dontneed")
    text = "\n".join(("window 1 x 1 page, usual: anon rw written", *steps))
    program = parse_program(text)
    look = [(RW, 0xA0)]
    seen = Window(program, [0, 0, 0, EPERM], [0, LEFT_OUT, 0, LEFT_OUT], [look] * 5, [look] * 5, {0})
    assert oracles(seen.judge()) == []
    spoiled = replace(seen, answers=[0, 0, 0, 0], twin_answers=[0, LEFT_OUT, 0, 0], looks=[look] * 4 + [[(RW, 0)]])
    spoiled.twin_looks = spoiled.looks
    assert oracles(spoiled.judge()) == ["sealed-unchanged", "refused"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("mseal 0-2", 0),
        ("mseal 0-2 flags 3", EINVAL),
        ("mseal 0-2 unaligned", EINVAL),
        ("mseal 0-2 empty", 0),
        ("mseal 0-2 wraps", EINVAL),
        ("mseal 0-2 too-long", EINVAL),
    ],
)
def test_mseal_answers_what_it_must(text: str, wanted: int) -> None:
    sealed = {0, 1, 2} if text == "mseal 0-2" else {1}
    assert oracles(window(SEALED_MIDDLE + text, answer=wanted, twin=LEFT_OUT, sealed=sealed).judge()) == []
    other = EINVAL if wanted == 0 else 0
    assert oracles(window(SEALED_MIDDLE + text, answer=other, twin=LEFT_OUT, sealed=sealed).judge()) == ["answer"]


def test_mseal_over_a_hole_seals_nothing() -> None:
    text = "window 3 x 1 page, usual: anon rw written | hole | anon rw written\nmseal 0-2"
    seen = window(text, answer=ENOMEM, twin=LEFT_OUT)
    assert oracles(seen.judge()) == []
    assert oracles(replace(seen, sealed={0}).judge()) == ["exactly-sealed"]


def test_in_the_end_exactly_what_is_sealed_behaves_so() -> None:
    text = SEALED_MIDDLE + "mlock 1-1 lock"
    assert oracles(window(text, answer=0, sealed={1}).judge()) == []
    assert oracles(window(text, answer=0, sealed=set()).judge()) == ["exactly-sealed"]
    assert oracles(window(text, answer=0, sealed={1, 2}).judge()) == ["exactly-sealed"]


def test_mremap_over_a_division_that_the_twin_has_not_may_answer_otherwise() -> None:
    text = "window 3 x 1 page, usual: anon 2 r written | anon r sealed written\nmremap 0-1 grow 3"
    seen = window(text, answer=14, twin=ENOMEM)
    assert oracles(seen.judge()) == ["same-as-twin"]
    facts = seen.facts()
    divided = b"\x07\0" + facts.sealed.looks[0][2:]
    facts = facts._replace(sealed=facts.sealed._replace(looks=(divided, divided)))
    judged = ProgramJudge().judge(seen.program, [step.to_bytes() for step in seen.program.steps], facts)
    assert oracles(judged) == []


def test_a_process_that_was_killed_is_a_finding_and_one_without_room_is_none() -> None:
    seen = window(SEALED_MIDDLE + "munmap 0-2", answer=EPERM)
    steps = [step.to_bytes() for step in seen.program.steps]
    killed = ProgramJudge().judge(seen.program, steps, seen.facts()._replace(status=2, detail=9))
    assert oracles(killed) == ["console"] and "signal 9" in killed.problems[0].text
    unasked = ProgramJudge().judge(seen.program, steps, seen.facts()._replace(status=1))
    assert not unasked.problems and not unasked.asked


def test_what_a_refused_discard_did_to_writable_sealed_memory_is_permitted_also_where_nobody_looked_before() -> None:
    text = "window 2 x 1 page, usual, quiet: anon rw sealed written | anon r sealed written\nmadvise 0-1 dontneed"
    seen = window(text, answer=EPERM)
    seen.looks = [[(RW, 0xF0), (R, 0xF0)], [(RW, 0), (R, 0xA1)]]
    seen.twin_looks = [[(RW, 0xF0), (R, 0xF0)], [(RW, 0xA0), (R, 0xA1)]]
    assert oracles(seen.judge()) == []
    seen.looks[1][1] = (R, 0)
    assert oracles(seen.judge()) == ["sealed-unchanged"]


def test_the_success_of_a_twin_that_went_astray_says_nothing_of_an_error() -> None:
    """A refused madvise that did a part has divided the mapping, and mremap works on one."""
    kinds = "anon rw sealed written | anon r sealed written"
    text = f"window 2 x 1 page, usual: {kinds}\nmadvise 0-1 dontfork\nmremap 0-1 elsewhere"
    start = [(RW, 0xA0), (R, 0xA1)]
    seen = Window(
        parse_program(text), [EPERM, 14], [LEFT_OUT, 0], [start] * 3, [start, start, [(GONE, 0xF0)] * 2], {0, 1}
    )
    assert oracles(seen.judge()) == []
    assert oracles(replace(seen, answers=[EPERM, 0]).judge()) == ["refused"]


@pytest.mark.parametrize("answer", [0, EPERM])
def test_what_another_threads_key_lets_it_do_is_not_known(answer: int) -> None:
    steps = ("pkey_mprotect 0-0 rw key", "mseal 0-0", "madvise 0-0 dontneed by-thread")
    program = parse_program("\n".join(("window 1 x 1 page, usual: anon rw written", *steps)))
    look, after = [(RW, 0xA0)], [(RW, 0xA0 if answer else 0)]
    twin = [look, look, look, [(RW, 0)]] if answer == 0 else [look] * 4
    said = [0, 0, answer]
    seen = Window(program, said, [0, LEFT_OUT, LEFT_OUT if answer else 0], [look] * 3 + [after], twin, {0})
    assert oracles(seen.judge()) == []


@pytest.mark.parametrize(
    ("step", "there", "fine"),
    [
        ("userfaultfd 0-2 unregister", 0x00, True),
        ("userfaultfd 0-2 unregister", 0xF2, False),  # the twin still misses it: something else has come
        ("userfaultfd 2-2 unregister", 0x00, False),  # another unit than the one that changes
        ("mlock 0-2 lock", 0x00, False),
    ],
)
def test_what_is_missing_under_userfaultfd_is_there_again_when_it_is_unregistered(
    step: str, there: int, *, fine: bool
) -> None:
    one = window(SEALED_MIDDLE + step)
    bus = 0xF2
    one.looks[0][1] = one.twin_looks[0][1] = (RW, bus)
    one.looks[1][1], one.twin_looks[1][1] = (RW, 0x00), (RW, there)
    assert ("sealed-unchanged" not in oracles(one.judge())) is fine


@pytest.mark.parametrize(("twin", "fine"), [(0x00, True), (0x21, False)])
def test_a_child_has_what_its_parent_missed_under_userfaultfd(twin: int, *, fine: bool) -> None:
    program = parse_program("window 1 x 1 page, usual: anon rw sealed\nfork goes-on")
    state = initial(program.segments)

    def child(contents: int) -> Pass:
        return Pass(0, (_look([(RW, contents)]),), (), b"\0", b"\0")

    problems, _ = child_state(state, _look([(RW, 0xF2)]), child(0x00), child(twin))
    assert (problems == []) is fine


def test_a_heap_that_cannot_shrink_because_of_a_seal_is_right_and_one_that_shrinks_is_not() -> None:
    assert oracles(window(SEALED_MIDDLE + "brk 1-2 shrink", answer=EPERM).judge()) == []
    assert oracles(window(SEALED_MIDDLE + "brk 1-2 shrink", answer=0).judge()) == ["refused"]


def test_a_heap_that_was_refused_to_shrink_has_given_nothing_back() -> None:
    spoiled = window(SEALED_MIDDLE + "brk 0-2 shrink", answer=EPERM)
    spoiled.looks[1][0] = (GONE, 0xF0)
    assert [(p.oracle, p.clauses) for p in spoiled.judge().problems] == [("refused", ("U4",))]


def test_a_heap_shrinks_where_nothing_is_sealed_and_cannot_where_nothing_is() -> None:
    assert oracles(window(SEALED_MIDDLE + "brk 2-2 shrink", answer=EPERM).judge()) == ["same-as-twin"]
    nothing = "window 3 x 1 page, usual: anon rw sealed | hole 2\nbrk 1-2 shrink"
    assert oracles(window(nothing, answer=EPERM).judge()) == []


def test_what_a_heap_grew_by_is_private_anonymous_memory_that_nobody_sealed() -> None:
    grown = window("window 3 x 1 page, usual: anon rw written sealed | hole 2\nbrk 1-1 grow")
    for looks in (grown.looks, grown.twin_looks):
        looks[1][1] = (RW, 0)
    assert oracles(grown.judge()) == []
    assert oracles(replace(grown, sealed={0, 1}).judge()) == ["exactly-sealed"]


def test_what_a_sealed_mapping_grew_down_by_may_be_sealed_or_not() -> None:
    """A child that went without the lowest unit of a sealed mapping that grows down gets it by a store."""
    grown = window("window 2 x 1 page, usual: hole | anon rw written sealed growsdown\nwrite 0-0 33")
    for looks in (grown.looks, grown.twin_looks):
        looks[1][0] = (RW, 33)
    assert oracles(grown.judge()) == []
    assert oracles(replace(grown, sealed={0, 1}).judge()) == []


def test_a_sealed_unit_to_which_a_hole_would_be_moved_may_stay_and_the_call_succeed() -> None:
    """Since 6.17 mremap moves several mappings one by one, and what lies at the destination of a hole stays."""
    head = "window 4 x 1 page, usual: anon rw written | hole | anon rw written | anon rw written sealed\n"
    moved = window(head + "mremap 0-1 to 2", answer=0)
    for looks in (moved.looks, moved.twin_looks):
        looks[1][2], looks[1][0] = looks[1][0], (GONE, 0xF0)
    assert oracles(moved.judge()) == []
    whole = head.replace("hole", "anon rw written")
    assert oracles(window(whole + "mremap 0-1 to 2", answer=0).judge()) == ["refused"]
    lost = window(head + "mremap 0-1 to 2", answer=0)
    lost.looks[1][3] = lost.twin_looks[1][3] = (GONE, 0xF0)
    assert oracles(lost.judge()) == ["sealed-unchanged"]


def test_what_a_failed_move_may_have_brought_is_of_no_known_sort() -> None:
    """Seen on 6.18.5: what stays shared memory may be told not to go to a child, sealed and read-only as it is."""
    head = "window 2 x 1 page, usual: shared-anon r | anon r written\nmremap 1-1 to\nmseal 0-0\nmadvise 0-0 dontfork"
    program = parse_program(head)
    look = [(R, 0), (R, 0xA1)]
    looks = [look, look, look, look]
    assert oracles(Window(program, [EINVAL, 0, 0], [EINVAL, LEFT_OUT, 0], looks, looks, {0}).judge()) == []
    came = [(R, 0xA1), (GONE, 0xF0)]
    after = [look, came, came, came]
    assert "refused" in oracles(Window(program, [0, 0, 0], [0, LEFT_OUT, 0], after, after, {0}).judge())


def test_shmdt_takes_what_it_may_of_a_segment_and_says_so() -> None:
    text = "window 2 x 1 page, usual: shared-file rw written sealed | shared-file rw written\nshmdt 0-1"
    detached = window(text, answer=0)
    detached.looks[1][1] = (GONE, 0xF0)
    detached.twin_looks[1][0] = detached.twin_looks[1][1] = (GONE, 0xF0)
    assert oracles(detached.judge()) == []
    detached.looks[1][0] = (GONE, 0xF0)
    assert oracles(replace(detached, sealed=set()).judge()) == ["sealed-unchanged"]


@pytest.mark.parametrize("how", ["unaligned", "unaligned-empty", "wraps", "too-long"])
def test_mseal_of_a_range_that_is_none_says_so(how: str) -> None:
    assert oracles(window(SEALED_MIDDLE + f"mseal 0-0 {how}", answer=EINVAL).judge()) == []
    assert oracles(window(SEALED_MIDDLE + f"mseal 0-0 {how}", answer=0).judge()) == ["answer"]


def test_what_the_kernel_may_empty_gives_sigbus_where_userfaultfd_was_asked_to_tell() -> None:
    """Seen on 6.19.14: MADV_PAGEOUT takes the pages that MADV_FREE has left."""
    head = "window 1 x 1 page, usual: anon rw written sealed\nuserfaultfd 0-0 missing\n"
    text = head + "madvise 0-0 free\nmadvise 0-0 pageout"
    freed = window(text.replace("\nmadvise 0-0 free", ""))
    freed.program = parse_program(text)
    freed.answers, freed.twin_answers = [0, 0, 0], [0, 0, 0]
    freed.looks, freed.twin_looks = ([[(RW, 0xA0)]] * 3 + [[(RW, 0xF2)]] for _ in range(2))
    assert oracles(freed.judge()) == []
    freed.program = parse_program(text.replace("free", "cold"))
    assert oracles(freed.judge()) == ["sealed-unchanged"]


def test_a_refused_move_onto_what_a_sealed_mapping_grew_by_leaves_that_open() -> None:
    grown = window("window 2 x 1 page, 4gib: hole | anon rw written sealed growsdown\nwrite 0-0 33\nmremap 1-1 to 0")
    grown.answers, grown.twin_answers = [0, EPERM], [0, LEFT_OUT]
    for looks in (grown.looks, grown.twin_looks):
        looks[1][0] = (RW, 33)
        looks.append(list(looks[1]))
    assert oracles(replace(grown, sealed={0, 1}).judge()) == []


def test_what_was_kept_is_well_where_nobody_looked_before_and_the_twin_discarded_it() -> None:
    """process_madvise over two ranges says how much it did of the first, so the twin does both; seen on 6.17.13."""
    text = "window 2 x 1 page, usual, quiet: anon rw | anon r sealed written\nmadvise 0-1 dontneed process-twice"
    seen = window(text)
    seen.looks = [[(RW, 0xF0), (R, 0xF0)], [(RW, 0), (R, 0xA1)]]
    seen.twin_looks = [[(RW, 0xF0), (R, 0xF0)], [(RW, 0), (R, 0)]]
    assert "sealed-unchanged" not in oracles(seen.judge())
    seen.looks[1][1], seen.twin_looks[1][1] = (R, 0), (R, 0xA1)
    assert "sealed-unchanged" in oracles(seen.judge())


def test_what_a_move_that_keeps_has_unlocked_beside_it_is_not_compared() -> None:
    """MREMAP_DONTUNMAP of a part unlocks the whole mapping, which ends at a seal; seen on 6.12.73 and 6.12.95."""
    program = parse_program(
        "window 2 x 1 page, usual: anon 2 rw\nmseal 1-1\nmremap 0-0 elsewhere-keep\nmadvise 1-1 dontneed"
    )
    start = [(RW, 0xA0), (RW, 0xA1)]
    moved = [(RW, 0), (RW, 0xA1)]
    empty = [(RW, 0), (RW, 0)]
    seen = Window(
        program,
        [0, 0, EINVAL],
        [LEFT_OUT, 0, 0],
        [start, start, moved, moved],
        [start, start, moved, empty],
        {1},
    )
    assert oracles(seen.judge()) == []
    for twin, found in ((0, []), (ENOMEM, []), (EINVAL, ["same-as-twin"])):
        sync = parse_program(str(program).replace("madvise 1-1 dontneed", "msync 1-1 2"))
        looks = [start, start, moved, moved]
        assert oracles(Window(sync, [0, 0, EBUSY], [LEFT_OUT, 0, twin], looks, looks, {1}).judge()) == found
    without = parse_program(str(program).replace("\nmremap 0-0 elsewhere-keep", ""))
    other = Window(
        without, [0, EINVAL], [LEFT_OUT, 0], [start, start, start], [start, start, [(RW, 0xA0), (RW, 0)]], {1}
    )
    assert "same-as-twin" in oracles(other.judge())


def test_collapsing_where_the_twins_mappings_are_larger_may_answer_otherwise() -> None:
    """A huge page fits into the twin's one mapping, and not into what lies between two seals; seen on 7.3.4 arm64."""
    seen = window(
        "window 3 x 64 pages, usual: anon rw | anon rw sealed | anon rw\nmadvise 1-1 collapse", answer=EINVAL, twin=0
    )
    assert oracles(seen.judge()) == ["same-as-twin"]
    facts = seen.facts()
    divided = tuple(b"\x07\0" + look[2:] for look in facts.sealed.looks)
    facts = facts._replace(sealed=facts.sealed._replace(looks=divided))
    judged = ProgramJudge().judge(seen.program, [step.to_bytes() for step in seen.program.steps], facts)
    assert oracles(judged) == []


def test_collapsing_may_answer_otherwise_below_two_mebibytes() -> None:
    """The kernel takes a mapping that ends there for one with room for a huge page; seen on 6.12 and 7.3.4 arm64, where
    the twin's window lay higher."""
    text = "window 12 x 1 page, {}: private-file 12 r sealed written\nmadvise 4-5 collapse"
    assert oracles(window(text.format("low"), answer=0, twin=EINVAL).judge()) == []
    assert oracles(window(text.format("usual"), answer=0, twin=EINVAL).judge()) == ["same-as-twin"]
    assert oracles(window(text.format("low"), answer=0, twin=EBUSY).judge()) == ["same-as-twin"]
    other = text.format("low").replace("collapse", "populate-read")
    assert oracles(window(other, answer=0, twin=EINVAL).judge()) == ["same-as-twin"]
    assert oracles(window(text.format("low"), answer=EINVAL, twin=0).judge()) == ["same-as-twin"]


def test_what_follows_a_collapse_below_two_mebibytes_is_judged() -> None:
    """Its answer is not compared, and neither what comes after it nor the end is left out."""
    text = "window 2 x 1 page, low: private-file 2 r sealed written\nmadvise 0-1 collapse"
    spread = window(text, answer=0, twin=EINVAL, sealed=set())
    assert oracles(spread.judge()) == ["exactly-sealed"]
    program = parse_program(text + "\nmunmap 0-1")
    there, gone = spread.looks[0], [(GONE, 0xF0)] * 2
    lost = Window(program, [0, 0], [EINVAL, 0], [there, there, gone], [there, there, gone], set())
    assert "sealed-unchanged" in oracles(lost.judge())


def test_a_page_of_a_file_is_written_through_another_unit_of_the_range() -> None:
    """remap_file_pages has mapped the page of a sealed unit a second time; seen on 6.12."""
    seen = window("window 2 x 1 page, usual: shared-file r sealed | shared-file rw\nwrite 0-1 1")
    shared_r, shared_rw = R | 16, RW | 16
    written = [(shared_r, 1), (shared_rw, 1)]
    seen.looks[1], seen.twin_looks[1] = written, list(written)
    assert oracles(seen.judge()) == []
    seen.twin_looks[1] = [(shared_r, 0xA0), (shared_rw, 1)]
    assert "sealed-unchanged" in oracles(seen.judge())
    seen.looks[1] = seen.twin_looks[1] = [(shared_r, 1), (shared_rw, 2)]
    assert "sealed-unchanged" in oracles(seen.judge())


def test_a_page_that_nobody_wrote_may_be_missing_again_and_one_that_somebody_wrote_not() -> None:
    """Seen on 7.0.4 and 7.1.3 after MADV_PAGEOUT of shared memory, registered with userfaultfd."""
    seen = window("window 1 x 1 page, usual: shared-anon rw sealed\nmadvise 0-0 pageout")
    shared = RW | 16
    seen.looks, seen.twin_looks = [[(shared, 0)], [(shared, 0xF2)]], [[(shared, 0)], [(shared, 0xF2)]]
    assert oracles(seen.judge()) == []
    seen.looks[0], seen.twin_looks[0] = [(shared, 0xA0)], [(shared, 0xA0)]
    assert oracles(seen.judge()) == ["sealed-unchanged"]


@pytest.mark.parametrize("now", [0, 0xF1, 0xF2, 0xF3, 0x55])
def test_a_refused_discard_that_did_a_part_is_seen_where_nobody_looked_before(now: int) -> None:
    seen = window(
        "window 2 x 2 pages, usual, quiet: anon rw written | anon r sealed written\nmadvise 1-1 dontneed", answer=EPERM
    )
    seen.looks = [[(RW, 0xF0), (R, 0xF0)], [(RW, 0xA0), (R, now)]]
    seen.twin_looks = [[(RW, 0xF0), (R, 0xF0)], [(RW, 0xA0), (R, 0xA1)]]
    assert "sealed-unchanged" in oracles(seen.judge())


@pytest.mark.parametrize(
    ("step", "answers", "twin", "found"),
    [
        ("munmap 1-1", EINVAL, 0, "refused"),
        ("madvise 1-1 dontneed", EPERM, LEFT_OUT, "same-as-twin"),
    ],
)
def test_what_a_move_that_keeps_may_have_unlocked_is_judged_in_all_else(
    step: str, answers: int, twin: int, found: str
) -> None:
    program = parse_program(f"window 2 x 1 page, usual: anon 2 rw\nmseal 1-1\nmremap 0-0 elsewhere-keep\n{step}")
    start, moved = [(RW, 0xA0), (RW, 0xA1)], [(RW, 0), (RW, 0xA1)]
    looks = [start, start, moved, moved]
    assert found in oracles(Window(program, [0, 0, answers], [LEFT_OUT, 0, twin], looks, looks, {1}).judge())


def test_collapsing_may_not_be_refused_by_a_seal_nor_change_what_is_there() -> None:
    text = (
        "window 3 x 64 pages, usual: anon rw written | anon rw sealed written | anon rw written\nmadvise 0-0 collapse"
    )

    def judged(seen: Window) -> list[str]:
        facts = seen.facts()
        divided = tuple(b"\x07\0" + look[2:] for look in facts.sealed.looks)
        facts = facts._replace(sealed=facts.sealed._replace(looks=divided))
        return oracles(ProgramJudge().judge(seen.program, [step.to_bytes() for step in seen.program.steps], facts))

    assert judged(window(text, answer=EINVAL, twin=0)) == []
    assert judged(window(text, answer=EPERM)) == ["same-as-twin"]
    lost = window(text)
    lost.looks[1][0] = (RW, 0)
    assert judged(lost) == ["same-as-twin"]


def test_a_sealed_page_that_goes_missing_is_seen_where_the_twins_stays_or_memory_is_of_one_process() -> None:
    seen = window("window 1 x 1 page, usual: anon r sealed\nmprotect 0-0 rw", answer=EPERM)
    seen.looks, seen.twin_looks = [[(R, 0)], [(R, 0xF2)]], [[(R, 0)], [(R, 0)]]
    assert "sealed-unchanged" in oracles(seen.judge())
    seen.twin_looks[1] = [(R, 0xF2)]
    assert "sealed-unchanged" in oracles(seen.judge())


@pytest.mark.parametrize("how", ["noreserve", "locked", "populate"])
def test_mmap_with_another_flag_replaces_sealed_memory_no_more_than_without(how: str) -> None:
    step = f"mmap 0-2 anon rw {how}"
    assert oracles(window(SEALED_MIDDLE + step, answer=EPERM).judge()) == []
    assert "refused" in oracles(window(SEALED_MIDDLE + step, answer=0, twin=0).judge())


@pytest.mark.parametrize("how", ["noreplace", "hint"])
def test_mmap_that_keeps_clear_of_what_is_there_may_succeed_elsewhere(how: str) -> None:
    assert oracles(window(SEALED_MIDDLE + f"mmap 0-2 anon rw {how}", answer=0, twin=0).judge()) == []


def test_protecting_what_grows_down_begins_below_the_range_so_beside_a_seal_nothing_is_promised() -> None:
    """PROT_GROWSDOWN takes all of the mapping below, and in the twin that is a longer one."""
    one = window(SEALED_MIDDLE + "mprotect 2-2 r growsdown", answer=0, twin=0)
    one.looks[1][2] = (R, 0xA2)
    one.twin_looks[1] = [(R, 0xA0), (R, 0xA1), (R, 0xA2)]
    assert oracles(one.judge()) == []
    one.looks[1][1] = (R, 0xA1)
    assert oracles(one.judge()) == ["sealed-unchanged"]
    assert "refused" in oracles(window(SEALED_MIDDLE + "mprotect 1-1 rw growsdown", answer=0, twin=0).judge())


@pytest.mark.parametrize(("step", "wanted"), [("to-longer", "refused"), ("to-shorter", ""), ("to", "")])
def test_what_mremap_makes_longer_must_not_replace_what_is_sealed_behind_the_old_length(step: str, wanted: str) -> None:
    kinds = "anon rw 2 written | anon r 2 written | anon r sealed written"
    one = window(f"window 5 x 1 page, usual: {kinds}\nmremap 0-1 {step} 2", answer=0, twin=0)
    for looks in (one.looks, one.twin_looks):
        looks[1][0] = looks[1][1] = (GONE, 0xF0)
        looks[1][2], looks[1][3] = (RW, 0xA0), (RW, 0xA1)
    assert [o for o in oracles(one.judge()) if o != "same-as-twin"] == ([wanted] if wanted else [])


def test_a_key_is_not_known_of_what_was_made_executable_only_in_between() -> None:
    """Some processors have a key of their own for that, and afterwards memory has none."""
    steps = (
        "pkey_mprotect 0-0 rw key",
        "mprotect 0-0 x",
        "mprotect 0-0 rw",
        "mseal 0-0",
        "rights closed",
        "madvise 0-0 dontneed",
    )
    program = parse_program("\n".join(("window 1 x 1 page, usual: anon rw written", *steps)))
    full, empty, executable = [(RW, 0xA0)], [(RW, 0)], [(1 | 8, 0xF1)]
    looks = [full, full, executable, full, full, full, empty]
    said = [0] * 6
    seen = Window(program, said, [0, 0, 0, LEFT_OUT, 0, 0], looks, looks, {0})
    assert oracles(seen.judge()) == []
    without = Window(
        program.with_steps([s for s in program.steps if "x" not in str(s).split()]), said[1:], [0, 0, LEFT_OUT, 0, 0],
        [full] * 5 + [empty], [full] * 5 + [empty], {0},
    )  # fmt: skip
    assert "refused" in oracles(without.judge())


def test_closing_a_userfaultfd_is_about_whatever_was_registered() -> None:
    for step, fine in (("close", True), ("unregister", False)):
        one = window(SEALED_MIDDLE + f"userfaultfd 2-2 {step}")
        one.looks[0][1] = one.twin_looks[0][1] = (RW, 0xF2)
        one.looks[1][1] = one.twin_looks[1][1] = (RW, 0)
        assert ("sealed-unchanged" not in oracles(one.judge())) is fine


def test_a_quiet_program_reads_what_the_twin_has_moved_away() -> None:
    """mremap moves one mapping: where there are two because one is sealed, it is refused, and in the twin it is not."""
    kinds = "private-file rw | private-file rw sealed written"
    one = window(f"window 2 x 1 page, usual, quiet: {kinds}\nmremap 0-1 elsewhere-keep", answer=14, twin=0)
    one.looks[0] = one.twin_looks[0] = [(RW, 0xF0)] * 2
    one.looks[1], one.twin_looks[1] = [(RW, 0x50), (RW, 0xA1)], [(RW, 0x50), (RW, 0x51)]
    assert oracles(one.judge()) == ["sealed-unchanged"]
    facts = one.facts()
    looks = tuple(b"\x03\0" + look[2:] for look in facts.sealed.looks)
    divided = facts._replace(sealed=facts.sealed._replace(looks=looks))
    steps = [step.to_bytes() for step in one.program.steps]
    assert oracles(ProgramJudge().judge(one.program, steps, divided)) == []


def test_a_quiet_program_in_which_the_twin_has_moved_nothing_reads_what_is_there() -> None:
    """Where mremap is refused with EPERM the twin is left out, so however memory is divided, it tells the contents."""
    kinds = "private-file rw | private-file rw sealed written"
    one = window(f"window 2 x 1 page, usual, quiet: {kinds}\nmremap 0-1 elsewhere-keep", answer=EPERM)
    one.looks[0] = one.twin_looks[0] = [(RW, 0xF0)] * 2
    one.looks[1], one.twin_looks[1] = [(RW, 0x50), (RW, 0)], [(RW, 0x50), (RW, 0xA1)]
    facts = one.facts()
    looks = tuple(b"\x03\0" + look[2:] for look in facts.sealed.looks)
    divided = facts._replace(sealed=facts.sealed._replace(looks=looks))
    steps = [step.to_bytes() for step in one.program.steps]
    assert oracles(ProgramJudge().judge(one.program, steps, divided)) == ["sealed-unchanged"]
