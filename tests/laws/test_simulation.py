"""Laws of every run, whatever the policy, the router, the parallelism and the arrivals; numbered as in `docs/laws.md`."""

import itertools

import numpy as np
from hypothesis import HealthCheck, assume, given, reject, settings

from mist_dse.rows import CANCEL, CHUNKED, COMPLETED, ON_START, PREFILL_FIRST, REJECTED, STATIC, UNFINISHED, Records
from mist_dse.sim.initial import initial_state
from mist_dse.sim.loop import run
from mist_dse.sim.simulate import LivelockError, simulate_steps
from tests.endless import simulate
from tests.strategies import Case, cases, rough_cases

MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


def fits(case: Case) -> np.ndarray:
    """Per visit, by the words of the contract: an engine visit whose whole sequence fits a rank's KV, the context and a step."""
    servers, jobs, _ = case
    ok = np.ones(len(jobs.server), bool)
    for number, engine in enumerate(servers.engines):
        tokens = jobs.prompt + jobs.handed + jobs.limit
        blocks = np.ceil((tokens - 1) / engine.block_size)
        here = jobs.server == number
        fit = (blocks + engine.watermark <= engine.blocks) & (tokens <= engine.max_model_len)
        if engine.whole_prompts and engine.policy in (CHUNKED, PREFILL_FIRST):
            fit &= jobs.prompt + jobs.handed - jobs.computed <= engine.max_num_batched_tokens
        ok[here] = fit[here]
    return ok


def owners(case: Case) -> np.ndarray:
    return np.repeat(np.arange(len(case.jobs.first) - 1), np.diff(case.jobs.first))


def early_handoffs(case: Case) -> np.ndarray:
    """Visits with a lease that may begin while the prefill whose KV they carry still runs."""
    jobs = case.jobs
    signalled = jobs.edge_to[jobs.edge_on == ON_START]
    return signalled[jobs.lease[signalled] >= 0]


@MANY
@given(case=cases())
def test_law_01_arrived_is_completed_plus_rejected_plus_in_flight(case: Case) -> None:
    """Arrived = completed + rejected + in flight; a run ends with nothing in flight, so every request is one of the two (but early
    hand-offs may wait for one another for ever).
    """
    status = simulate(*case).status
    counts = [int((status == kind).sum()) for kind in (COMPLETED, REJECTED, UNFINISHED)]
    assert sum(counts) == len(case.requests.arrival)
    assert counts[2] == 0 or early_handoffs(case).any()


@MANY
@given(case=rough_cases())
def test_law_02_events_of_a_request_are_in_order(case: Case) -> None:
    """Arrival <= admit <= first token <= last token <= end; ready <= start <= end of every visit, cancelled ones as far as they came."""
    r = simulate(*case)
    done = r.status == COMPLETED
    times = np.stack([r.arrival, r.admitted, r.first_token, r.last_token, r.end])[:, done]
    assert not np.isnan(times).any()
    assert (np.diff(times, axis=0) >= 0).all()
    visits = np.stack([r.visit_ready, r.visit_start, r.visit_end])[:, done[owners(case)]]
    assert not np.isnan(visits[2]).any()
    assert (np.isnan(visits[0]) <= np.isnan(visits[1])).all()  # what started was released
    assert ((np.diff(visits, axis=0) >= 0) | np.isnan(np.diff(visits, axis=0))).all()
    kept = np.ones(len(done), bool)[owners(case)] & done[owners(case)]
    kept[case.jobs.edge_to[case.jobs.edge_on == CANCEL]] = False
    assert not np.isnan(r.visit_start[kept]).any()
    assert ((r.visit_ready <= r.visit_end) | np.isnan(r.visit_ready) | np.isnan(r.visit_end)).all()


@MANY
@given(case=rough_cases())
def test_law_03_the_clock_never_falls(case: Case) -> None:
    """Nothing is earlier than the first arrival or later than the makespan, and as many signals precede a visit as it needs."""
    r = simulate(*case)
    times = np.concatenate([r.visit_ready, r.visit_start, r.visit_end, r.end])
    known = times[~np.isnan(times)]
    assert (known >= 0).all()
    assert (known <= r.makespan).all()
    sender = np.repeat(np.arange(len(case.jobs.server)), np.diff(case.jobs.edge_first))
    signalled = np.where(case.jobs.edge_on == ON_START, r.visit_start[sender], r.visit_end[sender])
    before = (case.jobs.edge_on != CANCEL) & (signalled <= r.visit_ready[case.jobs.edge_to])
    came = np.bincount(case.jobs.edge_to, weights=before, minlength=len(case.jobs.server))
    assert (came >= case.jobs.need)[~np.isnan(r.visit_ready)].all()


@MANY
@given(case=cases())
def test_law_04_blocks_stay_within_capacity_and_come_back(case: Case) -> None:
    """Referenced blocks never exceed a rank's capacity, and at the end every block is free again."""
    state = initial_state(*case, skip=True)
    assume(not np.isnan(run(state)) and not (state.request["status"] == UNFINISHED).any())
    capacity = state.pool["blocks"][state.rank["pool"]]
    assert (state.rank["free"] == capacity).all()
    assert (state.replica["peak_blocks"] <= state.pool["blocks"][state.replica["pool"]]).all()
    assert (state.rank["running"] == 0).all()
    assert (state.rank["load"] == 0).all()
    assert (state.rank["stalled"] == 0).all()
    assert (state.group["decodes"] == 0).all()
    assert (state.group["context"] == 0).all()


@MANY
@given(case=cases())
def test_law_05_what_can_never_fit_is_rejected_at_entry_and_only_that(case: Case) -> None:
    """A request is rejected iff some visit of it exceeds the KV cache or the context length; nothing of it runs."""
    r = simulate(*case)
    misfit = np.bincount(owners(case), weights=~fits(case), minlength=len(r.status)) > 0
    assert ((r.status == REJECTED) == misfit).all()
    assert np.isnan(r.visit_start[misfit[owners(case)]]).all()


def joined(case: Case, r: Records, visits: np.ndarray) -> np.ndarray:
    """When visits of one replica, in order of release, leave its serial front end and join WAITING."""
    engine, free, times = case.servers.engines[0], 0.0, []
    for v in visits:
        free = max(r.visit_ready[v], free) + engine.front_end + engine.front_end_token * case.jobs.prompt[v]
        times.append(free + engine.client)
    return np.array(times)


def covered(starts: np.ndarray, ends: np.ndarray) -> float:
    """Length of the union of intervals."""
    total, until = 0.0, -np.inf
    for start, end in sorted(zip(starts, ends, strict=True)):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


@MANY
@given(case=rough_cases())
def test_law_06_no_engine_idles_while_a_request_is_there(case: Case) -> None:
    """Work-conserving: the time a replica, or what shares its device, is busy is exactly the time that some request is in its queue or
    running (one pool, one lane).
    """
    assume(len(case.servers.engines) == 1 and case.servers.engines[0].lanes == 1)
    engine = case.servers.engines[0]
    assume(engine.front_end_output == 0)  # `joined` knows nothing of output that the front end streams
    replicas = {engine.device + r: r for r in range(engine.replicas)} if engine.device >= 0 else {}
    beside = {b: replicas[batcher.device] for b, batcher in enumerate(case.servers.batchers) if batcher.device in replicas}
    whole = engine.policy == STATIC or beside  # a static batch, and that of a batcher, goes on without those who left it
    assume(not whole or CANCEL not in case.jobs.edge_on)
    assume(all(case.servers.batchers[b].wait == 0 for b in beside))
    r = simulate(*case)
    for replica in range(len(r.busy)):
        mine = np.flatnonzero((r.visit_replica == replica) & ~np.isnan(r.visit_ready) & ~np.isnan(r.visit_end))
        mine = mine[np.argsort(r.visit_ready[mine], kind="stable")]
        tied = mine[1:][np.diff(r.visit_ready[mine]) == 0]
        assume(not (case.jobs.need[tied].any() and engine.front_end))  # at one instant, only arrivals are known to come by index
        inside = joined(case, r, mine)
        ends = np.maximum(r.visit_end[mine], inside)  # cancelled in the front end: never in the queue
        others = [b for b, where in beside.items() if where == replica]
        busy = r.busy[replica] + sum(r.station_busy[len(case.servers.stations) + b] for b in others)
        theirs = np.isin(case.jobs.server, [1 + len(case.servers.stations) + b for b in others]) & ~np.isnan(r.visit_start)
        inside, ends = np.concatenate([inside, r.visit_ready[theirs]]), np.concatenate([ends, r.visit_end[theirs]])
        assert np.isclose(busy, covered(inside, ends), rtol=1e-9, atol=1e-9)


@MANY
@given(case=rough_cases())
def test_law_06_coupled_stations_lose_no_work(case: Case) -> None:
    """Stations that draw from one rate, less than what each of their jobs alone could use, do it all in work / rate of busy time."""
    servers, jobs, requests = case
    members = [k for k, station in enumerate(servers.stations) if station.shared == 0]
    assume(members and CANCEL not in jobs.edge_on)
    rate = 0.9 * min(min(station.cap, station.rate / min(station.slots, len(jobs.server))) for station in servers.stations)
    r = simulate(servers._replace(shared=(rate, *servers.shared[1:])), jobs, requests)
    here = np.isin(jobs.server, [len(servers.engines) + k for k in members]) & ~np.isnan(r.visit_end)
    ends = r.visit_end[here] - servers.stations[members[0]].latency
    assert np.isclose(covered(r.visit_start[here], ends) * rate, r.station_busy[members].sum(), rtol=1e-9, atol=1e-9)
    assert np.isclose(r.station_busy[members].sum(), jobs.work[here].sum(), rtol=1e-9)


@MANY
@given(case=cases())
def test_law_06_one_step_at_a_time_on_a_device(case: Case) -> None:
    """What shares a device takes turns: no two of its steps and batches overlap, and each is busy for its own."""
    servers, jobs, _ = case
    assume(CANCEL not in jobs.edge_on)  # a visit that leaves its batch says nothing of the batch's end
    try:
        r, steps = simulate_steps(*case)
    except LivelockError:
        reject()
    devices = [engine.device + number if engine.device >= 0 else -1 for engine in servers.engines for number in range(engine.replicas)]
    turns = [(devices[replica], start, end) for replica, start, end in zip(steps.replica, steps.start, steps.end, strict=True)]
    for b, batcher in enumerate(servers.batchers):
        mine = (jobs.server == len(servers.engines) + len(servers.stations) + b) & ~np.isnan(r.visit_start)
        turns += {(batcher.device, start, end) for start, end in zip(r.visit_start[mine], r.visit_end[mine], strict=True)}
    for (device, _, end), (other, start, _) in itertools.pairwise(sorted(turns)):
        assert device < 0 or device != other or start >= end


@MANY
@given(case=rough_cases())
def test_law_07_little(case: Case) -> None:
    """Mean number in the system x makespan = sum of the times in the system, counted from the events."""
    r = simulate(*case)
    done = r.status == COMPLETED
    moments = np.concatenate([r.arrival[done], r.end[done]])
    steps = np.concatenate([np.ones(done.sum()), -np.ones(done.sum())])
    order = np.argsort(moments, kind="stable")
    inside = np.cumsum(steps[order])[:-1]
    area = float((inside * np.diff(moments[order])).sum())
    assert np.isclose(area, (r.end - r.arrival)[done].sum(), rtol=1e-9, atol=1e-9)


def assert_same(first: Records, second: Records) -> None:
    for name in Records._fields:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


@MANY
@given(case=rough_cases())
def test_law_08_same_rows_same_records(case: Case) -> None:
    """A run draws nothing: the same rows give the same records, bit for bit (for any number of workers: tests/explore)."""
    assert_same(simulate(*case), simulate(*case))


@MANY
@given(case=rough_cases())
def test_law_09_unfinished_output_lengths_change_nothing_before_they_matter(case: Case) -> None:
    """Lengthening every answer by one token (limits unchanged) changes no first admission before the first completion."""
    servers, jobs, requests = case
    engine = jobs.server < len(servers.engines)
    longer = np.where(engine & (jobs.limit > jobs.emit), jobs.emit + 1, jobs.emit)
    a, b = simulate(*case), simulate(servers, jobs._replace(emit=longer), requests)
    ends = np.concatenate([a.visit_end[longer != jobs.emit], b.visit_end[longer != jobs.emit], [np.inf]])
    first = np.nanmin(ends)
    before = (a.visit_start < first) | (b.visit_start < first)
    np.testing.assert_array_equal(a.visit_start[before], b.visit_start[before])


@MANY
@given(case=cases())
def test_law_12_time_has_no_scale(case: Case) -> None:
    """Multiplying every time constant by 4 multiplies every time by 4."""
    servers, jobs, requests = case
    slower = servers._replace(
        engines=tuple(
            e._replace(**{name: 4 * getattr(e, name) for name in ("front_end", "front_end_token", "front_end_output", "client")})
            for e in servers.engines
        ),
        costs=tuple(
            c._replace(
                **{
                    name: 4 * getattr(c, name)
                    for name in c._fields
                    if name not in ("knots", "window", "mixing", "asynchronous", "stage_share")
                }
            )
            for c in servers.costs
        ),
        stations=tuple(s._replace(rate=s.rate / 4, cap=s.cap / 4, latency=4 * s.latency) for s in servers.stations),
        shared=tuple(rate / 4 for rate in servers.shared),
        batchers=tuple(b._replace(wait=4 * b.wait, time=4 * b.time, work_time=4 * b.work_time) for b in servers.batchers),
    )
    a, b = simulate(*case), simulate(slower, jobs, requests._replace(arrival=4 * requests.arrival, think=4 * requests.think))
    np.testing.assert_array_equal(4 * a.visit_end, b.visit_end)
    np.testing.assert_array_equal(4 * a.first_token, b.first_token)


@MANY
@given(case=rough_cases())
def test_law_16_skipping_equals_stepping_exactly(case: Case) -> None:
    """Boundaries are anchor + F(k) whether steps are taken one by one or many at a time: the records are equal bit for bit."""
    assert_same(simulate(*case, skip=True), simulate(*case, skip=False))


@MANY
@given(case=cases())
def test_law_16_also_where_events_tie(case: Case) -> None:
    """The same where arrivals, transfers and step boundaries fall on one instant."""
    assert_same(simulate(*case, skip=True), simulate(*case, skip=False))


@MANY
@given(case=cases())
def test_cancelling_twice_changes_nothing(case: Case) -> None:
    """Every edge that cancels, once more behind itself: the same records."""
    jobs = case.jobs
    times = np.where(jobs.edge_on == CANCEL, 2, 1)
    more = np.concatenate([[0], np.cumsum(times)])[jobs.edge_first]
    twice = jobs._replace(edge_to=np.repeat(jobs.edge_to, times), edge_on=np.repeat(jobs.edge_on, times), edge_first=more)
    assert_same(simulate(*case), simulate(case.servers, twice, case.requests))


def common(first: np.ndarray, second: np.ndarray) -> int:
    """Leading names that two visits share."""
    differ = np.flatnonzero(first[: len(second)] != second[: len(first)])
    return int(differ[0]) if len(differ) else min(len(first), len(second))


@MANY
@given(case=cases())
def test_a_prefix_that_is_found_was_computed_before(case: Case) -> None:
    """Of the tokens that a visit found, some visit that started on that replica no later had the names, and as many tokens in all."""
    servers, jobs, _ = case
    r = simulate(*case)
    for v in np.flatnonzero(r.visit_cached):
        size = servers.engines[jobs.server[v]].block_size
        names = [jobs.hash_ids[jobs.hash_first[u] : jobs.hash_first[u + 1]] for u in range(len(jobs.server))]
        earlier = np.flatnonzero((r.visit_replica == r.visit_replica[v]) & (r.visit_start <= r.visit_start[v]))
        most = [min(common(names[u], names[v]), (jobs.prompt[u] + jobs.handed[u] + jobs.emit[u] - 1) // size) for u in earlier if u != v]
        assert r.visit_cached[v] % size == 0
        assert r.visit_cached[v] < jobs.prompt[v] + jobs.handed[v]
        assert r.visit_cached[v] <= size * max(most)
