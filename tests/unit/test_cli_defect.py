"""What nobody expected must not look like a rule that failed."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import importlib
main = importlib.import_module("harness.cli.main")
def broken(**_): raise AssertionError("nobody expected this")
main.cli.main = broken
main.main()
"""


def test_a_defect_of_ours_is_no_answer_and_tells_its_trace() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "AssertionError: nobody expected this" in done.stderr
    assert done.stderr.endswith(
        "sealmatrix: internal error (a bug in sealmatrix); this says nothing about the kernels tested\n"
    )
