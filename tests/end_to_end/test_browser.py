"""The report of a real sweep opens from disk in headless Chromium: figures drawn, no error on the console, nothing asked of a network."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import driver  # noqa: F401 -- a fixture

pytestmark = pytest.mark.browser


def test_the_report_of_a_sweep_opens_from_disk(mist_dse, driver: Any, tmp_path: Path) -> None:  # noqa: F811 -- the fixture
    from selenium.webdriver.support.ui import WebDriverWait

    done = mist_dse("sweep", "workload.requests=300", "evaluations=12", "executor=serial", "folder=run")
    assert done.returncode == 0, done.stderr
    driver.get((tmp_path / "run" / "report.html").as_uri())
    WebDriverWait(driver, 30).until(lambda page: page.execute_script("return document.body.dataset.ready") == "yes")
    assert driver.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = {event["params"]["request"]["url"].split(":")[0] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert "file" in asked
    assert asked & {"http", "https", "ws", "wss", "ftp"} == set()
    marks = driver.execute_script("return document.querySelectorAll('.js-plotly-plot .scatterlayer .point').length")
    assert marks > 1
