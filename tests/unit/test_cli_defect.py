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


_TWICE = """
import importlib, os, signal
main = importlib.import_module("harness.cli.main")
def asked(**_): os.kill(os.getpid(), signal.SIGTERM)
def again(_): os.kill(os.getpid(), signal.SIGTERM)
main.cli.main, main.doing = asked, again
main.main()
"""


def test_a_second_signal_while_the_first_is_answered_is_no_defect() -> None:
    done = subprocess.run([sys.executable, "-c", _TWICE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "sealmatrix: interrupted again; ended at once\n")
