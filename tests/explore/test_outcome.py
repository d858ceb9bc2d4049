"""Why nothing is feasible, in words: per cent only where the limit has them."""

from types import SimpleNamespace

import numpy as np
import pytest

from mist_dse.explore.searches.outcome import nothing_feasible


@pytest.mark.parametrize(("limit", "ends"), [("ttft_p90 <= 2 s", "reaches 3, 50% off"), ("ttft_p90 <= 0 s", "reaches 3")])
def test_the_nearest_design_and_how_far_it_is_off(limit: str, ends: str) -> None:
    screened = SimpleNamespace(demand=np.array([0.5, 0.6]), metrics={"ttft_p90": np.array([4.0, 3.0])})
    assert nothing_feasible(screened, [limit]).endswith(ends)  # type: ignore[arg-type]
