"""Other processes, each with a deadline: what a function did to a copy of this process, and how that ended."""

import marshal
import os
import select
import signal
import time

from guest.calls import syscall
from guest.stream import plain

DEADLINE = 5.0
PR_SET_PDEATHSIG = 1


class Child:
    """How a child ended: ``value`` that its function returned, or ``problem``, why it returned none."""

    __slots__ = ("problem", "value")

    def __init__(self, value, problem=""):
        self.value, self.problem = value, problem

    def __repr__(self):
        return self.problem or str(self.value)

    def told(self):
        """As a fact."""
        return self.problem or self.value


def in_child(function, *arguments, deadline=DEADLINE):
    """Run a function in a forked child and wait for it. What it returns comes back as facts do: plain."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        child, ending = os.getpid(), None
        syscall("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        try:
            os.close(reading)
            value, problem = plain(function(*arguments)), ""
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent is told, and nobody else can be
            ending = error
            value, problem = None, f"raised {type(error).__name__}: {error}"
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a child must not run the parent's scenario on
            ending = error
            value, problem = None, f"ended by {type(error).__name__}"
        end_forked(child, ending)
        os.write(writing, marshal.dumps((value, problem)))
        os._exit(0)
    os.close(writing)
    try:
        said, status = read_until_dead(pid, reading, deadline)
    finally:
        os.close(reading)
    if status is None:
        return Child(None, f"no end in {deadline:g} s")
    if os.WIFSIGNALED(status):
        return Child(None, f"killed by {signal.Signals(os.WTERMSIG(status)).name}")
    if not said:
        return Child(None, f"exited with status {os.WEXITSTATUS(status)}")
    return Child(*marshal.loads(said))


def end_forked(owner, problem):
    """End this process here unless it is the owner: what was forked and came to the end tells nothing in its name.

    Its exit status is Python's own: what ``sys.exit()`` was given, 1 for any other exception.
    """
    if os.getpid() == owner:
        return
    if isinstance(problem, SystemExit):
        problem = problem.code
    os._exit(problem & 0xFF if isinstance(problem, int) else problem is not None)


def read_until_dead(pid, reading, deadline):
    """What a child wrote, and its wait status; None when it had to be killed at the deadline."""
    said = b""
    pidfd = int(syscall("pidfd_open", pid, 0))
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(reading, select.POLLIN)
    end = time.monotonic() + deadline
    try:
        while True:
            ready = dict(poll.poll(max(0, int((end - time.monotonic()) * 1000))))
            if not ready:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return said, None
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
