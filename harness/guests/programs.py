"""The programs of ours that guests need, made before the first guest: our log says which, and how far that is."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from harness.guests.pid1 import init_program
from harness.model.architectures import ARCHES, Arch
from harness.payload.build import payload_program
from harness.payload.compiler import ElfTarget

_LOG = logging.getLogger(__name__)


def make_programs(arches: Iterable[Arch], *, init: bool = True, payload: bool = True) -> None:
    """Compile PID 1 and the payload for each architecture, those that are wanted and not there.

    Raises ``BuildError`` or ``StoreError``.
    """
    programs = _programs(arches, init=init, payload=payload)
    lacking = [program for program in programs if not program.is_made()]
    begun = time.monotonic()
    for number, program in enumerate(lacking, 1):
        program.make(f"{number} of {len(lacking)}")
    if lacking:
        _LOG.info("compiled in %.0f s", time.monotonic() - begun)


def all_made() -> tuple[ElfTarget, ...]:
    """Those of every architecture, built where they are not: ahead of time, for a wheel or by scripts/setup."""
    make_programs(ARCHES)
    programs = _programs(ARCHES, init=True, payload=True)
    for program in programs:
        program.make()
    return tuple(programs)


def _programs(arches: Iterable[Arch], *, init: bool, payload: bool) -> list[ElfTarget]:
    wanted = [program for program, is_wanted in ((init_program, init), (payload_program, payload)) if is_wanted]
    return [program(arch) for arch in arches for program in wanted]
