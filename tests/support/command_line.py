"""The command line as a program of its own."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SEALMATRIX = [sys.executable, "-m", "harness"]
# Which of standard input, output and error are closed.
CLOSED = [c for n in (1, 2, 3) for c in itertools.combinations((0, 1, 2), n)]


def sealmatrix(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*SEALMATRIX, words[0], *(["--results", str(folder)] if words[0] in ("run", "show") else []), *words[1:]]
    if words[0] == "run" and "--host" not in words:
        command += ["-f", str(ROOT / "kernels.yaml")] if "-f" not in words else []
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=os.environ | environment, timeout=500, check=False
    )


def only_run(folder: Path) -> Path:
    (run,) = (path for path in folder.iterdir() if (path / "run.json").is_file())
    return run
