"""Words that a matrix may hold in more than one kind of entry, and how they are checked."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    """Refuse a word that does not match ``pattern``, which is ``what`` was wanted."""

    def check(value: str) -> str:
        if not pattern.match(value):
            raise ValueError(f"{value[:80]!r} is not {what}")
        return value

    return AfterValidator(check)


def refuse_repeats(key: str, words: tuple[str, ...]) -> None:
    """Raise ``ValueError`` for a word that stands twice under ``key``."""
    for position, word in enumerate(words):
        if word in words[:position]:
            raise ValueError(f"{key} names {word} twice")


EntryName = Annotated[str, matching(_NAME, "a name (letters, digits, '.', '_', '+', '-'; at most 64, no path)")]
Sha256 = Annotated[str, matching(_SHA256, "a sha256 in 64 hexadecimal digits")]
