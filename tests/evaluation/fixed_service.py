"""A real design that is a queue of textbooks: one sequence at a time and no front end, so that fixed lengths take a fixed time."""

from dataclasses import replace
from functools import cache
from math import exp, factorial, floor

import mist_dse as md
from mist_dse.specs.design import Design
from mist_dse.specs.engine import EngineProfile

PROMPT, OUTPUT = 256, 16


@cache
def design() -> Design:
    """Llama-3.1-8B on one device, its requests one after another."""
    made = md.load_design("tp1_colocated", model="llama-3.1-8b")
    (pool,) = made.pools
    one = replace(pool, batching=replace(pool.batching, max_num_seqs=1), engine=EngineProfile(name="bare"))
    return replace(made, pools=(one,))


@cache
def service() -> float:
    """Seconds that a request takes alone."""
    alone = md.simulate(design(), workload(rate=1.0, requests=1)).records
    return float(alone.end[0] - alone.arrival[0])


def workload(*, rate: float, requests: int, kind: str = "poisson", nominal: bool = True, **rest: object) -> md.Workload:
    """Arrivals at ``rate`` 1/s of requests of one length."""
    made = md.Workload.poisson(rate=rate, input_tokens=PROMPT, output_tokens=OUTPUT, requests=requests)
    return replace(made, arrivals=md.Arrivals(kind=kind, rate=rate, requests=requests), nominal_rate=nominal, **rest)


def mean_stay(load: float) -> float:
    """M/D/1, mean time in system in services (Pollaczek 1930, Khinchine 1932)."""
    return 1 + load / (2 * (1 - load))


def wait_beyond(load: float, time: float) -> float:
    """M/D/1, P(wait > ``time`` services) (Erlang 1909; Gross et al., Fundamentals of Queueing Theory, 2008, section 5.1)."""
    terms = ((load * (j - time)) ** j / factorial(j) * exp(load * (time - j)) for j in range(floor(time) + 1))
    return 1 - (1 - load) * sum(terms)
