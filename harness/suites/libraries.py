"""The shared libraries of a dynamic program, packed beside it, where this machine has them for its architecture."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

from harness.errors import UsageError
from harness.model.architectures import Arch, host_arch
from harness.payload.elf import unfit
from harness.suites.definition import SuiteFile

SYSROOT_SETTING = "SEALMATRIX_SYSROOT"
_FOLDER = "sealmatrix-libraries"
_TRIPLETS = {"x86_64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu", "riscv64": "riscv64-linux-gnu"}


def with_libraries(suite: str, name: str, content: bytes, arch: Arch) -> tuple[tuple[str, ...], list[SuiteFile]]:
    """The command that runs a dynamic program by its own loader, and the loader and libraries it is given.

    They are taken from the folder that ``SEALMATRIX_SYSROOT`` names, or from this machine where it is of the
    architecture. Raises ``UsageError`` with what is missing.
    """
    loader, needed = _linked(content)
    root = Path(os.environ.get(SYSROOT_SETTING, "/"))
    if SYSROOT_SETTING not in os.environ and arch != host_arch():
        raise UsageError(
            f"{suite}: {name} needs {loader} and {', '.join(needed)} of {arch}: link it with -static, or set "
            f"{SYSROOT_SETTING} to a root that has them"
        )
    found: dict[str, bytes] = {}
    waiting = [loader, *needed]
    while waiting:
        library = waiting.pop()
        base = Path(library).name
        if base in found:
            continue
        path = _find(root, library, arch)
        if path is None:
            raise UsageError(f"{suite}: {name} needs {library}, which {root} does not have; link it with -static")
        found[base] = path.read_bytes()
        waiting += _linked(found[base])[1]
    files = [SuiteFile(f"{_FOLDER}/{base}", data) for base, data in sorted(found.items())]
    return (f"./{_FOLDER}/{Path(loader).name}", "--library-path", _FOLDER, f"./{name}"), files


def _linked(content: bytes) -> tuple[str, list[str]]:
    """A file's loader ("" for none) and the libraries it names."""
    from elftools.elf.dynamic import DynamicSegment  # noqa: PLC0415
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415
    from elftools.elf.segments import InterpSegment  # noqa: PLC0415

    loader, needed = "", []
    for part in ELFFile(BytesIO(content)).iter_segments():
        if isinstance(part, InterpSegment):
            loader = str(part.get_interp_name())
        elif isinstance(part, DynamicSegment):
            needed += [str(getattr(tag, "needed", "")) for tag in part.iter_tags("DT_NEEDED")]
    return loader, needed


def _find(root: Path, library: str, arch: Arch) -> Path | None:
    triplet = _TRIPLETS[arch]
    folders = [f"lib/{triplet}", f"usr/lib/{triplet}", f"usr/{triplet}/lib", "lib64", "usr/lib64", "lib", "usr/lib"]
    places = [root / library.lstrip("/")] if "/" in library else []
    places += [root / folder / Path(library).name for folder in folders]
    return next((place for place in places if place.is_file() and not unfit(_head(place), arch, user_space=True)), None)


def _head(path: Path) -> bytes:
    return path.read_bytes()
