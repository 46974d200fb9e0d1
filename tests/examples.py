"""The examples of README.md, docs/ and the help: every command line that is written there."""

from __future__ import annotations

import errno
import inspect
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from harness.cli.main import cli

ROOT = Path(__file__).parents[1]
_PROGRAM = r"(?:sealmatrix|scripts/(?:matrix|test|setup)|bench/\w+\.py)"
_LINE = re.compile(rf"\s*(?:\$ )?(?:[^|#`]*\| )?{_PROGRAM}(?: |$)")
_FENCED = re.compile(r"^```.*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What is written in capitals stands for something: it marks a pattern. Their meanings here: two runs, a kernel, ...
PATTERNS = {
    "SERIES": "series.mbox",
    "RUN": "20261122-000000-aaaa", "RUN-A": "20261122-000000-aaaa", "RUN-B": "20261123-000000-bbbb",
    "A": "20261122-000000-aaaa", "B": "20261123-000000-bbbb", "K": "20261123-000000-bbbb",
    "KERNEL": "debian-6.12", "RULE": "munmap-blocked", "OLD": "6.12.43", "NEW": "7.1.3", "ID": "bisection",
    "CMD": "true", "R7": "R7", "SUITE": "kselftest-mseal", "NAME": "munmap",
    "FILE": "file", "DIR": "folder", "FOLDER": "results", "FORMAT": "ktap", "ADDRESS": "tcp://192.0.2.7:8786",
    "HOST": "192.0.2.7", "USER": "root",
}  # fmt: skip
_NO_PATTERNS = {"HEAD", *errno.errorcode.values()}  # git's, and the kernel's
_CAPITALS = re.compile(r"(?<![\w.$%-])[A-Z][A-Z0-9]*(?:-[A-Z0-9]+)*(?![\w-])")


@dataclass(frozen=True)
class Example:
    """A command as written, and where; ``text`` is all of that document or help. In a sentence (``inline``) a command
    without words of its own is a name."""

    where: str
    line: str
    text: str
    inline: bool = False

    @property
    def open_ended(self) -> bool:
        """Whether it says that something is left out."""
        return " ..." in self.line

    @property
    def words(self) -> list[str]:
        """The words of the command alone, with the meanings of patterns."""
        line = re.sub(r"[\[\]]|\.\.\.", "", self.line).replace("$(date +%Y%m%d)", "20261122")
        line = _CAPITALS.sub(lambda found: PATTERNS.get(found.group(), found.group()), line)
        words = shlex.split(line)
        for mark in (">", ">>", "&&"):
            words = words[: words.index(mark)] if mark in words else words
        return words[words.index("|") + 1 :] if "|" in words else words

    @property
    def unknown_patterns(self) -> set[str]:
        """Words in capitals that nobody has given a meaning."""
        return {word for word in _CAPITALS.findall(self.line) if word not in PATTERNS} - _NO_PATTERNS

    def defines(self, name: str) -> bool:
        """Whether the document it stands in shows an entry of this name (in its kernels.yaml, say)."""
        return re.search(rf"^ +{re.escape(name)}:", self.text, re.MULTILINE) is not None


def _command(line: str) -> str:
    """Return a line without its explanation, which stands behind `` # `` or two blanks."""
    return re.split(r" {2,}|\s+# ", line.strip().removeprefix("$ "))[0]


def _lines(text: str) -> Iterator[str]:
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if _LINE.match(line):
            yield _command(line)


def _of_document(path: Path) -> Iterator[Example]:
    text, where = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
    for block in _FENCED.findall(text):
        yield from (Example(where, line, text) for line in _lines(block))
    for span in re.findall(r"`([^`]+)`", _FENCED.sub("", text)):
        line = " ".join(span.split())
        if _LINE.match(line) and " " in line:
            yield Example(where, line, text, inline=True)


def _of_help(command: click.Command, context: click.Context) -> Iterator[Example]:
    text, where = inspect.cleandoc(command.help or ""), f"{context.command_path} --help"
    yield from (Example(where, line, text) for line in _lines(text))
    helps = [text, *(option.help or "" for option in command.params if isinstance(option, click.Option))]
    for span in re.findall(r"`([^`]+)`", "\n".join(helps)):
        if _LINE.match(span):
            yield Example(where, " ".join(span.split()), text, inline=True)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _of_help(below, click.Context(below, parent=context, info_name=name))


def examples() -> list[Example]:
    """All of them, each once for a place."""
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = [example for path in documents for example in _of_document(path)]
    found += _of_help(cli, click.Context(cli, info_name="sealmatrix"))
    return list(dict.fromkeys(found))
