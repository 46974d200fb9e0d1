"""What an ELF file is, so that a program which cannot run in a guest is told before the guest boots."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from io import BytesIO
from pathlib import PurePosixPath

from harness.model.architectures import ARCHITECTURES, Arch

_CALLED: Mapping[str, str] = {
    "EM_X86_64": "x86_64", "EM_AARCH64": "arm64", "EM_386": "32-bit x86", "EM_ARM": "32-bit arm", "EM_RISCV": "riscv64",
    "EM_PPC64": "ppc64", "EM_S390": "s390", "EM_LOONGARCH": "loongarch",
}  # fmt: skip


def unfit(content: bytes, arch: Arch, *, user_space: bool = False, beside: Collection[str] = ()) -> str:
    """Why an ELF file cannot be run in a guest of ``arch``: a sentence without a subject, "" for all that may.

    ``user_space`` says that the guest has shared libraries, ``beside`` are the names of the files it is given. What is
    no ELF file (a script, data) is not ours to judge.
    """
    if not content.startswith(b"\x7fELF"):
        return ""
    from elftools.common.exceptions import ELFError  # noqa: PLC0415
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415
    from elftools.elf.segments import InterpSegment  # noqa: PLC0415

    try:
        file = ELFFile(BytesIO(content))
        machine = str(file["e_machine"])
        loaders = [part.get_interp_name() for part in file.iter_segments() if isinstance(part, InterpSegment)]
    except (ELFError, UnicodeDecodeError) as problem:
        return f"is not a complete ELF file: {problem}"
    if machine not in ARCHITECTURES[arch].programs:
        return f"is for {_CALLED.get(machine, machine)}, the guest is {arch}"
    if file["e_type"] == "ET_REL":
        return "is an object file, not a program: link it with -static"
    if loaders and not user_space and PurePosixPath(loaders[0]).name not in beside:
        return f"is dynamically linked (to {loaders[0]}), and a guest has no libraries: link with -static"
    return ""
