"""Making a machine that is not ours boot a kernel of ours, by its owner's own command."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from harness.errors import BootFailed
from harness.guests.ssh_connect import place_of
from harness.kernels.model import Kernel
from harness.kernels.store import telling
from harness.matrix.model import OverSsh
from harness.processes.children import MERGED, Child, start

_LOOK_SECONDS = 0.2  # how soon a stop is noticed while the command runs


def words_of(target: OverSsh, kernel: Kernel) -> list[str]:
    """The command with its placeholders filled in. What is no placeholder of ours stays as it is."""
    place = place_of(target)
    values = {
        "{image}": str(kernel.image), "{release}": kernel.release, "{arch}": kernel.arch,
        "{host}": place.host, "{port}": str(place.port), "{user}": place.user,
    }  # fmt: skip
    return [_filled(word, values) for word in target.install]


def _filled(word: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(name, value)
    return word


def install(target: OverSsh, kernel: Kernel, folder: Path | None, stopped: threading.Event) -> None:
    """Run the command, what it says going to ``folder/install.log``. Raises ``BootFailed`` unless it succeeds in time.

    It may return before the machine has gone down: whoever waits for the machine waits for its release. What it leaves
    running when it succeeds (the machine itself, say) is its own affair; otherwise all it started is ended.
    """
    argv = words_of(target, kernel)
    log = _log(folder)
    with telling(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        stream = log.open("wb")
    with stream:
        try:
            with start(argv, stdout=stream, stderr=MERGED, after="leave", by_signal=False) as child:
                status = _wait(child, time.monotonic() + target.patience, stopped)
        except OSError as problem:
            raise BootFailed(f"install: {argv[0]} cannot be run: {problem.strerror}") from None
    if stopped.is_set():
        raise BootFailed("the guest was stopped")
    if status is None:
        raise BootFailed(f"install: {argv[0]} did not end within {target.patience} s ({log.name})")
    if status:
        raise BootFailed(f"install: {argv[0]} ended with status {status}: {last_words(folder)}")


def _wait(child: Child, end: float, stopped: threading.Event) -> int | None:
    while time.monotonic() < end and not stopped.is_set():
        if (status := child.wait(_LOOK_SECONDS)) is not None:
            return status
    return None


def last_words(folder: Path | None) -> str:
    """The last line of what an install command, or what it left running, has said."""
    try:
        lines = [line.strip() for line in _log(folder).read_text("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return lines[-1][:200] if lines else "it said nothing"


def _log(folder: Path | None) -> Path:
    return folder / "install.log" if folder else Path(os.devnull)
