"""Reading the catalogue: ``harness/rules/catalogue/*.yaml``, one file a family."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from harness.bugs.record import load_bugs
from harness.config.loader import SPLIT, Document, SinceVersion, Strict, WordList, load_yaml
from harness.errors import UsageError, nearest
from harness.model.rule import (
    BOOT,
    CONFIG,
    NEEDS,
    Contents,
    Covers,
    Expect,
    Known,
    Level,
    Outcome,
    Rule,
    Seals,
    Selector,
    Where,
)

CATALOGUE = Path(__file__).parent / "catalogue"


def _need(text: str) -> str:
    if text not in NEEDS and not text.startswith((BOOT, CONFIG)):
        can = (*NEEDS, f"{BOOT}PARAMETER", f"{CONFIG}OPTION")
        raise ValueError(f"{text!r} is nothing a rule can need{nearest(text, can)}")
    return text


def _bug(text: str) -> str:
    load_bugs().where(text)
    return text


RecordedBug = Annotated[str, AfterValidator(_bug)]
NeedWord = Annotated[str, AfterValidator(_need)]


class _Where(Strict):
    since: SinceVersion | None = None
    until: SinceVersion | None = None
    arches: WordList = ()
    page_sizes: tuple[int, ...] = ()

    def noun(self) -> Where:
        return Where(self.since, self.until, self.arches, self.page_sizes)


class _Probes(Strict):
    operations: WordList
    without: WordList = ()
    regions: WordList = ("*",)
    spans: WordList = ("*",)
    covers: Annotated[tuple[Covers, ...], SPLIT] = ()

    def noun(self) -> Selector:
        dropped = tuple(f"!{glob}" for glob in self.without)
        return Selector((*self.operations, *dropped), self.regions, self.spans, self.covers)


class _Expect(Strict):
    errnos: WordList
    seals: Seals = "kept"
    shown: bool = False
    rounds: tuple[str, ...] = ()
    wins: int = 0
    facts: Annotated[dict[str, str], Field(default_factory=dict)]

    def noun(self) -> Expect:
        return Expect(self.errnos, self.seals, self.shown, self.rounds, self.wins, tuple(self.facts.items()))


class _KnownDifference(_Where):
    bug: RecordedBug = ""
    reason: str
    source: str
    probes: WordList = ("*",)

    @model_validator(mode="after")
    def _says_once_which_kernels(self) -> _KnownDifference:
        if self.bug and (self.since or self.until):
            raise ValueError(f"{self.bug}: harness/bugs/bugs.yaml says which versions; leave out since and until")
        return self

    def nouns(self) -> tuple[Known, ...]:
        """The entry, once for each range of versions."""
        ranges = load_bugs().where(self.bug) if self.bug else (self.noun(),)
        return tuple(
            Known(Where(one.since, one.until, self.arches, self.page_sizes), self.reason, self.source, self.probes)
            for one in ranges
        )


class _Rule(Strict):
    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    contract: str
    level: Level
    outcome: Outcome
    statement: str
    sources: Annotated[tuple[str, ...], Field(min_length=1)]
    probes: Annotated[tuple[_Probes, ...], Field(min_length=1)]
    where: _Where = _Where()
    needs: Annotated[tuple[NeedWord, ...], SPLIT] = ()
    errnos: WordList = ("EPERM",)
    atomic: bool = False
    present: bool = False
    contents: Contents = "kept"
    control: _Expect | None = None
    sealed: _Expect | None = None
    thread: Outcome | None = None
    known: tuple[_KnownDifference, ...] = ()

    def noun(self, family: str) -> Rule:
        return Rule(
            id=self.id,
            contract=self.contract,
            family=family,
            level=self.level,
            outcome=self.outcome,
            statement=" ".join(self.statement.split()),
            sources=self.sources,
            probes=tuple(p.noun() for p in self.probes),
            where=self.where.noun(),
            needs=self.needs,
            errnos=self.errnos,
            atomic=self.atomic,
            present=self.present,
            contents=self.contents,
            expect_control=None if self.control is None else self.control.noun(),
            expect_sealed=None if self.sealed is None else self.sealed.noun(),
            thread=self.thread,
            known=tuple(known for entry in self.known for known in entry.nouns()),
        )


class _CatalogueFile(Strict):
    family: str
    rules: tuple[_Rule, ...]


@cache
def load_catalogue(folder: Path = CATALOGUE) -> Mapping[str, Rule]:
    """All rules by id, in the order of the files. Raises ``ConfigError``, also for an id that is used twice."""
    rules: dict[str, Rule] = {}
    for path in sorted(folder.glob("*.yaml")):
        rules.update(_rules(load_yaml(path, _CatalogueFile, "catalogue", aliases=True), rules))
    return rules


def _rules(document: Document[_CatalogueFile], others: Collection[str] = ()) -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    for position, rule in enumerate(document.value.rules):
        if rule.id in rules or rule.id in others:
            raise document.fault(("rules", position, "id"), f"the rule {rule.id!r} is there twice")
        rules[rule.id] = rule.noun(document.value.family)
    return rules


def rule_named(catalogue: Mapping[str, Rule], name: str) -> Rule:
    """Look a rule up by id. Raises ``UsageError`` with the nearest id."""
    if name not in catalogue:
        raise UsageError(f"there is no rule {name!r}{nearest(name, catalogue, listed_by='sealmatrix rules list')}")
    return catalogue[name]
