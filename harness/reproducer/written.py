"""Programs that were written by hand, for rules whose probes are more than a few calls on a window.

``written/RULE.c`` begins with the probe that it repeats, and uses the helpers of ``program.py``. ``NONE`` has the rules
without a program, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

_FOLDER = Path(__file__).with_name("written")

NONE: Mapping[str, str] = MappingProxyType(
    {
        "args-32-bit": "a 32-bit call from a 64-bit program is a few instructions of assembly, and only x86-64 has it",
        "program32-advises-another": "it takes a 64-bit program and a 32-bit one that is given a descriptor of it",
        "program32-writes-to-another": "it takes a 64-bit program and a 32-bit one that is told an address of it",
        "race-unmap": "the race needs thousands of rounds on two CPUs before either side has come first often enough",
        "race-change": "the race needs thousands of rounds on two CPUs before either side has come first often enough",
        "race-answers": "the race needs a crowd of mappings, and a call that is interrupted as it lets go of a lock",
        "threads-killed": "the process has to be killed just when a thread of it waits, which takes several tries",
        "sealing-changes-nothing": "it compares all that the payload sees of a window before and after mseal",
    }
)


@cache
def written() -> Mapping[str, tuple[str, str]]:
    """(probe, code) of each rule that has a program of its own."""
    found = {}
    for path in sorted(_FOLDER.glob("*.c")):
        first, _, code = path.read_text(encoding="ascii").partition("\n")
        found[path.stem] = (first.removeprefix("/* ").removesuffix(" */"), code)
    return MappingProxyType(found)
