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
        syscall("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        try:
            os.close(reading)
            value, problem = plain(function(*arguments)), ""
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent is told, and nobody else can be
            value, problem = None, f"raised {type(error).__name__}: {error}"
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a child must not run the parent's scenario on
            value, problem = None, f"ended by {type(error).__name__}"
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
