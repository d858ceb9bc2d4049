"""Which blocks of a prompt are found in which cache, exactly and for every capacity at once, from the names of the blocks alone.

Requests are served in the order of the table. A request is looked up as a whole against the caches as the requests before it left them;
then its blocks are touched from the last to the first, so that a prompt's head stays longest and the least recently used block is
never the head of one that is kept: blocks found are the leading ones. The *stack distance* of a reference is the number of
different blocks touched since its block was; an LRU cache of C blocks finds exactly those below C (Mattson et al., Evaluation
techniques for storage hierarchies, IBM Systems Journal 9(2), 1970). In an exclusive cascade, where each tier takes what the one before
lets go and gives back what is asked for, tier t holds the distances from the capacity of all before it to that with its own.

With touches in order of time, p the touch before a reference and s the first touch of its request, the distance is s - p - 1 less
the touches before s whose own touch before is after p: a count of pairs in two dimensions, taken one bit at a time.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mist_dse.requests.table import TraceError
from mist_dse.rows import Floats, Ints, Requests
from mist_dse.specs._check import SpecError

NEVER = int(np.iinfo(np.int64).max)
"""Distance of a reference whose block no request before had."""

UNBOUNDED = 2**62
"""Capacity of a tier that keeps everything: more than any distance but `NEVER`."""


def tier_hits(
    requests: Requests, capacities: Sequence[Ints | int], instances: int, assignment: Ints, *, sharers: Sequence[int] = ()
) -> Ints:
    """Leading blocks of each prompt found in each tier [n, tiers]; request i is served by instance ``assignment[i]``.

    ``capacities`` of the tiers in blocks, nearest first: one for all instances or one for each. ``sharers``: how many neighbouring
    instances (0 to k - 1, k to 2k - 1, ...) have one such tier together, ascending; each its own where left out. Tiers of equally many
    sharers are one cascade. Where there are more, the cascade sees all requests of its sharers, found nearer or not (what the nearer ones
    hold is written through to it), and a block found twice counts where it is nearest. More sharers than instances: all of them.
    Requests without names find nothing.
    """
    where = np.full(len(requests.hash_ids), len(capacities))
    for view in _views(requests, capacities, instances, assignment, sharers):
        counts = np.diff(requests.hash_first)
        tier = cascade(view.distances, [np.repeat(size, counts) for size in view.sizes])
        where = np.where((where == len(capacities)) & (tier < len(view.sizes)), view.first + tier, where)
    if not len(requests.hash_ids):
        return np.zeros((len(requests.arrival), len(capacities)), np.int64)
    prompt = -(-requests.input_tokens // requests.hash_tokens)
    return leading(requests.hash_first, where, tiers=len(capacities), most=prompt)


def tier_writes(
    requests: Requests, capacities: Sequence[Ints | int], instances: int, assignment: Ints, *, sharers: Sequence[int] = ()
) -> Ints:
    """Blocks that each request writes into each tier [n, tiers], with the tiers of `tier_hits`.

    Into the first tier of a cascade go the request's blocks that are not there, those found further away too; into each other tier what
    those before it let go: as many as came up past its nearer end, less those that there was still room for.
    """
    writes = np.zeros((len(requests.arrival), len(capacities)), np.int64)
    for view in _views(requests, capacities, instances, assignment, sharers):
        request = np.repeat(np.arange(len(writes)), np.diff(requests.hash_first))
        new = np.bincount(request[view.distances == NEVER], minlength=len(writes))
        for place, bound in enumerate(_bounds(view.sizes)):
            came = np.bincount(request[view.distances >= bound[request]], minlength=len(writes))
            if place == 0:
                writes[:, view.first] = came
            if place + 1 < len(view.sizes):
                writes[:, view.first + place + 1] = came - _growth(new, view.group, bound)
    return writes


def hit_tokens(hits: Ints, input_tokens: Ints, hash_tokens: int) -> Ints:
    """Prompt tokens behind the leading blocks ``hits`` [n, tiers] of each tier: the last block of a prompt may be part empty.

    >>> hit_tokens(np.array([[1, 2]]), np.array([1300]), 512).tolist()
    [[512, 788]]
    """
    reached = np.minimum(np.cumsum(hits, axis=1) * hash_tokens, input_tokens[:, None])
    return np.diff(reached, axis=1, prepend=0)


def stack_distances(hash_first: Ints, hash_ids: Ints, assignment: Ints | None = None, *, head_first: bool = False) -> Ints:
    """Different blocks touched on the same instance since each reference's block was, `NEVER` where it was not.

    ``assignment``: the instance of each request; None: one for all. ``head_first``: blocks are touched from the first to the last,
    each as it is looked up, as an ordinary LRU does; it may then hold a block without the one before it.

    >>> stack_distances(np.array([0, 2, 3, 5]), np.array([1, 2, 5, 1, 2])).tolist()[3:]  # touched before: 2, 1, 5
    [1, 2]
    """
    touches = _touches(hash_first, hash_ids, assignment, head_first)
    start = np.arange(len(hash_ids)) if head_first else touches.start
    again = np.flatnonzero(touches.before >= 0)
    again = again[np.lexsort((touches.before[again], start[again]))]  # touches of one request do not count for each other
    before = touches.before[again]
    distances = np.full(len(hash_ids), NEVER)
    distances[touches.reference[again]] = start[again] - before - 1 - _greater_before(_ranks(before))
    return distances


def reuse_gaps(hash_first: Ints, hash_ids: Ints, arrival: Floats, assignment: Ints | None = None) -> Floats:
    """Seconds between a reference and the touch before of its block on the same instance, inf where there is none.

    A cache that keeps a block for some time after its last touch (a time to live) finds those whose gap is at most that.

    >>> reuse_gaps(np.array([0, 1, 3]), np.array([7, 7, 8]), np.array([0.0, 60.0])).tolist()
    [inf, 60.0, inf]
    """
    touches = _touches(hash_first, hash_ids, assignment, False)
    times = np.asarray(arrival)[touches.request]
    gaps = np.full(len(hash_ids), np.inf)
    gaps[touches.reference] = np.where(touches.before >= 0, times - times[touches.before], np.inf)
    return gaps


def cascade(distances: Ints, capacities: Sequence[Ints | int]) -> Ints:
    """The tier of an exclusive LRU cascade that each reference is found in, as many as there are tiers where in none.

    ``capacities`` in blocks, each for all references or one for each of them.

    >>> cascade(np.array([0, 4, 5, 9, NEVER]), [5, 4]).tolist()
    [0, 0, 1, 2, 2]
    """
    return sum((np.asarray(distances >= bound, np.int64) for bound in _bounds(capacities)), np.zeros(len(distances), np.int64))


def leading(hash_first: Ints, where: Ints, *, tiers: int, most: Ints | None = None) -> Ints:
    """Leading references of each request [n, tiers] by the tier ``where`` each is found; the first in none (``tiers``) ends them.

    ``most``: how many of each request may count.

    >>> leading(np.array([0, 4, 5]), np.array([0, 1, 2, 0, 1]), tiers=2).tolist()
    [[1, 1], [0, 1]]
    """
    counts = np.diff(hash_first)
    missing = np.append(np.flatnonzero(where == tiers), len(where))
    until = missing[np.searchsorted(missing, hash_first[:-1])] - hash_first[:-1]
    reach = np.minimum(until, counts if most is None else np.minimum(counts, most))
    place = np.arange(len(where)) - np.repeat(hash_first[:-1], counts)
    request = np.repeat(np.arange(len(counts)), counts)
    counted = place < reach[request]
    cells = np.bincount(request[counted] * tiers + where[counted], minlength=len(counts) * tiers)
    return cells.reshape(len(counts), tiers).astype(np.int64)


def round_robin(count: int, instances: int) -> Ints:
    """Requests dealt in turn.

    >>> round_robin(5, 2).tolist()
    [0, 1, 0, 1, 0]
    """
    return np.arange(count) % instances


def by_session(hash_first: Ints, hash_ids: Ints, instances: int) -> Ints:
    """Requests by the hash of their second block: the first is a system prompt that conversations share, the second their own.

    Multiplicative hash, (name x 2654435761 mod 2^32) mod instances (Knuth, The Art of Computer Programming 3, section 6.4). A request of
    one block goes by that, one without names in turn.

    >>> by_session(np.array([0, 2, 4]), np.array([0, 6, 0, 6]), 8).tolist()
    [6, 6]
    """
    counts = np.diff(hash_first)
    turn = round_robin(len(counts), instances)
    if not len(hash_ids):
        return turn
    second = np.minimum(hash_first[:-1] + np.minimum(1, np.maximum(counts - 1, 0)), len(hash_ids) - 1)
    hashed = (hash_ids[second].astype(np.uint64) * np.uint64(2654435761)) % np.uint64(2**32) % np.uint64(instances)
    return np.where(counts > 0, hashed.astype(np.int64), turn)


def longest_prefix(hash_first: Ints, hash_ids: Ints, instances: int, *, capacity: int, guard: float = 1.1, slack: float = 8.0) -> Ints:
    """Each request where the most of its leading blocks are, of LRU caches of ``capacity`` blocks; ties go to the least loaded.

    An instance that was given more than ``guard`` times the mean number of requests and ``slack`` more is passed over. Without it
    a block that all prompts begin with draws all of them to one instance (guard inf).
    """
    if not (instances >= 1 and guard >= 1 and slack >= 0):
        raise SpecError(f"longest prefix over {instances} instances, guard {guard:g}, slack {slack:g}: must be >= 1, >= 1 and >= 0")
    caches: list[OrderedDict[int, None]] = [OrderedDict() for _ in range(instances)]
    holders: dict[int, int] = {}  # bit r: instance r has the block
    given = [0] * instances
    names = hash_ids.tolist()
    assignment = np.zeros(len(hash_first) - 1, np.int64)
    for request, (first, end) in enumerate(zip(hash_first[:-1].tolist(), hash_first[1:].tolist(), strict=True)):
        most = guard * request / instances + slack if request else slack
        best = _longest(names[first:end], holders, sum(1 << r for r in range(instances) if given[r] <= most))
        chosen = min((r for r in range(instances) if best >> r & 1), key=given.__getitem__)
        assignment[request] = chosen
        given[chosen] += 1
        _touch(caches[chosen], holders, names[first:end][::-1], (chosen, capacity))
    return assignment


class _Touches(NamedTuple):
    """All references in order of touch, instance after instance."""

    reference: Ints  # index of the reference
    request: Ints
    start: Ints  # first touch of its request
    before: Ints  # the touch of its block before, on the same instance; -1 if none


def _touches(hash_first: Ints, hash_ids: Ints, assignment: Ints | None, head_first: bool) -> _Touches:
    counts = np.diff(hash_first)
    order = np.arange(len(counts)) if assignment is None else np.argsort(assignment, kind="stable")
    sizes = counts[order]
    ends = np.cumsum(sizes)
    time, request, start = np.arange(len(hash_ids)), np.repeat(order, sizes), np.repeat(ends - sizes, sizes)
    place = time - start if head_first else np.repeat(ends, sizes) - 1 - time
    reference = hash_first[request] + place
    names = hash_ids[reference]
    by_name = np.argsort(names, kind="stable")
    earlier, later = by_name[:-1], by_name[1:]
    same = names[earlier] == names[later]
    _check_names(same & (earlier >= start[later]), request[later], names[later])
    if assignment is not None:
        same &= assignment[request[earlier]] == assignment[request[later]]
    before = np.full(len(hash_ids), -1)
    before[later[same]] = earlier[same]
    return _Touches(reference, request, start, before)


def _ranks(values: Ints) -> Ints:
    """0 for the least of different values, 1 for the next, ..."""
    ranks = np.empty(len(values), np.int64)
    ranks[np.argsort(values)] = np.arange(len(values))
    return ranks


def _greater_before(ranks: Ints) -> Ints:
    """How many greater ones stand before each of a permutation of 0..m - 1.

    Ranks are split by their bits, highest first, in their order: those that agree in the bits so far stand together, and as each rank is
    there once, from the place that those bits name. At each bit, those that have it not count the ones before them that have it.

    >>> _greater_before(np.array([2, 0, 3, 1])).tolist()
    [0, 1, 0, 2]
    """
    greater = np.zeros(len(ranks), np.int64)  # by rank
    standing, places = ranks, np.arange(len(ranks))
    for bit in reversed(range(len(ranks).bit_length())):
        having = standing >> bit & 1
        group = standing >> (bit + 1) << (bit + 1)  # its first place, and its least rank
        passed = np.cumsum(having) - having
        ahead = passed - passed[group]  # in its group
        greater[standing] += np.where(having == 0, ahead, 0)
        settled = np.empty_like(standing)
        settled[np.where(having == 1, group + (1 << bit) + ahead, places - ahead)] = standing
        standing = settled
    return greater[ranks]


def _longest(names: list[int], holders: dict[int, int], able: int) -> int:
    """Those of the instances ``able`` (bits) that hold the longest run of leading blocks."""
    for name in names:
        having = able & holders.get(name, 0)
        if not having:
            break
        able = having
    return able


def _touch(cache: "OrderedDict[int, None]", holders: dict[int, int], names: list[int], whose: tuple[int, int]) -> None:
    """Touch ``names`` in the cache of (instance, capacity), and let the oldest go."""
    instance, capacity = whose
    for name in names:
        cache[name] = None
        cache.move_to_end(name)
        holders[name] = holders.get(name, 0) | 1 << instance
    while len(cache) > capacity:
        name, _ = cache.popitem(last=False)
        holders[name] &= ~(1 << instance)


class _View(NamedTuple):
    """One cascade: its first tier, and what the instances that share it see of the requests."""

    first: int
    group: Ints  # [n] which of the equal cascades serves a request
    sizes: list[Ints]  # per tier [n]
    distances: Ints


def _views(
    requests: Requests, capacities: Sequence[Ints | int], instances: int, assignment: Ints, sharers: Sequence[int]
) -> Iterator[_View]:
    _check_routes(len(requests.arrival), instances, assignment)
    scopes = _scopes(sharers, len(capacities))
    for sharing in dict.fromkeys(scopes if len(requests.hash_ids) else ()):
        mine = [tier for tier, each in enumerate(scopes) if each == sharing]
        group = assignment // sharing
        sizes = [_per_request(capacities[tier], assignment, instances, sharing) for tier in mine]
        yield _View(mine[0], group, sizes, _kept_distances(requests.hash_first, requests.hash_ids, group))


_MOST_KEPT = 8
_kept: "OrderedDict[bytes, Ints]" = OrderedDict()


def _kept_distances(hash_first: Ints, hash_ids: Ints, assignment: Ints) -> Ints:
    """`stack_distances`, those asked for last kept: no capacity changes them, so the designs of a search ask for few and often."""
    digest = hashlib.blake2b()
    for column in (hash_first, hash_ids, assignment):
        digest.update(np.ascontiguousarray(column, np.int64).tobytes())
        digest.update(b"|")
    key = digest.digest()
    if key not in _kept:
        _kept[key] = stack_distances(hash_first, hash_ids, assignment)
        _kept[key].setflags(write=False)
    _kept.move_to_end(key)
    found = _kept[key]
    while len(_kept) > _MOST_KEPT:
        _kept.popitem(last=False)
    return found


def _bounds(capacities: Sequence[Ints | int]) -> Iterator[Ints]:
    """Blocks that the tiers up to each hold together."""
    bound = np.zeros(1, np.int64)
    for capacity in capacities:
        bound = np.minimum(bound + np.minimum(capacity, UNBOUNDED), UNBOUNDED)
        yield bound


def _growth(new: Ints, group: Ints, bound: Ints) -> Ints:
    """Blocks that each request adds to the first ``bound`` of its group's, ``new`` of them seen for the first time."""
    order = np.argsort(group, kind="stable")
    total = np.cumsum(new[order])
    start = np.searchsorted(group[order], group[order])  # of the group
    seen = np.empty_like(new)
    seen[order] = total - total[start] + new[order][start]
    return np.asarray(np.minimum(seen, bound) - np.minimum(seen - new, bound))


def _scopes(sharers: Sequence[int], tiers: int) -> list[int]:
    scopes = list(sharers) or [1] * tiers
    if len(scopes) != tiers:
        raise SpecError(f"sharers names {len(scopes)} tiers and capacities {tiers}: give one number for each tier")
    if scopes != sorted(scopes) or min(scopes, default=1) < 1:
        raise SpecError(f"sharers are {scopes}: must be >= 1 and ascend from the nearest tier")
    return scopes


def _per_request(capacity: Ints | int, assignment: Ints, instances: int, sharing: int) -> Ints:
    """Blocks of the tier that each request sees; those who share a tier name the same capacity."""
    sizes = np.broadcast_to(np.asarray(capacity, np.int64), instances)
    first = sizes[np.arange(instances) // sharing * sharing]
    if (sizes < 0).any() or (sizes != first).any():
        raise SpecError(f"capacities are {sizes.tolist()} blocks: must be >= 0, and the same for instances that share a tier")
    return sizes[assignment]


def _check_routes(count: int, instances: int, assignment: Ints) -> None:
    if len(assignment) != count or (count and not (assignment.min() >= 0 and assignment.max() < instances)):
        raise SpecError(f"assignment must name one of {instances} instances, from 0, for each of {count} requests")


def _check_names(twice: NDArray[np.bool_], request: Ints, names: Ints) -> None:
    if twice.any():
        row = int(np.argmax(twice))
        text = f"request {request[row]} (from 0) names block {names[row]} twice"
        raise TraceError(f"{text}: equal hash_ids mean equal content from the first token on, so a prompt has each name once")
