"""Run a program behind a seccomp filter: ``python seccomp.py ERRNO NUMBER,... PROGRAM ARGUMENT...``.

The system calls of these numbers are refused with the error; with no number, the filter permits everything.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, MODE_FILTER = 22, 38, 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000


def _program(error: int, numbers: list[int]) -> bytes:
    steps = [(LOAD, 0, 0, 0)]
    steps += [(JUMP_IF_EQUAL, len(numbers) - i, 0, number) for i, number in enumerate(numbers)]
    steps += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ERRNO | error)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def main(error: str, numbers: str, *argv: str) -> None:
    """Install the filter and become the program."""
    code = _program(int(error), [int(n) for n in numbers.split(",") if n])
    text = ctypes.create_string_buffer(code, len(code))
    filters = struct.pack("@HP", len(code) // 8, ctypes.addressof(text))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, MODE_FILTER, filters, 0, 0):
        raise OSError(ctypes.get_errno(), "no seccomp filter")
    os.execv(argv[0], argv)


if __name__ == "__main__":
    main(*sys.argv[1:])
