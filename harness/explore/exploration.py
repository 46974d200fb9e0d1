"""What exploring one kernel came to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from harness.explore.executor import BatchPlan
from harness.explore.oracles import StepProblem
from harness.explore.program import Program
from harness.explore.source import ProgramSource
from harness.model.rule import KernelFacts


@dataclass(frozen=True)
class ExploreFinding:
    """A problem that came again. ``program`` is the smallest that shows it, ``origin`` the one that was found;
    ``company`` are programs that have to run before it in the same process, where alone it shows nothing. ``cause`` is
    the entry of ``known.yaml`` whose steps it needs, on whatever kernel."""

    problem: StepProblem
    program: Program
    origin: Program
    company: tuple[Program, ...] = ()
    quote: tuple[str, ...] = ()
    cause: str = ""


@dataclass
class Exploration:
    """What a run over one kernel came to. ``alarms`` counts suspicions, ``unconfirmed`` those that did not come
    again; ``asked`` has how many steps of each operation were judged; ``well`` are programs of the corpus that showed
    nothing wrong; ``exhausted`` counts the exhaustive programs of all parts, ``exhausted_before`` those of the parts
    before this one, ``exhausted_at`` is of all of them (``ProgramSource.at``); ``digest`` is of the generated
    programs; ``pairs`` counts the pairs of blocks of the kernel's code that ran, where that was gathered; ``console``
    says whether the machine had one to read, ``lost`` why it is incomplete."""

    seed: int
    programs: int = 0
    steps: int = 0
    judged: int = 0
    batches: int = 0
    exhausted: int = 0
    exhausted_before: int = 0
    exhausted_at: str = ""
    states: int = 0
    pairs: int = 0
    seconds: float = 0.0
    findings: list[ExploreFinding] = field(default_factory=list)
    alarms: dict[str, int] = field(default_factory=dict)
    unconfirmed: list[tuple[StepProblem, Program]] = field(default_factory=list)
    recorded: dict[str, tuple[int, Program]] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    well: tuple[str, ...] = ()
    plan: BatchPlan | None = None
    release: str = ""
    arch: str = ""
    upstream: str = ""
    console: bool = True
    lost: str = ""
    digest: str = ""

    @property
    def kernel(self) -> KernelFacts | None:
        """What is known of the kernel; None when it never said its release."""
        return kernel_facts(self.release, self.arch, self.upstream)

    def reached(self, source: ProgramSource, seconds: float) -> None:
        """Say how far it came."""
        self.batches, self.exhausted, self.exhausted_at = source.batches, source.exhausted, source.at
        self.seconds = seconds
        self.states, self.digest = source.random.states, source.digest.hexdigest()[:16]


def kernel_facts(release: str, arch: str, upstream: str) -> KernelFacts | None:
    """The facts that ranges of kernels ask for; None where the version is not known."""
    try:
        return KernelFacts(release, arch, 0, upstream)
    except ValueError:
        return None


def finding_lines(finding: ExploreFinding) -> Iterator[str]:
    """A finding as text."""
    problem = finding.problem
    where = f"step {problem.step + 1}" if 0 <= problem.step < len(finding.program.steps) else "the end"
    yield f"{problem.oracle}: {problem.operation}, {where}{' of a child' if problem.child else ''}: {problem.text}"
    yield f"    contract: {' '.join(problem.clauses)}"
    yield from (f"    {line}" for line in finding.program.lines())
    if finding.company:
        yield f"    after {len(finding.company)} other programs in the same process"
    yield from (f"    | {line}" for line in finding.quote[:12])
