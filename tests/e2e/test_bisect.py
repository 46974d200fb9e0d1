"""Bisections as a user runs them: over real builds, and over the commits of a kernel source package made a history.

Both histories share one built tree, which the cache keeps: after the first time a step compiles what a commit changed.
The first build takes from ccache what the tests of mutants compiled, or the other way round.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.kernels.sources import debian_source
from harness.kernels.store import Store
from harness.mutants.catalogue import load_mutants
from harness.mutants.edit import apply_edit
from tests.kernel_history import Change, commits, git, kernel_repository
from tests.support.real_kernels import GetKernel

ROOT = Path(__file__).parents[2]
BUILDS = "SEALMATRIX_BUILD_KERNELS"
SEALMATRIX = [sys.executable, "-m", "harness", "bisect", "-f", str(ROOT / "kernels.yaml")]
BROKEN = "\nthis is not C\n"

pytestmark = pytest.mark.kernels


def bisect(*words: str, results: Path, code: int = 0) -> dict[str, Any]:
    command = [*SEALMATRIX, "--results", str(results), "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    print("\n".join(found["text"]))
    return found


def test_over_builds(tmp_path: Path) -> None:
    """The write through /proc/self/mem, open to all until 7.1; the second time nothing needs to boot."""
    words = ["--rule", "force-proc-mem", "--good", "debian-6.12", "--bad", "debian-7.2"]
    for name in ("debian-6.12", "debian-6.17.8", "debian-7.0.13", "debian-7.1.3", "debian-7.2"):
        words += ["-k", name]
    found = bisect(*words, results=tmp_path)
    assert (found["state"], found["last"]["name"], found["first"]["name"]) == ("found", "debian-7.0.13", "debian-7.1.3")
    assert found["boots"] - found["boots_to_check"] <= 5  # ceil(log2 5) + 2
    assert found["boots_to_check"] == 2
    assert found["regzbot"] == "#regzbot introduced: v7.0.13..v7.1.3"
    again = bisect(*words, "--no-check", results=tmp_path)
    assert (again["first"]["name"], again["boots"]) == ("debian-7.1.3", 0)


def test_between_a_file_and_a_package(kernel: GetKernel, tmp_path: Path) -> None:
    """Two kernels as anybody has them, and one stock kernel between; what is repeated means the same files."""
    old, new = (kernel(name, "x86_64") for name in ("debian-7.0.13", "debian-7.1.3"))
    image = tmp_path / "old-image"
    image.write_bytes(old.image.read_bytes())
    packages = [Store().find(digest) for _, _, digest in new.origin.packages]
    deb = tmp_path / "new.deb"
    deb.write_bytes(next(path for path in packages if path is not None).read_bytes())
    words = ["--rule", "force-proc-mem", "--good", str(image), "--bad", str(deb), "-k", "debian-7.1.3", "--no-check"]
    found = bisect(*words, results=tmp_path / "results")
    assert (found["state"], found["last"]["name"]) == ("found", "old-image")
    assert found["first"]["name"] == "debian-7.1.3"
    script = next((tmp_path / "results/bisect").glob("*/repeat.sh")).read_text()
    assert f"--good {image} --bad debian-7.1.3" in script


def harmless(number: int, file: str = "mm/madvise.c") -> Change:
    """A commit that changes the image and nothing that a program can see."""
    what = f"const int sealmatrix_history_{number} __attribute__((__used__)) = {number};\n"
    return Change(f"{file}: keep the number {number}", file, what)


def weaken(mutant: str, repository: Path) -> list[Change]:
    """The edits of a mutant as commits; the last one completes the defect."""
    changes = []
    texts: dict[str, str] = {}
    for edit in load_mutants()[mutant].edits[6, 12]:
        old = texts.get(edit.file) or git(repository, "show", f"package:{edit.file}") + "\n"
        texts[edit.file] = apply_edit(old, edit)
        changes.append(Change(f"mm: simplify {edit.scope}", edit.file, texts[edit.file], old))
    return changes


@pytest.fixture(scope="module")
def repository() -> Path:
    missing = [tool for tool in ("git", "flex", "bison", "bc", "gcc", "make") if not _there(tool)]
    assert not missing, f"not installed: {missing}; scripts/setup --everything installs them"
    return kernel_repository(debian_source("6.12", lambda text: None))


def _there(tool: str) -> bool:
    return any(Path(folder, tool).exists() for folder in os.environ["PATH"].split(":"))


def over_commits(
    repository: Path, branch: str, names: list[str], rule: str, results: Path, arch: str = "x86_64"
) -> dict[str, Any]:
    before = git(repository, "for-each-ref")
    found = bisect(
        "--tree", str(repository), "--good", names[0], "--bad", branch, "--rule", rule, "--arch", arch, results=results
    )  # fmt: skip
    assert git(repository, "for-each-ref") == before
    for trial in found["trials"]:
        print(f"{trial['point'][:12]} {trial['purpose']:6} {trial['answer']} {trial['told'][:70]} {trial['seconds']} s")
    return found


@pytest.mark.timeout(1800)  # the first build of a kernel takes minutes
def test_over_commits(repository: Path, tmp_path: Path) -> None:
    """14 commits: one weakens munmap, two do not build."""
    *_, defect = weaken_in_one("munmap-unchecked", repository)
    changes = [
        harmless(1), defect,
        Change("mm/mseal.c: a slip of the keyboard", "mm/mseal.c", BROKEN), harmless(4),
        Change("mm/mseal.c: mend it", "mm/mseal.c", "\n", BROKEN), harmless(6), harmless(7, "mm/mprotect.c"),
        Change("Documentation: one more word", "Documentation/userspace-api/mseal.rst", "Sealed.\n"),
        *(harmless(number) for number in range(9, 14)),
    ]  # fmt: skip
    names = commits(repository, "munmap", changes)
    found = over_commits(repository, "munmap", names, "munmap-blocked", tmp_path)
    assert found["state"] == "found"
    assert found["first"]["name"] == names[2]
    assert found["last"]["name"] == names[1]
    assert found["commit"]["subject"] == defect.subject
    assert found["commit"]["author"] == "A U Thor <author@example.org>"
    assert found["commit"]["files"] == ["mm/vma.c"]
    assert found["regzbot"] == f"#regzbot introduced: {names[2][:12]}"
    assert "build" in {trial["trouble"] for trial in found["trials"]}


def weaken_in_one(mutant: str, repository: Path) -> list[Change]:
    changes = weaken(mutant, repository)
    return [Change(changes[0].subject, changes[0].file, changes[-1].new, changes[0].old)]


@pytest.mark.timeout(1800)
def test_over_commits_the_other_way_round_and_interrupted(repository: Path, tmp_path: Path) -> None:
    """Where mprotect was mended: the first good commit. Interrupted after its first answer, it goes on.

    Of 14 commits where kernels are to be built at length, else of the last six; the last check is the other test's.
    """
    (defect,) = weaken_in_one("mprotect-unchecked", repository)
    changes = [
        defect, harmless(1), harmless(2),
        *(harmless(number, "mm/mlock.c") for number in range(3, 6)),
        Change("mm/mseal.c: a slip of the keyboard", "mm/mseal.c", BROKEN), harmless(7),
        Change("mm/mseal.c: mend it", "mm/mseal.c", "\n", BROKEN), harmless(9),
        Change("mm: look at seals again", defect.file, defect.old, defect.new),
        harmless(11), harmless(12), harmless(13),
    ]  # fmt: skip
    names = commits(repository, "mprotect", changes)
    older = names[1] if os.environ.get(BUILDS) else names[9]
    words = ["--tree", str(repository), "--fixed", "--bad", older, "--good", "mprotect", "--rule", "mprotect-blocked"]
    words += [] if os.environ.get(BUILDS) else ["--no-check"]
    command = [*SEALMATRIX, "--results", str(tmp_path), *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(names[-1][:12]):
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    assert "--resume" in err
    found = bisect("--resume", "last", results=tmp_path)
    assert (found["state"], found["first"]["name"], found["last"]["name"]) == ("found", names[11], names[10])
    assert found["commit"]["subject"] == "mm: look at seals again"
    assert found["regzbot"].startswith("#regzbot fix: ")


@pytest.mark.timeout(1800)
def test_over_commits_where_a_call_hangs(repository: Path, tmp_path: Path) -> None:
    """A step on a kernel whose mseal never lets go of a lock is an answer, after a few deadlines."""
    (defect,) = weaken_in_one("mseal-keeps-lock", repository)
    names = commits(repository, "hangs", [harmless(21), defect, harmless(22)])
    found = over_commits(repository, "hangs", names, "munmap-blocked", tmp_path)
    assert (found["state"], found["first"]["name"], found["last"]["name"]) == ("found", names[2], names[1])
    bad = [trial for trial in found["trials"] if trial["answer"] == "bad"]
    assert len(bad) == 3  # an end, the search, the check
    for trial in bad:
        assert "hang" in trial["told"]
        # Not by the whole plan's deadline, which is twenty minutes.
        record = json.loads(Path(trial["run"], "run.json").read_text())
        (cell,) = [cell for cell in record["cells"] if cell["id"] == trial["cell"]]
        assert "deadlines" in cell["reason"]


@pytest.mark.timeout(3600)
def test_over_commits_for_arm64(repository: Path, tmp_path: Path) -> None:
    if not os.environ.get(BUILDS):
        pytest.skip(f"builds a kernel for a second architecture: set {BUILDS}=1")
    (defect,) = weaken_in_one("munmap-unchecked", repository)
    names = commits(repository, "arm64", [harmless(1), defect, harmless(3)])
    found = over_commits(repository, "arm64", names, "munmap-blocked", tmp_path, "arm64")
    assert (found["state"], found["first"]["name"]) == ("found", names[2])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rule", "munmap-block", "--good", "6.12", "--bad", "7.3"], "did you mean 'munmap-blocked'"),
        (["--rule", "munmap-blocked", "--good", "7.3", "--bad", "6.12"], "is newer than the bad one"),
        (["--rule", "munmap-blocked", "--good", "a", "--bad", "b", "--tree", "."], "no such kernel here"),
        (["--rule", "munmap-blocked", "--good", "HEAD~1", "--bad", "HEAD", "--tree", "."], "holds no kernel source"),
        (["--rule", "munmap-blocked", "--good", "6.12", "--bad", "7.3", "--observation", "errno=0"], "name one with"),
        (["--resume", "last"], "has no bisections"),
    ],
)
def test_bad_input_is_one_line_and_starts_nothing(words: list[str], message: str, tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    git(tmp_path, "init", "-q", "tree")
    for name in ("one", "two"):
        (folder / name).write_text(name)
        git(folder, "add", ".")
        git(folder, "commit", "-qm", name)
    command = [*SEALMATRIX, "--results", str(tmp_path / "results"), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()
