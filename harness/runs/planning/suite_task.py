"""Foreign suites as what guests are given to do, beside probes or in place of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from hashlib import sha256

from harness.errors import UsageError
from harness.guests.model import Deadlines
from harness.kernels.archive import Saying
from harness.model.architectures import Arch
from harness.model.rule import ProbeName
from harness.payload.build import payload_root
from harness.payload.busybox import busybox
from harness.payload.compiler import ElfTarget
from harness.rules.load import load_catalogue
from harness.runs.judging import SUITES, Question, WithSuites
from harness.runs.model import SuiteLoad, Workload
from harness.runs.planning.payload_tasks import Probes
from harness.suites.definition import SuiteAsked, SuiteWork
from harness.suites.gather import asked, gather
from harness.suites.load import SuiteSpec
from harness.verdicts.judge import assign

_SHARE = 0.8  # of a guest's silence that a program may take


@dataclass(frozen=True)
class Suites:
    """Suites, and the probes that run before them, if any. ``user_space`` says that guests have libraries and a shell
    of their own."""

    specs: tuple[SuiteSpec, ...]
    probes: Probes | None = None
    user_space: bool = False
    say: Saying = field(default=lambda text: None, compare=False)
    made: dict[Arch, tuple[SuiteWork, ...]] = field(default_factory=dict, compare=False)

    def workload(self, arch: Arch, limits: Deadlines, *, kmsg: bool) -> Workload:
        """See ``PayloadTask``."""
        most = limits.silence * _SHARE
        if long := next((spec for spec in self.specs if (spec.seconds or 0) > most), None):
            raise UsageError(
                f"{long.name}: a program may take {most:g} s here, not {long.seconds:g} s; --scale makes all deadlines "
                "longer"
            )
        works = tuple(gather(spec, arch, self.say, seconds=most, user_space=self.user_space) for spec in self.specs)
        self.made[arch] = works
        shell = busybox(arch, self.say).read_bytes() if any(work.needs_shell for work in works) else b""
        load = SuiteLoad(launcher(arch).make().read_bytes(), shell, works)
        if self.probes is not None:
            return changed(self.probes.workload(arch, limits, kmsg=kmsg), suites=load)
        digest = sha256("".join(work.sha256 for work in works).encode()).hexdigest()
        ident = sha256(repr(self.specs).encode()).hexdigest()[:16]
        return Workload(SUITES, ident, digest, b"", (), (), suites=load)

    def question(self, planned: Sequence[ProbeName]) -> Question:
        """See ``PayloadTask``."""
        return WithSuites(assign(load_catalogue(), planned) if planned else (), self.asked())

    def asked(self) -> tuple[SuiteAsked, ...]:
        """What is judged, once there is a workload."""
        return tuple(
            asked(spec, {arch: works[place] for arch, works in self.made.items()})
            for place, spec in enumerate(self.specs)
        )

    def remarks(self) -> tuple[str, ...]:
        """See ``PayloadTask``."""
        return self.probes.remarks() if self.probes else ()


def launcher(arch: Arch) -> ElfTarget:
    """What runs the programs of suites in a guest (``guest_payload/launch``)."""
    return ElfTarget((payload_root() / "launch" / "launch.c",), arch, "launch")
