"""kselftests of a Linux source, built statically for an architecture and kept by what they are built from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.errors import BuildError
from harness.kernels.archive import Saying
from harness.kernels.sources import debian_source
from harness.model.architectures import Arch
from harness.payload.compiler import ElfTarget
from harness.suites.load import SuiteSpec

HEAP = Path(__file__).with_name("heap.c")
SELFTESTS = Path("tools", "testing", "selftests")
# Helpers that several tests share; a test is linked with those whose header it includes.
_HELPERS = {"vm_util.h": "vm_util.c", "thp_settings.h": "thp_settings.c", "hugepage_settings.h": "hugepage_settings.c"}


def build_linux(spec: SuiteSpec, arch: Arch, say: Saying) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each program. Raises ``BuildError`` and what getting the source raises."""
    source = debian_source(spec.linux, say)
    root = source.path / SELFTESTS
    for name in spec.programs:
        path = root / name
        if not path.is_file():
            raise BuildError(f"{spec.name}: {source.where} has no {SELFTESTS / name}")
        say(f"building {path.stem} of {source.where}")
        yield path.stem, _program(root, path, arch, spec.defines).make().read_bytes()


def _program(root: Path, path: Path, arch: Arch, defines: tuple[str, ...]) -> ElfTarget:
    sources = [path, *_helpers(path), HEAP]
    headers = [header for header in (root / "kselftest.h", root / "kselftest_harness.h") if header.is_file()]
    flags = (f"-I{root}", f"-I{path.parent}", f"-I{root.parents[1] / 'include'}", "-D_GNU_SOURCE", "-lpthread")
    pairs = tuple((key, value or "1") for key, _, value in (define.partition("=") for define in defines))
    return ElfTarget((*sources, *headers), arch, path.stem, pairs, foreign=flags)


def _helpers(path: Path) -> list[Path]:
    """The sources a test needs beside its own, and what those need."""
    found: list[Path] = []
    waiting = [path]
    while waiting:
        text = waiting.pop().read_text(errors="replace")
        for header, source in _HELPERS.items():
            helper = path.parent / source
            if f'"{header}"' in text and helper.is_file() and helper not in found:
                found.append(helper)
                waiting.append(helper)
    return found
