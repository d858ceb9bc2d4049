"""Front, parallel axes and table as one: what is hovered, kept, chosen and compared in one is so in all, by pointer and by keyboard."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mist_dse.report import read_run
from mist_dse.report.shown import shown_rows
from tests.browser.pages import Opened, actions_at, centre, column, hover, texts
from tests.report.runs import FIVE, MANIFEST, OBJECTIVES, front_of, results, write_run
from tests.report.swept import swept

pytestmark = pytest.mark.browser


def marked(page: Any, place: str, name: str) -> list[int]:
    """Rows that a mark of that name stands for in ``front-marks`` or ``parallel``."""
    return [int(row) for row in page.execute_script(
        "return Array.from(document.querySelectorAll(arguments[0]), (node) => node.dataset.row)", f"#{place} [class='{name}'][data-row]"
    )]  # fmt: skip


def hovered(page: Any) -> tuple[list[int], list[int], list[str]]:
    return marked(page, "front-marks", "hovered"), marked(page, "parallel", "hovered"), texts(page, "#table tr.hovered td:first-child")


def kept_points(page: Any, kind: str = "front") -> list[int]:
    """Rows of the points that are not faded."""
    return page.execute_script(
        """const trace = document.getElementById("front").data.find((trace) => trace.meta === arguments[0]);
        return trace.selectedpoints ? trace.selectedpoints.map((at) => trace.customdata[at]) : trace.customdata;""",
        kind,
    )


def settled(page: Any) -> None:
    """Waits until the front has been drawn again."""
    page.execute_async_script("setTimeout(() => requestAnimationFrame(arguments[0]), 250)")


def spot(page: Any, selector: str) -> tuple[float, float]:
    """The middle of an element in the window, after it has been brought into view."""
    x, y = page.execute_script(
        """const node = document.querySelector(arguments[0]);
        node.scrollIntoView({block: "center"});
        const box = node.getBoundingClientRect();
        return [box.left + box.width / 2, box.top + box.height / 2];""",
        selector,
    )
    return x, y


def dragged(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    actions = actions_at(page, *start)
    actions.w3c_actions.pointer_action.pointer_down()
    for share in (0.5, 1.0):
        actions.w3c_actions.pointer_action.move_to_location(*(round(a + share * (b - a)) for a, b in zip(start, end, strict=True)))
    actions.w3c_actions.pointer_action.pointer_up()
    actions.perform()
    settled(page)


def front_rows(folder: Path) -> pd.DataFrame:
    rows = shown_rows(read_run(folder))
    return rows[rows["kind"] == "front"].reset_index(drop=True)


def traded(count: int) -> pd.DataFrame:
    """Designs that are all on the front: each is cheaper and slower than the one before."""
    return results(count).sort_values("ttft_p90").assign(usd_per_mtok=np.linspace(9, 1, count))


def test_what_is_hovered_in_one_view_is_marked_in_all(opened: Opened) -> None:
    page = opened(frame=results(40))
    assert hover(page, "front", 2)
    assert hovered(page) == ([2], [2], [column(page, 1)[2]])
    x, y = spot(page, "#table tbody tr:nth-child(2) td:first-child")
    actions_at(page, x, y).perform()
    assert hovered(page) == ([1], [1], [column(page, 1)[1]])
    x, y = page.execute_script(
        """const box = document.querySelector("#parallel svg");
        box.scrollIntoView({block: "center"});
        const place = box.getBoundingClientRect(), path = document.querySelector("#parallel .marks .chosen").getAttribute("d");
        const [[x1, y1], [x2, y2]] = path.slice(1).split("L").slice(0, 2).map((pair) => pair.split(" ").map(Number));
        return [place.left + (x1 + x2) / 2, place.top + (y1 + y2) / 2];"""
    )
    actions_at(page, x, y).perform()
    assert hovered(page) == ([0], [0], [column(page, 1)[0]])
    assert column(page, 1)[0] in texts(page, "#hint")[0]


def test_a_range_on_an_axis_filters_table_and_front(opened: Opened, tmp_path: Path) -> None:
    page = opened(frame=results(300))
    front = front_rows(tmp_path / "run")
    low, high = front["usd_per_mtok"].min(), front["usd_per_mtok"].max()
    x, foot = spot(page, "#parallel .axis:first-child .end:nth-of-type(1)")
    head = foot - 250
    dragged(page, (x, foot - 0.3 * 250), (x, head + 0.2 * 250))
    edges = [low + share * (high - low) for share in (0.3, 0.8)]
    if low > 0 and high / low > 20:
        edges = [float(np.exp(np.log(low) + share * np.log(high / low))) for share in (0.3, 0.8)]
    kept = [float(text.removeprefix("$").split("/")[0]) for text in column(page, 2)]
    inside = front[front["usd_per_mtok"].between(*edges)]
    assert 0 < len(inside) < len(front)
    assert len(kept) == pytest.approx(len(inside), abs=2)
    assert all(edges[0] * 0.97 <= value <= edges[1] * 1.03 for value in kept)
    assert [front["usd_per_mtok"][row] for row in kept_points(page)] == pytest.approx(kept, rel=0.01)
    rows = shown_rows(read_run(tmp_path / "run"))
    behind = rows["usd_per_mtok"][rows["kind"] == "dominated"]
    faded = behind.drop(kept_points(page, "dominated"))
    assert len(faded) == pytest.approx((~behind.between(*edges)).sum(), abs=2 + 0.03 * len(behind))
    assert not faded.between(edges[0] * 1.03, edges[1] * 0.97).any()
    page.find_element("id", "filter").send_keys("h100")
    settled(page)
    assert len(column(page, 1)) == len(kept_points(page)) <= len(kept)
    page.find_element("id", "filter").clear()
    page.find_element("id", "unbrush").click()
    settled(page)
    assert len(kept_points(page)) == len(front)
    assert texts(page, "#count") == [f"{len(front)} of {len(front)} shown."]


def test_ranges_are_set_and_released_by_keyboard(opened: Opened, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    page = opened(frame=results(300))
    front = front_rows(tmp_path / "run")
    page.execute_script("document.querySelector('#parallel .end').focus()")
    names = [text.split(",")[0] for text in texts(page, "#parallel .axis .head title")]
    for _ in range(names.index("placement")):
        page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    handle = page.switch_to.active_element
    assert handle.get_attribute("aria-label") == "lowest  placement"
    handle.send_keys(Keys.ARROW_UP)
    settled(page)
    assert len(column(page, 1)) == (front["placement"] == "disaggregated").sum() < len(front)
    assert {front["placement"][row] for row in kept_points(page)} == {"disaggregated"}
    assert handle.get_attribute("aria-valuetext") == "disaggregated"
    handle.send_keys(Keys.ESCAPE)
    assert len(column(page, 1)) == len(front)
    handle.send_keys(Keys.ENTER)
    assert page.switch_to.active_element.get_attribute("aria-label") == "highest  placement"
    page.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert len(column(page, 1)) == (front["placement"] == "colocated").sum()
    assert texts(page, "#parallel .end[tabindex='0']") == [""]


def test_inactive_variables_stand_at_the_foot_as_none(opened: Opened, tmp_path: Path) -> None:
    page = opened(frame=results(300))
    front = front_rows(tmp_path / "run")
    ticks = page.execute_script(
        """return Array.from(document.querySelectorAll("#parallel .axis"), (axis) => [
            axis.querySelector("title").textContent, Array.from(axis.querySelectorAll(".tick"), (tick) => tick.textContent)])"""
    )
    shown = dict(ticks)
    assert shown["pools.decode.accelerator"] == ["none", *sorted(front["pools.decode.accelerator"].dropna().unique())]
    assert shown["pools.prefill.tp"] == [str(tp) for tp in sorted(front["pools.prefill.tp"].unique())]
    assert [name for name, _ in ticks[:3]] == [
        "usd_per_mtok, USD/Mtoken, lower is better",
        "ttft_p90, s, lower is better",
        "tpot_p90, s, lower is better",
    ]


@pytest.mark.parametrize("way", ["shift-click", "key", "button", "point"])
def test_two_designs_side_by_side(opened: Opened, tmp_path: Path, way: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page = opened(frame=results(40))
    front = front_rows(tmp_path / "run")
    row = page.find_elements("css selector", "#table tbody tr")[3]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", row)
    if way == "shift-click":
        ActionChains(page).key_down(Keys.SHIFT).click(row).key_up(Keys.SHIFT).perform()
    elif way == "key":
        row.send_keys("c")
    elif way == "button":
        page.find_element("id", "pick").click()
        row.click()
    else:
        x, y = centre(page, "front", 3)
        actions = actions_at(page, x, y)
        actions.key_down(Keys.SHIFT).click().key_up(Keys.SHIFT).perform()
    assert texts(page, "#design .name") == [column(page, 1)[0]]
    assert (marked(page, "front-marks", "chosen"), marked(page, "front-marks", "second")) == ([0], [3])
    assert (marked(page, "parallel", "chosen"), marked(page, "parallel", "second")) == ([0], [3])
    assert texts(page, "#table tr.second td:first-child") == [column(page, 1)[3]]
    lines = {line[0]: line[1:] for line in page.execute_script(
        "return Array.from(document.querySelectorAll('#versus tbody tr'), (line) => Array.from(line.cells, (cell) => cell.textContent))"
    )}  # fmt: skip
    a, b = front["ttft_p90"][0], front["ttft_p90"][3]
    assert b < a
    share = float(f"{100 * (1 - b / a):.2g}")
    assert lines["ttft_p90 ◆"][2] == f"−{share:g} % better"
    assert lines["usd_per_mtok ◆"][2].endswith("worse")
    assert ("placement" in lines) == (front["placement"][0] != front["placement"][3])
    assert ("prefill tp" in lines) == (front["pools.prefill.tp"][0] != front["pools.prefill.tp"][3])
    page.find_element("id", "swap").click()
    assert texts(page, "#design .name") == [column(page, 1)[3]]
    page.find_element("tag name", "body").send_keys(Keys.ESCAPE)
    assert not page.find_element("id", "comparison").is_displayed()
    assert marked(page, "front-marks", "second") == []


def test_choosing_a_point_leaves_the_page_where_it_is(opened: Opened) -> None:
    page = opened(frame=traded(400))
    x, y = centre(page, "front", 399)
    before = page.execute_script("return window.scrollY")
    actions_at(page, x, y).click().perform()
    assert page.execute_script("return window.scrollY") == before
    chosen = marked(page, "front-marks", "chosen")[0]
    assert chosen > 390
    top, line, bottom = page.execute_script(
        """const tops = (node) => node.getBoundingClientRect(), line = document.querySelector(`#table tr[data-row="${arguments[0]}"]`);
        return [tops(document.querySelector(".scroll")).top, tops(line).top, tops(document.querySelector(".scroll")).bottom];""",
        chosen,
    )
    assert top <= line < bottom


def test_a_dominated_design_can_be_chosen_and_compared(opened: Opened) -> None:
    page = opened(frame=results(200))
    at = page.execute_script(
        """const plot = document.getElementById("front"), of = (kind) => plot.data.find((trace) => trace.meta === kind);
        const [behind, front] = [of("dominated"), of("front")];
        const {xaxis: x, yaxis: y} = plot._fullLayout, far = (i) => Math.min(...front.x.map((fx, j) =>
            Math.hypot(x.d2p(fx) - x.d2p(behind.x[i]), y.d2p(front.y[j]) - y.d2p(behind.y[i]))));
        return behind.x.map((_, i) => i).reduce((a, b) => (far(b) > far(a) ? b : a));"""
    )
    actions_at(page, *centre(page, "dominated", at)).click().perform()
    row = marked(page, "front-marks", "chosen")[0]
    assert marked(page, "parallel", "chosen") == [row]
    assert texts(page, '#table tr[aria-selected="true"]') == []
    assert "dominated" in texts(page, "#design .tag")
    page.find_elements("css selector", "#table tbody tr")[0].send_keys("c")
    assert len(texts(page, "#versus tbody tr")) > 20


def test_the_front_is_walked_by_keyboard(opened: Opened, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    page = opened(frame=results(60))
    front = front_rows(tmp_path / "run")
    place = page.find_element("id", "front")
    place.send_keys(Keys.ARROW_RIGHT)
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert marked(page, "front-marks", "hovered") == [1]
    page.switch_to.active_element.send_keys("c")
    assert marked(page, "front-marks", "second") == [1]
    page.switch_to.active_element.send_keys(Keys.END)
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert marked(page, "front-marks", "chosen") == [len(front) - 1]
    assert texts(page, "#said")[0].startswith("Chosen: ")


def test_every_control_is_reached_by_tab_and_shows_its_focus(opened: Opened) -> None:
    from selenium.webdriver.common.keys import Keys

    page = opened(frame=results(300), objectives=FIVE)
    page.execute_script("document.activeElement.blur()")
    page.find_element("tag name", "body").send_keys(Keys.TAB)
    seen, dark = [], []
    for _ in range(60):
        name, outlined = page.execute_script(
            """const node = document.activeElement, style = getComputedStyle(node), part = node.querySelector("path");
            const visible = style.outlineStyle !== "none" || (part && getComputedStyle(part).stroke !== "none");
            return [node.id || node.getAttribute("aria-label") || node.tagName, Boolean(visible)];"""
        )
        if name == "BODY" or (seen and name == seen[0]):
            break
        seen.append(name)
        if not outlined:
            dark.append(name)
        page.switch_to.active_element.send_keys(Keys.TAB)
    assert dark == []
    for name in ("theme", "axis-x", "axis-y", "axis-colour", "front", "lowest  usd_per_mtok", "filter", "TR", "pick"):
        assert name in seen
    assert seen.count("TR") == 1


def test_shares_of_robustness_stand_in_the_table_and_fade_points(opened: Opened, tmp_path: Path) -> None:
    frame = results(60)
    front = front_of(frame, OBJECTIVES).sort_values("usd_per_mtok")
    table = front[["design_id"]].assign(on_front=True, p_front_prices=np.linspace(1, 0.25, len(front)), p_front_seeds=np.nan)
    write_run(tmp_path / "run", frame)
    table.to_parquet(tmp_path / "run" / "robustness.parquet")
    page = opened(frame=frame)
    heads = texts(page, "#table thead th button")
    shown = column(page, 1 + next(at for at, head in enumerate(heads) if head.startswith("prices")))
    assert shown[0] == "100 %"
    assert shown[-1] == "25 %"
    assert not any(head.startswith("seeds") for head in heads)
    opacity = page.execute_script("return document.getElementById('front').data.find((trace) => trace.meta === 'front').marker.opacity")
    assert opacity == sorted(opacity, reverse=True)
    assert opacity[-1] < 0.7 < opacity[0]


def test_measured_error_is_drawn_as_bars(opened: Opened, tmp_path: Path) -> None:
    folder = swept(tmp_path / "swept")
    run = read_run(folder)
    (tmp_path / "run").mkdir()
    shutil.copy(folder / "details.json", tmp_path / "run")
    page = opened(frame=run.results, objectives=["min usd_per_hour", "min ttft_p90"])
    key = texts(page, "#design .caption")[0].removeprefix("id ")
    low, high = json.loads((folder / "details.json").read_text())["designs"][key]["intervals"]["metrics"]["ttft_p90"]
    drawn = page.execute_script(
        """const axis = document.getElementById("front")._fullLayout.yaxis;
        const stored = (bar, end) => axis.p2d(Number(bar.getAttribute(end)) - axis._offset);
        return Array.from(document.querySelectorAll("#front-marks .interval"), (bar) =>
            [stored(bar, "y1"), stored(bar, "y2"), ...axis.range.map((end) => axis.r2d(end))]);"""
    )
    assert len(drawn) == 1
    bottom, top = sorted(drawn[0][2:])
    assert sorted(drawn[0][:2]) == pytest.approx([max(low, bottom), min(high, top)], rel=0.02)
    assert " to " in hover(page, "front", 0)


def test_thousands_of_rows_come_as_they_are_looked_at(opened: Opened) -> None:
    from selenium.webdriver.common.keys import Keys

    page = opened(frame=traded(1500))
    assert len(column(page, 1)) < 200
    assert texts(page, "#count") == ["1500 of 1500 shown."]
    page.find_elements("css selector", "#table tbody tr")[0].send_keys(Keys.END)
    assert len(column(page, 1)) == 1500
    elapsed = page.execute_script(
        """const start = performance.now(), field = document.getElementById("filter");
        field.value = "ttft_p90<=1 h100";
        field.dispatchEvent(new Event("input"));
        document.querySelectorAll("#table thead button")[1].click();
        return performance.now() - start;"""
    )
    assert elapsed < 5000  # 0.2 s where nothing else runs
    page.execute_script("document.getElementById('filter').value = ''; document.getElementById('filter').dispatchEvent(new Event('input'))")
    assert len(column(page, 1)) < 200
    page.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert len(column(page, 1)) == 200
    assert texts(page, "#printed") == ["1300 more designs are on the page itself and in front.csv."]
    page.execute_script("window.dispatchEvent(new Event('afterprint'))")


@pytest.mark.parametrize(
    ("run", "lines"),
    [
        ({"frame": results(1)}, 1),
        ({"frame": results(9).assign(feasible=False, violation=np.linspace(2, 1, 9), violations="memory: 90 GB of 80 GB")}, 9),
        ({"frame": results(5).assign(feasible=False, violation=1.0, usd_per_mtok=None, ttft_p90=None)}, 5),
        ({"finished": False, "manifest": {**MANIFEST, "status": "running"}}, None),
        ({"objectives": FIVE, "frame": results(200)}, None),
    ],
)
def test_the_axes_hold_unusual_runs(opened: Opened, run: dict[str, Any], lines: int | None) -> None:
    page = opened(**run)
    rows = int(texts(page, "#count")[0].split(" of ")[1].split(" ")[0])
    assert rows == (lines or rows)
    count = page.execute_script("return document.querySelectorAll('#parallel .lines path').length")
    assert (count > 0) == (rows > 0)
    assert "NaN" not in page.execute_script("return document.getElementById('parallel').innerHTML")
    assert page.find_element("id", "pick").is_displayed() == (
        page.execute_script("return document.getElementById('front').data.length") > 0 and rows > 1
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_lines_follow_the_theme(opened: Opened, theme: str) -> None:
    page = opened(frame=results(60), objectives=FIVE[:3])
    while texts(page, "#theme") != [f"Theme: {theme}"]:
        page.find_element("id", "theme").click()
    levels = page.execute_script(
        """return Array.from(document.querySelectorAll("#parallel .lines path"), (path) => {
            const [r, g, b] = path.getAttribute("stroke").match(/[0-9]+/g).map(Number);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        })"""
    )
    assert max(levels) < 215 if theme == "light" else min(levels) > 60
