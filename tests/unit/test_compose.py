"""What of the payload a run asks for."""

from __future__ import annotations

from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.given import NONE, Words, meant_cells
from harness.cli.main import cli
from harness.errors import UsageError
from harness.guests.deadlines import deadlines
from harness.matrix.load import load_matrix, shipped_path
from harness.matrix.model import STANDARD_PROFILE
from harness.matrix.plan import asked_of
from harness.payload.build import Payload, ProbeInfo, probe_list
from harness.rules.load import load_catalogue
from harness.runs.planning.payload_tasks import Probes, chosen, crosscheck_globs, fitted, probes_meant, workload
from harness.verdicts.judge import assign
from harness.verdicts.scenario import Scenario

IDS = ("munmap/anon-rw/exact", "munmap/anon-r/head", "after-cold-munmap/anon-r/exact", "race-munmap/anon-rw/plain")


@pytest.fixture
def payload(tmp_path: Path) -> Payload:
    elf = tmp_path / "payload"
    elf.write_bytes(b"ELF")
    infos = [ProbeInfo(name, "f", *name.split("/"), "SSS") for name in IDS]
    return Payload("x86_64", elf, sha256(b"ELF").hexdigest(), "id", "zig", tuple(infos))


@pytest.mark.parametrize(
    ("globs", "planned", "arguments"),
    [
        ((), IDS, ()),
        (("munmap/*",), IDS[:2], ("--run", "munmap/*")),
        (("!after-*", "!race-*"), IDS[:2], ("--exclude", "after-*", "--exclude", "race-*")),
        (("!*/anon-rw/*", "*munmap/*"), IDS[1:3], ("--run", "*munmap/*", "--exclude", "*/anon-rw/*")),
    ],
)
def test_globs(payload: Payload, globs: tuple[str, ...], planned: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    work = workload(payload, globs, 2.5, kmsg=False)
    assert tuple(probe.id for probe in work.planned) == planned
    assert work.arguments == ("--deadline-ms", "2500", *arguments)


def test_no_probe_left_is_bad_input(payload: Payload) -> None:
    with pytest.raises(UsageError, match="no probe matches"):
        workload(payload, ("!*",), 1, kmsg=True)
    with pytest.raises(UsageError, match="no probe matches munmapp/"):
        workload(payload, ("munmap/*", "munmapp/*"), 1, kmsg=True)  # what was meant would not have been asked
    assert workload(payload, ("!race/*",), 1, kmsg=True).planned


@pytest.mark.parametrize(("need", "least"), [("hugepages", 10), ("swap", 2)])
def test_a_machine_has_what_its_probes_use(need: str, least: int) -> None:
    """Every probe of a rule that needs swap or huge pages counts as one that uses them."""
    rules = [rule for rule in load_catalogue().values() if need in rule.needs]
    using = [probe for probe in chosen(probe_list(), ()) if any(rule.speaks_for(probe) for rule in rules)]
    assert len(using) >= least
    for probe in using:
        assert getattr(fitted(STANDARD_PROFILE, [probe]), need) == getattr(STANDARD_PROFILE, need)


def test_a_machine_has_nothing_its_probes_do_not_use() -> None:
    plain = fitted(STANDARD_PROFILE, chosen(probe_list(), ["!*/hugetlb-*"]))
    assert (plain.hugepages, plain.swap) == (0, STANDARD_PROFILE.swap)
    still = fitted(STANDARD_PROFILE, chosen(probe_list(), ["!swap-*", "!*pageout*"]))
    assert (still.hugepages, still.swap) == (STANDARD_PROFILE.hugepages, 0)
    smoke = asked_of(load_matrix(shipped_path()), "smoke").probes
    bare = fitted(STANDARD_PROFILE, chosen(probe_list(), smoke))
    assert (bare.hugepages, bare.swap) == (0, 0)
    assert fitted(STANDARD_PROFILE, chosen(probe_list(), ())) == STANDARD_PROFILE
    assert fitted(STANDARD_PROFILE, [Scenario("a question", "").probe]) == STANDARD_PROFILE


def test_the_shipped_selections() -> None:
    """The default matrix asks a few probes of every operation and every rule, but for four families; nightly asks all
    of them."""
    matrix = load_matrix(shipped_path())
    assert asked_of(matrix, "nightly").probes == ()
    assert asked_of(matrix, kernels=["debian-6.12"]).probes == ()
    globs = asked_of(matrix).probes
    every, asked = chosen(probe_list(), ()), chosen(probe_list(), globs)
    assert len(asked) < len(every) / 3
    for glob in globs:
        assert any(fnmatchcase(probe.id, glob.removeprefix("!")) for probe in every), glob
    elsewhere = ("after-", "process-madvise-", "race-", "consumer-")
    others = [p for p in every if not p.operation.startswith(elsewhere) and not p.region.startswith("anon-huge")]
    assert {probe.operation for probe in asked} >= {probe.operation for probe in others}
    rules = load_catalogue()
    assert {rule.id for rule, _ in assign(rules, asked)} >= {rule.id for rule, _ in assign(rules, others)}


def test_a_selection_named_with_a_kernel_says_what_it_is_asked() -> None:
    """Not which kernels: somebody's own image may be asked the short list alone."""
    matrix = load_matrix(shipped_path())
    mine = meant_cells(matrix, Words(given=("debian-7.2",), asks="smoke", against=NONE), lambda *_: None)
    assert {spec.kernel.name for spec in mine.specs} == {"debian-7.2"}
    assert mine.probes == asked_of(matrix, "smoke").probes != ()
    assert meant_cells(matrix, Words(given=("debian-7.2",), against=NONE), lambda *_: None).probes == ()
    both = meant_cells(matrix, Words(given=("debian-7.2",), selection="smoke", against=NONE), lambda *_: None)
    assert len(both.specs) > len(mine.specs)
    with pytest.raises(UsageError, match="unknown selection 'smokey'"):
        meant_cells(matrix, Words(given=("debian-7.2",), asks="smokey", against=NONE), lambda *_: None)


def test_a_glob_for_the_second_payload_that_means_nothing_is_bad_input() -> None:
    """Cut by accident, nightly's line of crosscheck once named nothing, and nobody was told."""
    limits = deadlines("x86_64", "tcg", "x86_64", load=1.0)
    with pytest.raises(UsageError, match=r"no probe that matches mseal-pgae/\*"):
        Probes((), ("mseal/anon-rw/exact", "mseal-pgae/*")).workload("x86_64", limits, kmsg=False)


def test_a_crosscheck_of_nothing_is_bad_input(tmp_path: Path) -> None:
    assert crosscheck_globs(("munmap/*",)) == ("munmap/*",)
    assert "munmap/*" in crosscheck_globs()
    with pytest.raises(UsageError, match=r"no probe of the Python payload matches race-\*"):
        crosscheck_globs(("race-*",))
    results = tmp_path / "results"
    done = CliRunner().invoke(cli, ["crosscheck", "--host", "-r", "race-*", "--results", str(results)])
    assert isinstance(done.exception, UsageError)
    assert not results.exists()


def test_a_run_says_that_it_crosschecks_nothing() -> None:
    assert Probes(("race-*",), ("*",)).remarks() == (
        "no crosscheck: the Python payload has no probe that matches race-*",
    )
    assert Probes(("race-*",)).remarks() == ()
    assert Probes(("munmap/*",), ("*",)).remarks() == ()


def test_a_rule_means_its_probes_and_its_id_is_understood_among_globs() -> None:
    rule = load_catalogue()["munmap-blocked"]
    its_own = {probe.id for probe in chosen(probe_list(), ()) if rule.speaks_for(probe)}
    assert set(probes_meant((), ("munmap-blocked",))) == its_own
    assert set(probes_meant(("munmap-blocked",), ())) == its_own
    assert probes_meant(("munmap/*",), ()) == ("munmap/*",)
    assert set(probes_meant((), ("munmap-*",))) > its_own
    with pytest.raises(UsageError, match="did you mean 'munmap-blocked'"):
        probes_meant((), ("munmap-blockd",))
