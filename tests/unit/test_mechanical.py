"""Mechanical mutants: the functions that are found, the changes that are made, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tree_sitter_c", reason="the extra `mechanical` is not installed")

from harness.cli.mechanical import list_mechanical
from harness.errors import ConfigError, UsageError
from harness.mutants.edit import apply_edit
from harness.mutants.mechanical.find import find
from harness.mutants.mechanical.made import mechanical_mutants, relevant
from harness.mutants.mechanical.model import MechanicalMutant, choose_mechanical
from harness.mutants.mechanical.neighbours import Neighbours
from harness.mutants.mechanical.operators import OPERATORS, changes
from harness.mutants.mechanical.reviewed import Review, Reviewed, load_reviewed
from harness.mutants.mechanical.source import functions
from harness.mutants.mechanical.table import score
from harness.mutants.records import MutantRecord

# The code of no kernel: small texts in its style.
HEADER = b"""
static inline bool vma_is_sealed(struct vma *vma)
{
	return vma->flags & VM_SEALED;
}
"""
ADVISE = b"""
static bool is_discard(int advice)
{
	switch (advice) {
	case ADV_FREE:
	case ADV_REMOVE:
		return true;
	}

	return false;
}

static bool unrelated(int advice)
{
	return advice > 1;
}

static bool may_advise(struct vma *vma, int advice)
{
	/* unrelated() is not called */
	if (vma_is_sealed(vma) && is_discard(advice))
		return false;
	return true;
}

static int advise_one(struct vma *vma, int advice)
{
	if (!may_advise(vma, advice)) {
		counted++;
		return -EPERM;
	}
	return apply(vma, advice);
}

int advise_all(struct vma *vma)
{
	if (!vma)
		return -EINVAL;
	return advise_one(vma, 1);
}
"""
CALL = b"""
SYSCALL_DEFINE2(mseal, unsigned long, start, size_t, len)
{
	unsigned long end = min(start + len, LIMIT);

	for_each_vma(vmi, vma, end) {
		if (vma->end < end)
			continue;
		seal_one(vma);
	}
	return 0;
}
"""
OTHER = b"""
int elsewhere(void) /* mseal is not for us */
{
	return other("mseal");
}
int far(struct vma *vma)
{
	return advise_all(vma);
}
"""
SOURCES = {"mm/vma.h": HEADER, "mm/advise.c": ADVISE, "mm/mseal.c": CALL, "mm/other.c": OTHER}


def made(body: str, head: str = "int f(void)") -> set[tuple[str, str, str]]:
    (function,) = functions("f.c", f"{head}\n{{\n\t{body}\n}}\n".encode())
    return {(change.operator, change.was, change.becomes) for change in changes(function)}


def test_what_is_about_sealing_is_found_by_flag_by_call_and_by_who_asks() -> None:
    found = {(one.function.name, one.part, one.whole) for one in find(SOURCES)}
    assert found == {
        ("vma_is_sealed", "sealing", True),  # has the flag
        ("may_advise", "sealing", True),  # answers yes or no by asking it
        ("is_discard", "sealing", True),  # only the one above asks it
        ("sys_mseal", "sealing", True),
        ("advise_one", "beside", False),  # asks, and does other things
        ("advise_all", "callers", False),  # one step up, and no further
    }


def test_only_files_that_may_matter_are_kept() -> None:
    unread = {"mm/vain.c": b"int vain(void)\n{\n\treturn 0;\n}\n"}
    assert relevant(SOURCES | unread).keys() == SOURCES.keys()


def test_what_comments_and_strings_say_is_no_code() -> None:
    assert "elsewhere" not in {one.function.name for one in find(SOURCES)}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("if (a) g();", {("negate", "a", "!(a)"), ("drop-condition", "a", "0"), ("drop-condition", "a", "1")}),
        ("if (!a) g();", {("negate", "!a", "a")}),
        ("while (a) { g(); h(); }", {("negate", "a", "!(a)"), ("drop-condition", "a", "0")}),
        ("x = a ? b : c;", {("negate", "a", "!(a)"), ("drop-condition", "a", "1")}),
        (
            "if (a && b) g();",
            {
                ("and-or", "a && b", "a || b"),
                ("drop-condition", "a && b", "a"),
                ("drop-condition", "a && b", "b"),
                ("negate", "a && b", "!(a) && b"),
                ("negate", "a && b", "!(a && b)"),
            },
        ),
        ("if (a < b) g();", {("boundary", "a < b", "a <= b"), ("negate", "a < b", "!(a < b)")}),
        ("return a >= b;", {("boundary", "a >= b", "a > b"), ("negate", "return a >= b;", "return !(a >= b);")}),
        ("if (a) return -EPERM;", {("errno", "if (a) return -EPERM;", "if (a) return -EACCES;")}),
        ("if (a) return -EINVAL;", {("errno", "if (a) return -EINVAL;", "if (a) return 0;")}),
        ("err = -ENOMEM;", {("errno", "err = -ENOMEM;", "err = -EPERM;"), ("errno", "err = -ENOMEM;", "err = 0;")}),
        ("return 0;", {("result", "return 0;", "return -EPERM;")}),
        ("g(); return 1;", {("delete", "g();", ";")}),
        ("if (a) { g(); goto out; }", {("delete", "if (a) { g(); goto out; }", "if (a) { ; goto out; }")}),
        ("if (a) g(); else h();", {("delete", "else h();", "")}),
        ("for_each(x, y) { g(); h(); }", {("delete", "for_each(x, y) { g(); h(); }", ";")}),
        ("x = min(a, b);", {("min-max", "min(a, b)", "max(a, b)")}),
        ("x = max_t(int, a, b);", {("min-max", "max_t(int, a, b)", "min_t(int, a, b)")}),
        ("x = A | B | C;", {("flag", "A | B | C", "A | C"), ("flag", "A | B | C", "B | C")}),
        ("g(v, A_BIT, B_BIT);", {("flag", "g(v, A_BIT, B_BIT)", "g(v, B_BIT)")}),
        ("x = a + b;", {("arithmetic", "a + b", "a - b")}),
        ("x += b;", {("arithmetic", "x += b", "x -= b")}),
        ("switch (a) { case A: case B: return 1; }", {("case", "case A:", ""), ("case", "case B:", "")}),
        ("switch (a) { case A: return 1; case B: return 2; }", {("case", "case A: return 1;", "")}),
        ("g(a, 3);", {("constant", "g(a, 3);", "g(a, 4);"), ("constant", "g(a, 3);", "g(a, 2);")}),
        ("if (g(a, true)) h();", {("constant", "if (g(a, true)) h();", "if (g(a, false)) h();")}),
        ("g(0, PAGE_SIZE);", {("constant", "g(0, PAGE_SIZE);", "g(0, (2 * PAGE_SIZE));")}),
        ("int a, b; char c; g(a);", {("other-name", "g(a);", "g(b);")}),
        ("for_each(x, y) { int a = 1; int b = a; g(b); }", {("other-name", "g(b);", "g(a);")}),
        ("x = v->vm_start;", {("other-name", "x = v->vm_start;", "x = v->vm_end;")}),
        ("g(v->prev, c);", {("other-name", "g(v->prev, c);", "g(v->next, c);")}),
        ("int a, b; g(1, a, b);", {("swap-arguments", "g(1, a, b)", "g(1, b, a)")}),
        ("while (a) { if (b) break; continue; }", {("jump", "if (b) break;", "if (b) continue;")}),
        ("for_each(x, y) { if (b) continue; }", {("jump", "if (b) continue;", "if (b) break;")}),
        ("for_each(x, y) { if (b) break; }", {("jump", "if (b) break;", "if (b) continue;")}),
        ("if (a) goto one; g(); one: h(); two: i();", {("jump", "if (a) goto one;", "if (a) goto two;")}),
        ("g(); if (a) h();", {("early-return", "if (a) h();", "return 0; if (a) h();")}),
        ('char *n[] = { [0] = "a", [VM_SEALED] = "sl", };', {("case", '[VM_SEALED] = "sl"', "")}),
    ],
)
def test_each_operator_changes_what_it_says(body: str, expected: set[tuple[str, str, str]]) -> None:
    assert made(body) >= expected


@pytest.mark.parametrize(
    ("body", "operator", "was"),
    [
        ("if (a) g();", "delete", "g();"),  # the same as a condition that never holds
        ("VMA_ITERATOR(vmi, mm, start); g();", "delete", "VMA_ITERATOR(vmi, mm, start);"),  # it declares
        ("g(); return x;", "delete", "return x;"),  # the end of what returns something
        ("for_each(x) g();", "delete", "g();"),  # the body, without which the loop has another
        ("while (a) g();", "drop-condition", "1"),  # never ends
        ("x = a | b->c(d) + 1;", "flag", "a | b->c(d) + 1"),
        ("return 1;", "constant", "return 1;"),  # a result
        ("int a, b; a = g();", "other-name", "a = g();"),  # assigned to
        ("g(b); int b, c;", "other-name", "g(b);"),  # c is declared later
        ("int a; char b; g(a, b);", "swap-arguments", "g(a, b)"),  # of two types
        ("int a, b; a = min(a, b);", "swap-arguments", "min(a, b)"),
        ("int a, b; for_each(a, b) { g(); }", "swap-arguments", "for_each(a, b)"),  # takes names
        ("switch (a) { case A: g(); break; }", "jump", "break;"),
        ("one: if (a) goto one;", "jump", "if (a) goto one;"),  # nowhere else to go
        ("VMA_ITERATOR(vmi, mm, start);", "early-return", "VMA_ITERATOR(vmi, mm, start);"),
        ("g(); return x;", "early-return", "return x;"),  # a result
    ],
)
def test_what_would_be_another_change_or_no_code_is_left_out(body: str, operator: str, was: str) -> None:
    assert (operator, was) not in {(o, w if was != "1" else b) for o, w, b in made(body)}


def test_the_preprocessors_conditions_are_left_alone() -> None:
    body = "g();\n#if A > 3 && B\n\th();\n#endif\n\ti();"
    changed = {w for _, w, _ in made(body, "void f(void)")}
    assert changed == {"g();", "h();", "i();"}


@pytest.mark.parametrize(
    ("result", "before"),
    [
        ("void", {"return;"}),
        ("bool", {"return false;", "return true;"}),
        ("long", {"return 0;"}),
        ("struct vma *", set()),
    ],
)
def test_a_function_ends_early_with_what_it_may_return(result: str, before: set[str]) -> None:
    assert {b for o, _, b in made("g();", f"{result} f(void)") if o == "early-return"} == {f"{x} g();" for x in before}


def test_names_are_those_of_the_parameters_too_and_of_a_system_call() -> None:
    assert ("other-name", "g(a);", "g(b);") in made("g(a);", "int f(struct mm *a, struct mm *b, struct vma *c)")
    assert ("other-name", "g(a);", "g(c);") not in made("g(a);", "int f(struct mm *a, struct mm *b, struct vma *c)")
    call = "SYSCALL_DEFINE3(mseal, unsigned long, start, size_t, len, unsigned long, flags)"
    assert {b for o, _, b in made("g(start);", call) if o == "other-name"} == {"g(flags);"}


def test_a_name_that_two_blocks_declare_with_two_types_is_left_alone() -> None:
    assert not {w for o, w, _ in made("int a; { char b; g(b); } { int b; g(b); }") if o == "other-name"}


def test_every_operator_that_is_described_is_made_by_something() -> None:
    (function,) = functions(
        "f.c",
        b"int f(int p, int q)\n{\n\tif (a < b && c)\n\t\treturn -EPERM;\n\tx = min(p, q) + (A | B);\n\tg(1, p, q);\n"
        b"\twhile (p)\n\t\tbreak;\n"
        b"\tswitch (d) { case E: g(); break; }\n\treturn 0;\n}\n",
    )
    assert {change.operator for change in changes(function)} == set(OPERATORS)


def test_a_change_keeps_the_lines_of_its_file() -> None:
    for name, source in SOURCES.items():
        for function in functions(name, source):
            for change in changes(function):
                assert change.put.count("\n") == source[change.start : change.end].count(b"\n"), change


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "Makefile").write_text("VERSION = 7\nPATCHLEVEL = 3\n")
    (tmp_path / "Kbuild").write_text("")
    for name, source in SOURCES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(source)
    return tmp_path


def named(mutants: tuple[MechanicalMutant, ...], was: str, becomes: str) -> MechanicalMutant:
    (found,) = (m for m in mutants if (m.about.was, m.about.becomes) == (was, becomes))
    return found


def test_a_tree_has_its_mutants_sealing_first_and_each_applies(tree: Path) -> None:
    mutants = mechanical_mutants(tree, "x86_64", Reviewed())
    parts = [m.about.part for m in mutants]
    assert parts == sorted(parts, key=["sealing", "beside", "callers"].index)
    assert len({m.id for m in mutants}) == len(mutants)
    for mutant in mutants:
        ((edit,),) = mutant.edits.values()
        before = (tree / edit.file).read_text()
        after = apply_edit(before, edit)
        assert after != before and after.count("\n") == before.count("\n")


def test_what_a_seal_test_does_is_sealing_and_the_rest_of_its_function_is_beside(tree: Path) -> None:
    mutants = mechanical_mutants(tree, "x86_64", Reviewed())
    advise = [m.about for m in mutants if m.about.function == "advise_one"]
    where = {about.was: about.part for about in advise if about.operator != "early-return"}
    assert where["!may_advise(vma, advice)"] == "sealing"
    assert where["if (!may_advise(vma, advice)) { counted++; return -EPERM; }"] == "sealing"
    early = {about.was: about.part for about in advise if about.operator == "early-return"}
    assert early["counted++;"] == "sealing"
    assert early["if (!may_advise(vma, advice)) { counted++; return -EPERM; }"] == "beside"


def test_of_several_flags_only_the_one_that_seals_is_sealing(tree: Path) -> None:
    (tree / "mm/map.c").write_bytes(
        b"static int map_code(struct mm *mm, struct mm *of)\n{\n"
        b"\treturn install(mm, of, 1, VM_READ | VM_EXEC | VM_SEALED_SYSMAP);\n}\n"
    )
    mutants = [m for m in mechanical_mutants(tree, "x86_64", Reviewed()) if m.about.function == "map_code"]
    others = {m.about.part for m in mutants if m.about.operator in ("constant", "other-name", "swap-arguments")}
    assert others == {"beside"}
    parts = {m.about.becomes: m.about.part for m in mutants if m.about.operator == "flag"}
    assert parts == {
        "VM_EXEC | VM_SEALED_SYSMAP": "beside",
        "VM_READ | VM_SEALED_SYSMAP": "beside",
        "VM_READ | VM_EXEC": "sealing",
    }


def test_a_mutant_keeps_its_name_when_lines_move_and_not_when_its_text_does(tree: Path) -> None:
    before = {m.id for m in mechanical_mutants(tree, "x86_64", Reviewed())}
    (tree / "mm/advise.c").write_bytes(b"\n\n\n" + ADVISE)
    assert {m.id for m in mechanical_mutants(tree, "x86_64", Reviewed())} == before
    (tree / "mm/advise.c").write_bytes(ADVISE.replace(b"ADV_FREE", b"ADV_FREED"))
    assert {m.id for m in mechanical_mutants(tree, "x86_64", Reviewed())} != before


def test_the_diff_has_the_lines_of_the_file(tree: Path) -> None:
    mutant = named(mechanical_mutants(tree, "x86_64", Reviewed()), "case ADV_REMOVE:", "")
    line = (tree / "mm/advise.c").read_text().splitlines().index("\tcase ADV_REMOVE:") + 1
    assert mutant.about.line == line
    assert f"@@ -{line - 2},5 +{line - 2},5 @@" in mutant.about.diff
    assert "-\tcase ADV_REMOVE:" in mutant.about.diff


def test_a_tree_without_sealing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 1\n")
    (tmp_path / "Kbuild").write_text("")
    with pytest.raises(UsageError, match="nothing in it mentions sealing"):
        mechanical_mutants(tmp_path, "x86_64", Reviewed())


def test_choosing_by_function_file_operator_and_part(tree: Path) -> None:
    mutants = mechanical_mutants(tree, "x86_64", Reviewed())
    assert choose_mechanical(mutants, []) == mutants
    assert {m.about.function for m in choose_mechanical(mutants, ["is_*"])} == {"is_discard"}
    assert {m.about.part for m in choose_mechanical(mutants, ["callers"])} == {"callers"}
    assert {m.about.operator for m in choose_mechanical(mutants, ["min-max"])} == {"min-max"}
    assert choose_mechanical(mutants, [mutants[3].id]) == (mutants[3],)
    with pytest.raises(UsageError, match="no mechanical mutant matches is_dicsard"):
        choose_mechanical(mutants, ["is_dicsard"])


def test_the_list_has_the_beginning_of_what_is_long(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loop = (
        b"static int seal_all(struct vma *vma)\n{\n\twhile (vma_is_sealed(vma)) {"
        + 40 * b"\n\t\tcount(vma);"
        + b"\n\t}\n}\n"
    )
    (tree / "mm/loop.c").write_bytes(loop)
    mutants = mechanical_mutants(tree, "x86_64", Reviewed())
    assert max(len(m.about.was) for m in mutants) > 400
    list_mechanical(mutants, tree / "results", as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) < 250 and any("count(vma); …" in line for line in lines)


def test_a_review_is_known_by_the_text_of_the_change(tree: Path) -> None:
    reviewed = Reviewed({Review("is_discard", "case", "case ADV_FREE:", ""): "because"})
    mutants = mechanical_mutants(tree, "x86_64", reviewed)
    assert named(mutants, "case ADV_FREE:", "").why_equivalent((7, 3)) == "because"
    assert sum(bool(m.why_equivalent((7, 3))) for m in mutants) == 1


REVIEW = """
- function: f
  operator: delete
  was: "g();"
  becomes: ";"
  equivalent: g does nothing
"""


def test_reviews_are_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "reviewed.yaml"
    path.write_text(REVIEW)
    assert load_reviewed(path).why(Review("f", "delete", "g();", ";")) == "g does nothing"
    assert load_reviewed(path).why(Review("f", "delete", "g();", ";", 2)) == ""
    path.write_text(REVIEW + REVIEW)
    with pytest.raises(ConfigError, match="reviewed before"):
        load_reviewed(path)
    path.write_text(REVIEW.replace("g does nothing", '""'))
    with pytest.raises(ConfigError, match="equivalent"):
        load_reviewed(path)


def test_every_review_that_is_shipped_is_of_an_operator_there_is() -> None:
    assert {review.operator for review in load_reviewed().reasons} <= set(OPERATORS)


def test_the_probes_that_killed_the_nearest_are_asked_first(tree: Path) -> None:
    mutants = mechanical_mutants(tree, "x86_64", Reviewed())
    one, two = named(mutants, "case ADV_FREE:", ""), named(mutants, "case ADV_REMOVE:", "")
    far = next(m for m in mutants if m.about.file == "mm/mseal.c")
    near = Neighbours(mutants)
    assert near.ask_first(one.id) == ()
    a, b, c, d = (("rule", f"{name}/r/s") for name in "abcd")
    near.learn(far.id, [c, d])
    near.learn(two.id, [a, b])
    near.learn(two.id, [])  # nothing to be learnt
    assert near.ask_first(one.id) == (a, c, b, d)


def about(function: str = "f", operator: str = "delete", was: str = "g();") -> dict[str, Any]:
    return {
        "file": "mm/f.c", "function": function, "part": "sealing", "operator": operator,
        "was": was, "becomes": ";", "line": 1, "nth": 1, "diff": "",
    }  # fmt: skip


def record(name: str, state: Any, by: dict[str, str] | None = None, **more: Any) -> MutantRecord:
    return MutantRecord(
        name, "d", state, by or {}, **{"about": about(), "seconds": {"build": 1.0, "suite": 2.0}} | more
    )


def test_the_score_counts_what_can_be_noticed() -> None:
    reviewed = Reviewed({Review("f", "delete", "h();", ";"): "h does nothing"})
    found = score(
        [
            record("killed", "killed", {"a": "bypass", "b": "hang"}),
            record("booted", "killed", {"boot": "does not boot"}, whole=False),
            record("seen", "killed", {"o": "observed otherwise"}),
            record("lost", "killed", lost=("a",)),
            record("gap", "survived"),
            record("known", "survived", about=about(was="h();")),
            record("silent", "no-answer"),
            record("same", "identical", seconds={}),
            record("again", "duplicate", seconds={}),
            record("broken", "not-built", seconds={}),
            record("absent", "inapplicable", seconds={}),
        ],
        reviewed,
    )
    assert found.total.counts == {
        "rule": 1, "no boot": 1, "recorded": 2, "equivalent": 1, "survived": 1, "no answer": 1,
        "identical": 1, "duplicate": 1, "not-built": 1, "inapplicable": 1,
    }  # fmt: skip
    assert (found.total.counted, found.total.noticed) == (6, 4)
    assert [gap.mutant for gap in found.gaps] == ["gap"]
    assert found.exit_code == 1
    assert found.alone == {"o": ("seen",)}
    assert found.together == 1
    assert found.seconds == {"build": 1.0, "suite": 2.0, "mutant": 3.0}


def test_a_review_that_is_wrong_is_told_and_fails() -> None:
    reviewed = Reviewed({Review("f", "delete", "g();", ";"): "nobody sees it"})
    found = score([record("killed", "killed", {"a": "bypass"})], reviewed)
    assert [one.mutant for one in found.wrong] == ["killed"]
    assert found.exit_code == 1


def test_a_rule_counts_as_alone_only_where_every_rule_was_asked() -> None:
    found = score(
        [record("one", "killed", {"a": "bypass"}), record("two", "killed", {"a": "bypass"}, whole=False)], Reviewed()
    )
    assert found.alone == {"a": ("one",)}
    assert found.exit_code == 0


def test_a_mutant_without_a_fair_trial_is_told() -> None:
    assert score([record("one", "no-answer")], Reviewed()).exit_code == 3


def test_where_no_mutant_became_a_kernel_nothing_was_asked() -> None:
    assert score([], Reviewed()).exit_code == 3
    assert score([record("one", "not-built"), record("two", "inapplicable")], Reviewed()).exit_code == 3
    assert score([record("one", "not-built"), record("two", "killed", {"a": "bypass"})], Reviewed()).exit_code == 0
    assert score([record("one", "identical")], Reviewed()).exit_code == 0
