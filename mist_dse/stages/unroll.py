"""A pipeline unrolled: one copy of a stage for every time that a request may visit it, in an order in which signals go forward.

Choices, rounds of loops and parallel copies are drawn for every request before the run, by name and from the workload's seed, so that two
designs see the same requests. A copy that a request does not make is passed by: what would have followed it follows what came
before it.
"""

from collections import defaultdict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mist_dse.requests.streams import named_stream
from mist_dse.rows import Ints, Requests
from mist_dse.specs._check import SpecError
from mist_dse.specs.pipeline import Pipeline, Repeat, Stage

Mask = NDArray[np.bool_]


class Copy(NamedTuple):
    """One visit of ``stage`` (index ``place`` in the pipeline): the ``number``-th of its repeat.

    ``present`` [n]: which requests make it. ``sources``: earlier copies that signal it, and for which requests. ``loses``: the copies
    that are cancelled when it starts.
    """

    stage: Stage
    place: int
    number: int
    present: Mask
    sources: dict[int, Mask]
    loses: tuple[int, ...] = ()


def unrolled(pipeline: Pipeline, requests: Requests) -> tuple[Copy, ...]:
    """All copies of all stages, each after its sources. ``SpecError`` for a class that the workload does not have."""
    copies: list[Copy] = []
    of_stage: dict[str, list[int]] = defaultdict(list)
    for group in _groups(pipeline):
        repeat = pipeline.repeat_of(group[0].name)
        rounds = np.ones(len(requests.arrival), np.int64) if repeat is None else _rounds(repeat, requests)
        leaves: list[int] = []
        for number in range(int(rounds.max(initial=0))):
            inside: dict[str, int] = {}
            for stage in group:
                present = _chosen(stage, pipeline, requests) & (rounds > number)
                before = _sources(stage, inside, leaves if repeat is not None and repeat.mode == "loop" else [], of_stage)
                inside[stage.name] = len(copies)
                copies.append(Copy(stage, pipeline.stages.index(stage), number, present, _bypassed(before, copies, len(requests.arrival))))
            followed = {before for stage in group for before in stage.after}
            leaves = [index for name, index in inside.items() if name not in followed]
            for name, index in inside.items():
                of_stage[name].append(index)
        if repeat is not None and repeat.mode == "loop":  # what follows waits for the last round alone, which waits for the others
            for stage in group:
                of_stage[stage.name] = of_stage[stage.name][-1:]
    return tuple(copy._replace(loses=_losers(copy, pipeline, copies)) for copy in copies)


def _groups(pipeline: Pipeline) -> list[list[Stage]]:
    """Stages in order, those of one repeat together at the place of its last."""
    groups: list[list[Stage]] = []
    for stage in pipeline.stages:
        repeat = pipeline.repeat_of(stage.name)
        if repeat is None:
            groups.append([stage])
            continue
        members = [each for each in pipeline.stages if each.name in repeat.stages]
        if stage is members[-1]:
            groups.append(members)
        else:
            outside = [other.name for other in pipeline.stages if other.name not in repeat.stages and stage.name in other.after]
            within = pipeline.stages.index(members[-1])
            early = [name for name in outside if pipeline.stages.index(pipeline.stage(name)) < within]
            if early:
                raise SpecError(
                    f"Pipeline {pipeline.name}: stage {early[0]!r} follows {stage.name!r} and must stand after all of {repeat.name}"
                )
    return groups


def _rounds(repeat: Repeat, requests: Requests) -> Ints:
    """How often each request goes round."""
    n = len(requests.arrival)
    if repeat.law == "fixed":
        return np.full(n, repeat.copies)
    draws = named_stream(requests.seed, f"repeat {repeat.name}").random(n)
    more = np.zeros(n) if repeat.count == 1 else np.floor(np.log1p(-draws) / np.log1p(-1 / repeat.count))
    return np.asarray(np.minimum(1 + more, repeat.copies), np.int64)


def _chosen(stage: Stage, pipeline: Pipeline, requests: Requests) -> Mask:
    """The requests that take a stage."""
    n = len(requests.arrival)
    taken = np.ones(n, bool)
    if stage.when is not None:
        draws = named_stream(requests.seed, f"draw {stage.when.draw}").random(n)
        taken = (draws >= stage.when.above) & (draws < stage.when.below)
    if stage.classes:
        for name in stage.classes:
            if name not in requests.class_names:
                known = ", ".join(requests.class_names) or "none"
                raise SpecError(f"Pipeline {pipeline.name}: stage {stage.name!r} is for class {name!r}; the workload's classes: {known}")
        numbers = [requests.class_names.index(name) for name in stage.classes]
        taken &= np.isin(requests.class_id, numbers)
    return taken


def _sources(stage: Stage, inside: dict[str, int], previous: list[int], of_stage: dict[str, list[int]]) -> list[int]:
    """Copies that come right before: of this round, or what the last round left, or what stands before the repeat."""
    found: list[int] = []
    for before in stage.after:
        if before in inside:
            found.append(inside[before])
        else:
            found += previous or of_stage[before]
    if not any(before in inside for before in stage.after):
        found += previous
    return list(dict.fromkeys(found))


def _bypassed(before: list[int], copies: list[Copy], n: int) -> dict[int, Mask]:
    """The copies that signal, and for which requests: behind one that a request does not make stand those before it."""
    found: dict[int, Mask] = {}

    def add(index: int, mask: Mask) -> None:
        if mask.any():
            found[index] = found[index] | mask if index in found else mask

    for index in before:
        copy = copies[index]
        add(index, copy.present.copy())
        if not copy.present.all():
            for further, mask in copy.sources.items():
                add(further, mask & ~copy.present)
    return dict(sorted(found.items()))


def _losers(copy: Copy, pipeline: Pipeline, copies: list[Copy]) -> tuple[int, ...]:
    """All copies of the parallel repeats that a join of the first or of a majority leaves behind."""
    if copy.stage.join == "all":
        return ()
    repeats = {pipeline.repeat_of(before) for before in copy.stage.after}
    names = {name for repeat in repeats if repeat is not None for name in repeat.stages}
    return tuple(index for index, other in enumerate(copies) if other.stage.name in names)
