"""The machine's rows that pass between rooms: named tuples of arrays that numba takes as they are.

A *request* is what a user sends; a *visit* is one request at one server. `lower` (stages) writes `Servers` and `Jobs`
from a design and a `Requests` table; `sim` and `analytic` read them and know nothing else.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bytes = NDArray[np.int8]

# Closed lists of the machine. Names and order are those of the tuples in `specs.design`.
STATIC, CONTINUOUS, CHUNKED, PREFILL_FIRST, MIXED = 0, 1, 2, 3, 4
FCFS, PRIORITY, SHORTEST, LEAST_WORK = 0, 1, 2, 3
ROUND_ROBIN, JOIN_SHORTEST_QUEUE, RANDOM, POWER_OF_TWO, LEAST_TOKENS, LEAST_KV, HEAVY_LIGHT, PREFIX_AFFINITY, SESSION_AFFINITY = range(9)
ON_END, ON_START, CANCEL = 0, 1, 2
MOST_STREAMING = 0.95
"""Share of a front end that output tokens may take; the rest takes new visits in."""

COMPLETED, REJECTED, UNFINISHED = 0, 1, 2

NONE: Ints = np.zeros(0, np.int64)
"""A column that is left out: every row has its default."""

NO_DRAWS: Floats = np.zeros((0, 2))
"""`Jobs.draw` left out."""

NOTHING_SHARED: Floats = np.zeros((2, 0))
"""`StepCost.shared_time` of ranks that share nothing."""


class Requests(NamedTuple):
    """The realised requests of a workload, in order of arrival; n rows.

    ``clients`` > 0: closed loop, ``arrival`` is ignored beyond the first ``clients`` and request j >= clients arrives
    ``think[j]`` s after the (j - clients + 1)-th completion. Token counts are >= 1.

    Columns that may be left out (`NONE`): ``follows[j]`` >= 0: the next turn of a session, which arrives ``think[j]`` s after that
    earlier request is over (``arrival[j]`` is then the earliest time possible, with answers in no time); at most one request
    follows another, and there is no closed loop. ``hash_ids`` names the content of tokens in blocks of ``hash_tokens``: those of
    request i, its prompt's first and then its output's, are ``hash_first[i] .. hash_first[i + 1] - 1``; equal names mean equal
    content from the first token on.
    """

    arrival: Floats  # s, ascending
    input_tokens: Ints
    output_tokens: Ints
    max_tokens: Ints  # the limit known to the scheduler, >= output_tokens
    cached_tokens: Ints  # leading prompt tokens found in a prefix cache, < input_tokens
    think: Floats  # s
    clients: int
    nominal_rate: float  # 1/s, nan where the workload names none
    priority: Ints = NONE  # lower goes first; default 0
    class_id: Ints = NONE  # index of the workload's class; default 0
    session: Ints = NONE  # >= 0, the same for all turns of one session; default: each request its own
    follows: Ints = NONE  # earlier request that must be over first; default -1, none
    hash_first: Ints = NONE  # [n + 1]
    hash_ids: Ints = NONE
    hash_tokens: int = 0
    seed: int = 0  # of the draws that routers and pipelines take
    class_names: tuple[str, ...] = ()  # of the workload, by ``class_id``


class StepCost(NamedTuple):
    """Time of one engine step, in separable parts (s); built once by `lower`, read by screen and simulator alike.

    A step with T tokens (decode and chunk), S decoding sequences of mean context x = K/S and chunks (q_i after c_i):

    * pure decode: ``decode_step[S, .]`` at x, everything included (padding, host).
    * otherwise: device = token_time[T] + sequence_time[S + finished prompts] + mixing * decode_attention[S, .] at x
      + prefill_overhead + sum_i chunk(q_i, c_i); host = host_step + host_sequence (S + chunks) + host_prefill;
      step = max(device, host) if asynchronous else device + host.

    Tables over x are linear between ``knots`` (and beyond the last). ``chunk(q, c)`` = max(quad (A(c+q) - A(c)) +
    window_quad (W(c+q) - W(c)), read (c + q)) with A(x) = x^2 and W(x) = x^2 up to ``window``, then its tangent
    window (2 x - window). All tables cover S = 0..max_num_seqs; T beyond ``token_time`` extends its last slope.

    Ranks that step together may share work, such as the experts of a mixture: ``shared_time[m, G]`` is the device's time for
    the G tokens of all ranks, m = 1 if any of them computes prompts in this step, else 0 (beyond the table its last slope goes on).
    It is charged once a step: device = a rank's own parts above + shared; ``decode_step`` is then the device's alone, and the
    host's time, host_step + host_sequence S in pure decode, joins it as above. Empty: nothing is shared.
    """

    token_time: Floats  # [T_max + 1]
    sequence_time: Floats  # [S_max + 1] output head and sampling, per emitting sequence count
    decode_attention: Floats  # [S_max + 1, knots]
    decode_step: Floats  # [S_max + 1, knots]
    knots: Floats  # mean context, ascending from 0
    quad: float
    window_quad: float
    window: float
    read: float
    prefill_overhead: float
    mixing: float
    host_step: float
    host_sequence: float
    host_prefill: float
    asynchronous: bool
    stage_share: float  # longest pipeline stage / sum of stages: a new step may start after this share (1 = no pipeline)
    shared_time: Floats = NOTHING_SHARED  # [2, G_max + 1], or [2, 0]


class Load(NamedTuple):
    """What one engine moves and computes, per device: the slopes behind `StepCost`, for demand, bounds and power.

    Speed-of-light rates are already applied: a resource's *seconds* are its units divided by datasheet peak.
    ``*_fit`` are the marginal seconds at the fitted efficiencies, with every fixed cost left out: a lower envelope
    of what the step tables charge for the same work.
    """

    flop_seconds_token: float  # FLOP/peak per token through the linear layers
    flop_seconds_pair: float  # FLOP/peak per attended (query, key) pair
    byte_seconds_step: float  # weight bytes/bandwidth per step
    byte_seconds_context: float  # KV bytes/bandwidth per context token read in decode
    link_seconds_token: float  # collective bytes/bandwidth per token
    token_fit: float  # min over T of token_time(T)/T
    pair_fit: float  # seconds per attended pair in prefill (quad x 2)
    context_fit: float  # least slope of decode_step in K


class Engine(NamedTuple):
    """A pool of identical engines; capacities are per (replica, rank)."""

    replicas: int
    ranks: int  # attention data parallelism: ranks step together, each with its own queue and KV store
    lanes: int  # steps in flight (pipeline parallelism)
    policy: int
    router: int
    max_num_seqs: int
    max_num_batched_tokens: int
    long_prefill_threshold: int
    blocks: int  # KV blocks of one rank
    block_size: int  # tokens
    watermark: int  # blocks kept free at admission
    reserve_full: bool  # admit only if the whole known sequence fits
    max_model_len: int
    front_end: float  # s per request, serial per replica
    front_end_token: float  # s per input token, serial per replica
    client: float  # s, constant delay of each request
    front_end_output: float = 0.0  # s of the front end per output token, taken from what is left for new visits
    reserve_output: bool = False  # admission takes the blocks of the longest the sequence may become
    whole_prompts: bool = False  # a prompt is never split over steps
    stream_interval: int = 1  # tokens per message that the user sees
    receive_interval: int = 1  # steps between two looks at new visits
    wait_steps: int = 0  # most steps that prompts wait for wait_tokens while others decode
    wait_tokens: int = 0  # prompt tokens that end that wait
    balance_steps: int = 0  # most steps that prompts wait until every rank has one
    packing: int = FCFS  # order of the queue
    caching: bool = False  # named blocks stay after their sequence and are found again
    groups: int = 1  # local groups that the replicas are split into, in order and evenly
    heavy_tokens: int = 0  # heavy-light router: prompts of more tokens than this are heavy
    heavy_ranks: int = 0  # heavy-light router: how many ranks, the first, take the heavy ones
    guard: float = 1.0  # prefix affinity: a rank may hold this many times the mean number of visits ...
    slack: int = 0  # ... and so many more, before its visits go elsewhere
    device: int = -1  # replica r steps on device ``device`` + r, one step at a time among all that share it; -1: on its own

    @property
    def splits_prompts(self) -> bool:
        """Whether a prompt may be computed over several steps."""
        return self.policy in (CHUNKED, PREFILL_FIRST) and not self.whole_prompts

    @property
    def longest_prompt(self) -> float:
        """Most tokens that a prompt may have to compute, inf without such a limit."""
        whole = self.policy in (CHUNKED, PREFILL_FIRST) and self.whole_prompts
        return self.max_num_batched_tokens if whole else math.inf


class Station(NamedTuple):
    """A rate-shared server: each of at most ``slots`` jobs gets min(``cap``, ``rate``/active) work per second.

    Stations that draw from one rate together (a host's memory under scans and KV reads) name it by ``shared``, an index into
    `Servers.shared`: each job then gets min(``cap``, ``rate``/active, level), with the largest level at which all of them stay within it.
    """

    rate: float
    cap: float
    slots: int
    latency: float  # s after the work is done
    shared: int = -1  # rate that it draws from with others; -1: none


class Batcher(NamedTuple):
    """A server of batches: each of ``slots`` workers takes up to ``size`` jobs at once, in order of arrival, as soon as ``size`` wait or
    the first of them has waited ``wait`` s; k jobs take ``time[k]`` + ``work_time`` x the sum of their work, and end together."""

    slots: int
    size: int
    wait: float  # s
    time: Floats  # [size + 1] s; time[0] is not read
    work_time: float  # s per unit of work
    device: int = -1  # its one worker runs on this device, one batch at a time among all that share it; -1: on its own


class Servers(NamedTuple):
    """All servers of a lowered design; a visit's ``server`` counts engines first, then stations, then batchers."""

    engines: tuple[Engine, ...]
    costs: tuple[StepCost, ...]  # one per engine pool
    loads: tuple[Load, ...]  # one per engine pool
    stations: tuple[Station, ...]
    names: tuple[str, ...]  # engines, stations, batchers
    batchers: tuple[Batcher, ...] = ()
    shared: tuple[float, ...] = ()  # rates that stations draw from together, work per second


class Jobs(NamedTuple):
    """Visits, grouped by request; v rows, e edges.

    An engine visit holds a sequence: ``prompt`` tokens must have KV before its first emission, ``computed`` of them
    stand already, and ``emit`` tokens are then produced, one a step, the first by the step that completes the prompt (with
    speculation ``emit`` counts these steps, and ``limit`` all tokens; ``handed`` visits have their prompt complete and one
    token known: their first step is a decode step). A station visit asks for ``work``. A visit is ready after ``need``
    signals; edges carry one each, at the end or at the start of
    the visit they leave; ``need`` 0 = ready when the request arrives. ``lease`` >= 0:
    before it starts, this visit reserves the KV of that visit on the rank the router picks for it. ``keep``: the KV
    outlives the visit until the visit whose ``frees`` names it ends. ``limit`` >= ``emit`` is all that a scheduler may know
    of ``emit``.

    An edge ``CANCEL`` cancels the visit that it leads to when the visit that it leaves is released: that is how a join of the first
    or of a majority stops the branches that it did not wait for; such a join has fewer ``need`` than it has edges, and later
    signals do nothing. Columns that may be left out (`NONE`): ``beside`` >= 0 puts a visit on the rank of that earlier visit of the
    request (on another pool: in its local group); ``hash_ids`` names the KV blocks of a visit's sequence from its first token on, in
    blocks of its engine: those of v are ``hash_first[v] .. hash_first[v + 1] - 1`` and may be fewer than its blocks.
    """

    first: Ints  # [requests + 1] visits of request i are first[i]..first[i + 1] - 1
    server: Ints
    prompt: Ints
    computed: Ints
    emit: Ints
    limit: Ints
    handed: Bytes
    work: Floats
    need: Ints
    lease: Ints
    keep: Bytes
    frees: Ints
    answers: Bytes  # 1: its first emission is the request's first token; every emission counts towards the last token
    edge_first: Ints  # [v + 1]
    edge_to: Ints  # [e]
    edge_on: Bytes  # [e] ON_END, ON_START, CANCEL
    priority: Ints = NONE  # default 0
    session: Ints = NONE  # default -1, none
    draw: Floats = NO_DRAWS  # [v, 2] uniform in [0, 1), for routers that choose at random; needed by those alone
    beside: Ints = NONE  # default -1
    hash_first: Ints = NONE  # [v + 1]
    hash_ids: Ints = NONE


class Records(NamedTuple):
    """What happened, per request (n), per visit (v) and per (replica of every engine pool) (r); times in s, nan = never."""

    arrival: Floats
    admitted: Floats  # first step of its first engine visit starts
    first_token: Floats
    last_token: Floats
    end: Floats  # last visit ends
    status: Bytes  # COMPLETED, REJECTED, UNFINISHED
    preemptions: Ints
    visit_ready: Floats
    visit_start: Floats  # service starts (engines: first scheduled)
    visit_end: Floats
    visit_replica: Ints  # replica (engines), -1 otherwise
    pool: Ints  # [r] engine pool of the replica
    steps: Ints
    busy: Floats  # s of steps, those of several lanes added up
    tokens: Ints  # prompt tokens computed and decode tokens, recomputation included
    pairs: Floats  # attended pairs of prompt chunks
    contexts: Floats  # sum over decode steps of context tokens read
    peak_seqs: Ints
    peak_blocks: Ints
    peak_tokens: Ints  # most tokens in one step
    station_busy: Floats  # [stations, then batchers] work done
    makespan: float  # the last arrival, end of a visit or end of a step
    visit_cached: Ints = NONE  # tokens found in the prefix cache when the visit was first admitted


class Steps(NamedTuple):
    """The steps of a run in order of start, pure decode steps that were taken as one event in one row (k rows)."""

    replica: Ints
    lane: Ints  # within the replica
    start: Floats  # s
    end: Floats  # s
    steps: Ints  # engine steps in this row
    decodes: Ints  # sequences that decode, all ranks
    prompt_tokens: Ints  # prompt tokens, all ranks
