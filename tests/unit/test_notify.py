"""One message for each cause, only where something is new; no secret in words."""

from __future__ import annotations

import json
import shlex
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.history.regressions import Changed, Regression
from harness.nightly.messages import digest, messages, repeating
from harness.nightly.notify import FORMS, Message, NotSent, channels, mail_of
from tests.support.histories import regression

BROKEN = Regression(
    number=7, state="confirmed", kind="bypass", headline="munmap gets at sealed memory",
    sentence="munmap gets at it (1 rule)", rule="munmap-blocked", probe="munmap/anon-rw/exact",
    rules=("munmap-blocked",), cells=("debian-7.3.x86_64", "debian-7.3.arm64"),
    good="7.3.3", first="7.3.4", last="7.3.4", opened_run="r-1", opened="2026-11-28T00:00:00+00:00",
    events=(("2026-11-28T00:00:00+00:00", "r-1", "opened, confirmed"),),
)  # fmt: skip


def test_nothing_new_sends_nothing() -> None:
    assert messages(Changed(), (), "r-1", "p") == ()


def test_a_cause_is_one_message_with_the_three_commands_that_repeat_it() -> None:
    (told,) = messages(Changed(opened=(BROKEN,)), (), "r-1", "https://ci.example/runs/r-1/report.html")
    assert told.subject == "[sealmatrix] new: R7 munmap gets at it (1 rule)"
    assert told.commands == (
        "sealmatrix run -k debian-7.3 -a x86_64 -r munmap/anon-rw/exact",
        "sealmatrix rules show munmap-blocked --probe munmap/anon-rw/exact --reproducer",
        "sealmatrix bisect --rule munmap-blocked --probe munmap/anon-rw/exact -a x86_64 --good 7.3.3 --bad 7.3.4",
    )
    assert "last good 7.3.3, first bad 7.3.4" in told.text
    alarm = messages(Changed(), ("a.x86_64: rule probe: pass, and now fail",), "r-1", "p")[0]
    assert (alarm.event, alarm.key) == ("alarm", "alarm-a.x86_64")


def test_a_digest_tells_what_is_open_and_what_ended() -> None:
    ended = BROKEN.told("2026-11-27T00:00:00+00:00", "r-0", "fixed in 7.3.5", state="fixed", fixed_in="7.3.5")
    told = digest([BROKEN, ended], "2026-11-21")
    assert told.lines[0] == "1 regression open, 1 fixed or closed since 2026-11-21"
    assert any("fixed in 7.3.5" in line for line in told.lines)
    assert digest([ended], "2026-11-28").lines[0] == "0 regressions open, 0 fixed or closed since 2026-11-28"


# --- servers of our own -----------------------------------------------------------------------------------------------


@pytest.fixture
def web() -> Iterator[tuple[str, list[tuple[str, str, dict[str, str], Any]]]]:
    """An address, and what was sent to it: (method, path, headers, data). Paths that end in a number answer with it."""
    seen: list[tuple[str, str, dict[str, str], Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def _take(self) -> None:
            data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.command, self.path, dict(self.headers), data))
            last = self.path.rpartition("/")[2]
            self.send_response(int(last) if last.isdigit() else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_PUT = _take  # noqa: N815  its name is the library's

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


class _Mail(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 ready\r\n")
        while line := self.rfile.readline():
            word = line[:4].upper().strip()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                data = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.taken.append(data.decode())  # type: ignore[attr-defined]
            if word == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            self.wfile.write(b"250 ok\r\n")


@pytest.fixture
def mail_server() -> Iterator[tuple[int, list[str]]]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Mail) as server:
        server.taken = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], server.taken  # type: ignore[attr-defined]
        server.shutdown()


def only() -> Message:
    return messages(Changed(opened=(BROKEN,)), (), "r-1", "page")[0]


@pytest.mark.parametrize(
    ("form", "method", "key"),
    [("json", "POST", "text"), ("slack", "POST", "text"), ("matrix", "PUT", "body"), ("gitlab", "POST", "description"),
     ("github", "POST", "body")],
)  # fmt: skip
def test_a_webhook_gets_its_form(web: tuple[str, list[Any]], form: str, method: str, key: str, tmp_path: Path) -> None:
    address, seen = web
    (tmp_path / "token").write_text("s3cret-token\n")
    (channel,) = channels(
        {
            "SEALMATRIX_WEBHOOK": f"{address}/hook",
            "SEALMATRIX_WEBHOOK_FORM": form,
            "SEALMATRIX_WEBHOOK_TOKEN_FILE": str(tmp_path / "token"),
        }
    )
    channel.send(only(), "r-1")
    ((how, path, headers, data),) = seen
    assert (how, path) == (method, "/hook/r-1-new-R7" if form == "matrix" else "/hook")
    assert "s3cret-token" in headers.get("Authorization", "") + headers.get("Private-Token", "")
    assert "sealmatrix run -k debian-7.3" in data[key]
    assert "s3cret" not in json.dumps(data)
    assert set(FORMS) >= {form}


def test_what_is_not_taken_is_told_without_secrets(web: tuple[str, list[Any]]) -> None:
    address, _ = web
    (channel,) = channels({"SEALMATRIX_WEBHOOK": f"{address}/s3cret/503"})
    with pytest.raises(NotSent, match=r"^webhook: 127\.0\.0\.1 answered 503$"):
        channel.send(only(), "r-1")
    (closed,) = channels({"SEALMATRIX_WEBHOOK": "http://127.0.0.1:1/s3cret"})
    with pytest.raises(NotSent, match=r"^webhook: 127\.0\.0\.1 cannot be reached: URLError$"):
        closed.send(only(), "r-1")
    (mail,) = channels({"SEALMATRIX_MAIL_TO": "x@example.org", "SEALMATRIX_SMTP": "smtp://127.0.0.1:1"})
    with pytest.raises(NotSent, match=r"^mail: 127\.0\.0\.1:1 did not take it"):
        mail.send(only(), "r-1")


def test_mail_goes_by_smtp_and_no_password_in_the_clear(mail_server: tuple[int, list[str]]) -> None:
    port, taken = mail_server
    (channel,) = channels({"SEALMATRIX_MAIL_TO": "mm@example.org", "SEALMATRIX_SMTP": f"smtp://127.0.0.1:{port}"})
    channel.send(only(), "r-1")
    (mail,) = taken
    assert "Message-ID: <r-1.new-R7@sealmatrix>" in mail
    assert "To: mm@example.org" in mail
    with_user = {"SEALMATRIX_MAIL_TO": "x@example.org", "SEALMATRIX_SMTP": f"smtp://me:s3cret@127.0.0.1:{port}"}
    with pytest.raises(NotSent, match="offers no encryption"):
        channels(with_user)[0].send(only(), "r-1")
    assert len(taken) == 1


def test_without_a_server_mail_goes_by_sendmail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "sendmail"
    program.write_text(f'#!/bin/sh\n[ "$1" = -t ] && exec cat > {tmp_path}/taken\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    channels({"SEALMATRIX_MAIL_TO": "mm@example.org"})[0].send(only(), "r-1")
    assert "Subject: [sealmatrix] new: R7" in (tmp_path / "taken").read_text()


def test_a_subject_with_a_line_break_cannot_add_a_header() -> None:
    told = mail_of(Message("k", "new", "a\r\nBcc: x@example.org", ("b",)), "r-1", sender="a@b", to="c@d")
    assert told["Bcc"] is None
    assert told["Subject"] == "a Bcc: x@example.org"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"SEALMATRIX_WEBHOOK": "ftp://s3cret"}, "SEALMATRIX_WEBHOOK: not an address"),
        ({"SEALMATRIX_WEBHOOK": "https://x", "SEALMATRIX_WEBHOOK_FORM": "irc"}, "choose one of json, slack"),
        ({"SEALMATRIX_MAIL_TO": "x@y", "SEALMATRIX_SMTP": "imap://s3cret"}, "SEALMATRIX_SMTP: not a mail server"),
        ({"SEALMATRIX_WEBHOOK_FILE": "/nowhere/at/all"}, "cannot be read: No such file"),
    ],
)
def test_a_setting_that_is_none_is_one_line(environment: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said) as told:
        channels(environment)
    assert "s3cret" not in str(told.value)


def test_nothing_is_set_up_by_itself() -> None:
    assert channels({}) == ()


def test_commands_are_quoted_for_a_shell_and_generated_programs_are_explored_again() -> None:
    odd = regression(cells=("my kernel.x86_64",), good="/boot/a b", last="c", rule="r", probe="p/q/s")
    run, _, search = map(shlex.split, repeating(odd))
    assert run == ["sealmatrix", "run", "-k", "my kernel", "-a", "x86_64", "-r", "p/q/s"]
    assert search[-4:] == ["--good", "/boot/a b", "--bad", "c"]
    generated = regression(cells=("debian-6.12.arm64",), rule="explore-refused", probe="munmap/generated/refused")
    assert repeating(generated) == ("sealmatrix explore debian-6.12 -a arm64",)
