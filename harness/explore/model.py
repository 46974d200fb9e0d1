"""The model of sealing: what each step may answer, and what it may leave behind. Pure.

It follows what was observed, so it accepts any trace and never guesses (SibylFS): its own part of the state is what
looking does not show, a byte for each unit of the window. Where the contract leaves something undefined, whatever is
seen there is taken as it is. What an operation does to memory that is not sealed is not modelled at all: the twin,
which did the same without seals, shows it.

``docs/use/exploration.md`` has the rules in words. ``CLAUSES`` says which rules of the catalogue each oracle asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from errno import EINVAL, ENOMEM, EPERM, errorcode
from typing import Literal

from harness.explore.operations import ADVICE, DISCARDS, MOVES, OPERATIONS, SEALINGS, Operation
from harness.explore.program import KINDS, Program, Segment, Step
from harness.explore.wire import BUS, LEFT_OUT, MAPPED, MIX, NOT_TRIED, SEGV, UNREAD, WRITE, Pass

Oracle = Literal["sealed-unchanged", "refused", "same-as-twin", "exactly-sealed", "answer", "console"]
ORACLES: Mapping[Oracle, str] = {
    "sealed-unchanged": "Sealed pages are unchanged after every step.",
    "refused": "What must be refused is refused with EPERM whenever the twin without seals succeeds.",
    "same-as-twin": "What is permitted does the same as in the twin without seals.",
    "exactly-sealed": "In the end exactly the sealed pages behave as sealed.",
    "answer": "mseal answers within the model's set.",
    "console": "Nothing is on the console, and every process ends cleanly.",
}

SEALED, KIND, KEYED, DONTFORK, WIPE, ASTRAY = 0x80, 0x07, 0x08, 0x10, 0x20, 0x40
_ANON, _SHARED_ANON, _SHARED_FILE, _PRIVATE_FILE, _ZERO, _UNKNOWN, _GROWN = 1, 2, 3, 4, 5, 6, 7
_REMOVE, _GUARD, _UNGUARD = ADVICE["remove"], ADVICE["guard-install"], ADVICE["guard-remove"]
_FREE = ADVICE["free"]
_NO_CONTENTS = frozenset({ADVICE["dontfork"], ADVICE["wipeonfork"]})
_MMAP, _PKEY_MPROTECT, _MREMAP, _FORK, _RIGHTS, _REMAP_FILE, _SHMAT = 2, 4, 5, 10, 17, 19, 20
_USERFAULTFD, _BRK, _SHMDT = 21, 22, 24
_MAPS = frozenset({_MMAP, _REMAP_FILE, _SHMAT, _BRK})
_WHOLE = frozenset({1, _BRK})  # refused, it has changed plain memory no more than sealed memory
_TO = {MOVES.index("to"), MOVES.index("to-keep"), MOVES.index("double")}
_RESIZES = {MOVES.index("shrink"), MOVES.index("grow"), MOVES.index("grow-or-move")}
_UNMAPS = {MOVES.index("to"), MOVES.index("elsewhere"), MOVES.index("grow-or-move")}
_NO_SEAL = {
    SEALINGS.index("flags"),
    SEALINGS.index("unaligned"),
    SEALINGS.index("too-long"),
    SEALINGS.index("wraps"),
    SEALINGS.index("unaligned-empty"),
}
_EMPTY = SEALINGS.index("empty")


@dataclass(frozen=True, slots=True)
class StepProblem:
    """What a step did that it may not. ``step`` is its index, -1 the window as it was made, the number of steps the
    end.

    ``clauses`` are those of the contract; ``units`` the ones it shows at. ``child`` says that a forked child saw it.
    """

    oracle: Oracle
    step: int
    operation: str
    text: str
    clauses: tuple[str, ...]
    units: tuple[int, ...] = ()
    child: bool = False

    @property
    def same(self) -> tuple[str, str]:
        """What a smaller program has to show as well, to be an example of the same finding."""
        return self.oracle, self.operation


@dataclass(frozen=True, slots=True)
class State:
    """The hidden part: ``attrs`` has a byte for each unit, ``rights`` are those of the protection key; ``freed`` has
    a bit for each unit that the kernel may empty whenever it likes (MADV_FREE)."""

    attrs: bytes
    rights: int = 0
    freed: int = 0


def initial(segments: tuple[Segment, ...]) -> State:
    """The state of a window that was just made and sealed."""
    return State(bytes(s.kind | (SEALED if s.sealed else 0) for s in segments for _ in range(s.units)))


def errno_text(number: int) -> str:
    """An answer as a person reads it."""
    if number == LEFT_OUT:
        return "left out"
    return errorcode.get(number, str(number)) if number else "0"


def problems_of_window(program: Program, sealed: Pass, twin: Pass) -> list[StepProblem]:
    """What is wrong before the first step: a seal that was refused, or memory that it changed."""
    found = []
    if sealed.first:
        found.append(
            StepProblem(
                "answer", -1, "mseal", f"sealing the window is refused with {errno_text(sealed.first)}", ("A7",)
            )
        )
    if sealed.looks[0][2:] != twin.looks[0][2:]:
        units = _different(sealed.looks[0], twin.looks[0], program.units, bytes(program.units))
        found.append(
            StepProblem("sealed-unchanged", -1, "mseal", "the window is not what it is without seals", ("A7",), units)
        )
    return found


def _different(look: bytes, other: bytes, n: int, attrs: bytes) -> tuple[int, ...]:
    return tuple(
        i
        for i in range(n)
        if not attrs[i] & ASTRAY and (look[2 + i] != other[2 + i] or look[2 + n + i] != other[2 + n + i])
    )


class Judge:
    """Judges steps one after another. Remembers what it has judged: the same question has the same answer."""

    def __init__(self) -> None:
        self._memory: dict[tuple[object, ...], tuple[tuple[StepProblem, ...], State]] = {}

    def step(
        self,
        op: bytes,
        state: State,
        before: bytes,
        after: bytes,
        answer: tuple[int, int],
        twin: bytes,
        twin_answer: int,
        twin_before: bytes,
    ) -> tuple[tuple[StepProblem, ...], State]:
        """Judge one step. ``before`` and ``after`` are looks, ``twin_before`` and ``twin`` those of the twin's same
        step.

        The problems' ``step`` is 0; whoever asks knows which it was.
        """
        divided = op[0] == _MREMAP and _divided_otherwise(op, before, twin_before)
        key = (op, state, before[2:], after[2:], answer, twin[2:], twin_answer, divided)
        known = self._memory.get(key)
        if known is None:
            if len(self._memory) > 200_000:
                self._memory.clear()
            known = self._memory[key] = _step(op, state, before, after, answer, twin, twin_answer, divided=divided)
        return known


def _divided_otherwise(op: bytes, before: bytes, twin: bytes) -> bool:
    """mremap works on one mapping, so its answer depends on how memory is divided, which nobody promises (O8)."""
    inside = ((1 << op[2]) - 1) << op[1] & ~(1 << op[1])
    return bool(((before[0] | before[1] << 8) ^ (twin[0] | twin[1] << 8)) & inside)


def _step(
    op: bytes,
    state: State,
    before: bytes,
    after: bytes,
    answer: tuple[int, int],
    twin: bytes,
    twin_answer: int,
    *,
    divided: bool = False,
) -> tuple[tuple[StepProblem, ...], State]:
    attrs = state.attrs
    n = len(attrs)
    operation = OPERATIONS[op[0]]
    said = answer[0]
    start, end = op[1], op[1] + op[2]
    found: list[StepProblem] = []
    unchanged = before[2:] == after[2:]
    refusal = _refusal(op, operation, state, before, n)

    # 1. Sealed units are as they were, but for what may be done to them.
    if not unchanged and max(attrs) >= SEALED:
        units = _harmed(op, operation, state, before, after, twin, n)
        if units:
            found.append(
                StepProblem(
                    "sealed-unchanged", 0, operation.name, _changes(before, after, n, units), operation.clauses, units
                )
            )
        if op[0] in _WHOLE and said == EPERM and refusal == "must":
            rest = tuple(
                i for i in range(start, end)
                if i not in units and _differs(before, after, n, i)
                and (before[2 + i] != after[2 + i] or before[2 + n + i] != UNREAD)
            )  # fmt: skip
            if rest:
                text = f"{operation.name} is refused and has changed plain memory: {_changes(before, after, n, rest)}"
                found.append(StepProblem("refused", 0, operation.name, text, operation.clauses[:1], rest))

    # 2. The answer.
    if operation.nature == "seals":
        wanted = _mseal(op, before)
        if said != wanted:
            text = f"mseal answers {errno_text(said)} instead of {errno_text(wanted)}"
            found.append(StepProblem("answer", 0, "mseal", text, operation.clauses))
    elif refusal == "must":
        # Where the twin has gone astray, or its mappings are divided otherwise, its success says nothing of an error.
        unlike = divided or _any_astray(attrs, _footprint(op, operation, n))
        if said != EPERM and twin_answer == 0 and not (said and unlike):
            text = f"{operation.name} answers {errno_text(said)} instead of EPERM"
            found.append(StepProblem("refused", 0, operation.name, text, operation.clauses, tuple(range(start, end))))
    elif refusal == "" and not divided:
        found += _as_twin(op, operation, state, after, answer, twin, twin_answer, n)

    # 3. What follows, whatever was right or wrong.
    return tuple(found), _next(op, operation, state, before, after, said, twin, refusal, divided=divided)


# ---------------------------------------------------------------------- what must be refused

RefusalDemand = Literal["", "must", "may", "undefined", "open"]
"""Why EPERM may come: never, it must, or the answer is not promised."""


def _refusal(op: bytes, operation: Operation, state: State, before: bytes, n: int) -> RefusalDemand:
    attrs = state.attrs
    if op[0] == _BRK and not op[3] and not any(before[2 + i] & MAPPED for i in range(op[1], op[1] + op[2])):
        return "open"  # where the heap has nothing, it cannot shrink, seals or not
    if max(attrs) < SEALED:
        return ""
    if op[0] == _SHMDT:
        return "undefined"  # it takes what it may of a segment, wherever that ends, and says that it has
    nature = operation.nature
    inside = attrs[op[1] : op[1] + op[2]]
    if nature == "replaces":
        if (op[0] == _MMAP and op[5]) or (op[0] == _BRK and op[3]):  # MAP_FIXED_NOREPLACE, a hint; a heap that grows
            return ""
        if not inside or max(inside) < SEALED:
            return ""
        return "must" if op[0] != _REMAP_FILE or min(inside) >= SEALED else "undefined"
    if nature == "changes":
        if not inside or max(inside) < SEALED:
            return ""
        return "must" if min(inside) >= SEALED else "undefined"
    if nature == "moves":
        return _mremap_refusal(op, attrs, inside, before)
    if nature == "discards":
        return _advice_refusal(op, state, before) if op[3] in DISCARDS else ""
    return ""


def refusal_of(op: bytes, state: State, look: bytes) -> RefusalDemand:
    """Why a step may be refused, before it is done."""
    return _refusal(op, OPERATIONS[op[0]], state, look, len(state.attrs))


def _mremap_refusal(op: bytes, attrs: bytes, inside: bytes, before: bytes) -> RefusalDemand:
    onto = attrs[op[4] : op[4] + op[2]] if op[3] in _TO else b""
    source, destination = max(inside, default=0) >= SEALED, max(onto, default=0) >= SEALED
    if not source and not destination:
        return ""
    # Mappings are moved one by one (6.17), and where the source has a hole, nothing at the destination goes.
    goes = [before[2 + op[1] + k] & MAPPED for k in range(len(onto))]
    if not source and not any(there and attr >= SEALED for there, attr in zip(goes, onto, strict=True)):
        return "undefined"
    if op[3] in _TO and op[4] + op[2] > len(attrs):
        return "undefined"  # it ends outside the window
    if source and min(inside) < SEALED:
        return "undefined"
    if destination and not source and min(onto) < SEALED and min(onto) & KIND == 0:
        return "undefined"
    return "must"


def _advice_refusal(op: bytes, state: State, before: bytes) -> RefusalDemand:
    attrs, advice = state.attrs, op[3]
    protected = other = open_ = 0
    for i in range(op[1], op[1] + op[2]):
        attr = attrs[i]
        if not attr & SEALED:
            other += 1
        elif _of_another_thread(op, attr, before[2 + i]):
            open_ += 1
        elif _protected(attr, before[2 + i], state.rights):
            protected += 1
        elif _open(attr & KIND, advice):
            open_ += 1
        else:
            other += 1
    if protected:
        return "undefined" if other or open_ else "must"
    return "open" if open_ else ""


def _protected(attr: int, seen: int, rights: int) -> bool:
    """M1, M3: sealed private anonymous memory that the caller cannot write."""
    return attr & KIND == _ANON and (not seen & WRITE or bool(attr & KEYED and rights))


def _of_another_thread(op: bytes, attr: int, seen: int) -> bool:
    """Protection keys are per thread, and what the second thread's let it do is what they were when it began."""
    return bool(op[7] & 1 and attr & KEYED and attr & KIND == _ANON and seen & WRITE)


def _open(kind: int, advice: int) -> bool:
    """M6, M7: private /dev/zero, guard regions in files, holes in shared memory; and what nobody knows the kind of."""
    if kind in (_ZERO, _UNKNOWN):
        return True
    return (advice == _GUARD and kind != _ANON) or (advice == _REMOVE and kind in (_SHARED_ANON, _SHARED_FILE))


# ---------------------------------------------------------------------- sealed memory


def _differs(before: bytes, after: bytes, n: int, i: int) -> bool:
    return before[2 + i] != after[2 + i] or before[2 + n + i] != after[2 + n + i]


def _harmed(
    op: bytes, operation: Operation, state: State, before: bytes, after: bytes, twin: bytes, n: int
) -> tuple[int, ...]:
    """The sealed units that are not as they may be."""
    attrs = state.attrs
    harmed = []
    for i in range(n):
        if attrs[i] < SEALED or not _differs(before, after, n, i):
            continue
        if before[2 + i] != after[2 + i] or not _contents_may_change(op, operation, state, i, before, after, twin, n):
            harmed.append(i)
    return tuple(harmed)


def _contents_may_change(
    op: bytes, operation: Operation, state: State, i: int, before: bytes, after: bytes, twin: bytes, n: int
) -> bool:
    attr, was, now = state.attrs[i], before[2 + n + i], after[2 + n + i]
    if state.freed >> i & 1 and now in (0, BUS):  # what is empty gives SIGBUS where userfaultfd was asked to tell
        return True
    as_twin = bool(attr & ASTRAY) or now == twin[2 + n + i]
    if was == UNREAD:  # a quiet program is looked at only in the end, and the twin may have moved what is astray there
        footprint = _footprint(op, operation, n)
        if as_twin or (operation.nature == "moves" and i in footprint and _any_astray(state.attrs, footprint)):
            return True
    inside = op[1] <= i < op[1] + op[2]
    if op[0] == _USERFAULTFD and inside:  # what is missing gives SIGBUS as long as it is registered
        return as_twin and BUS in (was, now)
    if operation.nature == "writes" and inside:
        return bool(before[2 + i] & WRITE) and (now == op[3] or now == MIX or as_twin)
    if operation.nature == "discards" and inside:
        if op[3] in DISCARDS and op[3] not in _NO_CONTENTS:
            uncertain = _of_another_thread(op, attr, before[2 + i])
            return uncertain or not _protected(attr, before[2 + i], state.rights)
        return op[3] == _UNGUARD and was in (SEGV, MIX)
    # The same page of a file may be mapped twice.
    touches = operation.nature == "writes" or (operation.nature == "discards" and op[3] == _REMOVE) or op[0] == _FORK
    return touches and attr & KIND in (_SHARED_ANON, _SHARED_FILE, _PRIVATE_FILE, _UNKNOWN) and as_twin


def _any_astray(attrs: bytes | bytearray, units: range) -> bool:
    return any(attrs[i] & ASTRAY for i in units)


def _changes(before: bytes, after: bytes, n: int, units: tuple[int, ...]) -> str:
    said = []
    for i in units[:3]:
        said.append(f"unit {i}: {unit_text(before, n, i)} → {unit_text(after, n, i)}")
    more = f" and {len(units) - 3} more" if len(units) > 3 else ""
    return "; ".join(said) + more


def unit_text(look: bytes, n: int, i: int) -> str:
    """What a unit looks like, for a person."""
    seen, contents = look[2 + i], look[2 + n + i]
    if not seen & MAPPED:
        return "-"
    perms = "".join(letter if seen & bit else "-" for letter, bit in (("r", 2), ("w", 4), ("x", 8)))
    data = {UNREAD: ".", SEGV: "segv", 0xF2: "bus", MIX: "mix"}.get(contents, f"{contents:02x}")
    return f"{perms}{'s' if seen & 16 else 'p'}{' ragged' if seen & 128 else ''} {data}"


# ---------------------------------------------------------------------- mseal, and what is permitted


def _mseal(op: bytes, before: bytes) -> int:
    how = op[3] % len(SEALINGS)
    if how in _NO_SEAL:
        return EINVAL
    if how == _EMPTY:
        return 0
    return 0 if all(before[2 + i] & MAPPED for i in range(op[1], op[1] + op[2])) else ENOMEM


def _footprint(op: bytes, operation: Operation, n: int) -> range:
    """The units whose state decides what an operation does."""
    if operation.nature != "moves":
        return range(op[1], op[1] + op[2])
    low, high = op[1], op[1] + op[2]
    if op[3] in _TO:
        low, high = min(low, op[4]), max(high, op[4] + op[2])
    if op[3] in _RESIZES:
        high = max(high, op[1] + op[4])
    return range(low, min(high + 1, n))


def _as_twin(
    op: bytes,
    operation: Operation,
    state: State,
    after: bytes,
    answer: tuple[int, int],
    twin: bytes,
    twin_answer: int,
    n: int,
) -> list[StepProblem]:
    attrs, said = state.attrs, answer[0]
    footprint = _footprint(op, operation, n)
    if _any_astray(attrs, footprint):
        return []
    name = operation.name
    if said == EPERM and twin_answer == LEFT_OUT:
        text = f"{name} is refused with EPERM, and no seal forbids it"
        return [StepProblem("same-as-twin", 0, name, text, (*operation.clauses, "U7"), tuple(footprint))]
    if said != twin_answer:
        text = f"{name} answers {errno_text(said)}, without seals {errno_text(twin_answer)}"
        return [StepProblem("same-as-twin", 0, name, text, (*operation.clauses, "U7"), tuple(footprint))]
    if after[2:] == twin[2:]:
        return []
    units = _different(after, twin, n, attrs)
    if not units:
        return []
    text = f"after {name}: " + "; ".join(
        f"unit {i}: {unit_text(after, n, i)}, without seals {unit_text(twin, n, i)}" for i in units[:3]
    )
    return [StepProblem("same-as-twin", 0, name, text, (*operation.clauses, "U7"), units)]


# ---------------------------------------------------------------------- the state afterwards


def _next(
    op: bytes,
    operation: Operation,
    state: State,
    before: bytes,
    after: bytes,
    said: int,
    twin: bytes,
    refusal: RefusalDemand,
    *,
    divided: bool,
) -> State:
    n = len(state.attrs)
    attrs, rights, freed = bytearray(state.attrs), state.rights, state.freed
    inside = range(op[1], op[1] + op[2])
    if operation.nature == "seals":
        if said == 0 and op[3] % len(SEALINGS) != _EMPTY:
            for i in inside:
                attrs[i] |= SEALED
        return State(bytes(attrs), rights, freed)
    if op[0] == _RIGHTS and said == 0:
        rights = op[3] % 3
    elif op[0] in _MAPS and said == 0:
        _mapped(attrs, op, before, after)
    elif op[0] == _PKEY_MPROTECT and said == 0 and op[4]:
        for i in inside:
            attrs[i] |= KEYED
    elif op[0] == _MREMAP:
        _moved(attrs, state.attrs, op, before, after, n)
    elif operation.nature == "discards":
        _advised(attrs, op, said)
        freed |= sum(1 << i for i in inside) if op[3] == _FREE else 0
    _come_and_gone(attrs, operation, before, after)
    _astray(attrs, op, operation, after, said, twin, refusal, divided=divided)
    return State(bytes(attrs), rights, freed)


def _astray(
    attrs: bytearray,
    op: bytes,
    operation: Operation,
    after: bytes,
    said: int,
    twin: bytes,
    refusal: RefusalDemand,
    *,
    divided: bool,
) -> None:
    """Say of which units the twin may know nothing from here on."""
    n = len(attrs)
    footprint = _footprint(op, operation, n)
    whole = refusal in ("undefined", "open") or divided or (operation.nature == "discards" and op[3] == _FREE)
    if operation.nature == "moves":  # what went astray comes to wherever the twin moves it
        whole = whole or _any_astray(attrs, footprint)
    plain = said == EPERM and refusal == "must" and op[0] not in _WHOLE
    for i in footprint if whole or plain else ():
        if whole or attrs[i] < SEALED:
            attrs[i] |= ASTRAY
    if after[2:] != twin[2:]:
        for i in range(n):
            if _differs(after, twin, n, i):
                attrs[i] |= ASTRAY


def _come_and_gone(attrs: bytearray, operation: Operation, before: bytes, after: bytes) -> None:
    """Of what is not mapped nothing is known, and of what came by no call only that a mapping above it grew down: it
    is as sealed as that, or not (O7)."""
    for i in range(len(attrs)):
        there = after[2 + i] & MAPPED
        if not there and attrs[i] < SEALED:
            attrs[i] &= ASTRAY
        elif there and not before[2 + i] & MAPPED and operation.nature not in ("replaces", "moves"):
            attrs[i] = _GROWN | ASTRAY
        elif attrs[i] & KIND == 0:
            attrs[i] |= _UNKNOWN


def _mapped(attrs: bytearray, op: bytes, before: bytes, after: bytes) -> None:
    """What is new has a kind of its own. A hint that was taken is seen; one that was not has mapped nothing here."""
    kind = {_MMAP: op[3], _BRK: _ANON}.get(op[0], _SHARED_FILE)
    for i in range(op[1], op[1] + op[2]):
        if op[0] in (_REMAP_FILE, _SHMAT) or (op[0] == _MMAP and not op[5]) or before[2 + i] != after[2 + i]:
            attrs[i] = (attrs[i] & (SEALED | ASTRAY)) | kind


def _moved(attrs: bytearray, old: bytes, op: bytes, before: bytes, after: bytes, n: int) -> None:
    """Plain units that came are of the sort of those they came from; whatever did not come is as it was."""
    if op[3] in _TO:
        for k in range(op[2]):
            i, source = op[4] + k, op[1] + k
            if i < n and attrs[i] < SEALED and after[2 + i] & MAPPED and before[2 + i] != after[2 + i]:
                attrs[i] = old[source] & (KIND | KEYED | DONTFORK | WIPE | ASTRAY)
            elif i < n and attrs[i] < SEALED and attrs[i] & KIND != _GROWN:
                attrs[i] = (attrs[i] & ~KIND) | (old[source] & KIND if after[2 + i] & MAPPED else 0)
    elif op[3] in _RESIZES:
        for i in range(op[1] + op[2], min(op[1] + op[4], n)):
            if attrs[i] < SEALED and not before[2 + i] & MAPPED and after[2 + i] & MAPPED:
                attrs[i] = old[op[1]] & (KIND | KEYED | DONTFORK | WIPE | ASTRAY)


def _advised(attrs: bytearray, op: bytes, said: int) -> None:
    """What a child will get is known from here on, or from here on not known: a bit says that it may be so."""
    bit = {ADVICE["dontfork"]: DONTFORK, ADVICE["wipeonfork"]: WIPE}.get(op[3], 0)
    gone = {ADVICE["dofork"]: DONTFORK, ADVICE["keeponfork"]: WIPE}.get(op[3], 0)
    for i in range(op[1], op[1] + op[2]):
        if bit:
            attrs[i] |= bit
        elif gone and said == 0:
            attrs[i] &= ~gone


# ---------------------------------------------------------------------- forks and ends


def child_state(state: State, before: bytes, child: Pass, twin_child: Pass) -> tuple[list[StepProblem], State]:
    """Judge what a child begins with: as its parent, but for what it was told to go without. ``before`` is the
    parent's look before the fork. userfaultfd is not inherited: what was missing, and gave SIGBUS, is empty there."""
    n = len(state.attrs)
    look, other = child.looks[0], twin_child.looks[0]
    harmed, attrs = [], bytearray(state.attrs)
    for i in range(n):
        attr = attrs[i]
        gone = before[2 + i] & MAPPED and not look[2 + i] & MAPPED
        if attr & SEALED:
            allowed = look[2 + i] == before[2 + i] or (attr & DONTFORK and gone)
            was, now = before[2 + n + i], look[2 + n + i]
            same = was == now or UNREAD in (was, now) or (was == BUS and now == other[2 + n + i])
            if not allowed or not (same or gone or (attr & WIPE and look[2 + n + i] == 0)):
                harmed.append(i)
        if gone:
            attrs[i] = attr & ASTRAY
        if _differs(look, other, n, i):
            attrs[i] |= ASTRAY
    found = []
    if harmed:
        units = tuple(harmed)
        found.append(
            StepProblem("sealed-unchanged", 0, "fork", _changes(before, look, n, units), ("O3",), units, child=True)
        )
    units = _different(look, other, n, state.attrs)
    units = tuple(i for i in units if i not in harmed)
    if units:
        text = "a child begins with other memory than without seals: " + "; ".join(
            f"unit {i}: {unit_text(look, n, i)}, without seals {unit_text(other, n, i)}" for i in units[:3]
        )
        found.append(StepProblem("same-as-twin", 0, "fork", text, ("O3",), units, child=True))
    return found, State(bytes(attrs), state.rights, state.freed)


def problems_of_end(state: State, sealed: Pass, twin: Pass) -> list[StepProblem]:
    """Exactly what is sealed behaves so, and nothing of the twin does."""
    attrs, look = state.attrs, sealed.looks[-1]
    lost, spread, stuck = [], [], []
    for i, attr in enumerate(attrs):
        if attr & SEALED:
            if look[2 + i] & MAPPED and (sealed.mprotect[i] != EPERM or sealed.munmap[i] != EPERM):
                lost.append(i)
        elif EPERM in (sealed.mprotect[i], sealed.munmap[i]) and attr & KIND != _GROWN:
            spread.append(i)
        if twin.munmap[i] not in (0, NOT_TRIED):
            stuck.append(i)
    found = []
    if lost:
        i = lost[0]
        text = (
            f"unit {i} was sealed, and in the end mprotect to its own protection answers "
            f"{errno_text(sealed.mprotect[i])}, munmap {errno_text(sealed.munmap[i])}"
        )
        found.append(StepProblem("exactly-sealed", 0, "end", text, ("O8", "A7"), tuple(lost)))
    if spread:
        i = spread[0]
        text = (
            f"nobody sealed unit {i}, and in the end mprotect to its own protection answers "
            f"{errno_text(sealed.mprotect[i])}, munmap {errno_text(sealed.munmap[i])}"
        )
        found.append(StepProblem("exactly-sealed", 0, "end", text, ("U7", "A7"), tuple(spread)))
    if stuck:
        said = errno_text(twin.munmap[stuck[0]])
        text = f"in the twin, where nothing is sealed, munmap of unit {stuck[0]} answers {said}"
        found.append(StepProblem("exactly-sealed", 0, "end", text, ("U7",), tuple(stuck)))
    return found


__all__ = ["KINDS", "ORACLES", "Judge", "Oracle", "State", "Step", "StepProblem", "child_state", "initial"]
