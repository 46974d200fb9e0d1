"""The reference names every field and table there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from harness.history.tables import Base
from harness.model.run_record import (
    CellRecord,
    CrashRecord,
    ExploreRecord,
    HelperRecord,
    KernelRecord,
    MachineRecord,
    RunRecord,
    SittingRecord,
)
from harness.nightly.marks import GrownCost, NightRecord

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def words(section: str) -> set[str]:
    """What stands between backticks in a section of results.md."""
    text = (REFERENCE / "results.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^## {re.escape(section)}\b.*?(?=^## )", text, re.MULTILINE | re.DOTALL)
    return set(re.findall(r"`([^`]+)`", found))


@pytest.mark.parametrize(
    ("section", "record"),
    [
        *(
            ("run.json", record)
            for record in (
                RunRecord, CellRecord, KernelRecord, MachineRecord, CrashRecord, HelperRecord, ExploreRecord,
                SittingRecord,
            )
        ),
        ("nightly.json", NightRecord),
        ("nightly.json", GrownCost),
    ],
)  # fmt: skip
def test_every_field_of_a_record_is_named(section: str, record: type[BaseModel]) -> None:
    missing = set(record.model_fields) - words(section) - {"schema_version"}
    assert missing == set(), f"docs/reference/results.md, {section}, says nothing of {sorted(missing)}"


def test_every_table_of_the_history_is_named() -> None:
    (line,) = re.findall(r"^(.*)\(`harness/history/tables.py`\)", (REFERENCE / "history.md").read_text(), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", line)) == set(Base.metadata.tables)
