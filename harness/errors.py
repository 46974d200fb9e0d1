"""Everything that can go wrong, as a tree.

::

    SealmatrixError                      one line for a person; carries its exit code
    ├── UsageError                  (2)  bad input: nothing was started, nothing was changed
    │   └── ConfigError             (2)  a file the user wrote: names file, line and key
    ├── InfrastructureError         (3)  the harness got no answer; never a rule failure, never a pass
    │   ├── ToolMissing             (3)  a program is absent: names the package that has it
    │   ├── KernelUnavailable       (3)  a kernel can be had neither from its source nor from the store
    │   ├── ImageError              (3)  bytes that are no kernel image we can boot
    │   ├── StoreError              (3)  the store or the results folder cannot be written (no space, no permission)
    │   ├── BuildError              (3)  the payload or a kernel did not compile
    │   └── GuestError              (3)  a guest
    │       ├── BootFailed          (3)  ... never said hello
    │       └── LostGuest           (3)  ... said hello and went away, or stopped answering
    └── Interrupted               (130)  the user asked us to stop

What a *kernel* does wrong is not here: that is a verdict, not an exception.
Exit codes: 0 all good, 1 a rule failed, 2 usage, 3 no answer, 130 interrupted.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class SealmatrixError(Exception):
    """Base of all errors this project raises on purpose; ``str()`` is one complete line for a person."""

    exit_code = 3


class UsageError(SealmatrixError):
    """The user asked for something that cannot be: says what, where, and what to do."""

    exit_code = 2


class ConfigError(UsageError):
    """A file the user wrote is wrong. ``line`` is 1-based; 0 when the file has no such place."""

    def __init__(self, path: Path | str, line: int, message: str) -> None:
        self.path = Path(path)
        self.line = line
        place = f"{path}:{line}" if line else f"{path}"
        super().__init__(f"{place}: {message}")


class InfrastructureError(SealmatrixError):
    """The harness could not get an answer out of a kernel. Never a verdict about the kernel."""


class ToolMissing(InfrastructureError):
    """A program this needs is not installed; ``package`` is the Debian package that has it."""

    def __init__(self, tool: str, package: str) -> None:
        self.tool = tool
        self.package = package
        super().__init__(
            f"{tool} is not installed; its package is {package} on Debian (for other distributions: sealmatrix doctor)"
        )


class KernelUnavailable(InfrastructureError):
    """A kernel can be had neither from its source nor from the store."""


class ImageError(InfrastructureError):
    """The bytes are no kernel image this project can boot."""


class StoreError(InfrastructureError):
    """The store or a results folder cannot be read or written."""


class BuildError(InfrastructureError):
    """A compiler refused; the message carries its first decisive line."""


class GuestError(InfrastructureError):
    """A guest failed. ``console`` holds the console's decisive or last lines, oldest first."""

    def __init__(self, message: str, console: Iterable[str] = ()) -> None:
        self.console = tuple(console)
        super().__init__(message)


class BootFailed(GuestError):
    """The guest never said hello."""


class LostGuest(GuestError):
    """The guest had said hello and then went away or stopped answering."""


class Interrupted(SealmatrixError):
    """The user asked us to stop; what had been seen is kept."""

    exit_code = 130


_FEW = 12  # names that are told all at once, if they are no longer together than
_WIDE = 120
_LIKE = 0.6  # how like what was typed a name must be to be suggested, from 0 to 1
_SOME = 3


def nearest(name: str, valid: Iterable[str], *, listed_by: str = "") -> str:
    """Say in parentheses which valid name ``name`` may have meant; "" when there is nothing to say.

    The one that is like it, else all where they are few, else only ``listed_by``, the command that lists them all.
    """
    names = sorted(valid)
    if close := difflib.get_close_matches(name, names, n=1, cutoff=_LIKE):
        return f" (did you mean {close[0]!r}?)"
    if len(names) <= _FEW and len(", ".join(names)) <= _WIDE:
        return f" (valid: {', '.join(names)})" if names else ""
    return f" (to list all {len(names)}: {listed_by})" if listed_by else ""


def some_of(names: Iterable[str]) -> str:
    """Return names for an error line: all where they are no more than three, else the first three and how many more."""
    every = tuple(names)
    more = f" and {len(every) - _SOME} more" if len(every) > _SOME else ""
    return f"{', '.join(every[:_SOME])}{more}"
