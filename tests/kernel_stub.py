"""Stands in for the module ``_kernel`` of our own interpreter where the guest's library runs under the host's Python.

System calls are real; memory is not touched, so a scenario that reads or writes areas needs the real interpreter.
"""

import ctypes

_libc = ctypes.CDLL(None, use_errno=True)


class Fault(OSError):
    """As the interpreter has it."""


def syscall(number: int, *arguments: object) -> int:
    """The kernel's answer: minus the error's number where it refuses."""
    plain = [argument if isinstance(argument, bytes) else ctypes.c_long(argument) for argument in arguments]  # type: ignore[arg-type]
    answer = int(_libc.syscall(ctypes.c_long(number), *plain))
    return -ctypes.get_errno() if answer == -1 else answer
