"""Debian's order of package versions (deb-version(7)), and the upstream version inside one."""

from __future__ import annotations

import re
from functools import cmp_to_key
from itertools import zip_longest

_PARTS = re.compile(r"(\D*)(\d*)")


def compare(left: str, right: str) -> int:
    """Return a number below, at or above 0 as ``left`` is older than, the same as or newer than ``right``."""
    for one, other in zip(_split(left), _split(right), strict=True):
        order = _compare_part(one, other)
        if order:
            return order
    return 0


version_key = cmp_to_key(compare)
"""``sorted(versions, key=version_key)`` puts the oldest first."""


def upstream(version: str) -> str:
    """Return what the kernel's own developers call a package version: ``7.3~rc7-1~exp1`` is ``7.3-rc7``."""
    return _split(version)[1].replace("~rc", "-rc")


def within(version: str, prefix: str) -> bool:
    """Say whether an upstream version is ``prefix`` or one of its point releases: 6.12.43 is within 6.12, not 6.1."""
    wanted, had = re.split(r"[.-]", prefix), re.split(r"[.-]", version)
    return had[: len(wanted)] == wanted


def _split(version: str) -> tuple[str, str, str]:
    """Return epoch, upstream version and Debian revision."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    body, _, revision = rest.rpartition("-")
    return (epoch, body, revision) if body else (epoch, rest, "0")


def _compare_part(left: str, right: str) -> int:
    pairs = zip_longest(_PARTS.findall(left), _PARTS.findall(right), fillvalue=("", ""))
    for (text, number), (other_text, other_number) in pairs:
        for one, other in zip_longest(text, other_text, fillvalue=""):
            if one != other:
                return _weight(one) - _weight(other)
        difference = int(number or 0) - int(other_number or 0)
        if difference:
            return difference
    return 0


def _weight(character: str) -> int:
    """``~`` sorts before the end, the end before letters, letters before everything else."""
    if character == "~":
        return -1
    if not character:
        return 0
    return ord(character) if character.isalpha() else ord(character) + 0x110000
