"""What doctor finds, and the list of tools that doctor, scripts/setup and the Dockerfile share."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli.checks import (
    Tool,
    ToolCheck,
    find_tool,
    has_apt,
    install_line,
    python_check,
    read_tools,
    store_check,
    tool_checks,
)
from harness.kernels.store import Store
from harness.model.architectures import ARCHITECTURES

ROOT = Path(__file__).parents[2]
QEMU = Tool(
    "program",
    "qemu-system-x86_64",
    "run",
    "boots x86_64 guests",
    "qemu-system-x86",
    ("q-fedora", "q-arch", "-", "q-alpine"),
)


def test_the_shipped_table_names_every_emulator_with_its_package() -> None:
    packages = {tool.name: tool.package for tool in read_tools()}
    for facts in ARCHITECTURES.values():
        assert packages[facts.emulator] == facts.package


def test_setup_and_dockerfile_read_the_table_instead_of_repeating_it() -> None:
    texts = [(ROOT / name).read_text() for name in ("scripts/setup", "Dockerfile")]
    assert all("harness/cli/tools.tsv" in text for text in texts)
    ambiguous = {"python3", "apt", "dpkg", "gcc", "file", "make"}  # these words mean other things, too
    named = {tool.package for tool in read_tools()} - ambiguous
    assert [package for text in texts for package in named if package in text] == []


@pytest.mark.parametrize(
    "row",
    [
        "program\tqemu",
        "gadget\ta\trun\tc\td\tf\tr\to\tl",
        "program a run c d f r o l",
        "program\ta\tfun\tc\td\tf\tr\to\tl",
        "program\ta\trun\tc\td\tf\tr\to",
        "program\ta\trun\tc\td\tf\tr\to\tl\tm",
    ],
)
def test_a_broken_row_is_refused(row: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_tools(row)


def test_an_absent_program_is_wrong_and_names_its_package() -> None:
    (check,) = tool_checks([QEMU], lambda tool: None, apt=True)
    assert (check.status, check.package) == ("wrong", "qemu-system-x86")
    assert "boots x86_64 guests" in check.found


def test_without_apt_the_package_is_named_as_other_systems_name_it() -> None:
    """One line of apt-get would be no help; what does without it is said."""
    apt = Tool("program", "apt-get", "fetch", "fetches kernels", "apt", ("apt", "apt", "-", "-"))
    database = Tool("file", "/nowhere", "build", "is Debian's alone", "postgresql", ("-", "-", "-", "-"))
    qemu, fetch, none = tool_checks([QEMU, apt, database], lambda tool: None, apt=False)
    assert (qemu.status, qemu.package) == ("wrong", "")
    assert qemu.remedy == "install its package: Fedora q-fedora, Arch q-arch, Alpine q-alpine"
    assert "run --host, run --ssh and your own images or trees do not need it" in fetch.found
    assert fetch.remedy == "install its package: Fedora apt, Arch apt"
    assert none.remedy == "install its package: none is known"
    assert install_line([qemu, fetch, none]) == ""


def test_apt_is_had_where_it_has_installed_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fedora and Arch have it as a program like any other."""
    (tmp_path / "apt-get").write_text("#!/bin/sh\n")
    (tmp_path / "apt-get").chmod(0o755)
    status = tmp_path / "status"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not has_apt(status)
    status.write_text("")
    assert not has_apt(status)
    status.write_text("Package: apt\n")
    assert has_apt(status)
    monkeypatch.setenv("PATH", "/nowhere")
    assert not has_apt(status)


def test_what_only_builds_kernels_is_a_note_and_what_only_tests_need_is_left_out() -> None:
    flex = Tool("program", "flex", "build", "generates scanners", "flex")
    cpio = Tool("program", "cpio", "test", "reads our initramfs", "cpio")
    (check,) = tool_checks([flex, cpio], lambda tool: None, apt=True)
    assert (check.status, check.package) == ("note", "")  # nothing the default matrix has to wait for
    assert "apt-get install flex" in check.remedy


def test_headers_are_asked_of_the_compiler() -> None:
    header = Tool("header", "no/such/header.h", "build", "is included", "libnone-dev")
    assert find_tool(header) is None


def test_a_present_program_is_told_with_its_version_and_modules_are_left_to_setup() -> None:
    module = Tool("module", "ensurepip", "run", "makes the environment", "python3-venv")
    assert list(tool_checks([QEMU, module], lambda tool: "7.2")) == [ToolCheck("qemu-system-x86_64", "ok", "7.2")]


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
    checks = [ToolCheck("a", "wrong", "", "zed"), ToolCheck("b", "wrong", "", "alpha"), ToolCheck("c", "ok", "", "")]
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert install_line(checks) == "sudo apt-get install alpha zed"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert install_line([*checks, checks[0]]) == "apt-get install alpha zed"
    assert install_line(checks[2:]) == ""
