"""Other processes, each with a deadline: what a function did to a copy of this process, and how that ended."""

import marshal
import os
import select
import signal
import time

from guest.calls import Answer, syscall
from guest.stream import plain

DEADLINE = 5.0
PR_SET_PDEATHSIG = 1


class Child(str):
    """How a child ended that returned nothing, in words: ``killed by SIGSEGV``. It is neither true nor false."""

    def __bool__(self):
        raise TypeError(
            f"the child returned nothing ({self}), which is neither true nor false: compare it with a value or a text, "
            "or ask isinstance(it, guest.Child)"
        )


def in_child(function, *arguments, deadline=DEADLINE):
    """Run a function in a forked child and wait for it.

    Returns what the function did, an answer as an answer and all else as facts are: plain. Where it returned nothing,
    because the child was killed, say, that is told by a ``Child``.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        child, ending, answered = os.getpid(), None, False
        syscall("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        try:
            os.close(reading)
            value, problem = function(*arguments), ""
            answered = isinstance(value, Answer)
            value = int(value) if answered else plain(value)
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent is told, and nobody else can be
            ending = error
            value, problem = None, f"raised {type(error).__name__}: {error}"
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a child must not run the parent's scenario on
            ending = error
            value, problem = None, f"ended by {type(error).__name__}"
        end_forked(child, ending)
        os.write(writing, marshal.dumps((value, answered, problem)))
        os._exit(0)
    os.close(writing)
    try:
        said, status = read_until_dead(pid, reading, deadline)
    finally:
        os.close(reading)
    if status is None:
        return Child(f"no end in {deadline:g} s")
    if os.WIFSIGNALED(status):
        return Child(f"killed by {signal_name(os.WTERMSIG(status))}")
    if not said:
        return Child(f"exited with status {os.WEXITSTATUS(status)}")
    value, answered, problem = marshal.loads(said)
    if problem:
        return Child(problem)
    return Answer(value) if answered else value


def signal_name(number):
    """``SIGSEGV`` for 11."""
    known = number in signal.Signals._value2member_map_
    return signal.Signals(number).name if known else f"signal {number}"


def end_forked(owner, problem):
    """End this process here unless it is the owner: what was forked and came to the end tells nothing in its name.

    Its exit status is Python's own: what ``sys.exit()`` was given, 1 for any other exception.
    """
    if os.getpid() == owner:
        return
    if isinstance(problem, SystemExit):
        problem = problem.code
    os._exit(problem & 0xFF if isinstance(problem, int) else problem is not None)


def read_until_dead(pid, reading, deadline, relay=None):
    """What a child wrote, and its wait status; None when it had to be killed at the deadline.

    What comes through the relay meanwhile is passed on.
    """
    said = b""
    pidfd = int(syscall("pidfd_open", pid, 0))
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(reading, select.POLLIN)
    if relay is not None:
        poll.register(relay.reading, select.POLLIN)
    end = time.monotonic() + deadline
    try:
        while True:
            left = int((end - time.monotonic()) * 1000)
            ready = dict(poll.poll(max(0, left)))
            if pidfd not in ready and left <= 0:  # however much it says
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return said, None
            if relay is not None and relay.reading in ready and not relay.take():
                poll.unregister(relay.reading)
            if reading in ready:
                part = os.read(reading, 65536)
                said += part
                if part:
                    continue
                poll.unregister(reading)
            if pidfd in ready:
                return said, os.waitpid(pid, 0)[1]
    finally:
        os.close(pidfd)
