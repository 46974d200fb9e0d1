"""The page in a real browser, opened from disk: filters, keyboard, drawer, and not one complaint on its console."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from bench.opening import browser as new_browser
from bench.opening import is_there, seconds_to_open
from bench.reports import NIGHT, OPENED, Size, write_journals
from bench.reports import run as generated_run
from harness.history.database import database_url, reading
from harness.history.record import remember
from harness.model.run_record import write_run
from harness.reports.site import build_site
from harness.reports.write import write_reports
from harness.rules.load import load_catalogue
from tests.builders import default_matrix

pytestmark = pytest.mark.skipif(not is_there(), reason="no browser: apt-get install chromium chromium-driver")
HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def half(sealed: bool) -> dict[str, object]:
    before = ["rw-p anon a0 a -", "rw-p anon a1 a s", "rw-p anon a2 a s"]
    facts = {"stage": "done", "before": before, "result": -1 if sealed else 0, "errno": 1 if sealed else 0,
             "after": before if sealed else ["rw-p anon a0 a -", "-", "-"], "write": "www" if sealed else "w--",
             "mprotect": [0, 1, 1] if sealed else [0, 12, 12], "munmap": [0, 1, 1] if sealed else [0, 0, 0],
             "extra": {"said": HOSTILE}}  # fmt: skip
    return facts | ({"seal": [0]} if sealed else {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on disk with one of everything, whose guests were hostile."""
    done = default_matrix(tmp_path_factory.mktemp("results") / "20261123-214500-3fa2")
    for record in done.record.cells:
        place = done.folder / "cells" / record.id
        place.mkdir(parents=True)
        lines = [
            {"type": "observation", "probe": f"{family}/anon-{i}/into", "layout": "pSS", "unit": 4096,
             "microseconds": 9, "control": half(False), "sealed": half(True)}
            for family in ("munmap", "mprotect")
            for i in range(3)
        ]  # fmt: skip
        (place / "observations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_run(done.folder, done.record)
    write_reports(done)
    return done.folder


@pytest.fixture(scope="module")
def started() -> Iterator[webdriver.Chrome]:
    with new_browser() as chrome:
        yield chrome


@pytest.fixture
def browser(started: webdriver.Chrome, folder: Path) -> Iterator[webdriver.Chrome]:
    """The page, freshly opened; a test that leaves anything on the browser's console fails."""
    started.get("about:blank")
    started.get((folder / "report.html").as_uri())
    yield started
    assert started.get_log("browser") == []
    assert started.title.startswith("sealmatrix")


def shown_rules(browser: webdriver.Chrome) -> list[str]:
    script = (
        "return [...document.querySelectorAll('tr.rule')].filter(r => r.offsetParent).map(r => r.cells[0].innerText)"
    )
    found: list[str] = browser.execute_script(script)
    return [text.split()[0] for text in found]


def press(browser: webdriver.Chrome, *keys: str) -> None:
    for key in keys:
        ActionChains(browser).send_keys(key).perform()


def focused(browser: webdriver.Chrome) -> tuple[str, int]:
    """The rule and column the focus is on."""
    script = "const c = document.activeElement; return [c.parentElement.cells[0].innerText, c.cellIndex - 1]"
    rule, column = browser.execute_script(script)
    return rule.split()[0], column


def drawer(browser: webdriver.Chrome) -> WebElement:
    return browser.find_element(By.ID, "drawer")


def open_cell(browser: webdriver.Chrome, status: str) -> str:
    browser.find_element(By.CSS_SELECTOR, f"#grid td.{status}").click()
    return unfolded(browser)


def unfolded(browser: webdriver.Chrome) -> str:
    """The drawer's text once its observations are there."""
    WebDriverWait(browser, 20).until(lambda b: b.find_elements(By.CSS_SELECTOR, "#drawer .group"))
    WebDriverWait(browser, 20).until(lambda b: drawer(b).text)  # it slides in, from transparent
    return drawer(browser).text


def test_filters_narrow_the_grid_and_say_so(browser: webdriver.Chrome) -> None:
    found = browser.find_element(By.ID, "found")
    assert found.text == "18 of 18 rules, 7 of 7 cells"
    browser.find_element(By.ID, "words").send_keys("u2 refused")
    assert shown_rules(browser) == ["mmap-fixed-refused"]
    assert found.text == "1 of 18 rules, 7 of 7 cells"
    browser.find_element(By.ID, "clear").click()
    WebDriverWait(browser, 5).until(lambda b: len(shown_rules(b)) == 18)
    browser.find_element(By.CSS_SELECTOR, ".chip[data-status=fail]").click()
    assert shown_rules(browser) == ["munmap-across", "mprotect-mixed"]
    Select(browser.find_element(By.ID, "kind")).select_by_value("crash")
    WebDriverWait(browser, 5).until(lambda b: shown_rules(b) == ["mprotect-mixed"])
    browser.find_element(By.ID, "kernel").send_keys("6.12")
    assert shown_rules(browser) == []
    assert browser.find_element(By.ID, "none").is_displayed()


def test_kernels_are_filtered_by_column(browser: webdriver.Chrome) -> None:
    browser.find_element(By.ID, "kernel").send_keys("arm64 7.3")
    heads = browser.find_elements(By.CSS_SELECTOR, "#grid .kernels th:not(.corner)")
    assert ["debian-7.3" in h.text.replace("\n", "") for h in heads if h.is_displayed()] == [True]
    assert [h.text for h in browser.find_elements(By.CSS_SELECTOR, ".arches th") if h.is_displayed()] == ["arm64"]


def test_only_differences_leaves_out_what_agrees_and_who_says_nothing(browser: webdriver.Chrome) -> None:
    browser.find_element(By.ID, "differ").click()
    assert shown_rules(browser) == ["munmap-across", "munmap-refused", "mprotect-mixed", "mprotect-same-protection",
                                    "mmap-fixed-atomic", "madvise-hugepage", "madvise-remove-shared"]  # fmt: skip


def test_the_keyboard_alone_is_enough(browser: webdriver.Chrome) -> None:
    browser.execute_script("document.querySelector('#grid td[tabindex=\"0\"]').focus()")
    assert focused(browser) == ("munmap-across", 0)
    press(browser, Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_UP, Keys.ARROW_UP)
    assert focused(browser) == ("munmap-across", 2)
    press(browser, Keys.END)
    assert focused(browser)[1] == 6
    press(browser, Keys.ENTER)
    assert "munmap-across" in unfolded(browser)
    inside = "return document.getElementById('drawer').contains(document.activeElement)"
    for _ in range(30):  # more often than there are places to stop at
        press(browser, Keys.TAB)
        assert browser.execute_script(f"{inside} || document.activeElement === document.body")
    press(browser, Keys.ESCAPE)
    assert not drawer(browser).get_attribute("open")
    assert focused(browser) == ("munmap-across", 6)
    assert browser.execute_script("return document.querySelectorAll('#grid td[tabindex=\"0\"]').length") == 1


def test_the_drawer_shows_the_rule_the_observation_and_the_command(browser: webdriver.Chrome) -> None:
    text = open_cell(browser, "fail")
    for part in ("munmap-across", "What munmap-across says in one sentence.", "mseal.rst", "fail bypass",
                 "answered 0: unit 2 was unmapped", "sealmatrix run -k debian-7.3 -a x86_64 -r 'munmap/anon-0/into'",
                 "control: 0", "sealed: EPERM", HOSTILE):  # fmt: skip
        assert part in text
    windows = drawer(browser).find_elements(By.CSS_SELECTOR, ".window")
    assert len(windows) == 2
    assert len(windows[0].find_elements(By.CSS_SELECTOR, "td.hole.changed")) == 2
    assert windows[1].find_elements(By.CSS_SELECTOR, "td.changed") == []
    assert len(windows[1].find_elements(By.CSS_SELECTOR, "td.sealed")) == 4
    browser.find_element(By.ID, "next").click()
    assert "debian-6.1" in unfolded(browser)
    browser.find_element(By.ID, "close").click()
    assert not drawer(browser).is_displayed()


def test_a_crash_is_quoted_and_an_address_opens_its_cell(browser: webdriver.Chrome, folder: Path) -> None:
    browser.get((folder / "report.html").as_uri() + "#rule=mprotect-mixed&cell=debian-7.3.arm64")
    browser.refresh()
    assert "Unable to handle kernel paging request" in unfolded(browser)
    assert browser.find_elements(By.CSS_SELECTOR, "#drawer img") == []


def test_without_decompression_the_drawer_says_where_the_observations_are(browser: webdriver.Chrome) -> None:
    old = {"source": "delete window.DecompressionStream"}
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", old)
    browser.refresh()
    browser.find_element(By.CSS_SELECTOR, "#grid td.fail").click()
    where = "cells/debian-7.3.x86_64/observations.jsonl"
    WebDriverWait(browser, 10).until(lambda b: where in drawer(b).text)
    assert "unit 2 was unmapped" in drawer(browser).text
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def test_each_cause_shows_its_plainest_probe_and_copies_its_commands(browser: webdriver.Chrome) -> None:
    cause = browser.find_element(By.CSS_SELECTOR, ".cause")
    assert cause.location["y"] < browser.find_element(By.ID, "grid").location["y"]
    assert "munmap no longer looks at the seal: in 1 of 3 probes" in cause.text
    WebDriverWait(browser, 10).until(lambda _: "none ≠" in cause.text)
    button = cause.find_element(By.CSS_SELECTOR, ".commands .copy")
    button.click()
    WebDriverWait(browser, 10).until(lambda _: button.text in ("Copied", "Selected"))
    assert "sealmatrix run" in browser.execute_script("return String(getSelection())")


def test_dark_and_narrow_screens_fit(browser: webdriver.Chrome) -> None:
    light = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia",
                            {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})  # fmt: skip
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") != light
    metrics = {"width": 380, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    assert browser.execute_script(OVERFLOW) == 0
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a night: sixty cells."""
    folder = tmp_path_factory.mktemp("night") / "run"
    size = Size(NIGHT, 4000, 130, 0)
    write_journals(folder, size)
    write_reports(generated_run(folder, size))
    return folder / "report.html"


def test_sixty_cells_open_in_a_second(started: webdriver.Chrome, night: Path) -> None:
    assert seconds_to_open(started, night) < OPENED.most
    assert len(started.find_elements(By.CSS_SELECTOR, "#grid .kernels th:not(.corner)")) == NIGHT
    assert started.find_elements(By.CSS_SELECTOR, ".cause .evidence .window")


@pytest.mark.parametrize("width", [400, 1400])
def test_a_night_fits_a_telephone_and_a_desk(started: webdriver.Chrome, night: Path, width: int) -> None:
    started.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                            {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600})  # fmt: skip
    started.get(night.as_uri())
    assert started.execute_script(OVERFLOW) == 0
    started.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_on_paper_no_column_is_cut_off_and_every_cause_is_unfolded(
    browser: webdriver.Chrome, folder: Path, night: Path
) -> None:
    inner = {folder / "report.html": 700, night: 1040}  # a sheet upright, and one turned sideways
    for page, width in inner.items():
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False})  # fmt: skip
        browser.get(page.as_uri())
        assert browser.execute_script("return document.getElementById('grid').getBoundingClientRect().right") <= width
        last = browser.find_elements(By.CSS_SELECTOR, ".cause .commands")[-1]
        assert browser.execute_script("return arguments[0].checkVisibility() && arguments[0].offsetHeight > 0", last)
        assert not browser.find_element(By.ID, "controls").is_displayed()
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_the_site_leads_from_the_trend_to_a_cell(browser: webdriver.Chrome, folder: Path, tmp_path: Path) -> None:
    assert remember(folder) == ""
    with reading(database_url(folder.parent)) as connection:
        build_site(connection, tmp_path, load_catalogue(), 10)
    browser.get((tmp_path / "index.html").as_uri())
    browser.find_element(By.LINK_TEXT, "munmap-across").click()
    browser.find_element(By.CSS_SELECTOR, "#grid td.fail a").click()
    assert "unit 2 was unmapped" in unfolded(browser)
