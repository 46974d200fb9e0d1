"""The runner with mechanical mutants: a compiler, a kernel and a suite that are small enough to read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from harness.errors import BootFailed, BuildError, Interrupted, LostGuest
from harness.kernels.model import Kernel
from harness.kernels.tree import BuiltTree
from harness.mutants import workshop
from harness.mutants.mechanical.model import About, MechanicalMutant
from harness.mutants.mechanical.replay import Compiled, CompilerRefused, NoReplay
from harness.mutants.mechanical.reviewed import Reviewed
from harness.mutants.mechanical.table import score
from harness.mutants.model import Edit
from harness.mutants.records import Records
from harness.mutants.runner import run_mutants
from harness.mutants.suite import SuiteResult
from harness.mutants.workshop import MutationOptions, MutationProgress

FILE = "mm/mseal.c"
TEXT = "int f(void) { return 1; }\n"


def compile_text(text: str) -> bytes:
    """A compiler that sees no white space and refuses what has no end."""
    if not text.rstrip().endswith("}"):
        raise CompilerRefused("compiling mm/mseal.c: mm/mseal.c:1:2: error: expected }")
    if "full disk" in text:
        raise BuildError("compiling mm/mseal.c: fatal error: error writing to /tmp/x.s: No space left on device")
    return "".join(text.split()).encode()


def mutant(name: str, after: str, file: str = FILE) -> MechanicalMutant:
    about = About(file, "f", "sealing", "result", "return 1;", name, 1)
    return MechanicalMutant(name, "mechanical", name, (), {(7, 3): (Edit(file, "", TEXT, "put", after),)}, about=about)


@dataclass
class FakeReplay:
    """Compiles the copy's file as it stands, as the real one does."""

    tree: Path
    linked: list[str] = field(default_factory=list)
    now: bytes = b""

    def has(self, file: str) -> bool:
        return file == FILE

    def learn(self, file: str) -> None:
        assert (self.tree / file).read_text() == TEXT

    @contextmanager
    def compiled(self, file: str) -> Iterator[Compiled]:
        self.now = compile_text((self.tree / file).read_text())
        yield Compiled(sha256(self.now).hexdigest(), self.now == compile_text(TEXT))

    def link_into(self, image: Path) -> None:
        self.linked.append(image.name)
        image.write_bytes(self.now)


@dataclass
class FakeSuite:
    """Fails a rule where the kernel says so; counts who was asked."""

    name: str = "first-failure"
    digest: str = "d" * 16
    strict: bool = True
    asked: list[str] = field(default_factory=list)

    def __call__(self, kernel: Kernel, folder: Path) -> SuiteResult:
        self.asked.append(kernel.name)
        content = kernel.image.read_bytes()
        if b"return7" in content:
            raise BootFailed("no hello")
        if b"return8" in content:
            raise LostGuest("silence")
        failed = {"rule-a": "bypass"} if b"return2" in content else {}
        probes = {"rule-a": "munmap/anon-rw/exact"} if failed else {}
        return SuiteResult(failed, ("rule-a",), probes=probes, whole=not failed)

    def beside(self, unchanged: Kernel) -> None:
        pass

    def stop(self) -> None:
        pass


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    tree = tmp_path / "tree"
    (tree / "mm").mkdir(parents=True)
    (tree / "Makefile").write_text("VERSION = 7\nPATCHLEVEL = 3\n")
    (tree / "Kbuild").write_text("")
    (tree / FILE).write_text(TEXT)
    (tree / "mm/other.c").write_text(TEXT)
    (tree / "mm/vma.h").write_text(TEXT)
    made: list[str] = []
    replay = FakeReplay(tmp_path / "work" / "tree")

    def build_tree(copy: Path, arch: str, out: Path, fragments: Any, **_: Any) -> BuiltTree:
        out.mkdir(parents=True, exist_ok=True)
        content = compile_text((copy / FILE).read_text()) + compile_text((copy / "mm/vma.h").read_text())
        made.append("changed" if (copy / "mm/vma.h").read_text() != TEXT else "unchanged")
        image = out / "vmlinux"
        image.write_bytes(content)
        digest = sha256(content).hexdigest()
        return BuiltTree(image, "elf", digest, "x86_64", "7.3.4", {}, "", out / "build.log", (), 0.0)

    monkeypatch.setattr(workshop, "build_tree", build_tree)
    monkeypatch.setattr(workshop, "prepare", lambda built, out, scratch: replay)
    return {"tree": tree, "made": made, "replay": replay, "tmp": tmp_path}


def run(world: dict[str, Any], *mutants: MechanicalMutant, suite: FakeSuite | None = None) -> Records:
    tmp = world["tmp"]
    task = MutationOptions(world["tree"], "src", "x86_64", mutants, tmp / "work", tmp / "results", quick=True)
    world["heard"] = heard = []
    return run_mutants(task, suite or FakeSuite(), heard.append)


def states(records: Records) -> dict[str, str]:
    return {record.mutant: record.state for record in records.all()}


def test_one_of_each_fate_is_recorded_with_what_it_is_and_what_noticed_it(world: dict[str, Any]) -> None:
    records = run(
        world,
        mutant("killed", "int f(void) { return 2; }\n"),
        mutant("survives", "int f(void) { return 3; }\n"),
        mutant("same", "int f(void)  {  return 1; }\n"),
        mutant("again", "int f(void) {  return 3; }\n"),
        mutant("broken", "int f(void) { return\n"),
        mutant("elsewhere", "int f(void) { return 2; }\n", "mm/other.c"),
        mutant("silent", "int f(void) { return 8; }\n"),
    )
    assert states(records) == {
        "killed": "killed", "survives": "survived", "same": "identical", "again": "duplicate", "broken": "not-built",
        "elsewhere": "inapplicable", "silent": "no-answer",
    }  # fmt: skip
    killed = records.read("killed")
    assert killed is not None
    assert (killed.by, killed.probes) == ({"rule-a": "bypass"}, {"rule-a": "munmap/anon-rw/exact"})
    assert not killed.whole and killed.about["function"] == "f" and killed.object
    again = records.read("again")
    assert again is not None and again.reason == "it compiles to the same code as survives"
    assert world["replay"].linked == ["killed", "survives", "silent"]
    assert world["made"] == ["unchanged"]


def test_a_kernel_that_does_not_boot_twice_is_noticed(world: dict[str, Any]) -> None:
    suite = FakeSuite()
    records = run(world, mutant("dead", "int f(void) { return 7; }\n"), suite=suite)
    dead = records.read("dead")
    assert dead is not None and (dead.state, dead.by) == ("killed", {"boot": "does not boot"})
    assert "no hello" in dead.reason
    assert suite.asked == ["pristine", "dead", "dead"]


@dataclass
class WaitingSuite(FakeSuite):
    """Is not done with the mutant ``held`` before it is stopped."""

    held: str = "held"
    begun: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def __call__(self, kernel: Kernel, folder: Path) -> SuiteResult:
        if kernel.name != self.held:
            return super().__call__(kernel, folder)
        self.begun.set()
        assert self.ended.wait(10)
        return SuiteResult({}, (), lost="interrupted")

    def stop(self) -> None:
        self.ended.set()


def test_interrupted_it_says_what_is_kept_and_keeps_no_answer_of_a_guest_it_ended(world: dict[str, Any]) -> None:
    suite = WaitingSuite()

    def heard(told: MutationProgress) -> None:
        if (told.stage, told.subject) == ("building", "later"):
            assert suite.begun.wait(10)
            raise KeyboardInterrupt("running the suite on held")

    named = (("killed", 2), ("held", 3), ("later", 4))
    mutants = tuple(mutant(name, f"int f(void) {{ return {number}; }}\n") for name, number in named)
    folder = world["tmp"] / "results"
    task = MutationOptions(world["tree"], "src", "x86_64", mutants, world["tmp"] / "work", folder, quick=True)
    with pytest.raises(Interrupted) as told:
        run_mutants(task, suite, heard)
    said = f"interrupted while running the suite on held; 1 of 3 mutants are decided, and kept in {folder}/"
    assert str(told.value).startswith(said)
    assert str(told.value).endswith("; the same command goes on with the others")
    records = run(world, *mutants)
    assert states(records) == {"killed": "killed", "held": "survived", "later": "survived"}


def test_a_second_run_repeats_nothing_and_still_knows_what_is_the_same(world: dict[str, Any]) -> None:
    first = mutant("first", "int f(void) { return 2; }\n")
    run(world, first)
    suite = FakeSuite()
    records = run(world, first, mutant("later", "int f(void) {return 2; }\n"), suite=suite)
    assert suite.asked == []
    assert states(records) == {"first": "killed", "later": "duplicate"}
    events: list[MutationProgress] = world["heard"]
    assert [event.stage for event in events if event.record] == ["known", "done"]


def test_a_header_is_made_by_make_and_the_unchanged_objects_come_back(world: dict[str, Any]) -> None:
    records = run(
        world,
        mutant("header", "int f(void) { return 2; }\n", "mm/vma.h"),
        mutant("after", "int f(void) { return 2; }\n"),
    )
    assert states(records) == {"header": "killed", "after": "killed"}
    assert world["made"] == ["unchanged", "changed", "unchanged"]


def test_where_the_link_cannot_be_repeated_make_builds_all(
    world: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise NoReplay("the log does not show how the kernel was linked")

    monkeypatch.setattr(workshop, "prepare", refuse)
    records = run(
        world, mutant("killed", "int f(void) { return 2; }\n"), mutant("same", "int f(void)  { return 1; }\n")
    )
    assert states(records) == {"killed": "killed", "same": "identical"}
    assert world["made"] == ["unchanged"] * 3
    assert any("make builds every mutant" in event.stage for event in world["heard"])


def test_the_tree_is_as_it_was(world: dict[str, Any]) -> None:
    run(world, mutant("killed", "int f(void) { return 2; }\n"))
    assert (world["tree"] / FILE).read_text() == TEXT
    assert (world["tmp"] / "work/tree" / FILE).read_text() == TEXT


def test_a_build_that_failed_for_want_of_room_is_no_answer_and_is_tried_again(world: dict[str, Any]) -> None:
    full, header = (mutant(name, "full disk }", file) for name, file in (("full", FILE), ("header", "mm/vma.h")))
    refused = mutant("refused", "int f(void) {", "mm/vma.h")
    records = run(world, full, header, refused)
    assert states(records) == {"full": "no-answer", "header": "no-answer", "refused": "not-built"}
    assert score(list(records.all()), Reviewed()).exit_code == 3
    assert records.fate("full", records.read("full").digest) is None  # type: ignore[union-attr]


def test_where_the_unchanged_file_does_not_compile_its_mutants_have_no_answer(world: dict[str, Any]) -> None:
    def learn(file: str) -> None:
        raise BuildError(f"unchanged, it cannot be compiled by itself: {file}:1:1: error: no")

    world["replay"].learn = learn
    assert states(run(world, mutant("one", "int f(void) { return 2; }"))) == {"one": "no-answer"}
