"""When the twin postpones prompts: `wait_steps` with `wait_tokens`, and `balance_steps` (`docs/semantics.md`, Engines' own ways)."""

from mist_dse import rows
from tests.oracles.twin_state import Rank, Replica


def postponed(replica: Replica, lane: int) -> tuple[bool, int]:
    """Whether the prompts are postponed in the step that the lane would start now, and the replica's count after it."""
    engine, count = replica.engine, replica.postponed
    decodes = [sum(visit.lane == lane and visit.emitted_here for visit in rank.running) for rank in replica.ranks]
    asked = [asked_tokens(rank, lane, some) for rank, some in zip(replica.ranks, decodes, strict=True)]
    if len(replica.ranks) > 1:
        wait = engine.balance_steps > 0 and all(decodes) and not all(new for _, new in asked) and count + 1 < engine.balance_steps
        return wait, count + 1 if wait else 0
    if engine.wait_steps == 0 or engine.wait_tokens == 0 or decodes[0] == 0 or asked[0][1] == 0:
        return False, count
    wait = decodes[0] + sum(asked[0]) < engine.wait_tokens and count < engine.wait_steps
    return wait, count + 1 if wait else 0


def asked_tokens(rank: Rank, lane: int, decodes: int) -> tuple[int, int]:
    """Prompt tokens that RUNNING and WAITING would have in the lane's next step, as things stand."""
    engine = rank.engine
    chunked = engine.policy == rows.CHUNKED
    left = engine.max_num_batched_tokens - (decodes if chunked else 0)
    running = new = 0
    for visit in rank.running:
        if visit.lane == lane and not visit.emitted_here and (chunked or not visit.in_place):
            take = rank.portion(visit, left)
            left -= take
            running += 0 if visit.in_place else take
    if engine.policy == rows.STATIC:
        return running, 0  # a batch that decodes admits nobody
    free, seats = rank.free, engine.max_num_seqs - len(rank.running)
    for visit in rank.waiting:
        take = rank.portion(visit, left)
        if engine.policy == rows.CONTINUOUS and not visit.in_place:
            take = visit.rem if new == 0 or new + visit.rem <= engine.max_num_batched_tokens else 0
        if visit.in_place and not chunked:
            take = 0
        elif take <= 0:
            break
        whole = visit.in_place or engine.policy == rows.CONTINUOUS
        blocks = rank.blocks_of(visit, visit.known if whole else visit.computed + take)
        asked = rank.blocks_of(visit, visit.known) if engine.reserve_full or whole else blocks
        if seats == 0 or (asked > visit.blocks and asked - visit.blocks + engine.watermark > free):
            break
        free, seats = free - max(0, blocks - visit.blocks), seats - 1
        left -= take
        new += 0 if visit.in_place else take
    return running, new
