"""Capacity, price and power by hand."""

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from mist_dse.perf.capacity import kv_blocks, usable_memory
from mist_dse.perf.power import busy_power, component_power, energy, idle_power
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


def test_power_of_an_a100_saturates_at_its_tdp() -> None:
    a100 = replace(H100, name="a100", tdp=400.0, idle_power=63.0)
    assert busy_power(a100, compute=0.0, memory=0.0) == pytest.approx(116.0)
    assert busy_power(a100, compute=0.5, memory=0.2) == pytest.approx(400 * (0.29 + 0.385))
    assert busy_power(a100, compute=1.0, memory=1.0) == 400.0
    assert component_power(a100, compute=0.0, memory=1.0) == pytest.approx(63 + 0.75 * 337)


def test_unknown_idle_power_is_flagged_and_unknown_tdp_gives_none() -> None:
    assert idle_power(L40S) == (0.12 * 350, False)
    assert idle_power(H100) == (75.0, True)
    bare = replace(L40S, tdp=None)
    assert idle_power(bare) is None
    assert energy(bare, busy=1.0, makespan=2.0, compute=1.0, memory=0.0) is None


def test_energy_is_busy_plus_idle() -> None:
    assert energy(H100, busy=10.0, makespan=30.0, compute=1.0, memory=0.0) == pytest.approx(10 * 700 + 20 * 75)


def test_reserve_comes_out_of_the_blocks() -> None:
    lean, safe = (kv_blocks(pool(model=LLAMA_8B, engine=replace(VLLM, reserve=reserve))) for reserve in (0.0, 16 * 131_072 * 100))
    assert not isinstance(lean, Infeasible)
    assert not isinstance(safe, Infeasible)
    assert lean - safe == 100
