"""Which functions of mm/ a sealed call went through: read, sliced, compared and printed."""

from __future__ import annotations

from harness.reports.kernel_calls import calls_lines
from harness.runs.kernel_calls import (
    ComparedCalls,
    KernelCalls,
    calls_json,
    operation_of,
    parse_executed,
    parse_graph,
    parse_symbols,
    without_repetitions,
)

ENTRY = "__x64_sys_"
# As debian-6.12 wrote it, shortened: the engine (139) tries mseal, the control half is 141, the sealed one 142.
GRAPH = """\
 payload-139   | __x64_sys_mseal() {
 payload-139   | }
 payload-141   | __x64_sys_clock_gettime();
 payload-141   | __x64_sys_munmap() {
 payload-141   |   vms_complete_munmap_vmas();
 payload-141   | }
 payload-141   | __x64_sys_clock_gettime();
 ------------------------------------------
 0)  payload-141  =>  payload-142
 ------------------------------------------
 payload-142   | __x64_sys_mseal() {
 payload-142   |   mprotect_fixup.isra.0();
 payload-142   | }
 payload-142   | __x64_sys_clock_gettime();
 payload-142   | __x64_sys_munmap() {
 payload-142   |   __vm_munmap() {
 payload-142   |     vms_gather_munmap_vmas.isra.0();
 payload-142   |   }
 payload-142   | }
 payload-142   | __x64_sys_clock_gettime();
 payload-142   | walk_page_vma();
"""
SYMBOLS = """\
ffffffff81000010 T __x64_sys_clock_gettime
ffffffff81000100 T filemap_check_errors
ffffffff81000110 T __x64_sys_munmap
ffffffff81000110 T __ia32_sys_munmap
ffffffff81000120 t do_vmi_munmap
ffffffff81000130 T __x64_sys_mseal
ffffffff81000200 T filp_close
ffffffff81000300 t do_vmi_munmap	[other]
"""


def executed(*places: int) -> list[str]:
    return [f"Trace 0: 0x7f00 [0000000000000000/{0xFFFFFFFF81000000 + place:016x}/0040/ff00] x\n" for place in places]


def test_the_graph_of_the_sealed_half() -> None:
    assert operation_of(parse_graph(GRAPH.splitlines()), ENTRY) == (
        (0, "__x64_sys_munmap"),
        (1, "__vm_munmap"),
        (2, "vms_gather_munmap_vmas"),
    )


def test_a_half_that_never_came_back_is_taken_to_its_end() -> None:
    cut = GRAPH[: GRAPH.rindex(" payload-142   |   }")]
    assert operation_of(parse_graph(cut.splitlines()), ENTRY) is not None
    assert operation_of(parse_graph(GRAPH.splitlines()[:9]), ENTRY) is None  # no half has sealed


def test_qemus_log_is_cut_to_functions_of_mm_and_to_the_sealed_half() -> None:
    symbols = parse_symbols(SYMBOLS.splitlines())
    assert symbols is not None
    control = executed(0x130, 0x10, 0x110, 0x120, 0x10)  # the payload's own mseal, and the control half
    sealed = executed(0x130, 0x134, 0x10, 0x110, 0x114, 0x205, 0x200, 0x300, 0x10)
    found = operation_of(parse_executed([*control, "odd\n", *sealed], symbols, ENTRY), ENTRY)
    assert found == ((0, "__x64_sys_munmap"),)
    stray = executed(0x130, 0x10, 0x10, 0x110, 0x120, 0x10)  # the time may be asked for once more, by whoever waits
    assert operation_of(parse_executed([*stray, *sealed], symbols, ENTRY), ENTRY) == found


def test_a_kernel_that_hides_where_its_functions_lie() -> None:
    assert (
        parse_symbols(line.replace("ffffffff81", "0000000000", 1) for line in ["0000000000000000 T filp_close"]) is None
    )
    assert parse_symbols([]) is None


def test_what_a_loop_does_is_shown_once() -> None:
    turn = ((1, "lru_add"), (2, "folio_mapping"))
    assert without_repetitions(((0, "a"), *turn * 16, (0, "b"))) == ((0, "a"), *turn, (0, "b"))
    assert without_repetitions(()) == ()


def test_two_kernels_side_by_side_differences_first() -> None:
    here = KernelCalls("mine.x86_64", "qemu", ((0, "munmap"), (0, "gather"), (0, "complete")))
    there = KernelCalls("stock.x86_64", "qemu", ((0, "munmap"), (0, "gather"), (0, "can_modify")))
    compared = ComparedCalls("munmap/anon-rw/exact", here, there)
    lines = calls_lines(compared)
    assert "mine.x86_64: 3 functions, by QEMU's log" in lines[1]
    assert lines[3].strip() == "only in mine.x86_64: complete"
    assert lines[4].strip() == "only in stock.x86_64: can_modify"
    assert [line[0] for line in lines[-4:]] == [" ", " ", "≠", "≠"]
    (told,) = calls_json([compared])
    assert (told["only_here"], told["only_baseline"]) == (["complete"], ["can_modify"])


def test_what_cannot_be_traced_is_one_line_and_the_other_is_shown() -> None:
    here = KernelCalls("mine.x86_64", None, (), "ftrace: the kernel has no function_graph tracer")
    there = KernelCalls("stock.x86_64", "ftrace", ((0, "munmap"),))
    lines = calls_lines(ComparedCalls("p", here, there))
    assert lines[1] == "  mine.x86_64: cannot be traced: ftrace: the kernel has no function_graph tracer"
    assert lines[-1].strip() == "munmap"
    assert "stock.x86_64: 1 function, by ftrace" in lines[2]
