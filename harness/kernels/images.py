"""Kernel images, told apart by their magic numbers and turned into what QEMU boots fastest.

Formats and where they are written down:

- bzImage: ``HdrS`` at 0x202, ``payload_offset``/``payload_length`` at 0x248 (Documentation/arch/x86/boot.rst)
- vmlinux: ELF; QEMU enters it through the PVH note (Xen note 18, XEN_ELFNOTE_PHYS32_ENTRY)
- Image: ``ARM\\x64`` at 0x38 (Documentation/arch/arm64/booting.rst)
- packed: any of these inside gzip, xz, zstd, lzma, bzip2 or lz4 (Image.gz of arm64, for one)
- EFI zboot: ``MZ`` and ``zimg`` at 4, payload offset and size behind it (drivers/firmware/efi/libstub/zboot-header.S)
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

from harness.errors import ImageError
from harness.kernels.compression import compression_of, gunzip, undo
from harness.kernels.config import parse_config
from harness.model.architectures import ARCHITECTURES, Arch

ACCEPTED = "bzImage, ELF vmlinux, Image or EFI-zboot Image, plain or compressed"

BZIMAGE, VMLINUX, IMAGE = "bzImage", "vmlinux", "Image"
"""Formats an image has once it is bootable. ``vmlinux`` always carries the PVH note."""

_PT_NOTE, _PVH = 4, 18
_ELF_ARCH: dict[int, Arch] = {facts.elf: arch for arch, facts in ARCHITECTURES.items()}
_IMAGE_MAGIC: dict[Arch, tuple[int, bytes]] = {
    arch: facts.magic for arch, facts in ARCHITECTURES.items() if facts.magic is not None
}
_BANNER = re.compile(rb"Linux version (\d[\w.+~-]{0,127}) \(")
_WHOLE_BANNER = re.compile(rb"Linux version (\d[\w.+~-]{0,127} \([^\n\0]{1,1000})\n")
_UTS = 64  # characters that uname() gives of each word
_PAGE_SIZES = {1: 4096, 2: 16384, 3: 65536}


@dataclass(frozen=True)
class Bootable:
    """An image QEMU boots: ``format`` is one of BZIMAGE, VMLINUX, IMAGE; ``release`` what ``uname -r`` will say.

    ``config`` is the ``.config`` found in it (CONFIG_IKCONFIG), or nothing.
    """

    format: str
    data: bytes
    release: str
    page_size: int
    config: bytes = b""


def bootable(data: bytes, arch: Arch, config: Mapping[str, str] | None = None) -> Bootable:
    """Identify ``data`` and unpack it where that boots faster or is needed. Raises ``ImageError``.

    ``config`` is the kernel's, where it is known apart from what the image itself may carry.
    """
    match identify(data):
        case "bzImage":
            image = _bzimage(data, config)
        case "vmlinux":
            image = _vmlinux(data, config)
        case "Image":
            image = _image(data)
        case "zboot":
            image = _zboot(data)
        case "packed":
            return bootable(_unwrapped(data), arch, config)
        case _:
            raise ImageError(f"not a kernel image: {_looks_like(data)}; accepted: {ACCEPTED}")
    is_for = image_arch(image.data)
    if is_for != arch:
        raise ImageError(f"a {image.format} is a kernel for {is_for}, not for {arch}")
    return image


def image_arch(data: bytes) -> Arch:
    """Return the architecture an image is for. Raises ``ImageError`` for what is no image of one we boot."""
    match identify(data):
        case "bzImage":
            return "x86_64"
        case "Image":
            return next(arch for arch, (at, magic) in _IMAGE_MAGIC.items() if data[at : at + len(magic)] == magic)
        case "zboot":
            return image_arch(_zboot_payload(data))
        case "vmlinux" if len(data) >= 20 and (arch := _ELF_ARCH.get(struct.unpack_from("<H", data, 18)[0])):
            return arch
        case "packed":
            return image_arch(_unwrapped(data))
        case _:
            raise ImageError(f"not a kernel image: {_looks_like(data)}; accepted: {ACCEPTED}")


def identify(data: bytes) -> str:
    """Return ``bzImage``, ``vmlinux``, ``Image``, ``zboot``, ``packed`` or ``""`` by magic numbers alone."""
    if data[0x202:0x206] == b"HdrS" and data[0x1FE:0x200] == b"\x55\xaa":
        return BZIMAGE
    if any(data[at : at + len(magic)] == magic for at, magic in _IMAGE_MAGIC.values()):
        return IMAGE
    for name, magic, at in (("zboot", b"zimg", 4), (VMLINUX, b"\x7fELF", 0)):
        if data[at : at + len(magic)] == magic:
            return name
    return "packed" if compression_of(data) else ""


# --- x86_64 ---------------------------------------------------------------------------------------------------------


def survives_pvh(config: Mapping[str, str]) -> bool:
    """Whether a kernel built so can be entered through PVH.

    On that way in memcmp() is called before KASAN has a shadow to look at (hypervisor_cpuid_base(), from
    arch/x86/platform/pvh/enlighten.c), and it is spared instrumentation only with AMD_MEM_ENCRYPT (lib/Makefile:
    KASAN_SANITIZE_string.o). Without, the machine resets with an empty console.
    """
    return config.get("KASAN") != "y" or config.get("AMD_MEM_ENCRYPT") == "y"


def _bzimage(data: bytes, config: Mapping[str, str] | None) -> Bootable:
    if len(data) < 0x250:
        raise ImageError(f"a bzImage cut short after {len(data)} bytes")
    (protocol,) = struct.unpack_from("<H", data, 0x206)
    (flags,) = struct.unpack_from("<H", data, 0x236)
    if protocol < 0x20C or not flags & 1:  # XLF_KERNEL_64, boot protocol 2.12
        raise ImageError("a bzImage of a 32-bit kernel; x86_64 is needed")
    (offset, length) = struct.unpack_from("<II", data, 0x248)
    start = ((data[0x1F1] or 4) + 1) * 512 + offset
    payload = data[start : start + length]
    if not length or len(payload) != length:
        raise ImageError("a bzImage cut short: its payload lies beyond the end of the file")
    name = compression_of(payload)
    if not name:  # lzo: QEMU boots the bzImage as it is, only slower
        return Bootable(BZIMAGE, data, _setup_release(data), 4096)
    vmlinux = undo(name, payload, "the bzImage's payload")
    found = embedded_config(vmlinux)
    known = parse_config(found) if config is None else config
    if not (vmlinux.startswith(b"\x7fELF") and has_pvh_note(vmlinux) and survives_pvh(known)):
        return Bootable(BZIMAGE, data, _setup_release(data), 4096, found)
    return Bootable(VMLINUX, vmlinux, banner(vmlinux) or _setup_release(data), 4096, found)


def _setup_release(data: bytes) -> str:
    (pointer,) = struct.unpack_from("<H", data, 0x20E)
    text = data[pointer + 0x200 : pointer + 0x300].split(b"\0")[0] if pointer else b""
    return text.decode("ascii", "replace").split(" ")[0]


def _vmlinux(data: bytes, config: Mapping[str, str] | None) -> Bootable:
    if len(data) < 64 or data[4:6] != b"\x02\x01":
        raise ImageError("an ELF file, but not a 64-bit little-endian one")
    (machine,) = struct.unpack_from("<H", data, 18)
    arch = _ELF_ARCH.get(machine)
    if arch in _IMAGE_MAGIC:
        raise ImageError(f"an {arch} ELF vmlinux, which QEMU cannot start; give {ARCHITECTURES[arch].built[0]}")
    if arch is None:
        raise ImageError(f"an ELF file for machine {machine}; accepted are x86_64 kernels")
    if not banner(data):
        raise ImageError("an ELF file, but no kernel: it has no 'Linux version' in it")
    if not has_pvh_note(data):
        raise ImageError("a vmlinux without PVH note, which QEMU cannot start; set CONFIG_PVH=y or give the bzImage")
    found = embedded_config(data)
    if not survives_pvh(parse_config(found) if config is None else config):
        raise ImageError(
            "a vmlinux with KASAN and without AMD_MEM_ENCRYPT, which dies when QEMU enters it; give the bzImage"
        )
    return Bootable(VMLINUX, data, banner(data), 4096, found)


def has_pvh_note(elf: bytes) -> bool:
    """Say whether a 64-bit little-endian ELF file has the note QEMU needs to enter it directly."""
    try:
        (offset,) = struct.unpack_from("<Q", elf, 32)
        size, count = struct.unpack_from("<HH", elf, 54)
        for index in range(count):
            header = struct.unpack_from("<IIQQQQ", elf, offset + index * size)
            if header[0] == _PT_NOTE and _has_note(elf[header[2] : header[2] + header[5]]):
                return True
    except (struct.error, OverflowError):
        return False
    return False


def _has_note(notes: bytes) -> bool:
    position = 0
    while position + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from("<III", notes, position)
        if kind == _PVH and notes[position + 12 : position + 16] == b"Xen\0":
            return True
        position += 12 + (name_size + 3) // 4 * 4 + (size + 3) // 4 * 4
    return False


# --- Image ------------------------------------------------------------------------------------------------------------


def _image(data: bytes) -> Bootable:
    release = banner(data)
    if not release:
        raise ImageError("an Image header with no kernel behind it: it has no 'Linux version' in it")
    (flags,) = struct.unpack_from("<Q", data, 0x18)
    size = ARCHITECTURES[image_arch(data)].page_size or _PAGE_SIZES.get(flags >> 1 & 3, 0)
    return Bootable(IMAGE, data, release, size, embedded_config(data))


def _unwrapped(data: bytes) -> bytes:
    """Undo the one compression around an image. Raises ``ImageError`` for anything else in it."""
    name = compression_of(data)
    inner = undo(name, data, f"the {name} file")
    if identify(inner) in ("", "packed"):
        raise ImageError(f"a {name} file with no kernel image in it: {_looks_like(inner)}")
    return inner


def _zboot(data: bytes) -> Bootable:
    return _inner(_zboot_payload(data), "an EFI zboot image")


def _zboot_payload(data: bytes) -> bytes:
    if len(data) < 0x40:
        raise ImageError(f"an EFI zboot image cut short after {len(data)} bytes")
    offset, length = struct.unpack_from("<II", data, 8)
    payload = data[offset : offset + length]
    name = compression_of(payload)
    if len(payload) != length or not name:
        said = data[0x18:0x38].split(b"\0")[0].decode("ascii", "replace")
        raise ImageError(f"an EFI zboot image whose payload ({said!r}) is cut short or of an unknown compression")
    return undo(name, payload, "the zboot payload")


def _inner(data: bytes, outer: str) -> Bootable:
    if identify(data) != IMAGE:
        raise ImageError(f"{outer} with no Image in it: {_looks_like(data)}")
    return _image(data)


def banner(data: bytes) -> str:
    """Return the release named by the kernel's own ``Linux version`` line, or ``""``."""
    match = _BANNER.search(data)
    return match.group(1).decode() if match else ""


def announced(path: Path) -> tuple[tuple[str, str], ...]:
    """What the image at ``path`` will say of itself: (``uname -r``, ``uname -v``), of each banner in it.

    Nothing for one that is still compressed and whose head does not tell either. Raises ``OSError``.
    """
    if not path.stat().st_size:
        return ()
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as image:
        lines = [match.group(1) for match in _WHOLE_BANNER.finditer(image)]
        if not lines and identify(image[:0x210]) == BZIMAGE:
            (pointer,) = struct.unpack_from("<H", image, 0x20E)
            lines = [image[pointer + 0x200 : pointer + 0x400].split(b"\0")[0]] if pointer else []
    found = (line.decode("ascii", "replace").partition(" (") for line in lines)
    return tuple((release, f"#{rest.rpartition(') #')[2]}"[:_UTS]) for release, _, rest in found if ") #" in rest)


def embedded_config(data: bytes) -> bytes:
    """Return the ``.config`` an unpacked image carries (CONFIG_IKCONFIG), or nothing."""
    start = data.find(b"IKCFG_ST\x1f\x8b")
    try:
        return gunzip(data[start + 8 :]) if start >= 0 else b""
    except (zlib.error, EOFError):
        return b""


# --- for the error line ---------------------------------------------------------------------------------------------

_FAMILIAR = (
    (b"MZ", "an EFI program"),
    (b"!<arch>\n", "an archive (.deb or .a)"),
    (b"QFI\xfb", "a qcow2 disk image"),
    (b"070701", "a cpio archive (an initramfs?)"),
    (b"PK\x03\x04", "a zip file"),
    (b"\x27\x05\x19\x56", "a U-Boot uImage"),
    (b"\xd0\x0d\xfe\xed", "a device tree or FIT image"),
    (b"<", "a web page or XML"),
)


def _looks_like(data: bytes) -> str:
    if not data:
        return "an empty file"
    for magic, name in _FAMILIAR:
        if data.startswith(magic):
            return f"this looks like {name}"
    if data[:512].isascii() and b"\0" not in data[:512]:
        return "this looks like text"
    return f"its first bytes are {data[:8].hex(' ')}"
