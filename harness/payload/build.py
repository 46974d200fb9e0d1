"""The C payload, built: the ELF for an architecture and the probes it has."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.errors import BuildError, StoreError
from harness.kernels.store import keep_made, made, telling
from harness.model.architectures import ARCHITECTURES, Arch, this_arch
from harness.model.json_text import parse_json
from harness.payload.compiler import ElfTarget, compiler_version, sources_digest
from harness.processes.children import OutOfTime, run

_LIST_SECONDS = 60
_FIELDS = ("probe", "family", "operation", "region", "span", "layout")
_SETS = ("needs", "uses", "traits")  # which a payload may leave out


@dataclass(frozen=True)
class ProbeInfo:
    """One probe as ``--list`` gives it (``docs/reference/protocol.md``). ``layout`` has one character per unit.

    ``needs`` are what the probe cannot run without, ``uses`` what it uses where the machine has it, ``traits`` what a
    reader may want to know of it.
    """

    id: str
    family: str
    operation: str
    region: str
    span: str
    layout: str
    needs: frozenset[str] = frozenset()
    uses: frozenset[str] = frozenset()
    traits: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Payload:
    """A payload that can be pushed into a guest.

    ``sha256`` is of the ELF's bytes, ``id`` of its sources (16 hex digits, also in the stream's plan).
    ``probes`` are in the order they run; they do not depend on the architecture.
    """

    arch: Arch
    path: Path
    sha256: str
    id: str
    compiler: str
    probes: tuple[ProbeInfo, ...]


def payload_root() -> Path:
    """``guest_payload/`` of the checkout, or the copy an installed wheel carries."""
    harness = Path(__file__).resolve().parent.parent
    for folder in (harness.parent / "guest_payload", harness / "_shipped" / "guest_payload"):
        if folder.is_dir():
            return folder
    raise BuildError(f"the payload's sources are missing next to {harness}; reinstall sealmatrix")


def payload_sources() -> tuple[Path, ...]:
    """The C payload's sources, sorted."""
    sources = tuple(sorted((payload_root() / "c").glob("*.c")))
    if not sources:
        raise BuildError(f"no C sources in {payload_root() / 'c'}; reinstall sealmatrix")
    return sources


def _program32() -> Path:
    return payload_root() / "program32" / "program32.c"


def payload_id() -> str:
    """What the C payload says it was built from: all of its sources, those of the program in it among them."""
    return sources_digest((*payload_sources(), _program32()))[:16]


def build(arch: Arch) -> Payload:
    """Build the C payload for ``arch``, or take it from the cache. Raises ``BuildError`` or ``StoreError``."""
    ident = payload_id()
    path = _compile(arch, ident)
    return Payload(arch, path, made(path), ident, compiler_version(), probe_list())


def probe_list() -> tuple[ProbeInfo, ...]:
    """All probes of the C payload, as the build for this machine lists them."""
    return _probe_list(payload_id())


@cache
def _probe_list(ident: str) -> tuple[ProbeInfo, ...]:
    return kept_list(_compile(this_arch(), ident), ["--list"])


def kept_list(program: Path, arguments: Sequence[str]) -> tuple[ProbeInfo, ...]:
    """What a payload lists, asked once and kept beside it."""
    listing = program.with_name(f"{program.name}.list")
    with telling(listing):
        if not made(listing):
            _keep(listing, _output(program, arguments))
        return parse_list(listing.read_text(encoding="utf-8"))


def trace(probe: str) -> str:
    """The system calls of one probe, as the build for this machine makes them: JSON lines, ``--trace``.

    They do not depend on the kernel that runs. Raises ``BuildError`` when the payload cannot be run.
    """
    program = build(this_arch()).path
    with tempfile.TemporaryDirectory(prefix="sealmatrix-") as scratch:
        return _output(program, ["--trace", probe], Path(scratch))


def parse_list(text: str) -> tuple[ProbeInfo, ...]:
    """Read what ``--list`` printed. Raises ``BuildError`` for anything else, and for an id that comes twice."""
    probes: dict[str, ProbeInfo] = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            record = parse_json(line)
            fields = [record[name] for name in _FIELDS]
            sets = [frozenset(record.get(name, ())) for name in _SETS]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BuildError(f"the payload's --list, line {number}: not a probe: {line[:80]!r}") from None
        if not all(isinstance(value, str) for value in (*fields, *(name for names in sets for name in names))):
            raise BuildError(f"the payload's --list, line {number}: not a probe: {line[:80]!r}")
        probe = ProbeInfo(*fields, *sets)
        if probe.id in probes:
            raise BuildError(f"the payload's --list, line {number}: {probe.id} comes twice")
        probes[probe.id] = probe
    if not probes:
        raise BuildError("the payload's --list is empty")
    return tuple(probes.values())


def _compile(arch: Arch, ident: str) -> Path:
    return _program(arch, ident).make()


def payload_program(arch: Arch) -> ElfTarget:
    """The C payload for ``arch``, as it is to be built."""
    return _program(arch, payload_id())


def _program(arch: Arch, ident: str) -> ElfTarget:
    inside = (ElfTarget((_program32(),), arch, "program32", small=True),) if ARCHITECTURES[arch].zig32 else ()
    return ElfTarget(payload_sources(), arch, "payload", (("PAYLOAD_ID", f'"{ident}"'),), inside=inside)


def _output(program: Path, arguments: Sequence[str], folder: Path | None = None) -> str:
    try:
        done = run([str(program), *arguments], what="asking a payload", folder=folder, seconds=_LIST_SECONDS)
    except (OSError, OutOfTime) as error:
        raise BuildError(f"{program} {' '.join(arguments)}: {error}") from error
    if done.status:
        raise BuildError(f"{program} {' '.join(arguments)}: ended with status {done.status}")
    return done.out.decode("utf-8", "replace")


def _keep(path: Path, text: str) -> None:
    parse_list(text)  # what is kept is good
    keep_made(path, text.encode())


def program_bytes(path: Path, sha256: str) -> bytes:
    """A program as it is pushed: the bytes that its digest is of. Raises ``StoreError``."""
    with telling(path):
        content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise StoreError(f"{path}: changed between being built and being used; run again")
    return content
