from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from junitparser import Error, Failure, JUnitXml, Skipped
from lxml import etree
from rich.console import Console

from harness.compare.comparison import Comparison, compare_machines, compare_picks, compare_versions
from harness.compare.sides import Picked, apart, pick, sides_of
from harness.errors import UsageError
from harness.model.run_record import CellRecord, write_run
from harness.model.verdict import STATUSES, RuleResult, Status
from harness.reports.compare import print_comparison
from harness.reports.compare_json import comparison_json
from harness.reports.junit_compare import comparison_xml
from harness.runs.causes import told_causes
from harness.runs.model import RunDone
from tests.builders import cell, default_matrix, result, rule, run

ROOT = Path(__file__).parents[2]
RULES = [rule("munmap-across"), rule("mprotect-mixed", "mprotect"), rule("madvise-remove", "madvise", "open")]
SCHEMA = json.loads((ROOT / "docs/reference/compare.schema.json").read_text())


def made(*cells: tuple[CellRecord, Sequence[RuleResult]], run_id: str = "20261123-214500-3fa2") -> RunDone:
    done = run(Path("r"), cells)
    return replace(done, record=done.record.model_copy(update={"id": run_id}))


def whole(done: RunDone) -> Picked:
    return Picked(done.record.id, done, sides_of(done))


def results(first: Status = "pass", reason: str = "") -> list[RuleResult]:
    kind = "bypass" if first == "fail" else None
    seen = "control 0, sealed 0; unit 2 was unmapped" if first == "fail" else "control 0, sealed EPERM"
    return [result(RULES[0], first, reason, kind, observed=seen), result(RULES[1]), result(RULES[2], "observed")]


def two_kernels(after: Status = "fail", reason: str = "") -> Comparison:
    done = made((cell("debian-6.12"), results()), (cell("debian-7.3"), results(after, reason)))
    old, new = sides_of(done)
    return compare_picks(Picked("a", done, (old,)), Picked("b", done, (new,)))


def printed(comparison: Comparison, every: bool = False) -> str:
    out = io.StringIO()
    print_comparison(Console(file=out, width=200), comparison, every=every)
    return out.getvalue()


def as_json(comparison: Comparison) -> Any:
    data = json.loads(json.dumps(comparison_json(comparison)))
    jsonschema.validate(data, SCHEMA)
    return data


def test_both_observations_stand_side_by_side() -> None:
    comparison = two_kernels()
    text = printed(comparison)
    assert "passes on 6.12.117, fails on 7.3.117 [x86_64]" in text
    assert "6.12.117  pass: control 0, sealed EPERM" in text
    assert "7.3.117   fail bypass: control 0, sealed 0; unit 2 was unmapped" in text
    assert text.splitlines()[-1] == "3 rules, 1 comparison: 1 introduced, 0 lost coverage, 2 unchanged"
    assert comparison.exit_code == 1
    assert as_json(comparison)["pairs"][0]["rules"][0]["says"] == "passes on 6.12.117, fails on 7.3.117"


def test_rules_that_one_missing_thing_takes_away_stand_under_its_reason() -> None:
    why = "not offered here: io_uring: ENOSYS"
    after = [result(RULES[0], "skip", why), result(RULES[1], "skip", why), result(RULES[2], "observed")]
    done = made((cell("debian-6.12"), results()), (cell("debian-7.3"), after))
    old, new = sides_of(done)
    comparison = compare_picks(Picked("a", done, (old,)), Picked("b", done, (new,)))
    lost = printed(comparison).partition("Lost coverage\n")[2].splitlines()[:2]
    assert lost[0] == f"  - {why} [x86_64]"
    assert lost[1] == "      2 rules: munmap-across (3 probes), mprotect-mixed (3 probes)"
    assert comparison.exit_code == 1
    each = printed(comparison, every=True)
    assert "passes on 6.12.117, does not apply on 7.3.117" in each and RULES[0].statement in each


def test_what_gave_no_answer_is_not_folded_away_with_a_skip() -> None:
    skipped, oops = result(RULES[0], "skip", "not offered here"), result(RULES[0], "error", "the kernel oopsed")
    mixed = replace(skipped, verdicts=(*skipped.verdicts[:1], *oops.verdicts[1:]))
    done = made((cell("debian-6.12"), results()), (cell("debian-7.3"), [mixed, *results()[1:]]))
    old, new = sides_of(done)
    text = printed(compare_picks(Picked("a", done, (old,)), Picked("b", done, (new,))))
    assert RULES[0].statement in text and "1 rule:" not in text


def test_two_runs_that_behave_alike_are_unchanged(tmp_path: Path) -> None:
    one = default_matrix(tmp_path)
    other = replace(one, record=one.record.model_copy(update={"id": "20261124-214500-3fa2"}))
    comparison = compare_picks(whole(one), whole(other))
    assert comparison.exit_code == 0
    assert {change for change, n in comparison.counts.items() if n} == {"unchanged"}
    assert as_json(comparison)["counts"]["introduced"] == 0


def test_many_cells_without_a_change_are_one_line() -> None:
    names = ("debian-6.12", "debian-6.16", "debian-7.1", "debian-7.2")
    before = made(*((cell(name), results()) for name in (*names, "debian-7.3")), run_id="old")
    after = made(*((cell(name), results()) for name in names), (cell("debian-7.3"), results("fail")), run_id="new")
    lines = printed(compare_picks(whole(before), whole(after))).splitlines()
    assert [line for line in lines if "nothing changed" in line] == [
        f"nothing changed: {', '.join(f'{name} ({name[7:]}.117) x86_64' for name in names)}"
    ]
    (head,) = [line for line in lines if "(run old → new)" in line]
    assert head.startswith("debian-7.3") and head.endswith("1 rule introduced")


def test_a_cell_that_is_gone_is_lost_coverage() -> None:
    one = made((cell("debian-6.12"), results()), (cell("debian-7.3"), results()))
    other = made((cell("debian-6.12"), results()), run_id="later")
    comparison = compare_picks(whole(one), whole(other))
    assert comparison.exit_code == 1
    assert "debian-7.3 (7.3.117) x86_64" in printed(comparison)
    suites = list(JUnitXml.fromstring(comparison_xml(comparison).encode()))
    assert [s.failures for s in suites] == [0, 3]
    assert as_json(comparison)["only_before"][0]["cell"] == "debian-7.3.x86_64"


def test_an_interrupted_run_is_compared_and_said_to_be_interrupted() -> None:
    one = made((cell("debian-6.12"), results()))
    cut = run(
        Path("r"), [(cell("debian-6.12", state="interrupted", reason="interrupted"), results("miss"))], "interrupted"
    )
    comparison = compare_picks(whole(one), whole(cut))
    assert "is interrupted: missing results count as no answer" in printed(comparison)
    assert comparison.counts["lost coverage"] == 1


def test_runs_narrowed_to_some_probes_are_compared_on_what_both_planned() -> None:
    one, two = made((cell("debian-6.12"), results())), made((cell("debian-6.12"), results()[:1]), run_id="later")
    two = replace(two, record=two.record.model_copy(update={"options": {"probes": ["munmap*"]}}))
    comparison = compare_picks(whole(one), whole(two))
    assert comparison.exit_code == 0
    assert comparison.remarks[0].endswith("; one run was limited to munmap*")
    other = replace(two, record=two.record.model_copy(update={"id": "latest"}))
    assert compare_picks(whole(two), whole(other)).remarks[0].endswith("; both runs were limited to munmap*")
    assert compare_picks(whole(two), whole(two)).remarks[0].endswith("; the run was limited to munmap*")


def test_the_same_kernel_on_another_machine() -> None:
    small = (cell("debian-6.12", "arm64"), results())
    x86 = (cell("debian-6.12"), [result(RULES[0], "skip", "not offered here"), *results()[1:]])
    large = cell("debian-6.12-16k", "arm64")
    assert large.machine and large.kernel
    large = large.model_copy(
        update={
            "machine": large.machine.model_copy(update={"page_size": 16384}),
            "kernel": large.kernel.model_copy(update={"version": "6.12.117", "flavour": "16k"}),
        }
    )
    comparison = compare_machines(whole(made(small, x86, (large, results("fail")))))
    assert [apart(p.before, p.after) for p in comparison.pairs] == [
        ("x86_64", "arm64"),
        ("4 KiB pages", "16 KiB pages"),
    ]
    assert [p.counts["gained"] for p in comparison.pairs] == [1, 0]
    assert "passes on 4 KiB pages, fails on 16 KiB pages" in printed(comparison)
    assert as_json(comparison)["what"] == "across"


def test_a_series_names_first_and_last_kernel() -> None:
    kernels = ["debian-6.12", "debian-6.16", "debian-6.17", "debian-7.3"]
    statuses: list[Status] = ["pass", "pass", "fail", "fail"]
    done = made(*((cell(k), results(s)) for k, s in zip(kernels, statuses, strict=True)))
    comparison = compare_versions(whole(done))
    text = printed(comparison)
    assert "6.12.117 … 6.16.117 (2 kernels): pass" in text
    assert "6.17.117 … 7.3.117 (2 kernels): introduced, fail" in text
    stretches = as_json(comparison)["series"][0]["rules"]["munmap-across"]
    assert [(s["first_version"], s["last_version"]) for s in stretches] == [
        ("6.12.117", "6.16.117"),
        ("6.17.117", "7.3.117"),
    ]
    assert comparison.exit_code == 1


def test_a_kernel_that_could_not_be_had_has_no_place_in_a_series() -> None:
    gone = CellRecord(
        id="debian-7.0.x86_64", profile="standard", arch="x86_64", state="lost", reason="not in the archive"
    )
    done = made((cell("debian-6.12"), results()), (cell("debian-7.3"), results()), (gone, results("miss")))
    comparison = compare_versions(whole(done))
    assert comparison.exit_code == 3
    assert "debian-7.0 x86_64" in printed(comparison)


def test_repeats_are_one_side_and_disagreement_is_marked() -> None:
    first, second = cell("debian-7.3"), cell("debian-7.3").model_copy(update={"id": "debian-7.3.x86_64~2"})
    done = made((cell("debian-6.12"), results()), (first, results("fail")), (second, results()))
    sides = sides_of(done)
    assert [side.cell for side in sides] == ["debian-6.12.x86_64", "debian-7.3.x86_64"]
    comparison = compare_picks(Picked("a", done, sides[:1]), Picked("b", done, sides[1:]))
    assert comparison.exit_code == 1
    text = printed(comparison)
    assert "Unstable" in text
    assert "fails in 1 of 2 repeats on 7.3.117" in text
    assert "repeat 2: pass: control 0, sealed EPERM" in text
    (suite,) = JUnitXml.fromstring(comparison_xml(comparison).encode())
    (failure,) = next(iter(suite)).result
    assert (type(failure), failure.type) == (Failure, "unstable")
    assert failure.message.startswith("fails in 1 of 2 repeats")


@pytest.mark.parametrize(
    ("after", "kind", "said"),
    [
        ("fail", Failure, "passes on 6.12.117, fails on 7.3.117"),
        ("miss", Failure, "passes on 6.12.117, gave no answer on 7.3.117"),
        ("skip", Failure, "passes on 6.12.117, does not apply on 7.3.117"),
        ("known", Skipped, "passes on 6.12.117, differs as known on 7.3.117"),
    ],
)
def test_junit_says_what_it_was_and_what_it_is(after: Status, kind: type, said: str) -> None:
    (suite,) = JUnitXml.fromstring(comparison_xml(two_kernels(after, "because")).encode())
    first = next(iter(suite))
    assert (first.classname, first.name) == ("sealmatrix-compare.debian-7_3.x86_64", "munmap-across")
    assert isinstance(first.result[0], kind)
    assert first.result[0].message.startswith(said)


def test_junit_keeps_an_old_failure_a_failure() -> None:
    done = made((cell("debian-6.12"), results("fail")), (cell("debian-7.3"), results("fail")))
    old, new = sides_of(done)
    xml = comparison_xml(compare_picks(Picked("a", done, (old,)), Picked("b", done, (new,))))
    (suite,) = JUnitXml.fromstring(xml.encode())
    assert (suite.tests, suite.failures) == (3, 1)
    lost = made((cell("debian-6.12"), results("miss")), (cell("debian-7.3"), results("miss")))
    old, new = sides_of(lost)
    xml = comparison_xml(compare_picks(Picked("a", lost, (old,)), Picked("b", lost, (new,))))
    assert isinstance(next(iter(next(iter(JUnitXml.fromstring(xml.encode()))))).result[0], Error)


@pytest.mark.parametrize("dialect", ["gitlab", "jenkins"])
@pytest.mark.parametrize("after", STATUSES)
def test_junit_is_what_both_servers_read(dialect: str, after: Status) -> None:
    schema = etree.XMLSchema(etree.parse(ROOT / "tests" / "data" / "junit" / f"{dialect}.xsd"))
    schema.assertValid(etree.fromstring(comparison_xml(two_kernels(after, "because")).encode()))


def test_machines_are_told_apart_without_a_before_and_an_after() -> None:
    x86 = (cell("debian-6.12"), results())
    arm = (cell("debian-6.12", "arm64"), [result(RULES[0], "skip", "not offered here"), *results("miss")[1:]])
    comparison = compare_machines(whole(made(x86, arm)))
    text = printed(comparison)
    assert "Answered only on the first\n  passes on x86_64, does not apply on arm64: munmap-across" in text
    assert (comparison.exit_code, "ost coverage" in text) == (0, False)


def test_hostile_text_of_a_guest_reaches_no_terminal_and_no_markup() -> None:
    comparison = two_kernels("skip", "\x1b[2J</failure>\x00 & <b>")
    assert "\x1b" not in printed(comparison)
    assert JUnitXml.fromstring(comparison_xml(comparison).encode())


def test_words_for_cells(tmp_path: Path) -> None:
    done = made((cell("debian-6.12"), results()), (cell("debian-6.12", "arm64"), results()), run_id="r1")
    (tmp_path / "r1").mkdir()
    write_run(tmp_path / "r1", done.record)

    def cells(word: str) -> list[str]:
        return [side.cell for side in pick(tmp_path, word, lambda _: done).sides]

    both = ["debian-6.12.x86_64", "debian-6.12.arm64"]
    assert cells("r1") == cells(str(tmp_path / "r1")) == cells("debian-6.12") == both
    assert cells("r1:debian-6.12.arm64") == cells("debian-6.12:arm64") == cells("debian-6.12.arm64") == both[1:]
    assert cells("r1:debian-6.12:arm64") == both[1:]
    for wrong in ("debian-6.13", "r1:nothing", "debian-6.12:riscv64"):
        with pytest.raises(UsageError, match="no cell or kernel of run r1"):
            pick(tmp_path, wrong, lambda _: done)
    with pytest.raises(UsageError, match="has no runs"):
        pick(tmp_path / "empty", "x", lambda _: done)


def test_sides_that_cannot_be_put_together_are_refused() -> None:
    one = made((cell("a"), results()), (cell("b"), results()))
    two = made((cell("c"), results()), run_id="later")
    with pytest.raises(UsageError, match=r"matches several cells: a\.x86_64, b\.x86_64"):
        compare_picks(whole(one), whole(two))
    arm = made((cell("d", "arm64"), results()), (cell("e", "arm64"), results()))
    with pytest.raises(UsageError, match="matches several cells"):
        compare_picks(whole(two), whole(arm))
    with pytest.raises(UsageError, match="no two kernels"):
        compare_versions(whole(two))
    with pytest.raises(UsageError, match="no kernel version on two"):
        compare_machines(whole(two))


def test_windows_divided_otherwise_are_observed_and_change_nothing() -> None:
    def divided(told: str) -> list[RuleResult]:
        return [replace(r, verdicts=tuple(replace(v, divided=told) for v in r.verdicts)) for r in results()]

    done = made((cell("debian-6.12"), divided("|..>|.. |..>|..")), (cell("debian-7.3"), divided("|..>|.. |..>|.|")))
    old, new = sides_of(done)
    comparison = compare_picks(Picked("a", done, (old,)), Picked("b", done, (new,)))
    assert comparison.exit_code == 0
    assert not any(count for change, count in comparison.counts.items() if change != "unchanged")
    assert "Observed differently: how windows are divided" in printed(comparison)
    assert "control, sealed |..>|.. |..>|.. → |..>|.. |..>|.|" in printed(comparison)
    (pair,) = as_json(comparison)["pairs"]
    assert pair["divided"]["munmap/anon-0/into"] == ["|..>|.. |..>|..", "|..>|.. |..>|.|"]
    silent = compare_picks(Picked("a", done, (replace(old, results={}),)), Picked("b", done, (new,)))
    assert "Observed differently" not in printed(silent), "what a side never told is no difference"
    assert "divided" not in as_json(two_kernels())["pairs"][0]


def gained(old: RuleResult, new: RuleResult) -> Comparison:
    done = made((cell("debian-6.12"), [old]), (cell("debian-7.3"), [new]))
    before, after = sides_of(done)
    return compare_picks(Picked("a", done, (before,)), Picked("b", done, (after,)))


def test_a_rule_of_which_single_probes_were_gained_did_apply_before() -> None:
    some = gained(result(RULES[0], "skip", "no", others="pass"), result(RULES[0]))
    words = "does not apply on 6.12.117, passes on 7.3.117"
    assert f"  {words}: munmap-across (1 of 3 probes)\n" in printed(some)
    assert f"munmap-across (U1, required): {words}, in 1 of 3 probes [x86_64]" in printed(some, every=True)
    (told,) = as_json(some)["pairs"][0]["rules"]
    assert told["says"] == f"{words}, in 1 of 3 probes"
    case = next(case for suite in JUnitXml.fromstring(comparison_xml(some).encode()) for case in suite)
    assert f"{words}, in 1 of 3 probes; 1 probe gained" in case.system_out
    whole_rule = gained(result(RULES[0], "skip", "no"), result(RULES[0]))
    assert f"  {words}: munmap-across\n" in printed(whole_rule)
    assert as_json(whole_rule)["pairs"][0]["rules"][0]["says"] == words


def test_probes_that_were_gained_otherwise_are_told_apart() -> None:
    old = result(RULES[0], "miss", "lost", others="skip")
    text = printed(gained(old, result(RULES[0])))
    assert "  gave no answer on 6.12.117, passes on 7.3.117: munmap-across (1 of 3 probes)\n" in text
    assert "  does not apply on 6.12.117, passes on 7.3.117: munmap-across (2 of 3 probes)\n" in text


def test_what_a_crash_took_the_answer_of_is_told_beside_what_it_failed() -> None:
    whole = result(rule("munmap-a", "munmap"))
    crashed, *others = whole.verdicts
    crash = replace(crashed, status="fail", kind="crash", reason="the kernel reported while the probe ran: Oops")
    lost = [replace(verdict, status="miss", reason="the guest is gone") for verdict in others]
    after = replace(whole, verdicts=(crash, *lost))
    done = made((cell("debian-6.12"), [whole]), (cell("debian-7.3"), [after]))
    first, second = sides_of(done)
    comparison = compare_picks(Picked("a", done, (first,)), Picked("b", done, (second,)))
    out = io.StringIO()
    print_comparison(Console(file=out, width=200), comparison, causes=told_causes(done, lambda rule, probe: ""))
    assert "by the cause above" in out.getvalue()
    assert f"1 rule: munmap-a (1 of 3 probes, {len(lost)} lost coverage)" in out.getvalue()


def test_what_a_cause_above_has_introduced_is_named_by_it() -> None:
    """One broken check shows in three rules: the cause has the evidence, the comparison only the rules."""
    rules = [rule(name, "munmap") for name in ("munmap-a", "munmap-b", "munmap-c")]
    new = [result(one, "fail", "succeeded", "bypass", observed="control 0, sealed 0") for one in rules]
    old = [result(one) for one in rules]
    done = made((cell("debian-6.12"), old), (cell("debian-7.3"), new))
    before, after = sides_of(done)
    comparison = compare_picks(Picked("a", done, (before,)), Picked("b", done, (after,)))

    def text(*, every: bool = False, causes: int = 20) -> str:
        out = io.StringIO()
        told = told_causes(done, lambda rule, probe: "")[:causes]
        print_comparison(Console(file=out, width=200), comparison, every=every, causes=told)
        return out.getvalue()

    (cause,) = told_causes(done, lambda rule, probe: "")
    folded = text()
    assert f"by the cause above: {cause.cause.headline} [x86_64]" in folded
    assert "3 rules: munmap-a (3 of 3 probes), munmap-b (3 of 3 probes), munmap-c (3 of 3 probes)" in folded
    assert rules[0].statement not in folded and "control 0, sealed 0" not in folded
    assert len(folded.splitlines()) < 10
    # In full where every probe is asked for, and where the cause was not told.
    for whole_text in (text(every=True), text(causes=0)):
        assert "by the cause above" not in whole_text
        assert whole_text.count("control 0, sealed 0") >= 3


def test_of_many_probes_that_a_run_was_limited_to_three_are_named() -> None:
    one, two = made((cell("debian-6.12"), results())), made((cell("debian-6.12"), results()), run_id="later")
    globs = [f"munmap/region-{number}/*" for number in range(20)]
    two = replace(two, record=two.record.model_copy(update={"options": {"probes": globs}}))
    (remark,) = compare_picks(whole(one), whole(two)).remarks
    assert remark.endswith("one run was limited to munmap/region-0/*, munmap/region-1/*, munmap/region-2/* and 17 more")
