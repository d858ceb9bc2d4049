"""The decode pool of a chat as `exactpairs` needs it: what one engine takes in, and how long its steps are at least and at most.

Steps are tabulated by sequences and by all their tokens: at most so many of both make a step at most ``longest``, at least so many one of
at least ``shortest``, whatever else is in it.
"""

from typing import Any, NamedTuple

import numpy as np

from mist_dse.analytic.bound import rejected_requests
from mist_dse.analytic.step import combined, line, plane
from mist_dse.explore.proofs.poolbounds import answers
from mist_dse.rows import CONTINUOUS, FCFS, ON_START, PREFILL_FIRST, ROUND_ROBIN, STATIC, Engine, Floats, Ints, Requests, StepCost
from mist_dse.stages import Lowered

CONTEXTS: Floats = np.concatenate([[0.0], np.geomspace(256, 2**24, 129)])
"""Tokens of all sequences of an engine at which its steps are tabulated."""

RATIO = float(np.log(CONTEXTS[2] / CONTEXTS[1]))
"""Step of their logarithms."""


class Decoder(NamedTuple):
    """One engine of a decode pool, what is asked of it, and its steps (s) by sequences and tokens [S + 1, CONTEXTS]."""

    slots: int
    blocks: int  # beyond those kept free at admission
    in_turn: bool
    handed: bool  # the prefill pool gives the first token
    stalls: bool  # prompts stop decodes; else they are computed beside them
    early: bool  # hand-offs are asked for when prompts start
    longest: Floats  # of decodes, of so many sequences and tokens or fewer
    beside: Floats  # of a step that also computes last prompt tokens: decodes, host, what is charged once
    own: float  # s of each of those tokens on top
    shortest: Floats  # of so many or more
    steps: Floats  # [n] of each sequence, 0: none
    taken: Floats  # [n] blocks of the whole sequence
    tokens: Floats  # [n] of the whole sequence
    prompt: Floats  # [n]
    gaps: Floats  # [n] intervals between output tokens
    lead: Floats  # [n] least s from the end of the prompt to the first token
    tpot: Floats  # [n] least s between tokens
    sizes: tuple[Floats, int]  # bytes [n] and parts of hand-offs


def decoder(lowered: Lowered, number: int, requests: Requests) -> Decoder | None:
    """The decode pool of a lowered chat; None where sequences may wait though there is room (several lanes or ranks, a shared
    device, static batches, prompts that wait for company), not in order, blocks are reserved for tokens that never come, first tokens
    of the pool come in messages, requests are turned away, or the hand-off's link is not its own."""
    engine, jobs, stations = lowered.servers.engines[number], lowered.jobs, lowered.servers.stations
    visits = np.flatnonzero(jobs.server == number)
    other = engine.lanes > 1 or engine.ranks > 1 or engine.device >= 0 or engine.policy == STATIC or engine.reserve_output
    if other or engine.packing != FCFS or not len(visits) or rejected_requests(lowered.servers, jobs).any():
        return None
    handed = bool((jobs.handed[visits] > 0).all())
    if not handed and ((jobs.handed[visits] > 0).any() or engine.stream_interval > 1 or (engine.wait_steps > 0 and engine.wait_tokens > 0)):
        return None
    floor = answers(lowered, number, requests)
    owner = np.repeat(np.arange(len(jobs.first) - 1), np.diff(jobs.first))
    if floor is None or len(np.unique(owner[visits])) < len(visits) or len(stations) != 1 or stations[0].shared >= 0:
        return None
    count = len(requests.arrival)
    steps, whole, prompt = np.zeros(count), np.zeros(count), np.zeros(count)
    steps[owner[visits]] = jobs.emit[visits]
    prompt[owner[visits]] = jobs.prompt[visits]
    whole[owner[visits]] = (jobs.prompt + jobs.handed + jobs.emit)[visits]
    moves = jobs.server == len(lowered.servers.engines)
    parts = np.bincount(owner[moves], minlength=count)
    cost, slots = lowered.servers.costs[number], _slots(engine, lowered.servers.costs[number])
    mixes = not handed and engine.policy not in (PREFILL_FIRST, CONTINUOUS)
    tables = _Tables(cost, slots, float(whole.max()))
    return Decoder(
        slots=slots, blocks=engine.blocks - engine.watermark, in_turn=engine.router == ROUND_ROBIN and engine.groups == 1, handed=handed,
        stalls=not handed and not mixes, early=bool((jobs.edge_on == ON_START).any()),
        longest=tables.longest(), beside=tables.beside(decodes=mixes), own=tables.own(), shortest=tables.shortest(mixes=mixes),
        steps=steps, taken=np.ceil(whole / engine.block_size), tokens=whole, prompt=prompt,
        gaps=requests.output_tokens.astype(float) - 1, lead=floor.lead, tpot=floor.tpot,
        sizes=(np.bincount(owner[moves], jobs.work[moves], count).astype(float), int(parts.max(initial=0))),
    )  # fmt: skip


def reordered(pool: Decoder, order: Ints) -> Decoder:
    """``pool`` with its requests in another order."""
    names = ("steps", "taken", "tokens", "prompt", "gaps", "lead", "tpot")
    return pool._replace(**{name: getattr(pool, name)[order] for name in names})


def context_column(tokens: Floats, rounded: Any) -> Ints:
    """The place of ``tokens`` in `CONTEXTS`, ``rounded`` up or down."""
    place = rounded(np.log(np.maximum(tokens, 1.0) / CONTEXTS[1]) / RATIO + 1)
    near: Ints = np.clip(place, 0, len(CONTEXTS) - 1).astype(np.int64)
    if rounded is np.ceil:
        return np.where(tokens > CONTEXTS[near], np.minimum(near + 1, len(CONTEXTS) - 1), near)
    return np.where(tokens < CONTEXTS[near], np.maximum(near - 1, 0), near)


def _slots(engine: Engine, cost: StepCost) -> int:
    return int(min(engine.max_num_seqs, engine.max_num_batched_tokens, len(cost.decode_step) - 1))


class _Tables(NamedTuple):
    """Steps of an engine [S + 1, CONTEXTS] by sequences and tokens, for sequences no longer than ``most``."""

    cost: StepCost
    slots: int
    most: float

    def longest(self) -> Floats:
        """Longest step of at most S decodes of at most K tokens together."""
        return self._at_most(plane(_rising(self.cost.decode_step), self.cost.knots, self._count, self._mean))

    def beside(self, *, decodes: bool) -> Floats:
        """Longest step of at most S sequences of at most K tokens together some of which compute their last prompt token, but for `own`;
        with or without the ``decodes``."""
        cost, count = self.cost, self._count
        device = line(np.maximum.accumulate(cost.token_time), count) + np.maximum.accumulate(cost.sequence_time)[1 : self.slots + 1, None]
        if decodes:
            device = device + cost.mixing * plane(_rising(cost.decode_attention), cost.knots, count, self._mean)
        return self._at_most(
            device + cost.prefill_overhead + cost.host_step + cost.host_sequence * count + cost.host_prefill + 0 * self._mean
        )

    def own(self) -> float:
        """Most seconds of the attention of a last prompt token, and of its place in the step."""
        cost = self.cost
        return float((cost.quad + cost.window_quad) * 2 * self.most + cost.read * self.most + cost.host_sequence)

    def shortest(self, *, mixes: bool) -> Floats:
        """Shortest step of at least S decodes of at least K tokens together; ``mixes``: beside them prompts may be computed."""
        cost, count = self.cost, self._count
        steps = plane(_falling(cost.decode_step), cost.knots, count, self._mean)
        if mixes:
            device = line(_falling(cost.token_time[:, None])[:, 0], count + 1) + _falling(cost.sequence_time[:, None])[1 : self.slots + 1]
            device = device + cost.mixing * plane(_falling(cost.decode_attention), cost.knots, count, self._mean) + cost.prefill_overhead
            steps = np.minimum(steps, combined(cost, device, cost.host_step + cost.host_sequence * (count + 1) + cost.host_prefill))
        least = np.flip(np.minimum.accumulate(np.flip(steps, 0), axis=0), 0)
        return np.vstack([least[:1], least])

    @property
    def _count(self) -> Floats:
        return np.arange(1, self.slots + 1, dtype=float)[:, None]

    @property
    def _mean(self) -> Floats:
        return np.minimum(CONTEXTS / self._count, self.most)

    def _at_most(self, steps: Floats) -> Floats:
        return np.vstack([steps[:1], np.maximum.accumulate(steps, axis=0)])


def _rising(table: Floats) -> Floats:
    return np.asarray(np.maximum.accumulate(np.maximum.accumulate(table, axis=0), axis=1))


def _falling(table: Floats) -> Floats:
    """``table`` at its least for so many sequences or more, and so much context or more."""
    both: Any = np.flip(table)
    return np.asarray(np.flip(np.minimum.accumulate(np.minimum.accumulate(both, axis=0), axis=1)))
