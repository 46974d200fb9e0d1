"""The layout of ``--help``: examples that are wider than the terminal are folded, and lists of commands are not cut."""

from __future__ import annotations

import re

import click

# Where the explanation of an example begins at the latest when not all of them fit; the longest of `run` has 46.
_LATEST_COLUMN = 46
_WHOLE_SENTENCE = 1000


class _Formatter(click.HelpFormatter):
    """Click leaves a paragraph marked ``\\b`` as it is; here its explanations are wrapped where a line is too long."""

    def write_text(self, text: str) -> None:
        for number, paragraph in enumerate(re.split(r"\n{2,}", text)):
            if number:
                self.write_paragraph()
            lines = paragraph.splitlines()
            if lines[:1] == ["\b"] and max(map(len, lines)) > self.width - self.current_indent:
                self.write_dl([_example(line) for line in lines[1:]], col_max=_LATEST_COLUMN)
            else:
                super().write_text(paragraph)


def _example(line: str) -> tuple[str, str]:
    """Return a command and what it is an example of, which stands behind two blanks or more."""
    indent, rest = re.match(r"(\s*)(.*)", line).groups()  # type: ignore[union-attr]
    command, _, meaning = rest.partition("  ")
    return indent + command, meaning.strip()


class HelpContext(click.Context):
    """What makes a command's help look like this."""

    formatter_class = _Formatter


def laid_out(command: click.Command) -> click.Command:
    """Give a command, and the commands below it, this layout."""
    command.context_class = HelpContext
    for below in getattr(command, "commands", {}).values():
        below.short_help = below.short_help or below.get_short_help_str(_WHOLE_SENTENCE)
        laid_out(below)
    return command
