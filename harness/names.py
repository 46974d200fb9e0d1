"""Names from outside that become file names: of runs, cells, rules, and of what a worker of a cluster sends back.

Whoever writes a ``run.json`` or answers for a worker chooses such a name, and it is joined to a path of ours. So each
is an ``Identifier``, which is one component of a path and nothing else: no separator, not "." or "..", no control
character, not too long for a file system. Models have fields of that type; other places call ``identifier``.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

# File systems allow 255 bytes, and temporary files of ours add to a name.
LONGEST = 200
_INSTEAD = "_"


class NotAName(ValueError):
    """A name that is no ``Identifier``; ``str()`` says why, with the name made printable."""


def identifier(text: str) -> str:
    """Return a name that is one component of a path. Raises ``NotAName``."""
    if why := _fault(text):
        raise NotAName(f"{text[:60]!r} cannot be a name here: {why}")
    return text


def _fault(text: str) -> str:
    if not text:
        return "it is empty"
    if text.startswith("."):
        return "it begins with a dot"
    if "/" in text or "\\" in text:
        return "it has a path separator"
    if not text.isprintable():
        return "it has a character that cannot be printed"
    if len(text.encode()) > LONGEST:
        return f"it is longer than {LONGEST} bytes"
    return ""


def _validated(text: str) -> str:
    try:
        return identifier(text)
    except NotAName as problem:
        raise PydanticCustomError("identifier", "{problem}", {"problem": str(problem)}) from None


VALID_NAME = AfterValidator(_validated)
Identifier = Annotated[str, VALID_NAME]


def named_after(text: str) -> str:
    """Return an identifier made of any text, for what we name ourselves: what it must not hold becomes ``_``."""
    plain = "".join(c if c.isprintable() and c not in "/\\" else _INSTEAD for c in text)
    plain = f"{_INSTEAD}{plain[1:]}" if plain.startswith(".") else plain or _INSTEAD
    while len(plain.encode()) > LONGEST:
        plain = plain[:-1]
    return plain


def printable(text: str) -> str:
    """Return a text on one line, for messages: what cannot be printed is written as an escape."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def relative(path: str) -> tuple[str, ...]:
    """Return the components of a relative path, such as ``helper-1/console.log``. Raises ``NotAName``."""
    return tuple(map(identifier, path.split("/")))


class TooLarge(ValueError):
    """What was packed is larger than allowed when it is unpacked, or is no packed data at all."""


def inflate(packed: Iterable[tuple[str, bytes]], limit: int) -> Iterable[tuple[str, bytes]]:
    """Undo zlib for (name, bytes), all together at most ``limit`` bytes. Raises ``TooLarge`` naming the one."""
    left = limit
    for name, data in packed:
        stream = zlib.decompressobj()
        try:
            content = stream.decompress(data, left + 1)
        except zlib.error as problem:
            raise TooLarge(f"{name}: is not what was packed: {problem}") from None
        if len(content) > left:
            raise TooLarge(f"{name}: more than {limit} bytes, which is more than a cell can leave")
        if not stream.eof:
            raise TooLarge(f"{name}: ends too early")
        left -= len(content)
        yield name, content


def escaped(char: str) -> str:
    """How a character is shown that cannot be printed."""
    if char in "\n\t":
        return " "
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
