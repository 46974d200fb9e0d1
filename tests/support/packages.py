"""Packages made by the tools that distributions make theirs with."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

Files = Mapping[str, bytes]


def make_deb(folder: Path, name: str, files: Files) -> Path:
    """By dpkg-deb, as Debian does."""
    control = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n"
    root = _laid_out(folder / f"deb-{name}", {**files, "DEBIAN/control": control.encode()})
    made = folder / f"{name}_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", str(root), str(made)], check=True, capture_output=True)
    return made


def make_rpm(folder: Path, name: str, files: Files) -> Path:
    """By rpmbuild, as Fedora, RHEL and SUSE do."""
    root = _laid_out(folder / f"rpm-{name}", files)
    spec = folder / f"{name}.spec"
    spec.write_text(
        f"Name: {name}\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\nAutoReqProv: no\n"
        f"%description\nx\n%install\ncp -a {root}/. %{{buildroot}}/\n%files\n/*\n"
    )
    words = ["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {folder}/top", "--define", "__strip /bin/true"]
    subprocess.run([*words, str(spec)], check=True, capture_output=True)
    (rpm,) = (folder / "top/RPMS/noarch").glob(f"{name}-*.rpm")
    return rpm


def make_arch(folder: Path, name: str, files: Files) -> Path:
    """By bsdtar, as makepkg does; all files lie under usr."""
    root = _laid_out(folder / f"arch-{name}", {f"usr/{path}": data for path, data in files.items()})
    (root / ".PKGINFO").write_text(f"pkgname = {name}\n")
    made = folder / f"{name}-1-1-any.pkg.tar.zst"
    subprocess.run(["bsdtar", "--zstd", "-cf", str(made), "-C", str(root), ".PKGINFO", "usr"], check=True)
    return made


def _laid_out(root: Path, files: Files) -> Path:
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root
