"""A virtme-ng guest that answers SSH, booted by a user's own command (`vng --ssh-tcp`): for us, somebody's machine."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.kernels.model import Kernel
from tests.sshd import free_port, keygen

# Where vng keeps the keys of its guests, and of those who may log in there. It makes what is missing.
_KEYS = Path(".cache/virtme-ng/.ssh")
_MODULES = ("9p", "9pnet_virtio", "overlay", "virtio_net", "virtio_pci", "virtio_console")
# Where udev sees the container this machine may be, it does not heed net.ifnames=0: the card is renamed under the DHCP
# client, and has no address. The one given here is the one it would have got.
_SCRIPT = (
    "echo {hugepages} >/proc/sys/vm/nr_hugepages; cd /sys/bus/virtio/drivers/virtio_net; "
    "for d in virtio*/net/*; do ip link set ${{d##*/}} up; ip addr add 10.0.2.15/24 dev ${{d##*/}}; done; sleep 600"
)


@dataclass(frozen=True)
class Ours:
    """``command`` boots the guest, without waiting for it; then it is reached at ``port`` of 127.0.0.1 as root."""

    command: tuple[str, ...]
    port: int
    key: Path
    known_hosts: Path


@contextmanager
def prepared(folder: Path, kernel: Kernel, hugepages: int) -> Iterator[Ours]:
    """Lay out what the command needs in ``folder``; whatever it has started is ended in the end."""
    image = _installed(folder / "installed", kernel)
    keys = folder / _KEYS
    (keys / "etc/ssh").mkdir(parents=True)
    keygen(keys / "id_virtme")
    host_key = keygen(keys / "etc/ssh/ssh_host_ed25519_key").with_suffix(".pub").read_text().split()
    port, known, pid = free_port(), folder / "known_hosts", folder / "pid"
    known.write_text(f"[127.0.0.1]:{port} {host_key[0]} {host_key[1]}\n")
    # Its KVM hangs where the device opens and does not work. Without a script it wants a terminal.
    vng = [
        "vng", "--run", str(image), "--disable-kvm", "--force-9p", "--memory", "384M", "--cpus", "1", "--user", "root",
        "--ssh", str(port), "--ssh-tcp", "--exec", _SCRIPT.format(hugepages=hugepages),
    ]  # fmt: skip
    setting = {"HOME": str(folder), "PATH": f"{Path(sys.executable).parent}:/usr/sbin:{os.environ['PATH']}"}
    words = shlex.join(["env", *(f"{name}={value}" for name, value in setting.items()), "setsid", *vng])
    try:
        yield Ours(("sh", "-c", f"{words} & echo $! >{shlex.quote(str(pid))}"), port, keys / "id_virtme", known)
    finally:
        if pid.exists():
            with suppress(ProcessLookupError):
                os.killpg(int(pid.read_text()), signal.SIGKILL)


def _installed(root: Path, kernel: Kernel) -> Path:
    """Lay a kernel out as a distribution installs one, with no more modules than the guest needs."""
    image, modules = root / f"boot/vmlinuz-{kernel.release}", root / f"lib/modules/{kernel.release}"
    image.parent.mkdir(parents=True)
    image.symlink_to(kernel.image)
    (modules / "kernel").mkdir(parents=True)
    for name, content in kernel.modules(_MODULES):
        (modules / "kernel" / name).write_bytes(content)
    subprocess.run(["/usr/sbin/depmod", "-b", str(root), kernel.release], check=True, capture_output=True)
    # Udev loads the network card's driver, and there may be none here: let it come with the root's (modprobe.d(5)).
    with (modules / "modules.softdep").open("a") as file:
        file.write("softdep 9pnet_virtio post: virtio_net\n")
    return image
