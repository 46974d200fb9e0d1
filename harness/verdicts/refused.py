"""What was refused although nothing was sealed: does the rule not apply, or does the kernel block too much? Pure."""

from __future__ import annotations

from errno import EAGAIN, EFBIG, EMFILE, ENFILE, ENOMEM, ENOSPC, ENOSYS, EOPNOTSUPP

from harness.model.rule import MSEAL_SINCE, KernelFacts, ProbeName, Rule
from harness.model.verdict import Judgement
from harness.observations.model import Half, Observation, errno_name
from harness.rules.refusals import excuse

_FILTERED = 2
FILTER_NOTE = "a seccomp filter is in front of the kernel (Seccomp: 2) and may have answered for it"
# What an operation or its set-up lacks of these says nothing about the kernel's contract: the probe broke.
_EXHAUSTED = frozenset({ENOMEM, ENOSPC, EMFILE, ENFILE})
_SAID_BY_THE_PAYLOAD = frozenset({EOPNOTSUPP, EFBIG})  # of what a machine does not have, without asking the kernel
_UNAVAILABLE = frozenset({EAGAIN, *_EXHAUSTED})


def no_mseal(seen: Observation, kernel: KernelFacts) -> bool:
    """Whether nothing was tried, or nothing sealed, because the system call is not there."""
    if seen.control.step == "mseal" == seen.sealed.step:
        return seen.control.step_errno == ENOSYS
    return ENOSYS in seen.sealed.seal and kernel.features.get("mseal", ENOSYS) == ENOSYS


def without_mseal(rule: Rule, kernel: KernelFacts) -> Judgement:
    """What a kernel without mseal means: before 6.10 nothing, and from then on that a rule is broken and none can be
    asked."""
    if kernel.version < MSEAL_SINCE:
        return Judgement("skip", "no mseal (ENOSYS)")
    reason = "no mseal (ENOSYS), which every 64-bit kernel since 6.10 has"
    return Judgement("fail", reason, "interface") if rule.present else Judgement("miss", reason)


def step_failed(probe: ProbeName, control: Half, kernel: KernelFacts) -> Judgement:
    """The control lacked something before its operation: this machine has none, or the probe broke."""
    if entry := excuse(probe, kernel, control.step_errno, control.step):
        return Judgement(entry.verdict, f"not offered here: {control.said} ({entry.reason})")
    if control.step_errno in _UNAVAILABLE:
        return Judgement("error", f"the probe broke: {control.said}")
    return Judgement("error", f"the probe broke: {control.said} (not a known sign that the machine lacks it)")


def control_refused(probe: ProbeName, seen: Observation, kernel: KernelFacts) -> Judgement | None:
    """What it means that the control's operation was refused; None when it was not."""
    error = seen.control.errno
    if not error:
        return None
    if entry := excuse(probe, kernel, error):
        told = "does not apply: the control" if entry.verdict == "skip" else "the control"
        return Judgement(entry.verdict, f"{told} failed with {errno_name(error)} ({entry.reason})")
    if error in _EXHAUSTED:
        return Judgement("error", f"the control failed with {errno_name(error)}: the machine may lack the resources")
    refused = f"the control, where nothing is sealed, was refused with {errno_name(error)}"
    return Judgement("fail", f"{refused}: no reason that excuses this error is listed", "over-blocked")


def filtered(kernel: KernelFacts) -> bool:
    """Whether the payload ran behind a seccomp filter."""
    return kernel.features.get("seccomp") == _FILTERED


def filter_noted(seen: Observation, kernel: KernelFacts, finding: Judgement) -> Judgement:
    """Say of what rests on a refusal that it may not be the kernel's."""
    if not filtered(kernel) or finding.status in ("pass", "observed", "fixed"):
        return finding
    control, sealed = seen.control, seen.sealed
    errors = {control.errno, control.step_errno, sealed.errno, sealed.step_errno, *sealed.seal}
    refused = errors - {0, *_SAID_BY_THE_PAYLOAD}
    return Judgement(finding.status, f"{finding.reason}; {FILTER_NOTE}", finding.kind) if refused else finding
