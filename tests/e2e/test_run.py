"""The command a user types, on real kernels: what it prints, what it leaves on disk, how it ends."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from errno import EAGAIN, ENOSYS, EPERM
from pathlib import Path
from typing import Any

import junitparser
import pytest

from harness.model.rule import MSEAL_SINCE
from harness.model.version import parse_version
from harness.verdicts.refused import FILTER_NOTE
from tests import seccomp
from tests.support.command_line import ROOT, SEALMATRIX, only_run, sealmatrix

SOME = ["-r", "munmap*/anon-r*/*", "-r", "mseal*/anon-rw/*"]

pytestmark = pytest.mark.kernels


def statuses(cell: dict[str, Any]) -> set[str]:
    return {status for status, count in cell["counts"].items() if count}


def qemu_processes(folder: Path) -> list[str]:
    """Emulators that belong to runs in this folder: their console's path names it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode("utf-8", "replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if "qemu-system" in words and str(folder) in words:
            found.append(words)
    return found


def test_the_default_matrix_is_clean(tmp_path: Path) -> None:
    """Stock kernels of both architectures and both page sizes: no fail, no error, no miss; 6.1 is one line."""
    done = sealmatrix("run", "--results", str(tmp_path), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    verdicts = json.loads((only_run(tmp_path) / "verdicts.json").read_text())
    counts = {name: verdicts["counts"].get(name, 0) for name in ("fail", "error", "miss", "known", "fixed")}
    assert counts == dict.fromkeys(counts, 0)
    cells = {cell["cell"]: cell for cell in verdicts["cells"]}
    assert len(cells) == 7
    before = [line for line in done.stdout.splitlines() if "no mseal (ENOSYS)" in line]
    assert len(before) == 1
    run = json.loads((only_run(tmp_path) / "run.json").read_text())
    sizes = {cell["id"]: cell["machine"]["page_size"] for cell in run["cells"]}
    assert sizes["debian-6.12-16k.arm64"] == 16384
    assert sizes["debian-6.12.arm64"] == sizes["debian-6.12.x86_64"] == 4096
    assert all(cell["machine"]["acceleration"] in ("kvm", "tcg") for cell in run["cells"])
    junit = junitparser.JUnitXml.fromfile(str(only_run(tmp_path) / "junit.xml"))
    assert (junit.failures, junit.errors) == (0, 0)
    assert not qemu_processes(tmp_path)
    again = sealmatrix("show", folder=tmp_path)
    assert again.returncode == 0
    assert again.stdout.splitlines()[-2] == done.stdout.splitlines()[-2]


def test_a_kernel_that_is_none_does_not_harm_the_others(tmp_path: Path) -> None:
    """The right magic and nothing behind it: that cell is missed, with the reason, and the run is no success."""
    image = bytearray(os.urandom(1 << 16))
    image[0x38:0x3C] = b"ARM\x64"
    image[0x08:0x20] = bytes(8) + (1 << 20).to_bytes(8, "little") + (0xA).to_bytes(8, "little")
    (tmp_path / "Image").write_bytes(image)
    matrix = (
        (ROOT / "kernels.yaml")
        .read_text()
        .replace(
            "\nkernels:\n", "\nkernels:\n  broken:\n    source: file\n    image: Image\n    architectures: [arm64]\n", 1
        )
    )
    (tmp_path / "kernels.yaml").write_text(matrix)
    run = sealmatrix(
        "run", "-f", "kernels.yaml", "-k", "broken", "-k", "debian-6.12", "-a", "arm64", "--scale", "0.3",
        "--accel", "tcg", *SOME, folder=tmp_path,
    )  # fmt: skip
    assert run.returncode == 3, run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    cells = {c["cell"]: c for c in json.loads((only_run(tmp_path) / "verdicts.json").read_text())["cells"]}
    assert statuses(cells["broken.arm64"]) == {"miss"}
    assert cells["broken.arm64"]["reason"]
    assert "miss" not in statuses(cells["debian-6.12.arm64"])


def test_ctrl_c_ends_the_guests_and_keeps_what_was_seen(tmp_path: Path) -> None:
    command = [*SEALMATRIX, "run", "-f", str(ROOT / "kernels.yaml"), "--results", str(tmp_path)]
    command += ["-k", "debian-6.12", "-a", "x86_64", "-a", "arm64", "-j", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "probing" in line:
                break
        journals = tmp_path.glob("*/cells/*/observations.jsonl")
        journal = next(journals)
        while b'"observation"' not in journal.read_bytes():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    assert not qemu_processes(tmp_path)
    run = json.loads((only_run(tmp_path) / "run.json").read_text())
    assert run["state"] == "interrupted"
    assert [cell["state"] for cell in run["cells"]] == ["interrupted", "interrupted"]
    shown = sealmatrix("show", folder=tmp_path)
    assert shown.returncode == 130
    assert "interrupted" in shown.stdout


def test_unreachable_mirror(tmp_path: Path) -> None:
    """Without a stored kernel every probe is missed and the reason is one line; nothing passes."""
    nowhere = {"SEALMATRIX_MIRROR": "http://127.0.0.1:1/debian", "SEALMATRIX_CACHE": str(tmp_path / "cache")}
    matrix = tmp_path / "kernels.yaml"
    matrix.write_text((ROOT / "kernels.yaml").read_text())
    words = ["run", "-f", str(matrix), "-k", "debian-6.12", "-a", "x86_64", *SOME]
    run = sealmatrix(*words, folder=tmp_path, **nowhere)
    assert run.returncode == 3, run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    (cell,) = json.loads((only_run(tmp_path) / "verdicts.json").read_text())["cells"]
    assert statuses(cell) == {"miss"}
    assert "\n" not in cell["reason"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of system calls")
@pytest.mark.parametrize(
    ("error", "number", "probe", "said"),
    [
        pytest.param(EPERM, 25, "mremap-move/anon-rw/exact", "was refused with EPERM", id="mremap refused"),
        pytest.param(EAGAIN, 28, "madvise-dontneed/anon-r/exact", "was refused with EAGAIN", id="madvise put off"),
        pytest.param(ENOSYS, 462, "mseal-empty/anon-rw/exact", "every 64-bit kernel since 6.10 has", id="mseal hidden"),
    ],
)
def test_a_filter_in_front_of_the_host(error: int, number: int, probe: str, said: str, tmp_path: Path) -> None:
    """What it refuses is a failure and never a skip, and the report says who may have answered."""
    if parse_version(platform.release()) < MSEAL_SINCE:
        pytest.skip("a kernel from before mseal")
    filtered = [sys.executable, seccomp.__file__, str(error), str(number), *SEALMATRIX]
    command = [*filtered, "run", "--host", "-r", probe, "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=100, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert said in done.stdout
    assert "Seccomp filter" in done.stdout
    assert FILTER_NOTE in done.stdout
    filtered[3] = (
        ""  # the same without the filter's refusal: nothing is wrong, and the report still knows of the filter
    )
    command = [*filtered[:4], *command[4:]]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert FILTER_NOTE in done.stdout


def test_the_host(tmp_path: Path) -> None:
    run = sealmatrix("run", "--host", "--json", *SOME, folder=tmp_path)
    verdicts = json.loads(run.stdout)
    (cell,) = verdicts["cells"]
    assert run.returncode == verdicts["exit_code"]
    assert statuses(cell)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "-s", "nightli"], "did you mean 'nightly'"),
        (["run", "-k", "debian-6.13"], "debian-6.1"),
        (["run", "-f", "missing.yaml"], "missing.yaml"),
        (["run", "-r", "nothing/*"], "no probe matches"),
        (["run", "--host", "-k", "debian-6.12"], "--host"),
        (["run", "-j", "0"], "0 is not in the range"),
        (["show", "nonesuch"], "has no runs"),
        (["rules", "show", "munmap-block"], "did you mean 'munmap-blocked'"),
        (["runn"], "No such command"),
    ],
)
def test_bad_input_is_exit_2_and_starts_nothing(words: list[str], message: str, tmp_path: Path) -> None:
    done = sealmatrix(*words, folder=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
