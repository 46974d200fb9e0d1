"""One writer of a rule, a verdict and a result; the schemas in docs/ say the same as the nouns."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from harness.model.codec import RESULT, RULE, VERDICT
from harness.model.verdict import KINDS, STATUSES, Kind, Status
from harness.reports.schemas import FOLDER, SCHEMAS, printed

ROOT = Path(__file__).parents[2]
SCHEMA: dict[str, Any] = json.loads(printed(SCHEMAS["verdicts.schema.json"]))["$defs"]


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schemas_in_the_docs_are_printed_from_the_models(name: str) -> None:
    assert (FOLDER / name).read_text() == printed(SCHEMAS[name]), "python -m harness.reports.schemas --write"


def test_what_may_be_left_out_is_never_null() -> None:
    divided = SCHEMA["VerdictPart"]["properties"]["divided"]
    assert divided["type"] == "string"
    assert "default" not in divided
    assert "divided" not in SCHEMA["VerdictPart"]["required"]


def test_the_order_of_badness_has_every_status_and_kind() -> None:
    assert set(STATUSES) == set(get_args(Status))
    assert set(KINDS) == set(get_args(Kind))


@pytest.mark.parametrize(
    ("name", "fields"),
    [("RulePart", RULE), ("VerdictPart", VERDICT), ("ResultPart", (*RESULT, "probes"))],
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
