"""Bisections over the commits of small real repositories, with kernels that do not exist."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from harness.bisect import session as sessions
from harness.bisect.bisection import FinishedBisection, go
from harness.bisect.candidates import BisectBuild
from harness.bisect.driver import BisectProgress
from harness.bisect.predicate import SeenRule
from harness.bisect.prepare import NoDifference, Prepared, with_tree
from harness.bisect.repository import Checkout, KernelRepository, open_repository
from harness.bisect.session import BisectOptions
from harness.errors import BuildError, Interrupted, UsageError
from harness.kernels.model import Kernel
from harness.matrix.load import load_matrix, shipped_path
from harness.matrix.model import STANDARD_PROFILE
from tests.bisect_fakes import BAD, GOOD, LOST, FakeAsk, kernel, question
from tests.kernel_history import git

MATRIX = load_matrix(shipped_path())
MAKEFILE = "VERSION = 6\nPATCHLEVEL = 12\n"


@dataclass
class Tree:
    """A user's repository. ``names`` are its commits, oldest first, ``number`` finds a commit's place."""

    folder: Path
    names: list[str] = field(default_factory=list)

    def commit(self, subject: str, *, parents: list[str] | None = None) -> str:
        (self.folder / "mm").mkdir(exist_ok=True)
        (self.folder / "mm" / "mseal.c").write_text(f"{len(self.names)}\n")
        git(self.folder, "add", ".")
        git(self.folder, "commit", "-qm", subject)
        self.names.append(git(self.folder, "rev-parse", "HEAD"))
        return self.names[-1]

    def number(self, commit: str) -> int:
        return self.names.index(commit)


@pytest.fixture
def tree(first_tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setenv("SEALMATRIX_CACHE", str(tmp_path / "cache"))
    shutil.copytree(first_tree.folder, tmp_path / "linux")
    git(tmp_path / "linux", "update-index", "--refresh")
    return Tree(tmp_path / "linux", list(first_tree.names))


@pytest.fixture(scope="module")
def first_tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    folder = tmp_path_factory.mktemp("first") / "linux"
    folder.mkdir()
    git(folder, "init", "-q", "--initial-branch=main")
    (folder / "Makefile").write_text(MAKEFILE)
    (folder / "Kbuild").write_text("")
    made = Tree(folder)
    for number in range(14):
        made.commit(f"change {number}")
    return made


@dataclass
class FakeBuild:
    """Builds what is checked out, except ``broken``; ``images`` gives commits the same bytes."""

    tree: Tree
    broken: frozenset[int] = frozenset()
    images: Mapping[int, str] = field(default_factory=dict)
    built: list[int] = field(default_factory=list)

    def __call__(self, commit: str) -> Kernel:
        number = self.tree.number(commit)
        self.built.append(number)
        if number in self.broken:
            raise BuildError(f"mm/mseal.c:1: error: {number}")
        return kernel(commit, self.images.get(number, ""))


def task(tree: Tree, /, **changes: object) -> BisectOptions:
    plain = BisectOptions("builds", "munmap-blocked", "x86_64", tree.names[0], "HEAD", tree=str(tree.folder))
    return replace(plain, **changes)  # type: ignore[arg-type]


def prepared(tree: Tree, /, **changes: object) -> Prepared:
    plain = Prepared(task(tree, **changes), question(), MATRIX, STANDARD_PROFILE)
    return with_tree(plain)


def run(
    tree: Tree, says: Callable[[str], SeenRule], build: FakeBuild | None = None, /, **changes: object
) -> tuple[FinishedBisection, FakeAsk]:
    ask = FakeAsk(says)
    made = prepared(tree, **changes)
    with sessions.begin(tree.folder.parent / "results", made.task) as session:
        return go(made, session, ask, lambda _: None, lambda *_: build or FakeBuild(tree)), ask


def since(tree: Tree, first: int, before: SeenRule = GOOD, after: SeenRule = BAD) -> Callable[[str], SeenRule]:
    return lambda commit: after if tree.number(commit) >= first else before


def test_every_first_bad_commit_is_found(tree: Tree) -> None:
    for first in (1, 2, 6, 7, 13):
        done, ask = run(tree, since(tree, first))
        assert done.outcome.first == tree.names[first]
        assert done.outcome.last == tree.names[first - 1]
        assert (done.outcome.state, done.outcome.size) == ("found", 14)
        assert len(ask.booted) <= 4 + 2 + 2  # ceil(log2 14) + 2, and two to check


def test_the_answer(tree: Tree) -> None:
    done, _ = run(tree, since(tree, 5))
    text = done.answer["text"]
    assert text[1] == f"first bad commit: {tree.names[5][:12]}"
    assert "  change 5" in text
    assert any(line.startswith("  A U Thor <author@example.org>, ") for line in text)
    assert "  mm/mseal.c" in text
    assert f"#regzbot introduced: {tree.names[5][:12]}" in text
    (folder,) = (tree.folder.parent / "results" / "bisect").iterdir()
    log = (folder / "git-bisect.log").read_text()
    assert f"git bisect start '--no-checkout' '{tree.names[13]}' '{tree.names[0]}'" in log
    assert f"# first bad commit: [{tree.names[5]}] change 5" in log
    assert "#   fail bypass: succeeded over sealed memory" in (folder / "bisect.log").read_text()
    script = (folder / "repeat.sh").read_text()
    assert f"--good {tree.names[4]} --bad {tree.names[5]}" in script
    assert f"--tree {tree.folder}" in script
    assert os.access(folder / "repeat.sh", os.X_OK)


def test_the_first_good_commit(tree: Tree) -> None:
    done, _ = run(
        tree, since(tree, 9, before=BAD, after=GOOD), fixed=True, good="HEAD", bad=tree.names[0]
    )  # fmt: skip
    assert (done.outcome.last, done.outcome.first) == (tree.names[8], tree.names[9])
    assert f"#regzbot fix: {tree.names[9][:12]}" in done.answer["text"]


def test_commits_that_do_not_build_are_skipped(tree: Tree) -> None:
    for first, ats in ((1, (6,)), (6, (3, 6)), (7, (5,))):
        for at in ats:
            broken = frozenset({at, at + 1} - {0, 13})
            build = FakeBuild(tree, broken)
            done, _ = run(tree, since(tree, first), build)
            if {first, first - 1} & broken:
                assert done.outcome.state == "range"
                assert done.outcome.first in tree.names[first:]
                candidates = {commit.name for commit in done.outcome.candidates}
                assert tree.names[first] in candidates
                assert candidates <= {tree.names[i] for i in broken} | {done.outcome.first}
                assert tree.number(done.outcome.last) < first
            else:
                assert (done.outcome.state, done.outcome.first) == ("found", tree.names[first])
            assert all(build.built.count(number) <= 1 for number in broken)


def test_the_users_repository_is_not_touched(tree: Tree) -> None:
    (tree.folder / "untracked.txt").write_text("mine\n")

    def state() -> list[object]:
        files = sorted(p for p in tree.folder.rglob("*") if p.is_file())
        return [(p, p.stat().st_mtime_ns, p.read_bytes()) for p in files]

    before = state()
    run(tree, since(tree, 7))
    assert state() == before
    assert git(tree.folder, "worktree", "list").count("\n") == 0


def test_a_step_that_disagrees_with_itself_sends_git_back(tree: Tree) -> None:
    """Commit 4, the first bad one, hides in its first boot; the check of it finds that out."""
    boots: dict[str, int] = {}

    def says(commit: str) -> SeenRule:
        boots[commit] = boots.get(commit, 0) + 1
        hidden = tree.number(commit) in (3, 4) and boots[commit] == 1
        return GOOD if tree.number(commit) < 4 or hidden else BAD

    done, _ = run(tree, says)
    assert (done.outcome.state, done.outcome.first) == ("found", tree.names[4])
    assert "flaky: bad in" in "\n".join(done.answer["text"])


def test_identical_kernels_are_not_booted_again(tree: Tree) -> None:
    images = dict.fromkeys((6, 7, 8), "same")
    done, ask = run(tree, since(tree, 9), FakeBuild(tree, images=images))
    assert done.outcome.first == tree.names[9]
    search = [commit for commit in ask.booted if tree.number(commit) in images]
    assert len(search) <= 2  # one for the search, one for the check
    assert "identical kernels not run" in done.answer["text"][-2]


def test_going_on_after_an_interruption(tree: Tree) -> None:
    results = tree.folder.parent / "results"
    made = prepared(tree)
    whole = FakeAsk(since(tree, 6))
    with sessions.begin(results, made.task) as session:
        go(made, session, whole, lambda _: None, lambda *_: FakeBuild(tree))
    for cut in (0, 1, 3, len(whole.booted) - 1):
        first = FakeAsk(since(tree, 6), stop_after=cut)
        with sessions.begin(results / str(cut), made.task) as session, pytest.raises(Interrupted):
            go(made, session, first, lambda _: None, lambda *_: FakeBuild(tree))
        rest, build = FakeAsk(since(tree, 6)), FakeBuild(tree)
        with sessions.resume(results / str(cut), "last") as session:
            again = with_tree(replace(made, task=session.task))
            done = go(again, session, rest, lambda _: None, lambda *_, made=build: made)  # type: ignore[misc]
        assert done.outcome.first == tree.names[6]
        assert first.booted + rest.booted == whole.booted
        # What has its answer is not even built again, but for the check.
        assert len(build.built) <= len(rest.booted)


def test_a_guest_that_is_lost_is_tried_again(tree: Tree) -> None:
    lost: list[str] = []

    def says(commit: str) -> SeenRule:
        if tree.number(commit) == 7 and lost.count(commit) < 2:
            lost.append(commit)
            return LOST
        return since(tree, 7)(commit)

    done, _ = run(tree, says)
    assert done.outcome.first == tree.names[7]


def test_progress_counts_down(tree: Tree) -> None:
    heard: list[BisectProgress] = []
    made = prepared(tree)
    with sessions.begin(tree.folder.parent / "results", made.task) as session:
        go(made, session, FakeAsk(since(tree, 6)), heard.append, lambda *_: FakeBuild(tree))
    left = [event.left for event in heard if event.trial is not None]
    assert left[0] is not None
    assert left[-1] == 0
    assert any(event.seconds is not None for event in heard)
    assert any(event.doing.startswith("building ") for event in heard)


def test_a_side_branch_and_a_merge(tree: Tree) -> None:
    """The change came in on a branch: git finds it there, not the merge."""
    git(tree.folder, "checkout", "-q", "-b", "side", tree.names[4])
    for number in range(3):
        tree.commit(f"side {number}")
    git(tree.folder, "checkout", "-q", "main")
    git(tree.folder, "merge", "-q", "-s", "ours", "-m", "merge side", "side")
    tree.names.append(git(tree.folder, "rev-parse", "HEAD"))
    broken = {tree.names[15], tree.names[16], tree.names[17]}  # from the second commit of the branch on
    done, _ = run(tree, lambda commit: BAD if commit in broken else GOOD)
    assert (done.outcome.first, done.outcome.last) == (tree.names[15], tree.names[14])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"good": "nonesuch"}, r"--good nonesuch: .* has no such revision"),
        ({"good": "HEAD"}, r"--good HEAD and --bad HEAD are the same commit"),
        (
            {"good": "HEAD", "bad": "HEAD~3"},
            r"the good revision HEAD is newer than the bad one HEAD~3; swap .* --fixed",
        ),
        ({"good": "HEAD~3", "fixed": True}, r"the bad revision HEAD is newer than the good one HEAD~3"),
        ({"tree": "/nonexistent"}, r"no such folder"),
    ],
)
def test_bad_input_is_one_line(tree: Tree, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        prepared(tree, **changes)
    assert "\n" not in str(caught.value)


def test_trees_that_cannot_be_searched(tree: Tree, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    with pytest.raises(UsageError, match="not a git repository"):
        open_repository(plain)
    subprocess.run(["git", "clone", "-q", "--depth=2", f"file://{tree.folder}", str(tmp_path / "shallow")], check=True)
    with pytest.raises(UsageError, match="a shallow clone lacks commits"):
        open_repository(tmp_path / "shallow")
    (tree.folder / "mm" / "mseal.c").write_text("changed\n")
    with pytest.raises(UsageError, match=r"mm/mseal.c differ from what is committed"):
        prepared(tree)
    git(tree.folder, "checkout", "-q", "--orphan", "other")
    git(tree.folder, "rm", "-rfq", ".")
    (tree.folder / "README").write_text("no kernel\n")
    tree.commit("another history")
    with pytest.raises(UsageError, match="no common history"):
        prepared(tree)
    tree.commit("and on")
    with pytest.raises(UsageError, match=r"HEAD~1 of .* holds no kernel source"):
        prepared(tree, good="HEAD~1")


def test_no_compiler(tree: Tree, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for program in ("git", "make"):
        found = next(Path(p, program) for p in os.environ["PATH"].split(":") if Path(p, program).exists())
        (tmp_path / "bin" / program).symlink_to(found)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(UsageError, match=r"--tree .*: flex is not installed; its package is flex"):
        prepared(tree)


def test_a_bare_repository_and_another_checkout_of_it(tree: Tree, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", "--bare", str(tree.folder), str(tmp_path / "linux.git")], check=True)
    done, _ = run(tree, since(tree, 3), tree=str(tmp_path / "linux.git"))
    assert done.outcome.first == tree.names[3]
    git(tree.folder, "worktree", "add", "-q", str(tmp_path / "wt"), "HEAD")
    done, _ = run(tree, since(tree, 3), tree=str(tmp_path / "wt"))
    assert done.outcome.first == tree.names[3]


def test_ends_that_do_not_differ(tree: Tree) -> None:
    with pytest.raises(NoDifference, match=r"--bad \w{40} is good, not bad"):
        run(tree, lambda _: GOOD)


def test_the_checkout_follows_and_is_put_right(tree: Tree, tmp_path: Path) -> None:
    repository = open_repository(tree.folder)
    checkout = Checkout(tmp_path / "own", repository)
    for number in (3, 9, 2):
        checkout.prepare()
        (tmp_path / "own" / ".git" / "index.lock").touch()  # a process was killed
        checkout.prepare()
        checkout.checkout(tree.names[number])
        assert (tmp_path / "own" / "mm" / "mseal.c").read_text() == f"{number}\n"
        assert checkout.head == tree.names[number]


def test_builds_first_and_then_the_commits_between_the_neighbours(tree: Tree) -> None:
    for number, version in ((0, "6.12"), (4, "6.13"), (9, "6.14"), (13, "6.15")):
        git(tree.folder, "tag", f"v{version}", tree.names[number])
    versions = ["6.12", "6.13", "6.14", "6.15"]
    builds = tuple(BisectBuild(f"{v}-1", v, v, "sid", lambda v=v: kernel(f"{v}-1")) for v in versions)  # type: ignore[misc]
    made = prepared(tree, good="6.12-1", bad="6.15-1")
    assert made.task.over == "joined"
    made = replace(made, builds=builds)

    def says(point: str) -> SeenRule:
        return (BAD if point >= "6.14" else GOOD) if point.endswith("-1") else since(tree, 6)(point)

    with sessions.begin(tree.folder.parent / "results", made.task) as session:
        done = go(made, session, FakeAsk(says), lambda _: None, lambda *_: FakeBuild(tree))
    assert done.outcome.first == tree.names[6]
    text = "\n".join(done.answer["text"])
    assert "first bad build: 6.14-1" in text
    assert f"first bad commit: {tree.names[6][:12]}" in text
    assert done.answer["builds"]["first"]["name"] == "6.14-1"


def test_builds_whose_tags_the_tree_lacks(tree: Tree) -> None:
    builds = tuple(BisectBuild(f"{v}-1", v, v, "sid", lambda v=v: kernel(f"{v}-1")) for v in ("6.12", "6.13"))  # type: ignore[misc]
    made = replace(prepared(tree, good="6.12-1", bad="6.13-1"), builds=builds)
    with sessions.begin(tree.folder.parent / "results", made.task) as session:
        done = go(
            made, session, FakeAsk(lambda p: BAD if p == "6.13-1" else GOOD), lambda _: None, lambda *_: FakeBuild(tree)
        )
    assert "first bad build: 6.13-1" in done.answer["text"]
    assert "v6.12: " in done.answer["text"][-1]
    assert done.answer["exit_code"] == 3


def test_a_repository_is_known_by_its_objects(tree: Tree) -> None:
    one = open_repository(tree.folder)
    assert isinstance(one, KernelRepository)
    assert one.key == replace(one, format="sha1").key
    assert one.key.startswith("linux-")
