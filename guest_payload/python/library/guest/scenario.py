"""Runs a user's script under a deadline: ``python -m guest [--deadline-ms N] [--kmsg] NAME FILE.py``.

The script runs in a process of its own, so that whatever becomes of it, what it had said stands and its end is told:
the last but one record is ``outcome``. Judging is the host's business, expectations included.
"""

import contextlib
import io
import marshal
import os
import signal
import struct
import sys
import threading

from guest.calls import SetupFailed, syscall
from guest.processes import end_forked, read_until_dead, signal_name
from guest.relay import Relay, be_kept_out, keep_others_out
from guest.stream import KernelLog, emit, emit_end, emit_plan, plain

RLIMIT_CORE = 4
_GRAVITY = ("done", "skipped", "exited", "raised")  # of what the script's threads came to, the last counts


class Skip(Exception):
    """The scenario does not apply to this kernel or machine."""


def observe(name, *value, **facts):
    """Tell the host a fact, or several: ``observe("munmap", answer)``, ``observe("after", perms=p, sealed=s)``.

    Several of one name are told apart by the reader, who hears all processes of a script.
    """
    if len(value) > 1 or (not value and not facts):
        raise TypeError("observe() takes a name and a value, or a name and facts by keyword")
    for fact in value:
        emit(type="fact", name=_named(name), value=plain(fact))
    for key, fact in facts.items():
        emit(type="fact", name=_named(f"{name}: {key}"), value=plain(fact))


def expect(name, found, *wanted):
    """Tell the host a fact and which values of it are right. Returns whether it has one of them."""
    if not wanted:
        raise TypeError("expect() takes a name, what was found, and one or more values that are right")
    found, wanted = plain(found), [plain(value) for value in wanted]
    emit(type="fact", name=_named(name), value=found, wanted=wanted)
    return any(_same(found, value) for value in wanted)


def skip(reason):
    """End the scenario here: it has nothing to ask of this kernel."""
    raise Skip(reason)


def _same(found, wanted):
    return type(found) is type(wanted) and found == wanted


def _named(name):
    if not isinstance(name, str) or not name.strip():
        raise TypeError("a fact has a name: a text that is not empty")
    return name


class _Printed(io.TextIOBase):
    """What a script prints, and its tracebacks, as records: standard output belongs to the stream."""

    def __init__(self):
        self._line = ""

    def write(self, text):
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            emit(type="printed", text=line)
        return len(text)

    def flush(self):
        """Nothing is held but a line that has not ended."""

    def end(self):
        """Write what has no newline behind it."""
        if self._line:
            self.write("\n")


def _play(path):
    """Run the script in this process, to the end of its threads. Returns how it ended and by what exception."""
    printed = sys.stdout = sys.stderr = _Printed()
    module = type(sys)("__main__")
    module.__file__ = path
    sys.modules["__main__"] = module
    sys.argv = [path]
    endings, broken = [], None

    def thread_ended(thread):
        if not issubclass(thread.exc_type, SystemExit):  # which ends a thread and nothing else
            endings.append(_ending(thread.exc_value, path))

    threading.excepthook = thread_ended
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib takes as long to import as all of this
            code = compile(file.read(), path, "exec", dont_inherit=True)
        exec(code, module.__dict__)
        endings.append(("done", "", 0))
    except BaseException as problem:  # noqa: BLE001 - anything a user's script may do is told, not lost
        broken = problem
        endings.append(_ending(problem, path))
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()  # as Python does; the deadline holds for them too
    printed.end()
    return max(endings, key=lambda ending: _GRAVITY.index(ending[0])), broken


def _ending(problem, path):
    """How the script, or a thread of it, ended by an exception: (ended, text, line)."""
    match problem:
        case Skip():
            return "skipped", str(problem), _line_of(problem, path)
        case SetupFailed():
            return "raised", f"could not be set up: {problem}", _line_of(problem, path)
        case SystemExit():
            status = problem.code if problem.code is not None else 0
            return "exited", f"sys.exit({status!r})", _line_of(problem, path)
        case SyntaxError() if problem.filename == path:
            return "raised", f"SyntaxError: {problem.msg}", problem.lineno or 0
    sys.__excepthook__(type(problem), problem, problem.__traceback__)
    return "raised", f"{type(problem).__name__}: {problem}", _line_of(problem, path)


def _line_of(problem, path):
    """The script's own line that was being carried out."""
    line, trace = 0, problem.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _outcome(path, deadline):
    """Run the script in a child. Returns how it ended: (ended, text, line)."""
    reading, writing = os.pipe()
    relay = Relay()
    keep_others_out()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        relay.give()
        script = os.getpid()
        os.setsid()
        be_kept_out()
        # Not 0: with that, a program that core dumps are piped to would still be run.
        syscall("prlimit64", 0, RLIMIT_CORE, struct.pack("QQ", 1, 1), 0)
        (ended, text, line), broken = _play(path)
        end_forked(script, broken)
        os.write(writing, marshal.dumps((ended, text[:2000], line)))
        os._exit(0)
    os.close(writing)
    os.close(relay.writing)
    said, status = read_until_dead(pid, reading, deadline, relay)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # what it left behind
    relay.end()
    if status is None:
        return "timeout", f"no end within {deadline:g} s", 0
    if os.WIFSIGNALED(status):
        return "killed", f"killed by {signal_name(os.WTERMSIG(status))}", 0
    if not said:
        return "exited", f"the process ended with status {os.WEXITSTATUS(status)} in the midst of the script", 0
    ended, text, line = marshal.loads(said)
    return ended, text, line


def main(arguments):
    """Run one scenario and write its stream. Returns the exit status: 0, whatever became of the script."""
    deadline, kmsg = 30.0, False
    while arguments and arguments[0].startswith("--"):
        option = arguments.pop(0)
        if option == "--deadline-ms":
            deadline = int(arguments.pop(0)) / 1000
        elif option == "--kmsg":
            kmsg = True
        else:
            raise SystemExit(f"guest.scenario: unknown option {option}")
    probe, path = arguments
    emit_plan([probe])
    KernelLog(wanted=kmsg).begin(probe)
    emit(type="begin", probe=probe)
    ended, text, line = _outcome(path, deadline)
    emit(type="outcome", probe=probe, ended=ended, text=text, line=line)
    emit_end(1)
    return 0
