"""Small synthetic runs for tests of everything that reads one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.model.rule import Level, Outcome, Rule, Selector
from harness.model.run_record import (
    CellRecord,
    CellState,
    CrashRecord,
    KernelRecord,
    MachineRecord,
    RunRecord,
    RunState,
)
from harness.model.verdict import Follows, Kind, RuleResult, Status, Verdict
from harness.runs.model import RunDone

_OUTCOMES: Mapping[Level, Outcome] = {
    "required": "blocked",
    "permitted": "permitted",
    "open": "open",
    "uncovered": "uncovered",
}

OOPS = CrashRecord(
    kind="oops",
    title="Oops: BUG in mprotect_fixup",
    lines=("[   3.1] Unable to handle kernel paging request", "[   3.1] Call trace:"),
    during="mprotect/anon-0/into",
    fatal=True,
)


def rule(name: str, family: str = "munmap", level: Level = "required", contract: str = "U1") -> Rule:
    """A rule that speaks for every probe of its family."""
    return Rule(
        id=name,
        contract=contract,
        family=family,
        level=level,
        outcome=_OUTCOMES[level],
        statement=f"What {name} says in one sentence.",
        sources=("Documentation/userspace-api/mseal.rst",),
        probes=(Selector((family,)),),
    )


def result(
    of: Rule,
    status: Status = "pass",
    reason: str = "",
    kind: Kind | None = None,
    *,
    probes: int = 3,
    observed: str = "control 0, sealed EPERM",
    follows: Follows | None = None,
    others: Status | None = None,
) -> RuleResult:
    """A rule's result: the first probe has ``status``, the others have ``others`` (the same when None)."""
    verdicts = []
    for i in range(probes):
        probe = f"{of.family}/anon-{i}/into"
        if i == 0 or others is None:
            seen = observed if status not in ("miss", "error") else ""
            verdicts.append(Verdict(of.id, probe, status, reason, kind, seen, follows))
        else:
            verdicts.append(Verdict(of.id, probe, others, "", None, observed, follows))
    return RuleResult(of, tuple(verdicts))


def cell(
    kernel: str,
    arch: str = "x86_64",
    *,
    state: CellState = "finished",
    reason: str = "",
    profile: str = "standard",
    crashes: Sequence[CrashRecord] = (),
    note: str = "",
    acceleration: str = "tcg",
) -> CellRecord:
    """A cell's record. Without ``acceleration`` the cell never booted."""
    name = f"{kernel}.{arch}" if profile == "standard" else f"{kernel}.{arch}.{profile}"
    release = f"{kernel.removeprefix('debian-')}.117-cloud-{arch}"
    machine = MachineRecord(guest="qemu", smp=1, memory=256, boot=())
    if acceleration:
        came_up = {
            "release": release,
            "page_size": 4096,
            "acceleration": acceleration,
            "acceleration_reason": "KVM opens but no kernel boots under it",
        }
        machine = machine.model_copy(update=came_up)
    return CellRecord(
        id=name,
        profile=profile,
        arch=arch,
        state=state,
        reason=reason,
        kernel=KernelRecord(
            name=kernel,
            release=release,
            arch=arch,
            flavour="cloud",
            sha256="ab" * 32,
            image_format="bzImage",
            config_sha256="cd" * 32,
            origin_kind="debian",
            origin="trixie",
            note=note,
        ),
        machine=machine,
        payload_sha256="ef" * 32,
        started="2026-11-23T21:45:01+00:00",
        seconds={"boot": 2.5, "push": 0.1, "payload": 4.25},
        crashes=tuple(crashes),
    )


def run(
    folder: Path, cells: Sequence[tuple[CellRecord, Sequence[RuleResult]]], state: RunState = "finished"
) -> RunDone:
    """A run that ended, with nothing on disk."""
    counted = [c.model_copy(update={"statuses": dict(Counter(r.status for r in results))}) for c, results in cells]
    record = RunRecord(
        id="20261123-214500-3fa2",
        state=state,
        started="2026-11-23T21:45:00+00:00",
        finished="2026-11-23T21:46:00+00:00",
        sealmatrix="0.1.0",
        command=("sealmatrix", "run"),
        options={},
        host={},
        matrix={},
        payload="c",
        payload_id="0123456789abcdef",
        catalogue_sha256="12" * 32,
        jobs=2,
        cells=tuple(counted),
    )
    return RunDone(folder, record, {c.id: tuple(results) for c, results in cells})


def fifty_cells(folder: Path, *odd: str) -> RunDone:
    """Fifty cells of twenty rules, all well but for rules of ``odd`` on the last cell."""
    rules = [rule(f"{family}-{n}", family) for family in ("munmap", "mprotect", "madvise", "mremap") for n in range(5)]
    cells = []
    for number in range(25):
        for arch in ("x86_64", "arm64"):
            failing = odd if (number, arch) == (24, "arm64") else ()
            results = [result(r, "fail", "r", "bypass") if r.id in failing else result(r) for r in rules]
            cells.append((cell(f"debian-6.12.{number + 43}", arch), results))
    return run(folder, cells)


def default_matrix(folder: Path) -> RunDone:
    """Seven cells as in the selection ``default``, with one of everything that can be reported."""
    munmap = [rule(f"munmap-{x}") for x in ("refused", "atomic", "head", "tail", "across", "into")]
    fixed = [rule(f"mmap-fixed-{x}", "mmap-fixed", contract="U2") for x in ("refused", "atomic", "noreplace")]
    protect = [rule(f"mprotect-{x}", "mprotect", contract="P1") for x in ("refused", "same-protection", "mixed")]
    advise = [rule(f"madvise-{x}", "madvise", "permitted", "M8") for x in ("cold", "populate-write", "hugepage")]
    advise += [rule("madvise-discard-private-file-written", "madvise", "permitted", "M5")]
    openly = [rule(f"madvise-{x}", "madvise", "open", "M6") for x in ("remove-shared", "guard-install-file")]
    rules = [*munmap, *fixed, *protect, *advise, *openly]
    names = [("debian-6.1", "x86_64"), ("debian-6.1", "arm64"), ("debian-6.12", "x86_64"), ("debian-6.12", "arm64"),
             ("debian-7.3", "x86_64"), ("debian-7.3", "arm64"), ("debian-6.12-16k", "arm64")]  # fmt: skip
    pairs: list[tuple[CellRecord, Sequence[RuleResult]]] = []
    for kernel, arch in names:
        if kernel == "debian-6.1":
            pairs.append((cell(kernel, arch), [result(r, "skip", "no mseal (ENOSYS)") for r in rules]))
            continue
        results = {r.id: result(r, "observed" if r.level == "open" else "pass") for r in rules}
        discard = advise[-1]
        results[discard.id] = result(discard, follows="upstream")
        note, crashes = "", ()
        if kernel == "debian-7.3":
            results["munmap-across"] = result(
                munmap[4],
                "fail",
                "answered 0: unit 2 was unmapped",
                "bypass",
                observed="control 0, sealed 0; unit 2 was unmapped",
                others="pass",
            )
            results["madvise-remove-shared"] = result(openly[0], "observed", observed="control 0, sealed 0")
            note = "mirror unreachable, newest stored build used"
        if (kernel, arch) == ("debian-7.3", "arm64"):
            results["mprotect-mixed"] = result(
                protect[2],
                "fail",
                f"the kernel reported while the probe ran: {OOPS.title}",
                "crash",
            )
            crashes = (OOPS,)
        if kernel == "debian-6.12":
            results["mmap-fixed-atomic"] = result(
                fixed[1],
                "known",
                "refused with EPERM, and yet unit 0 was unmapped; known: cited",
                "not-atomic",
            )
        if kernel == "debian-6.12-16k":
            results["madvise-hugepage"] = result(advise[2], "skip", "does not apply: the control failed with EINVAL")
            results["munmap-refused"] = result(munmap[0], "error", "the sealed half gave no answer in time")
            results["mprotect-same-protection"] = result(protect[1], "fixed", "holds, although the catalogue says: no")
        pairs.append((cell(kernel, arch, crashes=crashes, note=note), list(results.values())))
    return run(folder, pairs)


def lost_cell(kernel: str, rules: Sequence[Rule], reason: str) -> tuple[CellRecord, Sequence[RuleResult]]:
    """A cell that never booted."""
    return cell(kernel, state="lost", reason=reason, acceleration=""), [result(r, "miss", reason) for r in rules]
