"""A program that writes to the channel itself, or traces PID 1, as root on a real kernel: its guest is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.payload.compiler import compile_static

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "guest_programs" / "intruder.c"
SEALMATRIX = [sys.executable, "-m", "harness"]
MATRIX = ["-f", str(ROOT / "kernels.yaml")]
TRACED = "PID 1 was stopped: something in the guest traces it"
COUNTED = "another process writes to the channel"
NOT_IDLE = "the channel reported the end of the program, but the guest was not idle"

pytestmark = pytest.mark.kernels


@pytest.mark.parametrize(("does", "says"), [("out", COUNTED), ("exit", NOT_IDLE), ("trace", TRACED)])
@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_an_intruder_by_hand(arch: str, does: str, says: str) -> None:
    intruder = compile_static([PROGRAM], arch, "intruder")  # type: ignore[arg-type]
    words = ["exec", "debian-6.12", "-a", arch, *MATRIX, "-q", "--push", str(intruder), "--", "intruder", does]
    done = subprocess.run(
        [*SEALMATRIX, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, says in done.stderr) == (3, True), done.stderr


WRITES = """
for fd in os.listdir("/proc/1/fd"):
    if "vport" in os.readlink("/proc/1/fd/" + fd):
        os.write(int(guest.syscall(438, int(guest.syscall(434, 1, 0)), int(fd), 0)), b"out 7\\nforged\\n")
"""
TRACES = """
ATTACH, DETACH = 16, 17
assert int(guest.syscall("ptrace", ATTACH, 1, 0, 0)) == 0
os.waitpid(1, 0x40000000)
assert int(guest.syscall("ptrace", DETACH, 1, 0, 0)) == 0
time.sleep(0.3)
"""


@pytest.mark.parametrize(("does", "says"), [(WRITES, COUNTED), (TRACES, TRACED)])
def test_an_intruder_in_a_scenario(tmp_path: Path, does: str, says: str) -> None:
    script = tmp_path / "intruder.py"
    script.write_text(f"import os\nimport time\n\nimport guest\n{does}\nguest.expect('it went well', 1, 1)\n")
    words = ["scenario", str(script), "-k", "debian-6.12", "-a", "x86_64", *MATRIX, "-q", "--results", str(tmp_path)]
    done = subprocess.run(
        [*SEALMATRIX, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 3, done.stdout + done.stderr
    (record,) = tmp_path.glob("*/run.json")
    cell = json.loads(record.read_text())["cells"][0]
    assert (cell["state"], says in cell["reason"]) == ("lost", True), cell["reason"]
