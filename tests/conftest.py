"""For all tests."""

from __future__ import annotations

import signal
import time

import pytest
from hypothesis import settings

# How long one example takes is the machine's affair: other work on it is no defect of ours.
settings.register_profile("sealmatrix", deadline=None)
settings.load_profile("sealmatrix")

# A shell starts programs in the background with SIGINT ignored; what a test starts and interrupts would be deaf to it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_BEGUN = time.monotonic()
_NOT_RUN = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """On a slow machine a part of the tests is worth more than all of them too late."""
    parser.addoption(
        "--budget",
        type=float,
        metavar="SECONDS",
        help="Skip each test that might not end in this time: a third of its own limit must be left for it.",
    )


def _limit(item: pytest.Item) -> float:
    """A test's own limit, in seconds."""
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0] if marker else item.config.getini("timeout"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that may take long come last."""
    items.sort(key=_limit)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what does not fit into the budget, and say so."""
    budget = item.config.getoption("--budget")
    if budget is not None and time.monotonic() - _BEGUN + _limit(item) / 3 > budget:
        item.config.stash[_NOT_RUN] = item.config.stash.get(_NOT_RUN, 0) + 1
        pytest.skip(f"NOT RUN: this machine is too slow for all tests in {budget:.0f} s")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """What ran must stand for the whole."""
    if session.config.stash.get(_NOT_RUN, 0) > session.testscollected / 3 and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what the budget left out."""
    if left_out := config.stash.get(_NOT_RUN, 0):
        terminalreporter.line(f"NOT RUN within the budget: {left_out} tests; with more than a third, this fails")
