"""YAML as a plain tree with line numbers: mappings, lists and *strings*, and nothing else of YAML.

Scalars stay strings, because YAML would read ``release: 6.10`` as the number 6.1; the schema gives them their
types. Tags and second documents are refused, and so are anchors and aliases: a few of them can make a file of a hundred
bytes grow to gigabytes. Only the catalogues, which are ours, may use them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from harness.errors import ConfigError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 12

# libyaml where PyYAML was built with it: several times as fast, and the catalogue is read by every run.
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

KeyPath = tuple[str | int, ...]
Node = str | list["Node"] | dict[str, "Node"]


@dataclass
class Tree:
    """``root`` is the document; ``lines`` maps a path of keys and list positions to its 1-based line."""

    root: Node
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int:
        """Return the line of ``path``, or of the nearest place around it; 0 for an empty file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)


def parse_tree(data: bytes, path: Path, *, aliases: bool = False) -> Tree:
    """Parse ``data``, read from ``path`` (named in errors only). Raises only ``ConfigError``.

    ``aliases`` says whether a part may have an anchor (&) and be used again (*).
    """
    if len(data) > MAX_BYTES:
        raise ConfigError(path, 0, f"{len(data)} bytes are too many (at most {MAX_BYTES})")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(path, line, f"not UTF-8 text: byte 0x{data[error.start]:02x}") from None
    try:
        return _TreeBuilder(path, aliases=aliases).build(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = _one_line(error.problem or error.context or "")
        raise ConfigError(path, mark.line + 1 if mark else 0, f"not YAML: {problem}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML lets numbers it cannot convert (\U escapes, %YAML versions) out as ValueError.
        raise ConfigError(path, 0, f"not YAML: {_one_line(str(error))}") from None


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


class _TreeBuilder:
    """Turns YAML's flat events into a tree, no deeper than ``MAX_DEPTH``."""

    def __init__(self, path: Path, *, aliases: bool) -> None:
        self.path = path
        self.aliases = aliases
        self.named: dict[str, Node] = {}
        self.lines: dict[KeyPath, int] = {}

    def build(self, events: Iterator[yaml.Event]) -> Tree:
        """Consume all events of one document."""
        root: Node = {}
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse(event, (), "a second document (---) in a file that holds one")
            elif isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent, yaml.AliasEvent)):
                root = self._node(event, events, ())
        return Tree(root, self.lines)

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], path: KeyPath) -> Node:
        if self.aliases and isinstance(event, yaml.AliasEvent) and event.anchor in self.named:
            self.lines.setdefault(path, _line(event))
            return self.named[event.anchor]
        anchor = getattr(event, "anchor", None) if self.aliases else None
        if not anchor:
            self._plain(event, path)
        self.lines.setdefault(path, _line(event))
        node = self._value(event, events, path)
        if anchor:
            self.named[anchor] = node
        return node

    def _value(self, event: yaml.Event, events: Iterator[yaml.Event], path: KeyPath) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return str(event.value)
        if len(path) >= MAX_DEPTH:
            self._refuse(event, path[:3], f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(events, path)
        return self._mapping(events, path)

    def _sequence(self, events: Iterator[yaml.Event], path: KeyPath) -> Node:
        items: list[Node] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._node(event, events, (*path, len(items))))
        return items

    def _mapping(self, events: Iterator[yaml.Event], path: KeyPath) -> Node:
        mapping: dict[str, Node] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            self._plain(event, path)
            if not isinstance(event, yaml.ScalarEvent):
                self._refuse(event, path, "a key must be a plain word")
            key = str(event.value)
            place = (*path, key)
            if key in mapping:
                self._refuse(event, place, f"given twice; the first is in line {self.lines[place]}")
            self.lines[place] = _line(event)
            mapping[key] = self._node(next(events), events, place)
        return mapping

    def _plain(self, event: yaml.Event, path: KeyPath) -> None:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            self._refuse(event, path, "anchors and aliases (& and *) are not used here; write it out")
        if getattr(event, "tag", None):
            self._refuse(event, path, "tags (!) are not used here; remove it")

    def _refuse(self, event: yaml.Event, path: KeyPath, message: str) -> NoReturn:
        raise ConfigError(self.path, _line(event), f"{dotted(path)}: {message}" if path else message)


def dotted(path: KeyPath) -> str:
    """Return ``kernels.debian-6.12.labels[0]`` for a path of keys and positions."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{_printable(part)}" if text else _printable(part)
    return text


def _printable(key: str) -> str:
    return key if key.isprintable() and len(key) <= 80 else repr(key[:80])


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0
