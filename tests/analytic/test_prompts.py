"""Laws of prompts that wait, against what renewal and queueing theory or a plain simulation of the same recursion say."""

import numpy as np
import pytest
from scipy.special import gammainc

from mist_dse.analytic import Variants, engine_traffic, pool_steady
from mist_dse.analytic.entrance import entrance
from mist_dse.analytic.gaps import gaps
from mist_dse.analytic.operation import batch_variance, loaded, operation
from mist_dse.rows import CONTINUOUS, RANDOM, ROUND_ROBIN
from tests.analytic import machines

TIMES = np.array([0.1, 0.3, 0.5, 0.8, 1.2, 2.0])


@pytest.mark.parametrize("shape", [2, 3, 8, 24])
def test_streams_dealt_out_in_turn_are_gamma_renewals(shape):
    law = gaps(np.full(len(TIMES), 1 / shape))
    exact = sum(gammainc(shape * n, shape * TIMES) for n in range(1, 40))
    np.testing.assert_allclose(1 - law.empty(TIMES), gammainc(shape, shape * TIMES), atol=4e-3)
    np.testing.assert_allclose(law.renewals(TIMES), exact, atol=0.1)  # the middle is between two asymptotes


def test_poisson_gaps_are_exact():
    law = gaps(np.ones(len(TIMES)))
    np.testing.assert_allclose(law.empty(TIMES), np.exp(-TIMES), rtol=1e-3)
    np.testing.assert_allclose(law.renewals(TIMES), TIMES, rtol=0.05)


def gated(requests, seconds, replicas):
    """Mean time to first token of prompts that are taken together as soon as their replica is free: the plain recursion."""
    found = []
    for replica in range(replicas):
        arrival, tokens = requests.arrival[replica::replicas], requests.input_tokens[replica::replicas]
        at, now = 0, 0.0
        while at < len(arrival):
            now = max(now, arrival[at])
            end = int(np.searchsorted(arrival, now, side="right"))
            now += seconds(tokens[at:end])
            found.extend(now - arrival[at:end])
            at = end
    return float(np.mean(found))


@pytest.mark.parametrize("replicas", [1, 4])
@pytest.mark.parametrize("load", [0.2, 0.5, 0.8])
def test_prompts_that_share_steps_wait_as_in_a_gated_server(load, replicas):
    """Without a budget that binds, so that each step takes all that came during the last one."""
    cost = machines.cost()
    engine = machines.engine(policy=CONTINUOUS, replicas=replicas, max_num_batched_tokens=10**6)
    line = np.polyfit([1000.0, 4000.0], [step_seconds(cost, [1000]), step_seconds(cost, [4000])], 1)
    asked = machines.drawn(20_000, replicas * load / (line[0] * 1000))
    rate = (len(asked.arrival) - 1) / np.ptp(asked.arrival)
    traffic = engine_traffic(asked.input_tokens, np.zeros(len(asked.arrival)), rate=rate)
    true = gated(asked, lambda tokens: step_seconds(cost, tokens), replicas)
    assert pool_steady(cost, engine, traffic).first.mean[0] == pytest.approx(true, rel=0.15)


def step_seconds(cost, tokens):
    from mist_dse.analytic.step import step_time

    new = np.asarray(tokens, dtype=float)
    return float(step_time(cost, 0, 0.0, chunk=new, start=np.zeros_like(new), finished=len(new)))


def test_even_arrivals_wait_less_and_random_ones_do_not():
    traffic = engine_traffic(np.full(100, 1000.0), np.zeros(100), rate=8.0)
    turns, split = (pool_steady(machines.cost(), machines.engine(replicas=8, router=router), traffic) for router in (ROUND_ROBIN, RANDOM))
    assert turns.wait[0] < 0.5 * split.wait[0]


def test_a_front_end_takes_longer_the_more_it_streams():
    """The seconds of a visit over 1 - s, s = seconds per token x batch / step; without streaming the wait is that of M/D/1."""
    asked = machines.drawn(500, 6.0)
    traffic = engine_traffic(asked.input_tokens, asked.output_tokens - 1, rate=6.0)
    engine = machines.engine(front_end=0.01, front_end_output=1e-4)
    op = operation(machines.cost(), engine, traffic)
    slow, wait = entrance(engine, traffic, op)
    mean = 1 / (1 - 1e-4 * op.batch / op.pure)
    assert slow[0] == pytest.approx(mean[0], rel=0.1)
    alone = entrance(engine._replace(front_end_output=0.0), traffic, op)
    assert alone[0][0] == pytest.approx(1.0)
    assert wait.mean[0] > alone[1].mean[0]
    assert alone[1].mean[0] == pytest.approx(6.0 * 0.01**2 / (2 * (1 - 0.06)), rel=1e-6)  # M/D/1


def test_a_short_run_has_a_smaller_batch_and_the_same_demand():
    asked = machines.drawn(500, 6.0)
    endless, short = (engine_traffic(asked.input_tokens, asked.output_tokens - 1, rate=6.0, horizon=span) for span in (np.inf, 20.0))
    points = [operation(machines.cost(), machines.engine(), traffic) for traffic in (endless, short)]
    found = [loaded(machines.engine(), traffic, point) for traffic, point in zip((endless, short), points, strict=True)]
    assert points[0].demand[0] == points[1].demand[0] == found[1].demand[0]
    assert found[1].batch[0] < found[0].batch[0]
    assert found[1].token[0] < found[0].token[0]


def test_batches_of_even_arrivals_vary_less():
    asked = machines.drawn(500, 6.0)
    traffic = engine_traffic(asked.input_tokens, asked.output_tokens - 1, rate=6.0)
    size = Variants(np.array([1.0, 8.0]), *(np.float64(value) for value in (256, 8192, 25_000)))
    op = operation(machines.cost(), machines.engine(), traffic._replace(rate=np.array([6.0, 48.0])), size)
    variance = batch_variance(machines.engine(), traffic, op)
    assert op.batch[1] == pytest.approx(op.batch[0])
    assert variance[1] < 0.7 * variance[0]
    geometric = engine_traffic(asked.input_tokens, np.random.default_rng(0).geometric(1 / 200, 500))
    assert geometric.overlap == pytest.approx(0.5, rel=0.1)  # E[min] / E of exponential stays
    assert geometric.fading == pytest.approx(geometric.decodes, rel=0.15)  # what is left of them is exponential again
    fixed = engine_traffic(asked.input_tokens, np.full(500, 300.0))
    assert fixed.overlap == pytest.approx(1.0)
    assert fixed.fading == pytest.approx(100.0)  # two uniform variables differ by a third on the average
