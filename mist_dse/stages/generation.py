"""Prefill and decode: one visit where one pool runs both and nothing else holds the decode up, else two and a hand-off.

A decode may also wait for something else (a guard that blocks): it is then handed over on the spot. The decode side takes its KV blocks
before the transfer, and the prefill side holds its own until it ends. Parallel decodes of one prefill are visits with the same prompt: a
pool with prefix caching computes it once.
"""

from collections.abc import Mapping

import numpy as np

from mist_dse.perf.load import kv_bytes_of_prompt
from mist_dse.rows import ON_START, Ints, Requests
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Design, Pool
from mist_dse.specs.pipeline import Pipeline
from mist_dse.stages import tiers
from mist_dse.stages.built import SIGNALS, Built, Signals
from mist_dse.stages.decode import decode_slot, whole_slot
from mist_dse.stages.prefill import prefill_slot
from mist_dse.stages.unroll import Copy, Mask
from mist_dse.stages.visits import Slot


def answering(pipeline: Pipeline, copies: tuple[Copy, ...]) -> list[Mask]:
    """Of every copy: the requests whose answer it gives, the last decode that they visit (all of parallel ones, the last round)."""
    found = [np.zeros_like(copy.present) for copy in copies]
    taken: Mask | None = None
    visited: tuple[str, int] | None = None
    for index in reversed(range(len(copies))):
        copy = copies[index]
        if copy.stage.kind != "decode":
            continue
        repeat = pipeline.repeat_of(copy.stage.name)
        visit = (copy.stage.name, copy.number if repeat is not None and repeat.mode == "loop" else 0)
        if visit != visited:
            visited, earlier = visit, np.zeros_like(copy.present) if taken is None else taken
        found[index] = copy.present & ~earlier
        taken = copy.present if taken is None else taken | copy.present
    return found


def decodes_of(design: Design, copies: tuple[Copy, ...], prefill: int) -> list[int]:
    """The copies that decode what a prefill copy has read."""
    stage, repeat = copies[prefill].stage, design.pipeline.repeat_of(copies[prefill].stage.name)
    found = []
    for index, copy in enumerate(copies):
        if copy.stage.kind == "decode" and stage.name in copy.stage.after:
            together = repeat is not None and design.pipeline.repeat_of(copy.stage.name) == repeat
            if not together or copy.number == copies[prefill].number:
                found.append(index)
    if not found:
        raise SpecError(f"Pipeline {design.pipeline.name}: stage {stage.name!r} is of kind prefill and no decode comes right after it")
    return found


def _prefill_of(built: Built, decodes: Mapping[int, list[int]], decode: int) -> int:
    return max(prefill for prefill, found in decodes.items() if decode in found)


def _whole(built: Built, prefill: int, decode: int) -> bool:
    """Whether one visit does both: one pool, and nothing else that the decode waits for."""
    return _same_pool(built, (prefill, decode)) and not _held_back(built, decode)


def _held_back(built: Built, decode: int) -> bool:
    """Whether a decode waits for something beside its prompt."""
    return len(built.copies[decode].stage.after) > 1


def prefilled(built: Built, index: int, before: Signals, known: tuple[list[int], Ints, list[Mask]]) -> Signals:
    """The visit that reads the prompt, here if one decode follows; parallel decodes read it each for themselves."""
    decodes, context, answers = known
    if len(decodes) > 1:
        return before
    decode = decodes[0]
    slot = _reading(built, (index, decode), before, context, answers[decode])
    return built.past(slot, before)


def _reading(built: Built, pair: tuple[int, int], before: Signals, context: Ints, answers: Mask) -> int:
    """The slot that reads the prompt of a decode, and writes its answer, too, where one visit does both."""
    prefill, decode = pair
    number, pool = built.engine(built.copies[prefill].stage.name)
    place, present = built.copies[prefill].place, built.copies[decode].present
    read = _reader(built, prefill, pool, context)
    whole = _whole(built, prefill, decode)
    if whole:
        slot = whole_slot(read, server=number, stage=place, speculation=pool.speculation)._replace(answers=answers.astype(np.int8))
        built.later[place] = built.copies[decode].place
    else:
        known = _first_from_prefill(built, decode, pool)
        slot = prefill_slot(read, server=number, stage=place, answers=known)._replace(answers=answers.astype(np.int8) * known)
    built.roles.setdefault(number, set()).add("both" if whole or _same_pool(built, pair) else "prefill")
    parallel = built.copies[decode].number + 1 if built.parallel(decode) else 0
    return built.add(slot._replace(present=present, branch=parallel, common=built.common(decode, context)), before)


def _first_from_prefill(built: Built, decode: int, pool: Pool) -> bool:
    """Whether the user has the first token when the prompt is read; one that is held back comes with the first step of the decode."""
    return pool.engine.first_token_from == "prefill" and not _held_back(built, decode)


def _same_pool(built: Built, pair: tuple[int, int]) -> bool:
    return built.design.host_of(built.copies[pair[0]].stage.name) is built.design.host_of(built.copies[pair[1]].stage.name)


def _reader(built: Built, prefill: int, pool: Pool, context: Ints) -> Requests:
    """The requests as the prefill sees them: the whole conversation as prompt, less what a cache or a tier has of it."""
    requests = built.requests
    found = requests.cached_tokens
    for plan in built.layout.plans.values():
        if plan.pool is pool and built.fetched(plan.service.name, prefill):
            found = np.maximum(found, tiers.found_tokens(plan, requests))
    return requests._replace(input_tokens=context, cached_tokens=np.minimum(found, context - 1))


def decoded(built: Built, index: int, before: Signals, known: tuple[Mapping[int, list[int]], list[Ints], list[Mask]]) -> Signals:
    """The visit that writes the answer, behind its prompt and whatever else it waits for."""
    decodes, context, answers = known
    prefill = _prefill_of(built, decodes, index)
    copies = built.copies
    if len(decodes[prefill]) > 1:
        entry = built.waits(copies[prefill])
        reading = _reading(built, (prefill, index), entry, context[prefill], answers[index])
    else:
        entry = {}
        reading = built.of_copy[prefill][0]
    if _whole(built, prefill, index):
        return built.past(reading, entry or before)
    held = {slot: mask for slot, mask in before.items() if slot != reading}
    return _handed(built, (prefill, index), reading, held, (context[prefill], answers[index]))


def _handed(built: Built, pair: tuple[int, int], reading: int, held: Signals, known: tuple[Ints, Mask]) -> Signals:
    """The hand-off and the decode behind it; ``held``: what else the decode waits for."""
    prefill, decode = pair
    context, answers = known
    source_number, source = built.engine(built.copies[prefill].stage.name)
    number, target = built.engine(built.copies[decode].stage.name)
    present = built.copies[decode].present
    first_known = _first_from_prefill(built, decode, source)
    read = _reader(built, prefill, source, context)
    end = decode_slot(read, server=number, stage=built.copies[decode].place, first_token_known=first_known, speculation=target.speculation)
    made = np.broadcast_to(np.asarray(end.present, bool), present.shape) & present
    local = source_number == number
    branch, common = built.slots[reading].branch, built.slots[reading].common
    move = next((k for k, one in enumerate(built.layout.pairs) if (one.source, one.target) == (source.name, target.name)), -1)
    beside = reading if local or built.layout.pairs[move].groups > 1 else -1
    end = end._replace(present=made, answers=answers.astype(np.int8), beside=beside, branch=branch, common=common)
    built.roles.setdefault(number, set()).add("both" if local else "decode")
    server = SIGNALS if local else len(built.design.pools) + move
    size = np.zeros(len(context)) if local else context * float(kv_bytes_of_prompt(source.model, source.dtypes))
    through = {reading: present}
    at = len(built.slots)
    if local or built.layout.pairs[move].mode == "whole":
        built.add(Slot(server=server, stage=-1, work=size, lease=at + 1, frees=reading, present=made), through)
    else:
        last = size / source.model.layers
        built.add(Slot(server=server, stage=-1, work=size - last, lease=at + 2, present=made), through, on=ON_START)
        built.add(Slot(server=server, stage=-1, work=last, frees=reading, present=made), through)
        built.join(at, at + 1, made)
    slot = built.add(end, {len(built.slots) - 1: made} | held)
    return {slot: made} | {other: mask & ~made for other, mask in (through | held).items() if (mask & ~made).any()}
