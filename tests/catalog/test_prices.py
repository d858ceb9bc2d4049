"""Price books: one coherent default, and conflicting sources kept apart."""

import statistics

import pytest

from mist_dse.catalog import Catalog

CATALOG = Catalog()
BOOKS = {name: CATALOG.prices(name) for name in CATALOG.names("price")}
SPREADS = ("default", "low", "high")
LISTED = {name: book for name, book in BOOKS.items() if name not in SPREADS}
UNPRICED = {"a100_pcie_40gb", "a30", "h20", "mi250", "gaudi3", "intel_b60", "trainium2", "groq_lpu_v1", "groq_3_lpx", "wse_3", "rago_xpu_a",
            "rago_xpu_b", "rago_xpu_c"}  # fmt: skip
"""Accelerators for which no price was found."""


def test_conflicting_prices_of_one_study_stay_in_two_books() -> None:
    assert BOOKS["mist_table_a"].usd_per_hour("mi355x") == 9.5
    assert BOOKS["mist_table_b"].usd_per_hour("mi355x") == 2.95


@pytest.mark.parametrize("name", BOOKS)
def test_a_book_prices_each_item_once(name: str) -> None:
    items = [price.item for price in BOOKS[name].prices]
    assert len(items) == len(set(items)) > 0


@pytest.mark.parametrize("name", LISTED)
def test_a_listed_book_has_one_month(name: str) -> None:
    dates = sorted({price.date for price in BOOKS[name].prices})
    assert BOOKS[name].date == " to ".join(dates)
    assert len({date[:7] for date in dates}) == 1


@pytest.mark.parametrize("name", BOOKS)
def test_every_price_has_a_source_and_is_positive(name: str) -> None:
    for price in BOOKS[name].prices:
        assert price.source
        assert price.provider
        assert price.date
        assert price.usd_per_hour > 0


@pytest.mark.parametrize("name", SPREADS)
def test_default_covers_every_accelerator_that_has_any_price_and_processors(name: str) -> None:
    assert {price.item for price in BOOKS[name].prices} == set(CATALOG.names("accelerator")) - UNPRICED | {"vcpu"}


def test_low_and_high_span_all_listed_books() -> None:
    for item in (price.item for price in BOOKS["default"].prices):
        listed = [usd for book in LISTED.values() if (usd := book.usd_per_hour(item)) is not None]
        low, default, high = (BOOKS[name].usd_per_hour(item) for name in ("low", "default", "high"))
        assert low == min(listed)
        assert high == max(listed)
        assert default is not None
        assert low <= default <= high


def test_default_is_the_median_of_on_demand_prices() -> None:
    prices = [
        price.usd_per_hour
        for book in LISTED.values()
        for price in book.prices
        if price.item == "h200" and price.kind in ("on_demand", "list")
    ]
    assert len(prices) == 11
    assert BOOKS["default"].usd_per_hour("h200") == statistics.median(prices)


def test_published_spread_of_the_h100() -> None:
    assert (BOOKS["low"].usd_per_hour("h100_sxm"), BOOKS["high"].usd_per_hour("h100_sxm")) == (2.29, 6.98)


def test_whole_instances_are_billed_by_the_node() -> None:
    assert BOOKS["aws_2026_11"].billing == "node"
    assert BOOKS["default"].billing == "device"


def test_unpriced_items_have_no_price() -> None:
    assert BOOKS["default"].usd_per_hour("wse_3") is None
