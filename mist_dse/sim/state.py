"""The state of a run: arrays of records, one array per noun, so that a visit's fields share a cache line.

Everything that the compiled functions touch is in one `State`; its types do not depend on how many pools there are, so the
kernel compiles once. Indices: pool p, replica r (over all pools), rank q = first_rank[p] + (r - first_replica[p]) * ranks + d,
lane l = first_lane[p] + (r - first_replica[p]) * lanes + i, group g = one lane of one rank.
"""

from typing import Any, NamedTuple

import numpy as np


def _record(integers: str, reals: str = "") -> np.dtype[np.void]:
    """A record type with the named 8-byte fields."""
    return np.dtype([(name, "i8") for name in integers.split()] + [(name, "f8") for name in reals.split()], align=True)


NEW, READY, INTAKE, INBOX, WAITING, RUNNING, DECODING, LEASING, QUEUED, SERVED, PASSING, ENDED = range(12)
"""States of a visit: not released; all signals are there; front end; come in and not seen; engine queue; admitted with prompt left;
one token a step; waiting for a lease; waiting at a station or batcher; in service there; in a station's latency; done."""

PRESENT, GONE, GHOST, LEAVING = range(4)
"""Cancellation of a visit: not cancelled; cancelled; ended, but its place in a static batch runs on; leaves when its step ends."""

VISIT = _record(
    "request server prompt computed emit emitted limit handed need lease frees keep answers edges edges_end state rank "
    "group held chunk fresh join order finish slot gone tokens",
    "work ready start end",
)
ASIDE = _record(
    "priority session beside key names names_end given cached",
    "draw other_draw",
)
"""Of a visit, too, and only there if anything in the run reads it."""
REQUEST = _record(
    "first last left status preemptions follows next_turn",
    "arrival think admitted first_token last_token end",
)
POOL = _record(
    "replicas ranks lanes policy router max_num_seqs budget threshold blocks block_size watermark reserve_full grows "
    "reserve_output whole_prompts stream_interval receive_interval wait_steps wait_tokens balance_steps waits packing caching groups "
    "heavy_tokens heavy_ranks slack max_model_len first_replica first_rank first_lane first_group turn token_at token_last "
    "decode_at sequence_at attention_at shared_at shared_last knots knots_at asynchronous",
    "least guard front_end front_end_token front_end_output client quad window_quad window read prefill_overhead mixing host_step "
    "host_sequence host_prefill stage_share",
)
REPLICA = _record(
    "pool dirty steps tokens peak_seqs peak_blocks peak_tokens since postponed turn device_no",
    "intake entrance busy pairs contexts",
)
RANK = _record(
    "pool replica waiting leasing inbox free running stalled load placed_tokens queue",
)
LANE = _record(
    "replica slot spanning anchored taken steps waits",
    "idle start end anchor",
)
GROUP = _record(
    "rank running partial dues due decodes context anchor_context count grown members batch_blocks batch_from leaving ending "
    "finish_at residue_at "
    "step_decodes step_fresh step_context step_tokens step_chunks step_done",
    "step_time step_pairs",
)
STATION = _record(
    "queue slots active heaped heap_at started shared",
    "rate cap latency attained last next done together pace",
)
BATCHER = _record(
    "queue queued slots size busy_workers heap_at worker_at started times_at device_no",
    "wait work_time seconds",
)
CLOCK = _record(
    "clients next_request lanes dirty passed struck timers created admitted comers timers_at comers_at parts dues skip engines ready freed "
    "preempted ended patience cancels leavers batchers batching logged room log_at spare blocks_at aside "
    "lanes_at dirty_at settling_at leavers_at seat_at bucket_at bucket_mask name_at named_at "
    "devices devices_at",
)


ENTRY = _record(
    "what tie",
    "key",
)
BLOCK = _record(
    "count name references chain rank",
)
"""KV blocks of a rank with ``caching`` that a name or the queue of free blocks knows: ``count`` > 1 only without a name."""

LOG = ("replica", "lane", "start", "end", "steps", "decodes", "prompt_tokens")
"""Columns of the log of steps, as in `rows.Steps`."""

LINK = _record(
    "prev next",
)
ENDLESS = 2**62
"""A count of steps that is never reached."""
TICK = 2.0**-46
"""Part of a time below which steps are so short that rounding may put the ends of two at one instant: they are taken one by one."""
NONE, ARRIVAL, STEP_END, JOB_END, TIMER = -1, 0, 1, 2, 3
"""Kinds of event, in the order of one instant."""


class State(NamedTuple):
    """All arrays of one run (see the module docstring for the indices)."""

    clock: Any  # [1] CLOCK
    visit: Any
    aside: Any  # [v] ASIDE, or [1] where nothing reads it (clock.aside 0)
    request: Any
    pool: Any
    replica: Any
    rank: Any
    lane: Any
    group: Any
    station: Any
    batcher: Any
    table: Any  # all StepCost tables, those of batchers and the log of steps (clock.log_at), flat
    block: Any  # BLOCK
    entry: Any  # ENTRY: heaps of the stations, the batchers, of timers, of later arrivals
    link: Any  # LINK: visits, visits again (parts), once more (dues), the sentinels of all lists, the blocks
    whole: Any  # whole numbers, flat, at clock.NAME_at: see `initial`
