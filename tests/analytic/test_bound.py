import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mist_dse.analytic.bound import bound, lindley, station_time
from mist_dse.analytic.step import step_time
from mist_dse.rows import CHUNKED, COMPLETED, CONTINUOUS, JOIN_SHORTEST_QUEUE, PREFILL_FIRST, STATIC, Records, Station
from tests.analytic import machines
from tests.endless import simulate
from tests.strategies import Case, rough_cases

SLACK = 1 + 1e-9


def measured(records: Records, emitted):
    done = records.status == COMPLETED
    times = {"ttft": records.first_token - records.arrival, "e2e": records.end - records.arrival}
    times["tpot"] = np.where(emitted >= 2, (records.last_token - records.first_token) / np.maximum(emitted - 1, 1), np.nan)
    return {name: np.where(done, value, np.nan) for name, value in times.items()}


def answered_tokens(jobs):
    owner = np.repeat(np.arange(len(jobs.first) - 1), np.diff(jobs.first))
    answers = jobs.answers > 0
    return np.bincount(owner[answers], weights=jobs.emit[answers], minlength=len(jobs.first) - 1)


def assert_admissible(servers, jobs, requests):
    floors, records = bound(servers, jobs, requests), simulate(servers, jobs, requests)
    done = records.status == COMPLETED
    for name, value in measured(records, answered_tokens(jobs)).items():
        floor = getattr(floors, name)
        both = done & np.isfinite(floor) & np.isfinite(value)
        assert (floor[both] <= value[both] * SLACK + 1e-12).all(), name
    if done.all():
        assert floors.makespan <= records.makespan * SLACK
        assert floors.throughput * SLACK >= done.sum() / records.makespan
    return floors, records


POOLS = [
    {"policy": CHUNKED, "replicas": 3},
    {"policy": CHUNKED, "max_num_batched_tokens": 256, "long_prefill_threshold": 100},
    {"policy": CHUNKED, "blocks": 2500, "max_num_seqs": 64},  # preempts
    {"policy": CONTINUOUS, "replicas": 2, "router": JOIN_SHORTEST_QUEUE},
    {"policy": STATIC, "max_num_seqs": 16},
    {"policy": CHUNKED, "ranks": 2, "front_end": 2e-3, "front_end_token": 1e-5, "client": 0.02},
    {"policy": CHUNKED, "lanes": 2},
    {"policy": PREFILL_FIRST, "max_num_batched_tokens": 512, "receive_interval": 30},
    {"policy": CHUNKED, "whole_prompts": True, "reserve_output": True, "stream_interval": 10, "wait_steps": 20, "wait_tokens": 1843},
]


@pytest.mark.parametrize("changes", POOLS)
@pytest.mark.parametrize("rate", [2.0, 30.0])
def test_law_10_bound_is_below_simulation(changes, rate):
    asked = machines.drawn(400, rate)
    step = machines.cost(stage_share=0.5) if changes.get("lanes") else None
    assert_admissible(machines.colocated(step=step, **changes), machines.chat(asked), asked)


@pytest.mark.parametrize("policy", [CHUNKED, CONTINUOUS, PREFILL_FIRST, STATIC])
@pytest.mark.parametrize("rate", [2.0, 60.0])
def test_law_10_where_ranks_share_work(policy, rate):
    from tests.analytic.slopes import with_slopes

    asked = machines.drawn(400, rate)
    servers = with_slopes(machines.colocated(step=machines.sharing(4), ranks=4, policy=policy))
    floors, records = assert_admissible(servers, machines.chat(asked), asked)
    if rate < 10 and policy == CHUNKED:  # nearly alone: a floor that knows of the shared part is near
        spans = (records.last_token - records.first_token) / np.maximum(asked.output_tokens - 1, 1)
        assert np.nanmean(floors.tpot) > 0.8 * spans.mean()


@pytest.mark.parametrize("first_token_from", ["prefill", "decode"])
@pytest.mark.parametrize("rate", [2.0, 30.0])
def test_law_10_with_a_hand_off(first_token_from, rate):
    asked = machines.drawn(400, rate)
    servers = machines.split({"replicas": 2}, {"replicas": 2, "router": JOIN_SHORTEST_QUEUE}, link=20e9)
    assert_admissible(servers, machines.handed_chat(asked, first_token_from=first_token_from), asked)


@pytest.mark.parametrize("clients", [1, 7, 100])
def test_law_10_in_a_closed_loop(clients):
    drawn = machines.drawn(300, 1.0)
    asked = drawn._replace(arrival=np.zeros(300), clients=clients)
    assert_admissible(machines.colocated(replicas=2), machines.chat(asked), asked)


@settings(max_examples=300, deadline=None)
@given(rough_cases())
def test_law_10_on_every_kind_of_server(case: Case):
    """Bound <= simulated for each request, whatever its graph of visits."""
    from tests.analytic.slopes import with_slopes

    assert_admissible(with_slopes(case.servers), case.jobs, case.requests)


def test_a_lone_request_costs_the_stair_of_its_chunks():
    asked = machines.requests([0.0], 5000, 1)
    floors, records = assert_admissible(machines.colocated(max_num_batched_tokens=2048), machines.chat(asked), asked)
    cost = machines.cost()
    stair = sum(
        float(step_time(cost, 0, 0, chunk=[n], start=[c], finished=f)) for n, c, f in [(2048, 0, 0), (2048, 2048, 0), (904, 4096, 1)]
    )
    assert records.first_token[0] == pytest.approx(stair, rel=1e-9)
    assert floors.ttft[0] == pytest.approx(stair, rel=1e-9)


def test_a_lone_request_is_exact_to_its_last_token():
    asked = machines.requests([0.0], 1000, 50)
    floors, records = assert_admissible(machines.colocated(), machines.chat(asked), asked)
    assert floors.e2e[0] == pytest.approx(records.end[0], rel=1e-9)
    assert floors.tpot[0] == pytest.approx((records.last_token[0] - records.first_token[0]) / 49, rel=1e-9)
    assert floors.makespan == pytest.approx(records.makespan, rel=1e-9)


@pytest.mark.parametrize("tokens", [4, 10, 50])
def test_a_lone_request_is_exact_to_its_first_message(tokens):
    """Messages of 10 tokens: TTFT is that of the 10th token (of the last, if there are fewer), TPOT counts from there."""
    asked = machines.requests([0.0], 1000, tokens)
    floors, records = assert_admissible(machines.colocated(stream_interval=10), machines.chat(asked), asked)
    plain = simulate(machines.colocated(), machines.chat(asked._replace(output_tokens=np.array([min(tokens, 10)]))), asked)
    assert records.first_token[0] == pytest.approx(plain.last_token[0], rel=1e-12)
    assert floors.ttft[0] == pytest.approx(records.first_token[0], rel=1e-9)
    assert floors.tpot[0] == pytest.approx((records.last_token[0] - records.first_token[0]) / (tokens - 1), rel=1e-9, abs=1e-15)


def test_lindley_of_two_queues_by_hand():
    done = lindley(np.array([0.0, 0.0, 1.0, 5.0]), np.array([3.0, 1.0, 2.0, 1.0]), np.array([0, 1, 0, 1]))
    assert done.tolist() == [3.0, 1.0, 5.0, 6.0]


def test_simultaneous_prompts_wait_for_the_marginal_work_ahead():
    asked = machines.requests(np.zeros(8), 2048, 1)
    floors, _ = assert_admissible(machines.colocated(), machines.chat(asked), asked)
    work = np.diff(floors.ttft)
    assert (work[1:] > 0).all()
    assert np.ptp(work[1:]) < 1e-12


def test_law_11_more_replicas_or_a_faster_device_never_worsen_the_bound():
    asked = machines.drawn(300, 40.0)
    few, many = (bound(machines.colocated(replicas=r), machines.chat(asked), asked) for r in (2, 3))
    assert few.makespan >= many.makespan - 1e-12
    assert np.nanmean(few.ttft) >= np.nanmean(many.ttft)
    slow = machines.cost()
    fast = slow._replace(token_time=slow.token_time * 0.7, decode_step=slow.decode_step * 0.7)
    better = bound(machines.colocated(replicas=2, step=fast), machines.chat(asked), asked)
    assert (better.ttft <= few.ttft + 1e-12).all()
    assert (better.e2e <= few.e2e + 1e-12).all()


def test_what_never_fits_has_no_bound():
    asked = machines.requests([0.0, 0.1], [1000, 5000], 10)
    floors, records = assert_admissible(machines.colocated(max_model_len=2000), machines.chat(asked), asked)
    assert np.isnan(floors.ttft).tolist() == [False, True]
    assert (records.status == COMPLETED).tolist() == [True, False]


def test_law_12_scaling_all_times_scales_the_bound():
    asked = machines.drawn(100, 10.0)
    one, two = machines.colocated(), machines.colocated()
    timed = (
        "token_time",
        "sequence_time",
        "decode_attention",
        "decode_step",
        "quad",
        "read",
        "prefill_overhead",
        "host_step",
        "host_sequence",
        "host_prefill",
    )
    cost = two.costs[0]._replace(**{name: 2 * getattr(two.costs[0], name) for name in timed})
    load = two.loads[0]._replace(**{name: 2 * value for name, value in two.loads[0]._asdict().items()})
    doubled = bound(two._replace(costs=(cost,), loads=(load,)), machines.chat(asked), asked._replace(arrival=2 * asked.arrival))
    single = bound(one, machines.chat(asked), asked)
    np.testing.assert_allclose(doubled.ttft, 2 * single.ttft, rtol=1e-9)
    np.testing.assert_allclose(doubled.tpot, 2 * single.tpot, rtol=1e-9)


@given(st.floats(1.0, 1e6), st.floats(1.0, 1e3))
def test_a_station_alone_serves_at_its_cap(work, cap):
    assert station_time(Station(2 * cap, cap, 1, 0.5), np.array([work]))[0] == pytest.approx(work / cap + 0.5)
