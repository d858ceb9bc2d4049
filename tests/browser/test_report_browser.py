"""The report in headless Chromium, opened from disk: hover, choose, sort, filter, switch axes and theme, with a clean console."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mist_dse.report import read_run
from tests.browser.pages import Opened, actions_at, centre, column, hover, texts
from tests.report.runs import FIVE, results

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=\"document.body.dataset.hit='yes'\"><b>bold</b>&amp;"


def test_hovering_shows_the_whole_design(opened: Opened, tmp_path: Path) -> None:
    page = opened()
    best = read_run(tmp_path / "run").front.sort_values("usd_per_mtok").iloc[0]
    text = hover(page, "front", 0)
    assert f"{best['pools.prefill.replicas']} x {best['pools.prefill.accelerator']} tp{best['pools.prefill.tp']}" in text
    assert "ttft_p90" in text
    assert hover(page, "dominated", 3)


def test_clicking_a_point_chooses_it(opened: Opened) -> None:
    page = opened(frame=results(14))
    actions_at(page, *centre(page, "front", 2)).click().perform()
    assert texts(page, '#table tr[aria-selected="true"] td:first-child') == [column(page, 1)[2]]
    assert texts(page, "#design .name") == [column(page, 1)[2]]


def test_a_row_is_chosen_by_click_and_by_keyboard(opened: Opened) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    page = opened()
    rows = page.find_elements(By.CSS_SELECTOR, "#table tbody tr")
    page.execute_script("arguments[0].scrollIntoView()", rows[1])
    rows[1].click()
    assert texts(page, "#design .name") == [column(page, 1)[1]]
    rows[1].send_keys(Keys.ARROW_DOWN)
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert texts(page, "#design .name") == [column(page, 1)[2]]
    assert texts(page, '#table tr[aria-selected="true"] td:first-child') == [column(page, 1)[2]]


def test_the_chosen_design_shows_its_stored_breakdown_and_metrics(opened: Opened, tmp_path: Path) -> None:
    page = opened()
    stored = read_run(tmp_path / "run").front.sort_values("usd_per_mtok").iloc[0]
    drawn = page.execute_script(
        """return document.getElementById("breakdown").data.map(trace => [trace.name, Array.from(trace.y), Array.from(trace.x)])"""
    )
    cells = {(stage, name): x for name, stages, xs in drawn for stage, x in zip(stages, xs, strict=True) if x}
    expected = {tuple(name.split("/")[1:]): stored[name] for name in stored.index if name.startswith("breakdown/")}
    assert cells == pytest.approx(expected, rel=1e-4)
    assert f"{1000 * stored['tpot_p90']:.3g} ms" in texts(page, "#design td") or f"{stored['tpot_p90']:.3g} s" in texts(page, "#design td")
    assert any(f"{100 * stored['pool/prefill/utilisation']:.3g} %" in text for text in texts(page, "#design td"))


def test_headings_sort_both_ways(opened: Opened) -> None:
    page = opened()
    stored = [float(text.removeprefix("$").split("/")[0]) for text in column(page, 2)]
    heading = page.find_elements("css selector", "#table thead button")[1]
    heading.click()
    assert [float(text.removeprefix("$").split("/")[0]) for text in column(page, 2)] == sorted(stored)
    heading.click()
    assert [float(text.removeprefix("$").split("/")[0]) for text in column(page, 2)] == sorted(stored, reverse=True)
    assert texts(page, '#table th[aria-sort="descending"]')[0].startswith("usd_per_mtok")


def test_filters_match_words_and_compare_metrics(opened: Opened, tmp_path: Path) -> None:
    page = opened()
    front = read_run(tmp_path / "run").front
    field = page.find_element("id", "filter")
    field.send_keys("ttft_p90<=500ms")
    assert len(column(page, 1)) == (front["ttft_p90"] <= 0.5).sum()
    field.clear()
    field.send_keys("ttft_p90<=0.5")
    assert len(column(page, 1)) == (front["ttft_p90"] <= 0.5).sum()
    field.send_keys(" pools.prefill.tp=4")
    assert len(column(page, 1)) == ((front["ttft_p90"] <= 0.5) & (front["pools.prefill.tp"] == 4)).sum()
    field.clear()
    field.send_keys("COLOCATED")
    assert len(column(page, 1)) == (front["placement"] == "colocated").sum()
    field.send_keys(" nothing-is-called-this")
    assert column(page, 1) == []
    assert texts(page, "#count") == [f"0 of {len(front)} shown."]


def test_the_theme_switches_page_and_figures(opened: Opened) -> None:
    page = opened()
    seen = []
    for _ in range(3):
        page.find_element("id", "theme").click()
        seen.append(
            (
                texts(page, "#theme")[0],
                page.execute_script("return getComputedStyle(document.body).backgroundColor"),
                page.execute_script("return document.getElementById('front')._fullLayout.font.color"),
            )
        )
    assert seen == [
        ("Theme: light", "rgb(255, 255, 255)", "#1b1f24"),
        ("Theme: dark", "rgb(21, 24, 28)", "#e6e9ed"),
        ("Theme: system", "rgb(255, 255, 255)", "#1b1f24"),
    ]


def test_five_objectives_take_turns_on_the_axes(opened: Opened) -> None:
    from selenium.webdriver.support.ui import Select

    page = opened(frame=results(300), objectives=FIVE)
    Select(page.find_element("id", "axis-y")).select_by_visible_text("throughput_rps")
    Select(page.find_element("id", "axis-colour")).select_by_visible_text("e2e_p99")
    layout, colour = page.execute_script(
        """const plot = document.getElementById("front"), front = plot.data.find(trace => trace.meta === "front");
        const {xaxis, yaxis, shapes} = plot._fullLayout;
        return [[xaxis.title.text, yaxis.title.text, shapes.length], front.marker.colorbar.title.text];"""
    )
    assert layout == ["usd_per_mtok (USD/Mtoken)", "throughput_rps (1/s)", 0]
    assert colour == "e2e_p99 (s)"
    xs, ys = page.execute_script(
        "const line = document.getElementById('front').data.find(trace => trace.meta === 'line'); return [line.x, line.y]"
    )
    assert xs == sorted(xs)
    assert ys == sorted(ys)


@pytest.mark.parametrize("width", [1400, 800])
def test_nothing_runs_out_of_the_window(opened: Opened, driver: Any, width: int) -> None:
    driver.set_window_size(width, 1000)
    try:
        page = opened(objectives=FIVE)
        assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        assert page.execute_script("return document.getElementById('front').getBoundingClientRect().width") > 500
    finally:
        driver.set_window_size(1400, 1000)


@pytest.mark.parametrize(
    "run",
    [
        {"frame": results(1)},
        {"frame": results(9).assign(feasible=False, violation=np.linspace(2, 1, 9), violations="memory: 90 GB of 80 GB")},
        {"frame": results(5).assign(feasible=False, violation=1.0, usd_per_mtok=None, ttft_p90=None)},
        {"frame": results(5).assign(usd_per_mtok=None)},
        {"finished": False},
        {"objectives": ["min ttft_p90"]},
        {"frame": results(20).loc[:, lambda frame: ~frame.columns.str.contains("/|pools")]},
    ],
)
def test_unusual_runs_open_without_an_error(opened: Opened, run: dict[str, Any]) -> None:
    page = opened(**run)
    none = "frame" in run and not run["frame"]["feasible"].any()
    assert ("No feasible design" in " ".join(texts(page, ".notice"))) == none


def test_hostile_names_are_shown_as_text(opened: Opened) -> None:
    renamed = {"breakdown/decode/attention": f"breakdown/decode/{HOSTILE}", "pool/prefill/demand": f"pool/{HOSTILE}/demand"}
    frame = results(12).rename(columns=renamed).assign(placement=HOSTILE, bottleneck=HOSTILE)
    page = opened(frame=frame.rename(columns={"pools.prefill.replicas": f"pools.{HOSTILE}.replicas"}))
    assert HOSTILE in hover(page, "front", 0)
    assert HOSTILE in " ".join(texts(page, "#design td"))
    assert page.execute_script("return document.body.dataset.hit") is None
    assert page.execute_script("return document.querySelectorAll('img, td b').length") == 0


def test_a_large_report_is_ready_within_seconds(opened: Opened) -> None:
    """A hundred thousand stored designs; the aim is two seconds, the gate leaves room for a slow machine."""
    frame = pd.concat([results(20_000), results(80_000, seed=2, fidelity="steady")], ignore_index=True)
    page = opened(frame=frame, objectives=FIVE)
    elapsed = page.execute_script("return performance.getEntriesByName('ready')[0].startTime")
    assert elapsed < 10_000
