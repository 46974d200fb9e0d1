"""What a SUITE may be: names, programs, C files, scripts, folders, tars and files of suites."""

from __future__ import annotations

import io
import tarfile
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from harness.errors import ConfigError, UsageError
from harness.model.architectures import host_arch
from harness.rules.load import load_catalogue
from harness.suites.agree import agreements, load_promises, says
from harness.suites.definition import SuiteAsked
from harness.suites.gather import SuiteWords, gather, meant_suites
from harness.suites.judge import judge_suites
from harness.suites.load import SHIPPED, load_suites
from harness.suites.model import Chunk
from harness.suites.records import ProgramRun

ELF = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"\x02\0\x3e\0\x01\0\0\0" + b"\0" * 40
NOWHERE = SuiteWords(suites=("kselftest-msael",))


def work(word: str, **more: tuple[str, ...]):  # type: ignore[no-untyped-def]
    (spec,) = meant_suites(SuiteWords(suites=(word,), **more))
    return gather(spec, "x86_64", lambda text: None, seconds=9.0, user_space=False)


def program(path: Path, content: bytes = ELF) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return path


def test_the_shipped_suites_read() -> None:
    suites = load_suites(SHIPPED)
    assert {"kselftest-mseal", "kselftest-mseal-6.12", "kselftest-mm", "ltp-mseal"} <= suites.keys()
    assert all(known.reason and known.source for suite in suites.values() for known in suite.known)


def test_a_word_that_names_nothing_is_one_line() -> None:
    with pytest.raises(UsageError, match=r"neither a file nor a suite .* \(did you mean 'kselftest-mseal'\?\)"):
        meant_suites(NOWHERE)
    with pytest.raises(UsageError, match="write NAME=VALUE"):
        meant_suites(SuiteWords(suites=("kselftest-mseal",), environment=("word",)))
    with pytest.raises(UsageError, match="two suites are called kselftest-mseal"):
        meant_suites(SuiteWords(suites=("kselftest-mseal", "kselftest-mseal")))


def test_a_program_with_arguments_files_and_environment(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("x")
    made = work(
        str(program(tmp_path / "My_Test")),
        arguments=("-v",),
        files=(str(tmp_path / "words.txt"),),
        environment=("A=b",),
    )
    assert (made.name, made.programs[0].name, made.programs[0].argv) == ("my-test", "", ("./My_Test", "-v"))
    assert [(file.path, file.mode) for file in made.files] == [("My_Test", 0o755), ("words.txt", 0o644)]
    assert (made.environment, made.seconds) == (("A=b",), 9.0)


def test_the_digest_changes_with_what_the_answers_depend_on(tmp_path: Path) -> None:
    word = str(program(tmp_path / "t"))
    digests = {work(word).sha256, work(word, arguments=("-v",)).sha256, work(word, environment=("A=b",)).sha256}
    program(tmp_path / "t", ELF + b"x")
    assert len({*digests, work(word).sha256}) == 4


def test_a_folder_and_a_tar_are_their_programs_and_all_their_files(tmp_path: Path) -> None:
    folder = tmp_path / "suite"
    program(folder / "b")
    program(folder / "a.sh", b"#!/bin/sh\nexit 0\n")
    program(folder / "data" / "helper")
    (folder / "words").write_text("x")
    with tarfile.open(tmp_path / "suite.tar", "w") as tar:
        tar.add(folder, ".")
    for word in (folder, tmp_path / "suite.tar"):
        made = work(str(word))
        assert [(one.name, one.argv) for one in made.programs] == [("a-sh", ("./a.sh",)), ("b", ("./b",))]
        assert sorted(file.path for file in made.files) == ["a.sh", "b", "data/helper", "words"]
        assert made.needs_shell
    (folder / "a.sh").chmod(0o644)
    (folder / "b").chmod(0o644)
    with pytest.raises(UsageError, match="no file there is executable"):
        work(str(folder))


def test_a_tar_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        member = tarfile.TarInfo("../up")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(UsageError, match="leads out of the folder"):
        work(str(tmp_path / "bad.tar"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"#!/usr/bin/python3\n", "needs /usr/bin/python3, and a guest has only /bin/sh"),
        (b"text\n", "neither a program nor a script"),
        (ELF.replace(b"\x3e\0", b"\xb7\0"), "is for arm64, the guest is x86_64"),
    ],
)
def test_what_a_guest_cannot_run_is_told_before_it_boots(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        work(str(program(tmp_path / "t", content)))


@pytest.mark.skipif(host_arch() != "x86_64", reason="the libraries of this machine are of another architecture")
def test_a_dynamic_program_takes_this_machines_libraries_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = work("/bin/ls")
    assert made.programs[0].argv[1:3] == ("--library-path", "sealmatrix-libraries")
    assert any("libc.so" in file.path for file in made.files)
    monkeypatch.setenv("SEALMATRIX_SYSROOT", "/nowhere")
    with pytest.raises(UsageError, match="which /nowhere does not have; link it with -static"):
        work("/bin/ls")


def test_a_file_of_suites(tmp_path: Path) -> None:
    program(tmp_path / "x86_64" / "t")
    file = tmp_path / "suites.yaml"
    file.write_text(
        "suites:\n  mine:\n    title: a\n    path: ./{arch}/t\n    known:\n"
        "      - {tests: [a], until: '6.13', reason: r, source: s}\n  other:\n    title: b\n    path: ./x86_64/t\n"
    )
    assert [spec.name for spec in meant_suites(SuiteWords(suites=(str(file),)))] == ["mine", "other"]
    (spec,) = meant_suites(SuiteWords(suites=(f"{file}:mine",)))
    assert (spec.known[0].where.until, spec.known[0].probes) == ((6, 13, 0), ("a",))
    assert work(f"{file}:mine").programs[0].argv == ("./t",)
    with pytest.raises(UsageError, match="has no suite 'nine'"):
        meant_suites(SuiteWords(suites=(f"{file}:nine",)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "suites:\n  mine:\n    title: a\n    pth: b\n",
            r":4: suites.mine: unknown key 'pth' .*'path'",
        ),
        ("suites:\n  mine:\n    title: a\n", r":2: suites.mine: needs either path or linux"),
        ("suites: {}\n", "suites: "),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_suites(tmp_path / "s.yaml")


def test_ltp_is_looked_for_where_a_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SEALMATRIX_LTP", raising=False)
    with pytest.raises(UsageError, match="looked for in the folder that SEALMATRIX_LTP names; set it"):
        work("ltp-mseal")
    program(tmp_path / "x86_64" / "mseal01")
    monkeypatch.setenv("SEALMATRIX_LTP", str(tmp_path))
    assert work("ltp-mseal").programs[0].argv == ("./mseal01",)


# --- agreement --------------------------------------------------------------------------------------------------------


def test_the_map_names_rules_that_there_are_and_tests_of_shipped_suites() -> None:
    rules, suites = load_catalogue(), load_suites(SHIPPED)
    for promise in load_promises():
        assert set(promise.rules) <= rules.keys()
        assert all(any(fnmatchcase(name, test.partition("/")[0]) for name in suites) for test in promise.tests)


def test_a_disagreement_is_seen_and_silence_is_none() -> None:
    def theirs(line: bytes):  # type: ignore[no-untyped-def]
        run = {
            "kselftest-mseal": ProgramRun("kselftest-mseal", [Chunk(0, "out", b"1..1\n" + line)], ended=True, status=0)
        }
        return judge_suites([SuiteAsked("kselftest-mseal", "t", ("",))], run, None, "", ())

    ours = list(judge_suites([SuiteAsked("x", "t", ("",))], {}, None, "", ()))
    assert agreements(load_promises(), [*ours, *theirs(b"ok 1 zero-length\n")]) == ()
    assert says(theirs(b"ok 1 a\n")) == "kept"
    assert says(theirs(b"not ok 1 a\n")) == "broken"
    assert says(theirs(b"ok 1 a # SKIP\n")[1:]) == "nothing"
