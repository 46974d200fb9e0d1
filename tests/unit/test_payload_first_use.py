"""At the first use programs are compiled, for a minute and more: whoever waits is told what, and how far it is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.errors import BuildError
from harness.guests.programs import all_made, make_programs
from harness.kernels.model import Kernel, Origin
from harness.kernels.resolve import Resolution
from harness.matrix.load import shipped_path
from harness.matrix.model import ARCHES, Arch

OF = "compiling {} for {} (once, {} of {}; the first for an architecture takes a minute)"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEALMATRIX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def written(sources: Sequence[Path], arch: Arch, flags: Sequence[str], output: Path, target: str = "") -> None:
    output.write_bytes(b"\x7fELF")


def refused(sources: Sequence[Path], arch: Arch, flags: Sequence[str], output: Path, target: str = "") -> None:
    raise BuildError("no compiler today")


def test_each_program_is_told_with_its_number_and_only_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("harness.payload.compiler._compile", written)
    caplog.set_level("INFO", "harness")
    make_programs(["x86_64"], init=False)
    make_programs(ARCHES)
    make_programs(ARCHES)
    said = [line for record in caplog.records if "program32" not in (line := record.getMessage())]  # it is in another
    assert said[0] == OF.format("payload", "x86_64", 1, 1)
    every = [(program, arch) for arch in ARCHES for program in ("init", "payload")]
    lacking = [one for one in every if one != ("payload", "x86_64")]
    assert said[2:-1] == [OF.format(*one, number, len(lacking)) for number, one in enumerate(lacking, 1)]
    assert [line[:9] for line in (said[1], said[-1])] == ["compiled ", "compiled "]


COMMANDS = [
    ["run", "-k", "debian-6.12", "-a", "x86_64"],
    ["run", "--host"],
    ["exec", "debian-6.12", "-a", "x86_64", "--", "true"],
    ["shell", "debian-6.12", "-a", "x86_64"],
    ["bisect", "--rule", "munmap-blocked", "--good", "6.12", "--bad", "7.3"],
    ["mutants", "run", "--only", "fork-drops-seal"],
    ["doctor", "--offline"],
    ["rules", "show", "munmap-blocked", "--reproducer"],
]


def called(words: Sequence[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The command, up to the compiler, in a folder of its own."""
    kernel = Kernel("k", "6.12", "x86_64", "own", tmp_path / "bzImage", "bzImage", "", Origin("file", ""))
    resolution = Resolution({("debian-6.12", arch): kernel for arch in ARCHES})
    for place in ("runs.interactive", "runs.planning.compose"):
        monkeypatch.setattr(f"harness.{place}.provide", lambda *words, **options: resolution)
    monkeypatch.setattr("harness.payload.compiler._compile", refused)
    monkeypatch.chdir(tmp_path)
    matrix = ["-f", str(shipped_path())] if words[0] in ("exec", "shell") else []
    monkeypatch.setattr(sys, "argv", ["sealmatrix", words[0], *matrix, *words[1:]])
    monkeypatch.setattr("sys.stdin", (tmp_path / "empty").open("w+"))
    with pytest.raises(SystemExit):
        main()


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_says_what_it_compiles_before_it_does(
    words: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    called(words, monkeypatch, tmp_path)
    seen = capsys.readouterr()
    assert "no compiler today" in seen.out + seen.err
    assert "sealmatrix: compiling " in seen.err.partition("no compiler today")[0]


@pytest.mark.parametrize("words", [COMMANDS[0], COMMANDS[2]], ids=" ".join)
def test_quiet_is_quiet(
    words: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    called([words[0], "-q", *words[1:]], monkeypatch, tmp_path)
    assert capsys.readouterr().err == "sealmatrix: no compiler today\n"


def test_what_a_wheel_brings_is_compiled_by_nobody(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("harness.payload.compiler._compile", written)
    shipped = [program.target for program in all_made()]
    assert len(shipped) == 2 * len(ARCHES)
    monkeypatch.setattr("harness.payload.compiler.shipped_root", lambda: cache / "payload")
    monkeypatch.setenv("SEALMATRIX_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr("harness.payload.compiler._compile", refused)
    brought = [program.target for program in all_made()]
    assert [path.read_bytes() for path in brought] == [path.read_bytes() for path in shipped]
    assert not set(brought) & set(shipped)


def test_what_a_wheel_brought_and_somebody_changed_is_compiled(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("harness.payload.compiler._compile", written)
    all_made()[0].target.write_bytes(b"changed")
    monkeypatch.setattr("harness.payload.compiler.shipped_root", lambda: cache / "payload")
    monkeypatch.setenv("SEALMATRIX_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr("harness.payload.compiler._compile", refused)
    with pytest.raises(BuildError, match="no compiler today"):
        all_made()
