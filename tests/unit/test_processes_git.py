"""Git is told which repository and which files, by one function, and changes none that sealmatrix did not make."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.errors import InfrastructureError, UsageError
from harness.processes import git

ROOT = Path(__file__).parents[2]

# What a hook runs: each of the ways in which git comes to be called, on the tree `lin`, whose commits are 1 and 2.
WAYS = {
    "tree": """
from harness.kernels import tree_source
from harness.kernels.store import Store
from harness.kernels.tree import BuiltTree
from harness.matrix.sources.tree import TreeSource
from tests.unit.kernel_fakes import CONFIG, arm64_image

def build(tree, arch, out, fragments):
    out.mkdir(parents=True, exist_ok=True)
    (out / "Image").write_bytes(arm64_image("6.1.0-own"))
    (out / ".config").write_bytes(CONFIG)
    told["built"] = told.get("built", "") + (tree / "Makefile").read_text().split()[-1]
    return BuiltTree(out / "Image", "Image", "", "arm64", "6.1.0-own", {}, "", out / "log", (), 0.0)

tree_source.build_tree = build
store = Store(tmp / "store")
for commit in ("v6.2", "v6.1"):
    build_of = tree_source.built_source(store, TreeSource(lin, commit), "arm64", lambda _: None)
told["where"] = build_of.where
told["described"] = tree_source.built_source(store, TreeSource(lin), "arm64", lambda _: None).where
""",
    "bisect": """
from harness.bisect.repository import Checkout, open_repository

repository = open_repository(lin)
old, new = (repository.resolve("--good", name) for name in ("v6.1", "v6.2"))
checkout = Checkout(tmp / "checkout", repository)
checkout.prepare()
checkout.start(old, new, fixed=False)
for commit in (new, old):
    checkout.checkout(commit)
told["built"] = (tmp / "checkout" / "Makefile").read_text().split()[-1]
told["where"] = repository.describe(old).subject
told["described"] = checkout.head
""",
    "mutants": """
from harness.mutants.copy import open_copy

with open_copy(lin, tmp / "copy", ["mm.c"]) as copy:
    told["built"] = (copy.folder / "Makefile").read_text().split()[-1]
    told["where"] = sorted(p.name for p in copy.folder.iterdir())
""",
}


def run_git(folder: Path, *words: str, **more: str) -> str:
    argv = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x", *words]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(argv, check=True, capture_output=True, text=True, env=clean | more).stdout.strip()


@dataclass(frozen=True)
class Mine:
    """A user's repository, with a linked work tree, work that is not committed, and a hook."""

    folder: Path
    linked: Path

    def state(self) -> tuple[object, ...]:
        files = [
            (str(path.relative_to(place)), path.read_text())
            for place in (self.folder, self.linked)
            for path in sorted(place.rglob("*"))
            if path.is_file() and ".git" not in path.relative_to(place).parts
        ]
        heads = [run_git(place, "symbolic-ref", "HEAD") for place in (self.folder, self.linked)]
        return (files, heads, run_git(self.folder, "for-each-ref"), run_git(self.folder, "worktree", "list"))


@pytest.fixture
def mine(tmp_path: Path) -> Mine:
    folder, linked = tmp_path / "mine", tmp_path / "linked"
    folder.mkdir()
    run_git(folder, "init", "-q", "-b", "master")
    (folder / "kept").write_text("committed\n")
    run_git(folder, "add", ".")
    run_git(folder, "commit", "-qm", "mine")
    run_git(folder, "tag", "v6.1")  # the same names as those of the other repository
    run_git(folder, "tag", "v6.2")
    run_git(folder, "worktree", "add", "-q", "-b", "topic", str(linked))
    for place in (folder, linked):
        (place / "kept").write_text("a change that is not committed\n")
        (place / "new").write_text("untracked\n")
        (place / "notes").mkdir()
        (place / "notes" / "one").write_text("in an untracked folder\n")
    return Mine(folder, linked)


@pytest.fixture
def lin(tmp_path: Path) -> Path:
    folder = tmp_path / "lin"
    folder.mkdir()
    run_git(folder, "init", "-q", "-b", "master")
    for sublevel in ("1", "2"):
        (folder / "Makefile").write_text(f"VERSION = 6\nPATCHLEVEL = {sublevel}\n")
        (folder / "Kbuild").write_text("")
        run_git(folder, "add", ".")
        run_git(folder, "commit", "-qm", f"lin {sublevel}")
        run_git(folder, "tag", f"v6.{sublevel}")
    return folder


@pytest.mark.parametrize("both", [False, True], ids=["as git sets it", "with a work tree, too"])
@pytest.mark.parametrize("way", sorted(WAYS))
def test_a_hook_of_another_repository_changes_nothing_there(
    way: str, both: bool, mine: Mine, lin: Path, tmp_path: Path
) -> None:
    answer = tmp_path / "answer.json"
    script = tmp_path / "asks.py"
    script.write_text(
        "import json, os\nfrom pathlib import Path\n"
        f"tmp, lin = Path({str(tmp_path)!r}), Path({str(lin)!r})\n"
        "told = {'GIT_DIR': os.environ['GIT_DIR']}\n"
        f"{WAYS[way]}\n"
        f"Path({str(answer)!r}).write_text(json.dumps(told))\n"
    )
    hook = mine.folder / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    export = f"export GIT_WORK_TREE={mine.linked}\n" if both else ""
    hook.write_text(f"#!/bin/sh\n{export}cd {tmp_path}\nPYTHONPATH={ROOT} exec {sys.executable} {script}\n")
    hook.chmod(0o755)
    before = mine.state()
    run_git(mine.linked, "commit", "-q", "--allow-empty", "-m", "runs the hook")
    run_git(mine.linked, "update-ref", "HEAD", "HEAD~1")
    assert mine.state() == before
    told = json.loads(answer.read_text())
    assert told["GIT_DIR"] == str(mine.folder / ".git" / "worktrees" / "linked")
    one = run_git(lin, "rev-parse", "v6.1")
    expected = {
        "tree": ("212", f"tree lin, commit {one[:12]}", f"tree lin, commit {run_git(lin, 'rev-parse', 'v6.2')[:12]}"),
        "bisect": ("1", "lin 1", one),
        "mutants": ("2", ["Kbuild", "Makefile"], None),
    }
    assert (told["built"], told["where"], told.get("described")) == expected[way]
    assert run_git(lin, "status", "--porcelain") == ""
    assert run_git(lin, "symbolic-ref", "HEAD") == "refs/heads/master"


@pytest.mark.parametrize("words", [("clean", "-fdx"), ("reset", "--hard"), ("checkout", "v6.1"), ("bisect", "reset")])
@pytest.mark.parametrize("kind", ["a user's", "a linked one", "one whose mark was copied into its files"])
def test_what_we_did_not_make_is_not_changed(words: tuple[str, ...], kind: str, mine: Mine) -> None:
    if kind == "one whose mark was copied into its files":
        (mine.folder / git.MARK).write_text("")
    place = git.Repository.at(mine.linked if kind == "a linked one" else mine.folder)
    before = mine.state()
    with pytest.raises(InfrastructureError, match="sealmatrix did not make this repository"):
        place.git(*words)
    with pytest.raises(InfrastructureError, match="sealmatrix did not make this repository"):
        git.Repository.ours(mine.folder).check_out("v6.1")
    assert mine.state() == before


def test_what_we_made_is_ours_and_runs_no_hooks(lin: Path, tmp_path: Path) -> None:
    made = git.Repository.create(tmp_path / "made", "sha1")
    assert made.is_ours
    hook = made.folder / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    made.borrow(lin / ".git" / "objects")
    made.check_out(run_git(lin, "rev-parse", "v6.1"))
    (tmp_path / "made" / "left").write_text("by a build\n")
    made.do("clean", "--quiet", "-fdx")
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [".git", "Kbuild", "Makefile"]
    assert git.Repository.ours(tmp_path / "made").is_ours
    assert not (tmp_path / "ran").exists()
    with pytest.raises(OSError, match="Directory not empty"):
        git.Repository.create(lin, "sha1")


def test_a_folder_inside_a_repository_is_none(lin: Path) -> None:
    (lin / "inside").mkdir()
    with pytest.raises(UsageError, match="not a git repository"):
        git.Repository.at(lin / "inside")


def test_settings_of_the_environment_do_not_reach_git(mine: Mine, lin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.worktree")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(mine.folder))
    monkeypatch.setenv("GIT_INDEX_FILE", str(mine.folder / ".git" / "index"))
    assert git.Repository.at(lin).text("ls-files") == "Kbuild\nMakefile"


def git_calls(source: str) -> Iterator[int]:
    """Lines where a list or tuple of words begins with git: a command line."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.List(elts=[ast.Constant(value="git"), *_]) | ast.Tuple(elts=[ast.Constant(value="git"), _, *_]):
                yield node.lineno


def test_no_other_module_calls_git() -> None:
    # A table of programs that are looked for (name, package) is no call; none has more than two words.
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / "harness").rglob("*.py"))
        for line in git_calls(path.read_text())
    ]
    assert [place.partition(":")[0] for place in found] == ["harness/processes/git.py"], found
