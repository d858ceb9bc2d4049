"""Headless Chromium with the network off: reports opened from disk, without an error on the console.

Needs Debian's chromium and chromium-driver; without them tests skip, and fail in continuous integration.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mist_dse.report import write_report
from tests.browser.pages import Opened
from tests.report.runs import write_run

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver

    browser, chromedriver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if browser is None or chromedriver is None:
        (pytest.fail if os.environ.get("MIST_DSE_CI") else pytest.skip)("chromium and chromedriver are not on the path")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "--window-size=1400,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=chromedriver))
    yield found
    found.quit()


@pytest.fixture
def opened(driver: Any, tmp_path: Path) -> Iterator[Opened]:
    """Opens the report of a synthetic run; afterwards the console must be clean and nothing may have been asked of a network."""
    from selenium.webdriver.support.ui import WebDriverWait

    def visit(**run: Any) -> Any:
        driver.get(write_report(write_run(tmp_path / "run", **run)).as_uri())
        WebDriverWait(driver, 30).until(lambda d: d.execute_script("return document.body.dataset.ready") == "yes")
        return driver

    driver.get_log("browser")
    driver.get_log("performance")
    yield visit
    assert driver.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    asked = {item["request"]["url"].split(":")[0] for item in sent if item["documentURL"].startswith("file:")}
    assert "file" in asked
    assert asked <= {"file", "data", "blob"}
