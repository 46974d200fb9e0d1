"""pydantic's findings in this project's words: the first fault of a file, its line, the nearest valid word."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic

from harness.config.yaml_lines import Key, Node, Tree, dotted
from harness.errors import ConfigError, nearest
from harness.matrix.schema import (
    DebianKernel,
    FileKernel,
    MachineKernel,
    MatrixFile,
    PackageKernel,
    ProfileEntry,
    SelectionEntry,
    SshProfile,
    Strict,
    TreeKernel,
    Unknown,
    UrlKernel,
    VirtmeProfile,
)
from harness.model.architectures import SYNONYMS

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_SAYINGS = {
    "missing": "is missing",
    "model_type": "must be a mapping (key: value)",
    "model_attributes_type": "must be a mapping (key: value)",
    "dict_type": "must be a mapping (key: value)",
    "tuple_type": "must be a list ([a, b])",
    "string_type": "must be a single word",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of sensible size",
    "union_tag_not_found": "source is missing; it is debian, file, package, url, tree or machine",
}

_SOURCES: Mapping[str, type[Strict]] = {
    "debian": DebianKernel,
    "file": FileKernel,
    "package": PackageKernel,
    "url": UrlKernel,
    "tree": TreeKernel,
    "machine": MachineKernel,
}
_GUESTS: Mapping[str, type[Strict]] = {"qemu": ProfileEntry, "virtme": VirtmeProfile, "ssh": SshProfile}
# The sections whose entries are of several kinds: the key that tells which, what it is without that key, the kinds.
_KINDS: Mapping[str, tuple[str, str, Mapping[str, type[Strict]]]] = {
    "kernels": ("source", "", _SOURCES),
    "profiles": ("guest", "qemu", _GUESTS),
}


def first_fault(error: pydantic.ValidationError, tree: Tree, path: Path) -> ConfigError:
    """Return the fault that stands first in the file, and how many more there are."""
    faults = [_explain(detail, tree) for detail in error.errors(include_url=False)]
    line, shown, message = min(faults, key=lambda fault: fault[0])
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return ConfigError(path, line, (f"{dotted(shown)}: " if shown else "") + message + more)


def _explain(detail: ErrorDetails, tree: Tree) -> tuple[int, Key, str]:
    """Return line, place and sentence of one of pydantic's findings."""
    place, rest = _place(detail["loc"], tree.root)
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return tree.line(place), (*place, *rest), _SAYINGS[kind]
    if kind == "extra_forbidden":
        parent, key = place[:-1], str(place[-1])
        return tree.line(place), parent, f"unknown key {_near(key, _valid_keys(parent, tree.root))}"
    if kind in ("literal_error", "union_tag_invalid"):
        return _unknown_word(place, detail, tree)
    reason = context.get("error")
    if isinstance(reason, Unknown):
        place = (*place, reason.key)
        return tree.line(place), place, f"unknown {reason.key} {_near(reason.word, reason.valid)}"
    if isinstance(reason, ValueError):
        return tree.line(place), place, str(reason)
    return tree.line(place), place, _SAYINGS.get(kind) or _plain(detail["msg"])


def _unknown_word(place: Key, detail: ErrorDetails, tree: Tree) -> tuple[int, Key, str]:
    context = detail.get("ctx", {})
    if detail["type"] == "union_tag_invalid":
        key, _, kinds = _KINDS[str(place[0])]
        place = (*place, key)
        word: Any = context.get("tag")
        valid = tuple(kinds)
    else:
        word = detail["input"]
        valid = _quoted(str(context.get("expected", "")))
    if not isinstance(word, str):
        return tree.line(place), place, "must be a single word"
    return tree.line(place), place, f"unknown value {_near(word, valid)}"


def _quoted(expected: str) -> tuple[str, ...]:
    words = expected.replace(" or ", ", ").split(", ")
    return tuple(str(ast.literal_eval(word)) for word in words if word.startswith("'"))


def _place(loc: tuple[int | str, ...], root: Node) -> tuple[Key, Key]:
    """Follow ``loc`` through the tree, leaving out what pydantic put in of its own (union tags, ``[key]``).

    Returns the part that exists, and the words after its end.
    """
    # An entry that is one of several kinds has its kind's tag behind its name, whatever its keys are called.
    if len(loc) > 2 and loc[0] in _KINDS and loc[2] in _KINDS[str(loc[0])][2]:
        loc = loc[:2] + loc[3:]
    node: Any = root
    path: Key = ()
    for position, part in enumerate(loc):
        inside = isinstance(node, dict) and part in node
        if inside or (isinstance(node, list) and isinstance(part, int) and part < len(node)):
            node = node[part]
            path = (*path, part)
        elif part != "[key]":
            return path, tuple(loc[position:])
    return path, ()


def _valid_keys(place: Key, root: Node) -> tuple[str, ...]:
    if not place:
        return tuple(MatrixFile.model_fields)
    if place[0] == "selections":
        return tuple(SelectionEntry.model_fields)
    node: Any = root
    for part in place:
        node = node[part]
    key, otherwise, kinds = _KINDS[str(place[0])]
    kind = node.get(key, otherwise)
    return tuple(kinds[kind].model_fields) if kind in kinds else ()


def _near(word: str, valid: tuple[str, ...]) -> str:
    if SYNONYMS.get(word) in valid:
        return f"{word!r} (here it is called {SYNONYMS[word]!r})"
    return f"{word[:80]!r}{nearest(word[:80], valid)}"


def _plain(message: str) -> str:
    return re.sub(r"\b(Input|String|Tuple|Dictionary) should", "must", message)
