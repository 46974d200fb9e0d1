"""Compiling one file and linking by make's own commands, without make."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.errors import BuildError
from harness.kernels.tree import BuiltTree
from harness.mutants.mechanical.replay import (
    CompilerRefused,
    NoReplay,
    Replay,
    prepare,
    refused,
    same_code,
    split_commands,
)

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("gcc -c -o a.o a.c", (("gcc", "-c", "-o", "a.o", "a.c"),)),
        (
            "gcc -DN='\"mm/mseal\"' a.c ; ./objtool --x a.o",
            (("gcc", '-DN="mm/mseal"', "a.c"), ("./objtool", "--x", "a.o")),
        ),
        ("gcc -DX=$$y '-DZ=$(pound)1' a.c;  true", (("gcc", "-DX=$y", "-DZ=#1", "a.c"),)),
        (
            "objcopy --strip='__mod__*' a b; objcopy -w b",
            (("objcopy", "--strip=__mod__*", "a", "b"), ("objcopy", "-w", "b")),
        ),
    ],
)
def test_the_commands_of_make_are_words(text: str, commands: tuple[tuple[str, ...], ...]) -> None:
    assert split_commands(text) == commands


@pytest.mark.parametrize("text", ["a | b", "a > b", "a && b", "(a)", "a < b"])
def test_what_needs_a_shell_is_left_to_make(text: str) -> None:
    with pytest.raises(NoReplay, match="needs a shell"):
        split_commands(text)


def compiled(folder: Path, code: str) -> bytes:
    (folder / "x.c").write_text(code)
    subprocess.run(["gcc", "-O2", "-c", "-o", "x.o", "x.c"], cwd=folder, check=True)
    return (folder / "x.o").read_bytes()


@needs_gcc
def test_the_same_code_is_known_by_what_is_loaded(tmp_path: Path) -> None:
    one = compiled(tmp_path, "int g(int); int f(int a) { if (a > 3) return g(a); return 0; }")
    assert same_code(one, compiled(tmp_path, "int g(int);\n\nint f(int a) { if (!(a <= 3)) return g(a); return 0; }"))
    assert not same_code(one, compiled(tmp_path, "int g(int); int f(int a) { if (a >= 3) return g(a); return 0; }"))
    # The same instructions, and another function is called.
    assert not same_code(one, compiled(tmp_path, "int h(int); int f(int a) { if (a > 3) return h(a); return 0; }"))
    # The same instructions, and another word is said.
    said = compiled(tmp_path, 'int puts(const char *); int f(void) { return puts("one"); }')
    assert not same_code(said, compiled(tmp_path, 'int puts(const char *); int f(void) { return puts("two"); }'))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A build of two files as make leaves it: objects, the commands beside them, and a log that shows the link."""
    tree, out = tmp_path / "tree", tmp_path / "out"
    (tree / "mm").mkdir(parents=True)
    (out / "mm").mkdir(parents=True)
    for name, code in {
        "one": "int one(void) { return 1; }",
        "two": "int one(void); int _start(void) { return one(); }",
    }.items():
        (tree / f"mm/{name}.c").write_text(code)
        command = f"gcc -O2 -fno-pie -c -o mm/{name}.o {tree}/mm/{name}.c"
        (out / f"mm/.{name}.o.cmd").write_text(f"savedcmd_mm/{name}.o := ccache {command}   ; true\n\nsource := x\n")
        subprocess.run(command.split(), cwd=out, check=True)
    link = "ld -o vmlinux.unstripped mm/one.o mm/two.o"
    subprocess.run(link.split(), cwd=out, check=True)
    subprocess.run(["objcopy", "-S", "vmlinux.unstripped", "vmlinux"], cwd=out, check=True)
    (out / ".vmlinux.cmd").write_text("savedcmd_vmlinux := objcopy -S vmlinux.unstripped vmlinux\n")
    (out / "build.log").write_text(f"  LD\n+ ld -r -o vmlinux.o x\n+ {link} \n+ nm vmlinux\n")
    return out


def prepared(out: Path) -> Replay:
    image = out / "vmlinux"
    built = BuiltTree(image, "elf", "", "x86_64", "7.3.0", {}, "", out / "build.log", (), 0.0)
    return prepare(built, out, out / "scratch")


@needs_gcc
def test_one_file_is_compiled_and_linked_and_all_is_as_before(out: Path, tmp_path: Path) -> None:
    replay = prepared(out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    source = tmp_path / "tree/mm/one.c"
    replay.learn("mm/one.c")
    source.write_text("int one(void) { return 2; }")
    with replay.compiled("mm/one.c") as made:
        assert not made.same
        replay.link_into(tmp_path / "image")
    assert (tmp_path / "image").read_bytes() != (out / "vmlinux").read_bytes()
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    source.write_text("int one(void)\n{ return 3 - 2; }")
    with replay.compiled("mm/one.c") as made:
        assert made.same
    assert not list(tmp_path.glob("image.*"))


@needs_gcc
def test_what_does_not_compile_leaves_the_unchanged_object(out: Path, tmp_path: Path) -> None:
    replay = prepared(out)
    before = (out / "mm/one.o").read_bytes()
    replay.learn("mm/one.c")
    (tmp_path / "tree/mm/one.c").write_text("int one(void) { return }")
    with pytest.raises(CompilerRefused, match=r"compiling mm/one\.c: .*error"), replay.compiled("mm/one.c"):
        pytest.fail("never entered")
    assert (out / "mm/one.o").read_bytes() == before
    assert replay.has("mm/one.c") and not replay.has("mm/three.c")


@needs_gcc
def test_a_link_that_gives_other_bytes_is_not_believed(out: Path) -> None:
    (out / "vmlinux").write_bytes(b"another")
    with pytest.raises(NoReplay, match="other bytes"):
        prepared(out)


@needs_gcc
@pytest.mark.parametrize("log", ["", "  LD vmlinux\n", "+ ld -r -o vmlinux.o x\n"])
def test_a_log_without_the_link_is_no_replay(out: Path, log: str) -> None:
    (out / "build.log").write_text(log)
    with pytest.raises(NoReplay, match="does not show"):
        prepared(out)


@needs_gcc
def test_an_object_of_makes_that_names_its_source_otherwise_makes_no_difference(out: Path, tmp_path: Path) -> None:
    source = tmp_path / "tree/mm/one.c"
    said = "const char *one(void) { return __FILE__; }"
    source.write_text(said)
    subprocess.run(
        ["gcc", "-O2", "-fno-pie", "-c", "-o", "mm/one.o", "../tree/mm/one.c"], cwd=out, check=True
    )  # ccache
    replay = Replay(out, (), "vmlinux", (), "vmlinux")
    replay.learn("mm/one.c")
    source.write_text(said.replace("{ return", "{  ;  return"))
    with replay.compiled("mm/one.c") as made:
        assert made.same


@needs_gcc
def test_an_unchanged_file_that_does_not_compile_is_no_fault_of_a_mutant(out: Path, tmp_path: Path) -> None:
    replay = prepared(out)
    (tmp_path / "tree/mm/one.c").write_text("int one(void) { return }")
    with pytest.raises(BuildError, match="unchanged, it cannot be compiled") as found:
        replay.learn("mm/one.c")
    assert not isinstance(found.value, CompilerRefused)


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        ("mm/one.c: In function 'f':\nmm/one.c:3:9: error: 'x' undeclared\n", True),
        ("ld: mm/one.o: in function `f':\none.c:(.text+0x1): undefined reference to `g'\n", True),
        ("mm/one.c:1: fatal error: error writing to /tmp/ccx.s: No space left on device\n", False),
        ("/tmp/ccx.s: Fatal error: can't write 12 bytes to section .text: No space left on device\n", False),
        ("gcc: fatal error: Killed signal terminated program cc1\n", False),
        ("mm/one.c:1:1: internal compiler error: Segmentation fault\n", False),
    ],
)
def test_only_what_the_compiler_says_of_the_source_is_the_mutants_fault(output: str, fault: bool) -> None:
    assert refused(output) is fault
