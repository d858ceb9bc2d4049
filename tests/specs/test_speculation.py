"""Tokens per step of speculative decoding, against draws of the process itself, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Speculation


@pytest.mark.parametrize(("draft_tokens", "acceptance"), [(1, 0.85), (3, 0.6), (7, 0.3)])
def test_tokens_per_step_are_those_of_guesses_accepted_one_by_one(draft_tokens: int, acceptance: float) -> None:
    """Each guess counts only if all before it were accepted; the step itself adds one token."""
    accepted = np.random.default_rng(1).random((200_000, draft_tokens)) < acceptance
    tokens = 1 + np.cumprod(accepted, axis=1).sum(axis=1)
    error = tokens.std() / np.sqrt(len(tokens))
    assert Speculation(draft_tokens=draft_tokens, acceptance=acceptance).emitted == pytest.approx(tokens.mean(), abs=5 * error)


@settings(deadline=None)
@given(draft_tokens=st.integers(1, 10), acceptance=st.floats(0.01, 0.99))
def test_an_accepted_length_stands_for_its_acceptance(draft_tokens: int, acceptance: float) -> None:
    asked = Speculation(draft_tokens=draft_tokens, acceptance=acceptance)
    assert asked.emitted == pytest.approx((1 - acceptance ** (draft_tokens + 1)) / (1 - acceptance))  # Leviathan et al., eq. 1
    found = Speculation.of_length(draft_tokens, asked.emitted, draft_share=0.1)
    assert found.acceptance == pytest.approx(acceptance, abs=1e-6)
    assert found.draft_share == 0.1


def test_what_cannot_be_is_refused() -> None:
    for changes, text in (
        ({"draft_tokens": 0}, "Speculation.draft_tokens is 0"),
        ({"acceptance": 1.0}, r"Speculation.acceptance is 1.0: must lie between 0 and 1"),
        ({"acceptance": 0.0}, "Speculation.acceptance is 0.0"),
        ({"draft_share": -0.1}, "Speculation.draft_share is -0.1"),
    ):
        with pytest.raises(SpecError, match=text):
            Speculation(**({"draft_tokens": 1, "acceptance": 0.5} | changes))  # type: ignore[arg-type]
    for length in (1.0, 4.0):
        with pytest.raises(SpecError, match=r"must lie between 1 and draft_tokens \+ 1 = 4"):
            Speculation.of_length(3, length)
