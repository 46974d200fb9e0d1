"""What doctor finds, and the list of tools that doctor, scripts/setup and the Dockerfile share."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli.checks import (
    Check,
    Tool,
    find_tool,
    install_line,
    python_check,
    read_tools,
    store_check,
    tool_checks,
)
from harness.kernels.store import Store
from harness.model.architectures import ARCHITECTURES

ROOT = Path(__file__).parents[2]
QEMU = Tool("program", "qemu-system-x86_64", "qemu-system-x86", "run", "boots x86_64 guests")


def test_the_shipped_table_names_every_emulator_with_its_package() -> None:
    packages = {tool.name: tool.package for tool in read_tools()}
    for facts in ARCHITECTURES.values():
        assert packages[facts.emulator] == facts.package


def test_setup_and_dockerfile_read_the_table_instead_of_repeating_it() -> None:
    texts = [(ROOT / name).read_text() for name in ("scripts/setup", "Dockerfile")]
    assert all("harness/cli/tools.tsv" in text for text in texts)
    named = {tool.package for tool in read_tools()} - {
        "python3",
        "apt",
        "dpkg",
        "gcc",
        "file",
    }  # mean other things, too
    assert [package for text in texts for package in named if package in text] == []


@pytest.mark.parametrize(
    "row",
    ["program\tqemu", "gadget\ta\tb\trun\tc", "program a b run c", "program\ta\tb\tfun\tc", "program\ta\tb\trun\tc\td"],
)
def test_a_broken_row_is_refused(row: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_tools(row)


def test_an_absent_program_is_wrong_and_names_its_package() -> None:
    (check,) = tool_checks([QEMU], lambda tool: None)
    assert (check.status, check.package) == ("wrong", "qemu-system-x86")
    assert "boots x86_64 guests" in check.found


def test_what_only_builds_kernels_is_a_note_and_what_only_tests_need_is_left_out() -> None:
    flex = Tool("program", "flex", "flex", "build", "generates scanners")
    cpio = Tool("program", "cpio", "cpio", "test", "reads our initramfs")
    (check,) = tool_checks([flex, cpio], lambda tool: None)
    assert (check.status, check.package) == ("note", "")  # nothing the default matrix has to wait for
    assert "apt-get install flex" in check.remedy


def test_headers_are_asked_of_the_compiler() -> None:
    header = Tool("header", "no/such/header.h", "libnone-dev", "build", "is included")
    assert find_tool(header) is None


def test_a_present_program_is_told_with_its_version_and_modules_are_left_to_setup() -> None:
    module = Tool("module", "ensurepip", "python3-venv", "run", "makes the environment")
    assert list(tool_checks([QEMU, module], lambda tool: "7.2")) == [Check("qemu-system-x86_64", "ok", "7.2")]


def test_absent_python_packages_are_named_and_extras_do_not_count() -> None:
    check = python_check(["click>=8", "no-such-thing<2", 'nor-this>1; extra == "dev"'])
    assert check.status == "wrong"
    assert check.found.endswith("lacks no-such-thing")


def test_a_store_that_cannot_be_written_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check = store_check(Store(tmp_path / "file" / "store"))
    assert check.status == "wrong"


def test_a_small_disk_is_a_note(tmp_path: Path) -> None:
    assert store_check(Store(tmp_path), needed=1).status == "ok"
    assert store_check(Store(tmp_path), needed=1 << 62).status == "note"


def test_one_line_installs_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [Check("a", "wrong", "", "zed"), Check("b", "wrong", "", "alpha"), Check("c", "ok", "", "")]
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert install_line(checks) == "sudo apt-get install alpha zed"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert install_line([*checks, checks[0]]) == "apt-get install alpha zed"
    assert install_line(checks[2:]) == ""
