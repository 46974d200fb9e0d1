"""Runs one command and sees to it that nothing of what it started is left when the command, or sealmatrix, ends.

``children.py`` starts this file as a program of its own, ``python -I -S keeper.py SOCKET AFTER COMMAND...``, and holds
the other end of the socket. Whatever the command leaves behind becomes a child of the keeper (PR_SET_CHILD_SUBREAPER,
prctl(2)), whatever session it has moved to. When the other end of the socket is closed, by ``Child.end`` or because
sealmatrix is gone, also by SIGKILL, the keeper kills them all. So it does when the command ends, unless AFTER is
``leave`` and the command succeeded. It ends the way the command did: with the same status, or by the same signal.

Its start is part of the time of every program we run, so it imports no more than it must.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class _AskedToEnd(Exception):
    """Somebody wants the keeper to end."""


def main() -> None:
    """See the module."""
    other = int(sys.argv[1])
    leave = sys.argv[2] == "leave"
    for number in _ENDING:
        signal.signal(number, _asked)
    ended: dict[int, int] = {}
    signal.signal(signal.SIGCHLD, lambda number, frame: _reap(ended))
    libc = ctypes.CDLL(None)
    libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    status, pid = None, 0
    try:
        pid = _start(sys.argv[3:], libc, other)
        status = _wait(pid, other, ended)
    except _AskedToEnd:
        pass
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    if status != 0 or not leave:
        _end_all()
    _end_like(signal.SIGKILL if status is None else status)


def _asked(_number: int, _frame: object) -> None:
    raise _AskedToEnd


def _reap(ended: dict[int, int]) -> None:
    """Wait for those that have ended: the command, and orphans of its."""
    try:
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended[found[0]] = found[1]
    except ChildProcessError:
        pass


def _start(command: list[str], libc: ctypes.CDLL, other: int) -> int:
    """Start the command in a session of its own; tell the other end "0", or the error number why it cannot be run."""
    # Python may have changed the locale of its own environment; the command gets what was meant for it.
    block = _read("/proc/self/environ")
    environment = dict(entry.split(b"=", 1) for entry in block.split(b"\0") if b"=" in entry)
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            libc.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            for number in (*_ENDING, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            os.close(other)
            os.execvpe(command[0], command, environment)
        except OSError as error:
            os.write(tell, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(tell)
    # The command has them; a pipe must not stay open because of its keeper.
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    words = os.read(told, 16)
    try:
        os.write(other, words or b"0")
    except OSError:
        raise _AskedToEnd from None
    return pid


def _wait(pid: int, other: int, ended: dict[int, int]) -> int | None:
    """The command's wait status once it has ended, None when the other end was closed before."""
    woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakes)
    poll = select.poll()
    poll.register(woken, select.POLLIN)
    poll.register(other, select.POLLIN | select.POLLHUP)
    _reap(ended)  # what ended before a signal could wake us
    while pid not in ended:
        if other in {fd for fd, _ in poll.poll()}:
            return None
        os.read(woken, 4096)
    return ended[pid]


def _end_all() -> None:
    """Kill all descendants. Those of one that is killed become our children, so it ends when there are none."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    spared: set[int] = set()  # processes of another user, which are not ours to kill
    while children := _descendants() - spared:
        for child in children:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                pass
            except PermissionError:
                spared.add(child)
        for child in children - spared:
            try:
                os.waitpid(child, 0)
            except ChildProcessError:
                pass  # not ours yet, or waited for already


def _descendants() -> set[int]:
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                state, parent, *_ = _read(f"/proc/{name}/stat").rpartition(b")")[2].split()
            except OSError:
                continue  # it has just gone
            if state != b"Z" or int(parent) == os.getpid():  # the dead are their parents' to wait for
                parents[int(name)] = int(parent)
    found: set[int] = set()
    level = {os.getpid()}
    while level:
        level = {child for child, parent in parents.items() if parent in level}
        found |= level
    return found


def _read(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def _end_like(status: int) -> None:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core of ours would not tell anything of the command
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
