"""Pipelines of visits built by hand: what a request asks of engines, stations and batchers one after another, side by side and again."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mist_dse.rows import ON_END, Batcher, Jobs, Requests, Servers, Station
from tests.analytic import machines
from tests.builders import Call, jobs_of, joined, shifted

FREE = 10**9  # slots of a server that nobody waits for


class Shape(NamedTuple):
    """Servers, and the visits of one request by its lengths and its draws."""

    servers: Servers
    calls: Callable[[int, int, np.random.Generator], list[Call]]

    def jobs(self, asked: Requests) -> Jobs:
        """The visits of all requests."""
        dice = np.random.default_rng(7)
        lengths = zip(asked.input_tokens.tolist(), asked.output_tokens.tolist(), strict=True)
        return jobs_of([self.calls(prompt, answer, dice) for prompt, answer in lengths])


def servers(engines: int = 1, stations: tuple[Station, ...] = (), batchers: tuple[Batcher, ...] = (), **changes: Any) -> Servers:
    """So many pools alike, and the other servers."""
    names = [f"{kind}{i}" for kind, n in (("engine", engines), ("station", len(stations)), ("batcher", len(batchers))) for i in range(n)]
    step = machines.cost()
    return Servers(
        (machines.engine(**changes),) * engines, (step,) * engines, (machines.load(),) * engines, stations, tuple(names), batchers
    )


def chain(calls: list[Call]) -> list[Call]:
    """Visits one after another."""
    last = len(calls) - 1
    return [
        call._replace(need=call.need or int(i > 0), edges=((i + 1, ON_END),) if i < last else call.edges) for i, call in enumerate(calls)
    ]


def encoder(size: int = 16, slots: int = 1, wait: float = 0.0) -> Batcher:
    """5 ms, and 1 ms for each of a batch."""
    return Batcher(slots, size, wait, np.where(np.arange(size + 1) > 0, 5e-3 + 1e-3 * np.arange(size + 1), 0.0), 0.0)


def retrieval() -> Shape:
    """Encoder, index scan over shared bandwidth, re-ranker, engine: 0 engine, 1 index, 2 encoder, 3 re-ranker."""
    index = Station(200e9, 18e9, 32, 1e-3)
    found = servers(1, (index,), (encoder(), encoder(8)), replicas=2)

    def calls(prompt: int, answer: int, dice: np.random.Generator) -> list[Call]:
        scan = 1e9 * dice.lognormal(-0.1, 0.5)
        return chain([Call(2), Call(1, work=scan), Call(3), Call(0, prompt, answer)])

    return Shape(found, calls)


def fan_out(need: int, copies: int = 8, replicas: int = 2) -> Shape:
    """So many copies of an answer, a join of the first ``need`` that cancels the others, and a last visit that reads them."""
    found = servers(2, (Station(1e9, 1.0, FREE, 0.0),), replicas=replicas)

    def calls(prompt: int, answer: int, dice: np.random.Generator) -> list[Call]:
        lengths = np.maximum(dice.lognormal(np.log(answer), 0.3, copies), 2).astype(int)
        branches = [[Call(0, prompt, int(length), answers=0)] for length in lengths]
        return joined(branches, [ON_END] * copies, Call(1, 500, 50, need=need))

    return Shape(found, calls)


def cascade() -> Shape:
    """A small answer, and for a fifth of the requests a second pool after it."""
    found = servers(2)

    def calls(prompt: int, answer: int, dice: np.random.Generator) -> list[Call]:
        first = Call(0, prompt, answer)
        return chain([first._replace(answers=0), Call(1, prompt + answer, answer)]) if dice.random() < 0.2 else [first]

    return Shape(found, calls)


def agent(turns: int = 4) -> Shape:
    """An engine and a tool in turn; the last answer is the user's."""
    found = servers(1, (Station(1e9, 1.0, FREE, 0.0),), replicas=2)

    def calls(prompt: int, answer: int, dice: np.random.Generator) -> list[Call]:
        every: list[Call] = []
        for turn in range(turns):
            every.append(Call(0, prompt + 300 * turn, max(answer // turns, 2), answers=int(turn == turns - 1)))
            every += [Call(1, work=dice.exponential(0.5))] if turn < turns - 1 else []
        return chain(every)

    return Shape(found, calls)


def disaggregated() -> Shape:
    """An encoder and an index before prefill, a link to decode: 0 prefill, 1 decode, 2 index, 3 link, 4 encoder."""
    found = servers(2, (Station(200e9, 18e9, 32, 0.0), Station(25e9, 25e9, 1, 1e-3)), (encoder(),))

    def calls(prompt: int, answer: int, dice: np.random.Generator) -> list[Call]:
        del dice
        before = chain([Call(4), Call(2, work=1e9)])
        before[-1] = before[-1]._replace(edges=((2, ON_END),))
        after = [
            Call(0, prompt, 1, need=1, keep=1, edges=((1, ON_END),)),
            Call(3, work=prompt * machines.KV, need=1, lease=2, frees=0, edges=((2, ON_END),)),
            Call(1, prompt, answer - 1, computed=prompt, handed=1, need=1),
        ]
        return before + [shifted(call, 2) for call in after]

    return Shape(found, calls)


SHAPES = {
    "retrieval": retrieval(), "fan-out, all": fan_out(8), "fan-out, first": fan_out(1), "fan-out, majority": fan_out(5),
    "cascade": cascade(), "agent": agent(), "disaggregated": disaggregated(),
}  # fmt: skip
