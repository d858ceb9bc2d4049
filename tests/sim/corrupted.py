"""Rows with something wrong in them: a valid small case, and one to three of its fields replaced by what no sane table holds."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import Any

import numpy as np

from tests.strategies import ROLLS, Case, Dice, rolled

REALS = (np.nan, np.inf, -np.inf, -1.0, 0.0, -0.0, 5e-324, 2.0**-40, 2.0**30, 1e12, 1e18, 1e300, 1.7e308)
WHOLES = (-(2**63), -(10**12), -2, -1, 0, 1, 2, 3, 2**20, 2**31, 2**31 + 1, 2**40, 2**40 + 1, 10**12, 2**62, 2**63 - 1)
TYPES = ("float64", "float32", "int32", "int8", "uint64", "bool", "object", "str", "complex128")
SPARE = ("loads", "names", "input_tokens", "output_tokens", "max_tokens", "cached_tokens", "nominal_rate", "class_id", "seed",
         "hash_tokens")  # fmt: skip
"""What no simulator reads."""

Path = tuple[str | int, ...]


def corrupted(seed: object) -> tuple[Case, tuple[str, ...], bool]:
    """A case, what was done to it, and whether its times add up without rounding; the same for the same seed."""
    chance = Random(str(seed))
    exact = chance.random() < 0.5
    case = rolled(Dice(chance.randbytes(ROLLS)), exact, None)
    done: list[str] = []
    for _ in range(chance.choice((1, 1, 1, 1, 2, 2, 3))):
        with suppress(TypeError, ValueError, OverflowError):  # an earlier change has left a type that takes no such numbers
            case, said = _once_more(case, chance)
            done.append(said)
    return case, tuple(done), exact


def _once_more(case: Case, chance: Random) -> tuple[Case, str]:
    """One thing more is wrong, and what."""
    if chance.random() < 0.1:
        how = chance.choice(SHAPES)
        return how(case, chance), how.__name__.lstrip("_")
    path, value = _place(case, chance)
    wrong, said = _wrong(value, chance)
    return _replaced(case, path, wrong), f"{'.'.join(map(str, path))} {said}"


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every array and number of nested tuples, with the way there."""
    if isinstance(value, tuple):
        names = getattr(value, "_fields", range(len(value)))
        for name, part in zip(names, value, strict=True):
            if name not in SPARE:
                yield from _leaves(part, (*path, name))
    else:
        yield path, value


def _place(case: Case, chance: Random) -> tuple[Path, Any]:
    """One of the leaves, those of each table (engines, costs, jobs ...) as likely as those of any other."""
    leaves = list(_leaves(case))
    tables = sorted({path[:-1] for path, _ in leaves}, key=str)
    table = chance.choice(tables)
    return chance.choice([leaf for leaf in leaves if leaf[0][:-1] == table])


def _replaced(value: Any, path: Path, leaf: Any) -> Any:
    if not path:
        return leaf
    name, *rest = path
    if isinstance(name, str):
        return value._replace(**{name: _replaced(getattr(value, name), tuple(rest), leaf)})
    return tuple(_replaced(part, tuple(rest), leaf) if i == name else part for i, part in enumerate(value))


def _wrong(value: Any, chance: Random) -> tuple[Any, str]:
    """Something else in the place of ``value``."""
    if isinstance(value, np.ndarray):
        kind = chance.choice(ARRAYS)
        changed = kind(value.copy(), chance)
        return changed, f"{kind.__name__.lstrip('_')} {changed.dtype} {changed.tolist()}"[:200]
    if isinstance(value, (bool, np.bool_)):
        wrong: Any = chance.choice((not value, 2, None))
    elif isinstance(value, (int, np.integer)):
        wrong = chance.choice((*WHOLES, int(value) - 1, int(value) + 1, 1.5, np.nan, np.inf, "4", None))
    else:
        wrong = chance.choice((*REALS, "1.0", None))
    return wrong, f"= {wrong!r}"


def _value(column: Any, chance: Random) -> Any:
    if column.dtype.kind == "f":
        return chance.choice(REALS)
    limits = np.iinfo(column.dtype)
    wanted = chance.choice((*WHOLES, 127, -128, *(int(one) + chance.choice((-1, 1)) for one in column.flat[:3])))
    return min(max(wanted, limits.min), limits.max)


def _element(column: Any, chance: Random) -> Any:
    if column.size:
        column.flat[chance.randrange(column.size)] = _value(column, chance)
    return column


def _all(column: Any, chance: Random) -> Any:
    column[...] = _value(column, chance)
    return column


def _swapped(column: Any, chance: Random) -> Any:
    """Two values change places: unsorted, cyclic, somebody else's."""
    if column.size:
        i, j = chance.randrange(column.size), chance.randrange(column.size)
        column.flat[i], column.flat[j] = column.flat[j], column.flat[i]
    return column


def _index(column: Any, chance: Random) -> Any:
    """Any row of a small table in the place of a value: edges that go back, leases of oneself."""
    if column.size and column.dtype.kind == "i":
        column.flat[chance.randrange(column.size)] = chance.randrange(-1, 12)
    return column


def _shorter(column: Any, chance: Random) -> Any:
    return column[: chance.randrange(len(column))] if len(column) else column


def _longer(column: Any, chance: Random) -> Any:
    return np.concatenate([column, column[-1:]])


def _reversed(column: Any, chance: Random) -> Any:
    return column[::-1]


def _retyped(column: Any, chance: Random) -> Any:
    with np.errstate(all="ignore"):
        return column.astype(chance.choice(TYPES))


def _folded(column: Any, chance: Random) -> Any:
    return column[:, None] if chance.random() < 0.5 else column[None]


ARRAYS: tuple[Callable[[Any, Random], Any], ...] = (
    _element, _element, _element, _all, _swapped, _index, _index, _shorter, _longer, _reversed, _retyped, _folded,
)  # fmt: skip


def _no_requests(case: Case, chance: Random) -> Case:
    firsts = {name: np.zeros(1, np.int64) for name in ("first", "edge_first")}
    return Case(case.servers, case.jobs._replace(**_emptied(case.jobs) | firsts), case.requests._replace(**_emptied(case.requests)))


def _emptied(table: Any) -> dict[str, Any]:
    return {name: column[:0] for name, column in table._asdict().items() if isinstance(column, np.ndarray)}


def _no_visits(case: Case, chance: Random) -> Case:
    """A request without visits: those of its neighbour are longer by its own."""
    first = case.jobs.first.copy()
    if len(first) < 2:
        return case
    i = chance.randrange(len(first) - 1)
    first[i + 1 if i + 2 < len(first) else i] = first[i] if i + 2 < len(first) else first[i + 1]
    return case._replace(jobs=case.jobs._replace(first=first))


def _no_costs(case: Case, chance: Random) -> Case:
    return case._replace(servers=case.servers._replace(costs=case.servers.costs[:-1]))


def _no_servers(case: Case, chance: Random) -> Case:
    return case._replace(servers=case.servers._replace(**{chance.choice(("stations", "batchers", "engines")): ()}))


def _long_sequence(case: Case, chance: Random) -> Case:
    """One visit of enormous length, and room for it."""
    if not case.servers.engines:
        return case
    size = chance.choice((10**5, 10**7, 2**31, 2**40))
    engine = case.servers.engines[0]._replace(max_model_len=2**40, blocks=chance.choice((64, 2**40)))
    name = chance.choice(("prompt", "limit", "emit"))
    columns = {key: getattr(case.jobs, key).copy() for key in sorted({name, "limit"})}
    for column in columns.values():
        if len(column):
            column[chance.randrange(len(column))] = size
    servers = case.servers._replace(engines=(engine, *case.servers.engines[1:]))
    return case._replace(servers=servers, jobs=case.jobs._replace(**columns))


def _tight(case: Case, chance: Random) -> Case:
    """Memory, budget or length that hardly any sequence fits."""
    change: dict[str, Any] = chance.choice(({"blocks": chance.randrange(4)}, {"max_model_len": chance.randrange(8)}, {"watermark": 10**6},
                            {"max_num_batched_tokens": 1, "max_num_seqs": 1, "whole_prompts": True}))  # fmt: skip
    engines = tuple(engine._replace(**change) for engine in case.servers.engines)
    return case._replace(servers=case.servers._replace(engines=engines))


def _huge_times(case: Case, chance: Random) -> Case:
    """Every time of a kind is enormous, or next to nothing."""
    factor = chance.choice((2.0**-1000, 2.0**-40, 2.0**25, 2.0**330, 2.0**1000))
    if chance.random() < 0.5:
        return case._replace(requests=case.requests._replace(arrival=case.requests.arrival * factor, think=case.requests.think * factor))
    names = ("token_time", "sequence_time", "decode_attention", "decode_step", "quad", "window_quad", "read", "prefill_overhead")
    costs = tuple(cost._replace(**{name: getattr(cost, name) * factor for name in names}) for cost in case.servers.costs)
    return case._replace(servers=case.servers._replace(costs=costs))


SHAPES: tuple[Callable[[Case, Random], Case], ...] = (
    _no_requests, _no_visits, _no_costs, _no_servers, _long_sequence, _long_sequence, _tight, _tight, _huge_times,
)  # fmt: skip
