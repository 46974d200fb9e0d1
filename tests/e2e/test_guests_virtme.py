"""Guests with a root: nothing of the host within reach, and roots made for the purpose. Verdicts: test_every_way.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SEALMATRIX = [sys.executable, "-m", "harness"]
# docs/use/virtme.md has the same command.
MMDEBSTRAP = [
    "mmdebstrap", "--quiet", "--variant=extract", "--architectures=arm64",
    "--include=base-files,base-passwd,bash,coreutils,dash,grep,hostname,iproute2,mount,sed,util-linux",
    '--extract-hook=cp "$1"/usr/share/base-passwd/passwd.master "$1"/etc/passwd',
    '--extract-hook=cp "$1"/usr/share/base-passwd/group.master "$1"/etc/group',
    "bookworm",
]  # fmt: skip

pytestmark = pytest.mark.kernels


def matrix(folder: Path, root: str = "{}") -> Path:
    path = folder / "kernels.yaml"
    shipped = (ROOT / "kernels.yaml").read_text()
    profile = f"\nprofiles:\n  lived-in: {{guest: virtme, memory: 384, swap: 64, hugepages: 8, root: {root}}}\n"
    path.write_text(shipped.replace("\nprofiles:\n", profile, 1))
    return path


def sealmatrix(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SEALMATRIX, *words], cwd=folder, capture_output=True, text=True, timeout=500, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_nothing_of_the_host_is_within_reach(tmp_path: Path) -> None:
    """As root in the guest, with everything uncovered and made writable that can be: neither files nor a network."""
    matrix(tmp_path)
    canary = tmp_path / "canary"
    canary.write_text("alive")
    before = sorted(path.name for path in tmp_path.iterdir())
    script = (
        f"umount -l /tmp; mount -o remount,rw /; cat {canary}; echo; echo dead >{canary}; rm -f {canary}; "
        f"chmod 777 {canary}; ln {canary} {tmp_path}/link; mkdir {tmp_path}/made; mv {canary} {tmp_path}/moved; "
        "ls /sys/class/net; grep -c : /proc/net/route; tty; exit 9"
    )
    words = ["debian-6.12-full", "-q", "-a", "x86_64", "-p", "lived-in", "--", "sh", "-c", script]
    done = sealmatrix("exec", *words, folder=tmp_path)
    assert done.returncode == 9, done.stdout + done.stderr
    # It does see the host's files: the test looked in the right place.
    assert done.stdout.splitlines() == ["alive", "lo", "0", "not a tty"]
    assert done.stderr.count("Read-only file system") >= 5
    assert canary.read_text() == "alive"
    assert sorted(path.name for path in tmp_path.iterdir()) in (before, sorted([*before, "kernels.lock"]))


def test_another_architecture_on_a_root_made_for_it(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mmdebstrap makes a root that belongs to root only as root")
    root = tmp_path / "arm64-root"
    subprocess.run([*MMDEBSTRAP, str(root)], check=True, timeout=300)
    matrix(tmp_path, "{arm64: arm64-root}")
    words = ["debian-6.12-full", "-q", "-a", "arm64", "-p", "lived-in", "--", "sh", "-c", "uname -m; cat /etc/passwd"]
    done = sealmatrix("exec", *words, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == "aarch64"
    assert done.stdout.splitlines()[1:] == (root / "etc/passwd").read_text().splitlines()
