"""From the bytes of a policy to a ``Policy``; every fault is one line with file, line and key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic

from harness.config.yaml_lines import Key, Tree, dotted, parse_tree
from harness.errors import ConfigError, UsageError, nearest
from harness.model.architectures import SYNONYMS
from harness.model.rule import Rule
from harness.qualify.policy import Allowed, Coverage, Differences, Policy, Requirement, Waiver

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# By the words of a path without list positions: which model's keys may stand there.
_MODELS: Mapping[tuple[str, ...], type[pydantic.BaseModel]] = {
    (): Policy,
    ("require",): Requirement,
    ("coverage",): Coverage,
    ("differences",): Differences,
    ("differences", "allow"): Allowed,
    ("waivers",): Waiver,
}
_SAYINGS = {
    "missing": "is missing",
    "model_type": "must be a mapping (key: value)",
    "tuple_type": "must be a list ([a, b])",
    "string_type": "must be a sentence",
    "int_parsing": "must be a whole number",
    "too_short": "must not be empty",
}
_DATES = "must be a day, such as 2027-01-31"


def load_policy(path: Path, catalogue: Mapping[str, Rule]) -> tuple[Policy, bytes]:
    """Read a policy and its bytes. Raises ``ConfigError`` naming file, line and key; ``UsageError`` if unreadable."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot read the policy: {error.strerror or error}") from None
    return parse_policy(data, path, catalogue), data


def parse_policy(data: bytes, path: Path, catalogue: Mapping[str, Rule]) -> Policy:
    """Turn the bytes of a policy into one. Raises ``ConfigError`` and nothing else."""
    tree = parse_tree(data, path)
    if not isinstance(tree.root, dict) or not tree.root:
        keys = ", ".join(Policy.model_fields)
        raise ConfigError(path, tree.line(()), f"a policy has the keys {keys}")
    try:
        policy = Policy.model_validate(tree.root)
    except pydantic.ValidationError as error:
        raise _first_fault(error, tree, path) from None
    _check(policy, tree, path, catalogue)
    return policy


def _check(policy: Policy, tree: Tree, path: Path, catalogue: Mapping[str, Rule]) -> None:
    """What one entry alone cannot get wrong: names that must exist, and waivers that must not overlap."""
    families = {rule.family for rule in catalogue.values()}
    for i, requirement in enumerate(policy.require):
        for j, family in enumerate(requirement.families):
            _known(family, families, "family", tree, path, ("require", i, "families", j))
        if not any(rule in requirement for rule in catalogue.values()):
            raise _fault(tree, path, ("require", i), "no rule of the catalogue has this level and family")
    for i, waiver in enumerate(policy.waivers):
        _known(waiver.rule, catalogue, "rule", tree, path, ("waivers", i, "rule"))
        for j, earlier in enumerate(policy.waivers[:i]):
            if waiver.overlaps(earlier):
                line = tree.line(("waivers", j))
                message = f"overlaps the waiver of {waiver.rule} in line {line}; remove one of them"
                raise _fault(tree, path, ("waivers", i), message)


def _known(word: str, valid: Iterable[str], noun: str, tree: Tree, path: Path, place: Key) -> None:
    names = tuple(valid)
    if word not in names:
        raise _fault(tree, path, place, f"unknown {noun} {word[:80]!r}{nearest(word[:80], names)}")


def _first_fault(error: pydantic.ValidationError, tree: Tree, path: Path) -> ConfigError:
    """The fault that stands first in the file, and how many more there are; misspelt keys before missing ones."""
    found = error.errors(include_url=False)
    places = [detail["loc"] for detail in found]
    # A list whose items are wrong counts as too short beside them.
    real = [d for d in found if d["type"] != "too_short" or not any(_inside(place, d["loc"]) for place in places)]
    real.sort(key=lambda detail: (detail["type"] == "missing", tree.line(tuple(detail["loc"]))))
    line, place, message = _explain(real[0], tree)
    more = f" (and {len(real) - 1} more)" if len(real) > 1 else ""
    return ConfigError(path, line, (f"{dotted(place)}: " if place else "") + message + more)


def _inside(place: Key, outer: Key) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == outer


def _explain(detail: ErrorDetails, tree: Tree) -> tuple[int, Key, str]:
    place: Key = tuple(detail["loc"])
    line = tree.line(place)
    match detail["type"]:
        case "extra_forbidden":
            words = tuple(part for part in place[:-1] if isinstance(part, str))
            key = str(place[-1])[:80]
            return line, place[:-1], f"unknown key {key!r}{nearest(key, _MODELS[words].model_fields)}"
        case "literal_error":
            return line, place, f"unknown value {_near(detail)}"
        case "value_error":
            return line, place, str(detail.get("ctx", {}).get("error", detail["msg"]))
        case kind if kind.startswith("date"):
            return line, place, _DATES
        case kind:
            return line, place, _SAYINGS.get(kind) or detail["msg"].replace("Input should", "must")


def _near(detail: ErrorDetails) -> str:
    word: Any = detail["input"]
    if not isinstance(word, str):
        return "(a single word is wanted)"
    valid = tuple(part.strip("'") for part in str(detail["ctx"]["expected"]).replace(" or ", ", ").split(", "))
    if SYNONYMS.get(word) in valid:
        return f"{word!r} (here it is called {SYNONYMS[word]!r})"
    return f"{word[:80]!r}{nearest(word[:80], valid)}"


def _fault(tree: Tree, path: Path, place: Key, message: str) -> ConfigError:
    return ConfigError(path, tree.line(place), f"{dotted(place)}: {message}")
