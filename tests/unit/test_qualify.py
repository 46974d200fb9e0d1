from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli.qualify_text import configured_otherwise, print_qualification
from harness.compare.sides import Picked, apart, sides_of
from harness.errors import ConfigError, UsageError
from harness.model.verdict import Kind, RuleResult
from harness.qualify.evidence import SUMS, new_folder, seal, verify
from harness.qualify.load import load_policy, parse_policy
from harness.qualify.model import Qualification
from harness.qualify.page import page
from harness.qualify.policy import globs_meet
from harness.qualify.qualification import judge_picks, write_qualification
from harness.qualify.report import Dossier, policy_in_words, report_json
from harness.rules.load import load_catalogue
from tests.builders import cell, result, run
from tests.support.qualified import HEAD, RULES, TODAY, Cells, dossier, results

ROOT = Path(__file__).parents[2]
FAMILIES = "Required probes of every family applied on every architecture"


def waiver(**more: str) -> str:
    keys = {
        "rule": "munmap-across",
        "kernels": '["debian-7.3*"]',
        "reason": "because",
        "owner": "MM",
        "expires": "2027-01-31",
    } | more
    return "  - {" + ", ".join(f"{key}: {value}" for key, value in keys.items()) + "}\n"


def test_costs_that_nobody_measured_do_not_qualify() -> None:
    made = dossier(results(), HEAD + "cost: {by: 3}\n")
    (check,) = [check for check in made.qualification.checks if "instructions" in check.title]
    assert made.qualification.verdict == "not qualified"
    assert check.met == "not met"
    assert "sealmatrix cost debian-7.3 --against debian-6.12" in check.says
    assert "takes 3 % more instructions" in " ".join(policy_in_words(made.qualification.policy))


def judged(after: Sequence[RuleResult], policy: str = HEAD, **more: object) -> Qualification:
    return dossier(after, policy, **more).qualification  # type: ignore[arg-type]


def not_met(found: Qualification) -> list[str]:
    return [check.title for check in found.checks if check.met == "not met"]


def test_what_holds_and_has_not_changed_is_qualified() -> None:
    assert judged(results()).verdict == "qualified"


def test_a_failure_is_not_qualified_and_told_with_its_observation() -> None:
    found = judged(results("fail", "wrong-errno", "sealed EINVAL"))
    assert found.verdict == "not qualified"
    assert not_met(found) == ["Required rules hold", "Nothing has changed since the baseline that the policy refuses"]
    assert "munmap/anon-0/into: fail wrong-errno: sealed EINVAL" in found.checks[1].deviations[0].evidence


def test_a_waiver_excuses_a_failure_and_its_being_new() -> None:
    found = judged(results("fail", "wrong-errno"), HEAD + "waivers:\n" + waiver())
    assert (found.verdict, [use.use for use in found.waivers]) == ("qualified with waivers", ["used"])


@pytest.mark.parametrize("kind", ["bypass", "crash"])
def test_a_bypass_or_crash_is_excused_only_by_name(kind: Kind) -> None:
    assert judged(results("fail", kind), HEAD + "waivers:\n" + waiver()).verdict == "not qualified"
    named = HEAD + "waivers:\n" + waiver(excuses=f"[{kind}]")
    assert judged(results("fail", kind), named).verdict == "qualified with waivers"


@pytest.mark.parametrize(
    "other", [{"kernels": "[7.2*]"}, {"architectures": "[arm64]"}, {"rule": "mprotect-mixed"}, {"excuses": "[changed]"}]
)
def test_a_waiver_speaks_for_nothing_else(other: dict[str, str]) -> None:
    assert judged(results("fail", "wrong-errno"), HEAD + "waivers:\n" + waiver(**other)).verdict == "not qualified"


def test_a_waiver_means_versions_as_well_as_names() -> None:
    policy = HEAD + "waivers:\n" + waiver(kernels="[7.3.*]")
    assert judged(results("fail", "wrong-errno"), policy).verdict == "qualified with waivers"


def test_a_waiver_holds_on_its_last_day_and_an_expired_one_fails() -> None:
    policy = HEAD + "waivers:\n" + waiver(expires="2026-11-23")
    assert judged(results("fail", "wrong-errno"), policy).verdict == "qualified with waivers"
    late = judged(results("fail", "wrong-errno"), policy, today=date(2026, 11, 24))
    assert late.verdict == "not qualified"
    assert "munmap-across (MM) expired on 2026-11-23" in late.checks[-1].says
    assert judged(results(), policy, today=date(2026, 11, 24)).verdict == "not qualified"


def test_a_waiver_whose_rule_holds_again_is_stale() -> None:
    found = judged(results(), HEAD + "waivers:\n" + waiver())
    assert (found.verdict, found.waivers[0].use) == ("qualified", "stale")
    skipped = judged(results("skip"), HEAD + "waivers:\n" + waiver(), before=results("skip"))
    assert skipped.waivers[0].use == "not needed"


def test_silence_is_never_a_pass() -> None:
    found = judged(results("miss"), before=results("miss"))
    assert not_met(found) == ["At least 100 % of the required probes gave an answer on every cell", FAMILIES]
    lenient = HEAD + "coverage: {answered: 50, applied: 50}\n"
    assert judged(results("miss"), lenient, before=results("miss")).verdict == "qualified"
    lost = cell("debian-7.3", state="lost", reason="the guest was lost")
    found = judged(results(), lenient, candidate=lost)
    assert found.verdict == "not qualified"
    assert any("the guest was lost" in check.says for check in found.checks)


def test_a_rule_that_was_not_asked_was_not_kept() -> None:
    found = judged(results()[1:], before=results()[1:])
    assert not_met(found) == ["At least 100 % of the required probes gave an answer on every cell"]
    assert "1 required rules were not asked, the first is munmap-across" in found.checks[2].says


def test_a_run_narrowed_to_some_probes_qualifies_nothing() -> None:
    done = run(Path("r"), [(cell("a"), results()), (cell("b"), results())])
    done = replace(done, record=done.record.model_copy(update={"options": {"probes": ["munmap/*"]}}))
    old, new = sides_of(done)
    policy = parse_policy(HEAD.encode(), Path("p"), RULES)
    made = judge_picks(Picked("b", done, (new,)), Picked("a", done, (old,)), policy, b"", TODAY, RULES)
    assert made.qualification.checks[2].says == "b.x86_64: the run was limited to munmap/*"


def test_a_release_wants_fresh_boots_unless_its_policy_says_otherwise() -> None:
    warm = cell("debian-7.3")
    assert warm.machine
    warm = warm.model_copy(update={"machine": warm.machine.model_copy(update={"start": "warm"})})
    found = judged(results(), candidate=warm)
    assert found.verdict == "not qualified"
    assert (
        "debian-7.3.x86_64: its guest was restored from a saved one; run it again with --fresh" in found.checks[2].says
    )
    head, _, rest = HEAD.partition("require:")
    assert judged(results(), f"{head}start: any\nrequire:{rest}", candidate=warm).verdict == "qualified"


def test_no_answer_can_be_waived_by_name() -> None:
    policy = HEAD + "waivers:\n" + waiver(excuses="[no answer]")
    assert judged(results("error"), policy, before=results("error")).verdict == "qualified with waivers"


def test_skipping_too_much_is_not_enough() -> None:
    policy = HEAD + "coverage: {applied: 60}\n"
    assert not_met(judged(results("skip"), policy, before=results("skip"))) == [
        "At least 60 % of the required probes applied on every cell"
    ]


def test_what_applied_nowhere_is_not_qualified() -> None:
    """A family of which nothing applied was not qualified, unless the policy names a share; nor is nothing at all."""
    found = judged(results("skip"), before=results("skip"))
    assert not_met(found) == [FAMILIES]
    assert found.checks[3].says == "debian-7.3.x86_64: 3 of 6; none of munmap on x86_64"
    half = HEAD + "coverage: {applied: 50}\n"
    assert judged(results("skip"), half, before=results("skip")).verdict == "qualified"
    nothing = [
        replace(one, verdicts=tuple(replace(v, status="skip", kind=None) for v in one.verdicts)) for one in results()
    ]
    for policy in (HEAD, HEAD + "coverage: {applied: 0}\n"):
        found = judged(nothing, policy, before=nothing)
        assert found.verdict == "not qualified"
        assert "0 of 6" in found.checks[3].says


def test_what_one_machine_lacks_another_may_have() -> None:
    cells: Cells = [
        (cell("b"), results("skip")), (cell("b", profile="two"), results()),
        (cell("c"), results("skip")), (cell("c", profile="two"), results()),
    ]  # fmt: skip
    done = run(Path("r"), cells)
    sides = sides_of(done)
    policy = parse_policy(HEAD.encode(), Path("p"), RULES)
    made = judge_picks(Picked("c", done, sides[2:]), Picked("b", done, sides[:2]), policy, b"", TODAY, RULES)
    assert made.qualification.verdict == "qualified"


def test_a_kernel_that_crashed_while_no_probe_ran_is_refused_unless_the_policy_accepts_it() -> None:
    crashed = cell("debian-7.3", state="crashed", reason="BUG: KASAN, while no probe ran")
    found = judged(results(), candidate=crashed)
    assert (found.verdict, "crashed: BUG: KASAN" in found.checks[2].says) == ("not qualified", True)
    accept = HEAD.replace("require:", "crashed: accept\nrequire:")
    assert judged(results(), accept, candidate=crashed).verdict == "qualified"
    lost = cell("debian-7.3", state="lost", reason="gone")
    assert judged(results(), accept, candidate=lost).verdict == "not qualified"


def test_refusing_what_is_new_refuses_what_is_unstable() -> None:
    again = cell("debian-7.3").model_copy(update={"id": "debian-7.3.x86_64~2"})
    pairs: Cells = [(cell("b"), results()), (cell("debian-7.3"), results()), (again, results("fail", "wrong-errno"))]
    done = run(Path("r"), pairs)
    old, new = sides_of(done)
    policy = parse_policy((HEAD + "differences: {refuse: [introduced]}\n").encode(), Path("p"), RULES)
    found = judge_picks(Picked("c", done, (new,)), Picked("b", done, (old,)), policy, b"", TODAY, RULES).qualification
    assert "Nothing has changed since the baseline that the policy refuses" in not_met(found)


def test_lost_coverage_is_refused_and_can_be_expected() -> None:
    assert judged(results("skip")).verdict == "not qualified"
    allow = (
        HEAD + "differences:\n  allow:\n    - {rules: [munmap-*], changes: [lost coverage], reason: region withdrawn}\n"
    )
    found = judged(results("skip"), allow)
    assert found.checks[3].met == "met"
    assert (found.verdict, found.allowed[0].reason) == ("qualified", "region withdrawn")


def test_a_failing_candidate_is_told_by_cause_and_a_passing_one_has_none() -> None:
    report = report_json(dossier(results("fail", "bypass", "control 0, sealed 0")))
    (cause,) = report["causes"]
    assert cause["sentence"].startswith("munmap no longer looks at the seal: ")
    assert cause["cells"] == ["debian-7.3.x86_64"]
    assert page(report).index(cause["sentence"]) < page(report).index("What was asked")
    assert report_json(dossier(results()))["causes"] == []


def test_only_differences_of_configuration_are_folded_into_a_line() -> None:
    first, second, third = RULES.values()
    needs = "needs a kernel built with CONFIG_SWAP"
    after = [result(first, "skip", needs), result(second, "skip", needs), result(third, "observed")]
    check = next(check for check in judged(after).checks if check.title.startswith("Nothing has changed"))
    assert configured_otherwise(check) == {
        needs: ["munmap-across on debian-7.3.x86_64", "mprotect-mixed on debian-7.3.x86_64"]
    }
    assert check.met == "not met"
    html = page(report_json(dossier(after)))
    assert html.count(f'<th scope="row">{needs}</th>') == 1
    other = [result(first, "skip", "no mseal (ENOSYS)"), result(second), result(third, "observed")]
    assert not any(configured_otherwise(check) for check in judged(other).checks)


def test_the_page_and_the_report_name_the_rules_that_changed() -> None:
    before = [result(RULES["munmap-across"], "skip", "needs"), *results()[1:]]
    made = dossier(
        [*results("fail", "wrong-errno")[:2], result(RULES["cold"], "observed", observed="else")], before=before
    )
    report = report_json(made)
    (pair,) = report["comparison"]
    assert pair["says"] == "1 rule introduced, 1 changed"
    assert {change: [one["rule"] for one in rules] for change, rules in pair["rules"].items()} == {
        "introduced": ["munmap-across"],
        "changed": ["cold"],
    }
    text = page(report)
    assert "debian-7.3 x86_64 against debian-6.12: which rules changed" in text
    assert "1 introduced</td><td><code>munmap-across</code>: does not apply on 6.12.117, fails on 7.3.117" in text


def test_gained_rules_are_named_too() -> None:
    before = [result(RULES["munmap-across"], "skip", "needs"), *results()[1:]]
    (pair,) = report_json(dossier(results(), before=before))["comparison"]
    assert [one["rule"] for one in pair["rules"]["gained"]] == ["munmap-across"]


def test_sides_are_named_by_their_kernels_and_not_by_runs() -> None:
    made = dossier(results())
    made = replace(made, candidate=replace(made.candidate, word="20261123-214500-3fa2"))
    report = report_json(made)
    assert (report["candidate"]["kernels"], report["baseline"]["kernels"]) == (
        "debian-7.3 (7.3.117)",
        "debian-6.12 (6.12.117)",
    )
    raw = io.StringIO()
    print_qualification(Console(file=raw, width=200), made, Path("q"), "seal")
    assert raw.getvalue().startswith("Trial: debian-7.3 (7.3.117) against debian-6.12 (6.12.117)")
    assert "20261123-214500-3fa2" not in page(report).partition("<main>")[0]


def test_two_builds_of_one_version_are_told_apart_by_what_they_call_themselves() -> None:
    done = run(Path("r"), [(cell("debian-7.3"), results())])
    (side,) = sides_of(done)
    other = replace(side, run="another", release="7.3.117-mine")
    assert apart(side, other) == ("7.3.117-cloud-x86_64", "7.3.117-mine")
    assert apart(side, replace(other, kernel="mine")) == ("debian-7.3", "mine")
    again = replace(side, run="another")
    assert apart(side, again) == (f"debian-7.3 of run {side.run}", "debian-7.3 of run another")


def test_an_architecture_or_baseline_that_was_not_tested_is_not_met() -> None:
    both = HEAD.replace("[x86_64]", "[x86_64, arm64]")
    assert not_met(judged(results(), both)) == ["The candidate was tested on every architecture"]
    done = run(Path("r"), [(cell("b"), results()), (cell("c"), results()), (cell("c", "arm64"), results())])
    old, *new = sides_of(done)
    policy = parse_policy(both.encode(), Path("p"), RULES)
    made = judge_picks(Picked("c", done, tuple(new)), Picked("b", done, (old,)), policy, b"", TODAY, RULES)
    assert not_met(made.qualification) == ["Every cell has a baseline"]


def test_a_candidate_is_not_its_own_baseline() -> None:
    done = run(Path("r"), [(cell("a"), results())])
    picked = Picked("a", done, sides_of(done))
    policy = parse_policy(HEAD.encode(), Path("p"), RULES)
    with pytest.raises(UsageError, match="candidate and baseline are the same"):
        judge_picks(picked, picked, policy, b"", TODAY, RULES)


def test_a_failure_in_one_repeat_is_a_failure() -> None:
    again = cell("debian-7.3").model_copy(update={"id": "debian-7.3.x86_64~2"})
    pairs: Cells = [(cell("b"), results()), (cell("debian-7.3"), results()), (again, results("fail", "wrong-errno"))]
    done = run(Path("r"), pairs)
    old, new = sides_of(done)
    policy = parse_policy(HEAD.encode(), Path("p"), RULES)
    found = judge_picks(Picked("c", done, (new,)), Picked("b", done, (old,)), policy, b"", TODAY, RULES).qualification
    assert not_met(found) == ["Required rules hold", "Nothing has changed since the baseline that the policy refuses"]
    assert "unstable in 3 of 3 probes: fails in 1 of 2 repeats" in found.checks[5].deviations[0].says


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 0, "a policy has the keys version, title"),
        ("- a\n", 1, "a policy has the keys"),
        (HEAD.replace("title", "titel"), 2, "unknown key 'titel' (did you mean 'title'?)"),
        (HEAD.replace("levels", "level"), 5, "require[0]: unknown key 'level' (did you mean 'levels'?)"),
        (HEAD.replace("[required]", "[requierd]"), 5, "unknown value 'requierd' (did you mean 'required'?)"),
        (HEAD.replace("x86_64", "amd64"), 3, "'amd64' (here it is called 'x86_64')"),
        (HEAD.replace("version: 1", "version: 2"), 1, "unknown value '2'"),
        (HEAD + "    families: [munmapp]\n", 6, "unknown family 'munmapp' (did you mean 'munmap'?)"),
        (HEAD + "coverage: {answered: 101}\n", 6, "coverage.answered: "),
        (HEAD + "coverage: {answered: most}\n", 6, "must be a whole number"),
        (HEAD + "waivers:\n" + waiver(rule="munmap-acros"), 7, "unknown rule 'munmap-acros' (did you mean"),
        (HEAD + "waivers:\n" + waiver(expires="soon"), 7, "waivers[0].expires: must be a day, such as 2027-01-31"),
        (HEAD + "waivers:\n" + waiver(reason='""'), 7, "must not be empty"),
        (HEAD + "waivers:\n" + waiver(kernels="['[67]*']"), 7, "is not a kernel"),
        (HEAD + "waivers:\n" + waiver(kernels="[]"), 7, "must not be empty"),
        (HEAD + "waivers:\n" + waiver() + waiver(reason="other"), 8, "overlaps the waiver of munmap-across in line 7"),
        (HEAD + "waivers:\n" + waiver() + waiver(kernels='["*-7.?"]'), 8, "overlaps the waiver"),
        (HEAD + "waivers: [&a {}, *a]\n", 6, "anchors and aliases"),
        (HEAD + "title: twice\n", 6, "given twice"),
        ("{" * 100, 1, ""),
        ("\x00", 0, "not YAML"),
    ],
)
def test_a_wrong_policy_gets_one_line_with_its_place(text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_policy(text.encode(), Path("policy.yaml"), RULES)
    assert caught.value.line == line
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("other", [{"kernels": "[debian-7.2]"}, {"excuses": "[bypass]"}, {"architectures": "[arm64]"}])
def test_waivers_that_cannot_meet_do_not_overlap(other: dict[str, str]) -> None:
    text = HEAD + "waivers:\n" + waiver(architectures="[x86_64]") + waiver(**other)
    if "kernels" in other or "architectures" in other or "excuses" in other:
        assert len(parse_policy(text.encode(), Path("p"), RULES).waivers) == 2


def test_globs_meet_exactly_where_a_text_matches_both() -> None:
    words = ["".join(letters) for n in range(4) for letters in product("ab", repeat=n)]
    globs = ["".join(parts) for n in range(1, 4) for parts in product("ab*?", repeat=n)]
    for one, other in product(globs, globs[::3]):
        found = any(fnmatchcase(word, one) and fnmatchcase(word, other) for word in words)
        longest = len(one.replace("*", "")) + len(other.replace("*", ""))
        if found or longest <= 3:
            assert globs_meet(one, other) == found, (one, other)


def test_the_sample_policy_is_one() -> None:
    policy, data = load_policy(ROOT / "harness/qualify/sample-policy.yaml", load_catalogue())
    assert policy.waivers == ()
    commented = re.sub(r"^#(  [- ] \w+:)", r"\1", data.decode().replace("waivers: []", "waivers:"), flags=re.MULTILINE)
    assert len(parse_policy(commented.encode(), Path("p"), load_catalogue()).waivers) == 1


def test_a_policy_that_cannot_be_read_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the policy"):
        load_policy(tmp_path / "none.yaml", RULES)


HOSTILE = "</pre><script>alert(1)</script>\x1b[2J"


def on_disk(folder: Path, made: Dossier) -> Dossier:
    """The dossier with its run's files where they belong."""
    run_folder = folder / "run"
    for record in made.candidate.done.record.cells:
        (run_folder / "cells" / record.id).mkdir(parents=True)
        (run_folder / "cells" / record.id / "observations.jsonl").write_text(record.id)
    (run_folder / "run.json").write_text("{}")
    (run_folder / "plan.json").write_text("{}")
    done = replace(made.candidate.done, folder=run_folder)
    return replace(made, candidate=replace(made.candidate, done=done), baseline=replace(made.baseline, done=done))


def test_the_folder_holds_report_policy_evidence_and_its_seal(tmp_path: Path) -> None:
    made = on_disk(tmp_path, dossier(results("fail", "bypass", HOSTILE), HEAD + "waivers:\n" + waiver(reason="<b>")))
    digest = write_qualification(made, tmp_path / "q")
    names = {path.relative_to(tmp_path / "q").as_posix() for path in (tmp_path / "q").rglob("*") if path.is_file()}
    evidence = f"evidence/{made.candidate.done.record.id}"
    assert {"report.html", "report.json", "policy.yaml", SUMS, f"{evidence}/run.json"} <= names
    assert f"{evidence}/cells/debian-7.3.x86_64/observations.jsonl" in names
    assert any(name.startswith("evidence/catalogue/") for name in names)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    found = verify(tmp_path / "q")
    assert (found.intact, found.digest, found.files) == (True, digest, len(names) - 1)
    html = (tmp_path / "q/report.html").read_text()
    assert "<script" not in html
    assert "\x1b" not in html
    assert "Not qualified" in html
    report = json.loads((tmp_path / "q/report.json").read_text())
    assert (report["verdict"], report["judged_as_of"]) == ("not qualified", "2026-11-23")
    assert report["repeat"]["judge"].startswith(f"sealmatrix qualify --candidate '{evidence}:*' --baseline")
    with pytest.raises(UsageError, match="never overwritten"):
        write_qualification(made, tmp_path / "q")


def test_the_page_needs_no_network() -> None:
    html = page(report_json(dossier(results())))
    assert re.findall(r"""(?:src|href)\s*=|url\(|@import|https?:""", html) == []
    assert "✓ Qualified" in html


def sealed(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_text("a")
    (folder / "sub/b").write_text("b")
    seal(folder)
    return folder


def test_verify_finds_whatever_was_altered_taken_or_added(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "q")
    assert verify(folder).intact
    (folder / "a").write_text("A")
    (folder / "sub/b").unlink()
    (folder / "sub/c").write_text("c")
    (folder / "link").symlink_to("/")
    found = verify(folder)
    assert (found.altered, found.missing, found.added) == (("a",), ("sub/b",), ("link", "sub/c"))
    assert not found.intact


def test_a_link_to_the_same_bytes_is_not_the_file(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "q")
    (folder / "a").rename(tmp_path / "a")
    (folder / "a").symlink_to(tmp_path / "a")
    assert verify(folder).altered == ("a",)


def test_an_altered_list_has_another_digest(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "q")
    before = verify(folder).digest
    (folder / "a").write_text("A")
    seal(folder)
    assert verify(folder).intact
    assert verify(folder).digest != before


@pytest.mark.parametrize(
    "sums", ["", "junk\n", f"{'0' * 64}  /etc/passwd\n", f"{'0' * 64}  ../x\n", f"{'0' * 64}  a\n{'1' * 64}  a\n"]
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, sums: str) -> None:
    (tmp_path / SUMS).write_text(sums)
    with pytest.raises(UsageError, match=SUMS):
        verify(tmp_path)


def test_a_folder_without_a_list_is_no_qualification(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no sha256sums"):
        verify(tmp_path)
    (tmp_path / SUMS).write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        verify(tmp_path)


def test_a_folder_that_could_not_be_finished_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="stop"), new_folder(tmp_path / "q") as partial:
        (partial / "x").write_text("x")
        raise UsageError("stop")
    assert list(tmp_path.iterdir()) == []
