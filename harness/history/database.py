"""Opening the history: SQLite beside the results with nothing to set up, or a PostgreSQL server by its URL.

Every opening brings the tables up to date. Writers come one at a time (SQLite's write lock, an advisory lock on
PostgreSQL), so that two runs that end together both are recorded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from harness.errors import StoreError, UsageError
from harness.secret_urls import HIDDEN, masked, masked_text

SETTING = "SEALMATRIX_HISTORY"
_FILE = "history.sqlite"
_EXAMPLE = "e.g. postgresql://user@host/sealmatrix"
# What was meant to be the URL of a server, and would be taken for the name of a file.
_MEANT = re.compile(r"(postgres|sqlite)\w*(\+\w+)?(:|//)|[^/]*:[^/]*@|[^/]*\bpassword=", re.IGNORECASE)
_HOST = re.compile(r"[\w.:%-]+\Z")
_SHORT = 3
# Seconds a writer waits for another one.
_PATIENCE = 60
_ADVISORY_LOCK = 0x5EA1  # any number, the same in all writers


def database_url(results: Path, given: str | None = None) -> URL:
    """Which database is meant: ``given``, else SEALMATRIX_HISTORY, else the file in the results folder.

    A URL of SQLAlchemy or PostgreSQL, or the path of an SQLite file. Raises ``UsageError`` for anything else.
    """
    text_given = given or os.environ.get(SETTING) or str(results / _FILE)
    told = masked(text_given)
    if "://" not in text_given:
        if _MEANT.match(text_given):
            raise UsageError(f"{told} is not a database URL; {_EXAMPLE}, or ./ before a file's name")
        return URL.create("sqlite", database=text_given)
    try:
        url = make_url(text_given)
    except (ArgumentError, ValueError):
        raise UsageError(f"{told} is not a database URL; {_EXAMPLE}") from None
    if url.host and not _HOST.match(url.host):
        raise UsageError(f"{told} is not a database URL: in a user or password write @ as %40 and / as %2F; {_EXAMPLE}")
    if isinstance(password := url.query.get("password"), str):
        url = url.difference_update_query(["password"]).set(password=password)
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise UsageError(f"the history is kept in sqlite or postgresql, not in {url.get_backend_name()}")
    return url


@contextmanager
def reading(url: URL) -> Iterator[Connection]:
    """Open the history to ask it. Raises ``UsageError`` when there is none, ``StoreError`` when it does not answer."""
    if _is_missing(url):
        raise UsageError(
            f"there is no history in {url.database}. A run makes one; "
            "to make it from a results folder: sealmatrix history rebuild"
        )
    with _engine(url, "BEGIN") as engine:
        with engine.connect() as connection:
            behind = _is_behind(connection, url)
        if behind:
            with writing(url):
                pass
        with engine.connect() as connection:
            yield connection


@contextmanager
def writing(url: URL) -> Iterator[Connection]:
    """Open the history to change it: one transaction, kept when the block ends well. Raises as ``reading`` does."""
    if url.get_backend_name() == "sqlite" and url.database:
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise StoreError(f"{Path(url.database).parent}: cannot be written: {problem.strerror}") from problem
    with _engine(url, "BEGIN IMMEDIATE") as engine, engine.begin() as connection:
        if url.get_backend_name() == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        if _is_behind(connection, url):
            import_module("harness.history.migrate").upgrade(connection)
        yield connection


def _is_missing(url: URL) -> bool:
    return url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file()


# The newest shape of the tables: the last of migrations/versions.
HEAD = "0004"


def _is_behind(connection: Connection, url: URL) -> bool:
    """Whether the tables lack their newest shape. Raises ``UsageError`` when they were made by a later sealmatrix.

    Alembic takes longer to import than a short run is long, so it is asked only about tables that are not the newest.
    """
    if not inspect(connection).has_table("alembic_version"):
        return True
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found is None or found == HEAD:
        return found is None
    if found not in import_module("harness.history.migrate").known_revisions():
        raise UsageError(f"{shown(url)} was written by a newer sealmatrix (tables {found}); update, or name another")
    return True


def shown(url: URL) -> str:
    """The database for a person, without its password."""
    if url.get_backend_name() == "sqlite":
        return url.database or ":memory:"
    return masked(url.render_as_string(hide_password=True))


def _without(url: URL, words: str) -> str:
    """A driver's words without what they may tell of our secrets."""
    for value in filter(None, (url.password, *map(str, url.query.values()))):
        if len(str(value)) > _SHORT:  # a shorter one would hide half of every sentence
            words = words.replace(str(value), HIDDEN)
    return masked_text(words)


@contextmanager
def _engine(url: URL, begin: str) -> Iterator[Engine]:
    try:
        engine = create_engine(url, connect_args=_connect_args(url))
    except (ArgumentError, NoSuchModuleError) as problem:
        why = _without(url, str(problem).splitlines()[0])
        raise UsageError(f"{shown(url)} is not a database that sealmatrix can open: {why}") from None
    if url.get_backend_name() == "sqlite":
        _own_transactions(engine, begin)
    try:
        yield engine
    except DBAPIError as problem:
        why = _without(url, " ".join(str(problem.orig).split()))
        raise StoreError(f"the history in {shown(url)} does not answer: {why}") from None
    finally:
        engine.dispose()


def _connect_args(url: URL) -> dict[str, Any]:
    return {"timeout": _PATIENCE} if url.get_backend_name() == "sqlite" else {"connect_timeout": 10}


def _own_transactions(engine: Engine, begin: str) -> None:
    """Begin transactions ourselves: Python's sqlite3 would begin a writer's too late to keep others out."""

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)
