"""What a terminal can show: a glyph, a colour and a word for each status, and text that is safe to print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from harness.model.verdict import Kind, Status
from harness.names import escaped

# What appears in reports besides ASCII; an output that cannot encode all of it gets the ASCII forms.
_ASCII: Mapping[str, str] = {
    "✗": "X", "≈": "~", "↑": "^", "✓": ".", "○": "o", "→": "->", "…": "...",
}  # fmt: skip


# As wide as a table ever gets where nobody's screen ends.
_UNLIMITED = 1_000_000
# A column with cells longer than this has sentences; what it needs to be read beside others.
_SENTENCE, _READABLE, _BROKEN = 60, 36, 12
_BETWEEN = 2


def screen(*, highlight: bool = True) -> Console:
    """Standard output. Where it is no terminal nothing is wrapped, so that `grep` finds whole sentences."""
    console = Console(highlight=highlight)
    console.soft_wrap = not console.file.isatty()
    return console


def print_table(console: Console, table: Table) -> None:
    """Print a table: folded to fit a terminal, its sentences below each row where there is no room for them beside it;
    elsewhere one line a row, without spaces at the end."""
    if not console.soft_wrap:
        below = _cramped(table, console.width)
        for part in _with_below(table, below) if below else [table]:
            console.print(part)
        return
    options = console.options.update(width=_UNLIMITED)
    for row in console.render_lines(table, options, pad=False, new_lines=False):
        line = Text.assemble(*((part.text, part.style or "") for part in row), end="")
        line.rstrip()
        console.print(line, soft_wrap=True)


def _cramped(table: Table, width: int) -> list[Column]:
    """The columns of sentences, where a table of this width leaves them too little room; where there are none, the
    widest, where its words would be broken."""
    needs = {id(column): max(map(_width, [column.header, *column.cells])) for column in table.columns}
    long = [column for column in table.columns if needs[id(column)] > _SENTENCE]
    least = _READABLE * len(long)
    if not long:
        long = [max(table.columns, key=lambda column: needs[id(column)])]
        least = min(_BROKEN, needs[id(long[0])])
    rest = sum(needs[id(column)] for column in table.columns if column not in long)
    room = width - rest - _BETWEEN * (len(table.columns) - 1)
    return long if room < least else []


def _with_below(table: Table, below: list[Column]) -> Iterator[RenderableType]:
    """Each row as a line of its short cells, and below it the long ones, indented."""
    for row in zip(*(column.cells for column in table.columns), strict=True):
        cells = list(zip(table.columns, map(_text, row), strict=True))
        yield Text("  ").join(text for column, text in cells if column not in below and text)
        for column, text in cells:
            if column in below:
                heading = f"{column.header}: " if len(below) > 1 else ""
                yield Padding(Text(heading) + text, (0, 0, 0, 4))


def _text(cell: RenderableType) -> Text:
    return cell if isinstance(cell, Text) else Text.from_markup(str(cell))


def _width(cell: RenderableType) -> int:
    return _text(cell).cell_len


@dataclass(frozen=True)
class StatusMark:
    """How a status looks. The glyphs differ in shape, so that none is told by its colour alone."""

    glyph: str
    style: str
    says: str


MARKS: Mapping[Status, StatusMark] = {
    "fail": StatusMark("✗", "bold red", "the kernel broke the rule"),
    "error": StatusMark("!", "bold magenta", "the probe itself broke, or the guest was lost in it"),
    "miss": StatusMark("?", "magenta", "never ran"),
    "known": StatusMark("≈", "yellow", "differs where the catalogue says so"),
    "fixed": StatusMark("↑", "cyan", "holds where the catalogue says it does not"),
    "pass": StatusMark("✓", "green", "the kernel kept the rule"),
    "observed": StatusMark("○", "blue", "nothing is promised; recorded"),
    "skip": StatusMark("-", "dim", "does not apply"),
}

# For grids that would not fit otherwise; the legend explains those that are used.
SHORT_KINDS: Mapping[Kind, str] = {
    "bypass": "bypass",
    "crash": "crash",
    "hang": "hang",
    "changed-by-mseal": "changed",
    "seal-lost": "seal",
    "not-atomic": "atomic",
    "wrong-errno": "errno",
    "over-blocked": "over",
    "interface": "iface",
    "test": "test",
}


@dataclass(frozen=True)
class Ink:
    """What one output can show; ``rich`` is false where only ASCII gets through."""

    rich: bool

    @classmethod
    def of(cls, console: Console) -> Ink:
        """Find out what the console's encoding can carry."""
        try:
            "".join(_ASCII).encode(console.encoding)
        except (UnicodeEncodeError, LookupError):
            return cls(rich=False)
        return cls(rich=True)

    def glyph(self, status: Status) -> str:
        """The status in one character."""
        return self.safe(MARKS[status].glyph)

    def safe(self, text: str) -> str:
        """One line that can be printed: nothing in it can steer a terminal, and all of it can be encoded."""
        shown = "".join(c if c.isprintable() else escaped(c) for c in text)
        if self.rich:
            return shown
        return "".join(_ASCII.get(c, c) for c in shown).encode("ascii", "backslashreplace").decode("ascii")


class Page:
    """Prints headed sections of indented lines; what is too long for a terminal goes on under its own beginning."""

    def __init__(self, console: Console) -> None:
        self.console, self.ink = console, Ink.of(console)

    def blank(self) -> None:
        """Leave a line free."""
        self.console.print()

    def head(self, title: str) -> None:
        """Begin a section."""
        self.blank()
        self.line(title, style="bold")

    def line(self, text: str | Text, indent: int = 0, style: str = "") -> None:
        """Print a line. A ``Text`` has to be safe already; a string is made so."""
        shown = text if isinstance(text, Text) else Text(self.ink.safe(text), style=style)
        fitting = max(20, self.console.width - indent)
        for part in [shown.copy()] if self.console.soft_wrap else shown.wrap(self.console, fitting):
            part.rstrip()
            self.console.print(Text(" " * indent) + part, soft_wrap=True)

    def whole(self, text: str, indent: int = 0) -> None:
        """Print a line that is to be copied: the terminal may break it, and what is copied is whole nevertheless."""
        self.console.print(Text(" " * indent) + Text(self.ink.safe(text)), soft_wrap=True)
