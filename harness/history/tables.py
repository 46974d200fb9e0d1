"""The tables. What they hold is derived: the folders in ``results/`` are the truth, and this is their index."""

from __future__ import annotations

from sqlalchemy import JSON, Float, ForeignKey, Index, Integer, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Tables of the history."""


class RunRow(Base):
    """One run. Times are UTC, ISO 8601; ``plan_sha256`` tells runs of different probes apart."""

    __tablename__ = "run"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    folder: Mapped[str] = mapped_column(Text)
    started: Mapped[str] = mapped_column(Text, index=True)
    finished: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    sealmatrix: Mapped[str] = mapped_column(Text)
    payload_id: Mapped[str] = mapped_column(Text)
    catalogue_sha256: Mapped[str] = mapped_column(Text)
    plan_sha256: Mapped[str] = mapped_column(Text)
    exit_code: Mapped[int] = mapped_column(Integer)
    counts: Mapped[dict[str, int]] = mapped_column(JSON)


class CellRow(Base):
    """One cell of one run. ``seconds`` is all of its stages, ``boot`` the first of them."""

    __tablename__ = "cell"
    __table_args__ = (UniqueConstraint("run_id", "cell"), Index("ix_cell_cell", "cell"))

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"))
    cell: Mapped[str] = mapped_column(Text)
    kernel: Mapped[str] = mapped_column(Text)
    release: Mapped[str] = mapped_column(Text)
    version: Mapped[str] = mapped_column(Text)
    arch: Mapped[str] = mapped_column(Text)
    profile: Mapped[str] = mapped_column(Text)
    page_size: Mapped[int] = mapped_column(Integer)
    kernel_sha256: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    acceleration: Mapped[str] = mapped_column(Text)
    seconds: Mapped[float] = mapped_column(Float)
    boot: Mapped[float] = mapped_column(Float)


class RuleRow(Base):
    """One rule, as the newest run that was recorded tells it."""

    __tablename__ = "rule"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(Text, unique=True)
    family: Mapped[str] = mapped_column(Text)
    contract: Mapped[str] = mapped_column(Text)
    statement: Mapped[str] = mapped_column(Text)


class ResultRow(Base):
    """One rule on one cell. Rule first in the key: a rule's history is one stretch of the table."""

    __tablename__ = "result"
    __table_args__ = (Index("ix_result_cell", "cell_number"), {"sqlite_with_rowid": False})

    rule_number: Mapped[int] = mapped_column(ForeignKey("rule.number"), primary_key=True, autoincrement=False)
    cell_number: Mapped[int] = mapped_column(
        ForeignKey("cell.number", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    status: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    follows: Mapped[str] = mapped_column(Text)


class RegressionRow(Base):
    """One regression, from the night that saw it first on; see ``harness/history/regressions.py``."""

    __tablename__ = "regression"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    state: Mapped[str] = mapped_column(Text, index=True)
    kind: Mapped[str] = mapped_column(Text)
    headline: Mapped[str] = mapped_column(Text)
    sentence: Mapped[str] = mapped_column(Text)
    rule: Mapped[str] = mapped_column(Text)
    probe: Mapped[str] = mapped_column(Text)
    rules: Mapped[list[str]] = mapped_column(JSON)
    cells: Mapped[list[str]] = mapped_column(JSON)
    good: Mapped[str] = mapped_column(Text)
    first: Mapped[str] = mapped_column(Text)
    last: Mapped[str] = mapped_column(Text)
    opened_run: Mapped[str] = mapped_column(Text)
    opened: Mapped[str] = mapped_column(Text)
    seen_run: Mapped[str] = mapped_column(Text)
    fixed_in: Mapped[str] = mapped_column(Text)
    bisected: Mapped[str] = mapped_column(Text)
    bisection: Mapped[str] = mapped_column(Text)
    owner: Mapped[str] = mapped_column(Text)
    link: Mapped[str] = mapped_column(Text)
    note: Mapped[str] = mapped_column(Text)
    events: Mapped[list[list[str]]] = mapped_column(JSON)


class CostRow(Base):
    """One cost on one kernel, in instructions; see ``harness/cost``."""

    __tablename__ = "cost"

    kernel_sha256: Mapped[str] = mapped_column(Text, primary_key=True)
    arch: Mapped[str] = mapped_column(Text, primary_key=True)
    row: Mapped[str] = mapped_column(Text, primary_key=True)
    kernel: Mapped[str] = mapped_column(Text)
    release: Mapped[str] = mapped_column(Text)
    version: Mapped[str] = mapped_column(Text)
    first: Mapped[float] = mapped_column(Float)
    settled: Mapped[float] = mapped_column(Float)
