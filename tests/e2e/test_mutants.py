"""Mutants of a real kernel source, built, booted and judged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.cli.mechanical import learning
from harness.kernels.sources import SourceTree, debian_source
from harness.kernels.store import default_root
from harness.kernels.tree import check_tree
from harness.matrix.load import load_matrix, shipped_path
from harness.mutants.catalogue import choose, load_mutants
from harness.mutants.copy import open_copy
from harness.mutants.edit import apply_edit
from harness.mutants.first_failure import FirstFailureSuite
from harness.mutants.mechanical.made import mechanical_mutants
from harness.mutants.mechanical.neighbours import Neighbours
from harness.mutants.mechanical.reviewed import load_reviewed
from harness.mutants.ours import OwnSuite
from harness.mutants.records import Records
from harness.mutants.runner import run_mutants
from harness.mutants.workshop import MutationOptions, MutationProgress, work_folder

pytestmark = pytest.mark.kernels

SERIES = ("6.12", "7.3")
PROFILE = load_matrix(shipped_path()).profiles["standard"]
# One of each kind whose rules exist from the first issue on.
FEW = (
    "munmap-unchecked",
    "fork-drops-private-seal",
    "munmap-head-first",
    "cold-blocked",
    "mprotect-eacces",
    "seals-one-page-less",
)


@pytest.fixture(scope="module", params=SERIES)
def source(request: pytest.FixtureRequest) -> SourceTree:
    """Fetched where it is not stored; a test without its source fails: that is no pass."""
    return debian_source(request.param, lambda text: None)


def test_every_pattern_matches_once(source: SourceTree) -> None:
    series = check_tree(source.path)
    for mutant in load_mutants().values():
        variant = mutant.variant(series, (mutant.arches or ("x86_64",))[0], mutant.fragments)
        if isinstance(variant, str):
            continue
        texts: dict[str, str] = {}
        for edit in variant:
            text = texts.get(edit.file) or (source.path / edit.file).read_text(encoding="utf-8")
            texts[edit.file] = apply_edit(text, edit)


@pytest.mark.timeout(3600)  # the first build of a kernel takes minutes
def test_mutants_are_noticed_and_a_second_run_repeats_nothing(source: SourceTree, tmp_path: Path) -> None:
    if source.path.name.startswith("linux-source-7.3"):
        pytest.skip("one source is enough to prove the machinery; docs/internals/mutation.md has both")
    missing = [tool for tool in ("flex", "bison", "bc", "gcc", "make") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"no kernel can be built here: {', '.join(missing)} not installed")
    chosen = choose(load_mutants(), FEW)
    work = work_folder(default_root(), source.where)
    task = MutationOptions(source.path, source.where, "x86_64", chosen, work, tmp_path)
    heard: list[MutationProgress] = []
    records = run_mutants(task, OwnSuite("x86_64", PROFILE), heard.append)
    fates = {mutant.id: records.read(mutant.id) for mutant in chosen}
    assert {name: fate.state for name, fate in fates.items() if fate} == dict.fromkeys(FEW, "killed")
    with open_copy(source.path, work / "tree", []) as copy:
        assert copy.repair({name for mutant in chosen for name in mutant.files}) == []
    heard.clear()
    run_mutants(task, OwnSuite("x86_64", PROFILE), heard.append)
    assert [event.stage for event in heard if event.record] == ["known"] * len(FEW)
    assert Records(records.folder).session() is not None


@pytest.mark.timeout(3600)  # the first build of a kernel takes minutes
def test_mechanical_mutants_of_one_function_are_compiled_alone_and_killed_by_name(
    source: SourceTree, tmp_path: Path
) -> None:
    if source.path.name.startswith("linux-source-7.3"):
        pytest.skip("one source is enough to prove the machinery; docs/internals/mutation.md has both")
    missing = [tool for tool in ("flex", "bison", "bc", "gcc", "make") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"no kernel can be built here: {', '.join(missing)} not installed")
    made = mechanical_mutants(source.path, "x86_64", load_reviewed())
    few = tuple(
        mutant
        for mutant in made
        if mutant.about.function == "is_madv_discard" and mutant.about.was in ("case MADV_DONTNEED:", "return true;")
    )
    assert len(few) == 3  # a case, the statement and its constant
    near = Neighbours(few)
    suite = FirstFailureSuite("x86_64", PROFILE, ask_first=near.ask_first)
    work = work_folder(default_root(), source.where)
    task = MutationOptions(source.path, source.where, "x86_64", few, work, tmp_path, quick=True)
    heard: list[MutationProgress] = []

    records = run_mutants(task, suite, learning(near, heard.append))

    assert not [event.stage for event in heard if "make builds every mutant" in event.stage]
    fates = [record for mutant in few if (record := records.read(mutant.id)) is not None]
    # To leave a `return true` out and to return false is the same code.
    assert sorted(fate.state for fate in fates) == ["duplicate", "killed", "killed"]
    for fate in fates:
        if fate.state == "killed":
            assert fate.by["madvise-discard-read-only"] in ("bypass", "wrong-errno")
            assert fate.probes["madvise-discard-read-only"].startswith("madvise")
            assert fate.about["function"] == "is_madv_discard" and not fate.whole
    with open_copy(source.path, work / "tree", []) as copy:
        assert copy.repair({edit.file for mutant in few for edits in mutant.edits.values() for edit in edits}) == []
    heard.clear()
    run_mutants(task, suite, heard.append)
    assert [event.stage for event in heard if event.record] == ["known"] * 3
