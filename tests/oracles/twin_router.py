"""Where the twin places visits (`docs/semantics.md`, Routers)."""

from collections import Counter
from collections.abc import Sequence

from mist_dse import rows
from tests.oracles.twin_state import Rank, Replica, Visit


class Routers:
    """The routers of all pools."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self.replicas = replicas
        self.turns: Counter[tuple[int, int]] = Counter()  # round robin, by pool and group (-1: all of the pool)
        self.last: dict[tuple[int, int], Rank] = {}  # by pool and session

    def place(self, visit: Visit, beside: Rank | None) -> Rank:
        """The rank for a visit, which may have to be ``beside`` another."""
        group = beside.replica.group if beside else -1
        pool = [replica for replica in self.replicas if replica.pool == visit.server]
        ranks = [rank for replica in pool for rank in replica.ranks if group in (-1, replica.group)]
        rank = beside if beside and beside.replica.pool == visit.server else self.choice(visit, ranks, group)
        if visit.session >= 0:
            self.last[visit.server, visit.session] = rank
        rank.placed.append(visit)
        visit.rank = rank
        return rank

    def choice(self, visit: Visit, ranks: list[Rank], group: int) -> Rank:
        engine, n = ranks[0].engine, len(ranks)
        match engine.router:
            case rows.ROUND_ROBIN:
                self.turns[visit.server, group] += 1
                return ranks[(self.turns[visit.server, group] - 1) % n]
            case rows.RANDOM:
                return ranks[int(visit.draw[0] * n)]
            case rows.POWER_OF_TWO:
                a, b = int(visit.draw[0] * n), int(visit.draw[1] * (n - 1))
                b += b >= a
                return ranks[b] if n > 1 and load(ranks[b]) < load(ranks[a]) else ranks[a]
            case rows.LEAST_TOKENS:
                return min(ranks, key=lambda rank: sum(other.asks for other in rank.placed))
            case rows.LEAST_KV:
                return min(ranks, key=lambda rank: (-len(rank.queue), load(rank)))
            case rows.HEAVY_LIGHT:
                heavy = visit.prompt > engine.heavy_tokens
                ranks = (ranks[: engine.heavy_ranks] if heavy else ranks[engine.heavy_ranks :]) or ranks
            case rows.PREFIX_AFFINITY:
                most = engine.guard * (sum(map(load, ranks)) / n) + engine.slack
                return min((rank for rank in ranks if load(rank) <= most), key=lambda rank: (-len(rank.found(visit)), load(rank)))
            case rows.SESSION_AFFINITY:
                last = self.last.get((visit.server, visit.session))
                if last is not None and last in ranks:
                    return last
        return min(ranks, key=load)  # the first of the least


def load(rank: Rank) -> int:
    return len(rank.placed)
