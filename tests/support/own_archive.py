"""A matrix and a store of a test's own, for kernels of a real or local archive."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from harness.kernels.archive import AptArchive
from harness.kernels.resolve import Resolved, provide
from harness.kernels.store import Store
from harness.kernels.system_apt import system_mirror
from harness.matrix.load import load_matrix
from harness.matrix.plan import plan_cells

MATRIX = """\
version: 1
extends: none
kernels:
  stable: {source: debian, suites: [trixie], release: 6.12, architectures: [x86_64]}
  newest: {source: debian, suites: [trixie-backports], release: newest, architectures: [x86_64, arm64]}
  large: {source: debian, suites: [trixie-backports], release: newest, flavour: 16k, architectures: [arm64]}
  full: {source: debian, suites: [bookworm], release: 6.1, flavour: full, architectures: [x86_64]}
"""


class Place:
    """A matrix and a store of its own; ``mirror`` None is the system's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.matrix = folder / "kernels.yaml"
        if not self.matrix.exists():  # another process may be reading it
            self.matrix.write_text(MATRIX)
        self.store = Store(folder / "cache")

    def get(self, name: str, *, arch: str = "x86_64", mirror: str | None = None, offline: bool = False) -> Resolved:
        matrix = load_matrix(self.matrix)
        store = Store(self.store.root)  # another process would have verified nothing yet
        done = provide(
            matrix,
            plan_cells(matrix, kernels=[name], arches=[arch]),
            store=store,
            archive=AptArchive(store, mirror),
            offline=offline,
        )
        (found,) = done.kernels.values()
        return found

    def forget_lock(self) -> None:
        (self.folder / "kernels.lock").unlink()


class _Mirror(BaseHTTPRequestHandler):
    """Passes on what the system's mirror has, fetched by apt itself, with the last byte of some files changed."""

    tampered = ""
    seen: list[str] = []  # noqa: RUF012 - one for each server, set below

    def do_GET(self) -> None:
        self.seen.append(self.path)
        url = system_mirror().rstrip("/") + self.path.removeprefix("/debian")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "it"
            argv = ["/usr/lib/apt/apt-helper", "-oAPT::Sandbox::User=root", "download-file", url, str(file)]
            done = subprocess.run(argv, capture_output=True, check=False)
            if done.returncode:
                self.send_error(404)
                return
            data = file.read_bytes()
        if self.tampered and self.path.endswith(self.tampered):
            data = data[:-1] + bytes([data[-1] ^ 1])
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def mirror(tampered: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield the address of such a mirror and the paths asked of it."""
    seen: list[str] = []
    handler = type("Mirror", (_Mirror,), {"tampered": tampered, "seen": seen})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/debian", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
