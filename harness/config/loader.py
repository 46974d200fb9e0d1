"""The one loader of YAML files: read, validate, and report the first fault with file, line, key and nearest word."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import pydantic

from harness.config.yaml_lines import KeyPath, Node, Tree, dotted, parse_tree
from harness.errors import ConfigError, UsageError, nearest
from harness.model.architectures import SYNONYMS
from harness.model.version import Version, parse_version

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_MAPPING = "must be a mapping (key: value)"
_NUMBER = "must be a whole number"
_EMPTY = "must not be empty"
_DAY = "must be a day, such as 2027-01-31"
_MESSAGES = {
    "missing": "is missing",
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "dict_type": _MAPPING,
    "tuple_type": "must be a list ([a, b])",
    "string_type": "must be text, not a list or a mapping",
    "int_type": _NUMBER,
    "int_parsing": _NUMBER,
    "int_parsing_size": "must be a whole number of sensible size",
    "bool_parsing": "must be true or false",
    "date_parsing": _DAY,
    "date_from_datetime_parsing": _DAY,
    "date_from_datetime_inexact": _DAY,
}

File = TypeVar("File", bound=pydantic.BaseModel)


class Strict(pydantic.BaseModel):
    """Base of every mapping in a file: an unknown key is an error, whose message has the nearest valid one."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _tell_loader(cls, data: object, info: pydantic.ValidationInfo) -> object:
        if isinstance(info.context, _Models):
            info.context.by_mapping[id(data)] = cls
        return data


@dataclass
class _Models:
    """Which model each mapping of a file was validated by; pydantic's errors do not say it."""

    by_mapping: dict[int, type[Strict]]


class Unknown(ValueError):
    """``word`` stands under ``key`` and names nothing; ``valid`` are the words that do."""

    def __init__(self, key: str, word: str, valid: Iterable[str]) -> None:
        self.key, self.word, self.valid = key, word, tuple(valid)
        super().__init__(f"unknown {key} {word!r}")


def _split(value: object) -> object:
    return shlex.split(value) if isinstance(value, str) else value


def _version(value: object) -> object:
    return parse_version(value) if isinstance(value, str) else value


# A list of words that may also be written ``a b c``: these files are read by people.
SPLIT = pydantic.BeforeValidator(_split)
WordList = Annotated[tuple[str, ...], SPLIT]
# A kernel version, such as 6.12.
SinceVersion = Annotated[Version, pydantic.BeforeValidator(_version)]


@dataclass(frozen=True)
class Document(Generic[File]):
    """A file that is valid by its schema. ``data`` are its bytes."""

    value: File
    tree: Tree
    path: Path
    data: bytes

    def fault(self, place: KeyPath, message: str) -> ConfigError:
        """The error about the key ``place`` of the file."""
        return ConfigError(self.path, self.tree.line(place), f"{dotted(place)}: {message}" if place else message)

    def require_known(self, place: KeyPath, word: str, valid: Iterable[str], noun: str) -> None:
        """Raise ``ConfigError`` unless ``word``, which stands at ``place``, is one of ``valid``."""
        names = tuple(valid)
        if word not in names:
            raise self.fault(place, f"unknown {noun} {_near(word, names)}")


def kind_by(key: str, default: str = "") -> pydantic.Discriminator:
    """Tells of which kind an entry is, by its ``key``; the tags of the kinds are ``KEY=VALUE``."""
    return pydantic.Discriminator(
        lambda entry: f"{key}={entry.get(key, default) if isinstance(entry, dict) else default}"
    )


def load_yaml(path: Path, schema: type[File], noun: str, *, aliases: bool = False) -> Document[File]:
    """Read and validate a file that is a ``noun`` (``matrix``, ``policy`` …).

    Raises ``ConfigError`` naming file, line and key; ``UsageError`` when it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot read the {noun}: {error.strerror or error}") from None
    return parse_yaml(data, path, schema, noun, aliases=aliases)


def parse_yaml(data: bytes, path: Path, schema: type[File], noun: str, *, aliases: bool = False) -> Document[File]:
    """Validate ``data``, read from ``path``. Raises ``ConfigError`` and nothing else."""
    tree = parse_tree(data, path, aliases=aliases)
    if issubclass(schema, Strict) and (not isinstance(tree.root, dict) or not tree.root):
        raise ConfigError(path, tree.line(()), f"a {noun} has the keys {', '.join(schema.model_fields)}")
    models = _Models({})
    try:
        return Document(schema.model_validate(tree.root, context=models), tree, path, data)
    except pydantic.ValidationError as error:
        raise _first_fault(error.errors(include_url=False), models, tree, path) from None


def _first_fault(details: list[ErrorDetails], models: _Models, tree: Tree, path: Path) -> ConfigError:
    """The fault that stands first in the file, and how many more there are; misspelt keys before missing ones."""
    places = [detail["loc"] for detail in details]
    # A list whose items are wrong counts as too short beside them.
    real = [d for d in details if d["type"] != "too_short" or not any(_inside(place, d["loc"]) for place in places)]
    faults = [(detail["type"] == "missing", *_explain(detail, models, tree)) for detail in real]
    _, line, place, message = min(faults, key=lambda fault: fault[:2])
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return ConfigError(path, line, (f"{dotted(place)}: " if place else "") + message + more)


def _inside(place: KeyPath, outer: KeyPath) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == outer


def _explain(detail: ErrorDetails, models: _Models, tree: Tree) -> tuple[int, KeyPath, str]:
    """Return line, place and sentence of one of pydantic's findings."""
    place, absent = _place(detail["loc"], tree.root)
    context = detail.get("ctx", {})
    reason = context.get("error")
    match detail["type"]:
        case "missing":
            return tree.line(place), (*place, *absent), _MESSAGES["missing"]
        case "extra_forbidden":
            valid = _keys(models.by_mapping[id(_node(tree.root, place[:-1]))])
            return tree.line(place), place[:-1], f"unknown key {_near(str(place[-1]), valid)}"
        case "literal_error":
            message = _unknown_word(detail["input"], _quoted(str(context["expected"])))
        case "union_tag_invalid" if isinstance(detail["input"], dict):
            key = str(context["tag"]).partition("=")[0]
            kinds = tuple(tag.removeprefix(f"{key}=") for tag in _quoted(str(context["expected_tags"])))
            if key not in detail["input"]:
                return tree.line(place), place, f"{key} is missing{nearest('', kinds)}"
            place = (*place, key)
            message = _unknown_word(detail["input"][key], kinds)
        case "union_tag_invalid":
            message = _MAPPING
        case "value_error" if isinstance(reason, Unknown):
            place = (*place, reason.key)
            message = f"unknown {reason.key} {_near(reason.word, reason.valid)}"
        case "value_error":
            message = str(reason)
        case "too_short" | "string_too_short" if context["min_length"] == 1:
            message = _EMPTY
        case kind:
            message = _MESSAGES.get(kind) or re.sub(r"\b(Input|String|Tuple|Dictionary) should", "must", detail["msg"])
    return tree.line(place), place, message


def _place(loc: KeyPath, root: Node) -> tuple[KeyPath, KeyPath]:
    """Follow ``loc`` through the file: the part that exists, and the key after its end that is missing.

    pydantic puts words of its own between: the tag of an entry that is one of several kinds, and ``[key]``.
    """
    path: KeyPath = ()
    for part in loc:
        node = _node(root, path)
        if (isinstance(node, dict) and part in node) or (isinstance(node, list) and part in range(len(node))):
            path = (*path, part)
    return path, () if path[-1:] == loc[-1:] else loc[-1:]


def _node(root: Node, path: KeyPath) -> Any:
    node: Any = root
    for part in path:
        node = node[part]
    return node


def _keys(model: type[Strict]) -> tuple[str, ...]:
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _quoted(expected: str) -> tuple[str, ...]:
    words = expected.replace(" or ", ", ").split(", ")
    return tuple(str(ast.literal_eval(word)) for word in words if word.startswith("'"))


def _unknown_word(word: object, valid: tuple[str, ...]) -> str:
    return f"unknown value {_near(word, valid)}" if isinstance(word, str) else "must be a single word"


def _near(word: str, valid: tuple[str, ...]) -> str:
    if SYNONYMS.get(word) in valid:
        return f"{word!r} (here it is called {SYNONYMS[word]!r})"
    return f"{word[:80]!r}{nearest(word[:80], valid)}"
