"""One writer of a rule, a verdict and a result; the schemas in docs/ say the same as the nouns."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from harness.model.codec import RESULT, RULE, VERDICT
from harness.model.rule import LEVELS, Outcome
from harness.model.run_record import CellState
from harness.model.verdict import KINDS, STATUSES, Follows, Kind, Status

ROOT = Path(__file__).parents[2]
SCHEMA: dict[str, Any] = json.loads((ROOT / "docs/reference/verdicts.schema.json").read_text())["$defs"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("status", STATUSES),
        ("kind", (*KINDS, None)),
        ("follows", (*get_args(Follows), None)),
        ("level", LEVELS),
        ("outcome", get_args(Outcome)),
        ("cellState", get_args(CellState)),
    ],
)
def test_the_schema_has_the_words_of_the_nouns(name: str, words: tuple[str | None, ...]) -> None:
    assert SCHEMA[name]["enum"] == list(words)


def test_the_order_of_badness_has_every_status_and_kind() -> None:
    assert set(STATUSES) == set(get_args(Status))
    assert set(KINDS) == set(get_args(Kind))


@pytest.mark.parametrize(
    ("name", "fields"),
    [("rule", RULE), ("verdict", VERDICT), ("result", (*RESULT, "probes"))],
)
def test_the_schema_demands_the_fields_the_codec_writes(name: str, fields: tuple[str, ...]) -> None:
    assert SCHEMA[name]["required"] == list(fields)
    assert set(fields) <= set(SCHEMA[name]["properties"])


def test_nobody_else_writes_a_rule_or_a_verdict_field_by_field() -> None:
    field = re.compile(r'"(\w+)": (?:\w+\.)*(?:rule|verdict|worst)\.\1\b')
    writers = {
        str(path.relative_to(ROOT)): found
        for path in (ROOT / "harness").rglob("*.py")
        if len(found := field.findall(path.read_text())) > 1
    }
    assert writers == {}
