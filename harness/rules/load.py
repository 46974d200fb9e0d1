"""Reading the catalogue: ``harness/rules/catalogue/*.yaml``, one file a family."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from harness.errors import ConfigError, UsageError, nearest
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
    ProbeName,
    Rule,
    Selector,
    Where,
)
from harness.model.version import Version, parse_version

CATALOGUE = Path(__file__).parent / "catalogue"


def _words(value: object) -> object:
    """Allow ``a b c`` for a list of words: the catalogue is read by people."""
    return value.split() if isinstance(value, str) else value


def _need(text: str) -> str:
    if text not in NEEDS and not text.startswith((BOOT, CONFIG)):
        can = (*NEEDS, f"{BOOT}PARAMETER", f"{CONFIG}OPTION")
        raise ValueError(f"{text!r} is nothing a rule can need{nearest(text, can)}")
    return text


Need = Annotated[str, AfterValidator(_need)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Where(_Model):
    since: str | None = None
    until: str | None = None
    arches: Words = ()
    page_sizes: tuple[int, ...] = ()

    def noun(self) -> Where:
        return Where(_version(self.since), _version(self.until), self.arches, self.page_sizes)


def _version(text: str | None) -> Version | None:
    return None if text is None else parse_version(text)


class _Probes(_Model):
    operations: Words
    without: Words = ()
    regions: Words = ("*",)
    spans: Words = ("*",)
    covers: Annotated[tuple[Covers, ...], BeforeValidator(_words)] = ()

    def noun(self) -> Selector:
        dropped = tuple(f"!{glob}" for glob in self.without)
        return Selector((*self.operations, *dropped), self.regions, self.spans, self.covers)


class _Expect(_Model):
    errnos: Words
    seals: Literal["kept", "range", "any"] = "kept"
    shown: bool = False
    rounds: tuple[str, ...] = ()
    wins: int = 0

    def noun(self) -> Expect:
        return Expect(self.errnos, self.seals, self.shown, self.rounds, self.wins)


class _Known(_Where):
    reason: str
    source: str
    probes: Words = ("*",)


class _Rule(_Model):
    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    contract: str
    level: Level
    outcome: Outcome
    statement: str
    sources: Annotated[tuple[str, ...], Field(min_length=1)]
    probes: Annotated[tuple[_Probes, ...], Field(min_length=1)]
    where: _Where = _Where()
    needs: Annotated[tuple[Need, ...], BeforeValidator(_words)] = ()
    errnos: Words = ("EPERM",)
    atomic: bool = False
    present: bool = False
    contents: Contents = "kept"
    control: _Expect | None = None
    sealed: _Expect | None = None
    thread: Outcome | None = None
    known: tuple[_Known, ...] = ()

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
            known=tuple(Known(k.noun(), k.reason, k.source, k.probes) for k in self.known),
        )


# libyaml where PyYAML was built with it: ten times as fast, and the catalogue is read by every run.
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _File(_Model):
    family: str
    rules: tuple[_Rule, ...]


def parse_catalogue(text: str, path: Path) -> tuple[Rule, ...]:
    """Read one file of the catalogue. Raises ``ConfigError`` naming the file and what is wrong in it."""
    try:
        data: Any = yaml.load(text, Loader=_LOADER)
        file = _File.model_validate(data)
        return tuple(rule.noun(file.family) for rule in file.rules)
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 0
        raise ConfigError(path, line, f"not YAML: {problem.problem}") from problem
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        raise ConfigError(path, 0, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from problem
    except ValueError as problem:
        raise ConfigError(path, 0, str(problem)) from problem


@cache
def load_catalogue(folder: Path = CATALOGUE) -> Mapping[str, Rule]:
    """All rules by id, in the order of the files. Raises ``ConfigError``, also for an id that is used twice."""
    rules: dict[str, Rule] = {}
    for path in sorted(folder.glob("*.yaml")):
        for rule in parse_catalogue(path.read_text(encoding="utf-8"), path):
            if rule.id in rules:
                raise ConfigError(path, 0, f"the rule {rule.id!r} is there twice")
            rules[rule.id] = rule
    return rules


def rule_named(catalogue: Mapping[str, Rule], name: str) -> Rule:
    """Look a rule up by id. Raises ``UsageError`` with the nearest id."""
    if name not in catalogue:
        raise UsageError(f"there is no rule {name!r}{nearest(name, catalogue, listed_by='sealmatrix rules list')}")
    return catalogue[name]


def unclaimed(catalogue: Mapping[str, Rule], probes: Iterable[ProbeName]) -> tuple[ProbeName, ...]:
    """The probes no rule speaks for: what their operations did would be judged by nobody."""
    rules = [rule for rule in catalogue.values() if rule.outcome != "unchanged"]
    return tuple(p for p in probes if not any(rule.speaks_for(p) for rule in rules))
