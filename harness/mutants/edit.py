"""Edits of C sources by pattern. Pure; a pattern that is not there exactly once is an error, never a guess."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.errors import BuildError
from harness.mutants.model import Edit


def apply_edit(text: str, edit: Edit) -> str:
    """Return ``text`` with one edit. Raises ``BuildError`` naming file, pattern and number of matches."""
    pattern = re.compile(r"\s+".join(re.escape(word) for word in edit.find.split()))
    found = [
        (start + m.start(), start + m.end())
        for start, end in scopes(text, edit)
        for m in pattern.finditer(text[start:end])
    ]
    if len(found) != 1:
        where = f" in {edit.scope}" if edit.scope else ""
        count = "not at all" if not found else f"{len(found)} times"
        raise BuildError(f"{edit.file}: the source has moved on: {edit.find!r} is there {count}{where}, not once")
    start, end = found[0]
    match edit.place:
        case "put":
            return text[:start] + edit.text + text[end:]
        case "before":
            return text[:start] + edit.text + "\n" + text[start:]
        case "after":
            return text[:end] + "\n" + edit.text + text[end:]


def scopes(text: str, edit: Edit) -> list[tuple[int, int]]:
    """Where the edit may take place: (start, end) offsets of the definitions its scope names.

    Raises ``BuildError`` when no definition does.
    """
    if not edit.scope:
        return [(0, len(text))]
    found = list(_definitions(text, edit.scope))
    if not found:
        raise BuildError(f"{edit.file}: the source has moved on: it does not define {edit.scope}")
    return found


def _definitions(text: str, scope: str) -> Iterator[tuple[int, int]]:
    """Definitions whose head, which in kernel style begins in the first column, holds ``scope`` as a word.

    A definition ends with the first line that begins with a closing brace. Heads that a semicolon ends before any
    brace opens are declarations.
    """
    head = re.compile(
        rf"^(?=[^\s/*#])[^\n]*?(?<!\w){re.escape(scope)}(?!\w)[^;{{]*\{{"
        if scope[-1] != "{"
        else rf"^(?=[^\s/*#])[^\n]*?(?<!\w){re.escape(scope)}",
        re.MULTILINE,
    )
    for match in head.finditer(text):
        end = re.compile(r"^\}", re.MULTILINE).search(text, match.end())
        if end is not None:
            yield match.start(), end.start()
