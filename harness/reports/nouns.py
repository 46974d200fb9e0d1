"""What a report calls the checks it counts: rules, tests of foreign suites, or both together."""

from __future__ import annotations

from collections.abc import Iterable

from harness.model.rule import Check, Test


def noun(checks: Iterable[Check]) -> str:
    """``rule``, ``test`` or ``check``."""
    kinds = {isinstance(check, Test) for check in checks}
    return "check" if len(kinds) > 1 else "test" if True in kinds else "rule"
