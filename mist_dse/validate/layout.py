"""Parallel layouts of measured rows: what really ran, from columns that mean different things in different origins.

Rules, found by matching rows with the recipes that produced them. In the InferenceX dumps ``tp`` of a mixture is tp x ep where
ep > 1 (64 with ep 8 is 8 devices); ``tp t, dp t, ep t x t`` of vLLM is t devices without attention data parallelism; ``tp 1,
dp n`` is attention data parallelism over n devices. The normalised columns (gpus, moe_ep, attention_dp_on and those of the
workers) win where they are filled. A worker's width is all its devices: tensor parallel, or attention data parallel.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

NODE = 8
"""Devices that one NVLink baseboard joins; wider mixtures of aggregated rows are products or whole deployments."""

WIDEST = 16
"""The widest engine that aggregated rows were really run with."""


PRODUCTS = ("0406", "db")
"""Origins (the dumps' dates) where ``tp`` of a mixture is always tp x ep."""


class Layout(NamedTuple):
    """``replicas`` engines of tp x pp x dp devices; ``slots`` sequences at once in one engine (0 = not recorded)."""

    replicas: int
    tp: int
    pp: int
    dp: int
    ep: int
    slots: int = 0

    @property
    def devices(self) -> int:
        """Devices of all replicas."""
        return self.replicas * self.tp * self.pp * self.dp


def number(row: Mapping[str, Any], column: str, default: float = math.nan) -> float:
    """A column as a number, ``default`` where it is absent or empty."""
    value = row.get(column)
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, int | float):
        return default
    return default if value != value else float(value)


def truth(row: Mapping[str, Any], column: str) -> bool | None:
    """A column as a truth value, None where it is absent or empty."""
    value = row.get(column)
    if isinstance(value, str):
        folded = value.strip().casefold()
        return None if folded in ("", "nan", "none") else folded in ("true", "1", "yes", "1.0")
    if value is None or value != value:
        return None
    return bool(value)


def aggregated(row: Mapping[str, Any], *, mixture: bool) -> Layout | str:
    """The layout of a row whose engines prefill and decode, or why none can be told."""
    said, devices = number(row, "tp", 1.0), number(row, "n_gpus")
    if said < 1:
        return f"tp is {said:g}: must be at least 1"
    if math.isnan(number(row, "gpus")) and devices >= 1 and devices % said and said % devices:
        return f"tp is {said:g} and n_gpus is {devices:g}: neither divides the other"
    tp, pp, ep = (max(int(number(row, name, 1.0)), 1) for name in ("tp", "pp", "ep"))
    dp = max(int(number(row, "attention_dp", 1.0)), 1)
    with_dp = truth(row, "attention_dp_on")
    gpus = _devices(row, tp=tp, dp=dp, ep=ep) / pp
    if gpus != int(gpus) or gpus < 1:
        return f"{gpus * pp:g} devices cannot hold {pp} pipeline stages"
    width = int(gpus)
    experts = int(number(row, "moe_ep", 0.0)) or (ep if ep <= width else math.gcd(ep, width))
    experts = max(experts, 1) if mixture else 1
    if width > WIDEST:
        return f"an aggregated engine of {width} devices: a whole deployment whose layout was not recorded"
    if with_dp is None:
        with_dp = dp > 1 and not _square(tp=tp, dp=dp, ep=ep)
    if with_dp:
        return Layout(replicas=1, tp=1, pp=pp, dp=width, ep=_divisor(experts, width))
    engine = tp if tp <= width and width % tp == 0 and math.isnan(number(row, "gpus")) else width
    return Layout(replicas=width // engine, tp=engine, pp=pp, dp=1, ep=_divisor(experts, engine))


def worker(row: Mapping[str, Any], side: str, *, mixture: bool) -> Layout | str:
    """The layout of the ``side`` (prefill or decode) of a disaggregated row, or why none can be told."""
    workers, gpus = number(row, f"{side}_workers"), number(row, f"{side}_worker_gpus")
    prefix = side[0]
    if math.isnan(gpus):
        gpus = number(row, f"{prefix}_tp") * number(row, f"{prefix}_dp", 1.0)
    if math.isnan(workers):
        workers = number(row, f"{prefix}_workers")
    if math.isnan(workers) or math.isnan(gpus) or workers < 1 or gpus < 1:
        return (
            f"disaggregated, and the number or the width of its {side} workers was not recorded: give {side}_workers and {side}_worker_gpus"
        )
    width, dp = int(gpus), truth(row, f"{side}_attention_dp_on")
    if dp is None:
        dp = number(row, f"{prefix}_dp", 1.0) > 1
    ep = max(int(number(row, f"{side}_ep", 1.0)), 1) if mixture else 1
    slots = max(int(number(row, f"{side}_slots_per_worker", 0.0)), 0)
    if dp:
        return Layout(replicas=int(workers), tp=1, pp=1, dp=width, ep=_divisor(ep, width), slots=slots)
    return Layout(replicas=int(workers), tp=width, pp=1, dp=1, ep=_divisor(ep, width), slots=slots)


def _devices(row: Mapping[str, Any], *, tp: int, dp: int, ep: int) -> float:
    """Devices of all engines: as normalised, as counted, else by the rules of the dumps."""
    gpus = number(row, "gpus")
    if math.isnan(gpus):
        gpus = number(row, "n_gpus")
        if gpus == tp and 1 < ep < tp and tp % ep == 0 and row.get("origin") in PRODUCTS:
            return tp / ep
    if math.isnan(gpus):
        if _square(tp=tp, dp=dp, ep=ep):
            return tp
        return tp * dp / ep if 1 < ep < tp * dp and tp * dp % ep == 0 else float(tp * dp)
    return gpus / ep if gpus > NODE and 1 < ep < gpus and gpus % ep == 0 and gpus == tp else gpus


def _square(*, tp: int, dp: int, ep: int) -> bool:
    """Whether ``tp t, dp t, ep t x t`` stands for t devices: no attention data parallelism at all."""
    return tp == dp > 1 and ep == tp * dp


def _divisor(wanted: int, width: int) -> int:
    return math.gcd(wanted, width)
