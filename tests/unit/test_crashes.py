"""Crashes: where in the source they happened, and one finding for what has one stack."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.guests.console import find_crashes
from harness.model.run_record import CrashRecord
from harness.runs.crashes import crashes_json, shared_crashes
from harness.runs.symbols import built_vmlinux, frames, symbolised
from tests.builders import cell, run

OOPS = """\
[    2.1] sealmatrix: begin mprotect-rw/anon-r/exact
[    2.2] BUG: kernel NULL pointer dereference, address: 0000000000000008
[    2.2] Oops: Oops: 0000 [#1] SMP
[    2.2] CPU: 0 UID: 0 PID: 40 Comm: payload Not tainted {release} #1
[    2.2] RIP: 0010:broken_check+0x{offset:x}/0x{size:x}
[    2.2] Call Trace:
[    2.2]  <TASK>
[    2.2]  ? a_guess+0x1/0x2
[    2.2]  caller_of_it+0x{caller:x}/0x{caller_size:x}
[    2.2]  </TASK>
[    2.3] ---[ end trace 0000000000000000 ]---
"""
SOURCE = """\
int broken_check(volatile int *at)
{
	return *at; /* line 3 */
}

int caller_of_it(volatile int *at)
{
	return broken_check(at) + 1;
}

int main(void) { int x = 0; return caller_of_it(&x); }
"""


def oops(release: str = "7.3.4", offset: int = 0x10, caller: int = 8) -> str:
    text = OOPS.format(release=release, offset=offset, size=0x40, caller=caller, caller_size=0x20)
    return re.sub(r"\[ *(\d+)\.(\d)\]", r"[    \1.\g<2>00000]", text)


def test_the_frames_of_a_report_without_guesses() -> None:
    (crash,) = find_crashes(oops())
    assert frames(crash.lines) == ("broken_check+0x10/0x40", "caller_of_it+0x8/0x20")


@pytest.mark.skipif(not all(map(shutil.which, ("cc", "nm", "addr2line"))), reason="cc or binutils are not installed")
def test_frames_become_lines_with_the_vmlinux_of_the_build(tmp_path: Path) -> None:
    (tmp_path / "mm").mkdir()
    (tmp_path / "mm/check.c").write_text(SOURCE)
    words = ["cc", "-g", "-O0", "-fno-inline", "-no-pie", "-o", "vmlinux", "mm/check.c"]
    subprocess.run(words, cwd=tmp_path, check=True)
    told = subprocess.run(["nm", "-S", tmp_path / "vmlinux"], capture_output=True, text=True, check=True).stdout
    sizes = {line.split()[3]: int(line.split()[1], 16) for line in told.splitlines() if len(line.split()) == 4}
    text = OOPS.format(
        release="7.3.4", offset=sizes["broken_check"] - 2, size=sizes["broken_check"], caller=8, caller_size=1
    )
    crashes = find_crashes(re.sub(r"\[ *(\d+)\.(\d)\]", r"[    \1.\g<2>00000]", text))
    (found,) = symbolised(crashes, tmp_path / "vmlinux")
    # The second frame has another size than the function there: it is of another build, and no line is made up for it.
    (place,) = found.places
    assert re.fullmatch(r"broken_check\+0x[0-9a-f]+/0x[0-9a-f]+ mm/check\.c:[34]", place)
    assert symbolised(crashes, None) == crashes
    assert symbolised(crashes, tmp_path / "mm/check.c") == crashes  # no vmlinux


def test_the_vmlinux_of_a_build_is_found_by_its_image_or_its_folder(tmp_path: Path) -> None:
    (tmp_path / "arch/x86/boot").mkdir(parents=True)
    image = tmp_path / "arch/x86/boot/bzImage"
    image.write_bytes(b"")
    assert built_vmlinux(str(image), "x86_64") is None
    (tmp_path / "vmlinux").write_bytes(b"")
    assert built_vmlinux(str(image), "x86_64") == tmp_path / "vmlinux"
    assert built_vmlinux(str(tmp_path), "x86_64") == tmp_path / "vmlinux"
    assert built_vmlinux("debian-6.12", "x86_64") is None


def record(text: str, places: tuple[str, ...] = ()) -> CrashRecord:
    (crash,) = find_crashes(text)
    return CrashRecord(
        kind=crash.kind, title=crash.title, lines=crash.lines, during=crash.during, fatal=True, places=places
    )


def test_one_mishap_is_one_finding_over_all_cells_and_builds() -> None:
    other = oops().replace("caller_of_it", "another_caller")
    cells = [
        cell("debian-6.12", crashes=[record(oops("6.12.1", 0x10)), record(other)]),
        cell("debian-7.3", crashes=[record(oops("7.3.4", 0x1C, 0x9), ("broken_check+0x1c/0x40 mm/check.c:3",))]),
    ]
    first, second = shared_crashes(cells)
    assert [one.id for one, _ in first.seen] == ["debian-6.12.x86_64", "debian-7.3.x86_64"]
    assert first.where == "mm/check.c:3 (broken_check+0x1c)"
    assert second.where == "broken_check+0x10"
    done = run(Path("results/x"), [(one, []) for one in cells])
    told = crashes_json(done)
    assert [(one["cells"], one["reports"]) for one in told] == [
        (["debian-6.12.x86_64", "debian-7.3.x86_64"], 2),
        (["debian-6.12.x86_64"], 1),
    ]
    assert told[0]["probes"] == ["mprotect-rw/anon-r/exact"]
    assert told[0]["id"] != told[1]["id"]
