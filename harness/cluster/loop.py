"""The event loop that Dask's client works in."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from tornado.ioloop import IOLoop

_END_SECONDS = 10.0  # for what is still under way in it to be cancelled


@contextmanager
def running_loop() -> Iterator[IOLoop]:
    """Run an event loop in a thread of its own, as long as the block lasts. Raises ``OSError`` where none can be made.

    Dask would start one by itself, but it fails (``LoopRunner.start``: AssertionError) when that thread does not come
    to run within 10 s, as on a busy machine, and never ends it when nobody answers.
    """
    begun: Future[tuple[IOLoop, asyncio.Event]] = Future()

    async def turn() -> None:
        over = asyncio.Event()
        begun.set_result((IOLoop.current(), over))
        await over.wait()

    def run() -> None:
        try:
            asyncio.run(turn())
        except OSError as problem:
            if begun.done():
                raise
            begun.set_exception(problem)

    thread = threading.Thread(target=run, name="Dask's client", daemon=True)
    thread.start()
    loop, over = begun.result()
    try:
        yield loop
    finally:
        loop.add_callback(over.set)
        thread.join(_END_SECONDS)
