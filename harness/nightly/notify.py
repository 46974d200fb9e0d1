"""Sending messages: mail by SMTP or sendmail, and a webhook. Secrets come from the environment, or from files."""

from __future__ import annotations

import json
import os
import shutil
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from harness.errors import InfrastructureError, ToolMissing, UsageError
from harness.nightly.messages import Message
from harness.processes.children import OutOfTime, run

_SECONDS = 20
_PORTS = {"smtp": 587, "smtps": 465}
_ICONS = {"new": "\N{CROSS MARK}", "confirmed": "\N{CROSS MARK}", "fixed": "\N{WHITE HEAVY CHECK MARK}"}
Send = Callable[[Message, str], None]
"""Takes a message and the run it is of. Raises ``NotSent``."""


class NotSent(InfrastructureError):
    """A message could not be sent. Never has a secret in its words."""


@dataclass(frozen=True)
class Messenger:
    """A way to send messages, and its name for people."""

    name: str
    send: Send


def channels(environment: Mapping[str, str] = os.environ) -> tuple[Messenger, ...]:
    """What is set up. Raises ``UsageError`` for a setting that cannot be understood."""
    found = []
    if to := _setting(environment, "SEALMATRIX_MAIL_TO"):
        found.append(Messenger("mail", _mail(environment, to)))
    if address := _setting(environment, "SEALMATRIX_WEBHOOK"):
        form = _setting(environment, "SEALMATRIX_WEBHOOK_FORM") or "json"
        if form not in FORMS:
            raise UsageError(f"SEALMATRIX_WEBHOOK_FORM={form}: choose one of {', '.join(FORMS)}")
        if urlsplit(address).scheme not in ("http", "https"):
            raise UsageError("SEALMATRIX_WEBHOOK: not an address; it begins with https://")
        found.append(Messenger("webhook", _webhook(address, form, _setting(environment, "SEALMATRIX_WEBHOOK_TOKEN"))))
    return tuple(found)


def _setting(environment: Mapping[str, str], name: str) -> str:
    """A setting, or what is in the file that ``NAME_FILE`` names."""
    if value := environment.get(name, ""):
        return value
    place = environment.get(f"{name}_FILE", "")
    if not place:
        return ""
    try:
        return Path(place).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageError(f"{name}_FILE={place}: cannot be read: {getattr(problem, 'strerror', 'no text')}") from None


# --- mail -------------------------------------------------------------------------------------------------------------


def _mail(environment: Mapping[str, str], to: str) -> Send:
    sender = _setting(environment, "SEALMATRIX_MAIL_FROM") or "sealmatrix@localhost"
    server = _setting(environment, "SEALMATRIX_SMTP")
    password = _setting(environment, "SEALMATRIX_SMTP_PASSWORD")
    if server and urlsplit(server).scheme not in _PORTS:
        raise UsageError("SEALMATRIX_SMTP: not a mail server; write smtp://user@host:587 or smtps://user@host")

    def send(message: Message, about: str) -> None:
        mail = mail_of(message, about, sender=sender, to=to)
        if server:
            _by_smtp(mail, server, password)
        else:
            _by_sendmail(mail)

    return send


def mail_of(message: Message, run_id: str, *, sender: str, to: str) -> EmailMessage:
    """A message as mail. Its id is the same each time it is sent: readers show one of two."""
    mail = EmailMessage()
    mail["Subject"] = " ".join(message.subject.split())
    mail["From"], mail["To"] = sender, to
    mail["Date"] = formatdate()
    mail["Message-ID"] = f"<{run_id}.{message.key}@sealmatrix>"
    if message.regression is not None:
        mail["References"] = f"<regression.{message.regression.number}@sealmatrix>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    return mail


def _by_smtp(mail: EmailMessage, server: str, password: str) -> None:
    place = urlsplit(server)
    host, port = place.hostname or "localhost", place.port or _PORTS[place.scheme]
    try:
        with ExitStack() as stack:
            if place.scheme == "smtps":
                context = ssl.create_default_context()
                client: smtplib.SMTP = stack.enter_context(
                    smtplib.SMTP_SSL(host, port, timeout=_SECONDS, context=context)
                )
            else:
                client = stack.enter_context(smtplib.SMTP(host, port, timeout=_SECONDS))
                client.ehlo()
                if client.has_extn("starttls"):
                    client.starttls(context=ssl.create_default_context())
                elif place.username:
                    raise NotSent(f"mail: {host} offers no encryption, so no password is sent to it")
            if place.username:
                client.login(unquote(place.username), password or unquote(place.password or ""))
            client.send_message(mail)
    except (OSError, smtplib.SMTPException) as problem:
        raise NotSent(f"mail: {host}:{port} did not take it: {type(problem).__name__}") from None


def _by_sendmail(mail: EmailMessage) -> None:
    program = shutil.which("sendmail") or shutil.which("/usr/sbin/sendmail")
    if program is None:
        raise ToolMissing("sendmail", "a mail server's package, or set SEALMATRIX_SMTP")
    try:
        done = run([program, "-t", "-i"], what="sending mail", given=mail.as_bytes(), seconds=_SECONDS)
    except (OSError, OutOfTime) as problem:
        raise NotSent(f"mail: sendmail did not take it: {type(problem).__name__}") from None
    if done.status:
        raise NotSent(f"mail: sendmail ended with status {done.status}")


# --- webhook ----------------------------------------------------------------------------------------------------------


def plain_json(message: Message, run_id: str) -> dict[str, Any]:
    """Schema version 1: what a program of one's own takes."""
    return {
        "schema_version": 1,
        "event": message.event,
        "run": run_id,
        "subject": message.subject,
        "text": message.text,
        "commands": list(message.commands),
        "regression": {"name": message.regression.name, **asdict(message.regression)} if message.regression else None,
    }


def _chat(message: Message) -> str:
    head = f"{_ICONS.get(message.event, '')} {message.subject}".strip()
    commands = "\n".join(message.commands)
    return "\n".join([head, *message.lines]) + (f"\n```\n{commands}\n```" if commands else "")


def _issue(message: Message) -> dict[str, Any]:
    commands = "\n".join(message.commands)
    body = "\n\n".join(message.lines) + (f"\n\n```sh\n{commands}\n```\n" if commands else "\n")
    return {"title": message.subject.removeprefix("[sealmatrix] "), "body": body}


def _gitlab(message: Message) -> dict[str, Any]:
    issue = _issue(message)
    return {"title": issue["title"], "description": issue["body"], "labels": "sealmatrix"}


FORMS: Mapping[str, Callable[[Message, str], dict[str, Any]]] = {
    "json": plain_json,
    "slack": lambda message, _: {"text": _chat(message)},
    "matrix": lambda message, _: {"msgtype": "m.text", "body": _chat(message)},
    "gitlab": lambda message, _: _gitlab(message),
    "github": lambda message, _: {**_issue(message), "labels": ["sealmatrix"]},
}
"""What a webhook is sent: for a program, for two chats, and for the interfaces that make an issue."""


def _webhook(address: str, form: str, token: str) -> Send:
    host = urlsplit(address).hostname or "?"

    def send(message: Message, about: str) -> None:
        data = json.dumps(FORMS[form](message, about)).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "sealmatrix"}
        if token:
            headers["PRIVATE-TOKEN" if form == "gitlab" else "Authorization"] = (
                token if form == "gitlab" else f"Bearer {token}"
            )
        # Matrix wants a name of ours for each message, and shows one that comes twice once.
        place, method = (
            (f"{address.rstrip('/')}/{about}-{message.key}", "PUT") if form == "matrix" else (address, "POST")
        )
        request = urllib.request.Request(place, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS):
                pass
        except urllib.error.HTTPError as problem:
            raise NotSent(f"webhook: {host} answered {problem.code}") from None
        except (OSError, ValueError) as problem:
            raise NotSent(f"webhook: {host} cannot be reached: {type(problem).__name__}") from None

    return send
