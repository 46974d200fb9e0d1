"""One half of a probe: a process that makes a window, seals it or not, looks, operates, looks again, and tries."""

import contextlib
import io
import marshal
import os
import signal
import struct

from crosscheck.operations import OPERATIONS
from crosscheck.window import REGIONS, StepFailed, Window
from guest import numbers as n
from guest.calls import PAGE, syscall
from guest.processes import PR_SET_PDEATHSIG, read_until_dead

RLIMIT_CORE = 4
BITS = ((n.PROT_READ, 0), (n.PROT_WRITE, 1), (n.PROT_EXEC, 2))


def run_half(probe, deadline, *, sealed):
    """Run a half. Returns its facts, as an observation has them, and the size of a unit."""
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        syscall("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(0)
        os.setsid()
        syscall("prlimit64", 0, RLIMIT_CORE, struct.pack("QQ", 1, 1), 0)

        def tell(**facts):
            os.write(writing, marshal.dumps(facts))

        try:
            _go(probe, tell, sealed=sealed)
        except StepFailed as failed:
            tell(step=failed.step, step_errno=failed.number)
        os._exit(0)
    os.close(writing)
    try:
        said, status = read_until_dead(pid, reading, deadline)
    finally:
        os.close(reading)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    facts = _read(said)
    if status is None:
        facts["timeout"] = True
    elif os.WIFSIGNALED(status):
        facts["signal"] = os.WTERMSIG(status)
    return facts, facts.pop("unit")


def _go(probe, tell, *, sealed):
    operation = OPERATIONS[probe.operation]
    window = Window(REGIONS[probe.region], probe.layout)
    look = sealed or operation.seals
    window.make()
    if operation.prepare:
        operation.prepare(window)
    tell(stage="seal", unit=window.unit)
    if sealed:
        refused = window.seal()
        tell(seal=refused)
        if any(refused):
            return
    tell(stage="before")
    before = window.look(seals=look)
    tell(stage="operation", before=before)
    answer = operation.perform(window)
    result = -1 if answer.errno else window.locate(int(answer)) if operation.address else int(answer)
    tell(stage="after", result=result, errno=answer.errno)
    after = window.look(seals=look)
    writes = window.writes()
    protects = [
        syscall("mprotect", window.at(i), window.unit, _protection(after[i])).errno for i in range(window.units)
    ]
    unmaps = [syscall("munmap", window.at(i), window.unit).errno for i in range(window.units)]
    tell(stage="done", after=after, write=writes, mprotect=protects, munmap=unmaps)


def _protection(unit):
    return sum(bit for bit, at in BITS if unit != "-" and unit[at] != "-")


def _read(said):
    """The facts that arrived; the last may have been cut off by the process's end."""
    facts = {"stage": "setup", "unit": PAGE}
    stream = io.BytesIO(said)
    with contextlib.suppress(EOFError, ValueError):
        while True:
            facts |= marshal.load(stream)
    return facts
