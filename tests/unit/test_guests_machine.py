"""The machine as arguments, its deadlines, its acceleration: everything about QEMU that needs no QEMU."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import BootFailed, ImageError, KernelUnavailable, ToolMissing
from harness.guests.accel import HostFacts, KvmMemory, choices, emulator_version, find_tool, host_facts
from harness.guests.deadlines import deadlines
from harness.guests.devices import SWAP_DISKS, argv
from harness.guests.pid1 import channel_modules, make_archive, swap_disk
from harness.guests.restore import why_cold
from harness.matrix.model import Profile
from harness.model.architectures import ARCHES, ARCHITECTURES, QUICK
from tests.support.machines import KERNEL, MACHINE


def value(words: tuple[str, ...], name: str) -> str:
    return words[words.index(name) + 1]


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("acceleration", ["tcg", "kvm"])
def test_nothing_is_there_that_was_not_asked_for(arch, acceleration):
    words = argv(replace(MACHINE, kernel=replace(KERNEL, arch=arch), acceleration=acceleration))
    assert {"-nodefaults", "-no-user-config", "-no-reboot"} <= set(words)
    assert value(words, "-nic") == "none"
    assert value(words, "-display") == "none"
    assert value(words, "-sandbox").startswith("on,")
    assert value(words, "-accel").startswith(acceleration)
    assert value(words, "-cpu") == ARCHITECTURES[arch].cpu[acceleration]
    assert not [word for word in words if word in ("-netdev", "-drive", "-usb", "-vga", "-monitor")]
    assert all(word for word in words)


@pytest.mark.parametrize("arch", ARCHES)
def test_a_counted_machine_counts_and_nothing_in_it_is_left_to_chance(arch):
    counted = Profile("counted", memory=512, counted=True)
    words = argv(replace(MACHINE, kernel=replace(KERNEL, arch=arch), profile=counted))
    assert value(words, "-icount") == "shift=0,sleep=off"
    assert "thread=single" in value(words, "-accel")
    assert {"nokaslr", "norandmaps"} <= set(value(words, "-append").split())
    assert not set(QUICK) & set(value(words, "-append").split())
    uncounted = argv(replace(MACHINE, kernel=replace(KERNEL, arch=arch)))
    assert "-icount" not in uncounted
    assert set(QUICK) <= set(value(uncounted, "-append").split())


def test_a_counted_machine_is_always_booted():
    machine = replace(MACHINE, profile=Profile("counted", counted=True))
    assert "counts instructions" in why_cold(machine, fresh=False)
    assert why_cold(MACHINE, fresh=False) == ""


def test_a_profile_is_honoured():
    profile = Profile("wide", smp=2, memory=512, cpu={"x86_64": "Skylake-Server"}, boot=("hugepages=8", "panic=5"))
    words = argv(replace(MACHINE, profile=profile))
    assert (value(words, "-smp"), value(words, "-m"), value(words, "-cpu")) == ("2", "512M", "Skylake-Server")
    assert value(words, "-append").endswith("hugepages=8 panic=5")
    assert not [word for word in words if word in ("-numa", "-object", "-drive")]


def test_a_profile_may_ask_more_of_the_board():
    tags = Profile("tags", board={"arm64": "mte=on"})
    assert (
        value(argv(replace(MACHINE, kernel=replace(KERNEL, arch="arm64"), profile=tags)), "-machine") == "virt,mte=on"
    )
    assert "mte" not in value(argv(replace(MACHINE, profile=tags)), "-machine")


def test_nodes_share_memory_and_processors():
    words = argv(replace(MACHINE, profile=Profile("wide", smp=3, memory=513, numa=2)))
    assert [words[i + 1] for i, word in enumerate(words) if word == "-numa"] == [
        "node,nodeid=0,memdev=node0,cpus=0,cpus=2",
        "node,nodeid=1,memdev=node1,cpus=1",
    ]
    sizes = [words[i + 1].rpartition("=")[2] for i, word in enumerate(words) if word == "-object"]
    assert (sizes, value(words, "-m"), value(words, "-smp")) == (["257M", "256M"], "513M", "3,sockets=3")


def test_swap_and_huge_pages_are_asked_of_pid_1():
    rich = Profile("rich", swap=64, hugepages=8, boot=("quiet",))
    for disk in SWAP_DISKS:
        words = argv(replace(MACHINE, profile=rich, swap_disk=disk))
        assert "file.size=67108864" in value(words, "-drive")
        assert disk.device in words
        assert value(words, "-append").endswith(f"sealmatrix.hugepages=8 sealmatrix.swap={disk.name} quiet")


def test_a_saved_guest_comes_in_place_of_a_kernel():
    words = argv(replace(MACHINE, incoming_fd=9))
    assert value(words, "-incoming") == "fd:9"
    assert not {"-kernel", "-initrd", "-append", "-mon"} & set(words)
    assert {"chardev=monitor,mode=control", "socket,id=monitor,fd=8"} <= set(argv(replace(MACHINE, monitor_fd=8)))
    assert replace(MACHINE, monitor_fd=8, incoming_fd=9).inherited == (7, 8, 9)


@pytest.mark.parametrize("arch", ARCHES)
def test_boot_parameters_keep_away_from_memory(arch):
    """What we add must not change what we measure."""
    ours = [parameter.partition("=")[0] for parameter in (*ARCHITECTURES[arch].boot, *QUICK)]
    assert set(ours) <= {
        "console", "earlyprintk", "earlycon", "panic", "oops", "nokaslr", "cryptomgr.notests", "initcall_blacklist",
        "loglevel", "no_timer_check", "rcupdate.rcu_expedited",
    }  # fmt: skip


def test_a_busy_host_is_no_broken_timer():
    """Where the guest stood still while it waited for interrupts, it panicked at its boot."""
    assert "no_timer_check" in value(argv(MACHINE), "-append").split()


def test_a_comma_in_a_path_is_no_new_option():
    words = argv(replace(MACHINE, console=Path("/r/a,b/c.log")))
    assert "file,id=console,append=on,path=/r/a,,b/c.log" in words


def test_the_channel_is_an_inherited_descriptor():
    words = argv(replace(MACHINE, channel_fd=42))
    assert "socket,id=channel,fd=42" in words
    assert "virtserialport,chardev=channel,name=org.sealmatrix.channel" in words


# --- modules ---------------------------------------------------------------------------------------------------------


def packed(names: tuple[str, ...]) -> tuple[tuple[str, bytes], ...]:
    return tuple((f"{name}.ko", name.encode()) for name in names)


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"VIRTIO_PCI": "y", "VIRTIO_CONSOLE": "y"}, []),
        ({"VIRTIO_PCI": "y", "VIRTIO_CONSOLE": "m"}, ["virtio_console.ko"]),
        ({"VIRTIO_PCI": "m", "VIRTIO_CONSOLE": "m"}, ["virtio_pci.ko", "virtio_console.ko"]),
        ({}, ["virtio_pci.ko", "virtio_console.ko"]),
    ],
)
def test_the_modules_a_channel_needs(config, names):
    kernel = replace(KERNEL, config=config, modules=packed)
    assert [name for name, _ in channel_modules(kernel)] == names


def unavailable(_names: tuple[str, ...]) -> tuple[tuple[str, bytes], ...]:
    raise KernelUnavailable("no modules")


def test_modules_that_cannot_be_had():
    """Without a configuration they may be built in; with one that says 'm' there is no guest."""
    assert channel_modules(replace(KERNEL, config={}, modules=unavailable)) == ()
    with pytest.raises(KernelUnavailable):
        channel_modules(replace(KERNEL, config={"VIRTIO_PCI": "y", "VIRTIO_CONSOLE": "m"}, modules=unavailable))


def test_a_kernel_that_cannot_have_a_channel():
    with pytest.raises(ImageError, match="without CONFIG_VIRTIO_CONSOLE"):
        channel_modules(replace(KERNEL, config={"VIRTIO_PCI": "y"}))


@pytest.mark.parametrize(
    ("config", "device", "names", "otherwise"),
    [
        ({"VIRTIO_BLK": "m", "BLK_DEV_NVME": "y"}, "vda", ["virtio_blk.ko"], "nvme0n1"),
        ({"VIRTIO_BLK": "m", "BLK_DEV_NVME": "m"}, "vda", ["virtio_blk.ko"], "nvme0n1"),
        ({"VIRTIO_BLK": "y"}, "vda", [], "vda"),
        ({"BLK_DEV_NVME": "m"}, "nvme0n1", ["nvme.ko"], "nvme0n1"),
        ({"BLK_DEV_NVME": "y"}, "nvme0n1", [], "nvme0n1"),
        ({"SWAP": "y"}, "nvme0n1", [], "nvme0n1"),
        ({}, "nvme0n1", ["nvme.ko"], "nvme0n1"),
    ],
)
def test_the_disk_a_guest_swaps_to(config, device, names, otherwise):
    """The one that can be saved where it can be had; ``otherwise`` where no modules are to be had."""
    kernel = replace(KERNEL, config=config, modules=packed)
    disk, modules = swap_disk(kernel)
    assert (disk.name, [name for name, _ in modules]) == (device, names)
    disk, modules = swap_disk(replace(kernel, modules=unavailable))
    assert (disk.name, modules) == (otherwise, ())


def test_only_a_profile_with_swap_has_its_modules_packed(tmp_path):
    init = tmp_path / "init"
    init.write_bytes(b"\x7fELF")
    kernel = replace(KERNEL, config={**KERNEL.config, "VIRTIO_BLK": "m"}, modules=packed)
    assert make_archive(kernel, init, tmp_path, Profile("p", swap=64)).modules == ("virtio_blk.ko",)
    assert make_archive(kernel, init, tmp_path, Profile("p")).modules == ()


def test_an_archive_is_kept_under_its_digest(tmp_path):
    init = tmp_path / "init"
    init.write_bytes(b"\x7fELF")
    first = make_archive(KERNEL, init, tmp_path)
    assert first.path.name == f"{first.sha256}.cpio"
    assert make_archive(KERNEL, init, tmp_path) == first
    first.path.write_bytes(b"cut")
    assert make_archive(KERNEL, init, tmp_path).path.stat().st_size > 100


# --- deadlines -------------------------------------------------------------------------------------------------------


def test_deadlines_grow_with_what_makes_guests_slow():
    native = deadlines("x86_64", "kvm", "x86_64")
    emulated = deadlines("x86_64", "tcg", "x86_64")
    foreign = deadlines("arm64", "tcg", "x86_64")
    assert native.boot < emulated.boot < foreign.boot
    assert native.probe < emulated.probe < foreign.probe
    assert deadlines("arm64", "tcg", "x86_64", load=2).total == 2 * foreign.total
    assert deadlines("arm64", "tcg", "x86_64", load=0.1) == foreign
    assert deadlines("arm64", "tcg", "x86_64", scale=0.5).boot == foreign.boot / 2


@pytest.mark.parametrize("acceleration", ["kvm", "tcg", "none"])
def test_silence_outlasts_the_slowest_probe(acceleration):
    """Two halves of a probe told the emulated deadline may pass before a payload speaks, wherever it runs."""
    slowest = deadlines("arm64", "tcg", "x86_64")
    assert deadlines("arm64", acceleration, "x86_64").silence > 2 * slowest.probe


@pytest.mark.parametrize("scale", [0, -1, float("nan")])
def test_a_scale_must_be_positive(scale):
    with pytest.raises(ValueError, match="positive"):
        deadlines("x86_64", "kvm", "x86_64", scale=scale)


# --- acceleration ----------------------------------------------------------------------------------------------------

USABLE = HostFacts("x86_64", "")
ABSENT = HostFacts("x86_64", "/dev/kvm does not open: Permission denied")


def test_auto_tries_kvm_first_and_keeps_tcg_in_hand():
    assert [way.acceleration for way in choices("auto", "x86_64", USABLE, None)] == ["kvm", "tcg"]


@pytest.mark.parametrize(
    ("arch", "host", "failed", "reason"),
    [
        ("x86_64", ABSENT, None, "Permission denied"),
        ("arm64", USABLE, None, "the host is x86_64, the guest arm64"),
        ("x86_64", USABLE, "no hello", "KVM failed earlier on this host: no hello"),
    ],
)
def test_auto_says_why_it_is_tcg(arch, host, failed, reason):
    (way,) = choices("auto", arch, host, failed)
    assert way.acceleration == "tcg"
    assert reason in way.reason


def test_what_was_asked_for_is_done_or_refused():
    assert [way.acceleration for way in choices("kvm", "x86_64", USABLE, "failed before")] == ["kvm"]
    assert [way.acceleration for way in choices("tcg", "x86_64", USABLE, None)] == ["tcg"]
    with pytest.raises(BootFailed, match=r"KVM was asked for, but .*Permission denied"):
        choices("kvm", "x86_64", ABSENT, None)


def test_host_facts_say_why_kvm_is_out(tmp_path):
    assert "No such file" in host_facts(tmp_path / "kvm").kvm
    usable = tmp_path / "device"
    usable.touch()
    assert host_facts(usable).kvm == ""


def test_failures_of_kvm_are_remembered_for_one_boot_of_the_host(tmp_path):
    memory = KvmMemory(tmp_path, "boot-1")
    assert memory.failure("7.2", "host") is None
    memory.remember("7.2", "host", "it hung")
    assert KvmMemory(tmp_path, "boot-1").failure("7.2", "host") == "it hung"
    assert memory.failure("7.2", "max") is None
    assert memory.failure("9.0", "host") is None
    assert KvmMemory(tmp_path, "boot-2").failure("7.2", "host") is None
    memory.forget()
    assert memory.failure("7.2", "host") is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe", b'"x"', b'{"reason":'])
def test_a_damaged_memory_is_no_memory(tmp_path, content):
    memory = KvmMemory(tmp_path, "boot-1")
    memory.remember("7.2", "host", "it hung")
    (path,) = tmp_path.glob("*.json")
    path.write_bytes(content)
    assert memory.failure("7.2", "host") is None


def test_a_memory_that_cannot_be_written_is_no_failure(tmp_path):
    (tmp_path / "file").touch()
    KvmMemory(tmp_path / "file", "boot-1").remember("7.2", "host", "it hung")


def test_a_missing_tool_names_its_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="setpriv is not installed; its package is util-linux on Debian"):
        find_tool("setpriv", "util-linux")
    (tmp_path / "setpriv").touch()  # there, but no program
    with pytest.raises(ToolMissing):
        find_tool("setpriv", "util-linux")


def test_an_emulator_that_will_not_say_its_version(tmp_path):
    program = tmp_path / "qemu"
    program.write_text("#!/bin/sh\necho 'QEMU emulator version 9.9.9 (Debian 1:9.9)'\n")
    program.chmod(stat.S_IRWXU)
    assert emulator_version(program) == "9.9.9 (Debian 1:9.9)"
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexit 1\n")
    silent.chmod(stat.S_IRWXU)
    assert emulator_version(silent) == "unknown"
    assert emulator_version(tmp_path / "absent") == "unknown"
    assert os.access(program, os.X_OK)
