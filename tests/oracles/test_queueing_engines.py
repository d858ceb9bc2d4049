"""Engines against queueing theory, as stations are in `test_queueing`.

One sequence at a time is a single server; geometric outputs make a batching engine a Markov chain.
"""

from collections.abc import Callable

import numpy as np
import pytest

from mist_dse import rows
from tests.oracles import queueing
from tests.oracles.queueing import Batching
from tests.oracles.replications import Floats, Sample, assert_true, mean, refused, share, visits_at
from tests.oracles.systems import FIXED, Draw, Law, System, arrivals, engine, finds, fixed_claims, geometric, totals, waits
from tests.strategies import servers_of, simple_cost, simple_engine

# Engines. A prompt of one token is computed, and its first output token emitted, in one step.

ALONE = simple_engine(max_num_seqs=1, blocks=1000, block_size=16, max_model_len=10_000)
POLICIES = {"static": rows.STATIC, "continuous": rows.CONTINUOUS, "chunked": rows.CHUNKED, "prefill first": rows.PREFILL_FIRST}
SECOND = simple_cost(base=1.0)


def test_engine_of_one_sequence_is_m_d_1() -> None:
    """Each request is one step of 1 s."""
    assert_true(engine(ALONE, SECOND, 0.7, FIXED, 30_000), fixed_claims(0.7))


def test_engine_of_one_sequence_is_m_g_1() -> None:
    """Geometric outputs at 1 s a token."""
    law, rate = geometric(0.25), 0.125
    claims = {
        "wait": mean(waits, law.wait(rate)),
        "time in system": mean(totals, law.wait(rate) + law.mean),
        "finds the engine busy": share(finds(1), rate * law.mean),
    }
    assert_true(engine(ALONE, SECOND, rate, law, 20_000), claims)


def test_round_robin_is_m_d_c() -> None:
    """Two engines of one sequence each, in turn: E_2/D/1, whose wait is that of M/D/2."""
    pool = ALONE._replace(replicas=2, router=rows.ROUND_ROBIN)
    assert_true(engine(pool, SECOND, 1.4, FIXED, 30_000), {"wait": mean(waits, queueing.crommelin_wait(2, 1.4))})


def test_random_router_splits_poisson_arrivals() -> None:
    """Two engines of one sequence each, one drawn for each request: M/D/1 twice."""
    pool = ALONE._replace(replicas=2, router=rows.RANDOM)

    def jobs(draw: Draw, works: Floats) -> rows.Jobs:
        return visits_at([0], works)._replace(draw=draw.random((len(works), 2)))

    claims = {name: claim for name, claim in fixed_claims(0.7).items() if name != "finds the server busy"}
    assert_true(arrivals(servers_of([(pool, SECOND)]), 1.4, [FIXED], 40_000, jobs), claims)


SIZES, SHARES = (1, 4, 12), (0.5, 0.3, 0.2)


def sizes(draw: Draw, count: int) -> Floats:
    return np.asarray(draw.choice(np.array(SIZES, float), count, p=SHARES))


THREE = Law(sizes, 4.1, 34.1)  # 0.5 + 1.2 + 2.4, 0.5 + 4.8 + 28.8


@pytest.mark.parametrize(("packing", "order"), [(rows.SHORTEST, (1, 4, 12)), (rows.LEAST_WORK, (1, 4, 12)), (rows.PRIORITY, (4, 12, 1))])
def test_packing_is_m_g_1_with_priorities(packing: int, order: tuple[int, ...]) -> None:
    """An engine of one sequence, three lengths at 1 s a token: of prompts or, under least work, of outputs (Cobham; Phipps)."""
    rate = 0.75 / THREE.mean
    truth = queueing.priority_waits([SHARES[SIZES.index(size)] for size in order], [float(size) for size in order], rate)

    def jobs(_: Draw, works: Floats) -> rows.Jobs:
        if packing == rows.LEAST_WORK:
            return visits_at([0], works, emit=works)
        place = np.array([order.index(size) for size in SIZES])[np.searchsorted(SIZES, works.ravel())]
        return visits_at([0], works, prompt=works)._replace(priority=place if packing == rows.PRIORITY else rows.NONE)

    def wait_of(size: int) -> Callable[[Sample], float]:
        return lambda seen: float(seen.wait[seen.work == size].mean())

    pool = ALONE._replace(packing=packing, max_num_batched_tokens=16)
    claims = {f"wait of {size} tokens": mean(wait_of(size), wait, 0.05) for size, wait in zip(order, truth, strict=True)}
    assert_true(arrivals(servers_of([(pool, simple_cost(per_token=1.0))]), rate, [THREE], 30_000, jobs), claims)


CHAINS = {
    "static": queueing.static_stay,
    "continuous": queueing.stalled_stay,
    "chunked": queueing.joined_stay,
    "prefill first": queueing.stalled_stay,
}
STOP = 0.2


def batching(policy: str, load: float, seats: int, count: int) -> tuple[System, Batching]:
    """Steps of k sequences take 0.5 + 0.125 k s, outputs are geometric of mean 5; the load is that of full batches."""
    model = Batching(load * seats * STOP / (0.5 + 0.125 * seats), seats, base=0.5, each=0.125, stop=STOP)
    pool = ALONE._replace(policy=POLICIES[policy], max_num_seqs=seats, max_num_batched_tokens=64)
    return engine(pool, simple_cost(base=model.base, per_token=model.each), model.rate, geometric(STOP), count), model


@pytest.mark.parametrize("seats", [3, 8])
@pytest.mark.parametrize(("policy", "load"), [("static", 0.25), ("continuous", 0.6), ("chunked", 0.7), ("prefill first", 0.6)])
def test_batching_engine_is_a_markov_chain(policy: str, load: float, seats: int) -> None:
    system, model = batching(policy, load, seats, 12_000)
    assert_true(system, {"time in system": mean(totals, CHAINS[policy](model))})


def test_chains_of_other_policies_are_refused() -> None:
    """Prompts that join a batch are not prompts that stall it, nor a batch that runs until all have ended."""
    system, model = batching("chunked", 0.75, 8, 15_000)
    claims = {name: mean(totals, chain(model)) for name, chain in CHAINS.items()}
    claims["one seat less"] = mean(totals, queueing.joined_stay(model._replace(seats=7)))
    assert refused(system, claims) == set(claims) - {"chunked"}
