"""Fitting of profiles: constants come back from their own simulations, and what lies past its limit is told."""

from dataclasses import replace

import numpy as np
import pytest

from mist_dse.rows import Floats
from mist_dse.specs.engine import EngineProfile
from mist_dse.validate.calibration import case_latencies
from mist_dse.validate.case import Case
from mist_dse.validate.fit import CONSTANTS, FUSING, Constant, fitted_profile
from tests.validate.test_case import PROFILES, ready

THREE = tuple(constant for constant in CONSTANTS if constant.field in ("residue", "prefill_factor", "client"))
START = replace(PROFILES["generic"], **{constant.field: constant.prior for constant in THREE})


def cases() -> list[Case]:
    """Few clients and many, short prompts and long: TPOT tells the residue, TTFT of long prompts the factor, of short ones the client."""
    loads = [(1, 128, 40), (4, 128, 40), (16, 512, 40), (2, 4096, 20), (8, 8192, 20)]
    return [ready(concurrency=clients, isl=isl, osl=osl, num_prompts=3 * clients) for clients, isl, osl in loads]


def simulated(made: list[Case], profile: EngineProfile) -> Floats:
    return np.array([case_latencies((one, profile)) for one in made])


def test_a_profile_is_recovered_from_its_own_simulations() -> None:
    truth = replace(START, residue=2.2e-3, prefill_factor=1.4, client=60e-3)
    made = cases()
    found = fitted_profile(made, simulated(made, truth), START, case_latencies, constants=THREE)
    assert (found.profile.residue, found.profile.prefill_factor, found.profile.client) == pytest.approx((2.2e-3, 1.4, 60e-3), rel=0.05)
    assert replace(found.profile, residue=0, prefill_factor=1, client=0) == replace(START, residue=0, prefill_factor=1, client=0)
    assert (found.at_limit, found.rows) == ((), 5)
    assert min(found.before) > 0.10
    assert max(found.after) < 0.02


def test_what_ends_on_its_limit_is_flagged() -> None:
    """A client that waits 0.4 s is not physical (limit 0.15 s); steps a tenth of a millisecond shorter than none at all neither."""
    made = cases()
    slow = fitted_profile(made, simulated(made, replace(START, client=0.4)), START, case_latencies, constants=THREE)
    assert slow.at_limit == ("client",)
    assert slow.profile.client == pytest.approx(0.15, rel=0.01)
    quick = simulated(made, replace(START, residue=0.0)) - [0.0, 5e-4]
    assert "residue" in fitted_profile(made, quick, START, case_latencies, constants=THREE).at_limit


def line(pair: tuple[float, EngineProfile]) -> tuple[float, float]:
    """A server so simple that its answers can be written down: TTFT = client + factor x, TPOT = residue + x/100; none for x = 0."""
    x, profile = pair
    return (profile.client + profile.prefill_factor * x, profile.residue + 0.01 * x) if x else (np.nan, np.nan)


def test_rows_without_a_figure_do_not_count_and_one_wild_row_does_not_bend_the_rest() -> None:
    truth = replace(START, residue=1.5e-3, prefill_factor=1.2, client=40e-3)
    xs = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6]
    measured = np.array([line((x, truth)) for x in xs])
    plain = fitted_profile(xs, measured, START, line, constants=THREE).profile
    assert (plain.residue, plain.prefill_factor, plain.client) == pytest.approx((1.5e-3, 1.2, 40e-3), rel=0.05)
    holed = np.vstack([np.where(np.eye(6, 2, k=-2, dtype=bool), np.nan, measured), [[0.3, 0.3]]])
    assert np.isnan(holed).sum() == 2
    told = fitted_profile([*xs, 0.0], holed, START, line, constants=THREE).profile
    assert (told.residue, told.prefill_factor, told.client) == pytest.approx((1.5e-3, 1.2, 40e-3), rel=0.05)
    wild = measured * np.where(np.arange(6) == 2, 5.0, 1.0)[:, None]
    bent = fitted_profile(xs, wild, START, line, constants=THREE).profile
    assert (bent.residue, bent.prefill_factor, bent.client) == pytest.approx((plain.residue, plain.prefill_factor, plain.client), rel=0.15)


def test_a_map_of_ones_own_sees_every_case_of_a_step_at_once() -> None:
    asked: list[int] = []

    def run(function: object, items: object) -> list[tuple[float, float]]:
        pairs = list(items)  # type: ignore[call-overload]
        asked.append(len(pairs))
        return [line(pair) for pair in pairs]

    xs = [0.1, 0.5]
    fitted_profile(xs, np.array([line((x, START)) for x in xs]) * 1.1, START, line, constants=THREE, run=run)
    assert asked[0] == len(xs)
    assert 3 * len(xs) in asked  # the three slopes of a step, and not again the point that they start from


@pytest.mark.parametrize("constant", FUSING, ids=lambda constant: constant.field)
def test_constants_are_fields_with_a_prior_inside_their_limits(constant: Constant) -> None:
    assert constant.field in EngineProfile.__dataclass_fields__
    assert constant.low <= constant.prior < constant.high
    assert constant.spread > 0
    for end in (constant.low, constant.high):
        assert getattr(replace(START, **{constant.field: end}), constant.field) == end  # no limit that a profile refuses
