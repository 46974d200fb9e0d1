"""Bare roots of the releases that README.md names: its two commands in a fresh copy, and the Dockerfile's steps, as
written, for machines where no container engine runs.

Of the Dockerfile only the instructions it uses are understood; another one fails here and has to be taught.
"""

from __future__ import annotations

import ast
import json
import os
import shlex
import shutil
import string
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from harness.kernels.apt import MIRROR_SETTING
from harness.kernels.system_apt import system_mirror

pytestmark = [pytest.mark.kernels, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
RELEASES = {"bookworm": "12", "trixie": "13"}
# Where a release's own programs matter: QEMU, sshd, apt, Python. The whole suite would not end within an hour here.
OF_ITS_PROGRAMS = (
    "tests/e2e/test_guests_ssh.py",
    "tests/e2e/test_kernels_fetch.py::test_unreachable_mirror_and_nothing_stored",
    "tests/e2e/test_kernels_fetch.py::test_no_space",
    "tests/cluster/test_dask.py",
    "tests/unit/test_guests_host.py",
)
# $0 is the root; what stands before "--" is bound into it, read-only; the rest is the command. The mounts go with the
# namespace. The root is a mount of its own, or nothing in it could make a namespace.
_ENTER = """
set -eu
mount --bind "$0" "$0"
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
while [ "$1" != -- ]; do mkdir -p "$0$1"; mount --bind -o ro "$1" "$0$1"; shift; done
shift
exec chroot "$@"
"""


@dataclass
class BareRoot:
    """A root folder and what the Dockerfile's instructions have set so far."""

    path: Path
    binds: tuple[str, ...]
    environment: dict[str, str]
    user: str = "root"
    folder: str = "/"
    entrypoint: list[str] = field(default_factory=list)

    def run(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a program inside, as the current user, in the current folder."""
        passwd = {
            line.partition(":")[0]: line.split(":") for line in (self.path / "etc/passwd").read_text().splitlines()
        }
        home = passwd[self.user][5]
        settings = [f"{key}={value}" for key, value in {**self.environment, "HOME": home}.items()]
        inside = ["env", "-i", "-C", self.folder, *settings, *argv]
        enter = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _ENTER, str(self.path)]
        argv = [*enter, *self.binds, "--", f"--userspec={self.user}", str(self.path), *inside]
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
        )

    def take(self, word: str, rest: str) -> None:
        """Carry out one instruction."""
        match word:
            case "COPY":
                source, target = shlex.split(rest)
                copy_sources(source, self.path / target.lstrip("/"))
            case "RUN":
                done = self.run(["sh", "-c", rest])
                assert done.returncode == 0, f"RUN {rest}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
            case "ENV":
                pairs = (pair.partition("=") for pair in shlex.split(rest))
                known = dict(self.environment)
                self.environment |= {key: string.Template(value).substitute(known) for key, _, value in pairs}
            case "USER":
                self.user = rest
            case "WORKDIR":
                self.folder = rest
            case "ENTRYPOINT":
                self.entrypoint = json.loads(rest)
            case "VOLUME" | "CMD":
                pass
            case _:
                pytest.fail(f"the Dockerfile says {word}; this test does not know what that means")


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield (instruction, rest) of a Dockerfile: comments dropped, continued lines joined."""
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, rest = line.partition(" ")
        yield word.upper(), rest.strip()


def copy_sources(source: str, target: Path) -> None:
    """COPY of one file, or of the whole context without what .dockerignore names."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if (ROOT / source).is_file():
        shutil.copy(ROOT / source, target)
        return
    patterns = [line for line in (ROOT / ".dockerignore").read_text().split("\n") if line and not line.startswith("#")]
    anywhere = [pattern.removeprefix("**/") for pattern in patterns if pattern.startswith("**/")]

    def ignored(folder: str, names: list[str]) -> set[str]:
        globs = anywhere + (patterns if Path(folder) == ROOT else [])
        return {name for name in names if any(fnmatch(name, glob) for glob in globs)}

    shutil.copytree(ROOT / source, target, ignore=ignored, dirs_exist_ok=True)


def pip_settings() -> dict[str, str]:
    """This machine's pip configuration as environment variables: inside, packages have to be found the same way."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    pairs = (line.partition("=") for line in done.stdout.splitlines())
    return {
        "PIP_" + key.rpartition(".")[2].upper().replace("-", "_"): ast.literal_eval(value) for key, _, value in pairs
    }


def local_folders(settings: dict[str, str]) -> Iterator[str]:
    """Yield the folders of this machine that pip's settings speak of."""
    for word in " ".join(settings.values()).split():
        path = urlsplit(word).path if word.startswith("file:") else word
        # The files of an index lie beside its pages; a constraints file has a folder of its own.
        folder = Path(path).parent if Path(path).name == "simple" or Path(path).is_file() else Path(path)
        if folder.is_absolute() and folder.is_dir():
            yield str(folder)


def unavailable() -> str:
    """Why no bare root can be made here, "" when it can."""
    if os.geteuid() != 0:
        return "making a bare root needs root"
    if shutil.which("mmdebstrap") is None:
        return "mmdebstrap is not installed (apt-get install mmdebstrap)"
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, text=True, check=False
    )
    return f"no namespaces here: {done.stderr.strip()}" if done.returncode else ""


def named_in_the_dockerfile() -> str:
    """The release that the Dockerfile begins with."""
    (word, base), *_ = instructions((ROOT / "Dockerfile").read_text())
    assert word == "FROM"
    release = base.removeprefix("debian:").removesuffix("-slim")
    assert release in RELEASES
    return release


@pytest.fixture(params=RELEASES)
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BareRoot]:
    """A release as a folder, with a way to the network and to this machine's Python packages."""
    if reason := unavailable():
        pytest.skip(reason)
    path, suite = tmp_path / "root", request.param
    mirror = os.environ.get(MIRROR_SETTING) or system_mirror()
    subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", suite, path, mirror], check=True)
    for name in ("resolv.conf", "hosts"):
        shutil.copy(Path("/etc") / name, path / "etc" / name)
    settings = pip_settings()
    if certificates := settings.get("PIP_CERT"):
        # Not in its usual place: the package ca-certificates would replace it in there.
        shutil.copy(certificates, path / "etc/pip-certificates.crt")
        settings["PIP_CERT"] = "/etc/pip-certificates.crt"
    passed = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy") or k == MIRROR_SETTING}
    system = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    needed = {name: value for name, value in settings.items() if name != "PIP_CERT"}  # it was copied
    yield BareRoot(path, tuple(sorted({*local_folders(needed)})), {**system, **passed, **settings})
    shutil.rmtree(path)  # 3 GB


def test_the_readme_names_the_releases_that_are_tried() -> None:
    assert f"tested on Debian {' and '.join(RELEASES.values())}" in (ROOT / "README.md").read_text()


def test_both_commands_of_the_readme_in_a_fresh_copy(bare: BareRoot) -> None:
    bare.take("COPY", ". /usr/src/sealmatrix")
    bare.folder = "/usr/src/sealmatrix"

    run = bare.run(["scripts/matrix", "--selection", "smoke", "--run", "munmap/*"])
    assert run.returncode == 0, run.stdout + run.stderr
    (record,) = bare.path.glob("usr/src/sealmatrix/results/*/run.json")
    assert json.loads(record.read_text())["state"] == "finished"

    tests = bare.run(["scripts/test", *OF_ITS_PROGRAMS])
    assert tests.returncode == 0, tests.stdout + tests.stderr


@pytest.mark.parametrize("bare", [named_in_the_dockerfile()], indirect=True)
def test_the_dockerfile_makes_a_machine_that_runs_the_matrix(bare: BareRoot) -> None:
    _, *steps = instructions((ROOT / "Dockerfile").read_text())
    for word, rest in steps:
        bare.take(word, rest)
    assert bare.user != "root"

    doctor = bare.run([*bare.entrypoint, "doctor", "--json"])
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr

    run = bare.run([*bare.entrypoint, "run", "--selection", "smoke", "--run", "munmap/*", "--results", "/results"])
    assert run.returncode == 0, run.stdout + run.stderr
    (record,) = bare.path.glob("results/*/run.json")
    assert json.loads(record.read_text())["state"] == "finished"
