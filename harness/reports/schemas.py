"""Prints the JSON Schemas in docs/ from the models; ``python -m harness.reports.schemas --write`` puts them there."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from harness.compare.document import ComparisonDocument
from harness.model.documents import Verdicts

FOLDER = Path(__file__).parents[2] / "docs/reference"
SCHEMAS: Mapping[str, type[BaseModel]] = {
    "verdicts.schema.json": Verdicts,
    "compare.schema.json": ComparisonDocument,
}


def printed(model: type[BaseModel]) -> str:
    """The JSON Schema of a document, as it stands in docs/."""
    schema = model.model_json_schema()
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": schema.pop("title")}
    return json.dumps(head | _plain(schema), indent=2) + "\n"


def _plain(node: Any) -> Any:
    """Without pydantic's titles and nulls for what may be left out; names of keys are checked, not only described."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: _plain(value)
        for key, value in node.items()
        if not (key == "title" and isinstance(value, str)) and (key, value) != ("default", None)
    }
    if patterns := kept.pop("patternProperties", None):
        ((pattern, value),) = patterns.items()
        kept |= {"propertyNames": {"pattern": pattern}, "additionalProperties": value}
    return kept


def _write() -> None:
    for name, model in SCHEMAS.items():
        (FOLDER / name).write_text(printed(model), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        _write()
    else:
        sys.stdout.writelines(map(printed, SCHEMAS.values()))
