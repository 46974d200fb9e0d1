"""How long a real browser takes to open a page: until it has loaded, its script has run and the evidence is drawn."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--window-size=1400,1000")  # fmt: skip
# Milliseconds since the navigation began, told when the window is drawn for which every cause left room.
_WAIT = """
const told = arguments[arguments.length - 1];
const drawn = () => document.readyState === "complete"
  && [...document.querySelectorAll(".cause .evidence")].every((place) => place.childElementCount);
const look = () => drawn() ? requestAnimationFrame(() => told(performance.now())) : requestAnimationFrame(look);
look();
"""


def is_there() -> bool:
    """Whether this machine has Chromium and its driver."""
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """A browser with an empty profile."""
    with tempfile.TemporaryDirectory(prefix="sealmatrix-browser-") as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            yield chrome
        finally:
            chrome.quit()


def seconds_to_open(chrome: webdriver.Chrome, page: Path, times: int = 3) -> float:
    """The shortest of several openings."""
    chrome.set_script_timeout(60)
    found = []
    for _ in range(times):
        chrome.get("about:blank")
        chrome.get(page.as_uri())
        found.append(float(chrome.execute_async_script(_WAIT)) / 1000)
    return min(found)
