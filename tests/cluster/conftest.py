"""Fixtures that start programs and end them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.dask_cluster import Process, Start


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:

        def started(*words: str, **environment: str) -> Process:
            process = Process(*words, **environment)
            stack.callback(process.kill)
            return process

        yield started


@pytest.fixture
def scheduler(start: Start) -> tuple[Process, str]:
    words = [
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
        "--no-show",
    ]
    process = start(*words)
    return process, process.until("Scheduler at:").split()[-1]
