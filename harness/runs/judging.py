"""From what a cell left on disk to its verdicts. The same path serves a run that just ended and one from last year."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.explore.exploration import kernel_facts as explored_kernel
from harness.explore.record import EXPLORATION, read_exploration
from harness.explore.verdicts import EXPLORE_RULES, judge_exploration, unexplored
from harness.guests.console import Crash
from harness.model.atomic_files import write_text
from harness.model.codec import VERDICT, result_json, rule_json, verdict_json
from harness.model.json_text import parse_json
from harness.model.rule import Check, KernelFacts, ProbeName
from harness.model.run_record import CellRecord, CrashRecord
from harness.model.stored_files import is_stored, read_stored
from harness.model.verdict import RuleResult, Verdict
from harness.observations.collector import Journalled
from harness.observations.journal import read_journal, read_plan_of, stored_journal
from harness.runs.cell_states import altered, as_stored, crashes_told, other_machine
from harness.runs.model import JOURNAL, SECOND_JOURNAL
from harness.suites.definition import SuiteAsked, asked_json, read_asked
from harness.suites.judge import judge_suites, test_of
from harness.suites.records import programs_run
from harness.verdicts.judge import Assignment, Evidence, Findings, judge
from harness.verdicts.scenario import Scenario, expectation, judge_scenario

VERDICTS_SCHEMA = 1


def kernel_facts(
    arch: str, journalled: Journalled | None, upstream: str = "", config: Mapping[str, str] | None = None
) -> KernelFacts | None:
    """What the payload found the kernel to be; None when it never said. The rest as in ``KernelFacts``."""
    if journalled is None or journalled.plan is None:
        return None
    plan = journalled.plan
    try:
        return KernelFacts(plan.release, arch, plan.page_size, upstream, plan.features, config or {})
    except ValueError:
        return None


def recorded_facts(record: CellRecord, journalled: Journalled | None) -> KernelFacts | None:
    """The same, with what the record of a cell knows of its kernel; None when the payload speaks of another machine."""
    if other_machine(record, journalled):
        return None
    if journalled is not None and journalled.plan is None and programs_run(journalled.notes):
        return _booted_facts(record)
    if record.kernel is None:
        return kernel_facts(record.arch, journalled, config=record.machine.config if record.machine else None)
    return kernel_facts(record.arch, journalled, record.kernel.version, record.kernel.config)


def _booted_facts(record: CellRecord) -> KernelFacts | None:
    """What a guest said of its kernel when it came up, where no payload looks at it."""
    if record.machine is None or not record.machine.release:
        return None
    try:
        upstream = record.kernel.version if record.kernel else ""
        return KernelFacts(record.machine.release, record.arch, record.machine.page_size, upstream)
    except ValueError:
        return None


@dataclass(frozen=True)
class WithSuites:
    """Foreign suites, beside rules of the catalogue or in place of them."""

    rules: Assignment
    suites: tuple[SuiteAsked, ...]


Question = Assignment | Scenario | WithSuites
"""What a run asks: rules of the catalogue of probes, what a scenario expects, or the tests of foreign suites, too."""
SUITES = "suites"
"""The name of the payload of a run that asks suites and no probes."""


def probes_of(question: Question) -> frozenset[str]:
    """The ids of the probes that are asked for."""
    if isinstance(question, Scenario):
        return frozenset({question.probe.id})
    if isinstance(question, WithSuites):
        return probes_of(question.rules) | {ident for suite in question.suites for ident in suite.ids()}
    return frozenset(probe.id for _, probes in question for probe in probes)


def judge_cell(
    question: Question,
    kernel: KernelFacts | None,
    journalled: Journalled | None,
    lost: str,
    crashes: Sequence[Crash],
    second: Journalled | None = None,
    *,
    findings: Findings | None = None,
) -> tuple[RuleResult, ...]:
    """Judge one cell; ``second`` is what the other payload said, where there was one, and ``findings`` has what was
    judged of it before."""
    if isinstance(question, Scenario):
        return judge_scenario(question, journalled, lost, crashes)
    if isinstance(question, WithSuites):
        asked = question.rules
        rules = judge_cell(asked, kernel, journalled, lost, crashes, second, findings=findings) if asked else ()
        runs = programs_run(journalled.notes if journalled else ())
        return (*rules, *judge_suites(question.suites, runs, kernel, lost, crashes))
    evidence = Evidence(
        kernel=kernel,
        observations=journalled.observations if journalled else {},
        begun=journalled.begun if journalled else (),
        crashes=tuple(crashes),
        lost=lost,
        second=second.observations if second else {},
        doubts=journalled.doubts if journalled else {},
        among_others=journalled.among_others if journalled else {},
        batched=journalled.batched if journalled else frozenset(),
        findings=findings,
    )
    return judge(question, evidence)


def judge_stored(
    question: Question, folder: Path, record: CellRecord, payload_id: str
) -> tuple[CellRecord, tuple[RuleResult, ...]]:
    """Judge a cell again from its folder in ``results/``, under the catalogue at hand; ``payload_id`` is what its run
    says of its payload. The record comes back with the state and the crashes that the journal and the console bear out.
    """
    journalled, second = (stored_journal(folder / name) for name in (JOURNAL, SECOND_JOURNAL))
    crashes, no_answer = crashes_told(folder, record, journalled)
    no_answer = no_answer or altered(folder, record)
    told = tuple(CrashRecord.model_validate(asdict(crash)) for crash in crashes)
    checked = record.model_copy(update={"crashes": told})
    record = as_stored(checked, journalled, second, probes_of(question), payload_id, no_answer)
    facts = recorded_facts(record, journalled)
    lost = record.reason or ("" if record.clean else f"the cell is {record.state}")
    judged = judge_cell(question, facts, journalled, lost, crashes, second)
    return record, (*judged, *explored_results(record, folder))


def explored_results(record: CellRecord, folder: Path | None = None) -> tuple[RuleResult, ...]:
    """What generated programs showed of a cell that was to be explored: the oracles, as rules. ``folder`` is None where
    the cell was never run."""
    if record.explore is None:
        return ()
    path = folder / EXPLORATION if folder is not None else None
    if path is None or not is_stored(path):
        return unexplored(record.reason or "nothing was explored")
    try:
        told = read_exploration(path)
    except UsageError as problem:
        return unexplored(str(problem))
    version = record.kernel.version if record.kernel else ""
    return judge_exploration(told, explored_kernel(told.release, record.arch, version))


def verdicts_json(
    run: str, record: CellRecord, facts: KernelFacts | None, results: Sequence[RuleResult]
) -> dict[str, Any]:
    """A cell's verdicts in the form of ``docs/reference/verdicts.schema.json``."""
    return {
        "schema_version": VERDICTS_SCHEMA,
        "run": run,
        "cell": record.id,
        "kernel": {
            "name": record.kernel.name if record.kernel else record.id,
            "release": facts.release if facts else (record.kernel.release if record.kernel else ""),
            "arch": record.arch,
            "page_size": facts.page_size if facts else 0,
            "sha256": record.kernel.sha256 if record.kernel else "",
        },
        "state": record.state,
        "reason": record.reason,
        "rules": [_result_json(result) for result in results],
    }


def _result_json(result: RuleResult) -> dict[str, Any]:
    return {
        "rule": result.rule.id,
        **rule_json(result.rule),
        **result_json(result),
        "counts": dict(result.counts),
        "verdicts": [_verdict_json(verdict) for verdict in result.verdicts],
    }


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    return verdict_json(verdict, (*VERDICT, "divided") if verdict.divided else VERDICT)


def read_verdicts(path: Path, question: Question, shared: dict[str, str]) -> tuple[RuleResult, ...]:
    """Read back what ``verdicts_json`` gave. Raises ``UsageError`` for a file that is not whole or of other rules.

    ``shared`` keeps each text once: cells tell the same of the same probes.
    """
    try:
        told: Mapping[str, Any] = parse_json(read_stored(path))
        if isinstance(question, Scenario):
            names = ((entry["rule"], entry["statement"]) for entry in told["rules"])
            rules: dict[str, Check] = {name: expectation(question, name, statement) for name, statement in names}
        elif isinstance(question, WithSuites):
            rules = {**{rule.id: rule for rule, _ in question.rules}, **EXPLORE_RULES}
            tests = ((entry["rule"], entry["statement"]) for entry in told["rules"] if entry["rule"] not in rules)
            rules |= {name: test_of(question.suites, name, statement) for name, statement in tests}
        else:
            rules = {**{rule.id: rule for rule, _ in question}, **EXPLORE_RULES}
        return tuple(_read_rule(rules[entry["rule"]], entry["verdicts"], shared) for entry in told["rules"])
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise UsageError(f"{path}: cannot be read: {problem}") from problem


def _read_rule(rule: Check, verdicts: Sequence[Mapping[str, Any]], shared: dict[str, str]) -> RuleResult:
    keep = shared.setdefault
    return RuleResult(
        rule,
        tuple(
            Verdict(
                rule.id,
                keep(found["probe"], found["probe"]),
                found["status"],
                keep(found["reason"], found["reason"]),
                found["kind"],
                keep(found["observed"], found["observed"]),
                found["follows"],
                keep(found.get("divided", ""), found.get("divided", "")),
            )
            for found in verdicts
        ),
    )


class KeptResults(Mapping[str, tuple[RuleResult, ...]]):
    """Results by cell, read from the cells' ``verdicts.json`` when they are first asked for: while a run goes on, its
    finished cells take no memory. ``others`` are those that no file holds."""

    def __init__(
        self, cells: Path, names: Sequence[str], question: Question, others: Mapping[str, tuple[RuleResult, ...]]
    ) -> None:
        self._cells, self._names = cells, dict.fromkeys((*others, *names))
        self._question = question
        self._known = dict(others)
        self._shared: dict[str, str] = {}

    def __getitem__(self, cell: str) -> tuple[RuleResult, ...]:
        if cell not in self._known and cell in self._names:
            self._known[cell] = read_verdicts(self._cells / cell / "verdicts.json", self._question, self._shared)
        return self._known[cell]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def write_plan(folder: Path, payload_id: str, planned: Sequence[ProbeName], question: Question = ()) -> None:
    """Keep what was planned: without it, a probe that left no trace could not be missed."""
    plan: dict[str, Any] = {"payload_id": payload_id}
    plan["probes"] = [[p.operation, p.region, p.span, p.layout] for p in planned]
    if isinstance(question, Scenario):
        plan["scenario"] = asdict(question)
    if isinstance(question, WithSuites):
        plan["suites"] = [asked_json(suite) for suite in question.suites]
    write_text(folder / "plan.json", json.dumps(plan) + "\n")


def planned_by(folder: Path, cells: Sequence[CellRecord]) -> tuple[ProbeName, ...]:
    """What was planned: the probes of ``plan.json``, and those that a cell's payload planned and it does not name.

    A layout that it does not name is that of the observation. Raises ``UsageError`` as ``read_plan``.
    """
    planned = read_plan(folder)
    known = {probe.id: probe for probe in planned}
    for path in (folder / "cells" / cell.id / JOURNAL for cell in cells):
        plan = read_plan_of(path) if is_stored(path) else None
        if plan is None or known.keys() >= set(plan.probes):
            continue
        layouts = {name: seen.layout for name, seen in read_journal(path).observations.items()}
        for name in plan.probes:
            operation, region, span = (*name.split("/", 2), "", "")[:3]
            known.setdefault(name, ProbeName(operation, region, span, layouts.get(name, "s")))
    return tuple(known.values())


def read_plan(folder: Path) -> tuple[ProbeName, ...]:
    """Read the probes of ``plan.json``. Raises ``UsageError`` when it is not there or is not whole."""
    path = folder / "plan.json"
    try:
        return tuple(ProbeName(*fields) for fields in _plan(path)["probes"])
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise UsageError(f"{path}: cannot be read: {problem}") from problem


def read_scenario(folder: Path) -> Scenario | None:
    """Read the scenario of ``plan.json``; None where the run asked rules. Raises ``UsageError`` as ``read_plan``."""
    path = folder / "plan.json"
    try:
        told = _plan(path).get("scenario")
        return Scenario(told["name"], told["text"], tuple(told["expectations"])) if told else None
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise UsageError(f"{path}: cannot be read: {problem}") from problem


def read_suites(folder: Path) -> tuple[SuiteAsked, ...]:
    """Read the suites of ``plan.json``; none where the run asked none. Raises ``UsageError`` as ``read_plan``."""
    path = folder / "plan.json"
    try:
        return tuple(read_asked(told) for told in _plan(path).get("suites", ()))
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise UsageError(f"{path}: cannot be read: {problem}") from problem


def _plan(path: Path) -> Mapping[str, Any]:
    plan: Mapping[str, Any] = parse_json(read_stored(path).decode())
    return plan
