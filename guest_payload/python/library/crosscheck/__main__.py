"""The second payload: ``python -m crosscheck [--list] [--run GLOB]... [--exclude GLOB]... [--only GLOB]...``.

Options and stream are those of the C payload (docs/reference/protocol.md), also ``--deadline-ms``, ``--kmsg`` and
``--id``;
``--only`` is a second choice, among those that ``--run`` and ``--exclude`` leave.
"""

import errno
import gc
import os
import re
import sys
import time
from fnmatch import translate

from crosscheck.half import run_half
from crosscheck.probes import all_probes
from guest import _identity
from guest.calls import PAGE, syscall
from guest.stream import KernelLog, emit, emit_end, emit_plan


def main(arguments):
    """Observe the probes that were chosen. Returns the exit status."""
    wanted, unwanted, only, deadline, kmsg, only_list = [], [], [], 10.0, False, False
    while arguments:
        match arguments.pop(0):
            case "--list":
                only_list = True
            case "--id":
                print(_identity.ID)
                return 0
            case "--kmsg":
                kmsg = True
            case "--run" if arguments:
                wanted.append(arguments.pop(0))
            case "--only" if arguments:
                only.append(arguments.pop(0))
            case "--exclude" if arguments:
                unwanted.append(arguments.pop(0))
            case "--deadline-ms" if arguments and arguments[0].isdigit():
                deadline = int(arguments.pop(0)) / 1000
            case other:
                os.write(2, f"crosscheck: {other}: no such option, or it lacks its value\n".encode())
                return 2
    asked, left_out, meant = _matcher(wanted or ["*"]), _matcher(unwanted), _matcher(only or ["*"])
    probes = [p for p in all_probes() if asked(p.id) and meant(p.id) and not left_out(p.id)]
    if only_list:
        for p in probes:
            emit(probe=p.id, family=p.family, operation=p.operation, region=p.region, span=p.span, layout=p.layout)
        return 0
    _observe_all(probes, deadline, kmsg)
    return 0


def _matcher(globs):
    """Says of a name whether one of the globs matches it; one expression for all, since there may be a hundred."""
    return re.compile("|".join(map(translate, globs)) or "(?!)").match


def _observe_all(probes, deadline, kmsg):
    gc.disable()
    gc.freeze()  # a collection in a child would copy every page it looks at
    emit_plan([probe.id for probe in probes])
    log = KernelLog(wanted=kmsg)
    missing = syscall("mseal", 0, 0, 0).errno == errno.ENOSYS
    for probe in probes:
        log.begin(probe.id)
        emit(type="begin", probe=probe.id)
        begun = time.monotonic()
        if missing:  # without the system call there is nothing to learn: say so for each, and start no process
            control = sealed = {"stage": "setup", "step": "mseal", "step_errno": errno.ENOSYS}
            unit = PAGE
        else:
            control, unit = run_half(probe, deadline, sealed=False)
            sealed, _ = run_half(probe, deadline, sealed=True)
        emit(
            type="observation", probe=probe.id, layout=probe.layout, unit=unit,
            microseconds=int((time.monotonic() - begun) * 1e6), control=control, sealed=sealed,
        )  # fmt: skip
    emit_end(len(probes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
