"""A workload becomes a table of requests: every random choice is drawn here, before a run, by request index.

Lengths of each side come from its own law where the workload gives one, else from the packaged ``joint`` histogram, else
from the trace. ``max_tokens`` is the column of that name in the trace, else the output length (a load generator that
ignores the end of sequence asks for exactly that many).
"""

from collections.abc import Mapping

import numpy as np

from mist_dse.requests.arrivals import arrival_times
from mist_dse.requests.joint import bin_index, bin_lengths, joint_table
from mist_dse.requests.lengths import cached_tokens, token_counts
from mist_dse.requests.streams import streams
from mist_dse.requests.trace import TraceArrays, read_trace
from mist_dse.rows import Ints, Requests
from mist_dse.specs.workload import Arrivals, Workload


def realise(workload: Workload) -> Requests:
    """The requests of ``workload`` in order of arrival; equal workloads give equal tables.

    Raises ``TraceError`` for a bad trace and ``SpecError`` for an unknown ``joint``.
    """
    arrivals, generators = workload.arrivals, streams(workload.seed)
    trace = _trace(arrivals)
    if trace is None:
        arrival = arrival_times(arrivals, generators["arrivals"], nominal=workload.nominal_rate)
    else:
        arrival = trace.arrival_s / arrivals.scale
    count = len(arrival)
    input_tokens, output_tokens = _lengths(workload, count, trace, generators)
    from_trace = trace is not None and output_tokens is trace.output_tokens
    closed, paced = arrivals.kind == "closed", arrivals.kind in ("poisson", "gamma", "uniform")
    return Requests(
        arrival=arrival,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        max_tokens=trace.max_tokens if trace is not None and from_trace else output_tokens.copy(),
        cached_tokens=cached_tokens(input_tokens, workload.cached_prompt_fraction),
        think=np.full(count, arrivals.think if closed else 0.0),
        clients=min(arrivals.clients or 0, count) if closed else 0,
        nominal_rate=arrivals.rate if paced and arrivals.rate is not None else np.nan,
    )


def _trace(arrivals: Arrivals) -> TraceArrays | None:
    """The first ``requests`` rows of the trace that the arrivals name, all where it has fewer or ``requests`` is None."""
    if arrivals.kind != "trace":
        return None
    assert arrivals.path is not None
    return read_trace(arrivals.path).head(arrivals.requests)


def _lengths(workload: Workload, count: int, trace: TraceArrays | None, generators: Mapping[str, np.random.Generator]) -> tuple[Ints, Ints]:
    """Input and output lengths of ``count`` requests."""
    table = joint_table(workload.joint) if workload.joint else None
    index = bin_index(table, count, generators["joint"]) if table else np.empty(0, np.int64)
    sides = (
        ("input_tokens", workload.input_tokens, table and table.input, trace and trace.input_tokens),
        ("output_tokens", workload.output_tokens, table and table.output, trace and trace.output_tokens),
    )
    drawn = []
    for name, law, bins, measured in sides:
        if law is not None:
            drawn.append(token_counts(law, count, generators[name]))
        elif bins is not None:
            drawn.append(bin_lengths(bins, index, generators[name]))
        else:
            assert measured is not None
            drawn.append(measured)
    return drawn[0], drawn[1]
