"""The C payload on the running kernel: properties of the stream and of the facts, not a judgement of this kernel."""

from __future__ import annotations

import json
import os
import platform
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from errno import EACCES, EINVAL, ENOMEM, ENOSYS, EOPNOTSUPP, EPERM
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy, lists, one_of, sampled_from

from harness.observations.model import Batch, Begin, End, Half, Observation, Plan, Record
from harness.observations.stream import parse_line
from harness.payload import ProbeInfo, build, compile_static, probe_list
from tests import seccomp
from tests.support.payload_here import ARCH, WEATHER, Stream, facts, observe, program, records, run

LARGE = ("huge", "-wide-", "-pieces-", "-vast-", "-gigabytes-")


def contents(region: str, unit: int) -> str | None:
    """What a unit of a region holds when its window is made, as a snapshot tells it; None for what is not ours."""
    match region.split("-"):
        case ["shadow", *_]:
            return "00"
        case ["anon", "untouched", *_] | ["vvar", *_] | ["uprobes", _]:
            return "."
        case ["anon", "none"] | ["anon", "guarded", _] | ["pkey", "no", "access", _]:
            return "segv"
        case ["file", _, "clean", _] | ["file", "shared", *_] | ["memfd", *_]:
            return f"{0x50 + unit:02x}"
        case ["text", _]:
            return "50"
        case ["vdso", _] | [_, "ring", *_]:
            return None
        case ["object", _]:  # headers, text, RELRO, data
            return f"{0x50 + unit:02x}" if unit % 4 < 2 else f"{0xA0 + unit:02x}"
        case ["slab", _]:  # guards between slabs
            return f"{0xA0 + unit:02x}" if unit % 2 else "segv"
        case ["stack", ("guarded" | "guard"), *_]:  # which grows down, to its guard
            return f"{0xA0 + unit:02x}" if unit else "segv"
        case _:
            return f"{0xA0 + unit:02x}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Stream:
    """Everything once; skips where the running kernel has nothing to show."""
    stream = observe(tmp_path_factory.mktemp("work"))
    if error := stream.plan.features["mseal"]:
        pytest.skip(f"the running kernel {stream.plan.release} has no mseal ({os.strerror(int(error))})")
    return stream


def test_the_plan_tells_the_mode_of_seccomp(tmp_path: Path) -> None:
    """2 where a filter may answer for the kernel, also under one that permits everything."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").split()
    own = int(status[status.index("Seccomp:") + 1])
    for before, mode in (((), own), ((sys.executable, seccomp.__file__, "0", ""), 2)):
        command = (*before, str(program()), "--run", "munmap/anon-rw/exact")
        plan = records(subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=True).stdout)[0]
        assert isinstance(plan, Plan)
        assert plan.features["seccomp"] == mode


def test_a_batch_is_told_in_one_write(whole: Stream, tmp_path: Path) -> None:
    """Each write wakes the reader, and each change of processes flushes a TLB. A socket keeps writes apart."""
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    command = [str(program()), "--run", "mprotect-*", "--run", "madvise-*"]
    with reader, writer, ThreadPoolExecutor(1) as pool:
        packets = pool.submit(lambda: list(iter(lambda: reader.recv(1 << 20), b"")))
        try:
            subprocess.run(command, cwd=tmp_path, stdout=writer, timeout=60, check=True)
        finally:
            writer.shutdown(socket.SHUT_WR)
        written = packets.result(timeout=60)
    found = [records(packet) for packet in written]  # each of whole lines
    batched = {record.probe for packet in found for record in packet if isinstance(record, Batch)}
    alone = {record.probe for packet in found for record in packet if isinstance(record, Begin)}
    assert sum(isinstance(record, Observation) for packet in found for record in packet) > 1000
    assert len(found) <= len(batched) + len(alone) + 4, "and of the plan, the end, and one of each lane"


def test_the_plan_tells_the_capabilities(tmp_path: Path) -> None:
    """What the kernel may refuse to this caller and not to another."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").split()
    plan = records(run("--run", "munmap/anon-rw/exact", cwd=tmp_path).stdout)[0]
    assert isinstance(plan, Plan)
    assert plan.features["capabilities"] == status[status.index("CapEff:") + 1]


@cache
def listed() -> dict[str, ProbeInfo]:
    return {p.id: p for p in probe_list()}


def of(whole: Stream, **parts: str) -> Iterator[tuple[ProbeInfo, Observation]]:
    """Probes whose parts are these, the ones that ran to the end."""
    found = 0
    for probe in listed().values():
        if all(getattr(probe, name) == value for name, value in parts.items()):
            seen = whole.observations[probe.id]
            if seen.control.step is None:
                found += 1
                yield probe, seen
    assert found, parts


@cache
def probe_ids() -> tuple[str, ...]:
    return tuple(probe.id for probe in probe_list() if not probe.id.startswith("selftest"))


def globs() -> SearchStrategy[str]:
    """Of one part and of three, with what stands for one byte or for any, and with a slash in brackets."""
    part = sampled_from(["*", "munmap", "m*", "*-r", "anon-?", "exact", "in*", "[ms]*", "mseal-failing-1*", "?*?"])
    whole = sampled_from(
        ["*", "munmap/*", "*/exact", "*[/]anon-r/*", "*/*/*/*", "m*anon-r*", "**/*", "munmap/anon-r/exact"]
    )
    return one_of(whole, lists(part, min_size=3, max_size=3).map("/".join))


class TestStream:
    def test_list_is_the_plan(self, whole: Stream) -> None:
        assert whole.plan.probes == tuple(listed())

    def test_plan_says_what_ran_where(self, whole: Stream) -> None:
        payload = build(ARCH[platform.machine()])
        assert (whole.plan.id, whole.plan.machine) == (payload.id, platform.machine())
        assert whole.plan.release == platform.release()
        assert whole.plan.page_size == os.sysconf("SC_PAGESIZE")
        assert whole.plan.pid1 is False

    def test_every_half_ran_to_its_end_or_says_why_not(self, whole: Stream) -> None:
        for seen in whole.observations.values():
            assert seen.layout == listed()[seen.probe].layout
            # Units of the former are large, those of the latter whole mappings.
            if not any(large in seen.probe for large in LARGE) and "system-" not in seen.probe:
                assert seen.unit == whole.plan.page_size
            assert seen.unit % whole.plan.page_size == 0
            for half in (seen.control, seen.sealed):
                assert half.signal is None, seen
                assert not half.timeout, seen
                if half.stage != "done":
                    steps = ("setup", "operation") if seen.probe.startswith("after-") else ("setup",)
                    assert half.step and half.stage in steps, seen
                    assert half.step != "tagged pointers" or half.step_errno == EOPNOTSUPP

    def test_two_runs_give_the_same_facts(self, whole: Stream, tmp_path: Path) -> None:
        again = observe(tmp_path)
        for probe, first in whole.observations.items():
            if not probe.startswith(WEATHER):
                assert facts(again.observations[probe]) == facts(first)

    def test_sealed_units_are_sealed_and_the_control_is_not(self, whole: Stream) -> None:
        for seen in whole.observations.values():
            if seen.control.stage != "done":
                continue
            for i, c in enumerate(seen.layout):
                unit = seen.sealed.units_before[i]
                assert (unit is None) == (c in "gG"), seen
                if unit:
                    assert unit.seal == ("s" if c in "sS" else "-"), seen
            runs = [run for run in "".join(c if c in "sS" else " " for c in seen.layout).split() if run]
            assert seen.sealed.seal == (0,) * len(runs)
            assert seen.control.seal == ()


class TestFacts:
    def test_windows_look_as_their_regions_say(self, whole: Stream) -> None:
        perms = {"rw": "rw-", "r": "r--", "rx": "r-x", "rwx": "rwx", "none": "---", "x": "--x"}
        mixed = {
            "object-mixed": ("r--", "r-x", "r--", "rw-") * 2,
            "slab-mixed": ("---", "rw-") * 4,
            "stack-guarded-mixed": ("---", *("rw-",) * 7),
        }
        for probe in listed().values():
            seen = whole.observations[probe.id]
            # The former has many protections, and what the latter prepares is what a touch finds.
            if seen.control.stage != "done" or probe.region == "anon-mixed" or probe.operation == "uffd-continue":
                continue
            shared = "s" if "shared" in probe.region else "p"
            for i, unit in enumerate(seen.control.units_before):
                if unit is None:
                    continue
                own = mixed[probe.region][i] if probe.region in mixed else perms[probe.region.rsplit("-", 1)[1]]
                assert unit.perms == own + shared, seen
                wanted = contents(probe.region, i)
                assert wanted is None or unit.data == wanted, seen
                if probe.region.startswith(("file", "memfd")):
                    assert unit.presence == ("a" if "copied" in probe.region else "f")

    def test_munmap_of_what_is_not_sealed_works_and_of_what_is_does_not(self, whole: Stream) -> None:
        for probe, seen in of(whole, operation="munmap"):
            assert (seen.control.result, seen.control.errno) == (0, 0), seen
            for i, c in enumerate(seen.layout):
                assert (seen.control.units_after[i] is None) == (c.isupper() or c == "g")
            if "S" in probe.layout:
                assert (seen.sealed.result, seen.sealed.errno) == (-1, EPERM), seen
                assert seen.sealed.after == seen.sealed.before
            else:
                assert seen.sealed.errno == 0

    def test_behaviour_shows_the_seal(self, whole: Stream) -> None:
        for _, seen in of(whole, operation="munmap", span="exact"):
            assert seen.sealed.mprotect == seen.sealed.munmap == (EPERM,) * 3
            assert seen.control.munmap == (0, 0, 0)

    def test_a_hole_seals_nothing(self, whole: Stream) -> None:
        for span in ("hole-start", "hole-middle", "hole-end", "unmapped"):
            for _, seen in of(whole, operation="mseal", span=span):
                for half in (seen.control, seen.sealed):
                    assert (half.result, half.errno) == (-1, ENOMEM), seen
                    assert EPERM not in half.munmap

    def test_bad_flags_are_refused_before_anything_else(self, whole: Stream) -> None:
        for operation in ("mseal-flags-1", "mseal-flags-all", "mseal-flags-empty", "mseal-flags-unaligned"):
            for _, seen in of(whole, operation=operation):
                assert seen.control.errno == EINVAL

    def test_exactly_the_pages_asked_for_are_sealed(self, whole: Stream) -> None:
        for operation in ("mseal", "mseal-less-one-byte", "mseal-one-byte-more"):
            for _, seen in of(whole, operation=operation, span="plain"):
                assert seen.control.errno == 0
                assert seen.control.munmap == (0, EPERM, EPERM, 0), seen

    def test_a_store_tells_writable_from_not(self, whole: Stream) -> None:
        for probe, seen in of(whole, operation="munmap", span="exact"):
            if "-ring-" in probe.region:
                continue  # of perf's, only the first page can be written
            if probe.region != "anon-mixed":
                writable = probe.region.endswith("-rw") and not probe.region.startswith(("pkey-no", "anon-guarded"))
                assert seen.sealed.write == ("www" if writable else "---"), seen
            else:
                assert seen.sealed.write == "w--"  # rw, r, none

    def test_addresses_do_not_depend_on_the_run(self, whole: Stream) -> None:
        moved = whole.observations["mremap-move/anon-rw/exact"].control
        assert moved.result == "destination"
        assert whole.observations["mmap-fixed-anon/anon-rw/middle"].control.result == "base+1"
        assert whole.observations["mmap-hint/anon-rw/exact"].control.result == "elsewhere"

    def test_what_replaces_the_window_is_told_from_it(self, whole: Stream) -> None:
        over = whole.observations["mmap-fixed-file/file-private-clean-r/exact"].control
        before, after = ([u.backing for u in s if u] for s in (over.units_before, over.units_after))
        assert before == ["file+0", "file+1", "file+2"]
        assert after == ["other+0", "other+1", "other+2"]

    def test_it_is_told_where_mappings_begin(self, whole: Stream) -> None:
        seen = whole.observations["mprotect-none/anon-rw/middle"]
        assert seen.control.divided == ("|..", "|||")
        assert seen.sealed.divided == ("|..", "|..")
        assert whole.observations["munmap/anon-rw/middle"].control.divided == ("|..", "|-|")
        assert whole.observations["munmap/anon-rw/beside"].sealed.divided == ("|||", "|-|")
        for seen in whole.observations.values():
            for half in (seen.control, seen.sealed):
                assert len(half.divided) == (bool(half.before) + bool(half.after)), seen
                for told, units in zip(half.divided, (half.units_before, half.units_after), strict=False):
                    assert [c == "-" for c in told] == [unit is None for unit in units], seen

    def test_the_flags_of_mappings_are_told_without_the_seal(self, whole: Stream) -> None:
        seen = whole.observations["listed-flags-dontdump/anon-r/exact"]
        for half in (seen.control, seen.sealed):
            flags = [told.split() for told in str(half.extra["flags"]).split("; ")]
            assert [("dd" in told, "sl" in told, "sd" in told) for told in flags] == [(True, False, False)] * 3
            assert flags[0][0] == "rd"
        plain = whole.observations["listed-flags/anon-r/into"].sealed
        assert "dd" not in str(plain.extra["flags"]).split()

    def test_what_was_opened_for_reading_can_never_be_written(self, whole: Stream) -> None:
        for span in ("exact", "into"):
            refused = whole.observations[f"mprotect-rw/file-shared-read-only-r/{span}"].control
            assert (refused.errno, refused.units_before) == (EACCES, refused.units_after)
            assert all(unit and unit.perms == "r--s" for unit in refused.units_before)

    def test_windows_of_other_sizes_and_mappings(self, whole: Stream) -> None:
        page = whole.plan.page_size
        assert whole.observations["munmap/anon-wide-r/exact"].unit == 12 * page
        assert whole.observations["munmap/anon-untouched-vast-r/exact"].unit == 16 << 20
        assert whole.observations["munmap/anon-untouched-gigabytes-r/exact"].unit == 1 << 30
        pieces = whole.observations["munmap/anon-pieces-r/exact"]
        assert (pieces.unit, pieces.control.divided[0]) == (12 * page, "+++"), "many mappings in each unit"
        assert whole.observations["mseal/anon-rw/enclosed"].control.munmap == (0, EPERM, EPERM, EPERM, 0)

    def test_a_huge_page_is_made_of_one_small_page_and_not_of_hundreds(self, tmp_path: Path) -> None:
        """Where the policy gives none at a fault (a guest of 256 MB), each small page would cost a fault and a copy."""
        command = [str(program()), "--trace", "munmap/anon-huge-r/exact"]
        text = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=True, text=True).stdout
        lines = [json.loads(line) for line in text.splitlines()]
        calls = [(line["call"], line["arguments"]) for line in lines if "call" in line]
        collapse = next((at for at, (call, words) in enumerate(calls) if "madvise" in call and words[2] == 25), None)
        if collapse is None:
            pytest.skip("this machine has no transparent huge pages of at most 4 MiB")
        assert [words[2] for call, words in calls[:collapse] if call == "memset"] == [8] * 3

    def test_children(self, whole: Stream) -> None:
        unmapped = whole.observations["fork-munmap/anon-rw/exact"]
        assert (unmapped.control.errno, unmapped.sealed.errno) == (0, EPERM)
        assert unmapped.control.extra == {"child_after": "-; -; -"}
        assert unmapped.control.after == unmapped.control.before
        own = whole.observations["fork-mseal/anon-rw/plain"].control
        assert (own.errno, own.extra["child_mseal"]) == (0, 0)
        shared = whole.observations["vfork-mseal/anon-rw/plain"].control
        assert (shared.errno, shared.extra["child_mseal"]) == (EPERM, 0)
        for operation in ("fork-exec", "fork-exit"):
            for _, seen in of(whole, operation=operation):
                assert (seen.control.result, seen.sealed.result) == (0, 0)

    def test_a_thread_acts_as_the_process_does(self, whole: Stream) -> None:
        for _, seen in of(whole, operation="thread-munmap", span="exact"):
            assert (seen.control.result, seen.sealed.errno) == (0, EPERM)
            assert seen.sealed.after == seen.sealed.before

    def test_a_sequence_ends_with_its_second_step(self, whole: Stream) -> None:
        for _, seen in of(whole, operation="after-munlock-munmap", span="middle"):
            assert seen.control.units_after == (None, None, None)
            assert (seen.control.errno, seen.sealed.errno) == (0, EPERM)

    def test_the_heap_is_the_heap(self, whole: Stream) -> None:
        for _, seen in of(whole, operation="brk-shrink", span="tail"):
            assert [u.backing for u in seen.control.units_before if u] == ["heap"] * 3
            assert [u is None for u in seen.control.units_after] == [False, True, True]
            assert seen.sealed.errno == ENOMEM

    def test_what_programs_do_works_without_seals(self, whole: Stream) -> None:
        """But for what no kernel lets them do, sealed or not: a range with a hole, an address within a page."""
        for probe in listed().values():
            seen = whole.observations[probe.id]
            if probe.family == "consumers" and seen.control.stage == "done":
                refused = {"consumer-immutable-hole": ENOMEM, "consumer-immutable-unaligned": EINVAL}
                if "system" not in probe.operation:  # which the kernel may have sealed by itself
                    assert seen.control.errno == refused.get(probe.operation, 0), seen

    def test_an_object_is_as_a_loader_leaves_it(self, whole: Stream) -> None:
        seen = whole.observations["consumer-loader-close/object-mixed/beside-four"]
        assert [u.backing for u in seen.control.units_before if u] == [f"object+{i}" for i in range(8)]
        discarded = whole.observations["consumer-loader-discard/object-mixed/four"].control
        assert [u.data for u in discarded.units_after if u] == ["50", "51", "52", "53"], "what the file holds"
        assert seen.sealed.units_after[4:] == (None,) * 4

    def test_a_stack_with_a_sealed_guard_is_given_back_whole_or_not_at_all(self, whole: Stream) -> None:
        for _, seen in of(whole, operation="consumer-stack-free"):
            assert seen.control.units_after == (None,) * 4
            assert seen.sealed.errno == EPERM
            assert seen.sealed.after == seen.sealed.before

    def test_every_region_is_made_here_or_says_why_not(self, whole: Stream) -> None:
        for seen in whole.observations.values():
            assert seen.control.stage == "done" or seen.control.step, seen


class TestEngine:
    """Selftest probes misbehave on purpose; none of them is ever in a list."""

    @staticmethod
    def halves(tmp_path: Path, probe: str, *arguments: str) -> list[Half]:
        seen = observe(tmp_path, "--run", f"{probe}/*", "--run", "munmap/anon-rw/exact", *arguments).observations
        assert seen.pop("munmap/anon-rw/exact").control.stage == "done"  # the one runs whatever the other does
        (only,) = seen.values()
        return [only.control, only.sealed]

    def test_a_hang_ends_at_its_deadline(self, tmp_path: Path) -> None:
        started = time.monotonic()
        for half in self.halves(tmp_path, "selftest-hang", "--deadline-ms", "150"):
            assert (half.stage, half.timeout, half.signal) == ("operation", True, None)
            assert len(half.before) == 3
            assert not half.after
        assert 0.3 <= time.monotonic() - started < 10

    def test_a_crash_keeps_the_facts_before_it(self, tmp_path: Path) -> None:
        for half in self.halves(tmp_path, "selftest-crash"):
            assert (half.stage, half.signal, half.timeout) == ("operation", 11, False)
            assert len(half.before) == 3

    def test_no_core_file_is_left(self, tmp_path: Path) -> None:
        self.halves(tmp_path, "selftest-crash")
        assert list(tmp_path.iterdir()) == []

    def test_what_flees_is_caught(self, tmp_path: Path) -> None:
        for half in self.halves(tmp_path, "selftest-flee", "--deadline-ms", "20000"):
            assert half.stage == "done"
        assert processes_of(program()) == []

    def test_a_machine_that_is_not_ours_is_left_alone(self, tmp_path: Path) -> None:
        for half in self.halves(tmp_path, "selftest-panic"):
            assert (half.stage, half.step, half.step_errno) == ("setup", "a machine of our own", EPERM)

    def test_garbage_comes_between_whole_lines(self, tmp_path: Path) -> None:
        done = run("--run", "selftest-garbage/*", cwd=tmp_path)
        found = [parse_line(line) for line in done.stdout.splitlines()]
        kinds = [type(r).__name__ for r in found]
        assert kinds == ["Plan", "Begin", *["Garbage"] * 6, "Observation", "End"]

    def test_dying_cuts_the_stream_and_leaves_nothing(self, tmp_path: Path) -> None:
        done = run("--run", "selftest-die/*", "--run", "munmap/anon-rw/*", cwd=tmp_path)
        assert done.returncode == -9
        assert not isinstance(records(done.stdout)[-1], End)
        assert processes_of(program()) == []

    def test_killed_children_go_with_the_payload(self, tmp_path: Path) -> None:
        with subprocess.Popen([program(), "--run", "selftest-hang/*"], cwd=tmp_path, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if isinstance(parse_line(line.rstrip(b"\n")), Begin):
                    break
            child.kill()
        assert processes_of(program()) == []

    def test_no_file_is_left_in_the_working_directory(self, whole: Stream, tmp_path: Path) -> None:
        observe(tmp_path, "--run", "*/file-*/exact")
        assert list(tmp_path.iterdir()) == []

    def test_a_working_directory_that_cannot_be_written(self, whole: Stream) -> None:
        seen = observe(Path("/proc"), "--run", "munmap/file-shared-rw/exact", "--run", "munmap/anon-rw/exact")
        refused = seen.observations["munmap/file-shared-rw/exact"].control
        assert (refused.stage, refused.step) == ("setup", "create a file in the working directory")
        assert refused.step_errno
        assert seen.observations["munmap/anon-rw/exact"].control.stage == "done"


class TestBatches:
    """Many probes in one process; what one of them does to that process costs no other anything."""

    @staticmethod
    def run(tmp_path: Path, *operations: str, arguments: tuple[str, ...] = ()) -> tuple[list[Record], Stream]:
        words = [word for name in operations for word in ("--run", f"{name}/*")]
        done = run(*words, "--sample", "1000000", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        found = records(done.stdout)
        assert isinstance(found[0], Plan)
        return found, Stream(found[0], {r.probe: r for r in found if isinstance(r, Observation)})

    @pytest.mark.parametrize(
        "others", [("calm-after",), ("calm", "calm-after"), ("calm",)], ids=["first", "middle", "last"]
    )
    @pytest.mark.parametrize("bad", ["crash", "hang", "loop", "unmap-stack", "close-all"])
    def test_one_that_goes_wrong_spoils_no_other(self, bad: str, others: tuple[str, ...], tmp_path: Path) -> None:
        found, stream = self.run(
            tmp_path, f"selftest-{bad}", *(f"selftest-{name}" for name in others), arguments=("--deadline-ms", "300")
        )
        assert [r for r in found if isinstance(r, Batch)], "they share a process"
        culprit = stream.observations.pop(f"selftest-{bad}/anon-rw/exact")
        for half in (culprit.control, culprit.sealed):
            match bad:
                case "close-all":
                    assert half.stage == "after", "without descriptors there is nothing to look with"
                case "crash" | "unmap-stack":
                    assert (half.stage, half.signal) == ("operation", 11)
                case _:
                    assert (half.stage, half.timeout) == ("operation", True)
        assert len(stream.observations) == 10 * len(others)
        for seen in stream.observations.values():
            assert (seen.control.stage, seen.sealed.stage, seen.control.result) == ("done", "done", 0)
            assert seen.sealed.before == seen.sealed.after
        repeated = [r.probe for r in found if isinstance(r, Begin)]
        assert f"selftest-{bad}/anon-rw/exact" in repeated, "what counts was seen alone"
        before = 10 if others[0] == "calm" else 0
        assert not set(repeated) & set(stream.plan.probes[:before]), "those before it had been seen"
        assert processes_of(program()) == []

    def test_many_share_a_process(self, whole: Stream, tmp_path: Path) -> None:
        found, _ = self.run(tmp_path, "m*", "after-*", "fork-*")
        begun = [r.probe for r in found if isinstance(r, Begin)]
        batches = [r for r in found if isinstance(r, Batch)]
        assert sum(batch.probes for batch in batches) > 10 * len(begun)
        assert max(batch.probes for batch in batches) == 64

    def test_both_ways_give_the_same_facts(self, whole: Stream, tmp_path: Path) -> None:
        alone = observe(tmp_path, "--lone")
        assert alone.plan.probes == whole.plan.probes
        for probe, seen in alone.observations.items():
            if not probe.startswith(WEATHER):
                assert facts(seen) == facts(whole.observations[probe])

    def test_a_sample_is_seen_both_ways(self, whole: Stream, tmp_path: Path) -> None:
        done = run("--run", "mprotect-*/anon-rw/*", "--sample", "5", cwd=tmp_path)
        seen = [r for r in records(done.stdout) if isinstance(r, Observation)]
        first = {r.probe: r for r in seen if not r.again}
        again = [r for r in seen if r.again]
        assert len(first) // 5 <= len(again) <= len(first) // 5 + 1
        for one in again:
            assert facts(one) == facts(first[one.probe])

    def test_what_grows_reaches_no_window_of_another_probe(self, tmp_path: Path) -> None:
        """It did: what shmdt had detached was grown into, two windows further down, and could be written."""
        words = ("stack-grow/stack-growing-rw/exact", "shmat-remap/anon-rw/exact", "shmdt/sysv-shared-rw/exact")
        done = run(*(word for probe in words for word in ("--run", probe)), "--sample", "1", cwd=tmp_path)
        seen = [r for r in records(done.stdout) if isinstance(r, Observation)]
        first, again = ({r.probe: facts(r) for r in seen if r.again is how} for how in (False, True))
        assert set(first) == set(words) and set(again) == {*words} - {words[0]}
        assert all(first[probe] == told for probe, told in again.items())

    def test_a_process_is_named_for_its_probe(self, tmp_path: Path) -> None:
        words = ["--run", "selftest-hang/*", "--run", "selftest-calm/*", "--deadline-ms", "2000"]
        image, names = program(), set[str]()
        with subprocess.Popen([image, *words], cwd=tmp_path, stdout=subprocess.DEVNULL) as child:
            deadline = time.monotonic() + 60
            while "probe-10" not in names and time.monotonic() < deadline:
                names |= names_of(image)
            child.kill()
        assert "probe-10" in names, "the calm ones are 0 to 9"


def names_of(image: Path) -> set[str]:
    """What the processes that run this file are called."""
    found = set()
    for entry in Path("/proc").iterdir():
        if executable(entry) == image:
            with suppress(OSError):
                found.add((entry / "comm").read_text().strip())
    return found


class TestWithoutMseal:
    """A kernel that does not know the system call, made out of one that may."""

    @staticmethod
    def wrapped() -> Path:
        return compile_static([Path(__file__).with_name("without_mseal.c")], ARCH[platform.machine()], "without-mseal")

    def test_every_probe_says_so_at_once(self, tmp_path: Path) -> None:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([self.wrapped(), program()], cwd=tmp_path, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5  # whatever else runs here
        plan, *middle, end = records(done.stdout)
        assert isinstance(plan, Plan)
        assert plan.features["mseal"] == ENOSYS
        told = done.stdout.rindex(b"\n", 0, -1) + 1  # all but the last line
        assert end == End(len(listed()), bytes=told)
        assert [r for r in middle if isinstance(r, Begin)] == [Begin(probe) for probe in listed()]
        for seen in middle[1::2]:
            assert isinstance(seen, Observation)
            assert seen.layout == listed()[seen.probe].layout
            assert seen.control == seen.sealed == Half("setup", "mseal", ENOSYS)


class TestOptions:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["--nonsense"],
            ["stray"],
            ["--run"],
            ["--deadline-ms", "soon"],
            ["--deadline-ms", "0"],
            ["--deadline-ms", "-5"],
            ["--deadline-ms", "99999999999999999999"],
            ["--list", "--lists"],
        ],
    )
    def test_bad_ones_are_one_line_and_status_2(self, arguments: list[str], tmp_path: Path) -> None:
        done = run(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.count(b"\n") == 1
        assert b"--help" in done.stderr

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (None, "open {path}: No such file or directory"),
            (b"", "{path}: the file is empty"),
            (b"no batch", "{path}: not a batch of version 1"),
        ],
    )
    def test_a_batch_that_cannot_be_read_is_named_with_the_call_and_its_error(
        self, content: bytes | None, told: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "batch"
        if content is not None:
            path.write_bytes(content)
        done = run("--explore", str(path), cwd=tmp_path)
        assert (done.returncode, done.stdout) == (3, b"")
        assert done.stderr.decode() == f"payload: explore: {told.format(path=path)}\n"

    def test_a_folder_is_no_batch(self, tmp_path: Path) -> None:
        done = run("--explore", str(tmp_path), cwd=tmp_path)
        assert done.stderr.decode() == f"payload: explore: mmap {tmp_path}: No such device\n"

    def test_help_and_id(self, tmp_path: Path) -> None:
        usage = run("--help", cwd=tmp_path)
        assert (usage.returncode, usage.stderr) == (0, b"")
        assert b"--deadline-ms" in usage.stdout
        assert run("--id", cwd=tmp_path).stdout.decode().strip() == build(ARCH[platform.machine()]).id

    def test_globs_choose_and_exclude(self, tmp_path: Path) -> None:
        chosen = ["--run", "munmap/anon-*", "--run", "mprotect-none/anon-rw/exact", "--exclude", "*/into"]
        listing = run("--list", *chosen, cwd=tmp_path).stdout.splitlines()
        ids = [json.loads(line)["probe"] for line in listing]
        assert tuple(ids) == observe(tmp_path, *chosen).plan.probes
        assert "mprotect-none/anon-rw/exact" in ids
        assert all(i.startswith(("munmap/anon-", "mprotect-none/anon-rw/exact")) for i in ids)
        assert not [i for i in ids if i.endswith("/into")]

    def test_a_glob_that_matches_nothing_gives_an_empty_stream(self, tmp_path: Path) -> None:
        assert observe(tmp_path, "--run", "nothing").plan.probes == ()

    def test_a_star_takes_no_selftest(self, tmp_path: Path) -> None:
        assert b"selftest" not in run("--list", "--run", "*", cwd=tmp_path).stdout

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(wanted=lists(globs(), max_size=4), unwanted=lists(globs(), max_size=3))
    def test_globs_choose_as_fnmatch_does(self, wanted: list[str], unwanted: list[str], tmp_path: Path) -> None:
        """They are matched part by part, where they have three parts; the answer is that of the whole."""
        words = [*(w for g in wanted for w in ("--run", g)), *(w for g in unwanted for w in ("--exclude", g))]
        listing = run("--list", *words, cwd=tmp_path).stdout.splitlines()
        assert [json.loads(line)["probe"] for line in listing] == [
            probe
            for probe in probe_ids()
            if (not wanted or any(fnmatchcase(probe, glob) for glob in wanted))
            and not any(fnmatchcase(probe, glob) for glob in unwanted)
        ]

    def test_a_reader_that_goes_away_ends_it(self, tmp_path: Path) -> None:
        with subprocess.Popen([program()], cwd=tmp_path, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            child.stdout.close()
            assert child.wait(30) != 0
        assert processes_of(program()) == []


def processes_of(image: Path) -> list[int]:
    """Living processes that run this very file; those on their way out get a moment."""
    deadline = time.monotonic() + 30
    while True:
        found = [int(entry.name) for entry in Path("/proc").iterdir() if executable(entry) == image]
        if not found or time.monotonic() > deadline:
            return found


def executable(entry: Path) -> Path | None:
    try:
        return (entry / "exe").readlink() if entry.name.isdigit() else None
    except OSError:
        return None


def test_a_list_of_mappings_that_cannot_be_read_is_no_fact_of_page_zero(tmp_path: Path) -> None:
    """The new image says so with a status of its own (ops_system.c), and not that the page was changed."""
    command = f"setarch -Z {program()} --at-page-zero page-zero-munmap; echo $?"
    hidden = ["unshare", "-m", "sh", "-c", f"mount -t tmpfs none /proc && {command}"]
    if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", str(tmp_path)], check=False).returncode:
        pytest.skip("no mounts of one's own without CAP_SYS_ADMIN")
    seen = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout.strip()
    if seen == "127":  # NO_PAGE_ZERO
        pytest.skip("this user has no page at address zero")
    assert subprocess.run(hidden, capture_output=True, text=True, check=True).stdout.strip() == "123"
