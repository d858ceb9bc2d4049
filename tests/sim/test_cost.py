"""The kernel's step lengths against the vectorised ones of `analytic`, written apart, and spans against sums of steps."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mist_dse.analytic import step
from mist_dse.rows import StepCost
from mist_dse.sim import cost
from mist_dse.sim.initial import initial_state
from mist_dse.sim.jit import entry
from mist_dse.sim.state import State
from tests.oracles import twin_cost
from tests.strategies import colocated, jobs_of, requests_of, rough_cost, servers_of, simple_engine

SEQUENCES = 8


@entry
def kernel_decode(s, p, sequences, context):
    return cost.decode_time(s, p, sequences, context, 0.0)


@entry
def kernel_chunk(s, p, tokens, before):
    return cost.chunk_time(s, p, tokens, before)


@entry
def kernel_span(s, p, sequences, context, steps):
    return cost.decode_span(s, p, sequences, context, steps)


@entry
def kernel_joint(s, p, first, steps):
    return cost.joint_span(s, p, first, steps)


@entry
def kernel_mixed(s, p, decodes, prompts):
    return cost.mixed_time(s, p, decodes, prompts, 0.0)


def state_of(row: StepCost) -> State:
    return initial_state(servers_of([(simple_engine(), row)]), jobs_of([colocated(4, 2)]), requests_of([0.0], [(4, 2)]), skip=True)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 1000), asynchronous=st.booleans(), sequences=st.integers(1, SEQUENCES), context=st.integers(8, 800))
def test_a_decode_step_is_what_analytic_says(seed: int, asynchronous: bool, sequences: int, context: int) -> None:
    row = rough_cost(seed, 1.0, asynchronous)
    expected = step.decode_time(row, sequences, context / sequences)
    assert kernel_decode(state_of(row), 0, sequences, context) == pytest.approx(float(expected), rel=1e-12)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 1000), tokens=st.integers(1, 40), before=st.integers(0, 100))
def test_a_chunk_is_what_analytic_says(seed: int, tokens: int, before: int) -> None:
    row = rough_cost(seed, 1.0, False)
    assert kernel_chunk(state_of(row), 0, tokens, before) == pytest.approx(float(step.chunk_time(row, tokens, before)), rel=1e-12)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 1000), sequences=st.integers(1, SEQUENCES), context=st.integers(8, 100), steps=st.integers(1, 200))
def test_a_span_is_the_sum_of_its_steps(seed: int, sequences: int, context: int, steps: int) -> None:
    row = rough_cost(seed, 1.0, True)
    state = state_of(row)
    one_by_one = sum(kernel_decode(state, 0, sequences, context + k * sequences) for k in range(steps))
    assert kernel_span(state, 0, sequences, context, steps) == pytest.approx(one_by_one, rel=1e-12)


def test_tokens_beyond_the_table_extend_its_last_slope() -> None:
    row = rough_cost(1, 1.0, False)
    last = len(row.token_time) - 1
    slope = row.token_time[last] - row.token_time[last - 1]
    inside, outside = (kernel_mixed(state_of(row), 0, (0, 0), (tokens, 1, 1, 0.0)) for tokens in (last, last + 10))
    assert outside - inside == pytest.approx(10 * slope)


def test_a_mixed_step_by_hand() -> None:
    """T = 7, two decodes of 5 tokens in all, one chunk of 5 after 3 that ends its prompt, host times added."""
    row = rough_cost(7, 1.0, False)
    chunk = 3.0
    attention = np.interp(2.5, row.knots, row.decode_attention[2])
    device = row.token_time[7] + row.sequence_time[3] + row.prefill_overhead + chunk + row.mixing * attention
    host = row.host_step + row.host_sequence * 3 + row.host_prefill
    assert kernel_mixed(state_of(row), 0, (2, 5), (7, 1, 1, chunk)) == pytest.approx(device + host, rel=1e-12)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 1000),
    asynchronous=st.booleans(),
    shares=st.booleans(),
    ranks=st.lists(st.tuples(st.integers(0, SEQUENCES), st.integers(0, 60)), min_size=2, max_size=4).filter(
        lambda ranks: any(sequences for sequences, _ in ranks)
    ),
    steps=st.integers(1, 60),
)
def test_a_joint_span_is_the_sum_of_its_longest_steps(
    seed: int, asynchronous: bool, shares: bool, ranks: list[tuple[int, int]], steps: int
) -> None:
    """Ranks of S sequences with mean contexts; in each step the longest rank counts, whose line another may overtake."""
    row = rough_cost(seed, 1.0, asynchronous)
    if shares:
        row = row._replace(shared_time=np.array([np.linspace(0.1, 2.0, 40), np.linspace(0.2, 3.0, 40)]))
    servers = servers_of([(simple_engine(ranks=len(ranks)), row)])
    state = initial_state(servers, jobs_of([colocated(4, 2)]), requests_of([0.0], [(4, 2)]), skip=True)
    state.group["decodes"], state.group["anchor_context"] = [s for s, _ in ranks], [s * x for s, x in ranks]
    tokens = sum(s for s, _ in ranks)
    shared = twin_cost.shared_length(row, tokens, False)
    lengths = [max(twin_cost.step_length(row, s, s * (x + k), [], shared) for s, x in ranks if s) for k in range(steps)]
    assert kernel_joint(state, 0, 0, steps) == pytest.approx(sum(lengths), rel=1e-9)


def test_slopes_that_differ_by_a_rounding_cross_nowhere() -> None:
    """(top - value) / (difference of slopes) may exceed every whole number."""
    row = rough_cost(1, 1.0, True)
    servers = servers_of([(simple_engine(ranks=2), row)])
    state = initial_state(servers, jobs_of([colocated(4, 2)]), requests_of([0.0], [(4, 2)]), skip=True)
    state.group["decodes"], state.group["anchor_context"] = [2, 2], [40, 39]
    state.table[:] = 1.0 + 1e-16 * np.arange(len(state.table))
    state.table[int(state.pool["knots_at"][0]) :][: len(row.knots)] = row.knots
    assert 0 < kernel_joint(state, 0, 0, 50) < 1000
