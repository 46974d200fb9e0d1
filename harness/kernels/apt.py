"""apt's programs: run under a configuration of our own, and what their complaints mean."""

from __future__ import annotations

import errno
import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

from harness.errors import KernelUnavailable, StoreError, ToolMissing
from harness.kernels.store import SETTING
from harness.processes.children import run
from harness.secret_urls import masked_text

MIRROR_SETTING = "SEALMATRIX_MIRROR"
_KEYRINGS = ("debian-archive-keyring.gpg", "debian-archive-keyring.pgp")
_KEYRING_FOLDERS = (Path("/usr/share/keyrings"), Path("/etc/apt/trusted.gpg.d"))


def keyring() -> Path:
    """Return the installed keyring of the Debian archive. Raises ``ToolMissing`` naming the package that has it."""
    for folder in _KEYRING_FOLDERS:
        for name in _KEYRINGS:
            if (folder / name).is_file():
                return folder / name
    raise ToolMissing("the Debian archive keyring", "debian-archive-keyring")


def configuration(root: Path, architecture: str) -> str:
    """Return the apt configuration of a private root, read after the system's own."""
    settings = {
        "Dir::Etc::sourcelist": f"{root}/sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State": f"{root}/state",
        "Dir::State::Lists": f"{root}/lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": f"{root}/cache",
        "Dir::Cache::archives": "archives",
        "Dir::Cache::pkgcache": "",  # 50 MB for each suite, to save half a second
        "Dir::Cache::srcpkgcache": "",
        "APT::Architecture": architecture,
        "APT::Sandbox::User": "root",  # our folders are the caller's; root would otherwise step down to _apt
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
        "Acquire::GzipIndexes": "true",
        "Acquire::Retries": "1",
        "Acquire::http::Timeout": "20",
        "Acquire::https::Timeout": "20",
        "Acquire::IndexTargets::deb::Packages::MetaKey": "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages",
        "Acquire::IndexTargets::deb::Packages::ShortDescription": "Packages",
        "Acquire::IndexTargets::deb::Packages::Description": "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Packages",
        "Acquire::IndexTargets::deb::Packages::Optional": "no",
    }
    # Other index targets are not wanted, and hooks for after an update concern the system's own lists.
    cleared = (
        "Acquire::IndexTargets",
        "APT::Architectures",
        "APT::Update::Pre-Invoke",
        "APT::Update::Post-Invoke",
        "APT::Update::Post-Invoke-Success",
    )
    lines = [f"#clear {name};" for name in cleared]
    lines += [f'{name} "{value}";' for name, value in settings.items()]
    return "\n".join([*lines, f'APT::Architectures {{ "{architecture}"; }};', ""])


def run_apt(argv: Sequence[str], folder: Path, what: str) -> str:
    """Run one of apt's programs and return its output; its own words become the one line of the error."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = run(argv, what=f"fetching {what}", folder=folder, environment=environment)
    if done.status == 0:
        return done.out.decode("utf-8", "replace")
    raise explain(what, masked_text((done.err + done.out).decode("utf-8", "replace")), folder)


# The number of an error as apt writes it, whatever the words: "write (28: No space left on device)".
_ERRNO = re.compile(r"\((\d+): ")


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


def explain(what: str, output: str, folder: Path) -> KernelUnavailable | StoreError:
    """Return apt's failure as one error: the disk's fault, or the archive's.

    Apt's words change between its releases: they are shown, and never looked for.
    """
    if _NO_ROOM & {int(number) for number in _ERRNO.findall(output)}:
        return StoreError(f"{folder}: no space left; free some, or set {SETTING} to a directory with room")
    return KernelUnavailable(f"cannot fetch {what}: {_complaint(output) or 'apt failed with no error message'}")


def _complaint(output: str) -> str:
    """Return apt's first error, with its first warning in brackets; what comes later frames them in general words."""
    firsts = []
    for mark in ("E:", "W:"):
        found = (line.removeprefix(mark) for line in output.splitlines() if line.startswith(mark))
        firsts += [" ".join(line.split())[:300] for line in itertools.islice(found, 1)]
    return " ".join([*firsts[:1], *(f"({line})" for line in firsts[1:])])
