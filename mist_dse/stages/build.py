"""Visits of an unrolled pipeline: every copy of a stage becomes slots, and signals join them."""

import numpy as np

from mist_dse.requests.streams import named_stream
from mist_dse.rows import CANCEL, ON_START, Ints, Requests
from mist_dse.specs.design import Design
from mist_dse.specs.service import Service
from mist_dse.stages import tiers
from mist_dse.stages.built import Built, Layout, Signals
from mist_dse.stages.decode import decode_steps
from mist_dse.stages.generation import answering, decoded, decodes_of, prefilled
from mist_dse.stages.unroll import Copy
from mist_dse.stages.visits import Slot
from mist_dse.stages.work import Asked, Passes, Sequence, Work


def build(design: Design, copies: tuple[Copy, ...], requests: Requests, layout: Layout) -> Built:
    """Slots and links of all copies. ``SpecError`` where a stage's options are wrong."""
    built = Built(design, copies, requests, layout)
    decodes = {index: decodes_of(design, copies, index) for index, copy in enumerate(copies) if copy.stage.kind == "prefill"}
    answers = answering(design.pipeline, copies)
    context = _contexts(built)
    for index, copy in enumerate(copies):
        before = built.waits(copy)
        made = len(built.slots)
        if isinstance(design.host_of(copy.stage.name), Service):
            built.common(index, context[index])
        if copy.stage.kind == "prefill":
            built.signals.append(prefilled(built, index, before, (decodes[index], context[index], answers)))
        elif copy.stage.kind == "decode":
            built.signals.append(decoded(built, index, before, (decodes, context, answers)))
        elif copy.stage.kind in ("kv_fetch", "kv_store"):
            built.signals.append(_moved(built, copy, before))
        else:
            built.signals.append(_worked(built, index, before, context[index]))
        built.of_copy[index] = list(range(made, len(built.slots)))
        for loser in copy.loses:
            for source in built.of_copy[index][:1]:
                for target in built.of_copy[loser]:
                    built.join(source, target, np.ones(len(requests.arrival), bool), on=CANCEL)
    _hold(built)
    return built


def _asked(built: Built, copy: Copy, context: Ints) -> Asked:
    host = built.design.host_of(copy.stage.name)
    seed, name = built.requests.seed, f"{copy.stage.name} {copy.number}"
    count = len(built.requests.arrival)
    runs = host.kind if isinstance(host, Service) else "engine"
    return Asked(built.requests, context, runs, lambda purpose: named_stream(seed, f"{name} {purpose}").standard_normal(count))


def _contexts(built: Built) -> list[Ints]:
    """Tokens of the conversation at every copy: the input and what all copies before it have added."""
    grown: list[Ints] = []
    ahead: list[set[int]] = []
    found: list[Ints] = []
    for copy in built.copies:
        ahead.append(set().union(*(ahead[source] | {source} for source in copy.sources)) if copy.sources else set())
        context = built.requests.input_tokens + sum((grown[each] for each in sorted(ahead[-1])), np.zeros_like(built.requests.input_tokens))
        kind, options = built.kind(copy)
        context = np.maximum(context, 1)
        found.append(context)
        grown.append(np.where(copy.present, kind.adds(options, _asked(built, copy, context)), 0))
    return found


def _moved(built: Built, copy: Copy, before: Signals) -> Signals:
    """Reads or writes of KV tiers: reads one after another, nearest first; writes side by side, waited for by nobody."""
    _, service = built.service(copy.stage.name)
    plan = built.layout.plans[service.name]
    _, options = built.kind(copy)
    if copy.stage.kind == "kv_store":
        for slot in tiers.store_slots(plan, stage=copy.place, present=copy.present):
            built.add(slot, before)
        return before
    if options.recompute == "auto":
        built.choosing.add(service.name)
    for number, slot in enumerate(tiers.fetch_slots(plan, built.requests, stage=copy.place, present=copy.present)):
        before = built.past(built.add(slot, before), before)
        if number == 0 and options.hold:
            built.slots[-1] = slot._replace(lease=-2 - built.design.pools.index(plan.pool))
    return before


def _hold(built: Built) -> None:
    """Fetches that hold the engine's blocks name the visit that will use them: the first of that pool after them."""
    for number, slot in enumerate(built.slots):
        if slot.lease < -1:
            users = (place for place in built.at(-2 - slot.lease) if place > number)
            built.slots[number] = slot._replace(lease=next(users, -1))


def _worked(built: Built, index: int, before: Signals, context: Ints) -> Signals:
    """One visit, to whatever hosts the stage; and of a streaming guard another one beside the answer."""
    copy = built.copies[index]
    (kind, options), asked = built.kind(copy), _asked(built, copy, context)
    meanwhile = kind.meanwhile(options, asked) if hasattr(kind, "meanwhile") else None
    if meanwhile is not None:
        work, judged = meanwhile
        built.add(_slot(built, index, work, context)._replace(present=copy.present & judged), before, on=ON_START)
    slot = built.add(_slot(built, index, kind.work(options, asked), context)._replace(join=copy.stage.join), before)
    return built.past(slot, before)


def _slot(built: Built, index: int, work: Work, context: Ints) -> Slot:
    copy = built.copies[index]
    if isinstance(work, Sequence):
        number, pool = built.engine(copy.stage.name)
        built.roles.setdefault(number, set()).add("both")
        steps = 1 + decode_steps(work.emit - 1, pool.speculation)
        cached = np.zeros_like(context) if work.own else np.minimum(built.requests.cached_tokens, work.prompt - 1)
        branch = -1 if work.own else copy.number + 1 if built.parallel(index) else 0
        return Slot(server=number, stage=copy.place, prompt=work.prompt, computed=cached, emit=steps, limit=work.emit,
                    present=copy.present, branch=branch, common=built.common(index, work.prompt))  # fmt: skip
    number, service = built.service(copy.stage.name)
    if isinstance(work, Passes):
        built.ask_passes(service, work)
        return Slot(server=number, stage=copy.place, work=1.0, present=copy.present, branch=-1)
    return Slot(server=number, stage=copy.place, work=work.units, present=copy.present, branch=-1)
