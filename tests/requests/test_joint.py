"""The packaged workload tables against published means, their own construction, and the traces where these are at hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mist_dse.requests.joint import JOINTS, Side, bin_lengths, joint_bins, joint_path, joint_table
from mist_dse.requests.statistics import arrival_statistics

SCRIPT = Path(__file__).parents[2] / "studies" / "workload_tables" / "run.py"

# Conversation means: the MIST paper; Mooncake: the averages its release states (as whole tokens). The code trace has no published mean:
# its figures are those of the file, computed with pandas.
KNOWN = {
    "azure_conv": (19_366, 1154.7, 211.1),
    "azure_code": (8_819, 2047.8, 27.9),
    "mooncake_conversation": (12_031, 12_035, 343),
    "mooncake_synthetic": (3_993, 15_325, 149),
}


@pytest.mark.parametrize(("name", "known"), KNOWN.items())
def test_requests_and_mean_lengths_are_those_of_the_traces(name, known):
    table = joint_table(name)
    requests, input_mean, output_mean = known
    bins = np.array(json.loads(joint_path(name).read_text())["bins"])
    assert bins[:, 0].sum() == requests
    digits = 0.5 if input_mean == round(input_mean) else 0.05
    for side, mean in ((table.input, input_mean), (table.output, output_mean)):
        assert float(table.share @ side.mean) == pytest.approx(mean, abs=digits + 0.01)


@pytest.mark.parametrize("name", JOINTS)
def test_bins_reproduce_the_mean_and_are_sound(name):
    table = joint_table(name)
    assert table.share.sum() == pytest.approx(1.0)
    for side, mean in ((table.input, table.facts["input_mean"]), (table.output, table.facts["output_mean"])):
        assert float(table.share @ side.mean) == pytest.approx(mean, rel=1e-12)
        assert np.all((side.low >= 1) & (side.low <= side.mean) & (side.mean <= side.high))
        assert np.all(side.high <= np.maximum(side.low * 2**0.25, side.low))


@pytest.mark.parametrize("name", JOINTS)
def test_a_table_is_small_and_says_where_it_comes_from(name):
    facts = joint_table(name).facts
    assert joint_path(name).stat().st_size <= 100_000
    assert all(facts[key] for key in ("source", "licence", "file", "script"))
    assert len(facts["sha256"]) == 64
    assert set(facts["arrivals"]) == {"requests", "duration", "rate", "cv", "dispersion_1min"}


@pytest.mark.skipif("MIST_DSE_DATA" not in os.environ, reason="MIST_DSE_DATA is unset: the published traces are not at hand")
def test_the_packaged_tables_are_what_the_script_makes(tmp_path):
    repository = SCRIPT.parents[2]
    environment = os.environ | {"PYTHONPATH": str(repository)}
    subprocess.run([sys.executable, str(SCRIPT), str(tmp_path)], check=True, env=environment, capture_output=True)
    for name in JOINTS:
        assert (tmp_path / f"{name}.json").read_text() == joint_path(name).read_text()


lengths = st.lists(st.tuples(st.integers(1, 200_000), st.integers(1, 5_000)), min_size=1, max_size=60)


@given(lengths)
def test_bins_keep_every_request_and_every_token(pairs):
    sides = [np.array(side) for side in zip(*pairs, strict=True)]
    bins = np.array(joint_bins(*sides))
    assert bins[:, 0].sum() == len(pairs)
    assert bins[:, 2].sum() == sides[0].sum()
    assert bins[:, 5].sum() == sides[1].sum()


def test_bins_of_four_requests_by_hand():
    # 8 and 9 share the bin [8, 9.51) of a quarter octave, 10 does not; outputs 100 and 101 share one, 200 is an octave above
    assert joint_bins(np.array([8, 9, 10, 8]), np.array([100, 101, 100, 200])) == [
        (2, 8, 17, 9, 100, 201, 101),
        (1, 8, 8, 8, 200, 200, 200),
        (1, 10, 10, 10, 100, 100, 100),
    ]


@pytest.mark.parametrize(("low", "mean", "high"), [(10, 10.0, 10), (10, 10.25, 11), (10, 19.5, 20), (10, 11.0, 30), (1, 1.001, 2)])
def test_draws_inside_a_bin_keep_its_mean_and_stay_inside(low, mean, high):
    count = 400_000
    side = Side(np.array([low]), np.array([mean]), np.array([high]))
    tokens = bin_lengths(side, np.zeros(count, np.int64), np.random.default_rng(4))
    assert low <= tokens.min() <= tokens.max() <= high
    assert tokens.mean() == pytest.approx(mean, abs=3.29 * max(tokens.std(), 1e-12) / count**0.5)
    if high > low + 1:
        assert len(set(tokens)) > 2


def test_statistics_of_arrivals_by_hand():
    # two a minute for four minutes, then four in the fifth; the last minute is not whole
    times = np.array([0, 30, 60, 90, 120, 150, 180, 210, 240, 250, 260, 270, 301.0])
    found = arrival_statistics(times)
    assert (found["requests"], found["duration"]) == (13, 301.0)
    assert found["rate"] == pytest.approx(12 / 301)
    assert found["dispersion_1min"] == pytest.approx(np.var([2, 2, 2, 2, 4], ddof=1) / 2.4)


def test_poisson_arrivals_have_dispersion_and_cv_of_one():
    times = np.cumsum(np.random.default_rng(0).exponential(0.1, 400_000))
    found = arrival_statistics(times)
    minutes = int(times[-1] // 60)
    assert found["cv"] == pytest.approx(1.0, abs=3.29 * (1 / 400_000) ** 0.5)
    assert found["dispersion_1min"] == pytest.approx(1.0, abs=3.29 * (2 / minutes) ** 0.5)
