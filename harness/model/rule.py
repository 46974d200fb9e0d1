"""A rule: one sentence of the contract, as data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from fnmatch import translate
from functools import cache, cached_property
from typing import Literal

from harness.model.version import Version, parse_version

Level = Literal["required", "permitted", "open", "uncovered"]
Outcome = Literal["blocked", "permitted", "undefined", "open", "uncovered", "interface", "unchanged"]
Contents = Literal["kept", "as-control", "read-only-kept"]
Covers = Literal["sealed", "mixed", "plain", "gap"]
Seals = Literal["kept", "range", "by-answer", "any"]


@cache
def covers(layout: str) -> Covers:
    """What the operation's range lies over: only sealed units, sealed and others, plain ones, or gaps and no seal."""
    inside = {c for c in layout if c.isupper()}
    if "S" in inside:
        return "sealed" if inside == {"S"} else "mixed"
    return "gap" if "G" in inside else "plain"


@dataclass(frozen=True)
class ProbeName:
    """The parts of a probe's id and its layout."""

    operation: str
    region: str
    span: str
    layout: str

    @cached_property
    def id(self) -> str:
        """``operation/region/span``."""
        return f"{self.operation}/{self.region}/{self.span}"


@dataclass(frozen=True)
class KernelFacts:
    """What a rule may need to know of the kernel it speaks about.

    ``upstream`` is the version it was built from where its release hides that; ``version`` is what ranges mean.
    ``features`` are those of the payload's plan (docs/reference/protocol.md): of the kernel and of the machine.
    ``config`` has the options that rules ask for (``asked_options``), "n" for one that is off; one that is not there
    is not known.
    """

    release: str
    arch: str
    page_size: int
    upstream: str = ""
    features: Mapping[str, int | str] = field(default_factory=dict, compare=False, repr=False)
    config: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    version: Version = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "version", parse_version(self.upstream or self.release))


MSEAL_SINCE: Version = (6, 10, 0)
"""The first release with mseal, on 64-bit kernels."""
BEFORE_MSEAL = "before-mseal"
"""The label by which the matrix says of a kernel that it has no mseal."""
SEALING_OPERATIONS = ("mseal*", "smaps-mseal", "thread-mseal")
"""The operations that seal and do nothing else."""
BOOT, CONFIG = "boot:", "config:"
NEEDS: Mapping[str, tuple[str, int, str]] = {
    "swap": ("swap", 1, "swap"),
    "hugepages": ("hugepages", 1, "huge pages"),
    "two-nodes": ("nodes", 2, "two NUMA nodes"),
    "two-cpus": ("cpus", 2, "two CPUs"),
}
"""What a rule may need of a machine: the feature of the payload's plan, the least of it, and its name for people.

``boot:PARAMETER`` needs exactly that word on the kernel's command line, ``config:OPTION`` a kernel built with the
option and ``config:!OPTION`` one built without.
"""


@dataclass(frozen=True)
class Where:
    """A set of kernels: a half-open version range, architectures, page sizes in bytes; empty means any."""

    since: Version | None = None
    until: Version | None = None
    arches: tuple[str, ...] = ()
    page_sizes: tuple[int, ...] = ()

    def __contains__(self, kernel: KernelFacts) -> bool:
        return (
            (self.since is None or kernel.version >= self.since)
            and (self.until is None or kernel.version < self.until)
            and (not self.arches or kernel.arch in self.arches)
            and (not self.page_sizes or kernel.page_size in self.page_sizes)
        )


@dataclass(frozen=True)
class Selector:
    """Which probes a rule speaks for: globs for operation and region, spans by name or by what they cover.

    An entry that begins with ``!`` takes away again.
    """

    operations: tuple[str, ...]
    regions: tuple[str, ...] = ("*",)
    spans: tuple[str, ...] = ("*",)
    covers: tuple[Covers, ...] = ()

    def __contains__(self, probe: ProbeName) -> bool:
        return (
            _matches(probe.operation, self.operations)
            and _matches(probe.region, self.regions)
            and _matches(probe.span, self.spans)
            and (not self.covers or covers(probe.layout) in self.covers)
        )


@cache  # thousands of probes are made of few names, and a hundred rules ask for them with few globs
def _matches(name: str, globs: tuple[str, ...]) -> bool:
    taken, dropped = _patterns(globs)
    return taken.match(name) is not None and dropped.match(name) is None


@cache
def _patterns(globs: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What the globs take, and what those with a ``!`` take away again."""
    taken = [translate(g) for g in globs if not g.startswith("!")]
    dropped = [translate(g[1:]) for g in globs if g.startswith("!")]
    return _one_of(taken), _one_of(dropped)


def _one_of(patterns: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(patterns) or r"(?!)")


@dataclass(frozen=True)
class Expect:
    """What the ``interface`` outcome demands of one half.

    ``errnos``: accepted error numbers by name (``"0"`` for success). ``seals``: which units are sealed afterwards:
    ``kept`` (those that were), ``range`` (those that were and exactly the units asked for), ``by-answer`` (the same
    where the answer is success, else perhaps some of those asked for), ``any``. ``shown``: smaps has to say of each
    unit what its behaviour says. ``rounds``: of a race that was run many times, how a round may go, as
    ``"MSEAL OPERATION THEN END"`` (docs/reference/protocol.md), and ``wins`` how often each of these must have been
    seen for the race to prove anything. ``facts``: what the half's ``extra`` has to say, by key; a number there is an
    error number.
    """

    errnos: tuple[str, ...]
    seals: Seals = "kept"
    shown: bool = False
    rounds: tuple[str, ...] = ()
    wins: int = 0
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Known:
    """A difference that is known: these kernels do not keep the rule, for this reason, as measured or cited."""

    where: Where
    reason: str
    source: str
    probes: tuple[str, ...] = ("*",)


@dataclass(frozen=True)
class Check:
    """What has a verdict of its own: a rule of the contract, or a test of a foreign suite.

    ``outcome`` is what is promised and judged. Where the mail thread wants something else, ``thread`` holds that
    outcome and a verdict says which of the two the kernel follows. ``where`` are the kernels it speaks for, and
    ``known`` those that are known not to keep it.
    """

    id: str
    contract: str
    family: str
    level: Level
    outcome: Outcome
    statement: str
    sources: tuple[str, ...]
    _: KW_ONLY
    where: Where = Where()
    thread: Outcome | None = None
    known: tuple[Known, ...] = ()


@dataclass(frozen=True)
class Test(Check):
    """One test of a foreign suite, which is its family: ``kselftest-mseal/mprotect-two-vma``."""

    __test__ = False  # for pytest


@dataclass(frozen=True)
class Rule(Check):
    """One sentence of the contract; ``outcome`` is what upstream promises.

    ``errnos`` are accepted for a blocked operation. ``atomic``: a refused operation changed nothing in its range.
    ``contents``: ``kept``, ``as-control`` where the operation may change them even in sealed memory, or
    ``read-only-kept`` where it may do so only in the units that are writable. ``needs``: what a machine must have for
    the rule to be asked, see ``NEEDS``. ``present``: it is this rule that demands the system call to be there.

    The outcome ``unchanged`` is about what sealing does to memory, which is nothing, whatever the operation does then.
    """

    probes: tuple[Selector, ...] = ()
    needs: tuple[str, ...] = ()
    errnos: tuple[str, ...] = ("EPERM",)
    atomic: bool = False
    present: bool = False
    contents: Contents = "kept"
    expect_control: Expect | None = None
    expect_sealed: Expect | None = None

    def places(self, planned: Sequence[ProbeName], by_operation: Mapping[str, Sequence[int]]) -> list[int]:
        """Where in a plan the probes are that it speaks for; ``by_operation`` has the places of each operation."""
        return sorted(
            {
                place
                for selector in self.probes
                for operation, places in by_operation.items()
                if _matches(operation, selector.operations)
                for place in places
                if planned[place] in selector
            }
        )

    def speaks_for(self, probe: ProbeName) -> bool:
        """Whether one of the rule's selectors takes the probe."""
        return any(probe in selector for selector in self.probes)

    def lacks(self, kernel: KernelFacts) -> str:
        """What the rule needs and was not there, as the end of "needs …"; "" when nothing.

        What a payload did not report is there; a kernel's configuration has to be known.
        """
        return next(filter(None, (_lacking(need, kernel) for need in self.needs)), "") if self.needs else ""


def asked_options(rules: Iterable[Rule]) -> frozenset[str]:
    """The options of a kernel's configuration that rules need to be on or off."""
    return frozenset(
        need.removeprefix(CONFIG).lstrip("!") for rule in rules for need in rule.needs if need.startswith(CONFIG)
    )


def _lacking(need: str, kernel: KernelFacts) -> str:
    if need.startswith(CONFIG):
        option = need.removeprefix(CONFIG).lstrip("!")
        built = kernel.config.get(option)
        if built is None:
            return f"the kernel's configuration (CONFIG_{option} is unknown)"
        wanted = not need.startswith(f"{CONFIG}!")
        return "" if (built == "y") is wanted else f"a kernel built {'with' if wanted else 'without'} CONFIG_{option}"
    if need.startswith(BOOT):
        word = need.removeprefix(BOOT)
        there = word in str(kernel.features.get("cmdline", word)).split()
        return "" if there else f"the boot parameter {word}, which the tested machine lacks"
    feature, least, what = NEEDS[need]
    enough = int(kernel.features.get(feature, least)) >= least
    return "" if enough else f"{what}, which the tested machine lacks"
