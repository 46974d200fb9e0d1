"""Which guest a cell gets: its profile says how it is entered."""

from __future__ import annotations

import importlib
from pathlib import Path

from harness.guests.deadlines import deadlines, unlimited
from harness.guests.model import Deadlines, Guest
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
from harness.matrix.model import InVirtme, OverSsh
from harness.model.architectures import Arch
from harness.runs.model import Cell, MakeGuest


def guest_maker(wishes: Wishes) -> MakeGuest:
    """Return what makes a guest for any cell; one with a kernel that could not be had is never asked for."""

    def make(cell: Cell, folder: Path) -> Guest:
        kernel = cell.kernel if isinstance(cell.kernel, Kernel) else None
        match cell.profile.guest:
            case OverSsh() as target:
                from harness.guests.ssh import SshGuest  # noqa: PLC0415  paramiko is for those who need it

                limits = remote_limits(cell.arch, wishes.scale)
                if wishes.endless:
                    limits = unlimited(limits)
                return SshGuest(target, cell.arch, limits, kernel=kernel, folder=folder, flood=wishes.flood)
            case InVirtme():
                # virtme-ng is not imported for guests that have no root.
                virtme = importlib.import_module("harness.guests.virtme")
                guest: Guest = virtme.VirtmeGuest(kernel, cell.profile, folder, wishes)
                return guest
            case _:
                assert kernel is not None  # only what a machine reached over SSH runs is nobody's to provide
                return QemuGuest(kernel, cell.profile, folder, wishes)

    return make


def remote_limits(arch: Arch, scale: float) -> Deadlines:
    """The deadlines of a machine nobody here knows: those of an emulated guest, for boards are slow too."""
    return deadlines(arch, "tcg", arch, scale=scale)
