"""Coverage: blocks, lines and branches of real ELF files, traces judged by hand, and what a guest's stream becomes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from errno import ENOSYS
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from harness.cli.coverage import coverage
from harness.coverage.elf import read_code
from harness.coverage.measure import CoverageTrace, measure_coverage, pairs_of, read_sources, rules_of, sources_for
from harness.coverage.model import Branch, Code, CoveragePair, CoverageResult, FunctionCoverage, Way, judge
from harness.coverage.smallest import parts_of, smallest
from harness.errors import ImageError, LostGuest, UsageError
from harness.explore.program import parse_program
from harness.explore.source import ProgramSource
from harness.guests.model import Booted, Event, Exited, Output
from harness.kernels.model import Kernel, Origin
from harness.kernels.store import Store
from harness.payload.build import build
from harness.reports.coverage import coverage_json, coverage_lines, coverage_page
from harness.rules.load import load_catalogue
from tests.bisect_fakes import kernel
from tests.fakes import FakeGuest
from tests.support.promising_kernel import PromisingKernel

DATA = Path(__file__).parents[1] / "data" / "coverage"
FILE = "mm/mseal.c"
LINES = (DATA / "mseal.c").read_text().splitlines()
# The blocks of x86_64.elf: entry, b > 3, n > 100, helper(n), is_odd, loop, its body, return.
ENTRY, SECOND, INNER, CALLED, ODD, LOOP, BODY, RETURN = (
    0x401015, 0x40101F, 0x40102E, 0x401039, 0x40104E, 0x40105C, 0x40106D, 0x401083,
)  # fmt: skip


def number(text: str) -> int:
    """The line of mseal.c that holds a text."""
    return 1 + next(i for i, line in enumerate(LINES) if text in line)


def trace(*blocks: int) -> frozenset[CoveragePair]:
    return frozenset(zip((0, *blocks), blocks, strict=False))


def branches_of(function: FunctionCoverage) -> dict[int, list[tuple[bool, bool]]]:
    found: dict[int, list[tuple[bool, bool]]] = {}
    for line, one, other in function.branches:
        found.setdefault(line, []).append((one, other))
    return found


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_a_kernels_code_is_read(arch: str) -> None:
    code = read_code(DATA / f"{arch}.elf")
    assert code.functions == {FILE: ((2, "is_odd"), (7, "inner"), (14, "outer"))}
    assert set(code.symbols.values()) == {"outer"}  # the others were inlined
    assert code.function_at((FILE, number("return n & 1"))) == "is_odd"
    assert code.function_at((FILE, number("return -1"))) == "inner"
    assert code.function_at((FILE, 1)) == ""
    # Every line with code, and no other.
    texts = {LINES[line - 1].strip() for _, line in code.lines}
    assert {"if (a && b > 3)", "return -22;", "if (n > 100)", "return -1;", "return helper(n);"} <= texts
    assert texts.isdisjoint({"", "int err;", "int helper(int);"})
    assert sorted(LINES[b.place[1] - 1].strip() for b in code.branches) == sorted([
        "if (a && b > 3)", "if (a && b > 3)", "if (n > 100)", "if (err)", "if (is_odd(b))",
        "for (int i = 0; i < b; i++)", "for (int i = 0; i < b; i++)",
    ])  # fmt: skip


def test_what_stands_between_two_blocks_ran_when_that_way_was_gone() -> None:
    """`return -22` has no block of its own: the compiler loads the number on the way to the end."""
    code = read_code(DATA / "x86_64.elf")
    refused = FILE, number("return -22")
    assert code.lines[refused] == {Way(SECOND, RETURN)}
    went = {"p": trace(ENTRY, SECOND, INNER, CALLED, RETURN)}
    functions, _ = judge(code, went, {})
    outer = next(f for f in functions if f.name == "outer")
    assert (outer.lines[number("if (err)")], outer.lines[refused[1]]) == (True, False)
    functions, _ = judge(code, {**went, "q": trace(ENTRY, SECOND, RETURN)}, {})
    outer = next(f for f in functions if f.name == "outer")
    assert outer.lines[refused[1]]
    assert branches_of(outer)[number("if (a && b > 3)")] == [(False, True), (True, True)] or branches_of(outer)[
        number("if (a && b > 3)")
    ] == [(True, False), (True, True)]


def test_lines_and_branches_by_rule() -> None:
    code = read_code(DATA / "x86_64.elf")
    traces = {
        "munmap/anon-rw/exact": trace(ENTRY, SECOND, INNER, CALLED, RETURN),
        "mprotect/anon-rw/exact": trace(ENTRY, CALLED, ODD, LOOP, BODY, BODY, RETURN),
    }
    functions, by_line = judge(code, traces, {"munmap/anon-rw/exact": ("R1",), "mprotect/anon-rw/exact": ("R2", "R3")})
    assert [f.name for f in functions] == ["is_odd", "inner", "outer"]
    assert by_line[FILE, number("if (n > 100)")] == ("R1",)
    assert by_line[FILE, number("if (err)")] == ("R1", "R2", "R3")
    assert by_line[FILE, number("a += helper(b)")] == ()
    outer = functions[-1]
    assert outer.rules == ("R1", "R2", "R3")
    assert sorted(branches_of(outer)[number("for (int")]) == sorted([(True, False), (True, True)])
    assert (outer.both_ways, outer.reached) == (3, True)  # a, err, and the loop's end


def test_a_way_with_a_call_on_it_counts_after_what_was_called() -> None:
    symbols = {1: "f", 2: "f", 3: "f", 9: "g"}
    sides = frozenset({Way(1, 2, calls=True)}), frozenset({Way(1, 3, calls=True)})
    code = Code(symbols, {(FILE, 5): frozenset({1})}, (Branch((FILE, 5), sides),), {FILE: ((4, "f"),)})

    def took(*blocks: int) -> tuple[tuple[int, bool, bool], ...]:
        return judge(code, {"p": trace(*blocks)}, {})[0][0].branches

    assert took(1, 9, 2) == ((5, True, False),)  # g, called, has a block of its own
    assert took(1, 3) == ((5, False, True),)
    assert took(2, 3) == ((5, False, False),)  # 3 was reached from another block of f
    strict = Branch((FILE, 5), (frozenset({Way(1, 2)}), frozenset({Way(1, 3)})))
    code = Code(symbols, code.lines, (strict,), code.functions)
    assert took(1, 9, 2) == ((5, False, False),)  # nothing is called between the two: 2 was reached otherwise


def test_a_file_without_kcov_or_lines_says_what_to_do(tmp_path: Path) -> None:
    other = tmp_path / "vmlinux"
    other.write_bytes((DATA / "x86_64.elf").read_bytes().replace(b"mseal.c", b"mseam.c"))
    with pytest.raises(ImageError, match="build it with the fragment kcov"):
        read_code(other)


def test_pairs_are_read() -> None:
    assert pairs_of("0000000081001015810010158100101f") == {(0, 0x81001015), (0x81001015, 0x8100101F)}
    for text in ("81", "zz", "00000000810010"):
        with pytest.raises(ValueError, match=r"."):
            pairs_of(text)


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"type":"coverage","probe":"p","pairs":"8","all":true}', b"7"])
def test_a_line_that_is_no_record_ends_it(line: bytes) -> None:
    with pytest.raises(LostGuest, match="no record"):
        CoverageTrace().line(line)


PROBE = "munmap/anon-rw/exact"


def stream(*blocks: int, kept: bool = True) -> list[bytes]:
    pairs = "".join(f"{before:08x}{block:08x}" for before, block in trace(*blocks))
    records = (
        {"type": "plan", "probes": [PROBE]},
        {"type": "coverage", "probe": PROBE, "pairs": pairs, "all": kept},
        {"type": "end"},
    )
    return [json.dumps(record).encode() + b"\n" for record in records]


@pytest.fixture
def own() -> Kernel:
    return kernel("own")


def measured(own: Kernel, guest: FakeGuest) -> CoverageResult:
    return measure_coverage(own, DATA / "x86_64.elf", lambda: guest, (PROBE,), lambda _: None)


def test_a_guest_is_measured(own: Kernel) -> None:
    whole = b"".join(stream(ENTRY, SECOND, RETURN))
    guest = FakeGuest([whole[:50], whole[50:]])
    result = measured(own, guest)
    assert (result.lost, result.probes, result.cut, result.silent) == ("", 1, (), ())
    assert any("--coverage" in call and f"--run {PROBE}" in call for call in guest.calls)
    assert guest.calls[-1] == "stop"
    assert "munmap-blocked" in result.by_line[FILE, number("return -22")]
    told = "\n".join(coverage_lines(result))
    assert "outer" in told
    assert "never reached: 2 functions\n    mm/mseal.c: is_odd, inner" in told
    found = coverage_json(result)
    assert found["totals"]["functions_reached"] == 1
    page = coverage_page(result, {FILE: LINES})
    assert "one way only" in page
    assert "if (a &amp;&amp; b &gt; 3)" in page
    assert page.count('<th colspan="4">mm/mseal.c</th>') == 1  # once above its functions, not beside each


@pytest.mark.parametrize(
    ("script", "lost"),
    [
        ([*stream(ENTRY)[:2], Exited(0, None)], "did not come to its end"),
        ([Output("err", b"payload: coverage: /sys/kernel/debug/kcov: No such file or directory\n"), Exited(3, None)],
         "/sys/kernel/debug/kcov: No such file"),
        ([LostGuest("gone")], "gone"),
        (stream(), "no probe ran any block"),
        (stream(*range(1, 40)), "that of another kernel"),
    ],
)  # fmt: skip
def test_what_is_no_whole_answer_is_said(own: Kernel, script: list, lost: str) -> None:
    result = measured(own, FakeGuest(script))
    assert lost in result.lost
    assert lost in "\n".join(coverage_lines(result))


def test_probes_that_were_planned_and_told_nothing_are_said(own: Kernel) -> None:
    plan = json.dumps({"type": "plan", "probes": [PROBE, "munmap/anon-r/exact"]}).encode() + b"\n"
    result = measured(own, FakeGuest([plan, *stream(ENTRY, SECOND)[1:]]))
    assert result.lost == "1 of 2 planned probes told nothing, munmap/anon-r/exact the first of them"


def test_a_trace_that_was_cut_is_said(own: Kernel) -> None:
    result = measured(own, FakeGuest(stream(ENTRY, SECOND, kept=False)))
    assert result.cut == (PROBE,)
    assert "the trace of 1 probe was cut" in "\n".join(coverage_lines(result))


class Both(PromisingKernel):
    """The probes first; the next guest runs programs, a batch of them."""

    def boot(self) -> Booted:
        return Booted("7.3", "x86_64", 4096, "", "tcg", "", 0.1)

    def run(self, argv: Sequence[str]) -> Iterator[Event]:
        if "--explore" in argv:
            yield from super().run(argv)
            return
        yield from [Output("out", line) for line in stream(ENTRY, SECOND)]
        yield Exited(0, None)


def test_generated_programs_are_measured_beside_the_probes(
    own: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr("harness.explore.session.time.monotonic", lambda: next(clock))
    programs = [parse_program(f"window 2 x 1 page, usual: anon 2 rw\nmunmap 0-{n}") for n in (0, 1)]
    monkeypatch.setattr(ProgramSource, "batch", lambda *_: programs)
    guest = Both(tmp_path, covers=lambda _: [(0, ENTRY), (SECOND, RETURN)])
    result = measure_coverage(own, DATA / "x86_64.elf", lambda: guest, (PROBE,), lambda _: None, explore=3)
    assert (result.lost, result.probes, result.programs) == ("", 1, 2)
    assert result.by_line[FILE, number("return -22")] == ("exploration",)
    assert result.only_explored == coverage_json(result)["lines_only_explored"] >= 1
    told = "\n".join(coverage_lines(result))
    assert "1 probes and 2 generated programs" in told
    assert f"{result.only_explored} of these lines were run by generated programs only" in told
    page = coverage_page(result, {FILE: LINES})
    assert "2 generated programs" in page
    # Exploration is no rule, and what only programs reach is not what probes reach.
    (function,) = [f for f in result.functions if f.reached]
    assert "exploration" in function.rules
    assert function.number_of_rules == len(function.rules) - 1
    assert 'title="exploration"' in page
    assert "1 rule: exploration, " in page
    several = "\n".join(coverage_lines(replace(result, smallest=("a", "b"))))
    assert "2 of the 1 probes reach all that they reach together" in several


def test_exploration_that_ran_no_program_is_no_whole_answer(
    own: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = [parse_program("window 2 x 1 page, usual: anon 2 rw\nmunmap 0-1")]
    monkeypatch.setattr(ProgramSource, "batch", lambda *_: programs)
    guest = Both(tmp_path, mseal=ENOSYS)
    result = measure_coverage(own, DATA / "x86_64.elf", lambda: guest, (PROBE,), lambda _: None, explore=3)
    assert result.lost == "exploration: no program ran"


def test_rules_about_every_probe_say_nothing_of_one() -> None:
    rules = rules_of(build("x86_64"), load_catalogue())
    assert "munmap-blocked" in rules[PROBE]
    assert not any("sealing-changes-nothing" in those for those in rules.values())


def test_few_probes_reach_what_all_do() -> None:
    code = read_code(DATA / "x86_64.elf")
    reached = parts_of(code)
    traces = {
        "all-but-the-loop": trace(ENTRY, SECOND, INNER, CALLED, ODD, LOOP, RETURN),
        "less": trace(ENTRY, SECOND, INNER, CALLED),
        "loop": trace(ENTRY, CALLED, ODD, LOOP, BODY, BODY, RETURN),
        "nothing": frozenset(),
    }
    parts = {probe: reached(pairs) for probe, pairs in traces.items()}
    assert parts["less"] < parts["all-but-the-loop"]
    chosen = smallest(parts)
    assert chosen == ("all-but-the-loop", "loop")
    assert frozenset().union(*(parts[probe] for probe in chosen)) == frozenset().union(*parts.values())


@given(st.dictionaries(st.text(max_size=3), st.frozensets(st.integers(0, 9))))
def test_what_is_chosen_reaches_everything_and_each_adds_something(reached: dict[str, frozenset[int]]) -> None:
    chosen = smallest(reached)
    covered: set[int] = set()
    for name in chosen:
        assert reached[name] - covered
        assert len(reached[name] - covered) == max(len(parts - covered) for parts in reached.values())
        covered |= reached[name]
    assert covered == set().union(*reached.values())


def test_sources_are_those_that_were_built(own: Kernel, tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    package = tmp_path / "cache/sources/linux-source-7.3_1%3a7.3.4-1"
    built, tree = tmp_path / "build", tmp_path / "linux"
    for folder in (package / "mm", tree / "mm", built):
        folder.mkdir(parents=True)
    (tree / "mm/mseal.c").write_text("one\ntwo\n")
    assert sources_for(store, own, built / "vmlinux") is None
    assert read_sources(None, [FILE]) == {}
    (built / "source").symlink_to(tree)
    assert sources_for(store, own, tree / "vmlinux") == tree
    found = sources_for(store, own, built / "vmlinux")
    assert read_sources(found, [FILE, "mm/vma.c"]) == {FILE: ("one", "two")}
    whose = replace(own, origin=Origin("tree", "linux-source-7.3 1:7.3.4-1"))
    assert sources_for(store, whose, built / "vmlinux") == package


def test_a_time_that_is_none_is_refused_by_the_name_of_its_option() -> None:
    for time in ("soon", ""):
        answer = CliRunner().invoke(coverage, ["--explore", time])
        assert isinstance(answer.exception, UsageError)
        assert str(answer.exception).startswith(f"--explore {time}: write a number")
