"""Finding what a kernel said about itself going wrong, in the text of its console. Pure.

A console is not tidy: lines carry time stamps and sometimes caller ids (``[    1.234567][   T12] BUG: …``), end
in ``\\r``, are glued together when two CPUs write at once, and hold whatever bytes a machine that is dying puts
there. And one mishap is several reports: a bad access is told by ``BUG:``, again by ``Oops:``, and with
``oops=panic`` a third time by ``Kernel panic``. This is *one* crash here, named for its cause.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.guests import lost_memory
from harness.guests.console_lines import Running, messages

CrashKind = Literal["panic", "oops", "bug", "sanitizer", "warning", "hung-task", "lockup", "oom", "leak"]

MAX_QUOTED = 20
_IN_MM = re.compile(r"^WARNING: (?:.* at )?(?:arch/\w+/)?mm/[\w./-]+:\d+")
_NAMES_FILE = re.compile(r"^WARNING: (?:.* at )?[\w./-]+\.[chS]:\d+")
_ON_MEMORY = re.compile(
    r"^\s*(?:__\w+_sys_(?:mmap|munmap|(?:pkey_)?mprotect|mremap|(?:process_)?madvise|mseal|m(?:un)?lock(?:2|all)?|brk|"
    r"msync|mincore|mbind|move_pages|remap_file_pages|shmat|shmdt)|handle_mm_fault|exit_mmap|dup_mmap)\+0x"
)
MAX_REPORTS = 50  # notes; a kernel that complains without end has said enough, but a crash is always told
_TRACE_HEAD = 8  # lines quoted after "Call Trace:"
_REPORT_LINES = 150  # a report without an end mark ends here


@dataclass(frozen=True)
class Crash:
    """One report on the console.

    ``title`` is its decisive line with the function it happened in; ``lines`` are the lines worth quoting,
    without time stamps, oldest first. ``during`` is the probe whose ``sealmatrix: begin`` mark was the last
    before it, None before the first probe and after the payload's end. ``fatal`` tells a crash from a note
    (warnings, hung tasks, stalls and memory running out: a slow or small machine can cause them).
    Where lanes run probes side by side, the process that the report names tells which of them it was; where it
    names none of ours, ``also`` has the others that ran. ``line`` is the 1-based line of the console. ``places`` are
    the frames of its stack with where they are in the source, where somebody has told (harness/runs/symbols.py).
    """

    kind: CrashKind
    title: str
    lines: tuple[str, ...]
    during: str | None
    fatal: bool
    line: int = 0
    also: tuple[str, ...] = ()
    places: tuple[str, ...] = ()

    @property
    def warns_of_memory(self) -> bool:
        """Whether it is a warning of memory management: that of an assertion in mm/, also an architecture's.

        A kernel without CONFIG_DEBUG_BUGVERBOSE does not name the file; then it is one that came up while a system
        call on memory, or the kernel's own work on an address space, was on the stack.
        """
        if self.kind != "warning" or not self.title.startswith("WARNING: "):
            return False
        if _NAMES_FILE.search(self.title):
            return _IN_MM.search(self.title) is not None
        return any(_ON_MEMORY.match(line) for line in self.lines)

    @property
    def serious(self) -> bool:
        """Whether it is more than a note: a crash, or a warning of memory management."""
        return self.fatal or self.warns_of_memory

    def is_like(self, other: Crash) -> bool:
        """Whether both tell the same of the same probe."""
        return (self.title, self.during, self.fatal) == (other.title, other.during, other.fatal)

    @property
    def suspects(self) -> tuple[str, ...]:
        """The probes it may have come from."""
        return () if self.during is None else (self.during, *self.also)


@dataclass(frozen=True)
class _Trigger:
    """How a report begins. A ``follow`` belongs to the report before it, where there is one."""

    kind: CrashKind
    pattern: re.Pattern[str]
    fatal: bool = True
    follow: bool = False


def _trigger(kind: CrashKind, pattern: str, *, fatal: bool = True, follow: bool = False) -> _Trigger:
    return _Trigger(kind, re.compile(pattern), fatal, follow)


# The first that matches at the start of a message counts. Where the words come from: kernel/panic.c, lib/bug.c,
# arch/x86/mm/fault.c, arch/x86/kernel/{dumpstack,traps}.c, arch/arm64/{kernel/traps.c,mm/fault.c},
# mm/{kasan/report.c,kfence/report.c,kmsan/report.c,memory.c,page_alloc.c,oom_kill.c}, kernel/{fork,hung_task,
# watchdog}.c, kernel/rcu/tree_stall.h, lib/ubsan.c, kernel/kcsan/report.c, kernel/locking/lockdep.c.
_CONSEQUENCE = (
    r"Kernel panic - not syncing: (?:.{0,80}Fatal exception|Fatal machine|(?:\w+: )?panic_on_warn|RCU Stall|"
    r"Attempted to kill init|softlockup: hung tasks|hung_task: blocked tasks|Hard LOCKUP|Asynchronous SError|"
    r"KASAN: |kasan\.fault|KFENCE)"
)
_LOCKUP = (
    r"(?:watchdog: )?BUG: (?:soft lockup|workqueue lockup)|"
    r"(?:NMI )?(?:watchdog: )?(?:CPU\d+: )?Watchdog detected hard LOCKUP|"
    r"(?:rcu: )?INFO: rcu_\w+ (?:self-detected stall|detected (?:expedited )?stalls?)"
)
_TRIGGERS: tuple[_Trigger, ...] = (
    _trigger("panic", _CONSEQUENCE, follow=True),
    _trigger("panic", r"Kernel panic - not syncing"),
    _trigger("sanitizer", r"BUG: K[AMC]SAN:|BUG: KFENCE:|UBSAN: "),
    _trigger("lockup", _LOCKUP, fatal=False),
    _trigger("oops", r"BUG: (?:kernel NULL pointer dereference|unable to handle)|Unable to handle kernel "),
    _trigger("bug", r"kernel BUG at "),
    _trigger("oops", r"(?:Internal error: |Oops(?::| -)|\S.*\[#\d+\](?: |$))", follow=True),
    _trigger("oops", r"(?:traps: )?PANIC: double fault|SError Interrupt on CPU"),
    _trigger("bug", r"BUG: "),
    _trigger("hung-task", r"INFO: task \S.* blocked (?:for more than|in I/O wait)", fatal=False),
    _trigger("oom", r"Out of memory: Killed process|Memory cgroup out of memory", fatal=False),
    _trigger("leak", lost_memory.BEGIN, fatal=False),
    _trigger("warning", r"WARNING: |INFO: (?:possible|suspicious|inconsistent) ", fatal=False),
)

# A lane's processes have its name (guest_payload/c/lanes.c), and a report that of the process it happened in:
# dump_stack_print_info(), mm/page_alloc.c: bad_page(), mm/kasan/report.c.
_LANE = re.compile(r"(?:Comm: |in process |by task )sealmatrix-(?P<lane>\d+)(?:/| |$)")
# A process that runs many probes is named for the one it runs, by its place in the plan (guest_payload/c/half.c).
_PLACE = re.compile(r"(?:Comm: |in process |by task )probe-(?P<place>\d+)(?:/| |$)")
_WHERE = re.compile(r"(?:RIP: 0010:|pc : |PC is at )(?P<function>[A-Za-z_][\w.]*)")
_PLACED = re.compile(r"\+0x[0-9a-f]+/0x|^Kernel panic|data-race in")  # says itself where it happened
_END = re.compile(r"---\[ end |\s*</TASK>|={20,}$")
_DECISIVE = re.compile(r"RIP: 0010:|pc : |lr : |CPU: |Hardware name: |Read of size|Write of size|page:|Comm: ")
_TRACE = re.compile(r"Call [Tt]race:")


_FRAME = re.compile(r"^(?:RIP: 0010:|pc : |\s*)(?P<function>[A-Za-z_]\w*)[\w.]*\+0x[0-9a-f]+/0x")
_REPORTERS = frozenset({"dump_stack", "dump_stack_lvl", "show_stack", "dump_backtrace", "print_report", "kasan_report"})


_NUMBERS = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,16}\b|\d+")


def plain_title(title: str) -> str:
    """A title without its numbers and addresses, which are others each time."""
    return _NUMBERS.sub("#", title)


def fingerprint(title: str, lines: Sequence[str]) -> tuple[str, ...]:
    """What tells one mishap from another on any build: the functions of a report's stack, without their offsets and
    without what compilers append to names; its title where it has no stack. Frames marked ``?`` are guesses."""
    functions = (match["function"] for line in lines if (match := _FRAME.match(line)))
    found = tuple(dict.fromkeys(name for name in functions if name not in _REPORTERS))
    return found or (plain_title(title),)


def find_crashes(text: str, planned: Sequence[str] = ()) -> tuple[Crash, ...]:
    """Return the reports on a console, oldest first: every crash, and the first ``MAX_REPORTS`` of the notes. Of what
    was lost alike there is one. ``planned`` is the payload's plan, in which marks and the names of processes count.
    Any text is valid input.
    """
    found: list[Crash] = []
    notes = 0
    for crash in _reports(text, planned):
        if crash.kind == "leak" and any(crash.is_like(other) for other in found):
            continue
        notes += not crash.fatal
        if crash.fatal or notes <= MAX_REPORTS:
            found.append(crash)
    return tuple(found)


def _reports(text: str, planned: Sequence[str]) -> Iterator[Crash]:
    """Every report on a console, oldest first."""
    report: _Report | _Leak | None = None
    running = Running(planned)
    for number, message in messages(text):
        if running.take(message):
            continue
        trigger = next((t for t in _TRIGGERS if t.pattern.match(message)), None)
        if trigger is None:
            if report is not None:
                report.add(message)
        elif isinstance(report, _Report) and report.takes(trigger, running):
            report.follow(trigger, message)
        else:
            if report is not None:
                yield report.crash()
            leak = trigger.kind == "leak"
            report = _Leak(message, number, planned) if leak else _Report(trigger, message, number, running)
    if report is not None:
        yield report.crash()


def unplaced(text: str, crashes: Sequence[Crash]) -> str:
    """Say why what a console tells cannot be put down to the probes that ran, "" when it can.

    Without a mark nothing can. A crash, or a warning of memory management, after the first mark that belongs to no
    probe came from one nevertheless, or from what one left behind; one before it is the boot's own.
    """
    marks = Running()
    first = next((number for number, message in messages(text) if marks.take(message)), None)
    if first is None:
        return "the console log has no probe marks, so its reports cannot be assigned to probes"
    if late := next((crash for crash in crashes if crash.serious and not crash.suspects and crash.line > first), None):
        how = "asked for by a process that runs several probes" if late.kind == "leak" else "when no probe ran"
        return f"{late.title}, {how}"
    return ""


class _Leak:
    """An object that kmemleak lists, in place of a report: it stands for itself."""

    def __init__(self, message: str, number: int, planned: Sequence[str]) -> None:
        self._lost, self._number, self._planned = lost_memory.LostMemory(message), number, planned

    def add(self, message: str) -> None:
        self._lost.add(message, self._planned)

    def crash(self) -> Crash:
        lost = self._lost
        lines = tuple(lost.lines[:MAX_QUOTED])
        return Crash("leak", lost.title, lines, lost.probe or None, lost.ours, self._number)


class _Report:
    """One report while its lines are read."""

    def __init__(self, trigger: _Trigger, message: str, number: int, running: Running) -> None:
        self._crash = Crash(trigger.kind, message, (message,), None, trigger.fatal, number)
        self._running = dict(running.by_lane)
        self._planned = running.planned
        self._lanes: set[int] = set()
        self._named: list[str] = []  # probes that the report names
        self._look_for_lane(message)
        self._function = ""
        self._age = self._tracing = 0
        self._ended = False
        self._dead = trigger.kind == "panic"

    def _look_for_lane(self, message: str) -> None:
        if named := _LANE.search(message):
            self._lanes.add(int(named["lane"]))
        if (named := _PLACE.search(message)) and int(named["place"]) < len(self._planned):
            self._named.append(self._planned[int(named["place"])])

    def _suspects(self) -> list[str]:
        """The probes that were named, or those of the lanes that were; otherwise all that ran when it began."""
        ran = [probe for running in self._running.values() for probe in running]
        if named := [probe for probe in dict.fromkeys(self._named) if probe in ran]:
            return named
        return [p for lane, running in self._running.items() if lane in self._lanes for p in running] or ran

    def takes(self, trigger: _Trigger, running: Running) -> bool:
        """Whether what now begins is only more of this report.

        Nothing is new after a panic. A consequence belongs to the report before it, unless that is long past; a
        crash not yet at its end takes whatever else is said, by another CPU or about the same thing.
        """
        if self._dead or trigger.kind == "leak":
            return self._dead
        now, then = set(running.probes), {probe for running in self._running.values() for probe in running}
        if trigger.follow and self._running and not now & then:
            return False  # every probe that ran when it began has ended
        if not trigger.follow and not now >= set(self._suspects()):
            return False  # no consequence, and a probe it may have come from has ended
        if running.by_lane and not self._running:
            return False
        if trigger.follow:
            return self._age <= _REPORT_LINES
        return self._crash.fatal and not self._ended

    def follow(self, trigger: _Trigger, message: str) -> None:
        """Go on with a further report of the same mishap; a warning that panics the machine is fatal."""
        self._dead = self._dead or trigger.kind == "panic"
        if trigger.fatal and not self._crash.fatal:
            self._crash = replace(self._crash, fatal=True, kind=trigger.kind)
        self._look_for_lane(message)
        self._quote(message)
        self._age, self._ended = 0, False

    def add(self, message: str) -> None:
        self._look_for_lane(message)
        self._age += 1
        self._ended = self._ended or self._age > _REPORT_LINES
        if self._ended:
            return
        if not self._function and (where := _WHERE.match(message)):
            self._function = where["function"]
        if _TRACE.match(message):
            self._tracing = _TRACE_HEAD + 1
        if self._tracing or _DECISIVE.match(message):
            self._quote(message)
        self._tracing = max(0, self._tracing - 1)
        self._ended = bool(_END.match(message))

    def _quote(self, message: str) -> None:
        if len(self._crash.lines) < MAX_QUOTED and message not in self._crash.lines:
            self._crash = replace(self._crash, lines=(*self._crash.lines, message))

    def crash(self) -> Crash:
        title = self._crash.title
        if self._function and not _PLACED.search(title):
            title = f"{title} in {self._function}"
        suspects = self._suspects()
        return replace(self._crash, title=title, during=next(iter(suspects), None), also=tuple(suspects[1:]))
