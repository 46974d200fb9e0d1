"""A wheel brings the programs that guests need, built: who installed it compiles nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from harness.guests.programs import all_made
from harness.model.architectures import ARCHES

ROOT = Path(__file__).parents[2]

# What builds a wheel has an environment of its own, and the first build for an architecture compiles a C library.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(words, check=True)
    (found,) = folder.glob("*.whl")
    return found


def test_it_has_them_all_as_they_are_built_here(wheel: Path) -> None:
    made = all_made()
    assert len(made) == 2 * len(ARCHES)
    with zipfile.ZipFile(wheel) as archive:
        for program in made:
            shipped = archive.read(f"harness/_shipped/programs/{program.place}")
            assert shipped == program.target.read_bytes()
            digest = archive.read(f"harness/_shipped/programs/{program.place}.sha256").decode().strip()
            assert digest == sha256(shipped).hexdigest()


def test_the_first_run_of_an_installed_one_compiles_nothing(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True)
    asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip())
    # What it depends on is this environment's; the wheel itself comes first.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    cache = tmp_path / "cache"
    clean = {**os.environ, "SEALMATRIX_CACHE": str(cache)}
    command = [environment / "bin/sealmatrix", "run", "--host", "--rule", "munmap-blocked", "--results", "results"]
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
    assert list((tmp_path / "results").glob("*/run.json")), done.stderr
    assert "compiling" not in done.stderr
    make = "from harness.guests.programs import all_made; print(*(p.target for p in all_made()), sep='\\n')"
    done = subprocess.run([python, "-c", make], cwd=tmp_path, env=clean, capture_output=True, text=True, check=True)
    assert all(Path(line).is_relative_to(cache) and Path(line).is_file() for line in done.stdout.splitlines())
    assert not (cache / "payload/zig").exists(), "nobody asked the compiler"
