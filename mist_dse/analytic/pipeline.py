"""The mean field of any pipeline: the network of its servers at the offered rate, or at the rate that a closed loop settles at.

Latencies are samples, one per request (`network`): their means and percentiles are those of the sample. The time between a request's tokens
varies with the prompts that it meets, too, as its pool has it (`pool`); that spread is added to the sample's.
"""

import numpy as np

from mist_dse.analytic.batching import batch_seconds
from mist_dse.analytic.demand import demand, highest, offered_rate, saturated
from mist_dse.analytic.laws import EngineLaw, Law
from mist_dse.analytic.network import Latencies, Network, latencies, laws, network, walk_of
from mist_dse.analytic.result import SteadyResult, bottleneck, pool_row, server_row
from mist_dse.analytic.spread import Spread, sample_spread, total
from mist_dse.rows import Jobs, Requests, Servers

_HALVINGS = 14


def network_steady(servers: Servers, jobs: Jobs, requests: Requests) -> SteadyResult:
    """Figures of any rows at the realised rate, or at the rate that a closed loop settles at."""
    net = network(servers, jobs, requests)
    closed = requests.clients > 0
    rate = closed_rate(net, requests) if closed and net.answered.any() else 0.0 if closed else offered_rate(requests)
    known = laws(net, rate)
    found = latencies(net, walk_of(net, known, luck=True)[0])
    asked = demand(servers, jobs, requests, rate=rate)
    burst = _burst(net, requests) if rate and closed else 0.0
    ttft, e2e = (_scalar(sample_spread(values)).shifted(burst) for values in (found.ttft, found.e2e))
    tpot = _token_spread(net, known, found, requests)
    table = {name: _row(known[number], asked[name]) for number, name in enumerate(servers.names)}
    pools = {name: (law.pool, law.traffic) for name, law in zip(servers.names, known, strict=True) if isinstance(law, EngineLaw)}
    limit = 1.0 if closed else max(highest(asked)[2], 1.0)
    completed = int(net.answered.sum())
    return SteadyResult(ttft, tpot, e2e, rate / limit, saturated(asked, requests), asked, bottleneck(servers, pools, asked), table,
                        completed, len(requests.arrival) - completed)  # fmt: skip


def _scalar(spread: Spread) -> Spread:
    return Spread(*(np.asarray(value.reshape(-1)[0]) for value in spread))


def _row(law: Law | None, asked: dict[str, float]) -> dict[str, float]:
    if law is None:
        return server_row(asked, utilisation=0.0, wait=0.0)
    if isinstance(law, EngineLaw):
        return pool_row(law.pool, asked)
    return server_row(asked, utilisation=law.state.utilisation, wait=float(law.state.wait.mean))


def _token_spread(net: Network, known: list[Law | None], found: Latencies, requests: Requests) -> Spread:
    """Time between output tokens: of each request, and by chance as in the pool that most answers come from."""
    tokens = requests.output_tokens[found.kept]
    sample = _scalar(sample_spread((found.interval / np.maximum(tokens - 1, 1))[tokens >= 2]))
    steps = np.bincount(net.jobs.server, weights=net.jobs.emit * (net.jobs.answers > 0), minlength=len(known))
    law = known[int(np.argmax(steps))]
    if not isinstance(law, EngineLaw) or not law.pool.tpot.mean[0] > 0:
        return sample
    chance = _scalar(law.pool.tpot.shifted(-law.pool.tpot.mean)).scaled(float(sample.mean / law.pool.tpot.mean[0]))
    return total(sample, chance)


def closed_rate(net: Network, requests: Requests) -> float:
    """Requests per second at which ``clients`` are all either served or thinking, by Little's law."""
    unit = demand(net.servers, net.jobs, requests, rate=1.0)
    names = ("steps", "rate", "slots", "workers", "front end")
    most = 1.0 / max(value for row in unit.values() for name, value in row.items() if name in names)
    think = float(requests.think[requests.clients :].mean()) if len(requests.think) > requests.clients else 0.0
    low, high = 0.0, most * (1 - 1e-4)
    for _ in range(_HALVINGS):
        rate = 0.5 * (low + high)
        taken = latencies(net, walk_of(net, laws(net, rate))[0]).e2e
        low, high = (rate, high) if rate * (float(taken.mean()) + think) < requests.clients else (low, rate)
    return 0.5 * (low + high)


def _burst(net: Network, requests: Requests) -> float:
    """Mean seconds that the first ``clients`` arrivals add, all at once: half of what the first server takes for them."""
    share = min(requests.clients / max(len(requests.arrival), 1), 1.0)
    first = int(net.jobs.server[net.jobs.first[int(np.argmax(net.answered))]])
    return share * 0.5 * max(requests.clients - 1, 0) * _seconds_each(net, first)


def _seconds_each(net: Network, number: int) -> float:
    """Least seconds per request of one server before it emits anything."""
    visits = net.traffic[number].number
    other = number - len(net.servers.engines)
    if not len(visits):
        return 0.0
    if other < 0:
        alone = net.jobs._replace(emit=np.minimum(net.jobs.emit, 1))
        law = laws(net._replace(jobs=alone), 1.0)[number]
        return float(law.op.demand[0]) if isinstance(law, EngineLaw) else 0.0
    share, work = len(visits) / max(len(net.answered), 1), net.jobs.work[visits]
    if other < len(net.servers.stations):
        station = net.servers.stations[other]
        return share * float(work.mean()) / min(station.rate, station.slots * station.cap)
    batcher = net.servers.batchers[other - len(net.servers.stations)]
    full = batch_seconds(batcher, batcher.size, float(work.mean()))
    return share * float(full) / batcher.size / batcher.slots
