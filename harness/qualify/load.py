"""From the bytes of a policy to a ``Policy``; every fault is one line with file, line and key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.compare.diff import Side
from harness.config.loader import Document, load_yaml, parse_yaml
from harness.explore.verdicts import EXPLORE_RULES, FAMILY
from harness.model.rule import Rule
from harness.qualify.policy import Policy


def load_policy(path: Path, catalogue: Mapping[str, Rule]) -> tuple[Policy, bytes]:
    """Read a policy and its bytes. Raises ``ConfigError`` naming file, line and key; ``UsageError`` if unreadable."""
    document = load_yaml(path, Policy, "policy")
    return _checked(document, catalogue), document.data


def parse_policy(data: bytes, path: Path, catalogue: Mapping[str, Rule]) -> Policy:
    """Turn the bytes of a policy into one. Raises ``ConfigError`` and nothing else."""
    return _checked(parse_yaml(data, path, Policy, "policy"), catalogue)


def explored(policy: Policy, sides: Iterable[Side]) -> bool:
    """Whether the oracles of exploration are among what a candidate is judged by: where it was explored, or where the
    policy demands it by name."""
    named = any(FAMILY in requirement.families for requirement in policy.require)
    return named or any(not EXPLORE_RULES.keys().isdisjoint(side.results) for side in sides)


def _checked(document: Document[Policy], catalogue: Mapping[str, Rule]) -> Policy:
    """What one entry alone cannot get wrong: names that must exist, and waivers that must not overlap."""
    policy = document.value
    families = {rule.family for rule in catalogue.values()}
    for i, requirement in enumerate(policy.require):
        for j, family in enumerate(requirement.families):
            document.require_known(("require", i, "families", j), family, families, "family")
        if not any(rule in requirement for rule in catalogue.values()):
            raise document.fault(("require", i), "no rule of the catalogue has this level and family")
    for i, waiver in enumerate(policy.waivers):
        document.require_known(("waivers", i, "rule"), waiver.rule, catalogue, "rule")
        for j, earlier in enumerate(policy.waivers[:i]):
            if waiver.overlaps(earlier):
                line = document.tree.line(("waivers", j))
                message = f"overlaps the waiver of {waiver.rule} in line {line}; remove one of them"
                raise document.fault(("waivers", i), message)
    return policy
