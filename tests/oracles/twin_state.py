"""What the twin keeps: visits, KV blocks, ranks and replicas (`docs/semantics.md`: WAITING, Engine steps, Prefix caching)."""

from bisect import insort
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import takewhile
from math import inf
from types import SimpleNamespace

from mist_dse import rows

COLUMNS = ("server", "prompt", "computed", "emit", "limit", "handed", "work", "need", "lease", "keep", "frees", "answers")
OPTIONAL = {"priority": 0, "session": -1, "beside": -1}
COUNTS = ("named", "emitted", "padding", "lost", "cached", "key")
FLAGS = ("leased", "emitted_here", "released", "started", "cancelled", "ended")


@dataclass(eq=False)
class Block:
    """Room for ``block_size`` tokens."""

    holders: int = 0
    name: int | None = None


class Visit(SimpleNamespace):
    """One request at one server: the columns of its row (`COLUMNS`, `OPTIONAL`, ``draw``, ``names``, ``edges`` as (visit, when)),
    its ``index`` and ``request``, and what has become of it:

    ``rank`` and ``lane`` that it was placed on; ``leased``: by a lease; ``key``: its place in WAITING; ``held``: its blocks, the first
    ``named`` of which had their chance to be named; ``emitted`` tokens, ``emitted_here``: one in this residence; ``in_place``: handed,
    and never lost its KV; ``padding``: steps that a static batch runs on without it; ``lost``: preemptions; ``cached``: tokens found at
    its first admission; ``released``, ``started``, ``cancelled``, ``ended``.
    """

    __eq__, __hash__ = object.__eq__, object.__hash__  # itself alone

    @property
    def known(self) -> int:
        return int(self.prompt + self.handed + self.emitted + self.padding)

    @property
    def rem(self) -> int:
        return int(self.known - self.computed)

    @property
    def decoding(self) -> bool:
        return self.rem == 1 and bool(self.emitted_here or self.in_place)


@dataclass(eq=False)
class Rank:
    """One queue and one KV store."""

    engine: rows.Engine
    replica: "Replica"
    queue: list[Block]  # held by nobody; the front is taken first
    blocks: dict[int, Block] = field(default_factory=dict)  # by name
    placed: list[Visit] = field(default_factory=list)  # and not ended
    leases: list[Visit] = field(default_factory=list)  # visits elsewhere that wait for blocks here
    inbox: list[Visit] = field(default_factory=list)  # come in, not looked at
    waiting: list[Visit] = field(default_factory=list)
    running: list[Visit] = field(default_factory=list)

    def join(self, visit: Visit, *, front: bool = False) -> None:
        """WAITING, in the order of packing."""
        if self.engine.packing == rows.FCFS:
            self.waiting.insert(0 if front else len(self.waiting), visit)
            return
        keys = {rows.PRIORITY: visit.priority, rows.SHORTEST: visit.rem, rows.LEAST_WORK: visit.rem + visit.limit - visit.emitted}
        visit.key = keys[self.engine.packing]
        insort(self.waiting, visit, key=lambda other: (other.key, other.index))

    def members(self, lane: int) -> list[Visit]:
        return [visit for visit in self.running if visit.lane == lane]

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.engine.block_size)

    def blocks_of(self, visit: Visit, tokens: int, *, whole: bool = False) -> int:
        """Blocks that a visit takes to have ``tokens`` computed; ``whole``: those of its longest end at once."""
        return self.blocks_for(visit.prompt + visit.handed + visit.limit - 1 if whole or self.engine.reserve_output else tokens)

    def caches(self, visit: Visit) -> bool:
        return self.engine.caching and self.engine.policy != rows.STATIC and not visit.leased

    def found(self, visit: Visit) -> list[Block]:
        """The blocks here that a visit could start from."""
        if not self.caches(visit) or visit.computed or visit.held:
            return []
        most = (visit.known - 1) // self.engine.block_size
        return [self.blocks[name] for name in takewhile(self.blocks.__contains__, visit.names[:most])]

    def share(self, visit: Visit, blocks: list[Block]) -> None:
        """Blocks that were found become the visit's own too."""
        self.queue = [block for block in self.queue if block not in blocks]
        for block in blocks:
            block.holders += 1
        visit.held = list(blocks)

    def hold(self, visit: Visit, count: int) -> None:
        """The visit holds at least this many blocks; a block that is taken loses its name."""
        while len(visit.held) < count:
            block = self.queue.pop(0)
            if block.name is not None:
                del self.blocks[block.name]
            block.holders, block.name = 1, None
            visit.held.append(block)

    def name(self, visit: Visit, tokens: int) -> None:
        """The blocks that are full with so many tokens get their names, unless these are known here."""
        full = min(tokens // self.engine.block_size, len(visit.names), len(visit.held)) if self.caches(visit) else 0
        for block, name in zip(visit.held[visit.named : full], visit.names[visit.named : full], strict=True):
            if block.name is None and name not in self.blocks:
                block.name = name
                self.blocks[name] = block
        visit.named = max(visit.named, full)

    def free(self, visit: Visit) -> None:
        """A visit gives its blocks back, the last first."""
        for block in reversed(visit.held):
            block.holders -= 1
            if block.holders == 0:
                self.queue.append(block)
        visit.held, visit.named = [], 0

    def lose(self, visit: Visit) -> None:
        """A preemption: its KV is gone."""
        self.free(visit)
        visit.computed = 0
        visit.emitted_here = visit.in_place = False
        visit.lost += 1


@dataclass(eq=False)
class Batch:
    """What a lane does on one rank in one step, in order of admission."""

    rank: Rank
    lane: int
    postponed: bool = False
    work: list[tuple[Visit, int, int, bool]] = field(default_factory=list)  # (visit, new tokens, computed before, decode)
    evicted: list[Visit] = field(default_factory=list)  # preempted while waiting
    preempted: list[Visit] = field(default_factory=list)  # from RUNNING

    def add(self, visit: Visit, new: int) -> None:
        self.work.append((visit, new, visit.computed, visit.decoding or visit.ended))

    @property
    def decodes(self) -> list[Visit]:
        return [visit for visit, _, _, decode in self.work if decode]

    @property
    def chunks(self) -> list[tuple[Visit, int, int]]:
        return [(visit, new, before) for visit, new, before, decode in self.work if not decode]

    @property
    def tokens(self) -> int:
        return sum(new for _, new, _, _ in self.work)

    @property
    def context(self) -> int:
        return sum(visit.known for visit in self.decodes)


@dataclass(eq=False)
class Lane:
    """One step in flight, or none."""

    index: int
    key: int  # its place among the step ends of one instant
    idle_since: float = -inf
    batches: list[Batch] | None = None  # None: idle


@dataclass(eq=False)
class Replica:
    """Ranks that step together, and what they did."""

    index: int
    number: int  # in its pool
    pool: int
    engine: rows.Engine
    cost: rows.StepCost
    ranks: list[Rank] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    entrance: float = -inf  # when it is free again
    front_free: float = 0.0
    since: int = 0  # steps since it last looked at what came in
    postponed: int = 0  # steps that prompts were postponed
    sums: Counter[str] = field(default_factory=Counter)
    peaks: Counter[str] = field(default_factory=Counter)

    def is_busy(self) -> bool:
        return any(lane.batches is not None for lane in self.lanes)

    @property
    def group(self) -> int:
        return self.number * self.engine.groups // self.engine.replicas

    def note_peaks(self, rank: Rank) -> None:
        now = {"peak_seqs": len(rank.running), "peak_blocks": self.engine.blocks - len(rank.queue)}
        self.peaks |= Counter(now)  # the larger of each


def visits_of(jobs: rows.Jobs) -> list[Visit]:
    """The visits of a job table, nothing done yet."""
    count = len(jobs.server)
    owners = [i for i in range(len(jobs.first) - 1) for _ in range(jobs.first[i], jobs.first[i + 1])]
    columns: dict[str, Iterable[object]] = {name: getattr(jobs, name).tolist() for name in COLUMNS}
    columns |= {name: getattr(jobs, name).tolist() or [default] * count for name, default in OPTIONAL.items()}
    columns |= {"index": range(count), "request": owners, "draw": jobs.draw.tolist() or [[0.0, 0.0]] * count}
    edges = list(zip(jobs.edge_to.tolist(), jobs.edge_on.tolist(), strict=True))
    columns["edges"] = (edges[jobs.edge_first[v] : jobs.edge_first[v + 1]] for v in range(count))
    names = jobs.hash_first.tolist() or [0] * (count + 1)
    columns["names"] = (jobs.hash_ids[names[v] : names[v + 1]].tolist() for v in range(count))
    state = dict.fromkeys(COUNTS, 0) | dict.fromkeys(FLAGS, False) | {"rank": None, "lane": -1}
    visits = [Visit(**dict(zip(columns, row, strict=True)), **state, held=[]) for row in zip(*columns.values(), strict=True)]
    for visit in visits:
        visit.in_place, visit.asks = bool(visit.handed), visit.prompt + visit.handed - visit.computed + visit.limit
    return visits


def replicas_of(servers: rows.Servers) -> list[Replica]:
    """The replicas of all pools, empty."""
    replicas: list[Replica] = []
    lanes = 0
    for pool, (engine, cost) in enumerate(zip(servers.engines, servers.costs, strict=True)):
        for number in range(engine.replicas):
            replica = Replica(len(replicas), number, pool, engine, cost)
            replica.ranks = [Rank(engine, replica, [Block() for _ in range(engine.blocks)]) for _ in range(engine.ranks)]
            replica.lanes = [Lane(i, lanes + i) for i in range(engine.lanes)]
            lanes += engine.lanes
            replicas.append(replica)
    return replicas
