"""The inside of the chosen design in headless Chromium: every section against what the run stored, in light and dark, console clean."""

import json
import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mist_dse.report.neighbours import neighbours
from mist_dse.report.run import Run, read_run
from mist_dse.report.shown import shown_rows
from tests.browser.pages import Opened, texts
from tests.report.runs import MANIFEST, results
from tests.report.swept import swept

pytestmark = pytest.mark.browser

SECTIONS = ("breakdown-part", "design-load", "design-roofline", "design-shares", "design-intervals", "design-near", "design-sources")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return swept(tmp_path_factory.mktemp("swept") / "run")


@pytest.fixture
def page(opened: Opened, folder: Path, tmp_path: Path) -> Any:
    """The report of a run with details, its cheapest design chosen."""
    (tmp_path / "run").mkdir()
    shutil.copy(folder / "details.json", tmp_path / "run")
    manifest = {**MANIFEST, **json.loads((folder / "manifest.json").read_text())}
    return opened(frame=pd.read_parquet(folder / "results.parquet"), manifest=manifest)


@pytest.fixture
def run(page: Any, tmp_path: Path) -> Run:
    return read_run(tmp_path / "run")


def chosen(page: Any, run: Run) -> pd.Series:
    """The stored row of the design that the page shows."""
    key = texts(page, "#design .caption")[0].removeprefix("id ")
    return run.results.set_index("design_id", drop=False).loc[key]


def details(run: Run, row: pd.Series) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.path / "details.json").read_text())["designs"][row["design_id"]]
    return found


def choose(page: Any, wanted: Callable[[str], bool]) -> None:
    """Choose the first row of the table whose design is ``wanted``."""
    labels = texts(page, "#table tbody td:first-child")
    at = next(number for number, label in enumerate(labels) if wanted(label))
    page.execute_script("document.querySelectorAll('#table tbody tr')[arguments[0]].click()", at)


def test_every_section_is_there(page: Any) -> None:
    for section in SECTIONS:
        assert page.execute_script("return document.getElementById(arguments[0]).getBoundingClientRect().height", section) > 30
    assert texts(page, ".missing") == []


def test_the_waterfall_ends_at_the_mean_latency(page: Any, run: Run) -> None:
    row = chosen(page, run)
    parts = page.execute_script(
        """return document.getElementById("breakdown").data
            .flatMap((trace) => trace.x.map((x, at) => [trace.base[at], x])).filter(([, x]) => x > 0)"""
    )
    parts.sort()
    assert parts[0][0] == 0
    for (begin, seconds), (after, _) in pairwise(parts):
        assert begin + seconds == pytest.approx(after, rel=1e-6)
    assert sum(parts[-1]) == pytest.approx(row["e2e_mean"], rel=1e-3)
    assert texts(page, "#breakdown-part .caption")[0].startswith(f"{row['e2e_mean']:.3g} s from arrival")


def number(text: str) -> float:
    return float(re.sub(r"[^\d.e-]", "", text))


def test_demand_and_headroom_are_those_of_the_stored_row(page: Any, run: Run) -> None:
    row = chosen(page, run)
    demand = max(value for name, value in row.items() if str(name).endswith("/demand") and pd.notna(value))
    words = texts(page, "#design-load")[0]
    assert f"can take {100 * (1 / demand - 1):.3g} % more load" in words.replace(",", "")
    bars = [float(text.split(" ")[0]) / 100 for text in texts(page, ".demand .right:not(.headroom):not(.head)")]
    assert max(bars) == pytest.approx(demand, rel=1e-2)
    for share, text in zip(bars, texts(page, ".demand .headroom"), strict=True):
        expected = 1 / share if text.startswith("×") else 100 * (1 / share - 1)
        assert number(text) == pytest.approx(expected, rel=0.05, abs=1)
    stored = texts(page, "#design-load details td")
    assert any(text == f"{100 * row['pool/prefill/utilisation']:.3g} %" for text in stored)


def test_the_roofline_shows_the_stored_operators_of_each_pool(page: Any, run: Run) -> None:
    choose(page, lambda label: "+ decode" in label)
    pools = details(run, chosen(page, run))["pools"]
    assert set(pools) == {"prefill", "decode"}
    for name, pool in pools.items():
        page.execute_script("document.querySelector(`#design-roofline [data-pool=${arguments[0]}]`).click()", name)
        drawn = page.execute_script(
            """return document.getElementById("roofline").data.filter((trace) => trace.meta !== "roof")
            .flatMap((trace) => trace.x.map((x, at) => [x, trace.y[at], trace.hovertext[at]]))"""
        )
        operators = [item for item in pool["operators"] if item["flop"]]
        assert len(drawn) == len(operators)
        for item in operators:
            x, y = item["flop"] / item["bytes"], item["flop"] / item["seconds"]
            match = [text for a, b, text in drawn if a == pytest.approx(x) and b == pytest.approx(y)]
            assert any(item["name"] in text for text in match)
        roofs = page.execute_script(
            'return document.getElementById("roofline").data.filter((trace) => trace.meta === "roof").map((trace) => Math.max(...trace.y))'
        )
        assert set(roofs) <= set(pool["peaks"].values())
        shares = [float(text.split(" ")[0]) for text in texts(page, ".operators td:nth-child(3)")]
        assert sum(shares) == pytest.approx(100, abs=1.5)


def test_hovering_an_operator_tells_its_time(page: Any, run: Run) -> None:
    pool = details(run, chosen(page, run))["pools"]["prefill"]
    text = page.execute_script(
        """const plot = document.getElementById("roofline"), curve = plot.data.findIndex((trace) => trace.meta !== "roof");
        plot.scrollIntoView();
        Plotly.Fx.hover(plot, [{curveNumber: curve, pointNumber: 0}]);
        return Array.from(plot.querySelectorAll(".hoverlayer text"), (node) => node.textContent).join(" ");"""
    )
    assert any(item["name"] in text for item in pool["operators"])
    assert "of the pool's time" in text
    assert "of the peak" in text


def test_cost_and_power_are_split_by_pool(page: Any, run: Run) -> None:
    choose(page, lambda label: "+ decode" in label)
    row = chosen(page, run)
    for quantity in ("usd_per_hour", "watts"):
        shares = page.execute_script(
            "return Array.from(document.querySelectorAll(`[data-quantity=${arguments[0]}] span`), (one) => Number(one.dataset.share))",
            quantity,
        )
        parts = [row[f"pool/{pool}/{quantity}"] for pool in ("prefill", "decode")]
        assert shares == pytest.approx([part / sum(parts) for part in parts], rel=1e-3)
        assert sum(parts) == pytest.approx(row[quantity], rel=1e-6)


def test_bars_span_the_stored_intervals(page: Any, run: Run) -> None:
    row = chosen(page, run)
    found = details(run, row)["intervals"]
    labels = page.execute_script(
        "return Array.from(document.querySelectorAll('#design-intervals [data-metric]'), (one) => one.dataset.metric)"
    )
    assert labels == [f"{name}_{kind}" for name in ("ttft", "tpot", "e2e") for kind in ("mean", "p90")]
    left, right, mark = page.execute_script(
        """const track = document.querySelector("[data-metric=ttft_p90]");
        const parts = [track, track.querySelector("i"), track.querySelector("b")];
        const [box, range, mark] = parts.map((one) => one.getBoundingClientRect());
        return [range.left - box.left, range.right - box.left, mark.left + mark.width / 2 - box.left];"""
    )
    assert left < mark < right
    assert (
        f"{found['basis']['ttft']['rows']} held-out measurements of {found['basis']['ttft']['group']}"
        in texts(page, "#design-intervals")[0]
    )


def test_neighbours_are_listed_with_what_they_change_and_can_be_chosen(page: Any, run: Run) -> None:
    row = chosen(page, run)
    expected = neighbours(run, [row["design_id"]])[row["design_id"]]
    assert len(expected) > 1
    assert len(texts(page, ".near tbody tr")) == len(expected)
    changes = page.execute_script(
        """return Array.from(document.querySelectorAll(".near tbody tr"), (line) =>
            Array.from(line.querySelectorAll("td:not(:first-child)"), (one) => one.dataset.change ?? one.textContent))"""
    )
    for item, line in zip(expected, changes, strict=True):
        for goal, value, change in zip(("usd_per_mtok", "ttft_p90"), item.values, line, strict=True):
            relative = value / row[goal] - 1  # type: ignore[operator]
            assert (change == "same" and abs(relative) < 1e-3) or float(change) == pytest.approx(relative, rel=1e-2, abs=1e-4)
    rows = shown_rows(run)
    able = next(at for at, item in enumerate(expected) if item.design_id in set(rows["design_id"]))
    page.execute_script("document.querySelectorAll('.near tbody tr')[arguments[0]].querySelector('button').click()", able)
    assert chosen(page, run)["design_id"] == expected[able].design_id


def test_neighbours_are_named_on_paper(page: Any, run: Run) -> None:
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        names = page.execute_script(
            "return Array.from(document.querySelectorAll('.near tbody td:first-child'), (cell) => cell.innerText.trim())"
        )
        assert names
        assert all("→" in name for name in names)
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_dominated_design_finds_its_neighbours_on_the_page(page: Any, run: Run) -> None:
    rows = shown_rows(run)
    dominated = set(rows["design_id"][rows["kind"] == "dominated"])
    around = neighbours(run, [chosen(page, run)["design_id"]])[chosen(page, run)["design_id"]]
    at = next(number for number, item in enumerate(around) if item.design_id in dominated)
    page.execute_script("document.querySelectorAll('.near tbody tr')[arguments[0]].querySelector('button').click()", at)
    key = chosen(page, run)["design_id"]
    assert key == around[at].design_id
    expected = [item for item in neighbours(run, [key], most=None)[key] if item.design_id in set(rows["design_id"])]
    listed = page.execute_script("return Array.from(document.querySelectorAll('.near tbody tr'), (line) => Number(line.dataset.row))")
    assert sorted(rows["design_id"][number] for number in listed) == sorted(item.design_id for item in expected)
    assert "the designs of this page" in texts(page, "#design-near .caption")[0]
    assert len(texts(page, ".missing")) == 1


def test_sources_and_grades_are_named(page: Any, run: Run) -> None:
    found = details(run, chosen(page, run))
    words = texts(page, "#design-sources")[0]
    for source in found["sources"]["accelerators"].values():
        assert source in words
    assert found["sources"]["prices"]["source"] in words
    assert all(grade in words for grade in found["pools"]["prefill"]["provenance"].values())


def test_figures_follow_the_theme(page: Any) -> None:
    seen = {}
    for _ in range(2):
        page.find_element("id", "theme").click()
        theme = texts(page, "#theme")[0]
        seen[theme] = page.execute_script(
            """const plot = document.getElementById("roofline");
            const roof = plot.data.find((trace) => trace.meta === "roof"), way = document.getElementById("breakdown");
            return [plot._fullLayout.font.color, roof.line.color, way._fullLayout.font.color, getComputedStyle(document.body).color];"""
        )
    light, dark = seen["Theme: light"], seen["Theme: dark"]
    assert all(a != b for a, b in zip(light, dark, strict=True))
    assert light[0] == light[2] == "#1b1f24"


@pytest.mark.parametrize("width", [1400, 800])
def test_nothing_runs_out_of_the_panel(page: Any, driver: Any, width: int) -> None:
    driver.set_window_size(width, 1000)
    try:
        choose(page, lambda label: "+ decode" in label)
        page.execute_script("for (const fold of document.querySelectorAll('#design details')) fold.open = true")
        over = page.execute_script(
            """const edge = document.getElementById("design").getBoundingClientRect().right + 1;
            return Array.from(document.querySelectorAll("#design-load *, #design-shares *, #design-intervals *, #design-sources *"))
              .filter((one) => !one.closest(".wide") && one.getBoundingClientRect().right > edge).map((one) => one.textContent);"""
        )
        assert over == []
    finally:
        driver.set_window_size(1400, 1000)


def test_without_details_the_sections_say_how_to_get_them(opened: Opened) -> None:
    page = opened(frame=results(40))
    assert len(texts(page, ".missing")) == 1
    assert "mist-dse sweep resume=run" in texts(page, ".missing")[0]
    assert page.execute_script("return document.getElementById('breakdown').data.length") > 0
    assert "headroom" in texts(page, "#design-load")[0]


def test_a_run_that_is_still_written_promises_them_at_its_end(opened: Opened) -> None:
    page = opened(finished=False)
    assert "when the search ends" in texts(page, ".missing")[0]
