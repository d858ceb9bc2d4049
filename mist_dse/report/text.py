"""How values, axes and designs are put into words: ``"1.23 s"``, ``"$0.42/Mtok"``, ``"prefill 2 x h100_sxm tp4 + decode 4 x l40s tp4"``."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from mist_dse.metrics import METRICS
from mist_dse.units import format_quantity

ABSENT = "–"
"""What a value that is undefined is shown as."""

SCALED_UNITS = ("s", "B", "B/s", "W", "J", "FLOP/s", "Hz")
"""Units that take a decimal prefix; others are written as they are."""

DEGREES = ("tp", "pp", "dp", "ep", "cp")


def unit_of(metric: str) -> str:
    """The unit of a metric, empty for an unknown name and for plain numbers."""
    unit = METRICS[metric].unit if metric in METRICS else ""
    return "" if unit == "1" else unit


def number_text(value: float) -> str:
    """Three significant digits, or a whole number with thousands separated.

    >>> number_text(0.41678), number_text(12345.6), number_text(2.0), number_text(0.00002)
    ('0.417', '12,346', '2', '2e-05')
    """
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"


def value_text(value: Any, unit: str = "") -> str:
    """A value with its unit for people; `ABSENT` where it is None or not finite, text as it is.

    >>> value_text(1.234, "s"), value_text(0.0123, "s"), value_text(0.4189, "USD/Mtok"), value_text(None, "s"), value_text(8.0)
    ('1.23 s', '12.3 ms', '$0.419/Mtok', '–', '8')
    """
    number = plain(value)
    if number is None:
        return ABSENT
    if isinstance(number, bool | str):
        return str(number)
    if unit.startswith(("USD", "$")):
        return f"${number_text(number)}{unit.removeprefix('USD').removeprefix('$')}"
    if unit in SCALED_UNITS:
        return format_quantity(number, unit)
    return f"{number_text(number)} {unit}".rstrip()


def metric_text(name: str, value: Any) -> str:
    """A metric's value with the unit that METRICS gives it."""
    return value_text(value, unit_of(name))


def quantity_unit(quantity: str) -> str:
    """The unit that a pool's quantity says by its name: seconds, a share shown in percent, or none.

    >>> quantity_unit("step_seconds"), quantity_unit("kv_occupancy"), quantity_unit("peak_seqs")
    ('s', '%', '')
    """
    words = quantity.replace(" ", "_").split("_")
    if words[-1] in ("s", "seconds"):
        return "s"
    return "%" if words[-1] in ("utilisation", "occupancy", "share", "kv") or words[0] == "demand" else ""


def axis_title(metric: str) -> str:
    """The name of a metric with its unit, for an axis or a column."""
    unit = unit_of(metric)
    return f"{metric} ({unit})" if unit else metric


def short_name(variable: str) -> str:
    """A variable without the word that all share: ``pools.prefill.tp`` is ``prefill tp``.

    >>> short_name("pools.prefill.tp"), short_name("pools.*.replicas"), short_name("services.cache.tiers.dram.capacity")
    ('prefill tp', 'replicas', 'cache dram capacity')
    """
    whole = variable.removeprefix("services.").replace(".tiers.", ".") if variable.startswith("services.") else variable
    parts = [part for part in whole.removeprefix("pools.").split(".") if part != "*"]
    return " ".join(parts)


def design_label(design: Mapping[str, Any], variables: Iterable[str] | None = None) -> str:
    """One line for a design from its variables, inactive (None, NaN) ones left out; the design's id where nothing is left.

    >>> design_label({"pools.prefill.replicas": 2, "pools.prefill.accelerator": "h100_sxm", "pools.prefill.tp": 4,
    ...               "pools.decode.replicas": 4, "pools.decode.accelerator": "l40s", "pools.decode.tp": 4})
    'prefill 2 x h100_sxm tp4 + decode 4 x l40s tp4'
    """
    chosen = {name: plain(design.get(name)) for name in (design if variables is None else variables)}
    pools: dict[str, dict[str, Any]] = {}
    services: dict[str, dict[str, Any]] = {}
    for name, value in chosen.items():
        part = name.split(".", 2)
        if len(part) == 3 and part[0] in ("pools", "services") and value is not None:
            (pools if part[0] == "pools" else services).setdefault(part[1], {})[part[2]] = value
    alone = chosen.get("placement") == "colocated" and len(pools) == 1
    texts = [_pool_text("colocated" if alone else name, fields) for name, fields in pools.items()]
    text = " + ".join([*texts, *(_service_text(name, fields) for name, fields in services.items())])
    return text or _plain_text(chosen) or str(design.get("design_id", ABSENT))


def plain(value: Any) -> Any:
    """A value out of a table as Python data: NaN and NaT are None, whole floats are ints, NumPy scalars their item."""
    value = value.item() if hasattr(value, "item") and not hasattr(value, "__len__") else value
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    return value if isinstance(value, str | int | bool) or value is None else _other(value)


def _other(value: Any) -> Any:
    return None if str(value) in ("<NA>", "NaT") else str(value)


def _pool_text(name: str, fields: Mapping[str, Any]) -> str:
    replicas, device = fields.get("replicas"), fields.get("accelerator")
    count = f"{replicas} x" if replicas is not None else ""
    degrees = [f"{key}{value}" for key in DEGREES if (value := _field(fields, key)) is not None and (value != 1 or key == "tp")]
    rest = [_tail(key, value) for key, value in fields.items() if key.rsplit(".", 1)[-1] not in ("replicas", "accelerator", *DEGREES)]
    return " ".join(str(word) for word in (name, count, device or "", *degrees, *rest) if word)


def _service_text(name: str, fields: Mapping[str, Any]) -> str:
    """What varies in a service, tier by tier.

    >>> _service_text("cache", {"tiers.dram.capacity": "4 GB", "tiers.far.scope": "node", "tiers.far.capacity": "1 TB"})
    'cache dram 4 GB, far node 1 TB'
    """
    parts: dict[str, list[str]] = {}
    for key, value in fields.items():
        tier, _, last = key.removeprefix("tiers.").rpartition(".")
        parts.setdefault(tier, []).append(str(value) if last in SPEAKING else f"{last} {value}")
    return f"{name} " + ", ".join(" ".join([tier, *words]).strip() for tier, words in parts.items())


def _field(fields: Mapping[str, Any], key: str) -> Any:
    return next((value for name, value in fields.items() if name.rsplit(".", 1)[-1] == key), None)


SHORT_KEYS = {
    "max_num_seqs": "seqs",
    "max_num_batched_tokens": "tokens",
    "compute": "",
    "weight": "w",
    "kv": "kv",
    "policy": "",
    "engine": "",
    "model": "",
    "dtype": "",
    "router": "",
}
"""Words that stand for a field in a label; an empty one leaves the value to speak for itself."""

SPEAKING = ("tier", "capacity", "scope", "accelerator", "host", "index")
"""Fields of services whose values speak for themselves."""


def _tail(key: str, value: Any) -> str:
    last = key.rsplit(".", 1)[-1]
    return f"{SHORT_KEYS.get(last, last)} {value}".strip()


def _plain_text(chosen: Mapping[str, Any]) -> str:
    return ", ".join(f"{short_name(name)} {value}" for name, value in chosen.items() if value is not None)
