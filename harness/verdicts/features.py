"""What a probe's id tells, as facts that probes can have in common, and in what words people are told of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from harness.model.verdict import Verdict

_CALLS = (
    ("pkey-mprotect", "mprotect"),
    ("mprotect", "mprotect"),
    ("munmap", "munmap"),
    ("mmap-fixed", "mmap(MAP_FIXED)"),
    ("mmap", "mmap"),
    ("mremap", "mremap"),
    ("madvise", "madvise"),
    ("mseal", "mseal"),
    ("brk", "brk"),
    ("stack", "a growing stack"),
    ("remap-file-pages", "remap_file_pages"),
    ("shmat", "shmat"),
    ("shmdt", "shmdt"),
    ("mlock", "mlock"),
    ("munlock", "munlock"),
    ("mbind", "mbind"),
    ("msync", "msync"),
    ("clear-refs", "clear_refs"),
    ("uffd", "userfaultfd"),
    ("proc-mem", "/proc/PID/mem"),
    ("ptrace", "ptrace"),
    ("process-vm-write", "process_vm_writev"),
    ("file", "a change of the file"),
    ("collapse", "madvise"),
    ("hwpoison", "madvise"),
    ("soft-offline", "madvise"),
)
_BY = {
    "thread-": "in a thread",
    "fork-": "in a forked child",
    "vfork-": "in a vforked child",
    "process-madvise": "by process_madvise",
    "race-": "in a race with mseal",
    "pkey-mprotect": "by pkey_mprotect",
    "system-": "on the kernel's own mappings",
    "page-zero-": "on the page at address zero",
    "clone-vm-": "by another process that shares the memory",
    "program32-": "by a 32-bit program",
    "shadow-stack-": "on shadow stacks",
    "bti-": "with PROT_BTI",
    "mte-": "with PROT_MTE",
}
# What an operation's name may begin with, before the call that it is about.
_BEFORE_THE_CALL = ("after-", "process-m", *(start for start in _BY if start.endswith("-")))
PLACES = {
    "past": "where a sealed mapping goes on past the range",
    "before-range": "where a sealed mapping begins before the range",
    "inside": "inside one sealed mapping, with sealed memory on both sides",
    "whole": "where the range covers whole sealed mappings",
    "plain-first": "where the range begins in plain memory",
    "plain-last": "where the range ends in plain memory",
    "gap": "where the range has a hole",
    "beside": "on plain memory beside sealed memory",
}
_MEMORY = {
    "anon": "private anonymous memory",
    "shared": "shared anonymous memory",
    "memfd": "memfds",
    "file": "mapped files",
    "hugetlb": "huge pages (hugetlb)",
    "sysv": "System V shared memory",
    "stack": "stacks",
    "heap": "the heap",
    "text": "program text",
    "zero": "mappings of /dev/zero",
    "uffd": "memory under userfaultfd",
    "pkey": "memory under a protection key",
    "secretmem": "secret memory",
    "droppable": "droppable memory",
    "vdso": "the vDSO",
    "vvar": "the vvar pages",
    "object": "shared objects, as a loader maps them",
    "jit": "memory that is both written and executed",
    "slab": "slabs and their guard pages",
    "generated": "generated programs",
}
# Operations that take memory away, whatever system call they are: the kernel has one place for all of them.
_UNMAPS = (
    "munmap", "mmap-fixed", "mremap-onto", "mremap-shrink", "mremap-move-shrink", "shmat-remap", "remap-file-pages",
    "brk-shrink", "brk-moved-shrink", "shmdt",
)  # fmt: skip
# How each span lies: p plain, s sealed, g a gap; upper case is what the operation covers (``--list`` says the same).
LAYOUTS: Mapping[str, str] = {
    "exact": "SSS", "plain": "pPPp", "beside": "sPs", "middle": "sSs", "into": "pPSs", "head": "SSs", "tail": "sSS",
    "out-of": "sSPp", "around": "PSP", "across-holes": "SPS", "first": "SPP", "last": "PPS", "before": "Ps",
    "after": "sP", "gap-amid": "SGS", "gap-around": "GSG", "gap-before": "Gs", "gap-after": "sG", "gap-between": "sGs",
    "four": "SSSS", "second": "sSss", "third": "ssSs", "fourth": "sssS", "fourth-plain": "sssP",
    "beside-four": "ssssPPPP", "first-of-four": "SPPP", "above-first": "sPPP",
}  # fmt: skip
Features = frozenset[tuple[str, str]]


@cache
def features(probe: str, demand: str) -> Features:
    """Return what can be said of a probe: (name, value) pairs, from its id alone."""
    operation, region, span = (*probe.split("/"), "", "")[:3]
    said = {"demand": demand, "region": region, "memory": region.partition("-")[0]}
    if span in LAYOUTS:
        said |= {"span": span} | dict.fromkeys(places(LAYOUTS[span]), "yes")
    if demand == "stay":  # it is mseal that is looked at, whatever follows it
        return frozenset({**said, "call": "mseal"}.items())
    last = _last_call(operation)
    said |= {"operation": operation, "call": call_of(operation)}
    if last.startswith(_UNMAPS):
        said["does"] = "unmap"
    if operation.startswith("after-"):
        said["before"] = operation.removeprefix("after-").removesuffix(last).strip("-")
    if by := next((words for start, words in _BY.items() if operation.startswith(start)), ""):
        said["by"] = by
    return frozenset(said.items())


def places(layout: str) -> Iterator[str]:
    """How an operation's range lies over sealed memory, from its layout."""
    start = next((i for i, c in enumerate(layout) if c.isupper()), 0)
    stop = len(layout) - next((i for i, c in enumerate(reversed(layout)) if c.isupper()), 0)
    inside, left, right = layout[start:stop], layout[:start][-1:], layout[stop:][:1]
    if "S" not in inside:
        yield from ("beside",) if "P" in inside else ()
        return
    begins, ends = inside[0] == "S" and left == "s", inside[-1] == "S" and right == "s"
    found = {
        "inside": begins and ends,
        "before-range": begins and not ends,
        "past": ends and not begins,
        "whole": not begins and not ends,
        "plain-first": inside[0] == "P",
        "plain-last": inside[-1] == "P",
        "gap": "G" in inside,
    }
    yield from (name for name, is_so in found.items() if is_so)


def call_of(operation: str) -> str:
    """Return the system call that an operation's name tells, as people write it; the name where it tells none."""
    last = _last_call(operation)
    return next((call for word, call in _CALLS if last.startswith(word)), operation)


def _last_call(operation: str) -> str:
    """The part of a name from its last call on: ``after-mlock-munmap`` is about munmap."""
    if not operation.startswith(_BEFORE_THE_CALL):
        return operation
    found = [(operation.rfind(f"-{word}"), word) for word, _ in _CALLS]
    at, _ = max(found, key=lambda pair: (pair[0], len(pair[1])))
    return operation[at + 1 :] if at >= 0 else operation


def where_of(facts: Mapping[str, str]) -> str:
    """Where the facts hold, "" for everywhere."""
    words = [
        f"after {facts['before']}" if "before" in facts else "",
        facts.get("by", ""),
        f"by {facts['operation']}" if "operation" in facts else "",
        _on(facts),
        " and ".join(words for name, words in PLACES.items() if name in facts),
        f"in the span {facts['span']} ({LAYOUTS[facts['span']]})" if "span" in facts else "",
    ]
    return " ".join(filter(None, words))


def _on(facts: Mapping[str, str]) -> str:
    """The memory, as people call it; a region by its name behind that."""
    memory = facts.get("memory") or facts.get("region", "").partition("-")[0]
    if not memory:
        return ""
    named = f" ({facts['region']})" if "region" in facts else ""
    return f"on {_MEMORY.get(memory, f'{memory} memory')}{named}"


_PLAIN_REGIONS = ("anon-rw", "anon-r", "anon-none", "shared-anon-rw", "memfd-private-rw")


def plainness(verdict: Verdict) -> tuple[object, ...]:
    """Sorts verdicts so that the one a person understands first stands first: an ordinary call on ordinary memory."""
    operation, region, span = (*verdict.probe.split("/"), "", "")[:3]
    unusual = operation.startswith(("process-", *_BEFORE_THE_CALL))
    rank = _PLAIN_REGIONS.index(region) if region in _PLAIN_REGIONS else len(_PLAIN_REGIONS)
    return unusual, rank, span != "exact", len(operation), verdict.probe
