"""The C payload built with sanitizers, on the running kernel: the same facts, and nothing undefined on the way."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.observations.model import Observation
from harness.payload.build import payload_sources
from tests.support.payload_here import WEATHER, facts, observe, records

FLAGS = (
    "-std=gnu11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DPLACES=0x110000000000ul",
)  # fmt: skip
# What has its range below 4 GiB, or far up, where the sanitizer has its own memory, or would lock or merge all of that;
# what has a 32-bit program inside; and a window that a function had as its stack, which is the sanitizer's afterwards.
UNFIT = (
    "program32-*", "*-vast-*", "*-32-bit/*", "mlockall-*", "munlockall/*", "after-munlockall-*", "prctl-merge-*",
    "consumer-stack-run/*", "consumer-stack-reuse/*",
)  # fmt: skip
ASKED = (
    "*/anon-rw/*", "*/anon-mixed/*", "*/memfd-shared-rw/*", "*/heap-rw/*", "*/stack-*/*", "*/text-rx/*", "*/uffd-*/*",
    "uffd-*", "fork-*", "thread-*", "system-*", "page-zero-*", "*ptrace*", "race-munmap/*",
)  # fmt: skip


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The payload by the system's compiler, skipped where that has no sanitizers."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler with sanitizers here (gcc or clang)")
    folder = tmp_path_factory.mktemp("sanitized")
    small = folder / "small.c"
    small.write_text("int main(void) { return 0; }\n")
    tried = subprocess.run([compiler, *FLAGS, small, "-o", folder / "small"], capture_output=True, check=False)
    if tried.returncode or subprocess.run([folder / "small"], check=False).returncode:
        pytest.skip(f"{compiler} has no sanitizers that work here")
    built = folder / "payload"
    subprocess.run([compiler, *FLAGS, *payload_sources(), "-o", built, "-lpthread"], check=True)
    return built


def test_the_same_facts_and_nothing_undefined(sanitized: Path, tmp_path: Path) -> None:
    selected = [word for glob in ASKED for word in ("--run", glob)] + [w for g in UNFIT for w in ("--exclude", g)]
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        [sanitized, *selected], cwd=tmp_path, env=environment, capture_output=True, timeout=300, check=False
    )
    errors = done.stderr.decode("utf-8", "replace")
    assert done.returncode == 0, errors[-2000:]
    assert "runtime error" not in errors
    assert "ERROR: AddressSanitizer" not in errors
    found = {r.probe: r for r in records(done.stdout) if isinstance(r, Observation)}  # alone where it was both
    plain = observe(tmp_path, *selected).observations
    assert found.keys() == plain.keys()
    assert len(found) > 500
    for probe, seen in found.items():
        if not probe.startswith(WEATHER) and "text-rx" not in probe:  # whose pages are the program's own
            assert facts(seen) == facts(plain[probe])
