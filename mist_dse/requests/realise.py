"""A workload becomes a table of requests: every random choice is drawn here, before a run, by request index.

Lengths of each side come from the law of the request's class where that has one, else from the workload's own law, else from the
packaged ``joint`` histogram, else from the trace. ``max_tokens`` is the column of that name in the trace where the output length is the
trace's, else the output length (a load generator that ignores the end of sequence asks for exactly that many). Names of prompt blocks
are the trace's where all input lengths are.

In sessions the draws belong to the session and the turn (`mist_dse.requests.sessions`), the class to the session.
"""

import copy
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mist_dse.requests.annotations import Annotations, previous_turn
from mist_dse.requests.arrivals import arrival_times
from mist_dse.requests.joint import Side, bin_index, bin_lengths, joint_table
from mist_dse.requests.lengths import cached_tokens, token_counts
from mist_dse.requests.sessions import Names, Sessions, chained, conversation_names, conversation_prompts, in_order, session_requests
from mist_dse.requests.streams import streams
from mist_dse.requests.table import TraceError
from mist_dse.requests.trace import TraceArrays, read_trace
from mist_dse.rows import NONE, Floats, Ints, Requests
from mist_dse.specs.workload import Arrivals, Lengths, Workload

PACED = ("poisson", "gamma", "uniform", "onoff", "diurnal", "sessions")
"""Kinds of arrivals that have a nominal rate."""

LARGEST_NAME = 2**48
"""Names of a trace beyond it, such as 64-bit hashes, are numbered anew: one name may become many, one for each block of an engine."""

Generators = Mapping[str, np.random.Generator]


class Plan(NamedTuple):
    """Who comes when, in order of arrival, before anything is known of lengths."""

    turns: Sessions  # requests without sessions: each a session of its own
    trace: TraceArrays | None  # in the same order
    class_id: Ints

    @property
    def size(self) -> int:
        """Requests."""
        return len(self.turns.arrival)


def realise(workload: Workload) -> Requests:
    """The requests of ``workload`` in order of arrival; equal workloads give equal tables.

    Raises ``TraceError`` for a bad trace and ``SpecError`` for an unknown ``joint``.
    """
    arrivals, generators = workload.arrivals, streams(workload.seed)
    plan = _plan(workload, generators)
    turns, trace = plan.turns, plan.trace
    input_tokens, measured = _lengths("input_tokens", workload, plan, generators)
    output_tokens, given = _lengths("output_tokens", workload, plan, generators)
    if arrivals.kind == "sessions":
        input_tokens = conversation_prompts(turns, input_tokens, output_tokens, arrivals.shared_prefix)
    names, size = _names(arrivals, plan, input_tokens, output_tokens, bool(measured.all()))
    fractions = _of_class(workload, plan, [each.cached_prompt_fraction for each in workload.classes], workload.cached_prompt_fraction)
    closed, chain = arrivals.kind == "closed", bool((turns.follows >= 0).any())
    return Requests(
        arrival=turns.arrival,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        max_tokens=output_tokens.copy() if trace is None else np.where(given, trace.max_tokens, output_tokens),
        cached_tokens=cached_tokens(input_tokens, fractions),
        think=np.full(plan.size, arrivals.think) if closed else turns.think,
        clients=min(arrivals.clients or 0, plan.size) if closed else 0,
        nominal_rate=arrivals.rate if arrivals.kind in PACED and arrivals.rate is not None else np.nan,
        priority=_priority(workload, plan),
        class_id=plan.class_id,
        session=turns.session if arrivals.kind == "sessions" or (trace and trace.notes.session is not None) else NONE,
        follows=turns.follows if chain else NONE,
        hash_first=names.first,
        hash_ids=names.ids,
        hash_tokens=size,
        seed=workload.seed,
        class_names=tuple(each.name for each in workload.classes),
    )


def _plan(workload: Workload, generators: Generators) -> Plan:
    arrivals = workload.arrivals
    if arrivals.kind == "trace":
        assert arrivals.path is not None
        trace = read_trace(arrivals.path).head(arrivals.requests)
        turns = _replayed(trace, arrivals.scale)
        trace = trace.taken(turns.draw) if (turns.follows >= 0).any() else trace
        return Plan(turns, trace, _classes(workload, turns, trace, generators["classes"]))
    if arrivals.kind == "sessions":
        turns = session_requests(arrivals, generators, nominal=workload.nominal_rate)
    else:
        turns = _single(arrival_times(arrivals, generators["arrivals"], nominal=workload.nominal_rate))
    return Plan(turns, None, _classes(workload, turns, None, generators["classes"]))


def _single(arrival: Floats) -> Sessions:
    """Requests that are sessions of one turn."""
    index = np.arange(len(arrival))
    return Sessions(arrival, np.zeros(len(arrival)), index, np.full(len(arrival), -1), index)


def _replayed(trace: TraceArrays, scale: float) -> Sessions:
    """Arrivals of a trace, those that wait for another turn chained to it; times are scaled, think times are people's own."""
    alone, notes = _single(trace.arrival_s / scale), trace.notes
    if notes.session is None:
        return alone
    if notes.think is None:
        return alone._replace(session=notes.session)
    follows = previous_turn(notes.session, notes.think)
    think = np.where(follows >= 0, notes.think, 0.0)
    return in_order(Sessions(chained(alone.arrival, think, follows), think, notes.session, follows, alone.draw), len(follows))


def _classes(workload: Workload, turns: Sessions, trace: TraceArrays | None, generator: np.random.Generator) -> Ints:
    """The class of each request: the one the trace names, else drawn by share for the session; empty without classes."""
    if not workload.classes:
        return NONE
    names = [each.name for each in workload.classes]
    if trace is not None and trace.notes.class_names is not None:
        for name in trace.notes.class_names:
            if name not in names:
                raise TraceError(f"{workload.arrivals.path}: class {name!r} is not one of the workload: {', '.join(names)}")
        return np.array([names.index(name) for name in trace.notes.class_names], np.int64)
    reached = np.cumsum([each.share for each in workload.classes])
    drawn = np.searchsorted(reached / reached[-1], generator.random(int(turns.session.max(initial=-1)) + 1), side="right")
    return drawn.astype(np.int64)[turns.session]


def _lengths(side: str, workload: Workload, plan: Plan, generators: Generators) -> tuple[Ints, NDArray[np.bool_]]:
    """Token counts of one side, and which of them the trace has measured."""
    tokens, measured = _usual_lengths(side, workload, plan, generators)
    for number, own in enumerate(workload.classes):
        law = getattr(own, side)
        if law is not None:
            mine = plan.class_id == number
            tokens = np.where(mine, _drawn(law, plan, generators[side]), tokens)
            measured = measured & ~mine
    return tokens, measured


def _usual_lengths(side: str, workload: Workload, plan: Plan, generators: Generators) -> tuple[Ints, NDArray[np.bool_]]:
    law, none = getattr(workload, side), np.zeros(plan.size, bool)
    if law is not None:
        return _drawn(law, plan, generators[side]), none
    if workload.joint:
        return _drawn_jointly(side, workload.joint, plan, generators), none
    if plan.trace is not None:
        return getattr(plan.trace, side), ~none
    return np.ones(plan.size, np.int64), none  # every class has lengths of its own


def _drawn(law: Lengths, plan: Plan, generator: np.random.Generator) -> Ints:
    """Lengths by ``law``; the generator stays as it is, so that all classes draw from the same stream by index."""
    return token_counts(law, _draws(plan), copy.deepcopy(generator))[plan.turns.draw]


def _drawn_jointly(side: str, name: str, plan: Plan, generators: Generators) -> Ints:
    table = joint_table(name)
    index = bin_index(table, _draws(plan), copy.deepcopy(generators["joint"]))
    bins: Side = table.input if side == "input_tokens" else table.output
    return bin_lengths(bins, index, copy.deepcopy(generators[side]))[plan.turns.draw]


def _draws(plan: Plan) -> int:
    return int(plan.turns.draw.max(initial=-1)) + 1


def _names(arrivals: Arrivals, plan: Plan, input_tokens: Ints, output_tokens: Ints, measured: bool) -> tuple[Names, int]:
    """Names of the content of each request and the tokens of a block; none where nobody names any."""
    if arrivals.kind == "sessions":
        tokens = input_tokens + output_tokens
        return conversation_names(plan.turns, tokens, arrivals.shared_prefix, arrivals.hash_tokens), arrivals.hash_tokens
    notes = Annotations() if plan.trace is None else plan.trace.notes
    if notes.hash_ids is None or not measured:
        return Names(NONE, NONE), 0
    counts = np.array([len(names) for names in notes.hash_ids], np.int64)
    most = -(-(input_tokens + output_tokens) // notes.hash_tokens)
    if (counts > most).any():
        row = int(np.argmax(counts > most))
        text = f"has {counts[row]} hash_ids and {most[row]} blocks of {notes.hash_tokens} tokens: say the tokens of a block in hash_tokens"
        raise TraceError(f"{arrivals.path}: the request at {plan.turns.arrival[row]:g} s {text}")
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    ids = np.array([name for names in notes.hash_ids for name in names], np.int64)
    small = ids if ids.max() < LARGEST_NAME else np.unique(ids, return_inverse=True)[1].astype(np.int64)
    return Names(first, small), notes.hash_tokens


def _of_class(workload: Workload, plan: Plan, own: list[float | None], usual: float) -> Floats:
    """A value for each request: its class's, else the ``usual`` one."""
    values = np.array([usual if value is None else value for value in own] or [usual], float)
    return values[plan.class_id] if workload.classes else values.repeat(plan.size)


def _priority(workload: Workload, plan: Plan) -> Ints:
    """Those that the trace gives, else those of the classes, else none."""
    if plan.trace is not None and plan.trace.notes.priority is not None:
        return plan.trace.notes.priority
    return np.array([each.priority for each in workload.classes], np.int64)[plan.class_id] if workload.classes else NONE
