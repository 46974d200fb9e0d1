"""A worker of sealmatrix whose guests follow scripts: fake_worker.py ADDRESS NAME BEHAVIOUR.

``well`` answers everything; ``hangs`` stops after the first probe, until its guest is ended; ``old`` is a worker of
another version; ``deadly:FOLDER`` kills the first two workers that share the folder, and hangs from then on. That a
guest is made and ended goes to standard output.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.cluster.facts import own_facts
from harness.cluster.worker import serve
from harness.errors import SealmatrixError
from harness.guests.model import Event, Guest
from harness.guests.pid1 import channel_modules
from harness.guests.qemu import Wishes
from harness.runs.model import Cell
from tests.fakes import FakeGuest
from tests.support.scripted_runs import END, PLAN, begin, seen


class Loud(FakeGuest):
    """Says when it is ended."""

    def stop(self) -> None:
        if not self.stopped.is_set():
            print("stopped", flush=True)
        super().stop()


class Deadly(Loud):
    """Takes its host down, the first two times."""

    def __init__(self, dead: Path, **facts: Any) -> None:
        super().__init__(**facts)
        self.dead = dead

    def run(self, argv: Sequence[str]) -> Iterator[Event]:
        for event in super().run(argv):
            yield event
            if len(list(self.dead.iterdir())) < 2:
                self.stopped.wait(0.5)  # no machine dies within the milliseconds that its last words are on their way
                (self.dead / str(os.getpid())).touch()
                os.kill(os.getpid(), signal.SIGKILL)


def main(address: str, name: str, behaviour: str) -> None:
    def make_guest(cell: Cell, folder: Path, _wishes: Wishes, init: Path) -> Guest:
        kernel = cell.kernel
        print(f"guest {cell.id} {kernel.sha256 if hasattr(kernel, 'sha256') else ''} {init.stat().st_size}", flush=True)
        assert not isinstance(kernel, Exception)
        assert kernel is not None
        assert kernel.image.read_bytes() == b"the image"
        assert [file for file, _ in channel_modules(kernel)] == ["virtio_console.ko"]
        if behaviour.startswith("deadly"):
            return Deadly(Path(behaviour.partition(":")[2]), script=(PLAN, seen(0), begin(1), threading.Event()))
        rest = (begin(1), threading.Event()) if behaviour == "hangs" else (seen(1), END)
        return Loud(script=(PLAN, seen(0), *rest), console=folder / "console.log", console_text="it boots\n")

    facts = own_facts(2)
    if behaviour == "old":
        facts = replace(facts, version="0.0.9", payload="0123456789abcdef")
    try:
        serve(address, facts, name, lambda line: print(f"ready {line}", flush=True), make_guest, 0.0)
    except SealmatrixError as problem:
        print(f"ended: {problem}", flush=True)
        raise SystemExit(problem.exit_code) from None


if __name__ == "__main__":
    main(*sys.argv[1:])
