"""A connection that breaks under paramiko, in whatever call: the guest is lost, and nothing else is raised."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import Any

import paramiko
import pytest

from harness.guests.channel import Frame, Gone
from harness.guests.ssh_line import SshLine
from harness.guests.ssh_place import files_of


class Breaking:
    """A transport and its channel. Calls named in ``broken`` raise ``problem``; the others do what a quiet one does."""

    def __init__(self, problem: Exception) -> None:
        self.problem = problem
        self.broken: tuple[str, ...] = ()
        self.status_event, self.exit_status = Event(), -1
        self.status_event.set()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*_: object, **__: object) -> object:
            if name in self.broken:
                raise self.problem
            return {"open_session": self, "recv_stderr_ready": False, "is_active": False, "recv": b""}.get(name)

        return call


# All that paramiko was seen or is documented to raise: EOFError where it writes, which reading does, too.
PROBLEMS = (
    EOFError(),
    OSError("Socket is closed"),
    ConnectionResetError(104, "reset"),
    paramiko.SSHException("broken"),
)
each_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: type(problem).__name__)
USES: dict[str, Callable[[SshLine], object]] = {
    "send": lambda line: line.send(Frame("p", b""), 5),
    "recv": lambda line: line.receive(time.monotonic() + 5, "late"),
}


def line_over(breaking: Breaking) -> SshLine:
    return SshLine(breaking, "agent", "there", 5)  # type: ignore[arg-type]


@each_problem
@pytest.mark.parametrize("call", USES)
def test_a_call_that_breaks_loses_the_guest(problem: Exception, call: str) -> None:
    breaking = Breaking(problem)
    line = line_over(breaking)
    breaking.broken = (call,)
    with pytest.raises(Gone, match="the connection to there was lost"):
        USES[call](line)


@each_problem
def test_what_was_said_on_standard_error_cannot_be_read_any_more(problem: Exception) -> None:
    breaking = Breaking(problem)
    line = line_over(breaking)
    breaking.broken = ("recv_stderr_ready",)
    assert line.complaints() == ""


@each_problem
def test_leaving_a_machine_that_has_gone_is_no_failure(problem: Exception) -> None:
    breaking = Breaking(problem)
    line = line_over(breaking)
    breaking.broken = ("shutdown_write",)
    assert line.leave() is False


@each_problem
def test_closing_sftp_on_a_machine_that_has_gone_is_no_failure(
    problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking = Breaking(problem)
    breaking.broken = ("close",)
    monkeypatch.setattr(paramiko, "SFTPClient", lambda channel: channel)

    class Client:
        def get_transport(self) -> Breaking:
            return breaking

    with files_of(Client(), 5) as files:  # type: ignore[arg-type]
        assert vars(files)["_connection"] is breaking
