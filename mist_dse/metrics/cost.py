"""What a design costs: everything provisioned, idle or not, and per million output tokens at the load offered."""

from collections.abc import Mapping

from mist_dse.perf.price import provenance as price_provenance, usd_per_hour, usd_per_hour_by_host
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import PriceBook

__all__ = ["cost", "price_provenance", "usd_per_hour_by_host", "usd_per_mtok"]


def cost(design: Design, prices: PriceBook, metrics: Mapping[str, float | None]) -> dict[str, float | None] | Infeasible:
    """``usd_per_hour``, ``usd_per_mtok`` and ``accelerators``; `Infeasible` where the book lacks a price.

    USD per million output tokens = USD/h / (3600 s/h x ``metrics["output_tokens_per_s"]``) x 1e6; None without tokens.
    """
    price = usd_per_hour(design, prices)
    if isinstance(price, Infeasible):
        return price
    return {
        "usd_per_hour": price,
        "usd_per_mtok": usd_per_mtok(price, metrics.get("output_tokens_per_s")),
        "accelerators": float(design.accelerators),
    }


def usd_per_mtok(usd_hour: float, tokens_per_s: float | None) -> float | None:
    """USD per million tokens of a system that costs ``usd_hour`` and makes ``tokens_per_s``.

    >>> usd_per_mtok(3.6, 1000.0)
    1.0
    """
    return usd_hour / 3600 / tokens_per_s * 1e6 if tokens_per_s else None
