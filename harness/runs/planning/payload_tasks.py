"""What guests are given to do: probes of the C payload, or a user's scenario for the Python payload."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase, translate
from typing import Protocol

from harness.errors import UsageError, nearest, some_of
from harness.guests.model import Deadlines
from harness.matrix.model import Profile
from harness.model.architectures import Arch
from harness.model.rule import ProbeName
from harness.payload.build import Payload, ProbeInfo, build, probe_list, program_bytes
from harness.payload.python import build_python, crosscheck_list, python_arches
from harness.rules.load import load_catalogue
from harness.runs.judging import Question
from harness.runs.model import Workload
from harness.verdicts.judge import assign
from harness.verdicts.scenario import Scenario, slug

_RESOURCES = frozenset({"hugepages", "swap"})


class PayloadTask(Protocol):
    """What all cells of a run do, and what is asked of them."""

    def workload(self, arch: Arch, limits: Deadlines, *, kmsg: bool) -> Workload:
        """The payload for an architecture. Raises ``BuildError`` when it cannot be built, ``UsageError``."""
        ...

    def question(self, planned: Sequence[ProbeName]) -> Question:
        """What the cells are judged by."""
        ...

    def remarks(self) -> tuple[str, ...]:
        """What the user should know before anything boots."""
        ...


@dataclass(frozen=True)
class Probes:
    """Probes of the C payload, judged by the catalogue. Those of them that ``crosscheck`` means as well are observed by
    the second payload too, where it has them."""

    globs: tuple[str, ...] = ()
    crosscheck: tuple[str, ...] = ()

    def workload(self, arch: Arch, limits: Deadlines, *, kmsg: bool) -> Workload:
        """See ``PayloadTask``."""
        first = workload(build(arch), self.globs, limits.probe, kmsg=kmsg)
        return replace(first, second=self._second(arch, limits, kmsg)) if self.crosscheck else first

    def remarks(self) -> tuple[str, ...]:
        """See ``PayloadTask``."""
        if self.crosscheck and not self._both():
            return (f"no crosscheck: the Python payload has no probe that matches {_named(self.globs)}",)
        return ()

    def _both(self) -> tuple[ProbeName, ...]:
        """What both payloads are to observe."""
        second = frozenset(chosen(crosscheck_list(), self.crosscheck))
        return tuple(probe for probe in chosen(crosscheck_list(), self.globs) if probe in second)

    def _second(self, arch: Arch, limits: Deadlines, kmsg: bool) -> Workload | None:
        """None where the globs leave the second payload nothing, or there is none for the architecture.

        ``UsageError`` for a glob of ``crosscheck`` that means none of its probes."""
        if vain := _vain(self.crosscheck, crosscheck_list()):
            raise UsageError(f"crosscheck: the Python payload has no probe that matches {some_of(vain)}")
        planned = self._both()
        if not planned or arch not in python_arches():
            return None
        payload = build_python(arch)
        only = [word for glob in self.crosscheck for word in ("--only", glob)]
        arguments = ("-m", "crosscheck", *_options(self.globs, limits.probe, kmsg=kmsg), *only)
        return Workload(
            "python", payload.id, payload.sha256, program_bytes(payload.path, payload.sha256), arguments, planned
        )

    def question(self, planned: Sequence[ProbeName]) -> Question:
        """See ``PayloadTask``."""
        return assign(load_catalogue(), planned)


@dataclass(frozen=True)
class Script:
    """A scenario, judged by what it expects. ``seconds`` is its deadline, half of a guest's silence if not given."""

    scenario: Scenario
    seconds: float | None = None

    def workload(self, arch: Arch, limits: Deadlines, *, kmsg: bool) -> Workload:
        """See ``PayloadTask``."""
        if self.seconds is not None and self.seconds > limits.silence * 0.8:
            raise UsageError(
                f"a scenario may take {limits.silence * 0.8:g} s here, not {self.seconds:g} s; "
                "--scale makes all deadlines longer"
            )
        payload, probe = build_python(arch), self.scenario.probe
        seconds = self.seconds or limits.silence / 2
        name = f"{slug(self.scenario.name)}.py"
        arguments = ["-m", "guest", "--deadline-ms", str(round(seconds * 1000)), *(["--kmsg"] if kmsg else [])]
        return Workload(
            "python",
            payload.id,
            payload.sha256,
            program_bytes(payload.path, payload.sha256),
            (*arguments, probe.id, name),
            (probe,),
            files=((name, self.scenario.text.encode()),),
        )

    def question(self, planned: Sequence[ProbeName]) -> Question:
        """See ``PayloadTask``."""
        return self.scenario

    def remarks(self) -> tuple[str, ...]:
        """See ``PayloadTask``."""
        return ()


def crosscheck_globs(asked: Sequence[str] = ()) -> tuple[str, ...]:
    """Globs of what both payloads are asked; by default the operations the second one has. Raises ``UsageError``."""
    if asked and not chosen(crosscheck_list(), asked):
        raise UsageError(
            f"no probe of the Python payload matches {_named(asked)}; docs/internals/crosscheck.md says which it has, "
            "and without -r all of them are run"
        )
    return tuple(asked) or tuple(dict.fromkeys(f"{probe.operation}/*" for probe in crosscheck_list()))


def probes_meant(globs: Sequence[str], rules: Sequence[str]) -> tuple[str, ...]:
    """Return globs of probes: ``globs``, and every probe of the rules that ``rules``, ids or globs, name.

    A rule's id among ``globs`` means its probes, too. Raises ``UsageError`` for a word that names no rule.
    """
    if not rules and all("/" in glob for glob in globs):
        return tuple(globs)
    catalogue = load_catalogue()
    probes = chosen(probe_list(), ())
    meant: list[str] = []
    for glob in globs:
        is_rule = glob in catalogue and not any(fnmatchcase(probe.id, glob) for probe in probes)
        meant += [probe.id for probe in probes if catalogue[glob].speaks_for(probe)] if is_rule else [glob]
    for glob in rules:
        named = [rule for name, rule in catalogue.items() if fnmatchcase(name, glob)]
        if not named:
            raise UsageError(f"no rule {glob!r}{nearest(glob, catalogue, listed_by='sealmatrix rules list')}")
        meant += [probe.id for probe in probes if any(rule.speaks_for(probe) for rule in named)]
    return tuple(dict.fromkeys(meant))


def workload(payload: Payload, globs: Sequence[str], probe_seconds: float, *, kmsg: bool) -> Workload:
    """The payload with its arguments; a glob after ``!`` leaves probes out.

    ``UsageError`` for a glob that means no probe (one that leaves none out does no harm), and when none is left.
    """
    planned = chosen(payload.probes, globs)
    if (vain := _vain(globs, payload.probes)) or not planned:
        word = some_of(vain or globs)
        raise UsageError(f"no probe matches {word}; to list a rule's probes: sealmatrix rules show RULE")
    arguments = _options(globs, probe_seconds, kmsg=kmsg)
    return Workload("c", payload.id, payload.sha256, program_bytes(payload.path, payload.sha256), arguments, planned)


def _vain(globs: Sequence[str], probes: Sequence[ProbeInfo]) -> list[str]:
    """The globs that mean no probe, without those that leave some out."""
    ids = {ProbeName(p.operation, p.region, p.span, p.layout).id for p in probes}
    return [glob for glob in _sorted(globs)[0] if glob not in ids and not any(map(matcher([glob]), ids))]


def chosen(probes: Sequence[ProbeInfo], globs: Sequence[str]) -> tuple[ProbeName, ...]:
    """The probes that globs mean, as a payload understands them."""
    wanted, unwanted = _sorted(globs)
    names = [ProbeName(p.operation, p.region, p.span, p.layout) for p in probes]
    asked, left_out = matcher(wanted or ["*"]), matcher(unwanted)
    return tuple(n for n in names if asked(n.id) and not left_out(n.id))


def fitted(profile: Profile, planned: Sequence[ProbeName]) -> Profile:
    """The profile without the huge pages and the swap that no planned probe uses: each takes a twentieth of a boot.

    A probe that the C payload does not list, such as a user's scenario, may use anything.
    """
    listed = {probe.id: probe.needs | probe.uses for probe in probe_list()}
    used = frozenset[str]().union(*(listed.get(probe.id, _RESOURCES) for probe in planned))
    return replace(
        profile,
        hugepages=profile.hugepages if "hugepages" in used else 0,
        swap=profile.swap if "swap" in used else 0,
    )


def _named(globs: Sequence[str]) -> str:
    return " or ".join(globs) or "all probes"


def _options(globs: Sequence[str], probe_seconds: float, *, kmsg: bool) -> tuple[str, ...]:
    wanted, unwanted = _sorted(globs)
    options = ["--deadline-ms", str(round(probe_seconds * 1000))]
    options += ["--kmsg"] if kmsg else []
    for option, patterns in (("--run", wanted), ("--exclude", unwanted)):
        for glob in patterns:
            options += [option, glob]
    return tuple(options)


def _sorted(globs: Sequence[str]) -> tuple[list[str], list[str]]:
    wanted = [glob for glob in globs if not glob.startswith("!")]
    return wanted, [glob.removeprefix("!") for glob in globs if glob.startswith("!")]


def matcher(globs: Sequence[str]) -> Callable[[str], bool]:
    """Say of a name whether any of the globs matches it; most selections name many probes one by one."""
    exact = frozenset(glob for glob in globs if not any(c in glob for c in "*?["))
    patterns = "|".join(translate(glob) for glob in globs if glob not in exact)
    matches = re.compile(patterns).match if patterns else lambda _name: None
    return lambda name: name in exact or matches(name) is not None
