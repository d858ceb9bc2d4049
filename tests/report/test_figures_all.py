"""What holds for every figure: titled axes with units, colours that all readers tell apart, nothing evaluated, JSON that plotly reads."""

import itertools
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from plotly.graph_objects import Figure

import mist_dse as md
from mist_dse.report import figures, read_run
from mist_dse.report.figures import palette
from tests.report.colours import CONES, lab, least_noticeable, noticeable, rgb
from tests.report.runs import FIVE, MANIFEST, results, write_run

UNITLESS = {"stage", "variable", "server, resource", "accelerators", "prefill accelerator", "request, in order of arrival"}
"""Titles of axes that count or name things."""

BREAKDOWN = {stage: {"queue": 0.1, "service": 0.2, "link": 0.3} for stage in ("embed", "prefill", "decode")}
POOL = {
    "operators": [
        {"name": "gemm", "step": "prompts", "dtype": "fp8", "flop": 4e12, "bytes": 4e9, "seconds": 4e-3, "share": 0.6},
        {"name": "attention", "step": "decode", "dtype": "bf16", "flop": 1e9, "bytes": 1e9, "seconds": 1e-3, "share": 0.4},
    ],
    "peaks": {"fp8": 2e15, "bf16": 1e15},
    "bandwidth": 3.35e12,
}


def robustness(folder: Path) -> Path:
    """A run with the table that ``mist-dse robustness`` leaves beside it."""
    run = read_run(write_run(folder))
    table = run.results.head(20).assign(on_front=np.arange(20) < 8, p_front_seeds=np.linspace(0, 1, 20))
    table.to_parquet(folder / "robustness.parquet")
    return folder


def measured() -> pd.DataFrame:
    draw = np.random.default_rng(3)
    tpot = draw.uniform(5, 80, 60)
    kinds = draw.choice(["dense", "moe", "mla"], 60)
    return pd.DataFrame({"mode": "agg", "kind": kinds, "tpot_ms": tpot, "pred_tpot_ms": tpot * draw.uniform(0.8, 1.2, 60), "covered": True})


def variables() -> list[dict[str, Any]]:
    total = {"usd_per_mtok": 0.2, "ttft_p90": 0.4, "near": float("nan")}
    return [{"variable": f"pools.prefill.{name}", "loss": loss, "best": 4, "total": total} for name, loss in (("tp", 0.1), ("pp", 0.2))]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figure]:
    """Every public figure, each over what it needs."""
    folder = tmp_path_factory.mktemp("figures")
    runs = [read_run(write_run(folder / f"seed{seed}", results(seed=seed), manifest=MANIFEST)) for seed in (1, 2, 3)]
    limited = read_run(write_run(folder / "five", results(200), objectives=FIVE))
    simulation = md.simulate(md.load_design("disagg_2x4"), md.Workload.poisson(rate=4.0, input_tokens=512, output_tokens=32, requests=60))
    pools = {"prefill": {"demand": 0.5, "demand compute": 0.5, "demand KV blocks": 0.1, "utilisation": 0.4}}
    return {
        "breakdown_figure": figures.breakdown_figure(BREAKDOWN),
        "front_figure": figures.front_figure(limited),
        "history_figure": figures.history_figure(runs),
        "load_figure": figures.load_figure(simulation),
        "robustness_figure": figures.robustness_figure(read_run(robustness(folder / "sure"))),
        "roofline_figure": figures.roofline_figure(POOL),
        "seeds_figure": figures.seeds_figure(runs),
        "sensitivity_figure": figures.sensitivity_figure(variables()),
        "slices_figure": figures.slices_figure(runs[0], "pools.prefill.accelerator", "ttft_p90", by="pools.prefill.tp"),
        "timeline_figure": figures.timeline_figure(simulation.to_pandas()),
        "utilisation_figure": figures.utilisation_figure(pools),
        "validation_figure": figures.validation_figure(measured()),
        "waterfall_figure": figures.waterfall_figure(BREAKDOWN),
    }


def axes(figure: Figure) -> Iterator[tuple[str, Any]]:
    """The axes that some trace is drawn on, by name."""
    for trace in figure.data:
        for letter in "xy":
            name = getattr(trace, f"{letter}axis", None) or letter
            yield name, figure.layout[f"{letter}axis{name[1:]}"]


def colours(figure: Figure) -> set[str]:
    """The colours of lines and marks, of one series each."""
    found = set()
    for trace in figure.data:
        line, marker = getattr(trace, "line", None), getattr(trace, "marker", None)
        if line is not None and line.color is not None and (line.width is None or line.width > 0):
            found.add(line.color)
        if marker is not None and isinstance(marker.color, str):
            found.add(marker.color)
    return {colour.lower() for colour in found if colour}


def test_every_public_figure_is_here(drawn: dict[str, Figure]) -> None:
    assert set(drawn) == set(figures.__all__)


def test_every_axis_has_a_title_with_its_unit(drawn: dict[str, Figure]) -> None:
    for name, figure in drawn.items():
        used = dict(axes(figure))
        assert used, name
        for key, axis in used.items():
            title = axis.title.text
            assert title, f"{name}: axis {key} has no title"
            assert title in UNITLESS or re.search(r"\S \([^()]+\)$", title), f"{name}: {title}"


def test_colour_bars_have_titles_with_units(drawn: dict[str, Figure]) -> None:
    bars = [drawn["robustness_figure"].layout.coloraxis.colorbar]
    bars += [trace.marker.colorbar for trace in drawn["front_figure"].data if trace.marker.showscale]
    assert [bar.title.text for bar in bars] == ["on the front, share of seeds of the workload (%)", "joules_per_token (J/token)"]


def test_colours_are_of_the_palette_or_tints_of_it(drawn: dict[str, Figure]) -> None:
    known = {colour.lower() for colour in (*palette.SERIES, palette.GREY, palette.INK)}
    tints = {palette.faint(colour, 0.0).rsplit(",", 1)[0] for colour in (*palette.SERIES, palette.GREY)}
    for name, figure in drawn.items():
        assert {colour for colour in colours(figure) if colour not in known and colour.rsplit(",", 1)[0] not in tints} == set(), name


def test_colours_used_together_are_told_apart_by_every_reader(drawn: dict[str, Figure]) -> None:
    for name, figure in drawn.items():
        for one, other in itertools.combinations(sorted(colours(figure)), 2):
            if one.startswith("rgba") or other.startswith("rgba"):
                continue  # a tint is an area behind its own line
            assert least_noticeable(one, other) >= 1, f"{name}: {one} and {other}"


def test_series_are_told_apart_by_every_reader() -> None:
    pairs = {(one, other): least_noticeable(one, other) for one, other in itertools.combinations(palette.SERIES, 2)}
    assert min(pairs.values()) >= 1, min(pairs, key=lambda pair: pairs[pair])


def test_the_measure_of_colours_is_that_of_its_sources() -> None:
    """CIELAB of sRGB red (Lindbloom), one just noticeable step of lightness, and a pair that readers without green cones confuse."""
    assert lab(rgb("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    assert lab(rgb("#ffffff")) == pytest.approx([100, 0, 0], abs=0.01)
    assert noticeable("#777777", "#909090") == pytest.approx((59.65 - 50.03) / (0.5 * (10.16 + 6)), rel=0.02)
    assert all(matrix.sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-5) for matrix in CONES.values())  # greys stay grey
    assert noticeable(palette.GREEN, palette.GREY) > 3
    assert noticeable(palette.GREEN, palette.GREY, "no medium") < 1


def test_figures_are_plain_json_without_infinities(drawn: dict[str, Figure]) -> None:
    for name, figure in drawn.items():
        text = figure.to_json()
        assert json.loads(text)["data"], name
        assert not re.search(r"\b(NaN|Infinity)\b", text), name


def test_texts_are_no_markup(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", results().assign(**{"pools.prefill.accelerator": "<b>&x"})))
    for figure in (
        figures.seeds_figure({"<i>": run}),
        figures.history_figure({"<i>": run}),
        figures.slices_figure(run, "placement", "ttft_p90"),
    ):
        text = figure.to_json()
        assert "<i>" not in text
        assert "\\u003ci\\u003e" not in text
        assert "<b>&x" not in text


@pytest.mark.parametrize("count", [1, 9, 40])
def test_many_series_never_look_alike(count: int) -> None:
    points = [(style["color"], style["symbol"]) for style in map(palette.point_style, range(count))]
    lines = [(style["color"], style["dash"]) for style in map(palette.line_style, range(count))]
    assert len(set(points)) == len(set(lines)) == count


@pytest.mark.parametrize(("least", "most"), [(1.0, 150.0), (1e-4, 1.0), (3.0, 3.0)])
def test_a_logarithmic_axis_has_labels(least: float, most: float) -> None:
    ticks = palette.log_ticks(least, most)
    assert ticks["type"] == "log"
    assert math.isfinite(most / least)
    assert ticks["dtick"] in (1, "D2")
