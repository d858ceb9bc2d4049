"""Shares of draws that can be counted by hand or integrated in closed form, and a small run as a whole."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mist_dse.catalog import load_design
from mist_dse.explore import SweepResult, sweep
from mist_dse.explore.errors import SpaceError
from mist_dse.explore.reviews.confidence import Confidence, Draws, confidence, outcomes, stored_design
from mist_dse.explore.reviews.predictions import LATENCIES, Predictions, predictions
from mist_dse.explore.reviews.reruns import Reruns
from mist_dse.explore.reviews.robustness import (
    book_draws,
    contest,
    interval_draws,
    nearest,
    price_draws,
    run_draws,
    seed_noise,
    standing,
)
from mist_dse.explore.runs.record import Evaluator
from mist_dse.explore.spaces.goals import objective, static_limit
from mist_dse.metrics import parse_limit
from mist_dse.requests import realise
from mist_dse.specs.design import Design
from mist_dse.specs.hardware import Price, PriceBook
from mist_dse.specs.workload import Arrivals
from mist_dse.validate.residuals import packaged
from tests.explore.spaces import catalog, space, workload

GOALS = (objective("min usd_per_hour"), objective("min ttft_p90"))
NAN = math.nan


def book(**prices: float) -> PriceBook:
    known = [Price(item=item, usd_per_hour=value, provider="test", date="2026", kind="list") for item, value in prices.items()]
    return PriceBook(name="test", prices=tuple(known))


def one_device(accelerator: str) -> Design:
    return load_design("tp1_colocated", model="llama-3.1-8b", accelerator=accelerator)


def results(designs: Sequence[Design], rents: Sequence[float], latencies: Sequence[float], violation: Sequence[float] = ()) -> pd.DataFrame:
    excess = list(violation) or [0.0] * len(designs)
    return pd.DataFrame({
        "design_id": [design.design_id for design in designs], "fidelity": "simulated", "feasible": [value == 0 for value in excess],
        "violation": excess, "usd_per_hour": rents, "ttft_p90": latencies,
    })  # fmt: skip


def test_standing_counts_draws() -> None:
    one = np.log10([[1.0, 2.0], [2.0, 1.0], [4.0, 2.0]])
    other = np.log10([[1.0, 2.0], [NAN, 1.0], [2.0, 1.0]])
    found = standing([one, other], 3)
    assert found.front.tolist() == [1.0, 0.5, 0.5]
    assert found.feasible.tolist() == [1.0, 0.5, 1.0]
    assert found.regret == pytest.approx([0.0, 0.0, (1.0 + 0.0) / 2])  # 4 against 2, and 2 against 1: a factor of 2 from both ends
    assert np.isnan(standing([np.full((1, 2), NAN)], 1).regret).all()


def test_prices_within_ten_per_cent_turn_two_designs_as_often_as_the_integral_says() -> None:
    """The slower design at 1.00 stays on the front while it is cheaper than the faster at 1.05: P(U < 1.05 V), U, V uniform in 0.9..1.1."""
    designs = [one_device("h100_sxm"), one_device("l40s")]
    prices = book(h100_sxm=1.00, l40s=1.05)
    found = contest(results(designs, [1.0, 1.05], [2.0, 1.0]), designs, GOALS, ())
    count = 20_000
    shares = standing(price_draws(found, prices, spread=0.1, count=count, seed=3), 2).front
    v = np.linspace(0.9, 1.1, 200_001)
    exact = float((np.clip((1.05 * v - 0.9) / 0.2, 0, 1)).mean())
    assert shares[0] == pytest.approx(exact, abs=4 * math.sqrt(0.25 / count))
    assert shares[1] == 1.0  # the fastest cannot leave
    same = standing(price_draws(found, prices, spread=0.1, count=50, seed=3), 2).front
    assert (same == standing(price_draws(found, prices, spread=0.1, count=50, seed=3), 2).front).all()


def test_without_spread_every_draw_is_the_run() -> None:
    designs = [one_device(name) for name in ("h100_sxm", "l40s", "h200")]
    found = contest(results(designs, [3.0, 1.0, 4.0], [1.0, 2.0, 1.5]), designs, GOALS, ())
    draws = price_draws(found, book(h100_sxm=3.0, l40s=1.0, h200=4.0), spread=0.0, count=7, seed=0)
    assert standing(draws, 3).front.tolist() == [1.0, 1.0, 0.0]


def test_other_books_and_limits_on_the_rent() -> None:
    designs = [one_device("h100_sxm"), one_device("l40s")]
    found = contest(results(designs, [3.0, 1.0], [1.0, 2.0]), designs, GOALS, (), [static_limit("usd_per_hour <= 3.5")])
    cheap, dear, none = book(h100_sxm=1.0, l40s=1.0), book(h100_sxm=4.0, l40s=1.0), book(l40s=1.0)
    points = list(book_draws(found, [cheap, dear, none]))
    assert points[0][0] == pytest.approx([0.0, 0.0])
    assert np.isnan(points[1][0]).all()  # beyond the limit
    assert np.isnan(points[2][0]).all()  # without a price
    assert standing(points, 2).front == pytest.approx([1 / 3, 2 / 3])


def test_a_limit_on_a_metric_is_judged_again_and_other_violations_stay() -> None:
    designs = [one_device(name) for name in ("h100_sxm", "l40s", "h200")]
    limit = parse_limit("usd_per_hour <= 2 USD/h")
    table = results(designs, [3.0, 1.0, 3.0], [1.0, 2.0, 0.5], [0.5, 0.0, 0.5 + 0.2])  # 3 exceeds 2 by half; h200 is saturated too
    found = contest(table, designs, GOALS, [limit])
    assert found.able.tolist() == [True, True, False]
    (points,) = book_draws(found, [book(h100_sxm=1.5, l40s=1.0, h200=1.0)])
    assert np.isfinite(points).all(axis=1).tolist() == [True, True, False]
    assert nearest(table, GOALS, [limit], 10).tolist() == [0, 1]
    assert nearest(table, GOALS, [limit], 1).tolist() == [1]  # feasible ones first


def errors(*rows: tuple[float, float, float]) -> np.ndarray:
    return np.log(np.array(rows))


def test_errors_that_designs_share_never_turn_them_and_errors_apart_do() -> None:
    alone = one_device("h100_sxm")
    designs = [alone, replace(alone, pools=tuple(replace(pool, replicas=2) for pool in alone.pools))]
    found = contest(results(designs, [1.0, 2.0], [1.0, 0.9]), designs, GOALS, ())
    model = Predictions(errors=(errors((0.8, 1, 1), (1.25, 1, 1)),), group=np.zeros(2, dtype=np.int64), kind=np.zeros(2, dtype=np.int64))
    shared = standing(interval_draws(found, model, count=400, seed=1, shared=True), 2)
    assert shared.front.tolist() == [1.0, 1.0]
    apart = standing(interval_draws(found, model, count=4000, seed=1, shared=False), 2)
    assert apart.front[0] == 1.0
    assert apart.front[1] == pytest.approx(0.75, abs=0.03)  # it leaves where it alone is the slower: one of four pairs of errors


def test_an_error_may_break_a_limit() -> None:
    designs = [one_device("h100_sxm")]
    limit = parse_limit("ttft_p90 <= 1.1 s")
    found = contest(results(designs, [1.0], [1.0]), designs, GOALS, [limit])
    model = Predictions(errors=(errors((0.9, 1, 1), (1.05, 1, 1), (1.2, 1, 1), (1.5, 1, 1)),), group=np.zeros(1, dtype=np.int64),
                        kind=np.zeros(1, dtype=np.int64))  # fmt: skip
    assert standing(interval_draws(found, model, count=4000, seed=0, shared=True), 1).feasible[0] == pytest.approx(0.5, abs=0.03)


def test_errors_of_a_design_are_the_residuals_behind_its_interval() -> None:
    design, asked = load_design("tp4_colocated"), workload(requests=50)
    row = {"throughput_rps": 6.0, "e2e_mean": 2.0}
    found = predictions([design], [row], asked, realise(asked))
    assert found is not None
    from mist_dse.stages import lower
    from mist_dse.validate.subjects import subject_of

    lowered = lower(design, realise(asked))
    about = subject_of(design, asked, row, lowered.provenance)
    middle = np.sort(np.exp(found.errors[0][:, LATENCIES.index("tpot")]))
    interval = packaged().interval(about, "tpot")
    assert interval is not None
    tails = [(middle < interval.low).mean(), (middle > interval.high).mean()]
    assert tails == pytest.approx([0.1, 0.1], abs=0.05)  # 80% of measurements inside


def test_unmeasured_pipelines_have_no_errors() -> None:
    asked = workload(requests=20)
    assert predictions([load_design("rag_chat")], [{}], asked, realise(asked)) is None


def test_noise_of_seeds_by_hand() -> None:
    one = np.log10([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0]])
    other = np.log10([[1.0, 2.0], [2.0, 1.2], [2.0, 1.0]])
    # the first two are the front of one: in other, (2, 1.2) is 20% short of (2, 1). The first and third are that of other: in one,
    # (1, 2) is the nearer to (2, 1), twice as far in its second axis.
    found = seed_noise([one, other])
    assert found is not None
    assert found == pytest.approx((0.6, 1.0))
    assert seed_noise([one]) is None


def test_runs_count_as_draws() -> None:
    rows = [{"usd_per_hour": 1.0, "ttft_p90": 1.0, "feasible": True}, {"usd_per_hour": 2.0, "ttft_p90": None, "feasible": False}]
    (points,) = run_draws([rows], GOALS)
    assert np.isfinite(points).tolist() == [[True, True], [False, False]]


def test_designs_of_one_outcome_count_once() -> None:
    designs = [one_device("h100_sxm"), one_device("l40s"), one_device("h200")]
    table = outcomes(results(designs, [1.0, 1.0, 2.0], [1.0, 1.0, 1.0]))
    assert table["twins"].tolist() == [1, 0]


@pytest.fixture(scope="module")
def run() -> SweepResult:
    return sweep(space(), workload(), executor="serial", evaluations=40)


def reruns(asked: object = None) -> Reruns:
    served = asked or workload()
    return Reruns(evaluator=Evaluator(workload=served, requests=realise(served), prices=catalog().prices("default"),  # type: ignore[arg-type]
                                      constraints=space().constraints))  # fmt: skip


@pytest.fixture(scope="module")
def assessed(run: SweepResult) -> Confidence:
    small = Draws(draws=60, books=[catalog().prices(name) for name in ("default", "high", "akash_2026_09")], rates=(0.8, 1.25), seeds=3,
                  designs=12, newcomers=3)  # fmt: skip
    return confidence(space(), run.results, reruns(), small)


def test_a_run_as_a_whole(run: SweepResult, assessed: Confidence) -> None:
    table = assessed.table
    members = table[table["on_front"]]
    assert set(run.front["design_id"]) <= set(members["design_id"])
    shares = table[[name for name in table if name.startswith(("p_front_", "p_feasible_"))]]
    assert {"p_front_prices", "p_front_books", "p_front_intervals", "p_front_apart", "p_front_load", "p_front_seeds"} <= set(shares)
    assert ((shares >= 0) & (shares <= 1) | shares.isna()).all(axis=None)
    for source in ("prices", "books", "intervals", "load", "seeds"):
        known = table[f"p_front_{source}"].dropna()
        assert (known <= table.loc[known.index, f"p_feasible_{source}"] + 1e-12).all()
    assert (members["p_front_books"] > 0).any()
    assert not any("another version" in note for note in assessed.notes)  # simulated again: the same numbers


def test_the_base_rate_and_the_seed_of_the_run_are_among_the_draws(run: SweepResult, assessed: Confidence) -> None:
    members = assessed.table[assessed.table["on_front"]]
    known = members["p_front_seeds"].dropna()
    assert set((known * 3).round(9)) <= {1.0, 2.0, 3.0}  # one of three at least: its own, unless a newcomer beats it there
    assert set((members["p_feasible_load"].dropna() * 3).round(9)) <= {1.0, 2.0, 3.0}


def test_shares_do_not_depend_on_what_else_is_drawn(run: SweepResult, assessed: Confidence) -> None:
    again = confidence(space(), run.results, reruns(), Draws(draws=60, rates=(), seeds=1, designs=12))
    both = assessed.table.merge(again.table, on="design_id", suffixes=("", "_again"))
    assert (both["p_front_prices"] == both["p_front_prices_again"]).all()
    assert {"p_front_load", "p_front_seeds", "p_front_books"} & set(again.table) == set()
    assert again.noise is None


def test_a_closed_loop_has_no_other_load(run: SweepResult) -> None:
    closed = replace(workload(), arrivals=Arrivals(kind="closed", clients=4, requests=60))
    found = confidence(space(), run.results, reruns(closed), Draws(draws=2, seeds=1, designs=2))
    assert any("closed loop" in note for note in found.notes)
    assert "p_front_load" not in found.table


def test_designs_of_a_run_are_made_again_from_its_results(run: SweepResult) -> None:
    row = run.results.to_dict("records")[0]
    assert stored_design(space(), row).design_id == row["design_id"]
    with pytest.raises(SpaceError, match="catalogue has changed"):
        stored_design(space(), {**row, "design_id": "0" * 16})


def test_a_run_without_a_feasible_design_has_no_front(run: SweepResult) -> None:
    with pytest.raises(SpaceError, match="no simulated design of the run is feasible"):
        confidence(space(), run.results.assign(feasible=False), reruns(), Draws())


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"draws": 0}, "draws is 0"), ({"spread": 1.0}, "spread is 1.0"), ({"rates": (0.0,)}, "rates holds 0.0"),
     ({"seeds": True}, "seeds is True"), ({"designs": -1}, "designs is -1"), ({"newcomers": 0.5}, "newcomers is 0.5"),
     ({"rates": ("fast",)}, "rates holds 'fast'")],
)  # fmt: skip
def test_what_cannot_be_drawn_is_said(changes: dict[str, object], says: str) -> None:
    with pytest.raises(SpaceError, match=says):
        Draws(**changes)  # type: ignore[arg-type]
