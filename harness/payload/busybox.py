"""A static busybox for guests that have nothing: the shell and tools for interactive use.

Debian's ``busybox-static``, of the guest's architecture, fetched like a kernel is: signed, once, into the store.
"""

from __future__ import annotations

from pathlib import Path

from harness.errors import KernelUnavailable
from harness.kernels.archive import Saying
from harness.kernels.packages import package_files
from harness.kernels.store import Store
from harness.model.architectures import ARCHITECTURES, DEBIAN_ARCH, Arch
from harness.payload.packages import Packages, system_packages

PACKAGE = "busybox-static"


def busybox(arch: Arch, say: Saying, store: Store | None = None, packages: Packages | None = None) -> Path:
    """Return the program for ``arch``, from the store where it is. Raises ``KernelUnavailable`` or ``StoreError``."""
    store = store or Store()
    record = f"tools/{PACKAGE}-{arch}"
    with store.lock(record, say):
        known = store.read_record(record) or {}
        path = store.find(str(known.get("sha256", "")))
        if path is None:
            version, content = _fetch(arch, say, store, packages or system_packages(store))
            digest = store.put(content)
            store.write_record(record, {"sha256": digest, "package": PACKAGE, "version": version})
            path = store.find(digest)
        if path is None:
            raise KernelUnavailable(f"{PACKAGE} ({arch}): vanished from the store while it was being read; run again")
        return path


def _fetch(arch: Arch, say: Saying, store: Store, packages: Packages) -> tuple[str, bytes]:
    """Return the suite's present version, and the program in it."""
    architecture = DEBIAN_ARCH[arch]
    say(f"fetching {PACKAGE}")
    suite = ARCHITECTURES[arch].tools_suite
    offered = packages.named(suite, architecture, [PACKAGE])
    if not offered:
        raise KernelUnavailable(f"the archive's {suite} ({architecture}) has no {PACKAGE}")
    with store.scratch() as folder:
        (file,) = packages.download(architecture, offered[:1], folder, say)
        for name, content in package_files(file):
            if name.endswith("bin/busybox"):
                return offered[0].version, content
    raise KernelUnavailable(f"{PACKAGE} {offered[0].version} ({architecture}): no busybox in it")
