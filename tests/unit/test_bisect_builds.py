"""Bisections over builds with kernels that do not exist: what is asked, what is kept, what is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.bisect import session as sessions
from harness.bisect.bisection import bisect_builds
from harness.bisect.candidates import BisectBuild, BisectBuilds, between
from harness.bisect.driver import BisectProgress
from harness.bisect.outcome import BisectResult, lines, log_lines, regzbot, to_json
from harness.bisect.predicate import SeenRule
from harness.bisect.prepare import NoDifference, Prepared, prepare
from harness.bisect.session import BisectOptions, Session
from harness.bisect.trial_log import ATTEMPTS
from harness.errors import InfrastructureError, Interrupted, KernelUnavailable, StoreError, UsageError
from harness.kernels.model import Kernel
from harness.matrix.load import load_matrix, shipped_path
from harness.matrix.model import STANDARD_PROFILE
from tests.bisect_fakes import BAD, GOOD, LOST, SKIP, FakeAsk, kernel, question

MATRIX = load_matrix(shipped_path())
VERSIONS = [f"6.{minor}.{patch}-1" for minor in range(12, 18) for patch in (3, 9)]


def choice(name: str, image: str = "") -> BisectBuild:
    return BisectBuild(name, name.partition("-")[0], f"{name}-cloud", "trixie", lambda: kernel(name, image))


def task(**changes: object) -> BisectOptions:
    return replace(BisectOptions("builds", "munmap-blocked", "x86_64", "oldest", "newest", jobs=1), **changes)  # type: ignore[arg-type]


def prepared(builds: list[BisectBuild], **changes: object) -> Prepared:
    asked = task(builds=tuple(b.name for b in builds), **changes)
    return Prepared(asked, question(), MATRIX, STANDARD_PROFILE, tuple(builds))


BUILDS = [choice(name) for name in VERSIONS]


def broken_since(first: str, order: list[str] = VERSIONS) -> Callable[[str], SeenRule]:
    return lambda name: BAD if order.index(name) >= order.index(first) else GOOD


def test_the_first_bad_build(tmp_path: Path) -> None:
    ask, heard = FakeAsk(broken_since("6.15.9-1")), list[BisectProgress]()
    with sessions.begin(tmp_path, task()) as session:
        outcome, book = bisect_builds(prepared(BUILDS), session, ask, heard.append)
    assert (outcome.state, outcome.last, outcome.first) == ("found", "6.15.3-1", "6.15.9-1")
    assert len(ask.booted) == 2 + 4 + 2  # 12 builds: two ends, four steps, two to check
    assert ask.booted[-2:] == ["6.15.3-1", "6.15.9-1"]
    assert regzbot(outcome, fixed=False) == "#regzbot introduced: v6.15.3..v6.15.9"
    said = lines(outcome, book, task())
    assert said[1:3] == ["first bad build: 6.15.9-1", "last good build:  6.15.3-1"]
    log = (session.folder / "bisect.log").read_text().splitlines()
    assert "bad 6.15.9-1" in log
    assert "good 6.15.3-1" in log
    assert log[-1].startswith("# first bad build: [6.15.9-1] fail bypass: succeeded")
    assert log.index("sealmatrix bisect start --good oldest --bad newest --rule munmap-blocked --arch x86_64") == 3
    assert [event.left for event in heard if event.trial][:3] == [4, 4, 3]
    json.dumps(to_json(outcome, book, task()))


def test_two_kernels_of_one_version_are_told_by_their_names() -> None:
    """A kernel of one's own may have the version of the stock one before it."""
    found = BisectResult("builds", "found", "6.12.117-1", "bzImage", 3, versions=("6.12.117", "6.12.117"))
    assert regzbot(found, fixed=False) == "#regzbot introduced: 6.12.117-1..bzImage"


def test_the_answer_says_what_failed_by_cause(tmp_path: Path) -> None:
    sentence = "munmap no longer looks at the seal: every region and span (1 rule, 40 probes)"
    bad = replace(BAD, causes=(sentence,))
    ask = FakeAsk(lambda name: bad if name >= "6.15" else GOOD)
    with sessions.begin(tmp_path, task()) as session:
        outcome, book = bisect_builds(prepared(BUILDS), session, ask, lambda heard: None)
    assert f"what failed: {sentence}" in lines(outcome, book, task())
    assert to_json(outcome, book, task())["first"]["causes"] == [sentence]
    assert sessions.read_trials(session.folder)[-1].seen == bad


def test_the_first_good_build(tmp_path: Path) -> None:
    ask = FakeAsk(lambda name: GOOD if name >= "6.14.3-1" else BAD)
    with sessions.begin(tmp_path, task(fixed=True)) as session:
        outcome, book = bisect_builds(prepared(BUILDS, fixed=True), session, ask, lambda _: None)
    assert (outcome.last, outcome.first) == ("6.13.9-1", "6.14.3-1")
    assert "first good build: 6.14.3-1" in lines(outcome, book, task(fixed=True))
    assert regzbot(outcome, fixed=True).startswith("#regzbot fix:")


def test_going_on_after_an_interruption(tmp_path: Path) -> None:
    """However early it stops, the next sitting boots only what is left."""
    whole = FakeAsk(broken_since("6.13.9-1"))
    with sessions.begin(tmp_path / "whole", task()) as session:
        bisect_builds(prepared(BUILDS), session, whole, lambda _: None)
    for cut in range(len(whole.booted)):
        first = FakeAsk(broken_since("6.13.9-1"), stop_after=cut)
        with sessions.begin(tmp_path / str(cut), task()) as session, pytest.raises(Interrupted):
            bisect_builds(prepared(BUILDS), session, first, lambda _: None)
        if cut:
            with (session.folder / "trials.jsonl").open("a") as file:
                file.write('{"point": "cut o')  # killed while writing
        rest = FakeAsk(broken_since("6.13.9-1"))
        with sessions.resume(tmp_path / str(cut), "last") as session:
            outcome, _ = bisect_builds(prepared(BUILDS), session, rest, lambda _: None)
        assert (outcome.last, outcome.first) == ("6.13.3-1", "6.13.9-1")
        # A round that was cut is made again; nothing else is.
        assert len(first.booted) + len(rest.booted) <= len(whole.booted) + 1
        assert all(json.loads(line) for line in (session.folder / "trials.jsonl").read_text().splitlines())


def test_builds_without_an_answer_are_tried_again_and_walked_around(tmp_path: Path) -> None:
    gone = {"6.14.9-1": LOST, "6.15.3-1": SKIP}
    ask = FakeAsk(lambda name: gone.get(name) or broken_since("6.15.9-1")(name))
    with sessions.begin(tmp_path, task()) as session:
        outcome, book = bisect_builds(prepared(BUILDS), session, ask, lambda _: None)
    assert (outcome.state, outcome.last, outcome.first) == ("range", "6.14.3-1", "6.15.9-1")
    assert outcome.between == ("6.14.9-1", "6.15.3-1")
    assert outcome.exit_code == 3
    assert ask.booted.count("6.14.9-1") == ATTEMPTS  # the guest was lost
    assert ask.booted.count("6.15.3-1") == 1  # the rule does not apply: once is enough
    said = "\n".join(lines(outcome, book, task()))
    assert "one of 3; those between could not be tested" in said
    assert "never said hello" in said
    assert any(line.startswith("# no answer: [6.14.9-1]") for line in log_lines(book, task(), (), outcome))


def test_a_kernel_that_cannot_be_had(tmp_path: Path) -> None:
    def refuse() -> Kernel:
        raise KernelUnavailable("it has left the archive")

    builds = [replace(b, get=refuse) if b.name == "6.14.9-1" else b for b in BUILDS]
    ask = FakeAsk(broken_since("6.13.3-1"))
    with sessions.begin(tmp_path, task()) as session:
        outcome, _ = bisect_builds(prepared(builds), session, ask, lambda _: None)
    assert (outcome.last, outcome.first) == ("6.12.9-1", "6.13.3-1")
    assert "6.14.9-1" not in ask.booted


def test_a_full_disk_ends_the_search(tmp_path: Path) -> None:
    def refuse() -> Kernel:
        raise StoreError("no space left")

    builds = [replace(b, get=refuse) if b.name == "6.14.9-1" else b for b in BUILDS]
    with sessions.begin(tmp_path, task()) as session, pytest.raises(StoreError, match="no space left"):
        bisect_builds(prepared(builds), session, FakeAsk(broken_since("6.13.3-1")), lambda _: None)
    assert len(sessions.read_trials(session.folder)) == 2  # the ends are kept


@pytest.mark.parametrize(
    ("says", "kind", "words"),
    [
        (lambda _: GOOD, NoDifference, "--bad 6.17.9-1 is good, not bad"),
        (lambda _: BAD, NoDifference, "--good 6.12.3-1 is bad, not good"),
        (lambda n: LOST if n == "6.17.9-1" else GOOD, InfrastructureError, "--bad 6.17.9-1 gave no answer"),
        (lambda n: SKIP if n == "6.12.3-1" else BAD, InfrastructureError, "--good 6.12.3-1 gave no answer"),
    ],
)
def test_ends_that_are_not_what_was_said(
    says: Callable[[str], SeenRule], kind: type[Exception], words: str, tmp_path: Path
) -> None:
    with sessions.begin(tmp_path, task()) as session, pytest.raises(kind, match=words):
        bisect_builds(prepared(BUILDS), session, FakeAsk(says), lambda _: None)


def test_stored_answers_and_identical_kernels_are_not_booted(tmp_path: Path) -> None:
    builds = [choice(name, "same" if name in ("6.14.3-1", "6.14.9-1", "6.15.3-1") else "") for name in VERSIONS]
    ask = FakeAsk(broken_since("6.15.9-1"), stored={"6.12.3-1": GOOD, "6.17.9-1": BAD})
    with sessions.begin(tmp_path, task()) as session:
        outcome, book = bisect_builds(prepared(builds, check=False), session, ask, lambda _: None)
    assert (outcome.last, outcome.first) == ("6.15.3-1", "6.15.9-1")
    assert not {"6.12.3-1", "6.17.9-1"} & set(ask.booted)
    assert len({"6.14.3-1", "6.14.9-1", "6.15.3-1"} & set(ask.booted)) == 1
    assert "2 stored answers reused" in "\n".join(lines(outcome, book, task()))
    with sessions.begin(tmp_path, task(fresh=True)) as session:
        bisect_builds(prepared(builds, fresh=True), session, ask, lambda _: None)
    assert {"6.12.3-1", "6.17.9-1"} <= set(ask.booted)


def test_where_nothing_is_promised_good_is_what_the_good_end_does(tmp_path: Path) -> None:
    def says(name: str) -> SeenRule:
        sealed = "0" if name < "6.14.3-1" else "EIO" if name < "6.16.3-1" else "EPERM"
        return SeenRule("observed", "", "", (("munmap/anon-rw/exact", f"control 0, sealed {sealed}"),))

    asked = question("open", "open")
    ask = FakeAsk(says, asked)
    with sessions.begin(tmp_path, task()) as session:
        made = replace(prepared(BUILDS), question=asked)
        outcome, book = bisect_builds(made, session, ask, lambda _: None)
    assert (outcome.last, outcome.first) == ("6.13.9-1", "6.14.3-1")  # the first change, not the second
    assert book.why("6.14.3-1") == "munmap/anon-rw/exact: control 0, sealed EIO; on 6.12.3-1: control 0, sealed 0"


@pytest.mark.parametrize(
    ("good", "bad", "fixed", "message"),
    [
        ("6.18", "newest", False, r"--good 6.18: no such kernel here"),
        ("6.14.3", "6.14.3-1", False, r"are the same kernel: 6.14.3-1"),
        ("6.15.3", "6.13.3", False, r"the good kernel 6.15.3-1 is newer than the bad one 6.13.3-1; swap .* --fixed"),
        ("6.13.3", "6.15.3", True, r"the bad kernel 6.15.3-1 is newer than the good one"),
    ],
)
def test_bad_ends(good: str, bad: str, fixed: bool, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        between(BisectBuilds(tuple(BUILDS)), MATRIX, good, bad, fixed=fixed)


def test_ends_by_version_release_and_entry_of_the_matrix() -> None:
    def names(good: str, bad: str) -> tuple[str, str]:
        found = between(BisectBuilds(tuple(BUILDS)), MATRIX, good, bad, fixed=False)
        return found[0].name, found[-1].name

    assert names("oldest", "newest") == (VERSIONS[0], VERSIONS[-1])
    assert names("6.12", "6.14") == ("6.12.9-1", "6.14.9-1")
    assert names("6.12.3", "6.14.3-1-cloud") == ("6.12.3-1", "6.14.3-1")
    assert names("debian-6.12", "6.13.9-1") == ("6.12.9-1", "6.13.9-1")


def test_a_session_that_has_its_answer_is_not_resumed(tmp_path: Path) -> None:
    with sessions.begin(tmp_path, task()) as session:
        session.save({"text": []})
    with pytest.raises(UsageError, match="has its answer"), sessions.resume(tmp_path, "last"):
        pass
    with pytest.raises(UsageError, match="there is no bisection 'x'"):
        sessions.find(tmp_path, "x")
    (session.folder / "bisect.json").write_text("{")
    with pytest.raises(UsageError, match="cannot be read"):
        sessions.read(session.folder)


def test_a_session_is_held_by_one_process(tmp_path: Path) -> None:
    with sessions.begin(tmp_path, task()) as session:
        with pytest.raises(UsageError, match="still active"), sessions.resume(tmp_path, session.id):
            pass
        assert isinstance(session, Session)


def test_a_search_goes_on_only_with_what_it_began_with(tmp_path: Path) -> None:
    """Another payload, catalogue or matrix would answer another question."""
    path = tmp_path / "kernels.yaml"
    path.write_bytes(shipped_path().read_bytes())
    ends = {"good": "debian-6.12", "bad": "debian-7.2", "kernels": ("debian-6.12", "debian-7.2")}
    begun = prepare(task(matrix=str(path), **ends)).task
    assert prepare(begun).task == begun
    pins = {
        "payload_id": "payload",
        "payload_sha256": "payload's sha256",
        "catalogue_sha256": "catalogue",
        "matrix_sha256": "matrix",
    }
    for name, what in pins.items():
        with pytest.raises(UsageError, match=f"its {what} was 0000000000000000 and is .* start a new one"):
            prepare(replace(begun, **{name: "0" * 64}))
    path.write_text(path.read_text() + "# another one\n")
    with pytest.raises(UsageError, match="its matrix was"):
        prepare(begun)


def test_a_kernel_that_is_another_one_when_the_search_goes_on(tmp_path: Path) -> None:
    """An entry of the matrix means a newer build by now, which has not got what the older one had."""
    first = FakeAsk(broken_since("6.13.9-1"), stop_after=3)
    asked = task(kernels=("*",))
    with sessions.begin(tmp_path, asked) as session, pytest.raises(Interrupted):
        bisect_builds(prepared(BUILDS, kernels=("*",)), session, first, lambda _: None)
    changed = first.booted[2]
    assert "6.13.9-1" < changed < "6.15.9-1"
    builds = [choice(name, "new" if name == changed else "") for name in VERSIONS]
    with sessions.resume(tmp_path, "last") as session:
        rest = FakeAsk(broken_since("6.15.9-1"))
        outcome, book = bisect_builds(prepared(builds, kernels=("*",)), session, rest, lambda _: None)
    assert (outcome.state, outcome.first) == ("found", "6.15.9-1")
    assert changed in rest.booted
    assert not {VERSIONS[0], VERSIONS[-1]} & set(rest.booted)
    assert book.image(changed) == "new"
    assert any("the kernel has changed" in line for line in (session.folder / "bisect.log").read_text().splitlines())
    assert book.boots == 3 + len(rest.booted)  # what was booted is counted, whatever it counts for
    assert len(sessions.read_trials(session.folder)) == len(book.trials)


def test_a_kernel_that_becomes_another_one_is_asked_anew(tmp_path: Path) -> None:
    """Here for the last check: one answer of the old kernel and one of the new are not two of one kernel."""
    images = iter(["old", "new", "new"])
    builds = [replace(b, get=lambda n=b.name: kernel(n, next(images))) if b.name == "6.15.9-1" else b for b in BUILDS]
    ask = FakeAsk(broken_since("6.15.9-1"))
    with sessions.begin(tmp_path, task()) as session:
        outcome, book = bisect_builds(prepared(builds), session, ask, lambda _: None)
    assert (outcome.state, outcome.first) == ("found", "6.15.9-1")
    assert ask.booted.count("6.15.9-1") == 3
    assert book.tally("6.15.9-1").bad == 2
