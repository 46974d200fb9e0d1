"""A Debian archive in memory, with real .deb files of tiny kernels: a fake at the seam of ``Archive``."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import struct
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import zstandard

from harness.errors import KernelUnavailable
from harness.kernels.archive import Package, Saying

DATA = Path(__file__).parents[1] / "data" / "kernels"
CONFIG = b"CONFIG_64BIT=y\nCONFIG_VIRTIO_CONSOLE=m\nCONFIG_VIRTIO_PCI=y\n"
_COMPRESS = {"": bytes, ".xz": lzma.compress, ".gz": gzip.compress, ".zst": zstandard.compress}


def arm64_image(release: str) -> bytes:
    """A real arm64 header, and a version behind it."""
    return (DATA / "image-6.12.117-cloud-arm64.head").read_bytes() + f"Linux version {release} (x@y) #1\n\0".encode()


def module(depends: str = "", *, section: bytes = b".modinfo") -> bytes:
    """An ELF file with the one section modules are asked for."""
    info = b"name=x\0depends=" + depends.encode() + b"\0"
    names = b"\0" + section + b"\0.shstrtab\0"
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, 64 + len(info) + len(names), 0, 64, 0, 0, 64, 3, 2)
    null = bytes(64)
    modinfo = struct.pack("<IIQQQQIIQQ", 1, 1, 0, 0, 64, len(info), 0, 0, 1, 0)
    strings = struct.pack("<IIQQQQIIQQ", len(section) + 2, 3, 0, 0, 64 + len(info), len(names), 0, 0, 1, 0)
    return head + info + names + null + modinfo + strings


def make_deb(files: dict[str, bytes], ending: str = ".xz") -> bytes:
    """A .deb of these files."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": b"odd",
        f"data.tar{ending}": _COMPRESS[ending](tar.getvalue()),
    }
    out = b"!<arch>\n"
    for name, data in members.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return out


class FakeArchive:
    """Suites of tiny kernels; counts what is asked of it, and can be unreachable."""

    def __init__(self) -> None:
        self.suites: dict[str, list[Package]] = {}
        self.debs: dict[tuple[str, str], bytes] = {}
        self.reachable = True
        self.downloads: list[str] = []
        self.refreshes = 0

    def add(self, version: str, *, suite: str = "trixie", files: dict[str, bytes] | None = None) -> Package:
        """Publish a cloud kernel for arm64."""
        release = f"{version.split('-', maxsplit=1)[0]}-cloud-arm64"
        content = {f"boot/config-{release}": CONFIG, f"boot/vmlinuz-{release}": arm64_image(release)}
        content |= {f"usr/lib/modules/{release}/kernel/{name}": data for name, data in (files or {}).items()}
        return self.publish(f"linux-image-{release}", version, content, suite)

    def publish(
        self,
        name: str,
        version: str,
        files: dict[str, bytes],
        suite: str = "trixie",
        depends: tuple[tuple[str, str], ...] = (),
    ) -> Package:
        """Publish any package."""
        deb = make_deb(files)
        self.debs[name, version] = deb
        package = Package(name, version, hashlib.sha256(deb).hexdigest(), len(deb), suite, depends)
        self.suites.setdefault(suite, []).append(package)
        return package

    def packages(self, suite: str, architecture: str, *, refresh: bool = False) -> tuple[Package, ...]:
        """See ``Archive``."""
        self.refreshes += refresh
        if not self.reachable:
            raise KernelUnavailable(f"cannot fetch the index of {suite} ({architecture}): Could not connect")
        return tuple(self.suites.get(suite, ()))

    def named(self, suite: str, architecture: str, names: Iterable[str]) -> tuple[Package, ...]:
        """See ``AptArchive``."""
        wanted = set(names)
        return tuple(package for package in self.packages(suite, architecture) if package.name in wanted)

    def download(self, architecture: str, packages: Sequence[Package], folder: Path, say: Saying) -> list[Path]:
        """See ``Archive``."""
        if not self.reachable:
            raise KernelUnavailable("cannot fetch it: Could not connect")
        files = []
        for package in packages:
            self.downloads.append(package.name)
            files.append(folder / f"{package.name}_{package.version}_{architecture}.deb")
            files[-1].write_bytes(self.debs[package.name, package.version])
        return files
