"""Coverage of a kernel, measured: the payload in a guest, with KCOV in each sealed half. Through the ``Guest`` seam."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.coverage.elf import read_code
from harness.coverage.model import EXPLORATION, Code, CoveragePair, CoverageResult, judge
from harness.coverage.smallest import parts_of, smallest
from harness.errors import InfrastructureError, LostGuest
from harness.explore.covered import ReachedCode
from harness.explore.exploration import Exploration
from harness.explore.session import Explorer
from harness.explore.source import ProgramSource
from harness.guests.model import Exited, Guest, Output
from harness.kernels.debian_tree import symbols_of
from harness.kernels.model import Kernel
from harness.kernels.store import Store
from harness.model.json_text import parse_json
from harness.model.rule import ProbeName, Rule
from harness.payload.build import Payload, build
from harness.rules.load import load_catalogue
from harness.runs.model import Workload
from harness.runs.planning.payload_tasks import workload
from harness.verdicts.judge import assign

_PAIR = struct.Struct(">II")
_SOURCE = re.compile(r"(linux-source-[\d.]+) (\S+)")
_SAY_EVERY = 200  # probes
_PROBE_SECONDS = 20.0


@dataclass
class CoverageTrace:
    """What the payload told: the pairs of each probe's sealed half. ``cut`` are probes with more than it keeps."""

    planned: tuple[str, ...] = ()
    pairs: dict[str, frozenset[CoveragePair]] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)
    ended: bool = False

    @property
    def untold(self) -> tuple[str, ...]:
        """Planned probes of which the payload said nothing."""
        return tuple(probe for probe in self.planned if probe not in self.pairs)

    def line(self, line: bytes) -> None:
        """Take a line of the stream. Raises ``LostGuest`` for one that is none."""
        try:
            record = parse_json(line)
            match record["type"]:
                case "plan":
                    self.planned = tuple(record["probes"])
                case "coverage":
                    self.pairs[record["probe"]] = pairs_of(record["pairs"])
                    if not record["all"]:
                        self.cut.append(record["probe"])
                case "end":
                    self.ended = True
        except (ValueError, KeyError, TypeError) as problem:
            raise LostGuest(f"the payload wrote no record: {line[:80]!r} ({problem})") from None


def pairs_of(text: str) -> frozenset[CoveragePair]:
    """Read pairs as the payload writes them: sixteen hexadecimal digits each. Raises ``ValueError``."""
    try:
        return frozenset(_PAIR.iter_unpack(bytes.fromhex(text)))
    except struct.error as problem:
        raise ValueError(str(problem)) from None


def measure_coverage(
    kernel: Kernel,
    vmlinux: Path,
    make: Callable[[], Guest],
    globs: Sequence[str],
    on_progress: Callable[[str], None],
    *,
    explore: float = 0,
    seed: int = 0,
) -> CoverageResult:
    """Boot the guest that ``make`` returns and run the probes that match, then generated programs for ``explore``
    seconds. A kernel whose answer is incomplete is a result that says why; what was seen until then is in it."""
    trace = CoverageTrace()
    lost, release = "", kernel.release
    programs, explored = 0, frozenset[CoveragePair]()
    code: Code | None = None
    payload = build(kernel.arch)
    work = workload(payload, globs, _PROBE_SECONDS, kmsg=True)
    try:
        code = read_code(vmlinux)
        guest = make()
        try:
            release = guest.boot().release
            on_progress("booted; running the probes")
            _run(guest, work, trace, on_progress)
        finally:
            guest.stop()
        if not any(trace.pairs.values()):
            lost = "no probe ran any block: is the vmlinux that of this kernel?"
        elif untold := trace.untold:
            lost = f"{len(untold)} of {len(trace.planned)} planned probes told nothing, {untold[0]} the first of them"
        if explore and not lost:
            programs, explored, lost = _explored(make, payload, explore, seed, on_progress)
    except InfrastructureError as problem:
        lost = str(problem)
    if code is None:
        return CoverageResult(kernel.name, kernel.arch, release, lost=lost)
    traces = {**trace.pairs, **({EXPLORATION: explored} if explored else {})}
    strange = {block for pairs in traces.values() for _, block in pairs} - set(code.symbols)
    if len(strange) > len(code.symbols) and not lost:
        lost = "most blocks that ran are not in the vmlinux: it is that of another kernel"
    functions, by_line = judge(code, traces, {**rules_of(payload, load_catalogue()), EXPLORATION: (EXPLORATION,)})
    silent = tuple(probe for probe, pairs in trace.pairs.items() if not pairs)
    reached = parts_of(code)
    enough = smallest({probe: reached(pairs) for probe, pairs in trace.pairs.items()})
    return CoverageResult(
        kernel.name,
        kernel.arch,
        release,
        functions=functions,
        by_line=by_line,
        probes=len(trace.pairs),
        programs=programs,
        cut=tuple(trace.cut),
        silent=silent,
        smallest=enough,
        lost=lost,
    )


def _run(guest: Guest, work: Workload, trace: CoverageTrace, on_progress: Callable[[str], None]) -> None:
    path = guest.push("payload", work.content)
    rest, complaints = bytearray(), bytearray()
    said = 0
    for event in guest.run([path, "--coverage", *work.arguments]):
        match event:
            case Output("out", data):
                rest += data
                *lines, last = bytes(rest).split(b"\n")
                rest = bytearray(last)
                for line in filter(None, lines):
                    trace.line(line)
                if len(trace.pairs) >= said + _SAY_EVERY:
                    said = len(trace.pairs)
                    on_progress(f"{said} of {len(trace.planned)} probes")
            case Output(_, data):
                complaints = (complaints + data)[-2000:]
            case Exited(0, None) if trace.ended:
                return
            case Exited():
                told = complaints.decode("utf-8", "replace").strip().splitlines()
                raise LostGuest(told[-1] if told else "the payload did not come to its end")
    raise LostGuest("the payload never ended")


def _explored(
    make: Callable[[], Guest], payload: Payload, seconds: float, seed: int, on_progress: Callable[[str], None]
) -> tuple[int, frozenset[CoveragePair], str]:
    """Run programs in guests of their own: how many, what they ran, and why that is incomplete, or ""."""

    def boot() -> Guest:
        guest = make()
        guest.boot()
        return guest

    covered = ReachedCode()
    explorer = Explorer(boot, payload.path.read_bytes(), on_progress, covered=covered)
    try:
        outcome = explorer.explore(ProgramSource(seed), seconds, Exploration(seed))
    finally:
        explorer.stop()
    lost = outcome.lost or ("" if outcome.programs else "no program ran")
    return outcome.programs, frozenset(covered.pairs), lost and f"exploration: {lost}"


def rules_of(payload: Payload, catalogue: Mapping[str, Rule]) -> Mapping[str, tuple[str, ...]]:
    """The rules that each probe is about, but for those that are about every probe."""
    found: dict[str, list[str]] = {}
    planned = tuple(ProbeName(p.operation, p.region, p.span, p.layout) for p in payload.probes)
    for rule, probes in assign(catalogue, planned):
        for probe in probes if rule.outcome != "unchanged" else ():
            found.setdefault(probe.id, []).append(rule.id)
    return {probe: tuple(rules) for probe, rules in found.items()}


def symbols_for(store: Store, kernel: Kernel) -> Path | None:
    """The vmlinux of a kernel that was built from a source package."""
    return symbols_of(store, kernel.sha256)


def sources_for(store: Store, kernel: Kernel, vmlinux: Path) -> Path | None:
    """Where a kernel's sources lie: unpacked from their package, or where its vmlinux was built."""
    places = [vmlinux.parent, vmlinux.parent / "source"]  # a build elsewhere leaves a link to its tree
    if match := _SOURCE.fullmatch(kernel.origin.where):
        places = [store.root / "sources" / f"{match[1]}_{match[2].replace(':', '%3a')}"]
    return next((place for place in places if (place / "mm").is_dir()), None)


def read_sources(tree: Path | None, files: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """The lines of each file that is there."""
    if tree is None:
        return {}
    paths = {name: tree / name for name in files}
    return {
        name: tuple(path.read_text("utf-8", "replace").splitlines()) for name, path in paths.items() if path.is_file()
    }
