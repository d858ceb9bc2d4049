"""What the twin keeps: visits, ranks, replicas, stations, and the batch of one rank in one step."""

from dataclasses import dataclass, field
from math import inf

from mist_dse import rows

COLUMNS = ("server", "prompt", "computed", "emit", "limit", "handed", "work", "need", "lease", "keep", "frees", "answers")


@dataclass(eq=False)
class Visit:
    """One request at one server; `COLUMNS` of its row first."""

    index: int
    request: int
    server: int
    prompt: int
    computed: int
    emit: int
    limit: int
    handed: int
    work: float
    need: int
    lease: int
    keep: bool
    frees: int
    answers: bool
    edges: list[tuple[int, int]]  # (visit, ON_END or ON_START)
    in_place: bool = False  # a handed visit that never lost its KV
    rank: "Rank | None" = None
    lane: int = -1
    blocks: int = 0
    emitted: int = 0
    emitted_here: bool = False  # in this residence
    padding: int = 0  # steps that a static batch runs on without it
    started: bool = False
    ended: bool = False

    @property
    def known(self) -> int:
        return self.prompt + self.handed + self.emitted + self.padding

    @property
    def rem(self) -> int:
        return self.known - self.computed

    @property
    def decoding(self) -> bool:
        return self.rem == 1 and (self.emitted_here or self.in_place)


@dataclass(eq=False)
class Rank:
    """One queue and one KV store."""

    engine: rows.Engine
    replica: "Replica"
    free: int
    inbox: list[Visit] = field(default_factory=list)  # come in, not looked at
    waiting: list[Visit] = field(default_factory=list)
    running: list[Visit] = field(default_factory=list)
    leases: list[Visit] = field(default_factory=list)  # station visits that wait for blocks
    placed: int = 0

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.engine.block_size)

    def blocks_of(self, visit: Visit, tokens: int) -> int:
        """Blocks that a visit takes at admission to have ``tokens`` computed."""
        return self.blocks_for(visit.prompt + visit.handed + visit.limit - 1 if self.engine.reserve_output else tokens)

    def portion(self, visit: Visit, left: int) -> int:
        """New tokens of a visit when ``left`` of the budget remain."""
        engine = self.engine
        if engine.whole_prompts and not visit.in_place:
            return visit.rem if visit.rem <= left or left == engine.max_num_batched_tokens else 0
        return int(min(visit.rem, engine.long_prefill_threshold or inf, left))

    def note_peak(self) -> None:
        self.replica.peak_seqs = max(self.replica.peak_seqs, len(self.running))
        self.replica.peak_blocks = max(self.replica.peak_blocks, self.engine.blocks - self.free)


@dataclass(eq=False)
class Lane:
    """One step in flight, or none."""

    index: int
    key: int  # its place among the step ends of one instant
    idle_since: float = -inf
    batches: "list[Batch] | None" = None  # None: idle


@dataclass(eq=False)
class Replica:
    """Ranks that step together, and what they did."""

    index: int
    pool: int
    engine: rows.Engine
    cost: rows.StepCost
    ranks: list[Rank] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    entrance: float = -inf  # when it is free again
    front_free: float = 0.0
    since: int = 0  # steps since it last looked at what came in
    postponed: int = 0  # steps that prompts were postponed
    steps: int = 0
    busy: float = 0.0
    tokens: int = 0
    pairs: float = 0.0
    contexts: float = 0.0
    peak_seqs: int = 0
    peak_blocks: int = 0
    peak_tokens: int = 0


@dataclass(eq=False)
class Desk:
    """A rate-shared station at work."""

    index: int
    station: rows.Station
    active: list[tuple[Visit, float]] = field(default_factory=list)  # (visit, work left)
    queue: list[Visit] = field(default_factory=list)
    clock: float = 0.0
    event: int = -1  # the one event that still counts
    busy: float = 0.0

    @property
    def speed(self) -> float:
        return min(self.station.cap, self.station.rate / len(self.active))


@dataclass(eq=False)
class Batch:
    """What one rank does in one step, in order of admission."""

    rank: Rank
    work: list[tuple[Visit, int, int, bool]] = field(default_factory=list)  # (visit, new tokens, computed before, decode)
    preempted: list[Visit] = field(default_factory=list)
    evicted: list[Visit] = field(default_factory=list)  # preempted while waiting
    tried: bool = False  # somebody lost KV before the lane had to wait for another

    def add(self, visit: Visit, new: int) -> None:
        self.work.append((visit, new, visit.computed, visit.decoding or visit.ended))

    @property
    def decodes(self) -> list[Visit]:
        return [visit for visit, _, _, decode in self.work if decode]

    @property
    def chunks(self) -> list[tuple[Visit, int, int]]:
        return [(visit, new, before) for visit, new, before, decode in self.work if not decode]

    @property
    def prompted(self) -> bool:
        return any(not decode for _, _, _, decode in self.work)

    @property
    def tokens(self) -> int:
        return sum(new for _, new, _, _ in self.work)

    @property
    def context(self) -> int:
        return sum(visit.known for visit in self.decodes)


def visits_of(jobs: rows.Jobs, first: list[int]) -> list[Visit]:
    """The visits of a job table, nothing done yet."""
    visits = []
    columns = (getattr(jobs, name).tolist() for name in COLUMNS)
    edges = list(zip(jobs.edge_to.tolist(), jobs.edge_on.tolist(), strict=True))
    owner = [request for request in range(len(first) - 1) for _ in range(first[request], first[request + 1])]
    for v, row in enumerate(zip(*columns, strict=True)):
        out = edges[int(jobs.edge_first[v]) : int(jobs.edge_first[v + 1])]
        visits.append(Visit(*(v, owner[v], *row, out, bool(jobs.handed[v]))))
    return visits


def replicas_of(servers: rows.Servers) -> list[Replica]:
    """The replicas of all pools, empty."""
    replicas: list[Replica] = []
    lanes = 0
    for pool, (engine, cost) in enumerate(zip(servers.engines, servers.costs, strict=True)):
        for _ in range(engine.replicas):
            replica = Replica(len(replicas), pool, engine, cost)
            replica.ranks = [Rank(engine, replica, engine.blocks) for _ in range(engine.ranks)]
            replica.lanes = [Lane(i, lanes + i) for i in range(engine.lanes)]
            lanes += engine.lanes
            replicas.append(replica)
    return replicas
