"""Between a script and the stream: a script says facts and printed lines; the rest of the stream is ours to say.

The script has a pipe to us in place of the stream. A line of it that is neither is passed on as a printed line. The
script has no CAP_SYS_PTRACE, also as root. Without that, nobody can trace us, write to our memory or take our
descriptors, nor those of PID 1; its own processes a script can still trace.
"""

import os
import struct

from guest.calls import syscall
from guest.stream import emit, write_line

PR_SET_DUMPABLE, PR_CAPBSET_DROP = 4, 24
CAP_SYS_PTRACE = 19
CAPABILITY_VERSION_3 = 0x20080522
_LONGEST = 1 << 20  # of a line
_AT_ONCE = 65536
_PIPE_MAX = 1 << 20  # more than a pipe holds


def _expect(line, at, word):
    if not line.startswith(word, at):
        raise ValueError(word)
    return at + len(word)


def _text(line, at):
    """Where a text ends that begins there. This and the next: raises ``ValueError`` for anything else."""
    at = _expect(line, at, '"')
    while True:
        end = line.index('"', at)
        escape = line.find("\\", at, end)
        if escape < 0:
            return end + 1
        kind = line[escape + 1]
        if kind == "u":
            int(line[escape + 2 : escape + 6], 16)
        elif kind not in '"\\/bfnrt':
            raise ValueError(kind)
        at = escape + (6 if kind == "u" else 2)


def _plain(line, at):
    if line[at] == '"':
        return _text(line, at)
    for word in ("true", "false", "null"):
        if line.startswith(word, at):
            return at + len(word)
    first = at = at + (line[at] == "-")
    while line[at] in "0123456789":
        at += 1
    if at == first or (line[first] == "0" and at > first + 1):
        raise ValueError("number")
    return at


def _list(line, at, part):
    at = _expect(line, at, "[")
    while line[at] != "]":
        at = part(line, at)
        if line[at] != "]":
            at = _expect(line, at, ",")
    return at + 1


def _value(line, at):
    return _list(line, at, _plain) if line[at] == "[" else _plain(line, at)


def _is_said(line):
    """Whether a line is a fact or a printed line, as ``guest.stream`` writes them, and nothing besides.

    By hand: the modules re and json take as long to import as everything else together.
    """
    try:
        if line.startswith('{"type":"printed"'):
            at = _text(line, _expect(line, 0, '{"type":"printed","text":'))
        else:
            at = _text(line, _expect(line, 0, '{"type":"fact","name":'))
            at = _value(line, _expect(line, at, ',"value":'))
            if line[at] == ",":
                at = _list(line, _expect(line, at, ',"wanted":'), _value)
        return _expect(line, at, "}") == len(line) and min(line) >= " "
    except (ValueError, IndexError):
        return False


class Relay:
    """Reads what a script says and passes it on, line by line."""

    def __init__(self):
        self.reading, self.writing = os.pipe()
        self._rest = b""

    def give(self):
        """In the script's process: what it writes to its standard output comes to us."""
        os.close(self.reading)
        os.dup2(self.writing, 1)
        os.close(self.writing)

    def take(self):
        """Pass on what is there. Returns whether more may come; raises ``BlockingIOError``."""
        part = os.read(self.reading, _AT_ONCE)
        *lines, self._rest = (self._rest + part).split(b"\n")
        if len(self._rest) > _LONGEST:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            _pass_on(line)
        return bool(part)

    def end(self):
        """Pass on what the script had said before it was gone. What outlives it is no longer heard."""
        os.set_blocking(self.reading, False)
        try:
            for _ in range(_PIPE_MAX // _AT_ONCE):
                if not self.take():
                    break
        except BlockingIOError:
            pass
        os.close(self.reading)
        if self._rest:
            _pass_on(self._rest)


def _pass_on(line):
    try:
        if _is_said(line.decode()):
            write_line(line + b"\n")
            return
    except UnicodeDecodeError:
        pass
    emit(type="printed", text=line.decode("utf-8", "replace"))


def keep_others_out():
    """Before a script is forked: whoever has no CAP_SYS_PTRACE may not trace us, even as the same user."""
    syscall("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)


def be_kept_out():
    """In the script's process: give up the capability, for what it executes, too. It may itself be traced as usual."""
    syscall("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)
    syscall("prctl", PR_CAPBSET_DROP, CAP_SYS_PTRACE, 0, 0, 0)
    with open("/proc/self/status", "rb") as file:  # noqa: PTH123 - pathlib takes as long to import as all of this
        lines = file.read().decode("utf-8", "replace").splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    sets = [int(status[name], 16) & ~(1 << CAP_SYS_PTRACE) for name in ("CapEff", "CapPrm", "CapInh")]
    halves = [held >> shift & 0xFFFFFFFF for shift in (0, 32) for held in sets]
    syscall("capset", struct.pack("Ii", CAPABILITY_VERSION_3, 0), struct.pack("6I", *halves))
