"""Foreign suites on real kernels: kselftests and a program of one's own, in JUnit, stored, compared and bisected."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml

ROOT = Path(__file__).parents[2]
MATRIX = ["-f", str(ROOT / "kernels.yaml")]
DOCUMENT = ROOT / "docs" / "use" / "own-suite.md"

pytestmark = pytest.mark.kernels


def sealmatrix(*words: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "harness", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False, cwd=ROOT)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def bisect(*words: str, results: Path) -> dict[str, Any]:
    kernels = [word for name in ("6.12.95", "6.16.3", "6.16.12", "6.17.8") for word in ("-k", f"debian-{name}")]
    told = sealmatrix("bisect", *MATRIX, "--results", str(results), "--json", "-q", *kernels, *words)
    found: dict[str, Any] = json.loads(told)
    return found


def test_a_kselftest_and_our_rule_find_the_same_build(tmp_path: Path) -> None:
    """``process_madvise`` to oneself takes any advice since 6.13: to our rule a change, to the kselftest a failure
    before."""
    rule = ["--rule", "madvise-remove-shared", "--probe", "process-madvise-remove/*"]
    ours = bisect(*rule, "--good", "debian-6.12.95", "--bad", "debian-6.17.8", results=tmp_path)
    test = ["--suite", "kselftest-mm", "--test", "process-madv/process-madvise-basic"]
    theirs = bisect(*test, "--fixed", "--bad", "debian-6.12.95", "--good", "debian-6.17.8", results=tmp_path)
    assert (theirs["state"], theirs["first"]["name"]) == ("found", "debian-6.16.3")
    assert (theirs["last"]["name"], theirs["first"]["name"]) == (ours["last"]["name"], ours["first"]["name"])


def test_the_program_of_the_document_over_kernels_and_shown_again(tmp_path: Path) -> None:
    source = tmp_path / "forced.c"
    source.write_text(DOCUMENT.read_text(encoding="utf-8").split("```c\n")[1].split("```")[0])
    kernels = ["debian-7.0.13", "debian-7.1.3", "-a", "x86_64"]
    results = ["--results", str(tmp_path)]
    told = json.loads(sealmatrix("run", *kernels, *MATRIX, *results, "-q", "--json", "--suite", str(source), code=1))
    check = "forced/a-read-only-page-is-not-written"
    statuses = {cell["kernel"]["name"]: cell["rules"][check]["status"] for cell in told["cells"]}
    assert statuses == {"debian-7.0.13": "fail", "debian-7.1.3": "pass"}
    again = json.loads(sealmatrix("show", *results, "--json", code=1))
    assert {cell["kernel"]["name"]: cell["rules"][check]["status"] for cell in again["cells"]} == statuses
    cases = {
        (case.classname, case.name)
        for suite in JUnitXml.fromfile(str(tmp_path / told["run"] / "junit.xml"))
        for case in suite
    }
    assert ("sealmatrix.debian-7_1_3.x86_64.forced", check) in cases
    series = json.loads(sealmatrix("compare", "--series", "--json", *results))
    assert check in json.dumps(series)


def test_a_program_that_hangs_is_ended_and_the_next_one_runs(tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    suite.mkdir()
    for name, text in (("a.sh", "sleep 100 &\nsleep 100\n"), ("b.sh", "echo 1..1\necho ok 1 word\n")):
        (suite / name).write_text(f"#!/bin/sh\n{text}")
        (suite / name).chmod(0o755)
    file = tmp_path / "suites.yaml"
    file.write_text("suites:\n  mine:\n    title: two scripts\n    path: ./suite\n    seconds: 3\n")
    kernels = ["debian-6.12", "-a", "x86_64", *MATRIX, "--results", str(tmp_path), "-q", "--json"]
    told = json.loads(sealmatrix("run", *kernels, "--suite", str(file), code=3))
    (cell,) = told["cells"]
    assert {name: rule["status"] for name, rule in cell["rules"].items()} == {
        "mine/a-sh/runs-to-its-end": "error",
        "mine/b-sh/runs-to-its-end": "pass",
        "mine/b-sh/word": "pass",
    }
    assert cell["rules"]["mine/a-sh/runs-to-its-end"]["reason"] == "it did not end within 3 s, and was killed"


def test_rules_and_a_suite_in_one_boot_agree(tmp_path: Path) -> None:
    words = ["debian-7.1.3", "-a", "x86_64", *MATRIX, "--results", str(tmp_path), "-q"]
    words += ["--rule", "munmap-blocked", "--rule", "args-hole", "--suite", "kselftest-mseal"]
    sealmatrix("run", *words)
    told = sealmatrix("agree", "--results", str(tmp_path))
    assert "debian-7.1.3 x86_64: 2 of 2 promises agree" in told
