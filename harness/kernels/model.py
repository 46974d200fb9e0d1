"""A kernel: one build that can be booted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.model.architectures import Arch

ModuleLoader = Callable[[tuple[str, ...]], tuple[tuple[str, bytes], ...]]


@dataclass(frozen=True)
class Origin:
    """Where the bytes came from, in enough detail to fetch or name them again.

    ``kind`` is ``"debian"``, ``"file"`` or ``"tree"``. ``packages`` lists (name, version, sha256) of each package used.
    ``note`` says anything a reader of the report must know ("mirror unreachable, newest stored build used").
    """

    kind: str
    where: str
    packages: tuple[tuple[str, str, str], ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Kernel:
    """One build, resolved and stored.

    ``image`` is the file to hand to QEMU (already unpacked where that boots faster or is needed at all) and
    ``sha256`` the digest of the *published* image bytes, which names the build. ``config`` maps option names
    without ``CONFIG_`` to their values (``"y"``, ``"m"``, ``"16"``), absent options being off; it is empty when
    unknown. ``release`` is what ``uname -r`` says and ``version`` the upstream version it was built from, which a
    distribution's release may hide ("6.1.0-50-cloud-amd64" is 6.1.176); history is told in versions.
    ``image_sha256`` is the digest of ``image`` itself, which whoever boots it has to see to (``demand``); it is empty
    only where nothing is known of it.
    ``modules`` returns the plain ELF bytes of the modules named, in loading order with dependencies
    first, as (file name, bytes); it raises ``KernelUnavailable`` naming a module that does not exist.
    """

    name: str
    release: str
    arch: Arch
    flavour: str
    image: Path
    image_format: str
    sha256: str
    origin: Origin
    config: Mapping[str, str] = field(default_factory=dict, repr=False)
    config_sha256: str = ""
    version: str = ""
    image_sha256: str = ""
    modules: ModuleLoader = field(default=lambda names: (), repr=False)
