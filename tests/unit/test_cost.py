"""Costs: what the payload wrote becomes one number a row, two kernels are compared, and what is missing is said."""

from __future__ import annotations

import json
import threading
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from harness.bisect.cost import cost_question, cost_row
from harness.bisect.predicate import SeenRule
from harness.bisect.session import BisectOptions
from harness.cli.cost import CutShort, _CostRun, cost, count_kernels
from harness.cost.functions import FunctionCosts, _api, by_function, largest, read_symbols
from harness.cost.measure import cost_program, cost_rows, measure
from harness.cost.model import Cost, CostTable, changes, chosen_rows, read_costs, settle, slopes
from harness.cost.stored import stored_costs
from harness.errors import BootFailed, Interrupted, LostGuest, UsageError
from harness.guests.model import Exited, Guest, Output
from harness.kernels.resolve import Resolution
from harness.matrix.load import load_matrix, shipped_path
from harness.matrix.model import CellSpec, KernelSpec, Profile
from harness.matrix.sources.machine import MachineSource
from harness.model.architectures import ARCHES, ARCHITECTURES
from harness.qualify.costs import CostPair, costs_kept
from harness.qualify.policy import CostDemand
from harness.reports.cost import (
    Costed,
    cost_json,
    cost_junit,
    cost_lines,
    cost_page,
    cost_steps,
    functions_json,
    functions_lines,
)
from tests.bisect_fakes import kernel
from tests.fakes import FakeGuest

PLAN = b'{"plan":1,"frequency":1000000000,"mseal":true}'
COUNTED = Profile("counted", memory=512, counted=True)
STORED = Path(__file__).parents[1] / "data" / "cost" / "munmap-6.12.jsonl"


def row(name: str, spent: Sequence[int], *, ended: int = 0, errno: int = 0) -> bytes:
    return json.dumps({"row": name, "ended": ended, "result": 0, "errno": errno, "spent": list(spent)}).encode()


def table(name: str, version: str = "6.12", **settled: float) -> CostTable:
    costs = {f"{key}/1/none": Cost(f"{key}/1/none", value, value, 0.0, 48) for key, value in settled.items()}
    return CostTable(name, "x86_64", f"{version}-fake", version, costs, pinned=("one CPU",))


def test_what_a_real_kernel_wrote_is_read() -> None:
    plan, costs = read_costs(STORED.read_bytes().splitlines())
    assert plan.mseal
    assert costs["munmap/1/none"].settled == 7304
    assert costs["munmap/1/none"].first > costs["munmap/1/none"].settled
    assert costs["munmap/1/refused"].errno == "EPERM"
    assert costs["munmap/8/none"].calls == 48


def test_an_interrupt_in_some_calls_is_not_in_the_cost() -> None:
    quiet = settle("munmap/1/none", [900] * 16 + [700] * 32, 1.0)
    noisy = settle("munmap/1/none", [900] * 16 + [700, 9000, 700, 700, 720, 700, 700, 12000] * 4, 1.0)
    assert quiet.settled == noisy.settled == 700
    assert quiet.first == 900


def test_a_coarse_counter_is_made_finer_by_calls_that_begin_at_different_places() -> None:
    spent = [62] * 16 + [62, 63, 62, 63, 62, 62, 63, 62] * 4
    assert settle("brk/1/none", spent, 16.0).settled == pytest.approx(62.375 * 16, abs=0.1)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        pytest.param([], "without its last line", id="nothing"),
        pytest.param([PLAN, row("munmap/1/none", [1])], "without its last line", id="cut off"),
        pytest.param([PLAN, b"Segmentation fault", b'{"end":1}'], "something else", id="no record"),
        pytest.param([PLAN, b'{"row":"munmap/1/none"}', b'{"end":1}'], "something else", id="half a record"),
        pytest.param([PLAN, row("a/1/none", [1]), row("a/1/none", [1]), b'{"end":1}'], "twice", id="twice"),
        pytest.param([PLAN, b'{"end":1}', row("a/1/none", [1])], "after its end", id="after the end"),
    ],
)
def test_a_payload_that_is_cut_off_or_damaged_is_a_lost_guest(lines: list[bytes], why: str) -> None:
    with pytest.raises(LostGuest, match=why):
        read_costs(lines)


@pytest.mark.parametrize(
    ("line", "trouble"),
    [
        pytest.param(row("munmap/1/none", [5, 5], ended=14), "killed by signal 14 after 2 calls", id="deadline"),
        pytest.param(row("munmap/1/none", [], ended=256), "ended with status 1 after 0 calls", id="failed"),
        pytest.param(row("munmap/1/none", [5] * 48, errno=12), "failed with ENOMEM", id="refused, plain"),
        pytest.param(row("munmap/1/refused", [5] * 48), "was not refused", id="not refused, sealed"),
    ],
)
def test_a_row_that_did_not_do_what_it_is_named_for_has_no_cost(line: bytes, trouble: str) -> None:
    _, costs = read_costs([PLAN, line, b'{"end":1}'])
    (cost,) = costs.values()
    assert cost.settled == 0
    assert trouble in cost.trouble


def test_a_table_with_a_row_in_trouble_is_no_whole_answer() -> None:
    _, costs = read_costs([PLAN, row("munmap/1/none", [5] * 48, errno=12), b'{"end":1}'])
    one = Costed(replace(table("k"), costs=costs), None, 2.0)
    assert one.exit_code == 3
    assert "incomplete: 1 row could not be counted, the first munmap/1/none" in "\n".join(cost_lines([one]))
    suite = ET.fromstring(cost_junit([one])).find("testsuite")
    assert suite is not None
    assert suite.get("errors") == "1"


def test_slopes_say_what_each_further_mapping_costs() -> None:
    costs = {f"munmap/{n}/none": Cost(f"munmap/{n}/none", 0, 500 + 100 * n) for n in (1, 2, 8, 64, 1000)}
    ((operation, seals, each, rest),) = slopes(costs)
    assert (operation, seals) == ("munmap", "none")
    assert each == pytest.approx(100)
    assert rest == pytest.approx(500)


def test_what_grew_decides_the_exit_status_and_is_said_first() -> None:
    here, there = (
        table("new", "7.3", munmap=1030, mmap=500, mprotect=90),
        table("old", munmap=1000, mmap=500, mprotect=100),
    )
    assert [round(change.percent, 6) for change in changes(here, there)] == [3, 0, -10]
    one = Costed(here, there, 2.0)
    assert one.exit_code == 1
    assert Costed(here, there, 5.0).exit_code == 0
    text = list(cost_lines([one]))
    assert "3 costs compared: 1 grew by 2 % or more, 1 shrank by as much, 1 are unchanged" in text[1]
    assert all(len(line) <= 80 for line in text[2:])
    suite = ET.fromstring(cost_junit([one])).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    assert cost_json(one)["changes"][0] == {"row": "munmap/1/none", "here": 1030, "there": 1000, "percent": 3.0}


def test_a_baseline_without_an_answer_is_not_nothing_grew() -> None:
    one = Costed(table("new", munmap=1000), CostTable("old", "x86_64", lost="it never said hello"), 2.0)
    assert one.exit_code == 3
    assert "old gave no answer: it never said hello" in one.why_not


def test_a_row_without_a_cost_on_the_baseline_is_not_one_that_has_not_grown() -> None:
    old = table("old", munmap=1000, mprotect=100)
    old = replace(old, costs={**old.costs, "munmap/1/none": Cost("munmap/1/none", trouble="it was killed")})
    one = Costed(table("new", munmap=2000, mprotect=100), old, 2.0)
    assert one.exit_code == 3
    assert one.why_not == "1 row could not be counted on old, the first munmap/1/none: it was killed"
    suite = ET.fromstring(cost_junit([one])).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("errors"), suite.get("skipped")) == ("2", "1", "0")


def test_what_was_not_asked_is_no_column() -> None:
    one = Costed(table("k", munmap=7304), None, 2.0)
    head, counts, row = cost_lines([one])
    assert head.startswith("k x86_64 (6.12-fake): instructions a call")
    assert (counts.split(), row.split()) == (["1"], ["munmap", "7,304"])
    assert "<th>8</th>" not in cost_page([one], {})
    whole = {f"munmap/{n}/none": Cost(f"munmap/{n}/none", 0, 500 + 100 * n) for n in (1, 8)}
    whole["munmap/8/refused"] = Cost("munmap/8/refused", 0, 900.0)
    lines = list(cost_lines([Costed(replace(table("k"), costs=whole), None, 2.0)]))
    assert lines[1].split() == ["1", "8", "a", "mapping"]
    assert lines[3].split()[:4] == ["munmap", "refused", "-", "900"]
    assert lines[-1] == "  refused: the last mapping is sealed, and the call fails"
    assert "<th>8</th>" in cost_page([Costed(replace(table("k"), costs=whole), None, 2.0)], {})


def test_along_versions_only_the_steps_are_told() -> None:
    kernels = [table("a", "6.12", munmap=1000), table("c", "7.0", munmap=1200), table("b", "6.16.3", munmap=1005)]
    text = "\n".join(cost_lines([Costed(one, None, 2.0) for one in kernels]))
    assert "3 kernels from a to c" in text
    assert "munmap/1/none: a 1,000" in text
    assert "c                        1,200    +20.0 %" in text
    assert [one.kernel for one, _, _ in cost_steps(kernels, "munmap/1/none", 2.0)] == ["a", "c", "b"]


def test_the_page_names_every_kernel_and_every_operation() -> None:
    costed = [Costed(table("new", "7.3", munmap=1030), table("old", munmap=1000), 2.0)]
    page = cost_page(costed, {"munmap/1/none": "munmap of the range"})
    assert "munmap of the range" in page
    assert "<polyline" in page
    assert "+3.0 %" in page
    assert "one CPU" in page


@pytest.mark.parametrize(
    ("word", "found"),
    [("munmap/1/none", 1), ("munmap/8", 3), ("munmap", 15), ("mmap", 10), ("*/1/refused", 5)],
)
def test_rows_are_chosen_by_id_by_beginning_and_by_glob(word: str, found: int) -> None:
    assert len(chosen_rows(tuple(cost_rows()), [word])) == found


def test_a_row_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="munmapp: no such cost"):
        chosen_rows(tuple(cost_rows()), ["munmapp"])
    with pytest.raises(UsageError, match="name one, such as munmap/1/none"):
        cost_row("munmap")
    assert cost_row("munmap/8") == "munmap/8/none"


def test_a_kernel_is_measured_through_the_guest() -> None:
    guest = FakeGuest([PLAN + b"\n" + row("munmap/1/none", [700] * 48) + b"\n", b'{"end":1}\n', Exited(0, None)])
    told = measure(kernel("6.12"), COUNTED, lambda: guest, ("munmap/1/none",), lambda text: None)
    assert told.costs["munmap/1/none"].settled == 700
    assert guest.calls[-2:] == ["run /work/cost munmap/1/none", "stop"]
    assert any("-icount" in fact for fact in told.pinned)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([PLAN, Exited(0, None)], id="cut off"),
        pytest.param([Output("err", b"cost: mmap: Cannot allocate memory"), Exited(1, None)], id="status"),
        pytest.param([LostGuest("it hung")], id="lost"),
    ],
)
def test_a_guest_that_gives_no_answer_is_lost_and_stopped(script: list[object]) -> None:
    guest = FakeGuest(script)  # type: ignore[arg-type]
    told = measure(kernel("6.12"), COUNTED, lambda: guest, (), lambda text: None)
    assert told.lost
    assert Costed(told, None, 2.0).exit_code == 3
    assert guest.calls[-1] == "stop"


def test_a_guest_that_does_not_boot_is_lost() -> None:
    def boot() -> Guest:
        raise BootFailed("it never said hello")

    assert measure(kernel("6.12"), COUNTED, boot, (), lambda text: None).lost == "it never said hello"


def test_counts_go_to_the_function_that_their_address_lies_in() -> None:
    symbols = read_symbols(
        [b"ffffffff81000000 T _text", b"ffffffff81000100 t walk.isra.0", b"ffffffff81000200 T do_munmap"]
    )
    places = [(0x40001000, 7), (0xFFFFFFFF81000108, 10), (0xFFFFFFFF810001F0, 5), (0xFFFFFFFF81000200, 3)]
    assert dict(by_function(places, symbols)) == {"(the program)": 7, "walk": 15, "do_munmap": 3}


def test_a_kernel_that_hides_its_addresses_is_no_answer() -> None:
    with pytest.raises(LostGuest, match="does not tell the addresses"):
        read_symbols([b"0000000000000000 T do_munmap"])


def test_the_functions_that_differ_most_are_told_first() -> None:
    here = FunctionCosts("new", "x86_64", "munmap/1/none", {"a": 100.0, "b": 50.0, "c": 5.0})
    there = FunctionCosts("old", "x86_64", "munmap/1/none", {"a": 100.0, "b": 10.0, "d": 7.0})
    assert [name for name, _, _ in largest(here, there)] == ["b", "d", "c", "a"]
    text = list(functions_lines(here, there))
    assert text[3].split() == ["b", "10", "50", "+40"]
    lost = replace(there, functions={}, lost="it never said hello")
    assert list(functions_lines(here, lost)) == ["old x86_64, munmap/1/none: no answer: it never said hello"]
    assert functions_json(here, lost)["lost"] == "it never said hello"


def test_the_marks_are_what_the_payload_has() -> None:
    for arch in ARCHES:
        program = cost_program(arch).read_bytes()
        assert all(bytes.fromhex(mark) in program for mark in ARCHITECTURES[arch].marks), arch


@pytest.mark.parametrize(
    ("version", "api"), [("7.2.22 (Debian)", 1), ("9.0.2", 1), ("9.1.0", 4), ("10.0.2", 4), ("?", 1)]
)
def test_the_plugin_is_built_for_the_version_of_qemu(version: str, api: int) -> None:
    assert _api(version) == api


@pytest.mark.parametrize(
    ("by", "amount", "answer"),
    [
        (1.0, 1009.0, "good"),
        (1.0, 1010.0, "bad"),
        (-5.0, 951.0, "good"),
        (-5.0, 950.0, "bad"),
        (1.0, None, "untestable"),
    ],
)
def test_bad_is_what_costs_more_than_the_good_end(by: float, amount: float | None, answer: str) -> None:
    asked = cost_question("munmap/1/none", by)
    reference = SeenRule("observed", "", "", (("munmap/1/none", "1,000 instructions"),), amount=1000.0)
    assert asked.compares
    assert asked.answer(SeenRule("observed", "", "", (("munmap/1/none", "x"),), amount=amount), reference) == answer
    assert asked.answer(reference, None) == "good"


def test_a_bisection_of_a_cost_can_be_asked_again() -> None:
    task = BisectOptions(over="builds", rule="cost", arch="arm64", good="a", bad="b", cost="munmap/1/none", by=1.5)
    assert replace(task, profile="counted").arguments == ["--cost", "munmap/1/none", "--by", "1.5%", "--arch", "arm64"]


def test_costs_that_were_measured_are_found_again_by_the_kernel(tmp_path: Path) -> None:
    for day, value in (("20261127-010000", 1000.0), ("20261128-010000", 1010.0)):
        folder = tmp_path / "cost" / day
        folder.mkdir(parents=True)
        one = Costed(replace(table("new", munmap=value), sha256="aa"), None, 2.0)
        lost = Costed(CostTable("old", "x86_64", sha256="bb", lost="it hung"), None, 2.0)
        (folder / "cost.json").write_text(json.dumps([cost_json(one), cost_json(lost)]))
    found = stored_costs(tmp_path)
    assert {key: told.costs["munmap/1/none"].settled for key, told in found.items()} == {("aa", "x86_64"): 1010.0}
    (tmp_path / "cost" / "20261128-010000" / "cost.json").write_text('[{"kernel": "new"}]')
    with pytest.raises(UsageError, match="these are no costs"):
        stored_costs(tmp_path)


NEW, OLD = table("new", "7.3", munmap=1030, mmap=500), table("old", munmap=1000, mmap=500)
TROUBLED = replace(NEW, costs={**NEW.costs, "munmap/1/none": Cost("munmap/1/none", trouble="it was killed")})


@pytest.mark.parametrize(
    ("here", "there", "by", "kept", "says"),
    [
        pytest.param(NEW, OLD, 2.0, False, "1 of 2 costs grew: munmap/1/none +3.0 %", id="grown"),
        pytest.param(NEW, OLD, 5.0, True, "none of 2 costs grew", id="kept"),
        pytest.param(None, OLD, 5.0, False, "sealmatrix cost new --against old -a x86_64", id="not measured"),
        pytest.param(NEW, replace(OLD, costs={}), 5.0, False, "was not measured beside old", id="nothing in common"),
        pytest.param(NEW, table("old", munmap=1030), 2.0, False, "1 of 2 costs have no number on both", id="one side"),
        pytest.param(TROUBLED, OLD, 2.0, False, "the first is munmap/1/none: sealmatrix cost new", id="trouble"),
    ],
)
def test_a_policy_may_demand_that_nothing_costs_more(
    here: CostTable | None, there: CostTable | None, by: float, kept: bool, says: str
) -> None:
    met, told = costs_kept(CostDemand(by=by), [CostPair("new", "old", "x86_64", here, there)])
    assert met is kept
    assert says in told


def test_a_demand_on_costs_means_every_row_there_is() -> None:
    pair = CostPair("new", "old", "x86_64", OLD, OLD)
    rows = ("munmap/1/none", "mmap/1/none", "mprotect/1/none", "munmap/1/refused")
    met, told = costs_kept(CostDemand(), [pair], rows)
    assert not met
    assert "1 of 3 costs have no number on both kernels, the first is mprotect/1/none" in told
    assert costs_kept(CostDemand(rows=("m*map/*/none",)), [pair], rows)[0]
    met, told = costs_kept(CostDemand(rows=("munmap/1/none", "mseal/*")), [pair], rows)
    assert not met
    assert "the first is mseal/*" in told


def test_some_rows_that_were_asked_again_leave_the_others(tmp_path: Path) -> None:
    first, again = table("new", munmap=1000.0, mmap=500.0), table("new", munmap=1010.0)
    elsewhere = replace(again, pinned=("another machine",))
    for number, one in enumerate((first, again, elsewhere)):
        folder = tmp_path / "cost" / f"2026112{number}-010000"
        folder.mkdir(parents=True)
        (folder / "cost.json").write_text(json.dumps([cost_json(Costed(replace(one, sha256="aa"), None, 2.0))]))
        (found,) = stored_costs(tmp_path).values()
        rows = {row: cost.settled for row, cost in found.costs.items()}
        if number == 1:
            assert rows == {"munmap/1/none": 1010.0, "mmap/1/none": 500.0}
    assert rows == {"munmap/1/none": 1010.0}


def test_a_demand_on_costs_without_a_baseline_is_not_met() -> None:
    assert costs_kept(CostDemand(), []) == (False, "no cell has a baseline")


def cell_named(name: str) -> CellSpec:
    return CellSpec(KernelSpec(name, MachineSource(), ("x86_64",)), "x86_64", COUNTED)


def test_interrupted_it_ends_every_guest_and_has_what_was_measured(tmp_path: Path) -> None:
    """The others' guests would measure on for half a minute, and nobody would have their answers."""
    guests = [FakeGuest(), FakeGuest()]
    given: list[Guest] = [*guests]
    run = _CostRun(tmp_path, Resolution({}, ()), 1.0, (), Console(), quiet=True, guests=given)
    measured = threading.Event()

    def work(spec: CellSpec) -> CostTable:
        if spec.kernel.name == "b":
            assert measured.wait(10)
            raise KeyboardInterrupt("working")
        if spec.kernel.name == "c":
            assert guests[0].stopped.wait(10)
        measured.set()
        return table("a", munmap=1)

    with pytest.raises(CutShort, match="working") as cut:
        run.each([cell_named("a"), cell_named("b"), cell_named("c")], work, 1)
    assert [guest.stopped.is_set() for guest in guests] == [True, True]
    assert {name: found.kernel for name, found in cut.value.ended.items()} == {"a.x86_64.counted": "a"}


@pytest.mark.parametrize("against", [(), ("--against", "debian-6.1")])
def test_what_was_counted_before_an_interrupt_is_kept_and_told(
    against: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def each(self: _CostRun, specs: Sequence[CellSpec], *_: object) -> None:
        found = replace(table("debian-6.12", munmap=1000.0), sha256="aa")
        raise CutShort(KeyboardInterrupt(), {specs[0].id: found})

    monkeypatch.setattr(_CostRun, "each", each)
    monkeypatch.setattr("harness.cli.cost.provide", lambda *_, **__: Resolution({}))
    words = ["debian-6.12", "debian-7.2", "-a", "x86_64", "--results", str(tmp_path / "cost"), *against]
    done = CliRunner().invoke(cost, words, standalone_mode=False)
    assert isinstance(done.exception, Interrupted), done.exception
    assert "1 of" in str(done.exception) and "not counted: debian-7.2.x86_64.counted" in str(done.exception)
    assert done.output.startswith("debian-6.12 x86_64 (6.12-fake): instructions a call")
    (kept,) = stored_costs(tmp_path).values()
    assert kept.costs["munmap/1/none"].settled == 1000.0


def test_a_night_that_is_interrupted_keeps_what_it_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def each(self: _CostRun, specs: Sequence[CellSpec], *_: object) -> None:
        raise CutShort(KeyboardInterrupt(), {specs[0].id: replace(table("a", munmap=1.0), sha256="aa")})

    monkeypatch.setattr(_CostRun, "each", each)
    matrix = load_matrix(shipped_path())
    kernels = [kernel(name) for name in list(matrix.kernels)[:2]]
    folder = tmp_path / "cost" / "n-01"
    with pytest.raises(KeyboardInterrupt):
        count_kernels(matrix, [(k, None) for k in kernels], folder, scale=1.0, aside=Console(), quiet=True)
    assert [kept.sha256 for kept in stored_costs(tmp_path).values()] == ["aa"]


def test_what_only_one_kernel_has_is_not_compared_and_that_is_said() -> None:
    both = Costed(table("new", munmap=1000, mseal=50), table("old", munmap=1000), 2.0)
    assert both.exit_code == 0
    assert "1 costs were measured on new only" in "\n".join(cost_lines([both]))
    suite = ET.fromstring(cost_junit([both])).find("testsuite")
    assert suite is not None
    assert suite.get("skipped") == "1"
    nothing = Costed(table("new", mseal=50), table("old", munmap=1000), 2.0)
    assert nothing.exit_code == 3
    assert nothing.why_not == "no cost was measured both here and on old"


def test_a_page_of_kernels_without_a_cost_says_so() -> None:
    page = cost_page([Costed(table("old"), None, 2.0)], {})
    assert "nothing was measured" in page
