"""The static Python: built from the archive's packages, it runs wherever a kernel does."""

from __future__ import annotations

import subprocess
import time

import pytest

from harness.guests.model import Exited, Output
from harness.model.architectures import this_arch
from harness.payload import build_python

pytestmark = pytest.mark.kernels
LIMIT = 15_000_000


def on_the_host(code: str) -> str:
    done = subprocess.run(
        [str(build_python(this_arch()).path), "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={},
    )
    return done.stdout.strip()


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_it_is_one_small_file_with_an_identity(arch):
    payload = build_python(arch)
    assert payload.path.stat().st_size < LIMIT
    assert payload == build_python(arch)
    assert payload.id == build_python("x86_64").id
    assert {package.name for package in payload.packages} >= {"libpython3.11-dev", "libc6-dev"}


def test_it_looks_at_nothing_but_itself():
    assert on_the_host("import sys; print(sys.path, sys.flags.isolated)") == "['/proc/self/exe'] 1"
    assert on_the_host("import re, json, struct, dataclasses, threading, subprocess, zlib; print('all')") == "all"


def test_system_calls_are_raw():
    names = "import _kernel; from guest.numbers import CALLS; "
    assert on_the_host(names + "print(_kernel.syscall(CALLS['getpid']) == __import__('os').getpid())") == "True"
    assert on_the_host(names + "print(_kernel.syscall(CALLS['munmap'], 1, 4096))") == "-22"  # unaligned
    filled = "b = bytearray(8); print(_kernel.syscall(CALLS['getrandom'], b, 8, 0), any(b))"
    assert on_the_host(names + filled) == "8 True"
    refused = "import _kernel\ntry: _kernel.syscall(1, *range(7))\nexcept TypeError as e: print(e)"
    assert on_the_host(refused) == "a system call has a number and up to 6 arguments"


def test_a_fault_is_an_exception_and_the_next_access_works():
    code = """
import _kernel
for touch in (lambda: _kernel.read(16, 8), lambda: _kernel.write(16, b"x"), lambda: _kernel.read(1 << 40, 1)):
    try:
        touch()
    except _kernel.Fault as fault:
        print(fault.signal, hex(fault.address), fault.errno, isinstance(fault, OSError))
kept = bytearray(b"kept")
print(_kernel.read(_kernel.address(kept), 4))
"""
    assert on_the_host(code).splitlines() == [
        "11 0x10 14 True",
        "11 0x10 14 True",
        "11 0x10000000000 14 True",
        "b'kept'",
    ]


def test_an_area_of_more_pages_than_a_byte_has_values():
    code = """
import guest
area = guest.pages(300)
found = guest.contents(area).split()
print(found[0], found[95], found[96], found[255], found[299], "00" in found, len(found))
"""
    assert on_the_host(code) == "a0 ff 01 a0 cc False 300"


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_it_runs_in_a_guest(guest, arch):
    one = guest("debian-6.12", arch)
    one.boot()
    path = one.push("python", build_python(arch).path.read_bytes())
    begun = time.monotonic()
    code = "import os, _kernel; print(os.uname().machine, _kernel.syscall(462, 0, 0, 0), flush=True)"
    events = list(one.run([path, "-c", code]))
    machine = {"x86_64": "x86_64", "arm64": "aarch64"}[arch]
    assert events == [Output("out", f"{machine} 0\n".encode()), Exited(0, None)]
    assert time.monotonic() - begun < 30  # 0.6 s where nothing else runs; the bench tells, this catches a hang
