"""The hand-written reproducers on a stock kernel: each runs there and finds its promise kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.payload.compiler import compile_static
from harness.reproducer.written import written
from tests.support.real_kernels import ROOT
from tests.support.reproducers import text_of

pytestmark = pytest.mark.kernels

# Fault injection, tags of arm64, a second node, CONFIG_ANON_VMA_NAME, shadow stacks.
NOT_HERE = dict.fromkeys(("args-memory-fails", "args-tagged", "pages-migrate", "pages-name", "shadow-stack-blocked"), 2)
RUN_ALL = """\
echo 4 >/proc/sys/vm/nr_hugepages
for program in "$@"; do
	./$program >said 2>&1
	echo "$program $? $(tail -n 1 said)"
done
"""


@pytest.mark.timeout(900)
def test_every_written_program_is_kept_by_a_stock_kernel(tmp_path: Path) -> None:
    (tmp_path / "run-all").write_text(RUN_ALL)
    pushed = ["--push", str(tmp_path / "run-all")]
    for rule in written():
        source = tmp_path / f"{rule}.c"
        source.write_text(text_of(rule))
        program = tmp_path / rule
        program.write_bytes(compile_static([source], "x86_64", rule).read_bytes())
        pushed += ["--push", str(program)]
    done = subprocess.run(
        [sys.executable, "-m", "harness", "exec", "debian-newest", "-a", "x86_64", "-q",
         "-f", str(ROOT / "kernels.yaml"),
         *pushed, "--", "sh", "/work/run-all", *written()],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = {name: (int(status), said) for name, status, said in (x.split(" ", 2) for x in done.stdout.splitlines())}
    assert answers.keys() == written().keys()
    assert {name: status for name, (status, _) in answers.items() if status} == NOT_HERE, answers
