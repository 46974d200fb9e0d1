"""A call as C: flags, advice, addresses and descriptors by their names. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from harness.errors import UsageError
from harness.reproducer.trace import Call, Trace

_PROT = {1: "PROT_READ", 2: "PROT_WRITE", 4: "PROT_EXEC"}
_MAP = {
    0x1: "MAP_SHARED", 0x2: "MAP_PRIVATE", 0x10: "MAP_FIXED", 0x20: "MAP_ANONYMOUS", 0x40000: "MAP_HUGETLB",
    0x100000: "MAP_FIXED_NOREPLACE",
}  # fmt: skip
_MREMAP = {1: "MREMAP_MAYMOVE", 2: "MREMAP_FIXED", 4: "MREMAP_DONTUNMAP"}
_ADVICE = {
    4: "MADV_DONTNEED", 8: "MADV_FREE", 9: "MADV_REMOVE", 10: "MADV_DONTFORK", 12: "MADV_MERGEABLE",
    14: "MADV_HUGEPAGE", 18: "MADV_WIPEONFORK", 20: "MADV_COLD", 21: "MADV_PAGEOUT",
}  # fmt: skip
_FLAGS: Mapping[tuple[str, int], Mapping[int, str]] = {
    ("SYS_mmap", 2): _PROT, ("SYS_mmap", 3): _MAP, ("SYS_mprotect", 2): _PROT, ("SYS_mremap", 3): _MREMAP,
    ("SYS_pkey_mprotect", 2): _PROT,
}  # fmt: skip
_CHOICES: Mapping[tuple[str, int], Mapping[int, str]] = {
    ("SYS_madvise", 2): _ADVICE, ("SYS_process_madvise", 3): _ADVICE,
}  # fmt: skip
_SCRATCH = frozenset({("SYS_mincore", 2)})  # where the kernel writes what nobody reads
_POINTERS = 1 << 22  # no flag, size in pages or count is as large
_FD_MAKERS = frozenset(
    {"SYS_openat", "SYS_memfd_create", "SYS_pidfd_open", "SYS_userfaultfd", "SYS_memfd_secret", "SYS_shmget"}
)


class CallNames:
    """Names for addresses, sizes and descriptors; what a call returns is named when ``keep`` sees it."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._end = trace.base + 16 * trace.page
        self._descriptors: dict[int, str] = {}
        self._maps: dict[int, tuple[str, int]] = {}
        self.declarations: list[str] = []
        self.given: list[str] = []

    def keep(self, call: Call) -> str:
        """Give a descriptor or a mapping a name; "" for a call that returns neither."""
        if call.name in _FD_MAKERS and call.result >= 0:
            name = f"fd{len(self.declarations)}"
            self._descriptors[call.result] = name
            self.given.append(name)
            self.declarations.append(f"int {name};")
            return name
        if call.name == "SYS_mmap" and call.result > 0 and not self._is_known(call.result):
            name = f"other{len(self.declarations)}"
            self._maps[call.result] = (name, call.arguments[1])
            self.given.append(name)
            self.declarations.append(f"char *{name};")
            return name
        return ""

    def expression(self, call: Call) -> str:
        """The call as C."""
        arguments = [self._argument(call, i, value) for i, value in enumerate(call.arguments)]
        if call.name == "memset":
            return f"memset({', '.join(arguments)})"
        return f"syscall({', '.join([call.name, *arguments])})"

    def place(self, address: int) -> str:
        """An address as an expression."""
        if self._inside(address):
            return _plus("window", address - self._trace.base, self._trace.page)
        if 0 <= address - self._trace.destination < 1 << 24:
            return _plus("destination", address - self._trace.destination, self._trace.page)
        for start, (name, length) in self._maps.items():
            if start <= address < start + length:
                return _plus(name, address - start, self._trace.page)
        return f"{address}L"

    def pointer(self, address: int) -> str:
        """An address as an expression. Raises ``UsageError`` for memory of the payload's own."""
        if not self._is_known(address):
            raise UsageError(
                f"{self._trace.probe} hands the kernel memory that no call of it has made; "
                f"to run it: sealmatrix run -r {self._trace.probe}"
            )
        return self.place(address)

    def size(self, value: int) -> str:
        """A number of bytes as an expression."""
        if value and value % self._trace.page == 0 and value < 1 << 40:
            return f"{value // self._trace.page} * page"
        return _number(value)

    def _inside(self, address: int) -> bool:
        before = (1 if self._trace.placed else 16) * self._trace.page
        return self._trace.base - before <= address < self._end

    def _is_known(self, address: int) -> bool:
        return self.place(address) != f"{address}L"

    def _argument(self, call: Call, position: int, value: int) -> str:
        if (call.name, position) == ("SYS_mseal", 2):
            return _number(value)
        if position in call.text:
            return json.dumps(call.text[position])
        if position in call.iovec:
            return f"&range{position}"
        if (call.name, position) in _FLAGS:
            return _flags(value, _FLAGS[call.name, position])
        if (call.name, position) in _CHOICES:
            return _CHOICES[call.name, position].get(value, str(value))
        if call.name == "SYS_pidfd_open" and position == 0:
            return "getpid()"
        if position in _SIZES.get(call.name, ()):
            return self.size(value)
        if value in self._descriptors and position in _FD_POSITIONS.get(call.name, (0,)):
            return self._descriptors[value]
        if (call.name, position) in _SCRATCH:
            return "scratch"
        if (call.name, position) == ("memset", 1):
            return str(value)
        return self.pointer(value) if value >= _POINTERS or self._is_known(value) else self.size(value)


_SECOND = (
    "SYS_mmap", "SYS_munmap", "SYS_mprotect", "SYS_pkey_mprotect", "SYS_madvise", "SYS_mseal", "SYS_mlock",
    "SYS_mlock2", "SYS_munlock", "SYS_msync", "SYS_mincore", "SYS_ftruncate", "SYS_remap_file_pages",
)  # fmt: skip
_SIZES: Mapping[str, tuple[int, ...]] = dict.fromkeys(_SECOND, (1,)) | {"SYS_mremap": (1, 2), "memset": (2,)}
_FD_POSITIONS: Mapping[str, tuple[int, ...]] = {"SYS_mmap": (4,), "SYS_munmap": (), "SYS_mprotect": (), "memset": ()}


def _plus(name: str, offset: int, page: int) -> str:
    if offset == 0:
        return name
    sign, distance = ("+", offset) if offset > 0 else ("-", -offset)
    whole, rest = divmod(distance, page)
    terms = [f"{whole} * page"] * bool(whole) + [str(rest)] * bool(rest)
    return f"{name} {sign} {f' {sign} '.join(terms)}"


def _number(value: int) -> str:
    if value == -(1 << 63):
        return "(-9223372036854775807L - 1)"
    # Negative numbers may be lengths: as ints they would lose their upper half on the way through syscall(2).
    return f"{value}L" if value < 0 or value >= 1 << 31 else str(value)


def _flags(value: int, names: Mapping[int, str]) -> str:
    known = [name for bit, name in names.items() if value & bit]
    rest = value & ~sum(names)
    words: Iterable[str] = [*known, *([hex(rest)] if rest else [])]
    return " | ".join(words) or "0"
