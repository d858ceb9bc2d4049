"""Indices against closed forms and brute force; what is lost by holding a variable, by hand; a screened space as a whole."""

import itertools

import numpy as np
import pandas as pd
import pytest

from mist_dse.explore import screen
from mist_dse.explore.errors import SpaceError
from mist_dse.explore.front import front_mask
from mist_dse.explore.reviews.sensitivity import Codes, frame_codes, importances, indices, sensitivity, simulated_importances
from mist_dse.explore.reviews.standing import Box
from mist_dse.explore.spaces.goals import minimised, objective
from tests.explore.spaces import space, workload


def factorial(*levels: int) -> np.ndarray:
    return np.array(list(itertools.product(*map(range, levels)))).T


def test_two_levels_with_an_interaction_have_the_indices_of_the_closed_form() -> None:
    codes = factorial(2, 2, 2)
    x, y, _ = 2 * codes - 1
    a, b, c = 3.0, 2.0, 1.0
    first, total = indices(codes, {"f": a * x + b * y + c * x * y})
    variance = a**2 + b**2 + c**2
    assert first["f"] == pytest.approx([a**2 / variance, b**2 / variance, 0.0])
    assert total["f"] == pytest.approx([(a**2 + c**2) / variance, (b**2 + c**2) / variance, 0.0])


def test_a_product_function_has_the_indices_of_sobol() -> None:
    """A product of 1 + g_i with independent g_i of mean 0 has partial variances Var(g_i) (Sobol's G function is one such)."""
    codes = factorial(3, 4, 5)
    terms = [(code - code.mean()) / (number + 2) for number, code in enumerate(codes)]
    parts = np.array([term.var() for term in terms])
    whole = np.prod(1 + parts) - 1
    first, total = indices(codes, {"f": np.prod([1 + term for term in terms], axis=0)})
    assert first["f"] == pytest.approx(parts / whole)
    assert total["f"] == pytest.approx([parts[i] * np.prod(1 + np.delete(parts, i)) / whole for i in range(3)])


def test_additive_functions_add_to_one_and_constants_have_no_index() -> None:
    codes = factorial(4, 3)
    first, total = indices(codes, {"sum": codes[0] * 2.0 + codes[1] ** 2, "flat": np.ones(12)})
    assert first["sum"].sum() == pytest.approx(1.0)
    assert total["sum"] == pytest.approx(first["sum"])
    assert np.isnan(first["flat"]).all()


def test_indices_of_a_space_with_limits_are_those_of_groups_written_out() -> None:
    rng = np.random.default_rng(1)
    codes = factorial(4, 3, 3)[:, rng.random(36) < 0.6]
    values = rng.normal(size=codes.shape[1])
    first, total = indices(codes, {"f": values})
    table = pd.DataFrame(codes.T).assign(f=values)
    for number in range(3):
        others = [column for column in range(3) if column != number]
        by_hand = table.groupby(number)["f"].transform("mean").var(ddof=0) / values.var()
        assert first["f"][number] == pytest.approx(by_hand)
        left = (table["f"] - table.groupby(others)["f"].transform("mean")).pow(2).mean() / values.var()
        assert total["f"][number] == pytest.approx(left)


def test_a_variable_held_at_its_best_value_loses_what_the_other_values_alone_reach() -> None:
    # a: two kinds that each reach one end of the front; b moves nothing
    codes = Codes(paths=("a", "b"), values=(("x", "y"), (1, 2)), codes=np.array([[0, 0, 1, 1], [0, 1, 0, 1]]))
    points = np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    by_name = {item.variable: item for item in importances(codes, points, {"first": points[:, 0]})}
    box = Box.of(points)
    assert by_name["a"].loss == pytest.approx(1 - box.volume(points[:1]) / box.volume(points))
    assert by_name["a"].first == pytest.approx({"first": 1.0, "near": np.nan}, nan_ok=True)  # all four are on the front
    assert (by_name["b"].loss, by_name["b"].total["first"]) == (pytest.approx(0.0), pytest.approx(0.0))
    assert [item.variable for item in importances(codes, points, {})] == ["a", "b"]


def test_designs_without_a_meaning_for_a_variable_stay_when_it_is_held() -> None:
    codes = Codes(paths=("a",), values=((None, 8, 4),), codes=np.array([[0, 1, 2]]))
    points = np.array([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]])
    (item,) = importances(codes, points, {})
    assert (item.idle, [effect.value for effect in item.effects]) == (1, [8, 4])
    box = Box.of(points)
    kept = [box.volume(points[[0, row]]) / box.volume(points) for row in (1, 2)]
    assert [effect.kept for effect in item.effects] == pytest.approx(kept)
    assert item.best == (8, 4)[int(np.argmax(kept))]


def test_a_screened_space_against_its_designs_one_by_one() -> None:
    asked = space()
    screened = screen(asked, workload())
    found = {item.variable: item for item in sensitivity(screened, asked.objectives, asked.paths)}
    assert set(found) == set(asked.paths)
    rows = np.flatnonzero(screened.feasible)
    values = pd.DataFrame([screened.table.values(int(row)) for row in rows]).reindex(columns=asked.paths).astype(object)
    points = minimised({name: column[rows] for name, column in screened.metrics.items()}, asked.objectives, logarithmic=True)
    front = points[front_mask(points)]
    for path in ("placement", "pools.prefill.tp", "pools.decode.accelerator"):
        shares = []
        for effect in found[path].effects:
            mine = (values[path] == effect.value).to_numpy() | values[path].isna().to_numpy()
            assert effect.designs == (values[path] == effect.value).sum()
            shares.append(Box.of(front).volume(points[mine]) / Box.of(front).volume(front))
            assert effect.kept == pytest.approx(shares[-1])
        assert found[path].loss == pytest.approx(1 - max(shares))
        logs = pd.Series(points[:, 0])
        between = logs.groupby(values[path].fillna("none")).transform("mean").var(ddof=0) / logs.var(ddof=0)
        assert found[path].first["usd_per_mtok"] == pytest.approx(between)


def test_nothing_feasible_is_said() -> None:
    asked = space(constraints=["tpot_p90 <= 1 us"])
    with pytest.raises(SpaceError, match="no design is feasible"):
        sensitivity(screen(asked, workload()), asked.objectives, asked.paths)


def test_simulated_importances_find_the_variable_that_decides() -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"feasible": True, "big": rng.integers(0, 4, 200), "small": rng.integers(0, 4, 200), "one": 1})
    rows["ttft_p90"] = 1.0 + rows["big"] + 0.01 * rng.random(200)
    rows.loc[0, "big"] = 9
    rows.loc[0, "feasible"] = False
    found = simulated_importances(rows, [objective("min ttft_p90")], ["big", "small", "one"])["ttft_p90"]
    assert found["big"] > 4 * found["small"]
    assert set(found) == {"big", "small"}
    assert frame_codes(rows, ["big"]).values == (tuple(dict.fromkeys(rows["big"])),)
    assert simulated_importances(rows[:10], [objective("min ttft_p90")], ["big"]) == {}


@pytest.mark.bench
def test_a_million_designs_take_seconds() -> None:
    import time

    rng = np.random.default_rng(2)
    codes = Codes(paths=tuple("abcdefghij"), values=(tuple(range(5)),) * 10, codes=rng.integers(0, 5, size=(10, 1_000_000)))
    points = np.log10(1 + codes.codes[:2].T + rng.random((1_000_000, 2)))
    start = time.perf_counter()
    found = importances(codes, points, {"one": points[:, 0], "two": points[:, 1]})
    assert time.perf_counter() - start < 30
    assert {item.variable for item in found if item.first["one"] > 0.5} == {"a"}
