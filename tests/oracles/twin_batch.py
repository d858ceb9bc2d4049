"""What the twin puts into a step: policies, and when prompts are postponed (`docs/semantics.md`, Engine steps, Engines' own ways)."""

from collections.abc import Callable

from mist_dse import rows
from tests.oracles.twin_state import Batch, Block, Rank, Replica, Visit

SPLITS = (rows.CHUNKED, rows.PREFILL_FIRST)
DECODES_JOIN = (rows.CHUNKED, rows.MIXED)  # a handed visit with its KV in place decodes in the step that admits it


class HeldError(Exception):
    """Who would have to be preempted has a step in flight in another lane."""


def formed(batch: Batch, admits: Callable[[Visit], None]) -> Batch:
    """The batch filled as its engine's policy wants it, or empty if its lane has to wait for another."""
    try:
        match batch.rank.engine.policy:
            case rows.CHUNKED:
                go_on(batch, lambda _: True)
                admit_unless_preempted(batch, admits)
            case rows.PREFILL_FIRST:
                go_on(batch, lambda visit: not visit.decoding)
                admit_unless_preempted(batch, admits)
                if not batch.work:
                    go_on(batch, lambda visit: visit.decoding)
            case rows.MIXED:
                go_on(batch, lambda visit: visit.decoding)
                admit_unless_preempted(batch, admits)
            case rows.CONTINUOUS:
                admit_unless_preempted(batch, admits)
                if not batch.work:
                    go_on(batch, lambda visit: visit.decoding)
            case rows.STATIC:
                if not batch.rank.running:
                    admit_unless_preempted(batch, admits)
                for visit in [] if batch.work else batch.rank.members(batch.lane):
                    batch.add(visit, 1)
    except HeldError:
        batch.work.clear()
    return batch


def portion(batch: Batch, visit: Visit) -> int:
    """New tokens of a visit when the batch has what it has."""
    engine, left = batch.rank.engine, batch.rank.engine.max_num_batched_tokens - batch.tokens
    if visit.decoding:
        return 1
    if engine.policy not in SPLITS:
        return visit.rem if visit.rem <= left or not batch.chunks else 0
    if engine.whole_prompts:
        return visit.rem if visit.rem <= left or not batch.tokens else 0
    return max(0, min(visit.rem, engine.long_prefill_threshold or visit.rem, left))


def go_on(batch: Batch, wanted: Callable[[Visit], bool]) -> None:
    """RUNNING of the lane: its blocks are counted until all of them are there, and then taken."""
    rank, short = batch.rank, True
    while short:
        batch.work.clear()
        lacking, short = 0, False
        for visit in filter(wanted, rank.members(batch.lane)):
            new = portion(batch, visit)
            lacking += max(0, rank.blocks_for(visit.computed + new) - len(visit.held)) if new else 0
            if lacking > len(rank.queue):
                short = True
                make_room(batch)
                break
            if new:
                batch.add(visit, new)
    for visit, new, before, _ in batch.work:
        rank.hold(visit, rank.blocks_for(before + new))
    for visit, new, before in batch.chunks:
        rank.name(visit, before + new)


def make_room(batch: Batch) -> None:
    """Somebody loses KV: the last in WAITING that holds any, or else one that is RUNNING."""
    rank = batch.rank
    if any(visit.held for visit in rank.waiting):
        evict_last(batch, rank.waiting)
        return
    last = rank.running[-1]
    if rank.engine.packing == rows.PRIORITY:
        last = max(rank.running, key=lambda visit: (visit.priority, visit.index))
    if rank.replica.lanes[last.lane].batches is not None:
        raise HeldError
    rank.name(last, last.computed)
    rank.lose(last)
    rank.running.remove(last)
    rank.join(last, front=True)
    batch.preempted.append(last)


def evict_last(batch: Batch, waiting: list[Visit]) -> None:
    last = [visit for visit in waiting if visit.held][-1]
    batch.rank.lose(last)
    batch.evicted.append(last)


def admit_unless_preempted(batch: Batch, admits: Callable[[Visit], None]) -> None:
    """WAITING from the head, as far as the policy, the seats and the blocks allow."""
    rank, engine = batch.rank, batch.rank.engine
    while not batch.preempted and rank.waiting and len(rank.running) < engine.max_num_seqs:
        head = rank.waiting[0]
        if (engine.policy in SPLITS and batch.tokens >= engine.max_num_batched_tokens) or (batch.postponed and not head.in_place):
            return
        found = rank.found(head)
        head.computed += len(found) * engine.block_size
        new = portion(batch, head)
        asked, blocks = blocks_at_admission(rank, head, new)
        if new == 0 or not is_room(batch, head, found, asked):
            head.computed -= len(found) * engine.block_size
            return
        rank.waiting.pop(0)
        if found:
            rank.share(head, found)
        rank.hold(head, blocks)
        head.lane = batch.lane
        head.cached = head.cached if head.started else len(found) * engine.block_size
        rank.running.append(head)
        if not head.in_place or engine.policy in DECODES_JOIN:
            batch.add(head, new)
        if not head.in_place:
            rank.name(head, head.computed + new)
        admits(head)


def blocks_at_admission(rank: Rank, visit: Visit, new: int) -> tuple[int, int]:
    """(blocks that have to be there, blocks that it takes)."""
    whole, tokens = rank.engine.policy == rows.STATIC, visit.computed + new
    asked = visit.known if rank.engine.reserve_full else tokens
    return rank.blocks_of(visit, asked, whole=whole), rank.blocks_of(visit, tokens, whole=whole)


def is_room(batch: Batch, head: Visit, found: list[Block], blocks: int) -> bool:
    """Whether the head of WAITING finds its blocks; those behind it give theirs up if nothing runs."""
    rank = batch.rank
    while not enough(rank, head, blocks, len(rank.queue) - sum(block.holders == 0 for block in found), len(found)):
        if rank.running or not any(visit.held for visit in rank.waiting[1:]):
            return False
        evict_last(batch, rank.waiting[1:])
    return True


def enough(rank: Rank, visit: Visit, blocks: int, free: int, found: int = 0) -> bool:
    lacking = blocks - len(visit.held) - found
    return lacking <= 0 or lacking + rank.engine.watermark <= free


def postponed(replica: Replica, lane: int) -> tuple[bool, int]:
    """Whether the prompts are postponed in the step that the lane would start now, and the replica's count after it."""
    engine, count = replica.engine, replica.postponed
    decodes = [sum(visit.decoding for visit in rank.members(lane)) for rank in replica.ranks]
    prompts = [prompt_tokens(rank, lane) for rank in replica.ranks]
    if len(replica.ranks) > 1:
        wait = engine.balance_steps > 0 and all(decodes) and not all(new for _, new in prompts) and count + 1 < engine.balance_steps
        return wait, count + 1 if wait else 0
    if engine.wait_steps == 0 or engine.wait_tokens == 0 or decodes[0] == 0 or prompts[0][1] == 0:
        return False, count
    wait = decodes[0] + sum(prompts[0]) < engine.wait_tokens and count < engine.wait_steps
    return wait, count + 1 if wait else 0


def prompt_tokens(rank: Rank, lane: int) -> tuple[int, int]:
    """Prompt tokens that RUNNING and WAITING would have in the lane's next step, as things stand."""
    batch, engine = Batch(rank, lane), rank.engine
    for visit in rank.members(lane):
        if not visit.decoding or engine.policy in DECODES_JOIN:
            batch.add(visit, portion(batch, visit))
    running = sum(new for _, new, _ in batch.chunks)
    free, seats = len(rank.queue), engine.max_num_seqs - len(rank.running)
    for visit in [] if engine.policy == rows.STATIC else rank.waiting[:seats]:  # a static batch that decodes admits nobody
        new = portion(batch, visit)
        asked, blocks = blocks_at_admission(rank, visit, new)
        spent = engine.policy in SPLITS and batch.tokens >= engine.max_num_batched_tokens
        if spent or new == 0 or not enough(rank, visit, asked, free):
            break
        free -= max(0, blocks - len(visit.held))
        if not visit.in_place or engine.policy in DECODES_JOIN:
            batch.add(visit, new)
    return running, sum(new for _, new, _ in batch.chunks) - running
