"""What a report says of the inside of a design: from stored details where there are any, from the stored rows else."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from mist_dse.explore import sweep
from mist_dse.report import read_run, write_report
from mist_dse.report.details import OPERATOR, details_payload, stored_details
from mist_dse.report.figures.roofline import attainable, diameter, roofline_figure, span
from mist_dse.report.figures.utilisation import demands, headroom, utilisation_figure
from mist_dse.report.figures.waterfall import ordered, waterfall_figure
from mist_dse.report.neighbours import neighbours
from mist_dse.report.run import Run, column_kinds
from mist_dse.report.shown import shown_rows
from mist_dse.report.text import plain
from tests.explore.spaces import space, workload
from tests.report.runs import results, write_run
from tests.report.swept import swept


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return swept(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return read_run(folder)


def pools_of(row: Any) -> dict[str, dict[str, Any]]:
    """The ``pool/`` columns of a row by pool and quantity."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in row.items():
        if str(name).startswith("pool/") and not pd.isna(value):
            found.setdefault(name.split("/")[1], {})[name.split("/", 2)[2]] = value
    return found


def test_rows_of_the_front_carry_what_the_run_stored(run: Run) -> None:
    rows, stored = shown_rows(run), stored_details(run)
    found = details_payload(run, rows)
    fronts = [number for number, kind in enumerate(rows["kind"]) if kind == "front"]
    assert fronts
    for number in fronts:
        expected, page = stored[rows["design_id"][number]], found[str(number)]
        assert page["intervals"] == expected["intervals"]["metrics"]
        assert page["stages"] == ["prefill", "handoff", "decode"]
        for name, pool in page["pools"].items():
            assert [dict(zip(OPERATOR, item, strict=True)) for item in pool["operators"]] == [
                {key: item[key] for key in OPERATOR} for item in expected["pools"][name]["operators"]
            ]
            assert found["sources"][page["sources"]]["pools"][name] == expected["pools"][name]["provenance"]
    others = [number for number, kind in enumerate(rows["kind"]) if kind != "front"]
    assert all(str(number) not in found for number in others)


def brute_force(run: Run, key: str) -> set[tuple[str, str, Any, Any]]:
    """(design, variable, value there, value here) of every stored design that differs in one variable, by comparing cells."""
    names = run.columns.variables
    cells = {row["design_id"]: {name: plain(row[name]) for name in names} for row in run.results.to_dict("records")}
    here = cells.pop(key)
    found = set()
    for other, values in cells.items():
        changed = [name for name in names if values[name] != here[name]]
        if len(changed) == 1:
            found.add((other, changed[0], values[changed[0]], here[changed[0]]))
    return found


def test_neighbours_of_a_real_run_differ_in_one_variable(run: Run) -> None:
    keys = list(run.front["design_id"])
    found = neighbours(run, keys, most=None)
    assert sum(map(len, found.values())) > 5
    for key in keys:
        assert {(item.design_id, item.variable, item.after, item.before) for item in found[key]} == brute_force(run, key)
        for item in found[key]:
            row = run.results.set_index("design_id").loc[item.design_id]
            assert item.values == pytest.approx((row["usd_per_mtok"], row["ttft_p90"]))
            assert (item.violations == "") == row["feasible"]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60))
def test_neighbours_of_any_table_are_those_that_a_reader_would_find(seed: int, count: int) -> None:
    draw = np.random.default_rng(seed)
    frame = results(count, seed=seed)
    for name in ("placement", "pools.prefill.accelerator", "pools.prefill.batching.max_num_batched_tokens", "pools.decode.accelerator"):
        frame[name] = draw.choice(np.array(["a", "b", None], dtype=object), count)
    frame["pools.prefill.tp"] = draw.choice([1, 2], count)
    for name in ("pools.prefill.replicas", "pools.decode.replicas", "pools.decode.tp"):
        frame[name] = draw.choice([1.0, np.nan], count)
    run = Run(path=Path("run"), results=frame, front=frame.head(0), manifest={}, resolved={}, objectives=(), limits=(),
              columns=column_kinds(list(frame.columns)), fidelity="simulated", complete=True)  # fmt: skip
    keys = list(frame["design_id"][:5])
    found = neighbours(run, keys, most=None)
    for key in keys:
        assert {(item.design_id, item.variable, item.after, item.before) for item in found[key]} == brute_force(run, key)


def test_the_nearest_values_of_a_variable_stay_where_there_are_many(tmp_path: Path) -> None:
    frame = pd.concat([results(1)] * 30, ignore_index=True)
    frame["design_id"] = [f"d{number}" for number in range(30)]
    frame["pools.prefill.replicas"] = range(1, 31)
    frame["ttft_p90"] = np.linspace(0.9, 0.1, 30)
    run = read_run(write_run(tmp_path / "run", frame))
    found = neighbours(run, ["d9"], most=4)["d9"]
    assert [item.after for item in found] == [8, 9, 11, 12]
    assert {item.before for item in found} == {10}


@pytest.mark.parametrize("text", ["", "[", "[]", '{"version": 2, "designs": {"a": {}}}', '{"version": 1, "designs": []}'])
def test_a_file_that_cannot_be_read_counts_as_none(tmp_path: Path, text: str) -> None:
    folder = write_run(tmp_path / "run", results(30))
    (folder / "details.json").write_text(text)
    run = read_run(folder)
    assert stored_details(run) == {}
    assert write_report(folder).exists()


@pytest.mark.parametrize(("finished", "words"), [(True, "mist-dse sweep resume=run"), (False, "when the search ends")])
def test_a_run_without_details_says_how_to_get_them(tmp_path: Path, finished: bool, words: str) -> None:
    run = read_run(write_run(tmp_path / "run", results(30), finished=finished))
    found = details_payload(run, shown_rows(run))
    assert words in found["note"]
    assert not any("pools" in item for name, item in found.items() if name.isdigit())
    assert "0" in found  # the neighbours need no details


def test_resuming_a_finished_run_gives_it_details_without_simulating(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "details.json").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in (copy / "parts").iterdir()}
    sweep(space(), workload(), resume=copy, executor="serial", evaluations=24)
    assert {path.name: path.stat().st_mtime_ns for path in (copy / "parts").iterdir()} == before
    assert json.loads((copy / "details.json").read_text()) == json.loads((folder / "details.json").read_text())


def test_headroom_is_one_over_the_stored_demand_less_one(run: Run) -> None:
    for row in run.front.to_dict("records"):
        for server, of in pools_of(row).items():
            most = next(iter(demands(of).values()))
            assert most == row[f"pool/{server}/demand"]
            assert headroom(most) == pytest.approx(1 / row[f"pool/{server}/demand"] - 1)


def test_points_of_a_roofline_lie_on_or_under_its_roofs(run: Run) -> None:
    for pool in (pool for detail in stored_details(run).values() for pool in detail["pools"].values()):
        figure = roofline_figure(pool)
        assert figure.layout.xaxis.title.text.endswith("(FLOP/B)")
        assert figure.layout.yaxis.title.text.endswith("(FLOP/s)")
        assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("log", "log")
        roofs = [trace for trace in figure.data if trace.meta == "roof"]
        points = [(trace.meta, x, y) for trace in figure.data if trace.meta != "roof" for x, y in zip(trace.x, trace.y, strict=True)]
        worked = [item for item in pool["operators"] if item["flop"]]
        assert len(points) == len(worked)
        assert {kind for kind, _, _ in points} == {item["step"] for item in worked}
        for item in worked:
            x, y = item["flop"] / item["bytes"], item["flop"] / item["seconds"]
            assert y <= 1.0001 * attainable(x, pool["peaks"][item["dtype"]], pool["bandwidth"])
            assert any((x, y) == (a, b) for _, a, b in points)
        low, high = span(worked, pool)
        for roof in roofs:
            assert (roof.x[0], roof.x[-1]) == (low, high)
            assert roof.y[0] == pytest.approx(low * pool["bandwidth"])
            assert roof.y[-1] in pool["peaks"].values()


def test_areas_of_points_go_by_share() -> None:
    whole, quarter, none = diameter(1.0), diameter(0.25), diameter(0.0)
    assert quarter - none == pytest.approx((whole - none) / 2)


def test_parts_of_a_waterfall_follow_each_other_to_the_mean_latency(run: Run) -> None:
    for row in run.front.to_dict("records"):
        breakdown: dict[str, dict[str, float]] = {}
        for stage, cause in run.columns.breakdown:
            breakdown.setdefault(stage, {})[cause] = plain(row[f"breakdown/{stage}/{cause}"])
        figure = waterfall_figure(breakdown)
        parts = sorted((base, base + x) for trace in figure.data for base, x in zip(trace.base, trace.x, strict=True) if x)
        assert parts[0][0] == 0
        assert [end for _, end in parts[:-1]] == pytest.approx([begin for begin, _ in parts[1:]])
        assert parts[-1][1] == pytest.approx(row["e2e_mean"], rel=1e-6)
        assert figure.layout.xaxis.title.text.endswith("(s)")


def test_stages_come_in_the_order_that_the_run_names() -> None:
    assert ordered({"decode": {}, "rerank": {}, "prefill": {}}, ["prefill", "rerank", "decode"]) == ["prefill", "rerank", "decode"]
    assert ordered({"decode": {}, "odd": {}}, ["prefill", "decode"]) == ["decode", "odd"]


def test_utilisation_draws_every_demand_and_marks_the_one_that_binds(run: Run) -> None:
    for row in run.front.to_dict("records"):
        pools = pools_of(row)
        figure = utilisation_figure(pools)
        drawn = {name: x for trace in figure.data if trace.type == "bar" for name, x in zip(trace.y, trace.x, strict=True)}
        expected = {f"{server}: {resource}": 100 * value for server, of in pools.items() for resource, value in demands(of).items()}
        expected = {name: value for name, value in expected.items() if value >= 0.05 or name == "handoff: rate"}
        assert drawn == pytest.approx(expected)
        first = next(trace for trace in figure.data if trace.meta == "binds first")
        assert max(expected.values()) == pytest.approx(first.x[0])
        assert figure.layout.xaxis.title.text.endswith("(%)")
