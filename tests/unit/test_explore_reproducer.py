"""The C form of a program: it compiles without a warning, and says what it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.explore.corpus import load_corpus
from harness.explore.oracles import StepProblem
from harness.explore.program import parse_program
from harness.explore.reproducer import reproducer
from harness.explore.templates import TEMPLATES, variants
from harness.payload.compiler import compile_static

KINDS = "anon rw written sealed growsdown noreserve | zero r | private-file r comb | shared-file r sealed unwritable"
PROBLEM = StepProblem("refused", 0, "munmap", "munmap answers 0 instead of EPERM", ("U1",))


def test_the_corpus_compiles_where_it_has_a_c_form(tmp_path: Path) -> None:
    written = 0
    for kept in load_corpus():
        try:
            text = reproducer(kept.program, PROBLEM)
        except UsageError:
            continue
        source = tmp_path / f"{kept.name}.c"
        source.write_text(text)
        compile_static([source], "x86_64", kept.name)
        written += 1
    assert written >= 4


def test_every_operation_that_has_a_c_form_compiles(tmp_path: Path) -> None:
    steps = []
    for template in TEMPLATES:
        step = variants(template, 4)[-1]
        program = parse_program(
            f"window 4 x 2 pages, 4gib: anon rw written sealed | zero r | private-file 2 r comb\n{step}"
        )
        try:
            reproducer(program, PROBLEM)
        except UsageError:
            continue
        steps.append(str(step))
    assert len(steps) > 60
    whole = parse_program("\n".join([f"window 4 x 2 pages, 4gib: {KINDS}", *steps[::4]][:30]))
    source = tmp_path / "all.c"
    source.write_text(reproducer(whole, PROBLEM))
    compile_static([source], "x86_64", "all")


def test_a_length_that_is_no_multiple_of_a_page_is_written_so(tmp_path: Path) -> None:
    head = "window 2 x 1 page, usual: anon 2 rw sealed\n"
    text = reproducer(parse_program(f"{head}munmap 0-1 unrounded\nmlock 1-1 unlock unrounded\nname 0-0 long"), PROBLEM)
    assert "munmap(at(0), 2 * UNIT - PAGE + 1)" in text
    assert "munlock(at(1) + 1, 1 * UNIT - PAGE + 1)" in text
    source = tmp_path / "unrounded.c"
    source.write_text(text)
    compile_static([source], "x86_64", "unrounded")


def test_whatever_can_be_unrounded_is_written_so(tmp_path: Path) -> None:
    """What the executor does with each, and nothing that has a C form is without this one."""
    head = "window 4 x 2 pages, usual: anon 4 rw sealed\n"
    calls = {
        "mmap 0-1 anon r": "mmap(at(0), 2 * UNIT - PAGE + 1, PROT_READ,",
        "mremap 0-1 same": "mremap(at(0), 2 * UNIT - PAGE + 1, 2 * UNIT - PAGE + 1, 0)",
        "mremap 0-1 shrink 1": "mremap(at(0), 2 * UNIT - PAGE + 1, 1 * UNIT, 0)",
        "mremap 0-0 to-longer 2": "mremap(at(0), 1 * UNIT - PAGE + 1, 2 * UNIT - PAGE + 1, ",
        "mremap 0-0 double 2": "mremap(at(0), 0, 1 * UNIT - PAGE + 1, ",
        "shmat 1-1": "shmat(shmget(IPC_PRIVATE, 1 * UNIT - PAGE + 1, 0600), at(1) + 1, SHM_RND | SHM_REMAP)",
    }
    for call, written in calls.items():
        assert written in reproducer(parse_program(f"{head}{call} unrounded"), PROBLEM)
    source = tmp_path / "unrounded.c"
    source.write_text(reproducer(parse_program(head + "".join(f"{call} unrounded\n" for call in calls)), PROBLEM))
    compile_static([source], "x86_64", "unrounded")
    for template in TEMPLATES:
        step = variants(template, 4)[-1]
        try:
            rounded = reproducer(parse_program(f"{head}{step}"), PROBLEM)
        except UsageError:
            continue
        if step.operation.rounds_up:
            assert "- PAGE + 1" in reproducer(parse_program(f"{head}{step} unrounded"), PROBLEM)
        assert "- PAGE + 1" not in rounded


def test_what_is_more_than_calls_in_a_row_is_refused() -> None:
    program = parse_program("window 1 x 1 page, usual: anon rw sealed\nfork stays\nmunmap 0-0")
    with pytest.raises(UsageError, match="fork has no C form"):
        reproducer(program, PROBLEM)
