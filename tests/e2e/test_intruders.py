"""A program that writes to the channel itself, traces PID 1 or is traced, as root on a real kernel: its guest is lost.

A scenario's script can do none of it.
"""

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
PROGRAM_TRACED = "another process traces the program"
COUNTED = "another process writes to the channel"
NOT_IDLE = "the channel reported the end of the program, but the guest was not idle"

pytestmark = pytest.mark.kernels


@pytest.mark.parametrize(
    ("does", "says"), [("out", COUNTED), ("exit", NOT_IDLE), ("trace", TRACED), ("trace-program", PROGRAM_TRACED)]
)
@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_an_intruder_by_hand(arch: str, does: str, says: str) -> None:
    intruder = compile_static([PROGRAM], arch, "intruder")  # type: ignore[arg-type]
    words = ["exec", "debian-6.12", "-a", arch, *MATRIX, "-q", "--push", str(intruder), "--", "intruder", does]
    done = subprocess.run(
        [*SEALMATRIX, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, says in done.stderr) == (3, True), done.stderr


# As root, by every way there is. A child of its own a script may trace.
REFUSED = r"""
import os
import struct

import guest

assert os.geteuid() == 0
words = guest.pages(1)
local = struct.pack("QQ", words.start, 8)


def opened(path, flags):
    try:
        return os.open(path, flags)
    except OSError as refusal:
        return guest.error_name(refusal.errno)


for name, pid in (("PID 1", 1), ("the payload", os.getppid())):
    guest.expect(f"{name}: PTRACE_ATTACH", guest.syscall("ptrace", 16, pid, 0, 0), "EPERM")
    guest.expect(f"{name}: PTRACE_SEIZE", guest.syscall("ptrace", 0x4206, pid, 0, 0), "EPERM")
    guest.expect(f"{name}: a write", guest.syscall("process_vm_writev", pid, local, 1, local, 1, 0), "EPERM")
    guest.expect(f"{name}: mem", opened(f"/proc/{pid}/mem", os.O_RDWR), "EACCES")
    guest.expect(f"{name}: standard output", opened(f"/proc/{pid}/fd/1", os.O_WRONLY), "EACCES")
    pidfd = int(guest.syscall("pidfd_open", pid, 0))
    for fd in range(6):
        guest.expect(f"{name}: its descriptor {fd}", guest.syscall("pidfd_getfd", pidfd, fd, 0), "EPERM")
child = os.fork()
if not child:
    os.execv("/proc/self/exe", ["python3", "-c", "import time; time.sleep(9)"])
guest.expect("a child: PTRACE_ATTACH", guest.syscall("ptrace", 16, child, 0, 0), 0)
os.write(1, b'{"type":"end","probes":1}\n')
print("undisturbed")
"""


@pytest.mark.parametrize("kernel", ["debian-6.12", "debian-newest"])
def test_a_scenario_cannot_reach_pid_1_or_the_payload(tmp_path: Path, kernel: str) -> None:
    script = tmp_path / "intruder.py"
    script.write_text(REFUSED)
    words = ["scenario", str(script), "-k", kernel, "-a", "x86_64", *MATRIX, "-q", "--results", str(tmp_path)]
    done = subprocess.run(
        [*SEALMATRIX, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = tmp_path.glob("*/run.json")
    cell = json.loads(record.read_text())["cells"][0]
    assert (cell["state"], cell["garbage"]) == ("finished", 0)
    journal = next(tmp_path.glob("*/cells/*/observations.jsonl")).read_text()
    assert '{"type":"printed","text":"undisturbed"}' in journal
    assert r'"text":"{\"type\":\"end\",' in journal
