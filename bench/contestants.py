"""Ways to bring one kernel up, each measured alike: bare, cold, warm and on a root through sealmatrix, and virtme-ng's
own command."""

from __future__ import annotations

import importlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.matrix import emulator
from harness.errors import BootFailed, ImageError, KernelUnavailable
from harness.guests import devices
from harness.guests.accel import emulator as qemu_of
from harness.guests.initramfs import initramfs
from harness.guests.model import Guest
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
from harness.matrix.model import CellSpec, InVirtme, Profile
from harness.model.architectures import host_arch
from harness.payload.build import Payload
from harness.payload.compiler import compile_static
from harness.runs.guest_factory import guest_maker
from harness.runs.model import Cell

SCALE = 4.0  # for deadlines: a machine that is measured may be busy
_VNG_SECONDS = 120  # a guest of its that panics early hangs for ever


@dataclass(frozen=True)
class Sample:
    """One go. ``stages`` in seconds of wall time, ``cpu_stages`` in QEMU's; ``start`` is cold, warm or ""."""

    wall: float
    cpu: float
    peak_mb: float
    start: str = ""
    stages: Mapping[str, float] = field(default_factory=dict)
    cpu_stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Course:
    """What all contestants run: a kernel on a profile, and the probes of those that run a payload."""

    spec: CellSpec
    kernel: Kernel
    payload: Payload
    probes: Sequence[str]


class NotHere(Exception):
    """A contestant that cannot take part on this machine, and why."""


Contestant = Callable[[Course, Path], Sample]
"""Has a folder of its own to write to."""


def bare(course: Course, folder: Path) -> Sample:
    """The kernel, one processor, memory, nothing else: no console, no channel, no disk; PID 1 ends it at once."""
    archive = folder / "off.cpio"
    source = Path(__file__).with_name("off.c")
    archive.write_bytes(initramfs(compile_static([source], course.spec.arch, "off").read_bytes()))
    profile = replace(course.spec.profile, swap=0, hugepages=0)
    program = qemu_of(course.spec.arch)
    machine = devices.Machine(course.kernel, profile, "tcg", program, archive, folder / "none")
    argv = [
        str(program), *devices.bare(), *devices.board(machine), *devices.memory(profile), *devices.boot(machine),
    ]  # fmt: skip
    sample, status = timed(argv, folder / "said")
    if status:
        raise NotHere(f"QEMU exited with {status}")
    return sample


def cold(course: Course, folder: Path) -> Sample:
    """A cell of a run with --fresh."""
    return _cell(course, QemuGuest(course.kernel, course.spec.profile, folder, Wishes("tcg", scale=SCALE)))


def warm(course: Course, folder: Path) -> Sample:
    """A cell of a run whose guest was saved; the first one boots and saves it."""
    return _cell(course, QemuGuest(course.kernel, course.spec.profile, folder, Wishes("tcg", scale=SCALE, fresh=False)))


def virtme(course: Course, folder: Path) -> Sample:
    """A cell of a run whose profile has a root: our QEMU and boot parameters, virtme-ng's init."""
    profile = Profile("virtme", memory=course.spec.profile.memory, guest=InVirtme({}))
    cell = Cell("virtme", course.spec.arch, profile, course.kernel)
    try:
        return _cell(course, guest_maker(Wishes("tcg", scale=SCALE))(cell, folder))
    except (BootFailed, ImageError) as problem:  # a kernel, or a machine, that cannot have a root this way
        raise NotHere(str(problem).partition(";")[0]) from problem


def vng(course: Course, folder: Path) -> Sample:
    """virtme-ng as its user types it: its command, its QEMU and its defaults, the same image, payload and probes; also
    the same processors and memory, for with its own default, all cores, it takes much longer under emulation.

    Where the kernel's package was unpacked, with the few modules a root takes (as plain ``.ko``, for its initial RAM
    file system reads no others). Told to leave KVM alone, which it takes whenever the device opens.
    """
    payload = folder / "payload-c"
    payload.write_bytes(course.payload.path.read_bytes())
    payload.chmod(0o755)
    words = [str(payload), *(word for glob in course.probes for word in ("--run", glob))]
    sample, seen = in_vng(course.kernel, course.spec, folder, words)
    if '"type":"end"' not in seen:
        raise NotHere(f"the payload did not end: {(seen.splitlines() or ['no output'])[-1][:200]}")
    return sample


def in_vng(kernel: Kernel, spec: CellSpec, folder: Path, words: Sequence[str]) -> tuple[Sample, str]:
    """Run a command of this machine in a guest of virtme-ng's; also what it printed."""
    if spec.arch != host_arch():
        raise NotHere(f"without a root for {spec.arch} it runs this machine's architecture only")
    image, command = _unpacked(kernel, folder), Path(sys.executable).with_name("vng")
    # In a script: the command is a part of the kernel's command line, which has room for 2048 bytes.
    # And its answers come back through a directory: where a kernel has virtio's console as a module only, and the root
    # no udev to load it, the command prints nothing and exits with 255, whatever ran.
    answers = folder / "answers"
    answers.mkdir()
    script = folder / "command.sh"
    script.write_text(f"#!/bin/sh\nexec {shlex.join(words)} >{answers}/said\n")
    script.chmod(0o755)
    argv = ["timeout", "--kill-after=5", str(_VNG_SECONDS), str(command), "--run", str(image), "--disable-kvm"]
    argv += ["--cpus", str(spec.profile.smp), "--memory", f"{spec.profile.memory}M"]
    argv += [f"--rwdir={answers}", "--", str(script)]
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"  # it calls its other half by name
    sample, status = timed(argv, folder / "said", {**os.environ, "PATH": path})
    if not (answers / "said").exists():
        last = ((folder / "said").read_text(errors="replace").splitlines() or ["no output"])[-1]
        raise NotHere(f"nothing was run; vng exited with {status}: {last[:200]}")
    return sample, (answers / "said").read_text()


def timed(
    argv: Sequence[str], said: Path, environment: Mapping[str, str] | None = None, where: Path | None = None
) -> tuple[Sample, int]:
    """Run a command with its output in a file: what it and all it waited for took, and its exit status."""
    with said.open("wb") as out:
        begun = time.monotonic()
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=where
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6), process.returncode


def _unpacked(kernel: Kernel, folder: Path) -> Path:
    """Lay a kernel out as its package does, and return its image."""
    virtme_modules = importlib.import_module("harness.guests.virtme").root_modules
    image = folder / "boot" / f"vmlinuz-{kernel.release}"
    modules = folder / "lib" / "modules" / kernel.release / "kernel"
    image.parent.mkdir()
    modules.mkdir(parents=True)
    shutil.copyfile(kernel.image, image)
    try:
        for name, content in (*virtme_modules(kernel), *kernel.modules(("overlay",))):
            (modules / name).write_bytes(content)
    except (ImageError, KernelUnavailable) as problem:
        raise NotHere(str(problem).partition(";")[0]) from problem
    try:
        subprocess.run(["depmod", "-a", "-b", str(folder), kernel.release], stderr=subprocess.DEVNULL, check=True)
    except FileNotFoundError:
        raise NotHere("depmod is not installed (Debian: kmod)") from None
    return image


CONTESTANTS: Mapping[str, Contestant] = {"bare": bare, "cold": cold, "warm": warm, "virtme": virtme, "vng": vng}


def _cell(course: Course, guest: Guest) -> Sample:
    """Boot, push, run and stop, as a cell does; what reads and judges the stream costs no guest time."""
    stages: dict[str, float] = {}
    cpu: dict[str, float] = {}
    content = course.payload.path.read_bytes()
    with ExitStack() as stack:
        stack.callback(guest.stop)
        begun = last = time.monotonic()
        peak = 0.0

        def passed(stage: str) -> None:
            nonlocal last, peak
            stages[stage], last = time.monotonic() - last, time.monotonic()
            pid = getattr(guest, "pid", None)
            seen = emulator(pid) if pid else None
            if seen:
                cpu[stage] = seen.cpu_seconds - sum(cpu.values())
                peak = seen.peak_mb

        booted = guest.boot()
        passed("ready")
        path = guest.push("payload-c", content)
        passed("push")
        for _ in guest.run([path, "--kmsg", *(word for glob in course.probes for word in ("--run", glob))]):
            pass
        passed("suite")
        guest.stop()
        passed("stop")
    return Sample(last - begun, sum(cpu.values()), peak, booted.start, stages, cpu)
