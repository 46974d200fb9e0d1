"""The model of sealing: what each step may answer, and what it may leave behind. Pure.

It follows what was observed, so it accepts any trace and never guesses (SibylFS): its own part of the state is what
looking does not show, a byte for each unit of the window. Where the contract leaves something undefined, whatever is
seen there is taken as it is. What an operation does to memory that is not sealed is not modelled at all: the twin,
which did the same without seals, shows it.

``docs/use/exploration.md`` has the rules in words; each operation names the clauses of the contract that its answers
rest on.
"""

from __future__ import annotations

from errno import EBUSY, EINVAL, ENOMEM, EPERM

from harness.explore.afterwards import state_after
from harness.explore.operations import DISCARDS, OPERATIONS, Operation
from harness.explore.oracles import StepProblem
from harness.explore.program import Program
from harness.explore.refusal import mseal_answer, of_another_thread, protected, refusal_of
from harness.explore.state import (
    ASTRAY,
    CHILD_ACTS,
    CLOSE,
    COLLAPSE,
    FORK,
    KIND,
    MADVISE,
    MREMAP,
    MSYNC,
    NO_CONTENTS,
    PRIVATE_FILE,
    REMOVE,
    SEALED,
    SHARED_ANON,
    SHARED_FILE,
    UNGUARD,
    UNKNOWN,
    USERFAULTFD,
    WHOLE,
    State,
    any_astray,
    changes_text,
    differs,
    errno_text,
    footprint_of,
    unit_text,
)
from harness.explore.wire import BUS, LEFT_OUT, MIX, SEGV, UNREAD, WRITE, Pass


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
        units = different(sealed.looks[0], twin.looks[0], program.units, bytes(program.units))
        found.append(
            StepProblem("sealed-unchanged", -1, "mseal", "the window is not what it is without seals", ("A7",), units)
        )
    return found


def different(look: bytes, other: bytes, n: int, attrs: bytes) -> tuple[int, ...]:
    """The units that look otherwise than in the twin, but for those of which it knows nothing."""
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
        divided = op[0] == MREMAP and _divided_otherwise(op, before, twin_before)
        # Whether a huge page has room depends on how memory is divided, too; what is there does not.
        roomier = op[0] == MADVISE and op[3] == COLLAPSE and before[:2] != twin_before[:2]
        key = (op, state, before[2:], after[2:], answer, twin[2:], twin_answer, divided, roomier)
        known = self._memory.get(key)
        if known is None:
            if len(self._memory) > 200_000:
                self._memory.clear()
            known = self._memory[key] = _step(
                op, state, before, after, answer, twin, twin_answer, divided=divided, roomier=roomier
            )
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
    roomier: bool = False,
) -> tuple[tuple[StepProblem, ...], State]:
    attrs = state.attrs
    n = len(attrs)
    operation = OPERATIONS[op[0]]
    said = answer[0]
    start, end = op[1], op[1] + op[2]
    found: list[StepProblem] = []
    unchanged = before[2:] == after[2:]
    refusal = refusal_of(op, state, before)
    refused = refusal == "must" and said == EPERM

    # 1. Sealed units are as they were, but for what may be done to them.
    if not unchanged and max(attrs) >= SEALED:
        moved = divided and said != 0 and twin_answer != LEFT_OUT
        units = _harmed(op, operation, state, before, after, said, twin, n, twin_moved=moved)
        if units:
            found.append(
                StepProblem(
                    "sealed-unchanged",
                    0,
                    operation.name,
                    changes_text(before, after, n, units),
                    operation.clauses,
                    units,
                )
            )
        if op[0] in WHOLE and refused:
            rest = tuple(
                i for i in range(start, end)
                if i not in units and differs(before, after, n, i)
                and (before[2 + i] != after[2 + i] or before[2 + n + i] != UNREAD)
            )  # fmt: skip
            if rest:
                text = (
                    f"{operation.name} is refused and has changed plain memory: {changes_text(before, after, n, rest)}"
                )
                found.append(StepProblem("refused", 0, operation.name, text, operation.clauses[:1], rest))
        beside = _beside(op, operation, state, before, after, n) if refused else ()
        if beside:
            text = (
                f"{operation.name} is refused and has changed memory beside its range: "
                f"{changes_text(before, after, n, beside)}"
            )
            found.append(StepProblem("refused", 0, operation.name, text, (*operation.clauses[:1], "U7"), beside))

    # 2. The answer.
    if operation.nature == "seals":
        wanted = mseal_answer(op, before)
        if said != wanted:
            text = f"mseal answers {errno_text(said)} instead of {errno_text(wanted)}"
            found.append(StepProblem("answer", 0, "mseal", text, operation.clauses))
    elif refusal == "must":
        # Where the twin has gone astray, or its mappings are divided otherwise, its success says nothing of an error.
        unlike = divided or any_astray(attrs, footprint_of(op, operation, n))
        done = twin_answer == 0 or (said == 0 and twin_answer != LEFT_OUT and not unlike)
        if said != EPERM and done and not (said and unlike):
            text = f"{operation.name} answers {errno_text(said)} instead of EPERM"
            found.append(StepProblem("refused", 0, operation.name, text, operation.clauses, tuple(range(start, end))))
    elif refusal == "" and divided:
        if said == EPERM and twin_answer == LEFT_OUT and not any_astray(attrs, footprint_of(op, operation, n)):
            found.append(_forbidden_by_nothing(op, operation, n))
    elif refusal == "" and not _locked_longer(op, operation, state, said, twin_answer):
        found += _as_twin(op, operation, state, after, answer, twin, twin_answer, n, any_error=roomier)

    # 3. What follows, whatever was right or wrong.
    return tuple(found), state_after(op, operation, state, before, after, said, twin, refusal, divided=divided)


def _forbidden_by_nothing(op: bytes, operation: Operation, n: int) -> StepProblem:
    text = f"{operation.name} is refused with EPERM, and no seal forbids it"
    units = tuple(footprint_of(op, operation, n))
    return StepProblem("same-as-twin", 0, operation.name, text, (*operation.clauses, "U7"), units)


def _beside(op: bytes, operation: Operation, state: State, before: bytes, after: bytes, n: int) -> tuple[int, ...]:
    """The plain units that a refused call was not about, and that look otherwise after it. What may be empty at any
    time may be so now."""
    footprint = footprint_of(op, operation, n)
    found = []
    for i in range(n):
        if i in footprint or state.attrs[i] >= SEALED or not differs(before, after, n, i):
            continue
        was, now = before[2 + n + i], after[2 + n + i]
        emptied = (state.freed >> i & 1 and now in (0, BUS)) or (was == 0 and now == BUS)
        if before[2 + i] != after[2 + i] or not (emptied or UNREAD in (was, now)):
            found.append(i)
    return tuple(found)


# ---------------------------------------------------------------------- sealed memory


def _harmed(
    op: bytes,
    operation: Operation,
    state: State,
    before: bytes,
    after: bytes,
    said: int,
    twin: bytes,
    n: int,
    *,
    twin_moved: bool,
) -> tuple[int, ...]:
    """The sealed units that are not as they may be. ``twin_moved``: it has moved what is one mapping there, and is
    divided and was not moved here."""
    attrs = state.attrs
    harmed = []
    for i in range(n):
        if attrs[i] < SEALED or not differs(before, after, n, i):
            continue
        may = _contents_may_change(op, operation, state, i, before, after, said, twin, n, twin_moved=twin_moved)
        if before[2 + i] != after[2 + i] or not may:
            harmed.append(i)
    return tuple(harmed)


_OF_FILES = (SHARED_ANON, SHARED_FILE, PRIVATE_FILE, UNKNOWN)  # shared memory without a name is a file's, too


def _contents_may_change(
    op: bytes,
    operation: Operation,
    state: State,
    i: int,
    before: bytes,
    after: bytes,
    said: int,
    twin: bytes,
    n: int,
    *,
    twin_moved: bool,
) -> bool:
    attr, was, now = state.attrs[i], before[2 + n + i], after[2 + n + i]
    if state.freed >> i & 1 and now in (0, BUS):  # what is empty gives SIGBUS where userfaultfd was asked to tell
        return True
    as_twin = bool(attr & ASTRAY) or now == twin[2 + n + i]
    if was == 0 and now == BUS and as_twin and attr & KIND in (SHARED_ANON, SHARED_FILE):
        return True  # the kernel may drop a page of a file that nobody wrote, and userfaultfd tells of it
    if was == UNREAD:  # a quiet program is looked at only in the end, and the twin may have moved what is astray there
        footprint = footprint_of(op, operation, n)
        unlike = twin_moved or any_astray(state.attrs, footprint)
        if as_twin or (operation.nature == "moves" and i in footprint and unlike):
            return True
    inside = op[1] <= i < op[1] + op[2]
    if op[0] == USERFAULTFD and (inside or op[3] == CLOSE):  # what is missing gives SIGBUS as long as it is registered
        return as_twin and (was == BUS or (now == BUS and (was in (0, UNREAD) or now == twin[2 + n + i])))
    if operation.nature == "writes" and inside:
        if before[2 + i] & WRITE:
            return now == op[3] or now == MIX or as_twin
        of_file = attr & KIND in _OF_FILES and now == twin[2 + n + i]
        return of_file and _written(op, state, before, after, n, now)
    if operation.nature == "discards" and inside:
        if op[3] in DISCARDS and op[3] not in NO_CONTENTS:
            kept = was == UNREAD and 0 < now < UNREAD and said != EPERM
            uncertain = of_another_thread(op, attr, before[2 + i])
            return kept or uncertain or not protected(attr, before[2 + i], state.rights)
        return op[3] == UNGUARD and was in (SEGV, MIX)
    # The same page of a file may be mapped twice, and in a child. Where the twin knows nothing of it, it has what was
    # written.
    touches = operation.nature == "writes" or (operation.nature == "discards" and op[3] == REMOVE)
    if not (touches or (op[0] == FORK and op[3] in CHILD_ACTS)) or attr & KIND not in _OF_FILES:
        return False
    written = operation.nature != "writes" or now == MIX or _written(op, state, before, after, n, now)
    return now == twin[2 + n + i] or (bool(attr & ASTRAY) and written)


def _written(op: bytes, state: State, before: bytes, after: bytes, n: int, contents: int) -> bool:
    """Whether a step has written these contents to a file."""
    inside = (k for k in range(op[1], op[1] + op[2]) if before[2 + k] & WRITE and after[2 + n + k] == contents)
    return any(state.attrs[k] & KIND in _OF_FILES for k in inside)


# ---------------------------------------------------------------------- what is permitted


def _locked_longer(op: bytes, operation: Operation, state: State, said: int, twin_answer: int) -> bool:
    """Whether advice, or msync with MS_INVALIDATE, is refused because memory is locked that MREMAP_DONTUNMAP has
    unlocked in the twin: there it unlocks the whole mapping that it moves a part of, which beside a seal ends sooner.
    """
    advice = operation.nature == "discards" and (said, twin_answer) == (EINVAL, 0)
    sync = op[0] == MSYNC and said == EBUSY and twin_answer in (0, ENOMEM)
    return (advice or sync) and bool(state.unlocked >> op[1] & (1 << op[2]) - 1)


def _as_twin(
    op: bytes,
    operation: Operation,
    state: State,
    after: bytes,
    answer: tuple[int, int],
    twin: bytes,
    twin_answer: int,
    n: int,
    *,
    any_error: bool = False,
) -> list[StepProblem]:
    attrs, said = state.attrs, answer[0]
    footprint = footprint_of(op, operation, n)
    if any_astray(attrs, footprint):
        return []
    name = operation.name
    if said == EPERM and twin_answer == LEFT_OUT:
        return [_forbidden_by_nothing(op, operation, n)]
    if said != twin_answer and not (any_error and EPERM not in (said, twin_answer)):
        text = f"{name} answers {errno_text(said)}, without seals {errno_text(twin_answer)}"
        return [StepProblem("same-as-twin", 0, name, text, (*operation.clauses, "U7"), tuple(footprint))]
    if after[2:] == twin[2:]:
        return []
    units = different(after, twin, n, attrs)
    if not units:
        return []
    text = f"after {name}: " + "; ".join(
        f"unit {i}: {unit_text(after, n, i)}, without seals {unit_text(twin, n, i)}" for i in units[:3]
    )
    return [StepProblem("same-as-twin", 0, name, text, (*operation.clauses, "U7"), units)]
