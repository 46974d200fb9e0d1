"""Rules that only some processors or kernels can be asked: there they are asked, and elsewhere say why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import only_run, sealmatrix

pytestmark = pytest.mark.kernels


def rules_of(folder: Path, *words: str) -> dict[str, Any]:
    """Status and reason of each rule that the run asked of its one cell."""
    done = sealmatrix("run", *words, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (cell,) = json.loads((only_run(folder) / "verdicts.json").read_text())["cells"]
    return {rule: found for rule, found in cell["rules"].items() if sum(found["probes"].values())}


@pytest.mark.parametrize(("profile", "status"), [("two-cpus", "pass"), ("standard", "skip")])
def test_branch_targets_and_tags_are_asked_of_processors_that_have_them(
    profile: str, status: str, tmp_path: Path
) -> None:
    asked = ("bti-mprotect/*", "mte-mprotect/*", "*/anon-bti-rx/exact", "*/anon-mte-r/exact", "munmap/anon-rw/exact")
    words = [word for glob in asked for word in ("-r", glob)]
    found = rules_of(tmp_path, "-k", "debian-6.12", "-a", "arm64", "-p", profile, *words)
    for rule in ("mprotect-bits-blocked", "mprotect-blocked", "madvise-discard-read-only"):
        assert found[rule]["status"] == status, (rule, found[rule])
    if status == "skip":
        assert "this machine has none" in found["mprotect-bits-blocked"]["reason"]


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_32_bit_programs_run_and_shadow_stacks_say_that_there_are_none(arch: str, tmp_path: Path) -> None:
    words = ("-r", "program32-*", "-r", "shadow-stack-*", "-r", "mseal-failing-1/*")
    found = rules_of(tmp_path, "-k", "debian-newest", "-a", arch, *words)
    assert {found[rule]["status"] for rule in found if rule.startswith("program32-") and rule != "program32-own"} == {
        "pass"
    }
    assert found["program32-own"]["status"] == "observed"
    assert "the processor has no shadow stacks" in found["shadow-stack-blocked"]["reason"]
    assert "without FAULT_INJECTION" in found["args-memory-fails"]["reason"]
