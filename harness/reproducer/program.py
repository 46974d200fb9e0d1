"""A probe as a small C program of its own: the payload's calls, written out, and what the contract demands. Pure.

The calls come from the payload (``--trace``): they are those the probe really makes, with real addresses. Here they get
names again: addresses inside the window, free places and descriptors that an earlier call returned.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from harness.errors import UsageError
from harness.model.rule import ProbeName, Rule
from harness.reproducer.expressions import CallNames
from harness.reproducer.texts import HEAD, HELPERS, OF_WRITTEN, OPTIONAL
from harness.reproducer.trace import Call, Trace
from harness.reproducer.written import NONE, written

_MORE_THAN_CALLS = frozenset({"race", "grows", "new-image"})  # traits; a stack grows by being touched
_FEW = 100
_LOOKING = frozenset({"/proc/self/maps", "/proc/self/smaps", "/proc/self/pagemap"})


def reproducer(rule: Rule, probe: ProbeName, trace: Trace) -> str:
    """A C program that does what the probe does and says what the rule demands: exit 0 kept, 1 broken, 2 neither.

    Raises ``UsageError`` for a probe that is more than a few calls and for which nobody wrote a program.
    """
    if rule.id in NONE:
        raise UsageError(f"no C program for {rule.id}: {NONE[rule.id]}; to run it: sealmatrix run -r {probe.id}")
    if probe.id == written_probe(rule):
        return _as_written(rule, probe)
    calls = list(_acting(trace.calls))
    operation = [call for call in calls if call.stage == "operation" and call.name != "SYS_clone"]
    forks = any(call.name == "SYS_clone" for call in calls)
    foreign = any(call.pid != calls[0].pid for call in operation)
    if trace.traits & _MORE_THAN_CALLS or not operation or (foreign and not forks):
        raise UsageError(f"{probe.id} is not a few system calls; to run it: sealmatrix run -r {probe.id}")
    if trace.mapping:
        start, length = operation[0].arguments[:2]
        trace = replace(trace, base=start, page=length)
    if len(calls) > _FEW:
        raise UsageError(f"{probe.id} is {len(calls)} system calls; to run it: sealmatrix run -r {probe.id}")
    main = _main(rule, probe, trace, calls)
    helpers = [text for name, text in OPTIONAL.items() if any(name in line for line in main)]
    return "\n".join([_comment(rule, probe), HEAD, HELPERS, *helpers, *main]) + "\n"


def written_probe(rule: Rule) -> str:
    """The probe that the rule's hand-written program repeats, "" where it has none."""
    return written().get(rule.id, ("", ""))[0]


def _as_written(rule: Rule, probe: ProbeName) -> str:
    _, code = written()[rule.id]
    parts: list[str] = []
    for name, text in reversed({**OPTIONAL, **OF_WRITTEN}.items()):  # those that need others come last
        if any(name in part for part in (code, *parts)):
            parts.insert(0, text)
    return "\n".join([_comment(rule, probe), HEAD, HELPERS, *parts, code])


def _acting(calls: Sequence[Call]) -> Iterator[Call]:
    """Leave out how the payload looks at the window."""
    looking: set[int] = set()
    for call in calls:
        if call.name == "SYS_openat" and call.text.get(1) in _LOOKING:
            looking.add(call.result)
        elif call.name == "SYS_close" and call.arguments[0] in looking:
            looking.discard(call.arguments[0])
        elif not (call.name in ("SYS_read", "SYS_pread64") and call.arguments[0] in looking):
            yield call


def _comment(rule: Rule, probe: ProbeName) -> str:
    lines = [
        f"Rule {rule.id} ({rule.contract}), probe {probe.id}:",
        *textwrap.wrap(rule.statement, 108),
        *rule.sources,
        "Build and run here: cc -o repro repro.c && ./repro",
        "A guest has no shared libraries, so there it has to be static: cc -static -o repro repro.c",
        "To compile it for a guest and run it there: sealmatrix exec KERNEL --push repro.c -- repro",
        "Exit status: 0 the promise was kept, 1 it was broken, 2 it could not be tried.",
    ]
    return "/*\n" + "\n".join(f" * {line.replace('*/', '* /')}" for line in lines) + "\n */"


def _main(rule: Rule, probe: ProbeName, trace: Trace, calls: Sequence[Call]) -> list[str]:
    names = CallNames(trace)
    parent = calls[0].pid
    setup = [call for call in calls if call.stage == "setup"]
    operation = [call for call in calls if call.stage == "operation"]
    body = [f"{line}" for call in setup for line in _setup(names, call)]
    sealed = [
        f'need(syscall(SYS_mseal, {names.place(trace.base + first * trace.page)}, {count} * page, 0), "mseal");'
        for first, count in _runs(trace.layout, "sS")
    ]
    acts = _operation(rule, names, operation, parent)
    looks = list(_looks(rule, probe, trace, calls, names))
    variables = ["const size_t page = (size_t)sysconf(_SC_PAGESIZE);", "char *const window = (char *)0x100000000;"]
    destination = "(char *)0xa00000000"
    if trace.placed:
        unit = f"const size_t page = {trace.page}; /* here, a unit of the window */"
        variables = [unit, f"char *const window = (char *){trace.base:#x};"]
        destination = f"(char *){trace.destination:#x}"
    if name := trace.mapping:
        variables = ["size_t page; /* here, the whole mapping */", f'char *const window = mapping("{name}", &page);']
    if any("destination" in line for line in (*body, *acts)):
        variables.append(f"char *const destination = {destination};")
    if any("scratch" in line for line in (*body, *acts)):
        variables.append("static unsigned char scratch[64];")
    inner = [*variables, *names.declarations, "long got;", "", f"/* {trace.layout}: {_LEGEND} */", *body]
    written = "\n".join((*body, *acts))
    inner += [f"(void){name}; /* only kept */" for name in names.given if written.count(name) == 1]
    inner += ["", *sealed, "", *acts, "", *looks, "return broken;"]
    return ["int main(void)", "{", *(f"\t{line}" if line else "" for line in inner), "}"]


_LEGEND = "p plain, s sealed, g a gap; upper case is what the operation covers"


def _runs(layout: str, of: str) -> Iterator[tuple[int, int]]:
    first = None
    for i, c in enumerate((*layout, "")):
        inside = c != "" and c in of
        if inside and first is None:
            first = i
        elif not inside and first is not None:
            yield first, i - first
            first = None


def _setup(names: CallNames, call: Call) -> Iterator[str]:
    text = names.expression(call)
    if call.name == "memset":
        yield f"{text};"
    elif name := names.keep(call):
        cast = "(char *)" if call.name == "SYS_mmap" else "(int)"
        yield f'{name} = {cast}need({text}, "{call.name.removeprefix("SYS_")}");'
    else:
        yield f'need({text}, "{call.name.removeprefix("SYS_")}");'


def _operation(rule: Rule, names: CallNames, calls: Sequence[Call], parent: int) -> list[str]:
    own = [call for call in calls if call.pid == parent and call.name != "SYS_clone"]
    child = [call for call in calls if call.pid != parent and call.name != "SYS_clone"]
    lines: list[str] = []
    if child:
        inside = _calls(rule, names, child, decisive=not own)
        lines = [
            "setvbuf(stdout, NULL, _IONBF, 0);",
            "if (fork() == 0) {",
            *(f"\t{line}" for line in inside),
            "\t_exit(broken);",
            "}",
        ]
        lines += ["wait(&broken);", "broken = broken != 0;"]
    return [*lines, *_calls(rule, names, own, decisive=True)]


def _calls(rule: Rule, names: CallNames, calls: Sequence[Call], *, decisive: bool) -> list[str]:
    lines: list[str] = []
    for call in calls:
        name = call.name.removeprefix("SYS_")
        for position, (at, length) in call.iovec.items():
            lines.append(f"struct iovec range{position} = {{{names.pointer(at)}, {names.size(length)}}};")
        lines.append("errno = 0;")
        lines.append(f"got = {names.expression(call)};")
        lines.append(f'printf("{name} answered %ld (%s)\\n", got, got == -1 ? strerror(errno) : "success");')
    if decisive and calls and (demanded := _demanded(rule, calls[-1])):
        condition, words = demanded
        lines.append(f'demand({condition}, "{calls[-1].name.removeprefix("SYS_")} {words}");')
    return lines


def _demanded(rule: Rule, unsealed: Call) -> tuple[str, str] | None:
    """The condition on ``got`` and ``errno``, and what it says; None where the rule leaves the answer open.

    ``unsealed`` is the same call over memory that is not sealed: where it fails too, the rule does not apply.
    """
    if rule.outcome in ("blocked", "permitted") and unsealed.result == -1:
        return None
    errnos = {
        "blocked": rule.errnos,
        "permitted": ("0",),
        "interface": rule.expect_sealed.errnos if rule.expect_sealed else (),
    }.get(rule.outcome, ())
    if not errnos:
        return None
    conditions = ["got != -1" if name == "0" else f"(got == -1 && errno == {name})" for name in errnos]
    words = " or ".join("succeeds" if name == "0" else f"is refused with {name}" for name in errnos)
    return " || ".join(conditions), words


def _looks(rule: Rule, probe: ProbeName, trace: Trace, calls: Sequence[Call], names: CallNames) -> Iterator[str]:
    """What has to be seen afterwards: contents, smaps, and last, for it ends what is not, seals."""
    expect = rule.expect_sealed if rule.outcome == "interface" else None
    seals = expect and (expect.shown or expect.seals == "range") and calls[-1].name == "SYS_mseal"
    sealed = "sSP" if seals and calls[-1].result == 0 else "sS"
    places = {i: names.place(trace.base + i * trace.page) for i, c in enumerate(trace.layout) if c not in "gG"}
    for i, value in _contents(trace, calls).items():
        if i in places and trace.layout[i] in _keeping(rule, trace):
            yield f'demand(holds({places[i]}, {value}), "unit {i} holds what it held");'
    for i, place in places.items() if expect and expect.shown else ():
        if trace.layout[i] in sealed:
            yield f'demand(shown({place}), "smaps shows the seal of unit {i}");'
        else:
            yield f'demand(!shown({place}), "smaps shows no seal of unit {i}");'
    for i, place in places.items():
        if trace.layout[i] in sealed:
            yield f'demand(syscall(SYS_munmap, {place}, page) == -1 && errno == EPERM, "unit {i} is sealed");'


def _keeping(rule: Rule, trace: Trace) -> str:
    """The letters of a layout whose units keep their contents; none where they cannot be read."""
    if "unreadable" in trace.traits:
        return ""
    if rule.outcome == "blocked":
        return "sSpP" if rule.atomic else "sS"
    return "sS" if rule.outcome in ("permitted", "undefined") and rule.contents == "kept" else ""


def _contents(trace: Trace, calls: Sequence[Call]) -> Mapping[int, int]:
    """The byte that fills each unit of the window, of those the set-up filled."""
    filled: dict[int, int] = {}
    for start, value, length in (call.arguments for call in calls if call.name == "memset"):
        first = (start - trace.base) // trace.page
        filled |= dict.fromkeys(range(first, first + length // trace.page), value)
    return {i: filled[i] for i in range(len(trace.layout)) if i in filled}
