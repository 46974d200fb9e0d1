"""compare, report, qualify and verify as a user calls them, on runs that lie on disk."""

from __future__ import annotations

import json
import re
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.support.compared_runs import POLICY, command_line, two_nights
from tests.unit.kernel_fakes import arm64_image

__all__ = ["command_line", "two_nights"]  # the fixtures `call` and `results`
WAIVER = "  - {rule: munmap-blocked, kernels: ['*'], excuses: [bypass], reason: r, owner: o, expires: 2999-01-01}\n"


def test_two_kernels_of_the_newest_run(call: Any) -> None:
    code, out, _ = call("compare", "--kernel", "k612:x86_64", "k73:x86_64")
    assert code == 1
    assert re.search(r"munmap-blocked \(U1 .*, required\): passes on 6.12, fails on 7.3", out)


def test_last_night_against_tonight_and_junit(call: Any, results: Path) -> None:
    (results.parent / "link").symlink_to("c.xml")
    code, out, _ = call("compare", "20261122-000000-aaaa", "20261123-000000-bbbb", "--junit", "link")
    assert (code, "k73 (7.3) x86_64" in out) == (0, True)
    assert 'classname="sealmatrix-compare.k612.x86_64"' in (results.parent / "c.xml").read_text()


def test_a_kernel_by_its_image_and_runs_by_how_far_back_they_are(
    call: Any, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALMATRIX_CACHE", str(results.parent / "cache"))
    image = results.parent / "Image"
    image.write_bytes(arm64_image("6.12.30"))
    code, _, err = call("compare", "last", "./Image")
    assert (code, "no run in results has asked this kernel; first: sealmatrix run ./Image" in err) == (2, True)
    path = results / "20261123-000000-bbbb" / "run.json"
    record = json.loads(path.read_text())
    record["cells"][1]["kernel"]["sha256"] = sha256(image.read_bytes()).hexdigest()
    path.write_text(json.dumps(record))
    code, out, _ = call("compare", "last~1", "./Image")
    assert (code, "passes on 6.12, fails on 7.3" in out) == (1, True)


def test_a_series_as_json(call: Any) -> None:
    code, out, _ = call("compare", "--series", "--json")
    stretches = json.loads(out)["series"][0]["rules"]["munmap-blocked"]
    assert (code, [s["last_version"] for s in stretches]) == (1, ["6.12", "7.3"])


@pytest.mark.parametrize("form", ["junit", "kcidb", "ktap", "markdown"])
def test_every_format_is_written(call: Any, results: Path, form: str) -> None:
    (results.parent / "link").symlink_to("report.out")
    code, out, _ = call("report", "--format", form, "-o", "link")
    assert (code, out) == (0, "")
    assert (results.parent / "link").is_symlink()
    written = (results.parent / "report.out").read_text()
    assert "munmap-blocked" in written
    assert call("report", "-F", form)[1] == written


def test_qualify_then_verify(call: Any, results: Path) -> None:
    words = ("qualify", "--candidate", "k73", "--baseline", "k612", "--policy", "policy.yaml", "-o", "q")
    code, out, _ = call(*words)
    assert (code, "\nnot qualified\n" in out) == (1, True)
    assert call("verify", "q")[0] == 0
    seal = out.split()[-1]
    assert call("verify", "q", "--digest", seal)[0] == 0
    assert call("verify", "q", "--digest", "00" * 32)[0] == 1
    console = next((results.parent / "q/evidence").glob("*/cells/k73.x86_64/observations.jsonl"))
    console.write_bytes(console.read_bytes().replace(b"EPERM", b"EPERm") + b"\n")
    code, out, _ = call("verify", "q")
    assert code == 1
    assert out.startswith("altered: evidence/20261123-000000-bbbb/cells/k73.x86_64/observations.jsonl")


def test_the_command_in_the_report_repeats_the_verdict(
    call: Any, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (results.parent / "policy.yaml").write_text(POLICY + "waivers:\n" + WAIVER)
    run = ("--candidate", "20261123-000000-bbbb:k73", "--baseline", "20261122-000000-aaaa")
    code, out, _ = call("qualify", *run, "--policy", "policy.yaml", "-o", "q", "--as-of", "2026-11-23")
    assert (code, "qualified with waivers" in out) == (0, True)
    shutil.rmtree(results)
    report = json.loads((results.parent / "q/report.json").read_text())
    monkeypatch.chdir(results.parent / "q")
    assert call(*report["repeat"]["judge"].replace("'", "").split()[1:])[0] == 0
    again = json.loads((results.parent / "again/report.json").read_text())
    assert (again["verdict"], again["checks"]) == (report["verdict"], report["checks"])
    assert call("verify", ".")[0] == 0


def spoil(results: Path, name: str, text: str) -> None:
    (results / "20261122-000000-aaaa" / name).write_text(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("compare", "20261122-000000-aaab", "20261123-000000-bbbb"), "there is no run '20261122-000000-aaab'"),
        (("compare", "20261123-000000-bbbb:k74", "20261123-000000-bbbb:k73"), "is 'k74'"),
        (("compare", "one"), "give two sides"),
        (("compare", "--series", "--across"), "give one of them"),
        (("compare", "--across"), "no kernel version on two architectures"),
        (("report", "nothing", "--format", "ktap"), "there is no run 'nothing'"),
        (("report", "--format", "kcidb", "--origin", "My Lab"), "no KCIDB origin"),
        (("verify", "nowhere"), "not a folder"),
        (("verify", "results"), "holds no sha256sums"),
        (("run", "--resume", "20261122-000000-aaaa"), "nothing to resume"),
        (("run", "--resume", "x", "--host"), "--resume continues the"),
        (("qualify", "--candidate", "k73", "--baseline", "k73", "--policy", "policy.yaml"), "are the same"),
        (("qualify", "--candidate", "k73", "--baseline", "k612", "--policy", "none.yaml"), "cannot read the policy"),
    ],
)
def test_what_cannot_be_gets_one_line_and_status_2(call: Any, words: tuple[str, ...], said: str) -> None:
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("run.json", '{"schema_version": 7}', "has schema version 7"),
        ("run.json", '{"schema_version": 1, "id": "x"}', "run.json: "),
        ("run.json", '{"schema_version"', "cannot be read"),
        ("run.json", "[]", "schema version None"),
        ("plan.json", '{"probes": [["a"', "plan.json: cannot be read"),
    ],
)
def test_half_written_and_foreign_runs(call: Any, results: Path, name: str, text: str, said: str) -> None:
    spoil(results, name, text)
    code, _, err = call("compare", "20261122-000000-aaaa", "20261123-000000-bbbb")
    assert (code, err.count("\n")) == (2, 1)
    assert said in err


def test_a_journal_cut_in_the_middle_is_lost_coverage(call: Any, results: Path) -> None:
    later = results / "20261123-000000-bbbb/cells/k612.x86_64/observations.jsonl"
    later.write_bytes(later.read_bytes()[:900])
    code, out, _ = call("compare", "20261122-000000-aaaa", "20261123-000000-bbbb")
    assert (code, "Lost coverage" in out, "its observations.jsonl is not what the run wrote" in out) == (
        1,
        True,
        True,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (POLICY + "waiver: []\n", "policy.yaml:6: unknown key 'waiver' (did you mean 'waivers'?)"),
        (POLICY + "waivers:\n" + WAIVER + WAIVER, "policy.yaml:8: waivers[1]: overlaps the waiver of munmap-blocked"),
    ],
)
def test_a_wrong_policy_stops_everything(call: Any, results: Path, text: str, said: str) -> None:
    (results.parent / "policy.yaml").write_text(text)
    code, _, err = call("qualify", "--candidate", "k73", "--baseline", "k612", "--policy", "policy.yaml", "-o", "q")
    assert (code, said in err, err.count("\n")) == (2, True, 1)
    assert not (results.parent / "q").exists()
