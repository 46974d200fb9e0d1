"""Numbers in README.md and docs/ that the code decides: held here, or not written there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.guests.devices import _TCG_CACHE
from tests.examples import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# The catalogue grows; `sealmatrix rules list` says how far. A run of a script and a cause have numbers of their own.
_RULES = re.compile(r"\b\d+ (?:of the \d+ )?rules\b(?!, \d+ probes\))")
_OWN_RULES = {"docs/use/scenarios.md"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_no_document_counts_the_rules(path: Path) -> None:
    if str(path.relative_to(ROOT)) not in _OWN_RULES:
        assert _RULES.findall(path.read_text(encoding="utf-8")) == []


def test_the_cap_on_translated_code_is_the_one_that_is_set() -> None:
    said = re.findall(r"(\d+) MB \(`tb-size`\)", (ROOT / "docs/internals/guests.md").read_text(encoding="utf-8"))
    assert said == [str(_TCG_CACHE)]
