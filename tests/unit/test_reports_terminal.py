"""The terminal: everything is said, nothing is cut off, and nothing that a guest wrote reaches the terminal raw."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

import pytest
from rich.console import Console

from harness.model.run_record import CellState, CrashRecord
from harness.model.verdict import STATUSES, Kind, RuleResult, Status, Verdict
from harness.reports.details import print_causes
from harness.reports.findings import findings
from harness.reports.folding import folded
from harness.reports.grid import flatten, grid
from harness.reports.style import MARKS, Ink, Page
from harness.reports.terminal import print_run
from harness.rules.load import load_catalogue
from harness.runs.causes import told_causes
from harness.runs.commands import again_command
from harness.runs.model import RunDone
from tests.builders import cell, default_matrix, fifty_cells, lost_cell, result, rule, run

FOLDER = Path("results/20261123-214500-3fa2")


def printed(done: RunDone, width: int = 100, encoding: str = "utf-8", every: bool = False) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    print_run(Console(file=file, width=width), done, every=every)
    return raw.getvalue().decode(encoding)


def one_cell(results: Sequence[RuleResult], **of: object) -> RunDone:
    return run(FOLDER, [(cell("debian-7.3", **of), results)])  # type: ignore[arg-type]


def test_seven_cells_fit_into_100_columns_worst_first() -> None:
    text = printed(default_matrix(FOLDER))
    # A command is one line, however long: broken by us, it could not be copied.
    assert max(len(line) for line in text.splitlines() if "sealmatrix " not in line[:25]) <= 100
    rows = [line for line in text.splitlines() if line.count("✓") + line.count("○") > 2]
    assert rows[0].split() == ["munmap-across", "✓", "✗", "bypass", "✓", "✗", "bypass", "✓"]
    assert "✗ crash" in rows[1]
    assert "! error" in rows[2]
    assert rows[5].startswith("munmap: 4 rules")


def test_a_kernel_without_mseal_is_one_line() -> None:
    text = printed(default_matrix(FOLDER))
    assert "- debian-6.1 (x86_64, arm64): all 18 rules skip: no mseal (ENOSYS)" in text
    assert text.count("ENOSYS") == 1


def test_the_last_line_counts_every_rule_of_every_cell() -> None:
    done = default_matrix(FOLDER)
    *_, sums, folder = printed(done).splitlines()
    assert sums == "7 cells, 18 rules: 3 fail, 1 error, 0 miss, 2 known, 1 fixed, 72 pass, 10 observed, 37 skip"
    assert sum(int(word) for word in sums.split(": ")[1].split() if word.isdigit()) == 7 * 18
    assert folder == str(FOLDER)


def test_every_names_every_rule_once_in_the_grid() -> None:
    done = default_matrix(FOLDER)
    names = {r.rule.id for results in done.results.values() for r in results}
    assert sorted(row.rules[0].id for row in grid(done, every=True).rows) == sorted(names)
    assert sum(len(row.rules) for row in grid(done).rows) == len(names)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_no_column_is_left_out_at_any_width(width: int) -> None:
    cells = [(cell(f"debian-{n}", arch), [result(rule("munmap-blocked"), "fail", "r", "over-blocked")])
             for n in ("6.12", "6.18", "7.3") for arch in ("x86_64", "arm64")]  # fmt: skip
    text = printed(run(FOLDER, cells), width)
    _, _, grid_text = text.split("✗ fail the")[0].partition("look:")
    _, _, grid_text = grid_text.partition("\n\n")
    assert grid_text.count("6.12") == grid_text.count("6.18") == grid_text.count("7.3") == 2
    assert grid_text.count("✗") == 6


def test_columns_that_do_not_fit_are_cut_by_architecture_with_short_words() -> None:
    text = printed(default_matrix(FOLDER), 70)
    heads = [line.split() for line in text.splitlines() if line.startswith("rule ")]
    assert heads == [["rule", "x86_64", "x86_64"], ["rule", "arm64", "arm64", "arm64"]]
    assert "atomic = not-atomic" in text


def test_ascii_terminals_get_ascii_and_distinct_glyphs() -> None:
    text = printed(default_matrix(FOLDER), encoding="ascii")
    assert text.isascii()
    assert "X bypass" in text
    for ink in (Ink(rich=True), Ink(rich=False)):
        assert len({ink.glyph(status) for status in STATUSES}) == len(STATUSES) == len(MARKS)


def test_what_a_guest_wrote_cannot_steer_the_terminal() -> None:
    hostile = "\x1b[2J\x1b]0;owned\x07 [bold]markup[/] \u202e\r\nok: pass\ud800"
    failing = result(rule("munmap-blocked"), "fail", hostile, "bypass", observed=hostile)
    text = printed(one_cell([failing], reason=hostile, state="lost", note=hostile))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\r" not in text
    assert "[bold]markup[/]" in text
    assert r"\x1b[2J" in text


def test_a_lost_cell_is_told_with_its_reason_and_never_as_a_column() -> None:
    rules = [rule("munmap-blocked"), rule("mprotect-refused", "mprotect")]
    lost = lost_cell("debian-7.3", rules, "the guest never spoke: Kernel panic - not syncing: VFS")
    text = printed(run(FOLDER, [lost, (cell("debian-6.12"), [result(r) for r in rules])]))
    assert "? debian-7.3 (x86_64): all 2 rules miss: the guest never spoke: Kernel panic" in text
    assert text.count("the guest never spoke") == 1
    assert "2 cells, 2 rules: 0 fail, 0 error, 2 miss, 2 pass" in text


def test_a_cell_that_broke_off_keeps_its_column_and_says_how_much_is_missing() -> None:
    rules = [rule(f"munmap-{i}") for i in range(6)]
    why = "the guest went away"
    results = [
        result(rules[0]),
        result(rules[1], "error", f"began: {why}"),
        *(result(r, "miss", why) for r in rules[2:]),
    ]
    text = printed(one_cell(results, state="lost", reason=why))
    assert "? miss" in text
    assert "debian-7.3 x86_64 lost: the guest went away\n      4 of 6 rules miss\n" in text


@pytest.mark.parametrize(("state", "rows"), [("interrupted", 1), ("lost", 1), ("finished", 3)])
def test_rules_that_never_ran_have_a_row_each_only_where_the_cell_does_not_say_why(state: CellState, rows: int) -> None:
    """103 rows said "? miss" of a run that was interrupted in its third second."""
    passed = [result(rule(f"munmap-{n}")) for n in range(3)]
    missing = [result(rule(f"munmap-late-{n}"), "miss", "") for n in range(3)]
    text = printed(one_cell([*passed, *missing], state=state))
    assert sum(line.endswith("? miss") for line in map(str.rstrip, text.splitlines())) == rows


def test_an_interrupted_run_says_so_in_its_last_line() -> None:
    done = run(FOLDER, [lost_cell("debian-7.3", [rule("a")], "interrupted")], state="interrupted")
    assert "; interrupted" in printed(done)


@pytest.mark.parametrize("state", [state for state in get_args(CellState) if state != "finished"])
def test_the_state_of_a_cell_is_one_word_at_the_head_of_its_column(state: CellState) -> None:
    results = [result(rule("a")), result(rule("b")), result(rule("c"), "miss", "interrupted")]
    cells = [(cell(f"debian-6.{n}", state=state, reason=state), results) for n in range(12, 18)]
    text = printed(run(FOLDER, cells), width=60)
    heads = [line for line in text.splitlines() if line.split().count(state) > 1]
    assert heads, text


def test_a_console_report_is_quoted_even_when_nothing_failed() -> None:
    crash = CrashRecord(kind="warning", title="WARNING in vma_merge", lines=("w1", "w2"), during=None, fatal=False)
    text = printed(one_cell([result(rule("a"))], crashes=[crash]))
    assert "debian-7.3 x86_64: WARNING in vma_merge" in text
    assert "      w2" in text


def test_the_same_crash_on_several_cells_is_told_once() -> None:
    def oops(offset: str, address: str, also: str = "do_mseal") -> CrashRecord:
        lines = (f"BUG: unable to handle page fault for address: {address}", f"RIP: 0010:vma_merge+{offset}/0x20",
                 "Call Trace:", f" ? guess+{offset}/0x9", f" {also}.isra.0+{offset}/0x40")  # fmt: skip
        return CrashRecord(kind="oops", title=lines[0], lines=lines, during="mseal/anon-rw/exact", fatal=True)

    cells = [
        (cell("debian-6.12", crashes=[oops("0x1", "ff00")]), [result(rule("a"))]),
        (cell("debian-6.18", crashes=[oops("0x7", "ee00"), oops("0x7", "ee00", "do_munmap")]), [result(rule("a"))]),
    ]
    text = printed(run(FOLDER, cells))
    assert text.count("BUG: unable to handle page fault for address: ff00 during") == 1
    assert "the same on debian-6.18 x86_64 during mseal/anon-rw/exact" in text
    assert text.count("the same on") == 1


def test_flatten_tells_what_else_there_was() -> None:
    rules = [rule(f"munmap-{i}") for i in range(4)]
    results = [result(rules[0]), *(result(r, "skip", "no mseal (ENOSYS)") for r in rules[1:])]
    flat = flatten(cell("debian-6.1"), results)
    assert flat is not None
    assert (flat.rules, flat.total, flat.others) == (3, 4, (("pass", "", ("munmap-0",)),))
    assert "3 of 4 rules skip: no mseal (ENOSYS)" in printed(one_cell(results))


def test_a_cell_with_a_failure_is_never_flattened() -> None:
    rules = [rule(f"munmap-{i}") for i in range(9)]
    results = [result(rules[0], "fail", "r", "crash"), *(result(r, "miss", "lost") for r in rules[1:])]
    assert flatten(cell("debian-6.1"), results) is None
    assert flatten(cell("debian-6.1"), [result(r) for r in rules]) is None


def test_findings_put_cells_of_one_cause_together_and_keep_causes_apart() -> None:
    broken = rule("munmap-blocked")
    same = [(cell(f"k{i}"), [result(broken, "fail", "unit 1 was unmapped", "bypass")]) for i in range(2)]
    other = (cell("k2"), [result(broken, "fail", "unit 2 is no longer sealed", "seal-lost")])
    found = findings(run(FOLDER, [other, *same]))
    assert [(f.first.kind, f.cells) for f in found] == [
        ("bypass", ("k0.x86_64", "k1.x86_64")),
        ("seal-lost", ("k2.x86_64",)),
    ]


def test_many_findings_are_cut_with_a_pointer_and_shown_whole_on_request() -> None:
    results = [result(rule(f"munmap-{i}"), "known", f"because {i}", "bypass") for i in range(30)]
    assert "… and 10 more: sealmatrix show 20261123-214500-3fa2 --all" in printed(one_cell(results))
    assert "because 29" in printed(one_cell(results), every=True)


def test_what_failed_is_told_by_cause_with_the_commands_that_follow() -> None:
    blocked = load_catalogue()["munmap-blocked"]
    probe = "munmap/anon-rw/exact"
    failing = Verdict("munmap-blocked", probe, "fail", "succeeded over sealed memory", "bypass")
    text = printed(one_cell([RuleResult(blocked, (failing,))]))
    first, last = text.splitlines()[3], text.splitlines()[-3]
    assert first.strip() == "✗ munmap gets at sealed memory: only in munmap/anon-rw/exact (1 rule, 1 probe)"
    assert last == first.strip()
    assert f"repeat: sealmatrix run -k debian-7.3 -a x86_64 -r {probe}" in text
    assert f"as C:   sealmatrix rules show munmap-blocked --probe {probe} --reproducer > repro.c" in text
    assert "run it: sealmatrix exec debian-7.3 -a x86_64 --push repro.c -- repro" in text
    assert "debug:  sealmatrix shell debian-7.3 -a x86_64 --gdb  # in gdb: hbreak __x64_sys_munmap" in text
    assert (
        f"bisect: sealmatrix bisect --rule munmap-blocked --probe {probe} -a x86_64 --good ? --bad debian-7.3" in text
    )


def test_the_bisection_begins_at_the_newest_older_kernel_that_kept_the_rule() -> None:
    blocked = load_catalogue()["munmap-blocked"]

    def said(status: str) -> list[RuleResult]:
        kind: Kind | None = "bypass" if status == "fail" else None
        return [RuleResult(blocked, (Verdict(blocked.id, "munmap/anon-rw/exact", cast(Status, status), "why", kind),))]

    cells = [
        (cell("debian-6.12"), said("pass")),
        (cell("debian-6.18"), said("pass")),
        (cell("debian-7.3"), said("fail")),
    ]
    # Where several cells fail the command is for the first.
    assert "--good debian-6.18 --bad debian-7.3" in printed(run(FOLDER, cells))
    assert "--good ? --bad debian-6.12" in printed(run(FOLDER, [(cell("debian-6.12"), said("fail")), *cells[1:2]]))


@pytest.mark.parametrize(
    ("version", "ends"),
    [("6.12.117", "--tree ? --good v6.12.117 --bad ?"), ("6.12.118", "--good debian-6.12 --bad /boot/mine")],
)
def test_the_bisection_of_a_kernel_that_was_given(version: str, ends: str) -> None:
    """Builds lie only between two versions; of two kernels of one version it is the tree that has what lies between."""
    blocked = load_catalogue()["munmap-blocked"]
    failing = Verdict(blocked.id, "munmap/anon-rw/exact", "fail", "why", "bypass")
    kept = Verdict(blocked.id, "munmap/anon-rw/exact", "pass", "")
    mine = cell("mine")
    assert mine.kernel is not None
    update = {"release": f"{version}-own", "version": version, "origin_kind": "file"}
    mine = mine.model_copy(update={"kernel": mine.kernel.model_copy(update=update)})
    done = run(
        FOLDER, [(cell("debian-6.12"), [RuleResult(blocked, (kept,))]), (mine, [RuleResult(blocked, (failing,))])]
    )
    record = done.record.model_copy(update={"matrix": {"given": json.dumps({"mine": ["/boot/mine"]})}})
    text = printed(replace(done, record=record))
    assert f"bisect: sealmatrix bisect --rule munmap-blocked --probe munmap/anon-rw/exact -a x86_64 {ends}" in text


def test_fifty_cells_that_agree_are_one_column_and_go_on_a_screen() -> None:
    text = printed(fifty_cells(FOLDER), 80)
    assert "✓ pass on each of 50 cells: 20 rules of munmap, mprotect, madvise, mremap" in text
    assert "49 cells like debian-6.12.43 x86_64" in text
    assert len(text.splitlines()) < 25


def test_a_cell_that_was_asked_nothing_is_none_of_those_on_which_all_rules_pass() -> None:
    whole = fifty_cells(FOLDER)
    rules = [one.rule for one in next(iter(whole.results.values()))]
    old = cell("debian-6.1")
    record = whole.record.model_copy(update={"cells": (*whole.record.cells, old)})
    skipped = tuple(result(one, "skip", "no mseal") for one in rules)
    text = printed(replace(whole, record=record, results={**whole.results, old.id: skipped}), 80)
    assert "51 cells, 20 rules: 0 fail" in text
    assert "✓ pass on each of 50 cells: 20 rules of munmap" in text
    assert "debian-6.1 (x86_64): all 20 rules skip: no mseal" in text


def test_the_cell_that_differs_has_its_column_and_every_rule_that_differs_its_row() -> None:
    found = folded(grid(fifty_cells(FOLDER, "munmap-2", "madvise-0")))
    assert [one.id for one in found.grid.cells] == ["debian-6.12.43.x86_64", "debian-6.12.67.arm64"]
    assert sorted(row.rules[0].id for row in found.grid.rows) == ["madvise-0", "munmap-2"]
    (group,) = found.agreeing
    assert len(group.others) == 48
    assert sum(one.rules for one in found.everywhere) == 18
    text = printed(fifty_cells(FOLDER, "munmap-2", "madvise-0"), 80)
    assert "✗ bypass" in text
    assert "debian-6.12.67" in text.replace("\n", "")


def test_cells_that_are_not_clean_agree_with_cells_of_their_state_only_and_it_is_named() -> None:
    """Where no rule is news there are no columns, whose heads would name it."""
    states: dict[int, CellState] = {3: "crashed", 5: "lost", 7: "crashed", 9: "lost"}
    cells = [cell(f"debian-6.12.{n}").model_copy(update={"state": states.get(n, "finished")}) for n in range(20)]
    text = printed(run(FOLDER, [(one, [result(rule("munmap-0"))]) for one in cells]), 120)
    assert "15 cells like debian-6.12.0 x86_64: " in text
    assert "1 cell like debian-6.12.3 x86_64, crashed: debian-6.12.7 (x86_64)" in text
    assert "1 cell like debian-6.12.5 x86_64, lost: debian-6.12.9 (x86_64)" in text


def test_skipped_names_the_rules() -> None:
    rules = [rule(f"munmap-{n}") for n in range(9)]
    results = [result(r, "skip", "needs two CPUs") if n < 2 else result(r) for n, r in enumerate(rules)]
    text = printed(run(FOLDER, [(cell("debian-6.12"), results), (cell("debian-7.3"), [*map(result, rules)])]), 200)
    assert "munmap-0, munmap-1 on debian-6.12 (x86_64): needs two CPUs" in text


def test_skipped_rules_that_are_too_many_to_name_are_told_where_all_stand() -> None:
    rules = [rule(f"munmap-{n}") for n in range(30)]
    results = [result(r, "skip", "needs two CPUs") if n < 9 else result(r) for n, r in enumerate(rules)]
    done = run(FOLDER, [(cell("debian-6.12"), results), (cell("debian-7.3"), [*map(result, rules)])])
    text = printed(done, 200)
    assert "munmap-5 and 3 more on debian-6.12 (x86_64): needs two CPUs" in text
    assert f"all of them: {again_command(done.folder, 'show', '--all')}" in text
    whole = printed(done, 400, every=True)
    assert "munmap-8 on debian-6.12 (x86_64): needs two CPUs" in whole
    assert "all of them" not in whole


def test_what_a_night_ended_with_stands_above_what_failed() -> None:
    raw = io.StringIO()
    print_run(Console(file=raw, width=100), default_matrix(FOLDER), news=("nightly r: 7 cells", "new: R7 munmap"))
    text = raw.getvalue()
    assert text.index("Since last night") < text.index("new: R7 munmap") < text.index("What failed, by cause")
    assert "Since last night" not in printed(default_matrix(FOLDER))


def night_of_many_kinds(folder: Path) -> RunDone:
    """Sixty cells: three with a known bug that two rules see, some that skip, some observed to behave otherwise."""
    bug = "known: the seal goes missing [CVE-1"
    pairs = []
    for number in range(60):
        kept = [result(rule(f"munmap-{n}")) for n in range(20)]
        ways = result(rule("madvise-zero", "madvise", "open", "M6"), "observed")
        seen = replace(ways, verdicts=tuple(replace(v, observed=str(number % 2)) for v in ways.verdicts))
        cpus = rule("race-unmap", "races")
        raced = result(cpus) if number > 50 else result(cpus, "skip", "needs two CPUs")
        known = [result(rule("after-ksm", "sequences")), result(rule("explore-refused", "exploration"))]
        if number < 3:
            known = [
                result(known[0].rule, "known", f"answered 0; {bug}]", "bypass"),
                result(known[1].rule, "known", f"answers 0; {bug}; seen on 6.12.1]", "bypass"),
            ]
        pairs.append((cell(f"debian-6.12.{number}"), [*kept, seen, raced, *known]))
    return run(folder, pairs)


def test_a_night_in_which_all_is_well_goes_on_two_screens_and_every_rule_is_counted() -> None:
    text = printed(night_of_many_kinds(FOLDER), 80)
    assert len(text.splitlines()) < 60
    assert "✓ pass on each of 60 cells: 20 rules of munmap" in text
    assert "○ observed on each of 60 cells: 1 rule of madvise" in text
    assert "✓ pass or skip, by the cell: 1 rule\n" in text
    assert "race-unmap on 51 cells: needs two CPUs" in text
    assert "each rule on each cell: sealmatrix show" in text
    rows = [line for line in text.splitlines() if "≈ bypass" in line]
    assert [row.split()[0] for row in rows] == ["after-ksm", "explore-refused"]


def test_what_is_known_of_many_cells_is_told_once_for_each_cause() -> None:
    text = printed(night_of_many_kinds(FOLDER), 200)
    assert text.count("≈ known: the seal goes missing [CVE-1]") == 1
    assert "on debian-6.12.0, debian-6.12.1, debian-6.12.2 (x86_64), by after-ksm, explore-refused" in text


def test_all_names_what_a_long_night_only_counts() -> None:
    text = printed(night_of_many_kinds(FOLDER), 1000, every=True)
    assert "race-unmap" in text
    assert "○ madvise-zero: " in text
    assert "answered 0; known: the seal goes missing [CVE-1]" in text


def test_a_night_says_how_many_cells_it_took_from_earlier_runs() -> None:
    whole = fifty_cells(FOLDER)
    taken = tuple(one.model_copy(update={"taken_from": f"r{n % 3}"}) for n, one in enumerate(whole.record.cells))
    text = printed(replace(whole, record=whole.record.model_copy(update={"cells": taken})), 80)
    assert "Start\n  50 cells taken from an earlier run\n" in text


@pytest.mark.parametrize(
    ("folder", "named"), [("results/r1", "r1"), ("/srv/nights/r1", "/srv/nights/r1"), ("my runs/r1", "'my runs/r1'")]
)
def test_a_command_that_shows_the_run_again_finds_it_and_is_copied_whole(folder: str, named: str) -> None:
    text = printed(night_of_many_kinds(Path(folder)), 60)
    assert f"each rule on each cell: sealmatrix show {named} --all\n" in text
    assert f"which on which cell: sealmatrix show {named} --all\n" in text


def test_the_causes_that_are_not_told_are_in_a_file_that_is_named() -> None:
    done = fifty_cells(FOLDER, "munmap-2")
    file = io.StringIO()
    print_causes(Page(Console(file=file, width=80)), done, [*told_causes(done)] * 22)
    assert "… and 2 more causes: results/20261123-214500-3fa2/report.html\n" in file.getvalue()
