"""Capacity, price and power by hand."""

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from mist_dse.perf.capacity import kv_blocks, usable_memory
from mist_dse.perf.price import billed_devices, usd_per_hour
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import Price, PriceBook
from tests.perf.cases import FP8, H100, H200, L40S, LLAMA_8B, LLAMA_70B, NODE, RACKS, VLLM, colocated, disaggregated, pool


def test_blocks_of_an_8b_model_by_hand() -> None:
    device = replace(H100, visible_memory=80e9)
    # 0.9 x 80e9 - 2 x 8,030,261,248 - 4e9 = 51,939,477,504 B; a block holds 16 x 131,072 = 2,097,152 B: 24,766.67 of them.
    assert kv_blocks(pool(accelerator=device)) == 24_766


def test_pipeline_stages_hold_their_own_layers() -> None:
    device = replace(H100, visible_memory=80e9)
    # A stage of pp 2: 16 layers of 218,103,808 matrix values, half of 65 x 4096 norms, an embedding or a head of 128256 x 4096, in 2 bytes.
    weights = 2 * (16 * 218_103_808 + 65 * 4096 / 2 + 128256 * 4096)
    assert kv_blocks(pool(accelerator=device, pp=2)) == int((72e9 - weights - 4e9) // (16 * 131_072 / 2))


def test_missing_memory_is_named() -> None:
    found = kv_blocks(pool(model=LLAMA_70B, accelerator=H100))
    assert isinstance(found, Infeasible)
    available = 0.9 * 0.95 * 80 * 2**30
    missing = 2 * 70_553_706_496 + 4e9 + 16 * 327_680 - available
    assert found.margin == pytest.approx(missing / available)
    assert "71.7 GB over the 73.4 GB" in found.constraint


def test_unknown_visible_memory_is_095_of_nominal() -> None:
    assert usable_memory(H100) == 0.95 * 80 * 2**30
    assert usable_memory(H200) == 150.754820096e9


@given(st.floats(0, 30e9), st.sampled_from([1, 2, 4, 8]))
def test_more_memory_never_holds_fewer_blocks(extra: float, tp: int) -> None:
    small, large = (
        pool(accelerator=replace(H200, visible_memory=141e9 + more), model=LLAMA_70B, dtypes=FP8, tp=tp) for more in (0.0, extra)
    )
    one, two = kv_blocks(small), kv_blocks(large)
    assert not isinstance(one, Infeasible)
    assert not isinstance(two, Infeasible)
    assert one <= two


def _book(billing: str, **usd: float) -> PriceBook:
    prices = tuple(
        Price(item=item, usd_per_hour=value, provider="example", date="2026-11", kind="on demand") for item, value in usd.items()
    )
    return PriceBook(name="book", prices=prices, billing=billing)


def test_devices_or_whole_nodes_are_billed() -> None:
    design = disaggregated({"tp": 2, "replicas": 2}, {"tp": 4, "accelerator": L40S})
    assert usd_per_hour(design, _book("device", h100_sxm=3.0, l40s=1.0)) == 4 * 3 + 4 * 1
    assert usd_per_hour(design, _book("node", h100_sxm=3.0, l40s=1.0)) == 8 * 3 + 8 * 1


def test_pools_that_share_a_node_rent_it_once() -> None:
    assert billed_devices(disaggregated({"tp": 4}, {"tp": 4}), _book("node", h100_sxm=3.0)) == {"h100_sxm": 8}


def test_a_missing_price_is_infeasible_and_named() -> None:
    found = usd_per_hour(colocated(accelerator=L40S), _book("device", h100_sxm=3.0))
    assert isinstance(found, Infeasible)
    assert (found.kind, found.constraint) == ("price", "price book book has no price for l40s")


def test_no_room_is_infeasible_before_any_price() -> None:
    assert isinstance(usd_per_hour(colocated(NODE, tp=8, replicas=2), _book("device", h100_sxm=3.0)), Infeasible)
    assert usd_per_hour(colocated(RACKS, tp=8, replicas=2), _book("device", h100_sxm=3.0)) == 48.0


def test_reserve_comes_out_of_the_blocks() -> None:
    lean, safe = (kv_blocks(pool(model=LLAMA_8B, engine=replace(VLLM, reserve=reserve))) for reserve in (0.0, 16 * 131_072 * 100))
    assert not isinstance(lean, Infeasible)
    assert not isinstance(safe, Infeasible)
    assert lean - safe == 100


def test_a_fraction_of_what_is_free_by_hand() -> None:
    """TensorRT-LLM's free_gpu_memory_fraction: 0.9 x (80e9 - 2 x 8,030,261,248 - 4e9) B over 16 x 131,072 B, in place of 24,766 blocks."""
    free = replace(VLLM, memory_fraction=0.9, reserve=4e9, fraction_of_free=True)
    found = kv_blocks(pool(accelerator=replace(H100, visible_memory=80e9), engine=free))
    assert found == int(0.9 * 59_939_477_504 / 2_097_152) == 25_723


def test_reserve_counts_in_full_or_by_the_fraction() -> None:
    """A reserve of a thousand blocks takes a thousand, or 900 where the fraction is of what the reserve leaves."""
    lost = {}
    for of_free in (False, True):
        engines = [replace(VLLM, memory_fraction=0.9, fraction_of_free=of_free, reserve=16 * 131_072 * count) for count in (0, 1000)]
        lean, safe = (kv_blocks(pool(model=LLAMA_8B, engine=engine)) for engine in engines)
        assert not isinstance(lean, Infeasible)
        assert not isinstance(safe, Infeasible)
        lost[of_free] = lean - safe
    assert lost == {False: 1000, True: 900}
