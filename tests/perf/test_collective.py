"""Collectives against closed forms and measured floors."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mist_dse.perf.collective import (
    Hop,
    Span,
    all_gather_time,
    all_reduce_time,
    all_to_all_time,
    exchange_time,
    one_shot_all_reduce_time,
    ring_all_reduce_time,
    two_shot_all_reduce_time,
)

FAST, SLOW = Hop("nvlink", 400e9, 5e-6), Hop("rail", 40e9, 10e-6)


def test_ring_in_steps() -> None:
    steps, chunk = 2 * (8 - 1), 1e9 / 8
    assert ring_all_reduce_time(Span(8, FAST), 1e9) == pytest.approx(steps * (5e-6 + chunk / 400e9), rel=1e-12)


def test_small_messages_take_one_shot_and_large_ones_two() -> None:
    group = (Span(8, FAST),)
    assert float(all_reduce_time(group, 1e3)) == one_shot_all_reduce_time(group[0], 1e3)
    assert float(all_reduce_time(group, 1e9)) == two_shot_all_reduce_time(group[0], 1e9)


def test_custom_all_reduce_floor_of_eight_h100() -> None:
    # Measured 4.6 us for a few kilobytes on 8 H100 (custom all-reduce under CUDA graphs).
    assert float(all_reduce_time((Span(8, FAST),), 4096.0)) == pytest.approx(4.6e-6, rel=0.15)


def test_hierarchy_beats_a_flat_ring_over_the_slow_link() -> None:
    nested = (Span(8, FAST), Span(4, SLOW))
    by_hand = 2 * exchange_time(nested[0], 1e8) + two_shot_all_reduce_time(nested[1], 1e8 / 8)
    assert float(all_reduce_time(nested, 1e8)) == pytest.approx(by_hand, rel=1e-12)
    assert float(all_reduce_time(nested, 1e8)) < float(all_reduce_time((Span(32, SLOW),), 1e8))


def test_one_device_sends_nothing() -> None:
    assert float(all_reduce_time((), 1e6)) == 0
    assert float(all_gather_time((), 1e6)) == 0
    assert float(all_to_all_time((), 1e6)) == 0


def test_nested_exchanges_carry_every_byte_once() -> None:
    still = tuple(Span(span.ways, span.hop._replace(latency=0.0, bandwidth=1.0)) for span in (Span(4, FAST), Span(2, SLOW)))
    assert float(all_to_all_time(still, 8.0)) == 7.0
    assert float(all_gather_time(still, 8.0)) == 7.0


@given(ways=st.integers(2, 64), sizes=st.lists(st.floats(1, 1e9), min_size=1, max_size=10), wider=st.floats(1, 8))
def test_law_15_arrays_and_a_wider_link_is_never_slower(ways: int, sizes: list[float], wider: float) -> None:
    group, wide = (Span(ways, FAST),), (Span(ways, FAST._replace(bandwidth=FAST.bandwidth * wider)),)
    times = all_reduce_time(group, np.array(sizes))
    assert list(times) == [float(all_reduce_time(group, size)) for size in sizes]
    assert np.all(all_reduce_time(wide, np.array(sizes)) <= times)
