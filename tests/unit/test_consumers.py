"""Rules of programs that live on sealing: their document, their selection, and that each names its program."""

from __future__ import annotations

import re

from harness.matrix.load import load_matrix
from harness.payload import probe_list
from harness.rules.load import load_catalogue
from harness.runs.planning.payload_tasks import chosen, matcher
from tests.examples import ROOT

RULES = {name: rule for name, rule in load_catalogue().items() if rule.family == "consumers"}
PROBES = [probe for probe in probe_list() if probe.family == "consumers"]


def test_the_document_has_every_rule_and_no_other() -> None:
    text = (ROOT / "docs/reference/consumers.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(consumer-[a-z-]+[a-z])`", text)) == set(RULES)


def test_the_selection_has_all_of_them_and_the_default_has_none() -> None:
    selections = load_matrix(ROOT / "kernels.yaml").selections
    consumers = matcher(selections["consumers"].probes)
    assert {probe.id for probe in probe_list() if consumers(probe.id)} == {probe.id for probe in PROBES}
    default = {probe.id for probe in chosen(probe_list(), selections["default"].probes)}
    assert not default & {probe.id for probe in PROBES}


def test_every_rule_says_which_program_it_is_of() -> None:
    for name, rule in RULES.items():
        assert name.startswith("consumer-")
        programs = [source for source in rule.sources if not source.startswith(("[T]", "[S]", "[D]"))]
        assert programs, name
