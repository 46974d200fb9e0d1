"""How long a guest may take: pure numbers, scaled by what makes guests slow. See docs/internals/guests.md.

The base is a guest under KVM. Emulation is slower by a factor measured as ten for boots and twenty for system
calls on common machines; the figures below leave another three- to fivefold room, because a deadline exists to
end a guest that hangs, not to grade one that is slow. Cells that share fewer cores than they need slow each
other down, which ``load`` (guests side by side per core) says.
"""

from __future__ import annotations

import math
from dataclasses import replace

from harness.guests.model import Deadlines
from harness.model.architectures import Arch

_BOOT = 15.0
_PROBE = 2.0
_TOTAL = 300.0
_EMULATED = 4.0
# Foreign code is translated with fewer shortcuts (memory order, flags); boots measured up to twice as slow.
_FOREIGN = 1.5
# A payload speaks before and after each probe, so silence is that of one probe's two halves, with room. It does
# not depend on the acceleration: a payload is told its probe's deadline before that is known.
_SILENCE = 5 * _PROBE * _EMULATED * _FOREIGN


def deadlines(arch: Arch, acceleration: str, host_arch: str, *, load: float = 1.0, scale: float = 1.0) -> Deadlines:
    """Return the deadlines, in seconds of wall time, of a guest of ``arch`` under ``"kvm"``, ``"tcg"`` or ``"none"``.

    ``load`` is how many guests run side by side per core (below 1 counts as 1); ``scale`` multiplies everything:
    the user's word on a machine slower than those these numbers come from. Raises ``ValueError`` unless
    ``scale`` is positive.
    """
    if not scale > 0:
        raise ValueError("the scale of deadlines must be positive")
    shared = scale * max(1.0, load)
    slow = shared
    if acceleration == "tcg":
        slow *= _EMULATED * (_FOREIGN if arch != host_arch else 1.0)
    return Deadlines(boot=_BOOT * slow, probe=_PROBE * slow, silence=_SILENCE * shared, total=_TOTAL * slow)


def unlimited(limits: Deadlines, *, boot: bool = False) -> Deadlines:
    """The same for a person at a prompt: a program may be silent and go on for ever; with ``boot``, so may a boot."""
    return replace(limits, silence=math.inf, total=math.inf, boot=math.inf if boot else limits.boot)
