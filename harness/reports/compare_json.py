"""A comparison as plain data, as ``docs/reference/compare.schema.json`` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.compare.comparison import Comparison, phrase, rule_phrase
from harness.compare.diff import Pair, ProbeChange, RuleChange, Side
from harness.compare.series import VersionSeries
from harness.model.codec import result_json, rule_json, verdict_json
from harness.model.verdict import RuleResult, Verdict

COMPARE_SCHEMA = 1


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The whole comparison. Every pair has all of its rules, and of each rule the probes that changed."""
    return {
        "schema_version": COMPARE_SCHEMA,
        "what": comparison.what,
        "exit_code": comparison.exit_code,
        "counts": dict(comparison.counts),
        "remarks": list(comparison.remarks),
        "only_before": [_side(side) for side in comparison.only_before],
        "only_after": [_side(side) for side in comparison.only_after],
        "left_out": [_side(side) for side in comparison.left_out],
        "pairs": [_pair(pair) for pair in comparison.pairs],
        "series": [_series(series) for series in comparison.series],
    }


def _side(side: Side) -> dict[str, Any]:
    names = ("run", "cell", "kernel", "version", "arch", "profile", "flavour", "page_size", "trouble")
    return {name: getattr(side, name) for name in names} | {"repeats": 1 + len(side.repeats)}


def _pair(pair: Pair) -> dict[str, Any]:
    divided = {"divided": {probe: list(both) for probe, both in pair.divided.items()}} if pair.divided else {}
    return {
        "before": _side(pair.before),
        "after": _side(pair.after),
        "regressed": pair.regressed,
        "counts": dict(pair.counts),
        "rules": [_rule(pair, change) for change in pair.rules],
    } | divided


def _rule(pair: Pair, change: RuleChange) -> dict[str, Any]:
    rule = change.rule
    return {
        "rule": rule.id,
        **rule_json(rule, ("contract", "family", "level")),
        "change": change.change,
        "says": rule_phrase(pair, change) if change.worst else "",
        "before": _result(change.before),
        "after": _result(change.after),
        "counts": dict(change.counts),
        "probes": [_probe(pair, probe) for probe in change.probes],
    }


def _result(result: RuleResult | None) -> Mapping[str, Any] | None:
    return None if result is None else result_json(result, ("status", "kind", "reason"))


def _probe(pair: Pair, probe: ProbeChange) -> dict[str, Any]:
    return {
        "probe": probe.probe,
        "change": probe.change,
        "says": phrase(pair, probe),
        "since": probe.since.cell,
        "before": _verdict(probe.before),
        "after": _verdict(probe.after),
        "varied": list(probe.varied),
        "failed": probe.failed,
    }


def _verdict(verdict: Verdict | None) -> Mapping[str, Any] | None:
    return None if verdict is None else verdict_json(verdict, ("status", "kind", "reason", "observed"))


def _series(series: VersionSeries) -> dict[str, Any]:
    return {
        "sides": [_side(side) for side in series.sides],
        "rules": {
            name: [
                {
                    "first": stretch.first.cell,
                    "last": stretch.last.cell,
                    "first_version": stretch.first.version,
                    "last_version": stretch.last.version,
                    "kernels": stretch.kernels,
                    "began": stretch.change,
                    "result": _result(stretch.result),
                }
                for stretch in stretches
            ]
            for name, (_, stretches) in series.rules.items()
        },
    }
