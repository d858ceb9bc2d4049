"""Prefix caching from a workload of sessions down to what each request finds."""

from dataclasses import replace

import mist_dse as md
from mist_dse.specs.workload import Arrivals, Lengths, Workload


def sessions(**arrivals: float) -> Workload:
    return Workload(
        name="sessions",
        arrivals=Arrivals(kind="sessions", rate=1.0, requests=300, turns=4, think=5.0, hash_tokens=16, **arrivals),
        input_tokens=Lengths(kind="fixed", mean=160),
        output_tokens=Lengths(kind="fixed", mean=32),
    )


def found(workload: Workload, **batching: bool) -> tuple[int, int, float]:
    """Prompt tokens found and asked for, and the mean time to first token."""
    design = md.load_design("tp1_colocated", model="llama-3.1-8b", accelerator="h100_sxm")
    design = design.with_pools(batching=replace(design.pools[0].batching, **batching))
    frame = md.simulate(design, workload).to_pandas()
    tokens = frame["found_tokens"].sum() if "found_tokens" in frame else 0
    return int(tokens), int(frame["input_tokens"].sum()), float((frame["first_token_s"] - frame["arrival_s"]).mean())


def test_later_turns_find_the_conversation_so_far() -> None:
    """Turn k finds whole blocks of what came before: with room for all, all named tokens of the previous turn but its last token."""
    workload = sessions()
    plain, caching = found(workload), found(workload, prefix_caching=True)
    assert plain[0] == 0
    assert caching[2] < plain[2]
    requests = md.simulate(md.load_design("tp1_colocated", model="llama-3.1-8b", accelerator="h100_sxm"), workload).requests
    before = requests.follows[requests.follows >= 0]
    computed = requests.input_tokens[before] + requests.output_tokens[before] - 1
    assert caching[0] == int((computed // 16 * 16).sum())


def test_a_shared_system_prompt_is_found_by_first_turns_too() -> None:
    alone, shared = found(sessions(), prefix_caching=True), found(sessions(shared_prefix=320), prefix_caching=True)
    assert shared[0] > alone[0] + 60 * 320
