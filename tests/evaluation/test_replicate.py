"""Intervals from replications: they hold the truth as often as they say, of the whole and of each class."""

from dataclasses import replace

import pytest
from scipy import stats

import mist_dse as md
from mist_dse.specs.workload import WorkloadClass
from tests.evaluation.fixed_service import design, mean_stay, service, workload

BATCHES, SEEDS, LOAD = 100, 5, 0.5


def test_intervals_hold_the_truth_of_a_queue_as_often_as_they_say() -> None:
    """M/D/1, mean stay: 100 batches of five short runs with fixed seeds; 95% intervals, so that fewer than 88 or 100 hits would be odd
    (binomial, 0.4% and 0.6%)."""
    truth = mean_stay(LOAD) * service()
    asked = workload(rate=LOAD / service(), requests=400, nominal=False, warmup=0.1)
    hits = 0
    for batch in range(BATCHES):
        low, high = md.replicate(design(), asked.with_seed(SEEDS * batch), seeds=SEEDS).interval["e2e_mean"]
        hits += low <= truth <= high
    assert 88 <= hits <= 99


def test_seeds_run_in_order_from_the_workloads_own() -> None:
    asked = workload(rate=LOAD / service(), requests=100).with_seed(7)
    runs = [md.evaluate(design(), asked, seed=7 + k).metrics["ttft_p90"] for k in range(4)]
    result = md.replicate(design(), asked, seeds=4)
    low, high = result.interval["ttft_p90"]
    half = stats.t.ppf(0.975, 3) * stats.sem(runs)
    assert (low, high) == (pytest.approx(sum(runs) / 4 - half), pytest.approx(sum(runs) / 4 + half))
    assert result.metrics["ttft_p90"] == runs[0]
    assert md.replicate(design(), asked, seeds=4) == result
    assert md.replicate(design(), asked, seeds=1).interval == {}


def test_classes_have_intervals_of_their_own() -> None:
    classes = (WorkloadClass(name="a", share=3.0), WorkloadClass(name="b", share=1.0))
    asked = workload(rate=LOAD / service(), requests=200, classes=classes)
    result = md.replicate(design(), asked, seeds=4)
    values = [md.evaluate(design(), asked, seed=k).classes["b"]["throughput_rps"] for k in range(4)]
    low, high = result.classes["b"]["interval"]["throughput_rps"]
    assert (low + high) / 2 == pytest.approx(sum(values) / 4)
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 3) * stats.sem(values))
    assert replace(result, interval={}, classes={}) == replace(md.evaluate(design(), asked), classes={})
