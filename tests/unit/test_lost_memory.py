"""kmemleak: what a kernel has lost while our probes ran fails them; what others lost is a note."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.guests.console import find_crashes, unplaced
from harness.guests.model import Exited, Output
from harness.kernels.model import Kernel, Origin
from harness.matrix.model import Profile
from harness.runs.execution.leaks import look_for_leaks, looks_for_leaks
from harness.runs.model import Cell, Workload
from tests.fakes import FakeGuest
from tests.support.scripted_runs import WORKLOAD

PLANNED = ["mseal/anon-rw/exact", "munmap/anon-rw/exact"]
LIST = """\
[   3.100000] sealmatrix: begin mseal/anon-rw/exact and 1 more in lane 0
[   4.000000] sealmatrix: end
[  19.100000] kmemleak: unreferenced object 0xffff8880047a1d00 (size 192):
[  19.100000] kmemleak:   comm "{comm}", pid 81, jiffies 4294895171
[  19.100000] kmemleak:   hex dump (first 32 bytes):
[  19.100000] kmemleak:     00 00 00 00 00 00 00 00 00 10 00 00 00 00 00 00  ................
[  19.100000] kmemleak:   backtrace (crc 5d1f2b3c):
[  19.100000] kmemleak:     {at}kmem_cache_alloc_noprof+0x1c3/0x2f0
[  19.100000] kmemleak:     {at}vm_area_dup+0x1f/0x120
[  19.100000] kmemleak:     {at}do_mseal+0x15a/0x3c0
"""


@pytest.mark.parametrize("at", ["", "[<00000000a1b2c3d4>] "], ids=["7.3", "6.12"])
def test_the_probe_that_asked_for_it_is_named(at: str) -> None:
    (crash,) = find_crashes(LIST.format(comm="probe-1", at=at), PLANNED)
    assert (crash.kind, crash.fatal) == ("leak", True)
    assert crash.title == "kmemleak: unreferenced object (size 192) in vm_area_dup"
    assert crash.suspects == ("munmap/anon-rw/exact",)
    assert crash.lines == (
        'comm "probe-1", pid 81, jiffies 4294895171',
        "kmem_cache_alloc_noprof+0x1c3/0x2f0",
        "vm_area_dup+0x1f/0x120",
        "do_mseal+0x15a/0x3c0",
    )


@pytest.mark.parametrize("comm", ["sealmatrix-0", "payload-c", "probe-7", "exe", "3", "memfd:program32"])
def test_what_a_process_of_ours_lost_that_ran_more_than_one_probe_is_none_of_theirs(comm: str) -> None:
    text = LIST.format(comm=comm, at="")
    crashes = find_crashes(text, PLANNED)
    assert [(c.kind, c.fatal, c.suspects) for c in crashes] == [("leak", True, ())]
    assert unplaced(text, crashes).endswith(", asked for by a process that runs several probes")


@pytest.mark.parametrize("comm", ["swapper/0", "kworker/0:1", "init", "modprobe", "executor", "3d"])
def test_what_the_machine_lost_by_itself_is_a_note(comm: str) -> None:
    text = LIST.format(comm=comm, at="")
    crashes = find_crashes(text, PLANNED)
    assert [(c.kind, c.fatal) for c in crashes] == [("leak", False)]
    assert unplaced(text, crashes) == ""


def test_what_was_lost_alike_is_told_once_for_each_probe() -> None:
    begin, item = LIST.split("[  19.100000]", 1)
    items = "".join(f"[  19.100000]{item}".format(comm=comm, at="") for comm in ("probe-1", "probe-0", "probe-1"))
    crashes = find_crashes(begin + items.replace("1d00", "2a80"), PLANNED)
    assert [crash.during for crash in crashes] == [PLANNED[1], PLANNED[0]]


@pytest.mark.parametrize("order", [("kworker/0:1", "sealmatrix-0"), ("sealmatrix-0", "kworker/0:1")])
def test_what_the_machine_lost_alike_hides_nothing(order: tuple[str, str]) -> None:
    begin, item = LIST.split("[  19.100000]", 1)
    text = begin + "".join(f"[  19.100000]{item}".format(comm=comm, at="") for comm in order)
    crashes = find_crashes(text, PLANNED)
    assert sorted(crash.fatal for crash in crashes) == [False, True]
    assert unplaced(text, crashes)


def test_notes_that_are_alike_are_one_of_those_that_are_heard() -> None:
    begin, item = LIST.split("[  19.100000]", 1)
    alike = f"[  19.100000]{item}".format(comm="init", at="") * 60
    text = begin + alike + "[   20.000000] WARNING: CPU: 0 PID: 1 at mm/x.c:1 x+0x1/0x2\n"
    assert [crash.kind for crash in find_crashes(text, PLANNED)] == ["leak", "warning"]


def test_another_report_behind_the_list_is_its_own() -> None:
    text = LIST.format(comm="probe-0", at="") + "[  20.000000] BUG: kernel NULL pointer dereference, address: 8\n"
    assert [crash.kind for crash in find_crashes(text, PLANNED)] == ["leak", "oops"]


def kernel(**config: str) -> Kernel:
    return Kernel(
        name="k", release="7.3.4", arch="x86_64", flavour="own", image=Path("k"), image_format="vmlinux", sha256="",
        origin=Origin("tree", "t"), config=config, config_sha256="", version="7.3.4", image_sha256="",
    )  # fmt: skip


@pytest.mark.parametrize("kept", [1, 2], ids=["cut after its first line", "another report in between"])
def test_an_object_whose_process_is_not_told_may_be_ours(kept: int) -> None:
    marks, item = LIST.format(comm="probe-1", at="").split("[  19.100000]", 1)
    first, *more = f"[  19.100000]{item}".splitlines(keepends=True)
    torn = "" if kept == 1 else "[  19.100000] WARNING: CPU: 0 PID: 1 at x.c:1 x+0x1/0x2\n" + "".join(more)
    text = marks + first + torn
    crashes = find_crashes(text, PLANNED)
    assert (crashes[0].kind, crashes[0].fatal) == ("leak", True)
    assert unplaced(text, crashes)


def test_an_object_whose_first_line_is_lost_takes_nothing_from_the_one_before() -> None:
    _, *more = LIST.format(comm="init", at="").splitlines(keepends=True)[2:]
    (crash,) = find_crashes(LIST.format(comm="probe-1", at="") + "".join(more), PLANNED)
    assert (crash.fatal, crash.during) == (True, PLANNED[1])


C = replace(WORKLOAD, name="c")


@pytest.mark.parametrize(
    ("config", "boot", "workload", "looks"),
    [
        ({"DEBUG_KMEMLEAK": "y"}, (), C, True),
        ({}, (), C, False),
        ({"DEBUG_KMEMLEAK": "y", "DEBUG_KMEMLEAK_DEFAULT_OFF": "y"}, (), C, False),
        ({"DEBUG_KMEMLEAK": "y", "DEBUG_KMEMLEAK_DEFAULT_OFF": "y"}, ("kmemleak=on",), C, True),
        ({"DEBUG_KMEMLEAK": "y"}, ("kmemleak=on", "kmemleak=off"), C, False),
        ({"DEBUG_KMEMLEAK": "y"}, (), replace(C, name="python"), False),  # a scenario: its program is an interpreter
    ],
)
def test_only_a_kernel_that_can_look_is_asked_and_on_a_console_of_its_own(
    config: dict[str, str], boot: tuple[str, ...], workload: Workload, tmp_path: Path, *, looks: bool
) -> None:
    asked = Cell("c", "x86_64", Profile("standard", boot=boot), kernel(**config))
    assert looks_for_leaks(asked, FakeGuest(console=tmp_path / "console"), workload) is looks
    assert not looks_for_leaks(asked, FakeGuest(), workload)


def test_a_search_that_failed_is_told_and_is_no_clean_answer() -> None:
    guest = FakeGuest(
        script=[Output("err", b"payload: /sys/kernel/debug/kmemleak: Device or resource busy\n"), Exited(3, None)]
    )
    why = look_for_leaks(guest, "/work/payload-c")
    assert guest.calls == ["run /work/payload-c --leaks"]
    assert why == (
        "the kernel did not look for memory it has lost: payload: /sys/kernel/debug/kmemleak: Device or resource busy"
    )
    assert look_for_leaks(FakeGuest(script=[Exited(0, None)]), "p") == ""
