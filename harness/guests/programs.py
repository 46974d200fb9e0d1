"""The programs of ours that guests need, made before the first guest: our log says which, and how far that is."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from harness.guests.pid1 import init_program
from harness.model.architectures import Arch
from harness.payload.build import payload_program

_LOG = logging.getLogger(__name__)


def make_programs(arches: Iterable[Arch], *, init: bool = True, payload: bool = True) -> None:
    """Compile PID 1 and the payload for each architecture, those that are wanted and not there.

    Raises ``BuildError`` or ``StoreError``.
    """
    wanted = [program for program, is_wanted in ((init_program, init), (payload_program, payload)) if is_wanted]
    programs = [program(arch) for arch in arches for program in wanted]
    lacking = [program for program in programs if not program.is_made()]
    begun = time.monotonic()
    for number, program in enumerate(lacking, 1):
        program.make(f"{number} of {len(lacking)}")
    if lacking:
        _LOG.info("compiled in %.0f s", time.monotonic() - begun)
