"""Programs as text and as bytes, there and back; what the C side says of its own format."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from bench.explore import SixSteps
from harness.errors import UsageError
from harness.explore.corpus import load_corpus
from harness.explore.fixed_sorts import (
    attached,
    files,
    filling,
    growing,
    hindered,
    holes,
    keyed,
    lengths,
    positions,
    whole_tables,
)
from harness.explore.operations import ADVICE, DISCARDS, OPERATIONS, PROTS, ROUNDING_UP, by_name
from harness.explore.pasts import pasts
from harness.explore.program import (
    BY,
    FLAGS,
    KINDS,
    PLACES,
    STEPS_MAX,
    TRAITS,
    UNROUNDED,
    Program,
    Step,
    parse_program,
)
from harness.explore.random_programs import Random, Weighted
from harness.explore.shrink import size, smaller
from harness.explore.sorts import consequences, in_turn, there_and_back, together
from harness.explore.source import ProgramSource, whole_process_first
from harness.explore.state import REMAP_FILE
from harness.explore.templates import FORBIDDEN, MSEAL, TEMPLATES, variants
from harness.explore.wire import encode, shape_of


def test_every_step_there_is_survives_its_text_and_its_bytes() -> None:
    for template in TEMPLATES:
        for step in variants(template, 4):
            line = f"window 4 x 1 page, usual: anon 4 rw written sealed\n{step}"
            (read,) = parse_program(line).steps
            assert read == step, str(step)
            assert Step.from_bytes(step.to_bytes()) == step


def test_every_operation_is_generated() -> None:
    assert {t.op for t in TEMPLATES} == set(OPERATIONS)


def test_generated_programs_survive_their_text() -> None:
    for program in ProgramSource(7).batch(600, 64):
        assert parse_program(str(program)) == program


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("munmap 0-1", "begins with a line such as"),
        ("window 2 x 1 page, usual: anon 3 rw", "have 3 units, not 2"),
        ("window 2 x 3 pages, usual: anon 2 rw", "1, 2, 4"),
        ("window 2 x 1 page, nowhere: anon 2 rw", "neither a place"),
        ("window 2 x 1 page, usual: anon 2 rw\nmunmap 1-2", "not a range of 2 units"),
        ("window 2 x 1 page, usual: anon 2 rw\nunmap 0-1", "there is no operation 'unmap'"),
        ("window 2 x 1 page, usual: anon 2 rw\nmprotect 0-1 quickly", "mprotect wants"),
        ("window 2 x 1 page, usual: anon 2 rw\nmprotect 0-1 r 3", "does not know '3'"),
        ("window 2 x 1 page, usual: silk 2 rw", "begins with its kind"),
        ("window 2 x 1 page, usual: anon 2 rw\nmunmap 0-1 by-thread without-privilege", "write by-thread alone"),
        ("window 2 x 1 page, usual: anon 2 rw\nmunmap 0-1 by-process by-thread", "write by-thread alone"),
    ],
)
def test_what_is_no_program_is_refused_in_one_line_that_names_its_line(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as refused:
        parse_program(text, "file.txt")
    assert "\n" not in str(refused.value) and str(refused.value).startswith("file.txt:")


def test_one_seed_means_the_same_programs() -> None:
    first, second, other = ProgramSource(11), ProgramSource(11), ProgramSource(12)
    assert [first.batch(256, 64) for _ in range(2)] == [second.batch(256, 64) for _ in range(2)]
    assert first.batch(256, 64) != other.batch(256, 64)


def test_a_run_goes_on_where_it_stopped() -> None:
    """What was kept to be changed is not there any more, but neither run learns anything here."""
    whole, first = ProgramSource(11), ProgramSource(11)
    expected = [whole.batch(256, 64) for _ in range(3)]
    first.batch(256, 64)
    rest = ProgramSource(11, batches=first.batches, exhausted=first.exhausted)
    assert rest.at == first.at != ""
    assert [len(b) for b in expected[1:]] == [256, 256]
    assert rest.batch(256, 64)[:128] == expected[1][:128]
    assert (rest.batches, rest.exhausted) == (2, 256)


def test_where_an_exploration_came_to_tells_every_program_that_was_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ProgramSource(11, exhausted=3000).at
    rows = [*positions()]
    monkeypatch.setattr("harness.explore.source.positions", lambda: iter([rows[1], rows[0], *rows[2:]]))
    assert ProgramSource(11, exhausted=3000).at != whole


def test_a_batch_that_was_prepared_is_the_next_one_and_counts_when_it_is_asked_for() -> None:
    plain, ahead = ProgramSource(11), ProgramSource(11)
    expected = [plain.batch(256, 64) for _ in range(2)]
    for programs in expected:
        before = ahead.batches, ahead.exhausted, ahead.digest.hexdigest()
        ahead.prepare(256, 64)
        assert (ahead.batches, ahead.exhausted, ahead.digest.hexdigest()) == before
        assert ahead.batch(256, 64) == programs
    assert (ahead.batches, ahead.exhausted) == (plain.batches, plain.exhausted) == (2, 256)
    assert ahead.digest.hexdigest() == plain.digest.hexdigest()


def test_the_corpus_says_why() -> None:
    corpus = load_corpus()
    assert len(corpus) >= 5
    assert all(len(kept.why) > 40 and kept.program.steps for kept in corpus)


def test_sealed_files_that_were_opened_for_reading_only_are_generated() -> None:
    drawn = Random(1)
    drawn.begin(0)
    found = [s for _ in range(2000) for s in drawn.program().segments if s.unwritable and s.sealed]
    assert len(found) > 20
    assert {PROTS[s.prot] for s in found} >= {"r", "none"} and not any(s.prot & 2 for s in found)
    assert not parse_program("window 1 x 1 page, usual: shared-file rw unwritable\nmunmap 0-0").segments[0].unwritable


def test_whatever_is_smaller_is_a_program_and_is_smaller() -> None:
    rng = random.Random(3)
    for program in rng.sample(ProgramSource(5).batch(1024, 64), 60):
        for candidate in smaller(program):
            assert parse_program(str(candidate)) == candidate
            assert all(s.start + s.units <= candidate.units for s in candidate.steps)
            assert size(candidate) != size(program)


def test_a_first_step_that_seals_becomes_the_window() -> None:
    program = parse_program("window 4 x 1 page, usual: anon 2 rw | hole | anon r\nmseal 1-3\nmunmap 0-3")
    small = parse_program("window 4 x 1 page, usual: anon rw | anon rw sealed | hole | anon r sealed\nmunmap 0-3")
    assert small in set(smaller(program))


def test_a_childs_child_tells_what_it_saw_as_a_child_does() -> None:
    head = "window 2 x 1 page, usual: anon 2 rw sealed written\n"
    shapes = [
        shape_of(encode(parse_program(f"{head}fork {how}\nmunmap 0-1"))) for how in ("goes-on", "grandchild", "stays")
    ]
    assert [shape.fork for shape in shapes] == [0, 0, -1]
    assert shapes[0].size == shapes[1].size > shapes[2].size


def test_a_record_is_as_long_as_both_passes_and_their_children() -> None:
    program = parse_program("window 2 x 1 page, usual: anon 2 rw sealed\nmunmap 0-1\nfork goes-on\nmunmap 0-0")
    look = 2 + 2 * 2
    whole, child = 2 + look + 3 * (2 + look) + 4, 2 + look + 1 * (2 + look) + 4
    assert shape_of(encode(program)).size == 8 + 2 * (whole + child)


def _words(step: Step) -> str:
    return " ".join([step.operation.name, *step.operation.words(step.a, step.b, step.c)])


def test_what_memory_can_be_is_generated_in_pairs_and_one_without_the_other() -> None:
    """A defect that asks for two traits, or for one and not another, needs neither to be there always."""
    rng = random.Random(1)
    drawn = []
    for _ in range(480):
        program = together(rng)
        drawn.append(
            {_words(step) for step in program.steps}
            | {name for name, bit in TRAITS.items() if program.segments[0].traits & bit}
        )
        assert len(program.steps) <= STEPS_MAX
    traits = [
        "madvise dontdump", "madvise mergeable", "madvise sequential", "madvise hugepage", "mlock lock", "name one",
        "mbind bind", "userfaultfd missing", "pkey_mprotect rw key", "madvise guard-install", "fork stays", "noreserve",
        "growsdown",
    ]  # fmt: skip
    for one, other in itertools.permutations(traits, 2):
        assert any(one in had and other in had for had in drawn), (one, other)
        assert any(one in had and other not in had for had in drawn), (one, other)


def test_what_is_taken_back_is_taken_back_on_every_part_of_it() -> None:
    """So mappings merge to the left, to the right and on both sides, locked or not, all sealed or beside plain ones,
    and where nothing has touched them."""
    seen, windows = set(), set()
    for program in there_and_back(random.Random(1)):
        steps = program.steps
        assert len(steps) <= STEPS_MAX and any(program.sealed_units())
        untouched = program.flags == FLAGS["quiet"] and not program.segments[0].traits & TRAITS["written"]
        windows.add((all(program.sealed_units()), untouched))
        locked = bool(program.segments[0].traits & TRAITS["locked"])
        for there, back in itertools.pairwise(steps):
            seen.add((_words(there), there.start, there.units, _words(back), back.start, back.units, locked))
    for locked in (False, True):
        for start, units in ((0, 1), (1, 1), (0, 2), (2, 1), (1, 2), (0, 4)):  # of units 0 and 1, or beside and around
            assert ("mbind bind", 0, 2, "mbind default", start, units, locked) in seen, (start, units)
            assert ("madvise mergeable", 0, 2, "madvise unmergeable", start, units, locked) in seen, (start, units)
    assert len(windows) == 4


def test_what_covers_a_hole_covers_something_sealed_on_either_side_of_it() -> None:
    rows = {tuple(bool(s.kind) for s in p.segments for _ in range(s.units)) for p in holes()}
    assert rows == {row for row in itertools.product((False, True), repeat=3) if any(row) and not all(row)}
    for program in holes():
        sealed = program.sealed_units()
        assert all(any(sealed[s.start : s.start + s.units]) for s in program.steps)
    assert {s.a for p in holes() for s in p.steps if s.operation.name == "madvise"} == DISCARDS


def test_memory_has_a_past_before_it_is_sealed_and_a_child_may_go_on_with_it() -> None:
    drawn = list(pasts(random.Random(1)))
    for program in drawn:
        names = [step.operation.name for step in program.steps]
        assert "mseal" in names[1:] and not any(program.sealed_units())
    before = {" ".join(str(s) for s in p.steps[: [s.op for s in p.steps].index(MSEAL)]) for p in drawn}
    assert {"mremap 5-7 to 1", "mremap 6-6 to 2", "mremap 5-6 to-longer 1"} <= before
    assert {s.by for p in drawn for s in p.steps if s.operation.name == "fork"} == {0, BY["by-thread"]}


def test_files_are_mapped_again_where_they_are_mapped_already() -> None:
    same = {(p.segments[0].kind, s.start == s.a) for p in files() for s in p.steps if s.op == REMAP_FILE}
    assert same == set(itertools.product((2, 3, 4), (False, True)))


def test_every_length_is_sealed_and_refused() -> None:
    for operation in ("mseal", "munmap", "mmap", "mprotect", "mremap", "madvise"):
        asked = {s.units for p in lengths() for s in p.steps if s.operation.name == operation}
        assert asked == set(range(1, 17)), operation


def test_a_whole_page_table_is_sealed_where_a_huge_page_fits() -> None:
    assert {p.units << p.scale for p in whole_tables()} == {512, 1024, 5 * 512, 16 * 512}
    assert all(not p.segments[0].traits & TRAITS["written"] for p in whole_tables() if p.units << p.scale > 512)
    assert {PLACES[p.place] for p in whole_tables()} == {"tables"}


def test_where_memory_may_grow_down_nothing_else_lies_near() -> None:
    """But for the programs in which it must not grow, for just that reason."""
    bit, not_to = TRAITS["growsdown"], set(hindered())
    source = ProgramSource(5)
    growing = [p for _ in range(6) for p in source.batch(1024, 64) if any(s.traits & bit for s in p.segments)]
    assert len(growing) > 20
    for program in {replace(p, flags=0) for p in growing} - not_to:  # some come among a crowd
        kinds = [KINDS[s.kind] for s in program.segments]
        assert PLACES[program.place] == "4gib" and set(kinds[kinds[0] == "hole" :]) == {"anon"}


def test_sealed_memory_grows_and_a_sealed_segment_is_detached() -> None:
    """What is below a mapping that grows is a hole, and the step touches its last unit."""
    programs = list(growing())
    assert len(programs) == 54 and {p.segments[0].kind for p in programs} == {0}
    for program in programs:
        touches = [s for s in program.steps if s.operation.name in ("write", "read")]
        assert touches[0].start + touches[0].units == program.segments[0].units
        assert program.segments[1].sealed and program.segments[1].traits & TRAITS["growsdown"]
    assert {p.steps[2].operation.name for p in attached()} == {"shmdt"}


def test_a_short_run_sees_something_of_everything() -> None:
    drawn = list(in_turn(iter("aaaa"), iter("b"), iter("cc")))  # type: ignore[arg-type]
    assert "".join(drawn) == "abcacaa"


def test_the_bench_draws_programs_of_six_steps() -> None:
    programs = SixSteps(3).batch(256, 64)
    assert len(programs) == 256 and {len(program.steps) for program in programs} == {6}


def test_what_forks_runs_before_the_others_have_left_memory_for_it_to_copy() -> None:
    programs = ProgramSource(3).batch(200, 32)
    shuffled = random.Random(1).sample(programs, len(programs))
    ordered = whole_process_first(shuffled, 32)
    assert sorted(map(encode, ordered)) == sorted(map(encode, programs))
    assert ordered == whole_process_first(shuffled, 32)
    wide = {by_name("fork").number, by_name("mlockall").number}
    heads = []
    for at in range(0, len(ordered), 32):
        forks = [any(step.op in wide for step in program.steps) for program in ordered[at : at + 32]]
        assert forks == sorted(forks, reverse=True)
        heads.append(sum(forks))
    assert max(heads) - min(heads) <= 1
    assert sum(heads) > 0
    assert whole_process_first([], 32) == []


def test_every_discard_is_tried_on_sealed_memory_that_a_key_keeps_from_being_written() -> None:
    programs = list(keyed())
    assert {p.segments[0].prot for p in programs} == {3, 7}
    for program in programs:
        told = [(step.operation.name, step.a) for step in program.steps]
        assert told[:2] == [("pkey_mprotect", program.segments[0].prot), ("mseal", 0)] and told[2][1] in (1, 2)
        assert {a for name, a in told if name == "madvise"} == DISCARDS - {ADVICE["remove"]}


def test_a_program_that_is_changed_further_stays_where_its_memory_can_grow() -> None:
    """At the place `usual` a mapping lay too near to that of the program before it, and did not grow."""
    drawn = Random(3)
    drawn.begin(0)
    for number, program in enumerate(growing()):
        drawn.learn(program, [number])
    changed = [p for _ in range(2000) if (p := drawn.program()).segments[0].kind == 0 and _grows(p)]
    assert len(changed) > 50 and {PLACES[p.place] for p in changed} == {"4gib"}


def _grows(program: Program) -> bool:
    return any(s.traits & TRAITS["growsdown"] for s in program.segments)


def test_who_does_a_step_survives_its_text_and_becomes_plainer() -> None:
    text = "window 1 x 1 page, usual: anon rw sealed\nmunmap 0-0 by-process without-privilege"
    program = parse_program(text)
    assert str(program) == text
    assert program.steps[0].by == BY["by-process"] | BY["without-privilege"]
    plainer = {smaller.steps[0].by for smaller in smaller(program) if smaller.steps}
    assert plainer >= {BY["by-process"], BY["without-privilege"]}
    assert parse_program("window 1 x 1 page, usual: anon rw sealed\nmunmap 0-0 by-thread unrounded").steps[0].by == 17


@pytest.mark.parametrize(
    "step",
    ("write 0-0 7", "read 0-0", "mseal 0-0", "remap_file_pages 0-0 1", "userfaultfd 0-0 missing", "shmdt 0-0",
     "move_pages 0-0 to-0", "fork stays"),
)  # fmt: skip
def test_only_what_rounds_a_length_up_can_be_unrounded(step: str) -> None:
    name = step.split(maxsplit=1)[0]
    with pytest.raises(UsageError, match=f"program:2: {name} cannot be unrounded, only .*brk, .*munmap"):
        parse_program(f"window 1 x 1 page, usual: anon rw sealed\n{step} unrounded")


def test_no_generated_step_is_unrounded_that_cannot_be() -> None:
    """What the bit would change nothing of looks as if it asked more than it does, and is not read back."""
    drawn = Random(1)
    by_chance = [drawn.program() for _ in range(10000)]
    listed = [positions(), consequences(random.Random(1)), there_and_back(random.Random(1))]
    steps = {step for program in itertools.chain(by_chance, *listed) for step in program.steps}
    unrounded = {step.operation.name for step in steps if step.by & UNROUNDED}
    assert {"munmap", "mmap", "mprotect", "mremap", "madvise", "mlock", "mbind", "name", "shmat"} <= unrounded
    assert unrounded <= ROUNDING_UP
    assert {step.operation.name for step in FORBIDDEN} <= ROUNDING_UP  # of which all steps are made so together


def test_everybody_who_can_do_a_step_does_some() -> None:
    seen = {step.by for program in ProgramSource(1).batch(4096, 64) for step in program.steps}
    assert seen >= {0, *BY.values()}


def test_what_is_moved_and_made_shorter_has_its_sealed_unit_anywhere() -> None:
    shorter = [p for p in positions() if str(p.steps[0]).split()[2:3] == ["to-shorter"]]
    assert {tuple(p.sealed_units()[: p.steps[0].units]).index(True) for p in shorter} == set(range(5))
    assert all(p.steps[0].b + p.steps[0].units - 1 <= p.units for p in shorter)


def test_a_value_is_drawn_as_the_library_draws_it() -> None:
    """So a seed gives the programs it gave when ``choices`` added the weights up for each draw."""
    values, weights = (3, 1, 4, 0), (7, 1, 2, 5)
    ours, theirs = random.Random("7/1"), random.Random("7/1")
    drawn = [Weighted.of(*zip(values, weights, strict=True)).draw(ours) for _ in range(1000)]
    assert drawn == [theirs.choices(values, weights)[0] for _ in range(1000)]
    assert set(drawn) == set(values)


def test_a_hole_beside_sealed_memory_is_filled_exactly_in_every_way() -> None:
    filled = list(filling())
    assert {str(p.steps[0]).split()[0] for p in filled} == {"mmap", "mremap", "brk"}
    for program in filled:
        *first, step = program.steps
        hole = program.segments[1]
        seals = any(s.op == MSEAL for s in first) or any(s.sealed for s in program.segments)
        assert hole.kind == 0 and seals
        grown, heap = step.operation.name == "mremap" and not step.start, step.operation.name == "brk"
        assert (step.b - 1 if grown else step.units) == hole.units - heap, str(program)


def test_what_must_not_grow_has_something_near_below_and_one_of_the_two_is_sealed() -> None:
    for program in hindered():
        below, hole, above = program.segments
        assert below.kind and not hole.kind and above.traits & TRAITS["growsdown"]
        assert below.sealed or above.sealed
        assert {step.start for step in program.steps} == {1, 2}
