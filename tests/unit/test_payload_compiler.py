from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.errors import BuildError, StoreError, UsageError
from harness.payload import compiler


def write(folder: Path, **files: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in files.items():
        path = folder / name.replace("_", ".")
        path.write_text(text)
        paths.append(path)
    return paths


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of our own that shares the compiler's: building musl anew for each test would take half a minute."""
    shared = compiler.cache_root() / "zig"
    shared.mkdir(parents=True, exist_ok=True)
    root = tmp_path / "cache"
    root.mkdir()
    (root / "zig").symlink_to(shared)
    monkeypatch.setattr(compiler, "cache_root", lambda: root)
    return root


class TestSourcesDigest:
    def test_depends_on_content_and_headers_beside(self, tmp_path: Path) -> None:
        sources = write(tmp_path, a_c="int a;", b_c="int b;")
        first = compiler.sources_digest(sources)
        write(tmp_path, a_h="#define A")
        second = compiler.sources_digest(sources)
        write(tmp_path, a_h="#define B")
        assert len({first, second, compiler.sources_digest(sources)}) == 3

    def test_does_not_depend_on_place_or_order(self, tmp_path: Path) -> None:
        here = write(tmp_path / "here", a_c="1", b_c="2")
        there = write(tmp_path / "there", a_c="1", b_c="2")
        assert compiler.sources_digest(here) == compiler.sources_digest(there[::-1])

    def test_bytes_cannot_move_between_files(self, tmp_path: Path) -> None:
        one = write(tmp_path / "one", a_c="12", b_c="")
        two = write(tmp_path / "two", a_c="1", b_c="2")
        assert compiler.sources_digest(one) != compiler.sources_digest(two)

    def test_missing_source_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(BuildError, match=r"gone\.c: cannot read this source: No such file"):
            compiler.sources_digest([tmp_path / "gone.c"])


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("a.c: In function\na.c:1:2: error: no\na.c:3:4: error: also no\n", "a.c:1:2: error: no"),
        ("\n\n  something odd\nmore\n", "something odd"),
        ("", "the compiler said nothing"),
        ("ld.lld: ERROR: undefined symbol: x\n", "ld.lld: ERROR: undefined symbol: x"),
    ],
)
def test_first_error(output: str, line: str) -> None:
    assert compiler.first_error(output) == line


class TestCompileStatic:
    def test_builds_once_and_publishes_whole(self, cache: Path, tmp_path: Path) -> None:
        sources = write(tmp_path / "src", main_c="int main(void) { return VALUE; }")
        built = compiler.compile_static(sources, "x86_64", "tiny", {"VALUE": "7"})
        assert built.read_bytes()[:4] == b"\x7fELF"
        assert {p.name for p in built.parent.iterdir()} == {"tiny", "tiny.sha256"}
        before = built.stat().st_mtime_ns
        assert compiler.compile_static(sources, "x86_64", "tiny", {"VALUE": "7"}) == built
        assert built.stat().st_mtime_ns == before

    def test_two_at_once_give_one_file(self, cache: Path, tmp_path: Path) -> None:
        sources = write(tmp_path / "src", main_c="int main(void) { return 0; }")
        with ThreadPoolExecutor(2) as pool:
            paths = set(pool.map(lambda _: compiler.compile_static(sources, "x86_64", "tiny"), range(2)))
        (path,) = paths
        assert {p.name for p in path.parent.iterdir()} == {"tiny", "tiny.sha256"}

    def test_defines_and_architecture_are_part_of_the_key(self, cache: Path, tmp_path: Path) -> None:
        sources = write(tmp_path / "src", main_c="int main(void) { return VALUE; }")
        paths = {
            compiler.compile_static(sources, "x86_64", "tiny", {"VALUE": "1"}),
            compiler.compile_static(sources, "x86_64", "tiny", {"VALUE": "2"}),
            compiler.compile_static(sources, "arm64", "tiny", {"VALUE": "1"}),
        }
        assert len(paths) == 3

    def test_a_program_may_have_a_32_bit_one_inside(self, cache: Path, tmp_path: Path) -> None:
        small = write(tmp_path / "small", s_c="_Noreturn void _start(void) { for (;;) ; }")
        outer = write(
            tmp_path / "src",
            main_c='__asm__(".globl it\\nit: .incbin \\"" INNER "\\"");\n'
            "extern char it[]; int main(void) { return it[4]; }",
        )
        inner = compiler.ElfTarget(tuple(small), "x86_64", "inner", small=True)
        plain = compiler.ElfTarget(tuple(outer), "x86_64", "outer")
        with_it = compiler.ElfTarget(tuple(outer), "x86_64", "outer", inside=(inner,))
        content = with_it.make().read_bytes()
        found = inner.make().read_bytes()
        assert found[:6] == b"\x7fELF\x01\x01"  # of 32 bits
        assert found in content
        assert plain.place != with_it.place

    def test_same_sources_elsewhere_give_the_same_bytes(self, cache: Path, tmp_path: Path) -> None:
        text = '#include <stdio.h>\nint main(void) { return puts("x") < 0; }'
        one = compiler.compile_static(write(tmp_path / "one", main_c=text), "x86_64", "tiny")
        content = one.read_bytes()
        one.unlink()
        two = compiler.compile_static(write(tmp_path / "somewhere" / "else", main_c=text), "x86_64", "tiny")
        assert (two, two.read_bytes()) == (one, content)

    @pytest.mark.parametrize("suffix", ["", ".sha256"])
    def test_what_was_changed_is_built_again(self, cache: Path, tmp_path: Path, suffix: str) -> None:
        sources = write(tmp_path / "src", main_c="int main(void) { return 0; }")
        built = compiler.compile_static(sources, "x86_64", "tiny")
        content = built.read_bytes()
        changed = built.with_name(built.name + suffix)
        changed.write_bytes(bytes(reversed(changed.read_bytes())))
        assert compiler.compile_static(sources, "x86_64", "tiny").read_bytes() == content

    def test_sources_that_change_while_they_are_compiled(
        self, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is kept under a digest was built from it, and from nothing else."""
        sources = write(tmp_path / "src", main_c='#include <stdio.h>\nint main(void) { return puts("one") < 0; }')
        compile_really = compiler._compile

        def edited_meanwhile(*arguments: object) -> None:
            monkeypatch.setattr(compiler, "_compile", compile_really)
            sources[0].write_text(sources[0].read_text().replace("one", "two"))
            compile_really(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(compiler, "_compile", edited_meanwhile)
        assert b"two" in compiler.compile_static(sources, "x86_64", "tiny").read_bytes()
        sources[0].write_text(sources[0].read_text().replace("two", "one"))
        assert b"one" in compiler.compile_static(sources, "x86_64", "tiny").read_bytes()

    def test_a_refusal_is_one_line_with_the_place(self, cache: Path, tmp_path: Path) -> None:
        sources = write(tmp_path / "src", main_c="int main(void)\n{ return missing; }")
        with pytest.raises(BuildError, match=r"tiny for arm64 does not compile: .*main\.c:2:\d+: error:") as caught:
            compiler.compile_static(sources, "arm64", "tiny")
        assert "\n" not in str(caught.value)
        assert not list(cache.glob("*/tiny"))

    def test_warnings_are_errors(self, cache: Path, tmp_path: Path) -> None:
        sources = write(tmp_path / "src", main_c="int main(void) { int unused; return 0; }")
        with pytest.raises(BuildError, match="unused"):
            compiler.compile_static(sources, "x86_64", "tiny")

    def test_a_cache_that_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        blocker = tmp_path / "file"
        blocker.write_text("not a folder")
        monkeypatch.setattr(compiler, "cache_root", lambda: blocker)
        sources = write(tmp_path / "src", main_c="int main(void) { return 0; }")
        with pytest.raises(StoreError, match="file"):
            compiler.compile_static(sources, "x86_64", "tiny")


def test_the_compiler_is_ours_whatever_lies_in_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """python -m looks into the current folder first: a random.py of somebody's, or a ziglang, would run."""
    for folder, text in (tmp_path / "here", "theirs"), (tmp_path / "installed", "ours"):
        (folder / "ziglang").mkdir(parents=True)
        (folder / "ziglang" / "__init__.py").touch()
        (folder / "ziglang" / "__main__.py").write_text(f"raise SystemExit('error: {text}')")
    (tmp_path / "x.c").write_text("int main(void) { return 0; }")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "installed"))
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UsageError, match="does not compile: error: ours"):
        compiler.compile_given(tmp_path / "x.c", "x86_64")
