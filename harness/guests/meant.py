"""Whether the kernel that came up is the one that was meant: its own word is held against the record and the image.

A record may name another kernel's bytes, and every digest may be right all the same.
"""

from __future__ import annotations

import re

from harness.guests.handshake import Hello
from harness.kernels.images import announced
from harness.kernels.model import Kernel
from harness.kernels.store import demand, telling
from harness.model.architectures import ARCHITECTURES

# What Debian's kernels say of their package: "#1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1 (2026-11-12)".
_DEBIAN = re.compile(r" Debian (\S+) \(")


def demand_image(kernel: Kernel) -> None:
    """See that the image about to be used has the bytes it was stored with. Raises ``StoreError``."""
    if kernel.image_sha256:
        demand(kernel.image, kernel.image_sha256, f"the image of {kernel.name}")


def other_than_recorded(kernel: Kernel, hello: Hello) -> str:
    """How what a guest says of itself differs from the record of the kernel it is to run, "" where it does not."""
    if hello.release != kernel.release:
        return f"{kernel.name} is {kernel.release}, and the guest runs {_said(hello.release)}"
    if hello.machine != ARCHITECTURES[kernel.arch].uname:
        return f"{kernel.name} is for {kernel.arch}, and the guest is {_said(hello.machine)}"
    package = _DEBIAN.search(hello.version)
    versions = [version for _, version, _ in kernel.origin.packages]
    if kernel.origin.kind == "debian" and package and package[1] not in versions:
        wanted = " and ".join(dict.fromkeys(versions)) or "no package"
        return f"{kernel.name} comes from {wanted}, and the guest runs the build {_said(hello.version)}"
    return ""


def other_than_image(kernel: Kernel, hello: Hello) -> str:
    """The same for the image's own banner; "" also for an image that shows none."""
    with telling(kernel.image):
        builds = announced(kernel.image)
    if not builds or (hello.release, hello.version) in builds:
        return ""
    release, version = builds[-1]
    return (
        f"the image is {_said(release)} {_said(version)}, the guest runs {_said(hello.release)} {_said(hello.version)}"
    )


def _said(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:160])
