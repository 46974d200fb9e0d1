"""scripts/setup on a machine without apt, with a Python that only pretends."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.cli.checks import OTHER_SYSTEMS, read_tools

ROOT = Path(__file__).parents[2]
# All that the script itself calls; whatever sealmatrix needs is absent, gcc too.
CALLED = ("sh", "dirname", "grep", "cut", "sort", "tr", "cat", "sha256sum", "printf", "id")
# Has no module, is new enough, and makes environments whose pip writes down what it is asked for.
PYTHON = """\
#!/bin/sh
case "$1 $2" in
"-c import "*) case $2 in "import sys"*) exit 0 ;; *) exit 1 ;; esac ;;
*all_made*) echo asked >>programs.asked ;;
"-V "*) echo Python 3.99 ;;
"-m venv")
    mkdir -p "$4/bin"
    cp "$0" "$4/bin/python"
    printf '#!/bin/sh\\necho "$@" >>pip.asked\\n' >"$4/bin/pip"
    chmod +x "$4/bin/pip"
    ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with what the script reads, and a PATH without apt beside it."""
    for name in ("scripts/setup", "harness/cli/tools.tsv", "pyproject.toml"):
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "src" / name)
    (tmp_path / "bin").mkdir()
    for name in (*CALLED, "mkdir", "cp", "chmod"):
        found = shutil.which(name)
        assert found, name
        (tmp_path / "bin" / name).symlink_to(found)
    (tmp_path / "bin/python3").write_text(PYTHON)
    (tmp_path / "bin/python3").chmod(0o755)
    return tmp_path / "src"


def setup(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(checkout.parent / "bin"), "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        ["scripts/setup", *words], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )


def test_without_apt_all_that_is_missing_is_named_and_the_environment_is_made(checkout: Path) -> None:
    done = setup(checkout, "--everything")
    assert done.returncode == 0, done.stderr
    assert "--editable .[dev]" in (checkout / "pip.asked").read_text()
    assert (checkout / "programs.asked").exists(), "what guests need is built before the first run"
    jobs = [line for line in done.stderr.splitlines() if line.startswith("missing ")]
    assert [job.split()[1:4] for job in jobs] == [
        ["to", "boot", "guests"], ["to", "take", "kernels"], ["to", "build", "kernels"], ["for", "sealmatrix's", "own"],
    ]  # fmt: skip
    assert "run --host and run --ssh" in jobs[0]
    told = dict(line.strip().split(", which ", 1) for line in done.stderr.splitlines() if line.startswith("  "))
    for tool in read_tools():
        there = tool.name == "python3" or (tool.kind == "file" and Path(tool.name).exists())
        assert (tool.name in told) is not there, tool.name
        if not there:
            names = (f"{system} {name}" for system, name in zip(OTHER_SYSTEMS, tool.elsewhere, strict=True))
            assert told[tool.name] == f"{tool.why}: {', '.join(names)}"
    assert (checkout / "pip.asked").read_text().count("\n") == 1
    assert setup(checkout).returncode == 0
    assert (checkout / "pip.asked").read_text().count("\n") == 1  # it is there already


def test_without_everything_only_what_the_default_matrix_needs_is_named(checkout: Path) -> None:
    done = setup(checkout)
    assert done.returncode == 0
    assert "qemu-system-x86_64" in done.stderr
    assert "flex" not in done.stderr
    assert "sealmatrix's own tests" not in done.stderr


def test_packages_alone_cannot_be_had_without_apt(checkout: Path) -> None:
    """The Dockerfile's step: there would be nothing to go on with."""
    done = setup(checkout, "--packages")
    assert done.returncode == 3
    assert "qemu-system-x86_64" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_python_that_makes_no_environment_ends_in_one_line(checkout: Path) -> None:
    (checkout.parent / "bin/python3").write_text("#!/bin/sh\n[ \"$1 $2\" != '-m venv' ]\n")
    done = setup(checkout)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("scripts/setup: python3 makes no virtual environment")
