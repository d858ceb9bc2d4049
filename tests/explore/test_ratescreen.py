"""The screen over rates against the design-by-design mean field at one rate, and against brute force over rates."""

from dataclasses import replace

import numpy as np
import pytest

from mist_dse.evaluation import evaluate
from mist_dse.explore.errors import SpaceError
from mist_dse.explore.screens.ratescreen import RateScreen, rate_screen
from mist_dse.explore.spaces.space import Space
from mist_dse.requests import paced, realise
from mist_dse.specs.workload import Arrivals, Workload
from tests.explore.spaces import catalog, space, workload

RATES = (4.0, 8.0, 12.0, 17.0, 24.0, 32.0)
TTFT = 0.35


def fixed() -> Workload:
    return Workload.poisson(rate=6.0, input_tokens=800, output_tokens=120, requests=1500, seed=3)


@pytest.fixture(scope="module", params=[workload(requests=1500), fixed()], ids=["lengths that vary", "fixed lengths"])
def screened(request: pytest.FixtureRequest) -> tuple[Space, Workload, RateScreen]:
    here = space(constraints=[])
    limits = [f"ttft_mean <= {TTFT} s"]
    return here, request.param, rate_screen(here, request.param, RATES, limits=limits, prices=catalog().prices("default"))


def at_rate(found: RateScreen, index: int, asked: Workload, rate: float) -> dict[str, float]:
    """Mean figures of one design by `evaluate`; inf where it is saturated."""
    requests = realise(asked)
    run = evaluate(found.table.design(index), asked, fidelity="steady", requests=paced(requests, rate / requests.nominal_rate))
    saturated = any(item.kind in ("saturated", "memory") for item in run.violations)
    return {name: np.inf if saturated else float(run.metrics[name]) for name in ("ttft_mean", "tpot_mean")}


def test_the_largest_rate_is_where_the_mean_field_of_each_design_stops_keeping_the_limit(screened) -> None:
    _, asked, found = screened
    tries = np.random.default_rng(0).choice(len(found.table), 14, replace=False)
    seen = set()
    for index in map(int, tries):
        figures = {rate: at_rate(found, index, asked, rate)["ttft_mean"] for rate in RATES}
        if any(0.88 < value / TTFT <= 1.01 for value in figures.values()):
            continue  # so near the limit that the end of the run decides
        expected = max((rate for rate, value in figures.items() if value <= TTFT), default=0.0)
        assert found.largest[index] == expected, (index, figures)
        seen.add(expected)
    assert len(seen) >= 3


def test_the_best_design_of_a_rate_has_its_figures_by_evaluate(screened) -> None:
    _, asked, found = screened
    assert (found.best >= 0).sum() >= 3
    for number in np.flatnonzero(found.best >= 0):
        figures = at_rate(found, int(found.best[number]), asked, float(found.rates[number]))
        assert 0.99 * figures["ttft_mean"] <= found.ttft[number] <= 1.12 * figures["ttft_mean"]  # an endless run waits longer than this one
        assert found.tpot[number] == pytest.approx(figures["tpot_mean"], rel=0.01)


def test_no_design_has_faster_tokens_than_the_best(screened) -> None:
    _, asked, found = screened
    number = int(np.flatnonzero(found.best >= 0)[1])
    for index in range(0, len(found.table), 7):
        figures = at_rate(found, index, asked, float(found.rates[number]))
        if figures["ttft_mean"] < 0.88 * TTFT:
            assert figures["tpot_mean"] > 0.97 * found.tpot[number]


def test_a_second_limit_takes_rates_away(screened) -> None:
    here, asked, found = screened
    tight = f"tpot_mean <= {float(np.nanmedian(found.tpot))} s"
    both = rate_screen(here, asked, RATES, limits=[f"ttft_mean <= {TTFT} s", tight], prices=catalog().prices("default"))
    assert (both.largest <= found.largest).all()
    assert (both.largest < found.largest).any()


@pytest.mark.parametrize(
    ("rates", "limits", "arrivals", "words"),
    [
        ([], [], None, "give rates > 0"),
        ([0.0, 1.0], [], None, "give rates > 0"),
        ([1.0], ["ttft_p90 <= 1 s"], None, "ttft_mean and tpot_mean alone"),
        ([1.0], ["ttft_mean >= 1 s"], None, "upper limits"),
        ([1.0], [], Arrivals(kind="closed", clients=4, requests=40), "give rates > 0"),
        ([1.0], [], Arrivals(kind="batch", requests=40), "no arrival rate"),
    ],
)
def test_what_cannot_be_screened_is_refused_in_one_line(rates, limits, arrivals, words) -> None:
    asked = workload() if arrivals is None else replace(workload(), arrivals=arrivals)
    with pytest.raises(SpaceError, match=words) as caught:
        rate_screen(space(constraints=[]), asked, rates, limits=limits, prices=catalog().prices("default"))
    assert "\n" not in str(caught.value)
