"""Both payloads on real kernels: what they list, that they see the same, also where a kernel is broken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.guests.deadlines import deadlines
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
from harness.kernels.sources import debian_source
from harness.kernels.store import default_root
from harness.matrix.model import Profile
from harness.model.architectures import Arch
from harness.model.rule import ProbeName
from harness.mutants.catalogue import choose, load_mutants
from harness.mutants.ours import summary
from harness.mutants.runner import run_mutants
from harness.mutants.suite import SuiteResult
from harness.mutants.workshop import MutationOptions, work_folder
from harness.payload import probe_list
from harness.payload.python import crosscheck_list
from harness.rules.load import load_catalogue
from harness.runs.execution.cell_worker import CellOutcome, CellWorker
from harness.runs.judging import judge_cell, kernel_facts
from harness.runs.model import Cell
from harness.runs.planning.payload_tasks import Probes
from harness.verdicts.crosscheck import disagreement
from harness.verdicts.judge import assign

pytestmark = pytest.mark.kernels
FAMILIES = {"arguments", "munmap", "mmap-fixed", "mremap", "mprotect", "madvise"}
# The first two need the machine's own limit changed, or its memory to fail, and the answer may be anything: nothing to
# agree on. The others act on another process, or lay mappings over each other, which only the C payload does.
LEFT_OUT = {
    "args-map-limit", "args-memory-fails", "madvise-discard-of-another", "madvise-discard-of-another-ranges",
    "mremap-overlap", "mremap-touch-blocked",
}  # fmt: skip
PROFILE = Profile("standard")


def names() -> list[ProbeName]:
    return [ProbeName(p.operation, p.region, p.span, p.layout) for p in crosscheck_list()]


class TestLists:
    """Both payloads' lists, held against each other and against the catalogue."""

    def test_the_second_payload_asks_nothing_the_first_does_not(self):
        # What a probe needs and is like only the first says, and the harness takes it from there.
        first, second = (
            {(probe.id, probe.family, probe.layout) for probe in listed} for listed in (probe_list(), crosscheck_list())
        )
        assert second <= first

    def test_every_probe_of_it_belongs_to_a_required_rule_of_its_families(self):
        rules = [rule for rule in load_catalogue().values() if rule.level == "required" and rule.family in FAMILIES]
        assert [name.id for name in names() if not any(rule.speaks_for(name) for rule in rules)] == []

    def test_every_required_rule_of_its_families_is_asked(self):
        asked = names()
        required = {r.id: r for r in load_catalogue().values() if r.level == "required" and r.family in FAMILIES}
        unasked = {name for name, rule in required.items() if not any(map(rule.speaks_for, asked))}
        assert unasked == LEFT_OUT


def crosschecked(kernel: Kernel, arch: Arch, folder: Path, globs: tuple[str, ...]) -> CellOutcome:
    limits = deadlines(arch, "tcg", "other", load=2)
    guest = QemuGuest(kernel, PROFILE, folder, Wishes(load=2))
    workload = Probes(globs, crosscheck=("*",)).workload(arch, limits, kmsg=True)
    folder.mkdir(parents=True, exist_ok=True)
    return CellWorker(Cell(kernel.name, arch, PROFILE, kernel), workload, folder, guest, lambda _: None).run()


def differences(outcome: CellOutcome) -> tuple[int, list[str]]:
    """How many probes both observed, and where they differ."""
    assert outcome.journalled is not None
    assert outcome.second is not None
    first, second = outcome.journalled.observations, outcome.second.observations
    both = first.keys() & second.keys()
    found = ((probe, disagreement(first[probe], second[probe])) for probe in sorted(both))
    return len(both), [f"{probe}: {differ}" for probe, differ in found if differ]


SOME = (
    "*/anon-r/exact", "*/anon-rw/into", "*/anon-mixed/*", "*/file-private-copied-r/exact", "*/shared-anon-rw/exact",
    "*/pkey-*/*", "*/anon-huge-r/beside", "*/zero-private-r/exact", "*/anon-untouched-none/*", "mseal*/anon-rw/*",
)  # fmt: skip


@pytest.mark.parametrize(("name", "arch"), [("debian-6.12", "x86_64"), ("debian-newest", "arm64")])
def test_the_payloads_see_the_same_on_real_kernels(kernel, tmp_path, name, arch):
    outcome = crosschecked(kernel(name, arch), arch, tmp_path / "cell", SOME)
    assert outcome.lost == ""
    both, differ = differences(outcome)
    assert both > 300
    assert differ == []


def test_a_kernel_without_mseal_is_seen_as_one_by_both(kernel, tmp_path):
    outcome = crosschecked(kernel("debian-6.1", "x86_64"), "x86_64", tmp_path / "cell", ("munmap/*",))
    assert outcome.lost == ""
    both, differ = differences(outcome)
    assert both > 50
    assert differ == []
    assert outcome.second is not None
    assert {seen.sealed.step for seen in outcome.second.observations.values()} == {"mseal"}


class BothPayloads:
    """A suite that asks both payloads, and keeps what they differ in."""

    name, digest, strict = "both", "", True

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, list[str]]] = {}

    def __call__(self, kernel: Kernel, folder: Path) -> SuiteResult:
        globs = ("munmap/anon-*", "mmap-fixed-anon/anon-*", "mprotect-none/anon-*")
        outcome = crosschecked(kernel, "x86_64", folder, globs)
        self.found[kernel.name] = differences(outcome)
        assert outcome.journalled is not None
        planned = [name for name in names() if name.id in outcome.journalled.observations]
        facts = kernel_facts("x86_64", outcome.journalled)
        question = assign(load_catalogue(), planned)
        results = judge_cell(question, facts, outcome.journalled, outcome.lost, outcome.crashes, outcome.second)
        return summary(results, outcome.lost)

    def beside(self, unchanged: Kernel) -> None:
        """Nothing is asked of it again."""

    def stop(self) -> None:
        """Its guests end by themselves."""


@pytest.mark.timeout(3600)  # the first build of a kernel takes minutes
def test_the_payloads_agree_that_a_broken_kernel_is_broken(tmp_path):
    missing = [tool for tool in ("flex", "bison", "bc", "gcc", "make") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"no kernel can be built here: {', '.join(missing)} not installed")
    source = debian_source("6.12", lambda text: None)
    chosen = choose(load_mutants(), ("munmap-unchecked",))
    task = MutationOptions(
        source.path, source.where, "x86_64", chosen, work_folder(default_root(), source.where), tmp_path
    )
    suite = BothPayloads()
    records = run_mutants(task, suite, lambda _: None)
    fate = records.read("munmap-unchecked")
    assert fate is not None
    assert fate.state == "killed"
    assert len(suite.found) == 2
    assert all(both > 50 and not differ for both, differ in suite.found.values())
