"""Choices by load: each way gets the share of requests at which all ways keep their engines equally busy.

The share is fixed before the run, so that all designs and fidelities see the same requests; it stands for a router that sends what comes to
the way with the most room. A request's work on an engine is its prompt at the best rate of the step tables and its tokens out in
the largest batch, over the engines of the pool.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Design
from mist_dse.specs.pipeline import Pipeline, When
from mist_dse.stages.built import Built
from mist_dse.stages.pool import PoolRow

Shares = Mapping[tuple[str, str], float]
"""Share of the requests by (draw, way)."""


def equal_shares(pipeline: Pipeline) -> Shares:
    """Every way of a draw as often as the others; nothing where no choice is by load. ``SpecError`` where a draw mixes both kinds."""
    ways: dict[str, list[str]] = {}
    for when in _whens(pipeline):
        found = ways.setdefault(when.draw, [])
        if when.way not in found:
            found.append(when.way)
    for draw, found in ways.items():
        if "" in found and len(found) > 1:
            raise SpecError(f"Pipeline {pipeline.name}: draw {draw!r} has ways and thresholds: it needs one of the two")
    return {(draw, way): 1 / len(found) for draw, found in ways.items() for way in found if way}


def with_shares(design: Design, shares: Shares) -> Design:
    """The design with every way as a range of its draw."""
    if not shares:
        return design
    reached: dict[str, float] = {}
    ranges: dict[tuple[str, str], tuple[float, float]] = {}
    for (draw, way), share in shares.items():
        above = reached.get(draw, 0.0)
        reached[draw] = above + share
        ranges[draw, way] = (above, min(above + share, 1.0) if reached[draw] < 1 - 1e-12 else 1.0)

    def ranged(when: When | None) -> When | None:
        if when is None or (when.draw, when.way) not in ranges:
            return when
        above, below = ranges[when.draw, when.way]
        return replace(when, above=above, below=below)

    pipeline = design.pipeline
    stages = tuple(replace(stage, when=ranged(stage.when)) for stage in pipeline.stages)
    return replace(design, pipeline=replace(pipeline, stages=stages))


def shares_by_load(design: Design, built: Built, rows: Sequence[PoolRow], shares: Shares) -> Shares:
    """Shares in inverse proportion to the work of a request on the busiest pool of each way."""
    work = dict.fromkeys(shares, 0.0)
    stages = design.pipeline.stages
    for number, row in enumerate(rows):
        seconds = _seconds(row)
        pool = dict.fromkeys(shares, 0.0)
        for slot in (built.slots[place] for place in built.at(number)):
            when = stages[slot.stage].when
            key = (when.draw, when.way) if when is not None else ("", "")
            present = np.broadcast_to(np.asarray(slot.present, bool), built.requests.arrival.shape)
            if key in pool and present.any():
                prompt = np.broadcast_to(np.asarray(slot.prompt) - np.asarray(slot.computed), present.shape)[present].mean()
                emit = np.broadcast_to(slot.emit, present.shape)[present].mean()
                pool[key] += float(prompt) * seconds[0] + float(emit) * seconds[1]
        engines = row.engine.replicas * row.engine.ranks
        work = {key: max(work[key], pool[key] / engines) for key in work}
    idle = [way for (_, way), value in work.items() if value <= 0]
    if idle:
        raise SpecError(
            f"Pipeline {design.pipeline.name}: way {idle[0]!r} visits no engine, so that its load says nothing; give thresholds"
        )
    found: dict[tuple[str, str], float] = {}
    for draw in dict.fromkeys(draw for draw, _ in shares):
        room = {key: 1 / value for key, value in work.items() if key[0] == draw}
        found |= {key: value / sum(room.values()) for key, value in room.items()}
    return found


def _whens(pipeline: Pipeline) -> list[When]:
    return [stage.when for stage in pipeline.stages if stage.when is not None]


def _seconds(row: PoolRow) -> tuple[float, float]:
    """Seconds of a prompt token, and of a token out at the largest batch and the middle of the contexts."""
    most = len(row.cost.decode_step) - 1
    return row.load.token_fit, float(row.cost.decode_step[most, len(row.cost.knots) // 2]) / max(most, 1)
