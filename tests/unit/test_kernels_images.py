from __future__ import annotations

import bz2
import gzip
import lzma
import struct
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ImageError
from harness.kernels import compression
from harness.kernels.config import page_size, parse_config
from harness.kernels.images import bootable, embedded_config, has_pvh_note, identify
from harness.model.architectures import Arch

DATA = Path(__file__).parents[1] / "data" / "kernels"
BANNER = b"Linux version 6.12.117+deb13-cloud-amd64 (someone@somewhere) #1 SMP\n\0"


def elf(*, pvh: bool = True, machine: int = 62, banner: bytes = BANNER) -> bytes:
    """A 64-bit ELF file with one program header, which holds a foreign note and, if asked for, the PVH note."""
    notes = struct.pack("<III", 4, 4, 6) + b"GNU\0" + b"\1\0\0\0"
    notes += struct.pack("<III", 4, 8, 18) + b"Xen\0" + b"\0" * 8 if pvh else b""
    head = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    )
    return head + struct.pack("<IIQQQQQQ", 4, 0, 120, 0, 0, len(notes), len(notes), 4) + notes + banner


def bzimage(payload: bytes) -> bytes:
    """A real bzImage's setup header, with a payload of our own behind it."""
    head = bytearray((DATA / "bzimage-6.12.117-cloud-amd64.head").read_bytes())
    (offset,) = struct.unpack_from("<I", head, 0x248)
    struct.pack_into("<I", head, 0x24C, len(payload))
    start = (head[0x1F1] + 1) * 512 + offset
    return bytes(head).ljust(start, b"\0") + payload + bytes(64)


def image(*, kernel: str = "6.12.117-cloud-arm64") -> bytes:
    """A real arm64 Image's header, with nothing but a version behind it."""
    return (DATA / f"image-{kernel}.head").read_bytes() + BANNER


def zboot(payload: bytes, name: bytes = b"gzip") -> bytes:
    header = b"MZ\0\0zimg" + struct.pack("<II", 0x40, len(payload)) + bytes(8) + name.ljust(32, b"\0")
    return header.ljust(0x40, b"\0") + payload


def lz4(data: bytes) -> bytes:
    """The legacy frame, literals only."""
    length, tail = len(data) - 15, b""
    while length >= 255:
        tail, length = tail + b"\xff", length - 255
    block = b"\xf0" + tail + bytes([length]) + data
    return b"\x02\x21\x4c\x18" + struct.pack("<I", len(block)) + block


def gz(data: bytes) -> bytes:
    """Without the time of day: bytes name a parametrized test, which workers side by side must call the same."""
    return gzip.compress(data, mtime=0)


COMPRESS = {
    "gzip": gz,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "zstd": zstandard.compress,
    "bzip2": bz2.compress,
    "lz4": lz4,
}


@pytest.mark.parametrize("name", COMPRESS)
def test_bzimage_is_unpacked_whatever_its_compression(name: str) -> None:
    # Kernels append the unpacked size to what the compressor wrote.
    found = bootable(bzimage(COMPRESS[name](elf()) + struct.pack("<I", len(elf()))), "x86_64")
    assert (found.format, found.release, found.page_size) == ("vmlinux", "6.12.117+deb13-cloud-amd64", 4096)
    assert found.data == elf()


def test_bzimage_stays_when_unpacking_gains_nothing() -> None:
    for payload in (gz(elf(pvh=False)), b"LZO?" + bytes(100)):
        found = bootable(bzimage(payload), "x86_64")
        assert found.format == "bzImage"
        assert found.data == bzimage(payload)


SANITIZED = {"KASAN": "y"}
SPARED = {"KASAN": "y", "AMD_MEM_ENCRYPT": "y"}


def with_config(data: bytes, options: dict[str, str]) -> bytes:
    text = "".join(f"CONFIG_{name}={value}\n" for name, value in options.items())
    return data + b"IKCFG_ST" + gz(text.encode()) + b"IKCFG_ED"


@pytest.mark.parametrize(("options", "kept"), [(SANITIZED, "bzImage"), (SPARED, "vmlinux"), ({}, "vmlinux")])
def test_a_kernel_that_dies_when_entered_through_pvh_keeps_its_bzimage(options: dict[str, str], kept: str) -> None:
    assert bootable(bzimage(gz(elf())), "x86_64", options).format == kept
    # What the image itself carries does as well.
    embedded = with_config(elf(), options)
    found = bootable(bzimage(gz(embedded)), "x86_64")
    assert found.format == kept
    assert dict(parse_config(found.config)) == options


def test_a_vmlinux_that_dies_when_entered_through_pvh_is_refused() -> None:
    assert bootable(elf(), "x86_64", SPARED).format == "vmlinux"
    with pytest.raises(ImageError, match=r"KASAN and without AMD_MEM_ENCRYPT.*give the bzImage"):
        bootable(elf(), "x86_64", SANITIZED)
    with pytest.raises(ImageError, match="give the bzImage"):
        bootable(with_config(elf(), SANITIZED), "x86_64")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        ("bzimage-6.12.117-cloud-amd64.head", "bzImage"),
        ("bzimage-6.1.176-cloud-amd64.head", "bzImage"),
        ("image-6.12.117-cloud-arm64.head", "Image"),
        ("image-6.12.117-arm64-16k.head", "Image"),
    ],
)
def test_real_heads_are_identified_and_too_short(head: str, kind: str) -> None:
    data = (DATA / head).read_bytes()
    assert identify(data) == kind
    with pytest.raises(ImageError, match=r"cut short|no kernel behind it"):
        bootable(data, "x86_64" if kind == "bzImage" else "arm64")


@pytest.mark.parametrize(
    ("data", "page"),
    [
        (image(), 4096),
        (image(kernel="6.12.117-arm64-16k"), 16384),
        (gz(image()), 4096),
        (zboot(gz(image())), 4096),
        (zboot(zstandard.compress(image()), b"zstd22"), 4096),
        (zboot(lzma.compress(image()), b"xzkern"), 4096),
    ],
)
def test_arm64_forms_become_plain_images(data: bytes, page: int) -> None:
    found = bootable(data, "arm64")
    assert identify(found.data) == "Image"
    assert (found.format, found.page_size) == ("Image", page)


def test_vmlinux_stays() -> None:
    assert bootable(elf(), "x86_64").data == elf()


REFUSED: list[tuple[bytes, Arch, str]] = [
    (b"", "x86_64", "an empty file; accepted: bzImage, ELF vmlinux, Image or EFI-zboot Image, plain or compressed"),
    (b"#!/bin/sh\necho\n", "x86_64", "this looks like text"),
    (b"QFI\xfb" + bytes(600), "x86_64", "this looks like a qcow2 disk image"),
    (b"!<arch>\ndebian-binary", "x86_64", "this looks like an archive"),
    (bytes(range(200, 256)), "x86_64", "its first bytes are c8 c9 ca"),
    (elf(), "arm64", "a vmlinux is a kernel for x86_64, not for arm64"),
    (image(), "x86_64", "a Image is a kernel for arm64, not for x86_64"),
    (elf(machine=183), "arm64", "give arch/arm64/boot/Image"),
    (elf(machine=21), "x86_64", "machine 21"),
    (elf(pvh=False), "x86_64", "without PVH note"),
    (elf(banner=b""), "x86_64", "no kernel: it has no 'Linux version' in it"),
    (b"\x7fELF\x01\x01" + bytes(60), "x86_64", "not a 64-bit little-endian one"),
    (gz(b"hello"), "arm64", "a gzip file with no kernel image in it: this looks like text"),
    (gz(image())[:-20], "arm64", "the gzip file is damaged"),
    (zboot(b"\1\2\3", b"rle"), "arm64", "whose payload ('rle') is cut short or of an unknown compression"),
    (zboot(gz(image()))[:-9], "arm64", "cut short"),
    (bzimage(gz(elf())[:-20] + bytes(12)), "x86_64", "the bzImage's payload is damaged (gzip"),
    (bzimage(lz4(elf())[:-40] + bytes(10)), "x86_64", "the bzImage's payload is damaged (lz4"),
]


@pytest.mark.parametrize(("data", "arch", "said"), REFUSED)
def test_refused_in_one_line(data: bytes, arch: Arch, said: str) -> None:
    with pytest.raises(ImageError) as caught:
        bootable(data, arch)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_32_bit_bzimage_is_refused() -> None:
    data = bytearray(bzimage(gz(elf())))
    data[0x236] &= 0xFE
    with pytest.raises(ImageError, match="32-bit"):
        bootable(bytes(data), "x86_64")


def test_unpacking_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "MAX_UNPACKED", 1 << 20)
    for compress in (gz, lzma.compress, zstandard.compress, bz2.compress):
        with pytest.raises(ImageError, match="unpacks to more than 1 MiB"):
            bootable(zboot(compress(bytes(4 << 20))), "arm64")


_SEEDS = [
    elf(),
    bzimage(gz(elf())),
    bzimage(lz4(elf())),
    image(),
    zboot(gz(image())),
    gz(image()),
]


@given(st.sampled_from(_SEEDS), st.integers(0, 1200), st.binary(max_size=16), st.integers(0, 3000))
def test_damaged_images_only_raise_image_errors(seed: bytes, at: int, junk: bytes, cut: int) -> None:
    data = (seed[:at] + junk + seed[at + len(junk) :])[: len(seed) - cut if cut < len(seed) else None]
    for arch in ("x86_64", "arm64"):
        try:
            bootable(data, arch)  # type: ignore[arg-type]
        except ImageError as error:
            assert "\n" not in str(error)


@given(st.binary(max_size=300))
def test_notes_of_anything(data: bytes) -> None:
    assert has_pvh_note(b"\x7fELF" + data) in (True, False)


def test_lz4_copies_overlap() -> None:
    # Literal "ab", then 6 bytes from 2 back; then the last literals.
    block = bytes([0x22]) + b"ab" + b"\x02\x00" + bytes([0x10]) + b"!"
    frame = b"\x02\x21\x4c\x18" + struct.pack("<I", len(block)) + block
    assert compression.decompress(frame, "it") == b"abababab!"


def test_embedded_config() -> None:
    text = b"CONFIG_64BIT=y\n"
    assert embedded_config(b"kernel" + b"IKCFG_ST" + gz(text) + b"IKCFG_ED" + b"kernel") == text
    assert embedded_config(b"kernel") == b""
    assert embedded_config(b"IKCFG_ST\x1f\x8bjunk") == b""


def test_config() -> None:
    text = b'# CONFIG_OFF is not set\nCONFIG_Y=y\nCONFIG_M=m\nCONFIG_N=16\nCONFIG_S="a b"\nCONFIG_E=""\nX=y\n\xff\n'
    assert parse_config(text) == {"Y": "y", "M": "m", "N": "16", "S": "a b", "E": ""}
    assert page_size(parse_config(b"CONFIG_ARM64_16K_PAGES=y\n")) == 16384
    assert page_size(parse_config(b"CONFIG_PAGE_SIZE_4KB=y\n")) == 4096
    assert page_size({}) == 0


@pytest.mark.parametrize("name", sorted(COMPRESS))
def test_what_was_cut_off_is_not_unpacked_in_part(name: str) -> None:
    packed = COMPRESS[name](bytes(range(256)) * 40)
    with pytest.raises(ImageError, match=rf"it is damaged \({name}: "):
        compression.decompress(packed[: len(packed) // 2], "it")
