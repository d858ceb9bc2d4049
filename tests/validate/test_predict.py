"""Reading a run the way a load generator does, against sums by hand over the same records."""

import dataclasses

import numpy as np
import pytest

from mist_dse.evaluation import simulate
from mist_dse.validate.predict import Prediction, latencies, prediction
from tests.validate.test_case import made, ready


def test_figures_are_those_of_the_records() -> None:
    one = ready(isl=512, osl=32)
    run = simulate(one.design, one.workload)
    ttft = run.records.first_token - run.records.arrival
    tpot = (run.records.last_token - run.records.first_token) / 31
    found = prediction(one)
    assert isinstance(found, Prediction)
    assert found.ttft_ms == pytest.approx(1e3 * ttft.mean())
    assert found.tpot_ms == pytest.approx(1e3 * tpot.mean())
    assert found.e2e_ms == pytest.approx(found.ttft_ms + 31 * found.tpot_ms)
    assert found.output_tok_s == pytest.approx(80 * 32 / run.records.last_token.max())
    assert found.total_tok_s == pytest.approx(found.output_tok_s * (512 + 32) / 32)
    middle = prediction(dataclasses.replace(one, statistic="median"))
    assert isinstance(middle, Prediction)
    assert middle.ttft_ms == pytest.approx(1e3 * np.median(ttft))


def test_one_token_has_no_tpot() -> None:
    found = prediction(ready(osl=1))
    assert isinstance(found, Prediction)
    assert np.isnan(found.tpot_ms)
    assert found.ttft_ms > 0


def test_what_cannot_run_is_a_reason_and_no_number() -> None:
    big = ready(model="meta-llama/Llama-3.1-405B", n_gpus=1)
    said = prediction(big)
    assert isinstance(said, str)
    assert "405b" in said
    assert np.isnan(latencies(big)).all()


def test_a_context_past_the_models_longest_is_a_reason() -> None:
    said = prediction(ready(isl=200_000, concurrency=1))
    assert isinstance(said, str)
    assert "never fit" in said
    assert isinstance(made(isl=200_000), type(ready()))


def test_an_open_loop_past_what_can_be_served_is_marked() -> None:
    calm, flooded = (prediction(ready(concurrency=None, request_rate=rate, isl=2000, osl=50)) for rate in (1.0, 500.0))
    assert isinstance(calm, Prediction)
    assert isinstance(flooded, Prediction)
    assert (calm.saturated, flooded.saturated) == (False, True)
