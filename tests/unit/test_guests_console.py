"""The crash finder: real logs of real kernels, and everything that makes consoles hard to read."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.guests.console import MAX_QUOTED, MAX_REPORTS, find_crashes, unplaced
from harness.guests.console_lines import dropped, last_lines, messages
from tests.console_goldens import END, UNKNOWN, Golden, goldens

GOLDENS = {golden.path.name: golden for golden in goldens()}


@pytest.mark.parametrize("name", GOLDENS)
def test_real_logs(name: str) -> None:
    """What is found is what the head of the log says (``python -m tests.console_goldens --write``)."""
    golden = GOLDENS[name]
    assert golden.head == golden.expected
    assert UNKNOWN not in golden.head


def test_a_log_gets_its_head_and_keeps_what_it_is(tmp_path: Path) -> None:
    log = b"sealmatrix: begin a/b/c\n\xff\r\n\nBUG: Bad page state in process x  pfn:1\n"
    golden = Golden(tmp_path / "new.log", "", log)
    golden.write()
    head, _, rest = golden.path.read_bytes().partition(END)
    assert rest == log
    assert head.decode().splitlines() == [
        f"from: {UNKNOWN}", "reports: 1", "", "kind: bug, a crash", "title: BUG: Bad page state in process x  pfn:1",
        "probe: a/b/c",
    ]  # fmt: skip


@pytest.mark.parametrize("name", GOLDENS)
def test_quoted_lines_are_clean_and_few(name: str) -> None:
    assert GOLDENS[name].crashes
    for crash in GOLDENS[name].crashes:
        assert 0 < len(crash.lines) <= MAX_QUOTED
        assert all(line.isprintable() and not line.startswith("[") for line in crash.lines)


# --- lanes -----------------------------------------------------------------------------------------------------------

TWO_LANES = """\
[    1.000000] sealmatrix: begin munmap/anon-r/exact in lane 1
[    1.000001] sealmatrix: begin munmap/anon-rw/exact in lane 0
[    1.000002] sealmatrix: begin mprotect-rw/anon-r/exact in lane 1
[    1.100000] BUG: unable to handle page fault for address: 00000000deadbeef
[    1.100001] sealmatrix: begin munmap/anon-r/into in lane 0
[    1.100003] CPU: 1 UID: 0 PID: 61 Comm: {process} Not tainted 7.3.4 #1
[    1.100011] Kernel panic - not syncing: Fatal exception
"""
IN_LANE_0, IN_LANE_1 = "munmap/anon-rw/exact", "mprotect-rw/anon-r/exact"


@pytest.mark.parametrize(
    ("process", "suspects"),
    [
        ("sealmatrix-1", {IN_LANE_1}),
        ("sealmatrix-0", {IN_LANE_0}),
        ("kworker/0:1", {IN_LANE_0, IN_LANE_1}),
        ("sealmatrix-12", {IN_LANE_0, IN_LANE_1}),
    ],
)
def test_of_probes_side_by_side_the_one_whose_process_is_named(process, suspects):
    (crash,) = find_crashes(TWO_LANES.format(process=process))
    assert set(crash.suspects) == suspects


@pytest.mark.parametrize(
    "line",
    [
        "BUG: Bad page state in process sealmatrix-1  pfn:01234",
        "BUG: KASAN: use-after-free in f+0x1/0x2\nRead of size 8 at addr ffff888012345678 by task sealmatrix-1/61",
    ],
)
def test_reports_that_name_the_process_themselves(line):
    (crash,) = find_crashes("".join(TWO_LANES.splitlines(keepends=True)[:3]) + line + "\n")
    assert crash.suspects == (IN_LANE_1,)


def test_what_runs_alone_is_the_only_suspect():
    alone = "sealmatrix: begin race-munmap/anon-rw/exact\nBUG: Bad rss-counter state mm:1 type:MM_ANONPAGES val:1\n"
    (crash,) = find_crashes("".join(TWO_LANES.splitlines(keepends=True)[:3]) + alone)
    assert crash.suspects == ("race-munmap/anon-rw/exact",)
    (crash,) = find_crashes(alone.splitlines()[0] + "\n" + TWO_LANES.format(process="ksmd"))
    assert set(crash.suspects) == {IN_LANE_0, IN_LANE_1}
    (crash,) = find_crashes("".join(TWO_LANES.splitlines(keepends=True)[:3]) + "sealmatrix: end\nBUG: late\n")
    assert crash.suspects == ()


# --- what makes consoles hard to read --------------------------------------------------------------------------------

OOPS = """\
[    1.000000] sealmatrix: begin munmap/anon-rw/exact
[    1.100000] BUG: kernel NULL pointer dereference, address: 0000000000000000
[    1.100001] #PF: supervisor write access in kernel mode
[    1.100002] Oops: Oops: 0002 [#1] SMP NOPTI
[    1.100003] CPU: 0 UID: 0 PID: 61 Comm: payload Not tainted 7.3.4 #1
[    1.100004] RIP: 0010:do_mseal+0x16/0x20
[    1.100005] Call Trace:
[    1.100006]  <TASK>
[    1.100007]  do_syscall_64+0x5d/0x80
[    1.100008]  </TASK>
[    1.100009] ---[ end trace 0000000000000000 ]---
[    1.100010] RIP: 0010:do_mseal+0x16/0x20
[    1.100011] Kernel panic - not syncing: Fatal exception
[    1.100012] Kernel Offset: disabled
"""


def test_an_oops_that_panics_is_one_crash_named_for_its_cause():
    (crash,) = find_crashes(OOPS)
    assert crash.title == "BUG: kernel NULL pointer dereference, address: 0000000000000000 in do_mseal"
    assert (crash.kind, crash.fatal, crash.during, crash.line) == ("oops", True, "munmap/anon-rw/exact", 2)
    assert "Kernel panic - not syncing: Fatal exception" in crash.lines
    assert "RIP: 0010:do_mseal+0x16/0x20" in crash.lines


@pytest.mark.parametrize(
    "mangle",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("[    1.", "[    1.", 1).replace("] BUG", "][   T61] BUG"),
        lambda text: text.replace("] ", "][    C0] "),
        lambda text: text.replace("] ", "][  T61-payload] "),
        lambda text: text.replace("[    1.", "<4>[    1."),
        lambda text: "\x1b[2J\x1b[0m\x00" + text.replace("] BUG", "] \x1b[31mBUG"),
        lambda text: text.replace("exact\n", "exact\n[    1.05] half a li", 1).replace("half a li", "half a li"),
        lambda text: text.replace("munmap/anon-rw/exact\n", "munmap/anon-rw/exact\n\n\n"),
        lambda text: "\n".join(line.partition("] ")[2] for line in text.split("\n")),  # printk.time=0
    ],
)
def test_the_same_crash_however_it_is_dressed(mangle):
    (crash,) = find_crashes(mangle(OOPS))
    assert crash.title == "BUG: kernel NULL pointer dereference, address: 0000000000000000 in do_mseal"
    assert crash.during == "munmap/anon-rw/exact"


def test_lines_glued_by_two_cpus_come_apart():
    text = "[    1.000000] some driver: no newline[    1.000001] BUG: unable to handle page fault for address: ffff\n"
    (crash,) = find_crashes(text)
    assert crash.title == "BUG: unable to handle page fault for address: ffff"


def test_a_report_within_a_crash_is_part_of_it_and_a_later_one_is_not():
    between = "[    1.100005] BUG: unable to handle page fault for address: dead\n[    1.100005] Call Trace:"
    assert len(find_crashes(OOPS.replace("[    1.100005] Call Trace:", between))) == 1
    kasan = "BUG: KASAN: slab-use-after-free in f+0x1/0x2\nCall Trace:\n f+0x1/0x2\n" + "=" * 66 + "\n"
    assert [c.kind for c in find_crashes(kasan + kasan)] == ["sanitizer", "sanitizer"]


def test_a_report_that_names_its_place_gets_no_other():
    text = "BUG: KASAN: wild-memory-access in do_raw_spin_lock+0x62/0x96\nRIP: 0010:identify_cpu+0x1/0x2\n"
    (crash,) = find_crashes(text)
    assert crash.title == "BUG: KASAN: wild-memory-access in do_raw_spin_lock+0x62/0x96"


def test_a_kernel_that_complains_without_end_is_heard_for_a_while():
    assert len(find_crashes("WARNING: at f+0x1/0x2\n---[ end trace 0 ]---\n" * 1000)) == MAX_REPORTS


def test_a_warning_is_a_note_unless_it_panics():
    warning = "WARNING: mm/mseal.c:12 at f+0x1/0x2, CPU#0: payload/61\nRIP: 0010:f+0x1/0x2\n---[ end trace 0 ]---\n"
    (note,) = find_crashes(warning)
    assert (note.kind, note.fatal) == ("warning", False)
    (crash,) = find_crashes(warning + "Kernel panic - not syncing: kernel: panic_on_warn set ...\n")
    assert (crash.kind, crash.fatal) == ("panic", True)
    assert crash.title.startswith("WARNING: mm/mseal.c:12")


def test_an_old_warning_is_not_blamed_for_a_new_panic():
    warning = "WARNING: mm/mseal.c:12 at f+0x1/0x2\n---[ end trace 0 ]---\n"
    panic = "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000200\n"
    for between in ("ordinary line\n" * 200, "sealmatrix: begin a/b/c\n"):
        note, crash = find_crashes(warning + between + panic)
        assert (note.kind, note.fatal, crash.kind, crash.fatal) == ("warning", False, "panic", True)


def test_after_the_payload_no_probe_is_to_blame():
    text = "sealmatrix: begin a/b/c\nsealmatrix: end\nBUG: Bad page state in process init  pfn:1\n"
    (crash,) = find_crashes(text)
    assert (crash.kind, crash.during) == ("bug", None)


@pytest.mark.parametrize(
    ("line", "kind", "fatal"),
    [
        ("Kernel panic - not syncing: System is deadlocked on memory", "panic", True),
        ("Unable to handle kernel paging request at virtual address dfff800000000000", "oops", True),
        ("Internal error: synchronous external abort: 0000000096000010 [#1]  SMP", "oops", True),
        ("Oops: general protection fault, probably for non-canonical address 0x0: 0000 [#1] SMP", "oops", True),
        ("general protection fault, maybe for address 0x1: 0000 [#1] PREEMPT SMP NOPTI", "oops", True),
        ("traps: PANIC: double fault, error_code: 0x0", "oops", True),
        ("kernel BUG at mm/vma.c:123!", "bug", True),
        ("BUG: Bad rss-counter state mm:00000000d1a2 type:MM_ANONPAGES val:1", "bug", True),
        ("BUG: sleeping function called from invalid context at mm/mseal.c:1", "bug", True),
        ("BUG: KASAN: slab-use-after-free in do_mseal+0x1/0x2", "sanitizer", True),
        ("BUG: KFENCE: out-of-bounds read in do_mseal+0x1/0x2", "sanitizer", True),
        ("BUG: KCSAN: data-race in do_mseal / do_munmap", "sanitizer", True),
        ("UBSAN: array-index-out-of-bounds in mm/mseal.c:1:2", "sanitizer", True),
        ("INFO: task payload:61 blocked for more than 120 seconds.", "hung-task", False),
        ("watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [payload:61]", "lockup", False),
        ("BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 30s!", "lockup", False),
        ("watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 0", "lockup", False),
        ("rcu: INFO: rcu_preempt self-detected stall on CPU", "lockup", False),
        ("rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", "lockup", False),
        ("Out of memory: Killed process 61 (payload) total-vm:1kB", "oom", False),
        ("WARNING: CPU: 0 PID: 61 at mm/mseal.c:1 do_mseal+0x1/0x2", "warning", False),
        ("WARNING: possible circular locking dependency detected", "warning", False),
    ],
)
def test_each_kind(line, kind, fatal):
    (crash,) = find_crashes(f"[    1.000000] ordinary\n[   12.345678] {line}\n")
    assert (crash.kind, crash.fatal, crash.title, crash.line) == (kind, fatal, line, 2)


@pytest.mark.parametrize(
    "line",
    [
        "payload[61]: segfault at 0 ip 0000000001001 sp 00007 error 6 in payload[1000000+4000]",
        "tsc: Unable to calibrate against PIT",
        "traps: payload[61] trap invalid opcode ip:401000 sp:7ffe error:0",
        "sealmatrix: BUG: a payload may write this",
        "Kernel command line: panic=-1 oops=panic",
        "x86/CPU: Model not found in latest microcode list",
        "systemd: BUG: not the kernel's line",
    ],
)
def test_no_crash(line):
    assert find_crashes(f"[    1.000000] {line}\n") == ()


@given(st.text(max_size=2000))
def test_any_text_is_a_console(text):
    for crash in find_crashes(text):
        assert crash.title
        assert crash.lines
    assert len(last_lines(text, 3)) <= 3


def test_a_hostile_console_is_read_in_good_time():
    begun = time.process_time()
    for filler in ("x" * 100_000, "[" * 100_000, "BUG: " * 20_000, "[    1.000000] " * 8_000, "\x1b[" * 50_000):
        find_crashes(filler)
        find_crashes("\n".join([filler[:900]] * 200))
    assert time.process_time() - begun < 10


def test_messages_number_lines_from_one():
    assert list(messages("a\n\n[    1.000000] b\r\n")) == [(1, "a"), (3, "b")]


KASAN = "BUG: KASAN: use-after-free in f+0x1/0x2\n"


def test_a_crash_is_told_however_many_notes_came_before_it() -> None:
    found = find_crashes("WARNING: at f+0x1/0x2\n---[ end trace 0 ]---\n" * 60 + KASAN)
    assert [crash.fatal for crash in found] == [False] * MAX_REPORTS + [True]


def test_a_report_without_an_end_is_not_that_of_the_next_probe_of_its_lane() -> None:
    console = (
        "sealmatrix: begin long in lane 0\n"
        "sealmatrix: begin first in lane 1\n"
        "BUG: Bad page state in process sealmatrix-1  pfn:1\n"
        "sealmatrix: begin second in lane 1\n"
        "BUG: Bad page map in process sealmatrix-1  pte:1\n"
    )
    assert [crash.suspects for crash in find_crashes(console)] == [("first",), ("second",)]


def test_a_report_that_names_no_lane_is_closed_by_the_end_of_any_probe_it_may_have_come_from() -> None:
    console = (
        "sealmatrix: begin long in lane 0\n"
        "sealmatrix: begin first in lane 1\n"
        "BUG: Bad page state, it says\n"
        "sealmatrix: begin second in lane 1\n"
        "BUG: Bad page state, it says\n"
    )
    assert [set(crash.suspects) for crash in find_crashes(console)] == [{"long", "first"}, {"long", "second"}]


def test_a_report_that_goes_on_in_another_lane_suspects_both() -> None:
    console = (
        "sealmatrix: begin a in lane 0\n"
        "sealmatrix: begin b in lane 1\n"
        "BUG: Bad page state in process sealmatrix-1  pfn:1\n"
        "BUG: Bad page state in process sealmatrix-0  pfn:2\n"
    )
    (crash,) = find_crashes(console)
    assert set(crash.suspects) == {"a", "b"}


@pytest.mark.parametrize(
    ("console", "why"),
    [
        ("", "no probe marks"),
        (KASAN, "no probe marks"),
        ("sealmatrix: begin a\nsealmatrix: end\n" + KASAN, "use-after-free in f+0x1/0x2, when no probe ran"),
        (KASAN + "sealmatrix: begin a\nsealmatrix: end\n", ""),  # the boot's own
        ("sealmatrix: begin a\n" + KASAN + "sealmatrix: end\n", ""),  # the probe's verdict tells it
        ("sealmatrix: begin a\nsealmatrix: end\nWARNING: at f+0x1/0x2\n", ""),
    ],
)
def test_what_a_console_tells_must_be_some_probes(console: str, why: str) -> None:
    found = unplaced(console, find_crashes(console))
    assert why in found
    assert bool(why) == bool(found)


@pytest.mark.parametrize(
    ("console", "lost"),
    [
        ("sealmatrix: begin a\n** 12 printk messages dropped **\n", True),
        ("sealmatrix: begin a\nfoo** 1 printk message dropped **\nsealmatrix: end\n", True),
        ("sealmatrix: begin b\nsealmatrix: begin a\nsealmatrix: end\n** 12 printk messages dropped **", True),
        ("** 12 printk messages dropped **\nsealmatrix: begin a\nsealmatrix: end\n", False),  # the boot's own
        ("** 12 printk messages dropped **\nsealmatrix: begin a and 1 more in lane 1\n", False),
        ("** 12 printk messages dropped **\nsealmatrix: begin b in lane 1\nsealmatrix: begin a in lane 0\n", False),
        ("** 12 printk messages dropped **\nsealmatrix: begin b\nsealmatrix: end\n", True),  # the mark of a is lost
        ("** 12 printk messages dropped **\n", True),  # all marks are lost
        ("sealmatrix: begin a\nsealmatrix: end\n", False),
    ],
)
def test_dropped_messages_may_have_been_a_report(console: str, lost: bool) -> None:
    assert bool(dropped(console, ["a", "b"])) == lost


def test_a_warning_of_memory_management_on_a_kernel_that_names_no_file() -> None:
    """It is told by the call on the stack; a driver's warning on such a kernel stays a note."""
    text = GOLDENS["warning-mm-no-file-x86_64-7.3.log"].console
    assert [crash.warns_of_memory for crash in find_crashes(text)] == [True]
    elsewhere = re.sub(r"do_mprotect_pkey|__x64_sys_mprotect", "some_driver_ioctl", text)
    assert [crash.warns_of_memory for crash in find_crashes(elsewhere)] == [False]
    named = text.replace("WARNING: at", "WARNING: drivers/x.c:12 at")
    assert [crash.warns_of_memory for crash in find_crashes(named)] == [False]
