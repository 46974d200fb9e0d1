"""What a program is: told before a guest boots that could only say that it was not found."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.matrix.model import InVirtme, Profile
from harness.model.architectures import ARCHES, Arch
from harness.payload.elf import unfit
from harness.runs.interactive import refuse_unfit
from harness.runs.model import Cell

LOADER = "/lib64/ld-linux-x86-64.so.2"
MACHINES = {"x86_64": 62, "arm64": 183, "riscv64": 243}
EXECUTABLE, OBJECT = 2, 1


def elf(machine: int, kind: int = EXECUTABLE, loader: str = "") -> bytes:
    """A 64-bit ELF file as `readelf -hl` would show it: a header and, where there is a loader, PT_INTERP (elf(5))."""
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    name = loader.encode() + b"\0" if loader else b""
    segments = struct.pack("<IIQQQQQQ", 3, 4, 64 + 56, 0, 0, len(name), len(name), 1) if name else b""
    header = struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, 0, 64 if name else 0, 0, 0, 64, 56, bool(name), 64, 0, 0)
    return identity + header + segments + name


@pytest.mark.parametrize("arch", ARCHES)
def test_what_runs_in_a_guest_and_what_is_for_another(arch: Arch) -> None:
    for name, machine in MACHINES.items():
        for user_space in (False, True):
            told = "" if name == arch else f"is for {name}, the guest is {arch}"
            assert unfit(elf(machine), arch, user_space=user_space) == told


def test_32_bit_programs_are_the_kernel_s_affair() -> None:
    assert unfit(elf(3), "x86_64") == unfit(elf(40), "arm64") == ""
    assert unfit(elf(3), "arm64") == "is for 32-bit x86, the guest is arm64"


def test_what_is_linked_dynamically() -> None:
    dynamic = elf(62, loader=LOADER)
    told = f"is dynamically linked (to {LOADER}), and a guest has no libraries: link with -static"
    assert unfit(dynamic, "x86_64") == told
    assert unfit(dynamic, "x86_64", user_space=True) == ""
    assert unfit(dynamic, "x86_64", beside=["ld-linux-x86-64.so.2"]) == ""


def test_what_is_no_program() -> None:
    assert unfit(elf(62, OBJECT), "x86_64") == "is an object file, not a program: link it with -static"
    assert unfit(b"\x7fELF", "x86_64").startswith("is not a complete ELF file")
    assert unfit(elf(62)[:40], "x86_64").startswith("is not a complete ELF file")
    assert unfit(elf(62, loader=LOADER)[:70], "x86_64").startswith("is not a complete ELF file")
    assert unfit(b"#!/bin/sh\n", "x86_64") == unfit(b"", "x86_64") == ""


def test_a_real_program_of_this_machine() -> None:
    """The shell: it has a loader, which is told."""
    content = Path("/bin/sh").resolve().read_bytes()
    arch: Arch = "x86_64" if content[18:20] == b"\x3e\0" else "arm64"
    assert unfit(content, arch).startswith("is dynamically linked (to /lib")


def test_a_person_s_files_are_looked_at(tmp_path: Path) -> None:
    dynamic = elf(62, loader=LOADER)
    cell = Cell("k.x86_64", "x86_64", Profile("standard"), None)
    refuse_unfit(cell, [("script", b"#!/bin/sh\n"), ("ld-linux-x86-64.so.2", b""), ("mine", dynamic)])
    with pytest.raises(UsageError, match=r"^mine is dynamically linked .*: link with -static$"):
        refuse_unfit(cell, [("script", b"#!/bin/sh\n"), ("mine", dynamic)])
    rooted = Cell("k.x86_64", "x86_64", Profile("lived-in", guest=InVirtme({"x86_64": tmp_path})), None)
    refuse_unfit(rooted, [("mine", dynamic)])
