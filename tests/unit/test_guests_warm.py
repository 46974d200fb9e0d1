"""Saved guests: what makes two machines the same, what is kept of them, and every reason not to believe one."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.guests import guests
from harness.errors import BootFailed
from harness.guests.devices import SWAP_DISKS, Machine
from harness.guests.handshake import Hello
from harness.guests.identity import Identity, identify
from harness.guests.restore import why_cold
from harness.guests.snapshots import SavedGuest, SavedGuests, facts_of, key_of
from harness.kernels.store import Store
from harness.matrix.model import Profile
from tests.support.fake_qemu_guest import booted, qemu_guest
from tests.support.machines import MACHINE

__all__ = ["qemu_guest"]  # the fixture `guest`
QEMU = Identity("9.9.9", "a" * 64)
HELLO = Hello("6.12.0", "#1", "x86_64", 4096, "console=ttyS0", ("huge pages: none",))


def facts(machine: Machine = MACHINE, initramfs: str = "b" * 64, qemu: Identity = QEMU) -> dict[str, object]:
    return facts_of(machine, initramfs, qemu)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    console = tmp_path / "console.log"
    console.write_text("Linux version\n")
    return replace(MACHINE, console=console)


def keep(guests: SavedGuests, machine: Machine, size: int = 10, **of: str) -> SavedGuest:
    found = facts(**of)  # type: ignore[arg-type]
    guests.keep(machine, found, HELLO, 1.7, write(size))
    kept = guests.find(found)
    assert kept is not None
    return kept


def write(size: int):
    return lambda descriptor: os.write(descriptor, b"s" * size)


# --- the key ---------------------------------------------------------------------------------------------------------


def test_what_is_only_a_cells_own_does_not_matter():
    other = replace(MACHINE, console=Path("/elsewhere"), channel_fd=99, monitor_fd=3)
    assert facts(other) == facts()
    assert not [word for word in facts()["argv"] if str(MACHINE.initramfs.parent) in word]


@pytest.mark.parametrize(
    "other",
    [
        facts(replace(MACHINE, kernel=replace(MACHINE.kernel, sha256="1" * 64))),
        facts(replace(MACHINE, kernel=replace(MACHINE.kernel, image=Path("/store/other")))),
        facts(replace(MACHINE, profile=Profile("standard", memory=257))),
        facts(replace(MACHINE, profile=Profile("standard", boot=("quiet",)))),
        facts(replace(MACHINE, profile=Profile("standard", cpu={"x86_64": "qemu64"}))),
        facts(replace(MACHINE, acceleration="kvm")),
        facts(initramfs="c" * 64),
        facts(qemu=replace(QEMU, sha256="c" * 64)),
        facts(qemu=replace(QEMU, version="9.9.10")),
    ],
)
def test_whatever_else_differs_is_another_guest(other):
    assert key_of(other) != key_of(facts())


@pytest.mark.parametrize(
    ("machine", "fresh", "reason"),
    [
        (MACHINE, True, "fresh"),
        (replace(MACHINE, acceleration="kvm"), False, "only emulated"),
        (replace(MACHINE, profile=Profile("p", swap=64), swap_disk=SWAP_DISKS[1]), False, "'nvme'"),
        (replace(MACHINE, profile=Profile("p", swap=64), swap_disk=SWAP_DISKS[0]), False, ""),
        (replace(MACHINE, swap_disk=SWAP_DISKS[1]), False, ""),
    ],
)
def test_what_may_be_restored(machine, fresh, reason):
    why = why_cold(machine, fresh=fresh)
    assert reason in why
    assert bool(why) is bool(reason)


# --- the store -------------------------------------------------------------------------------------------------------


def test_a_guest_is_kept_whole_and_found_again(tmp_path, machine):
    guests = SavedGuests(Store(tmp_path))
    assert guests.find(facts()) is None
    kept = keep(guests, machine)
    assert guests.find(facts()) == kept
    assert (kept.hello, kept.size, kept.boot_seconds) == (HELLO, 10, 1.7)
    assert kept.undamaged()
    assert kept.console.read_text() == "Linux version\n"
    assert guests.all() == [kept]
    assert guests.clear() == 1
    assert guests.all() == []


def test_a_save_that_fails_leaves_nothing(tmp_path, machine):
    guests = SavedGuests(Store(tmp_path))

    def fail(_descriptor: int) -> None:
        raise BootFailed("QEMU died")

    with pytest.raises(BootFailed):
        guests.keep(machine, facts(), HELLO, 1.7, fail)
    assert guests.all() == []
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize("name", ["state", "guest.json", "console.log"])
def test_a_guest_that_is_not_whole_is_not_there(tmp_path, machine, name):
    guests = SavedGuests(Store(tmp_path))
    kept = keep(guests, machine)
    (kept.folder / name).unlink()
    assert guests.find(facts()) is None
    assert keep(guests, machine)  # it makes way for a whole one


def test_a_state_that_was_changed_is_damaged(tmp_path, machine):
    kept = keep(SavedGuests(Store(tmp_path)), machine)
    kept.state.write_bytes(b"t" * 10)
    assert not kept.undamaged()


def test_a_record_of_other_facts_is_not_believed(tmp_path, machine):
    guests = SavedGuests(Store(tmp_path))
    kept = keep(guests, machine)
    record = json.loads((kept.folder / "guest.json").read_text())
    record["facts"]["initramfs"] = "other"
    (kept.folder / "guest.json").write_text(json.dumps(record))
    assert guests.find(facts()) is None


def test_what_was_used_longest_ago_makes_room(tmp_path, machine):
    guests = SavedGuests(Store(tmp_path), limit=20_000)
    digests = ("1" * 64, "2" * 64, "3" * 64)
    for age, digest in enumerate(digests[:2]):
        kept = keep(guests, machine, 8000, initramfs=digest)
        os.utime(kept.folder, (1000 + age, 1000 + age))
    assert guests.find(facts(initramfs=digests[0]))  # used: now the newer one
    keep(guests, machine, 8000, initramfs=digests[2])
    assert [guests.find(facts(initramfs=digest)) is not None for digest in digests] == [True, False, True]


# --- a QEMU's identity ------------------------------------------------------------------------------------------------


def test_a_qemu_is_asked_once_for_each_file(tmp_path):
    program = tmp_path / "qemu"
    program.write_text(f"#!/bin/sh\necho asked >>{tmp_path}/asked\necho QEMU emulator version 1.2.3\n")
    program.chmod(0o755)
    first = identify(program, tmp_path / "cache")
    assert (first.version, len(first.sha256)) == ("1.2.3", 64)
    assert identify(program, tmp_path / "cache") == first
    assert (tmp_path / "asked").read_text() == "asked\n"
    program.write_text("#!/bin/sh\necho QEMU emulator version 1.2.4\n")
    assert identify(program, tmp_path / "cache").sha256 != first.sha256


# --- restoring, with a stand-in for QEMU ------------------------------------------------------------------------------


def test_the_second_guest_is_restored(guest):
    first = guest("ok", fresh=False).boot()
    assert (first.start, first.start_reason) == ("cold", "no saved guest for this machine")
    assert first.saved_guest
    one = guest("ok", fresh=False)
    second = one.boot()
    assert (second.start, second.saved_guest) == ("warm", first.saved_guest)
    assert (second.release, second.cmdline) == (first.release, first.cmdline)
    assert "-incoming" in second.argv
    assert one.push("payload", b"\x7fELF") == "/work/payload"
    one.stop()
    said = one.console.read_text().splitlines()
    assert "Linux version 6.12.0" in said[0]
    assert said[1].startswith(f"sealmatrix: restored from saved guest {first.saved_guest}")


def test_a_fresh_guest_is_neither_restored_nor_saved(guest):
    for _ in range(2):
        told = guest("ok").boot()
        assert (told.start, told.start_reason, told.saved_guest) == ("cold", "a fresh boot was asked for", "")


@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        ("forgets-name", "it did not confirm its new name"),
        ("other-release", "it reports other properties"),
        ("swapped", "something is swapped out"),
        ("rude-later", "'done' instead of 'hello'"),
        ("dies-restored", "QEMU exited with status 1: qemu: Unknown ramblock"),
    ],
)
def test_a_guest_in_doubt_is_thrown_away_and_booted(guest, fake, reason):
    first = guest(fake, fresh=False).boot()
    second = guest(fake, fresh=False).boot()
    assert second.start == "cold"
    assert f"saved guest {first.saved_guest} was discarded" in second.start_reason
    assert reason in second.start_reason
    assert second.saved_guest  # and saved anew


def test_a_damaged_state_is_thrown_away(guest, tmp_path):
    first = guest("ok", fresh=False).boot()
    state = tmp_path / "cache" / "guests" / first.saved_guest / "state"
    state.write_bytes(state.read_bytes().replace(b"console", b"konsole"))
    second = guest("ok", fresh=False).boot()
    assert (second.start, "its state is damaged" in second.start_reason) == ("cold", True)


def test_a_console_that_was_changed_is_thrown_away(guest, tmp_path):
    """It begins the console of whatever is restored, and might hide what the kernel reported when it booted."""
    first = guest("ok", fresh=False).boot()
    console = tmp_path / "cache" / "guests" / first.saved_guest / "console.log"
    console.write_bytes(b"nothing happened\n")
    second = guest("ok", fresh=False).boot()
    assert (second.start, "its state is damaged" in second.start_reason) == ("cold", True)


def test_a_saved_guest_of_another_kernel_is_thrown_away(guest, tmp_path):
    """Another guest's state under this one's key, its digest and its words put right."""
    first = guest("ok", fresh=False).boot()
    record = tmp_path / "cache" / "guests" / first.saved_guest / "guest.json"
    said = json.loads(record.read_text())
    state = record.with_name("state")
    state.write_bytes(state.read_bytes() + b" fake=other-machine")
    said["hello"] |= {"machine": "aarch64", "cmdline": state.read_text()}
    said |= {"sha256": sha256(state.read_bytes()).hexdigest(), "size": state.stat().st_size}
    record.write_text(json.dumps(said))
    second = guest("ok", fresh=False).boot()
    assert second.start == "cold"
    assert "some is for x86_64, and the guest is aarch64" in second.start_reason


def test_a_guest_that_was_lost_is_not_used_again(guest):
    guest("noise", fresh=False).boot()
    one = guest("noise", fresh=False)
    assert one.boot().start == "warm"
    with pytest.raises(Exception, match="broke the channel's protocol"):
        list(one.run(["x"]))
    assert guest("noise", fresh=False).boot().start == "cold"


def test_a_saved_guest_is_kept_when_its_copy_is_stopped_while_it_is_being_restored(guest, tmp_path):
    """Ctrl-C in that moment used to delete it."""
    first = guest("mute-restored", fresh=False).boot()
    one = guest("mute-restored", fresh=False)
    with ThreadPoolExecutor(1) as pool:
        booting = pool.submit(one.boot)
        while one.pid is None and not booting.done():
            pass
        one.stop()
        with pytest.raises(BootFailed, match="the guest was stopped"):
            booting.result(timeout=60)
    assert [kept.key for kept in SavedGuests(Store(tmp_path / "cache")).all()] == [first.saved_guest]


def test_a_guest_that_cannot_be_saved_goes_on(guest):
    one = guest("unmigratable", fresh=False)
    told = one.boot()
    assert told.start_reason.endswith(
        "it could not be saved: QEMU refused 'migrate': State blocked by non-migratable device"
    )
    assert one.push("payload", b"\x7fELF") == "/work/payload"


def test_a_monitor_that_dies_is_a_boot_that_failed(guest):
    with pytest.raises(BootFailed, match="QEMU closed its monitor"):
        guest("monitor-dies", fresh=False).boot()


def test_nothing_is_left_of_a_guest_that_was_stopped(guest):
    one = booted(guest("ok", fresh=False))
    one.stop()
    assert one.pid is None or not Path(f"/proc/{one.pid}").exists()


# --- the commands ----------------------------------------------------------------------------------------------------


def test_saved_guests_are_listed_and_cleared(tmp_path, machine, monkeypatch):
    monkeypatch.setenv("SEALMATRIX_CACHE", str(tmp_path))
    kept = keep(SavedGuests(), machine, 2_000_000)
    shown = CliRunner().invoke(guests, ["list"]).output
    assert kept.key[:12] in shown
    assert "1 saved, 2 MB of at most" in shown
    (listed,) = json.loads(CliRunner().invoke(guests, ["list", "--json"]).output)
    assert (listed["key"], listed["arch"], listed["size"]) == (kept.key, "x86_64", 2_000_000)
    assert CliRunner().invoke(guests, ["clear"]).output == "1 removed\n"
    assert CliRunner().invoke(guests, ["list"]).output.startswith("0 saved")
