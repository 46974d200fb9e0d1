"""Rules, verdicts and results as plain data: the one place that says under which names their fields are written.

``names`` picks what a format has of them; without it everything that every format of verdicts has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from harness.model.rule import Check, Rule
from harness.model.verdict import RuleResult, Verdict

RULE = ("contract", "family", "level", "outcome", "statement")
RESULT = ("status", "kind", "reason", "follows")
VERDICT = ("probe", "status", "reason", "kind", "observed", "follows")


def rule_json(rule: Check, names: Sequence[str] = RULE) -> dict[str, Any]:
    """A rule's fields as they are in the catalogue."""
    return {name: getattr(rule, name) for name in names}


def whole_rule_json(rule: Rule) -> dict[str, Any]:
    """Everything of a rule but its selectors: which probes those take, the payload knows."""
    facts = asdict(rule)
    del facts["probes"]
    return facts


def verdict_json(verdict: Verdict, names: Sequence[str] = VERDICT) -> dict[str, Any]:
    """A verdict without its rule, which it stands under."""
    return {name: getattr(verdict, name) for name in names}


def result_json(result: RuleResult, names: Sequence[str] = RESULT) -> dict[str, Any]:
    """What a rule came to: its worst verdict, and which reading the kernel follows."""
    said = {"status": result.status, "kind": result.kind, "reason": result.worst.reason, "follows": result.follows}
    return {name: said[name] for name in names}
