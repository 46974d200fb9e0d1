"""Kernels with their own assertions, sanitizers and coverage. They are built once, by whoever wants them: what is not
kept is skipped here, with the command that builds it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.main import cli
from harness.kernels.lock import Lock
from harness.kernels.resolve import resolve
from harness.kernels.store import Store
from harness.matrix.load import load_matrix, shipped_path
from harness.model.architectures import Arch

pytestmark = pytest.mark.kernels

PROBES = ("munmap/anon-rw/*", "mprotect-none/anon-rw/*", "mremap-move/anon-rw/*", "mseal/anon-rw/*")


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> object:
    """Skip unless a kernel is kept: nothing is fetched or built."""
    monkeypatch.setattr("harness.kernels.debian_tree.check_tools", _not_kept)

    def kept(name: str, arch: Arch) -> None:
        spec = load_matrix(shipped_path()).kernels[name]
        found = resolve([(spec, arch)], store=Store(), lock=Lock(Path("none")), offline=True).kernels[name, arch]
        if isinstance(found, Exception):
            pytest.skip(f"{name} is not built ({found}): sealmatrix kernels fetch {name} -a {arch}")

    return kept


def _not_kept(_arch: Arch) -> None:
    from harness.errors import KernelUnavailable  # noqa: PLC0415

    raise KernelUnavailable("it is not kept")


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
@pytest.mark.parametrize("name", ["own-7.3-debug", "own-7.3-kasan", "own-6.12-debug", "own-6.12-kasan"])
def test_a_kernel_that_asserts_is_clean(name: str, arch: Arch, kept, tmp_path: Path) -> None:
    kept(name, arch)
    probes = [word for probe in PROBES for word in ("-r", probe)]
    words = ["run", name, "-a", arch, *probes, "--against", "none", "--offline", "-q", "--results", str(tmp_path)]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output


def test_a_kernel_with_kmemleak_looks_for_what_it_has_lost(kept, tmp_path: Path) -> None:
    kept("own-7.3-kmemleak", "x86_64")
    words = ["run", "own-7.3-kmemleak", "-a", "x86_64", "-r", "mseal/anon-rw/*", "--against", "none", "--offline"]
    done = CliRunner().invoke(cli, [*words, "-q", "--results", str(tmp_path)])
    assert done.exit_code == 0, done.output
    (record,) = tmp_path.glob("*/run.json")
    (cell,) = json.loads(record.read_text())["cells"]
    assert cell["seconds"]["leaks"] > 6  # two searches, and what is younger than six seconds is not named


def test_what_probes_reach_is_measured(kept, tmp_path: Path) -> None:
    kept("own-7.3-kcov", "x86_64")
    probes = [word for probe in PROBES for word in ("-r", probe)]
    done = CliRunner().invoke(
        cli, ["coverage", "-a", "x86_64", *probes, "--offline", "--json", "--results", str(tmp_path)]
    )
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    functions = {one["function"]: one for one in told["functions"]}
    assert "munmap-blocked" in functions["vms_gather_munmap_vmas"]["rules"]
    assert "munmap-blocked" not in functions["mprotect_fixup"]["rules"] or functions["mprotect_fixup"]["run"]
    assert functions["range_contains_unmapped"]["run"]
    assert functions["mlock_fixup"]["run"] == []  # no probe of these locks anything
    assert 0 < told["totals"]["lines_run"] < told["totals"]["lines"]
    page = next(tmp_path.glob("*/coverage.html")).read_text()
    assert "SYSCALL_DEFINE3(mseal" in page
