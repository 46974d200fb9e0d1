"""Programs worth keeping, each with why: ``corpus/*.txt``, replayed before anything is generated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.explore.program import Program, parse_program

CORPUS = Path(__file__).resolve().parent / "corpus"


@dataclass(frozen=True)
class Kept:
    """A program, its name, and why it is kept: the comments it begins with."""

    name: str
    why: str
    program: Program


def load_corpus(folder: Path = CORPUS) -> tuple[Kept, ...]:
    """All of them, by name. Raises ``UsageError``."""
    return tuple(read_kept(path) for path in sorted(folder.glob("*.txt")))


def read_kept(path: Path) -> Kept:
    """One file: lines that begin with ``#`` say why, the rest is a program. Raises ``UsageError``."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}: this is no text; a program is lines, the first of which begins with 'window'"
        ) from error
    why = " ".join(line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("#"))
    return Kept(path.stem, why, parse_program(text, str(path)))
