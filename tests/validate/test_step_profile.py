"""Operator profiles against a law that the step cost can hold exactly, a step worked by hand, and published runs of a profiled machine."""

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mist_dse.catalog import Catalog
from mist_dse.rows import Requests, StepCost
from mist_dse.sim import simulate
from mist_dse.specs.design import Batching, Design, Pool
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import Link, Topology, TopologyTier
from mist_dse.stages import lower
from mist_dse.validate.errors import MeasurementError
from mist_dse.validate.step_profile import OperatorProfile, operator_profile, profiled_step_cost, separation
from tests.perf.cases import LLAMA_8B, NODE, VLLM, colocated, pool

LAYERS = 2
BARE = replace(VLLM, residue=0.0, residue_sequence=0.0, graph_sizes=(), host_step=0.0, host_sequence=0.0, host_prefill=0.0)


def attention_us(chunk: float, history: float, decodes: float, context: float) -> float:
    """A separable law, one layer: 3 us per kernel of prompts, 2 ns per decode and token (thrice beside a prompt), 1 ps per pair."""
    prompt = (3 + 1e-6 * ((history + chunk) ** 2 - history**2)) if chunk else 0.0
    return prompt + (3 if chunk else 1) * (1 + 2e-3 * decodes * context) * (decodes > 0)


def written(folder: Path) -> Path:
    """A profile of that law: projections 10 us + 0.1 us a token, norms 1 us (twice), embedding 4 us, head 20 us + 1 us a row."""
    tokens, grid = (1, 2, 4, 64, 256), (0, 16, 64, 256)
    lines = [("proj", n, 10 + 0.1 * n) for n in tokens] + [("layernorm", n, 1.0) for n in tokens] + [("embedding", n, 4.0) for n in tokens]
    pd.DataFrame(lines, columns=["layer", "tokens", "time_us"]).to_csv(folder / "dense.csv", index=False)
    heads = [("lm_head", n, 20.0 + n) for n in (1, 2, 4, 8)]
    pd.DataFrame(heads, columns=["layer", "sequences", "time_us"]).to_csv(folder / "per_sequence.csv.gz", index=False)
    shots = [(q, c, s, x) for q in grid for c in (0, 256) for s in (0, 1, 2, 4, 8) for x in (0, 16, 256, 1024)
             if (q or not c) and (q or s) and (s > 0) == (x > 0)]  # fmt: skip
    names = ["prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"]
    pd.DataFrame([(*shot, attention_us(*shot)) for shot in shots], columns=names).to_csv(folder / "attention.csv", index=False)
    return folder


@pytest.fixture
def profile(tmp_path: Path) -> OperatorProfile:
    return operator_profile(written(tmp_path), LAYERS)


def served(**changes: object) -> Pool:
    """A small engine without constants of its own."""
    shape, short = Batching(max_num_seqs=8, max_num_batched_tokens=256), replace(LLAMA_8B, layers=LAYERS, full_attention_layers=LAYERS)
    return pool(**({"model": short, "engine": BARE, "batching": shape} | changes))


def test_a_separable_law_is_held_exactly(profile: OperatorProfile) -> None:
    cost = profiled_step_cost(profile, served(), NODE)
    quad = LAYERS * 1e-6 * 1e-6
    assert cost.quad == pytest.approx(quad)
    # the smallest chunk's own pairs are in its kernel: 256 pairs of 1 ps in 3 us
    assert cost.prefill_overhead == pytest.approx(LAYERS * 3e-6 + quad * 16**2)
    found = separation(profile, cost)
    assert len(found) == 2 * 2 * 4 * 3  # chunks of 16 and 64 (256 and a decode are over the budget), histories, decodes, contexts
    assert found["error"].abs().max() < 0.02


def test_a_step_of_prompts_and_decodes_worked_by_hand(profile: OperatorProfile) -> None:
    """Dense: 2 x (10 + 6.6 + 2 x 1) + 4 us at 66 tokens; head: 20 + 3 us for three rows; decodes: 2 x 3 x (1 + 0.4) us at context 100."""
    cost = profiled_step_cost(profile, served(), NODE)
    assert cost.token_time[66] == pytest.approx(41.2e-6)
    assert cost.sequence_time[3] == pytest.approx(23e-6)
    assert np.interp(100, cost.knots, cost.decode_attention[2]) == pytest.approx(8.4e-6)


def test_pure_decode_steps_are_the_profile_itself_padded_to_graphs(profile: OperatorProfile) -> None:
    """Three decodes of context 256 run the dense layers of four, but a head and attention of three."""
    cost = profiled_step_cost(profile, served(engine=replace(BARE, graph_sizes=(1, 2, 4, 8))), NODE)
    dense, head, attention = 2 * (10.4 + 2) + 4, 23.0, 2 * (1 + 2e-3 * 3 * 256)
    assert np.interp(256, cost.knots, cost.decode_step[3]) == pytest.approx((dense + head + attention) * 1e-6)
    assert (cost.decode_step[0] == 0).all()


def test_collectives_and_residue_are_the_pools_own(profile: OperatorProfile) -> None:
    """Two ranks over 16 GB/s and 20 us: five reductions of 8 KiB a token, one gather of half the logits."""
    link = Link(name="pcie", kind="host", bandwidth=16e9, latency=20e-6, efficiency=1.0, source="a test")
    topology = Topology(name="host", tiers=(TopologyTier(name="node", size=8, link=link),))
    alone = profiled_step_cost(profile, served(), NODE)
    engine = replace(BARE, residue=1e-3, residue_sequence=1e-5)
    cost = profiled_step_cost(profile, served(tp=2, engine=engine), topology)
    reduced, gathered = 5 * (20e-6 + 100 * LLAMA_8B.hidden * 2 / 16e9), 20e-6 + 3 * LLAMA_8B.vocab / 16e9
    assert cost.token_time[100] - alone.token_time[100] == pytest.approx(reduced)
    assert cost.sequence_time[3] - alone.sequence_time[3] == pytest.approx(gathered + 1e-3 + 3e-5)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "dense.csv").unlink(), "has no dense.csv"),
        (lambda folder: (folder / "dense.csv").write_text("layer,time_us\nproj,1\n"), "columns tokens are missing"),
        (lambda folder: (folder / "dense.csv").write_text("layer,tokens,time_us\nproj,1,-1\n"), "must be positive"),
    ],
)
def test_a_spoilt_table_is_named(tmp_path: Path, spoil: object, said: str) -> None:
    folder = written(tmp_path)
    assert callable(spoil)
    spoil(folder)
    with pytest.raises(MeasurementError, match=said):
        operator_profile(folder, LAYERS)


def test_more_sequences_than_were_profiled_are_refused(profile: OperatorProfile) -> None:
    crowded = served(batching=Batching(max_num_seqs=16, max_num_batched_tokens=256))
    with pytest.raises(MeasurementError, match="up to 8: max_num_seqs is 16"):
        profiled_step_cost(profile, crowded, NODE)


_DATA = os.environ.get("MIST_DSE_DATA")


@pytest.mark.skipif(not _DATA, reason="MIST_DSE_DATA names no folder of reference data")
def test_a_published_run_of_the_profiled_machine_is_reproduced() -> None:
    """Llama-3.1-8B, vLLM 0.19, RTX PRO 6000, 300 requests under overload: the accuracy that `studies/serving_runs` promises."""
    run, seen = _recorded(Path(str(_DATA)) / "serving_runs" / "RTXPRO6000" / "Llama-3.1-8B" / "vllm" / "requests.jsonl.gz")
    design = colocated(batching=Batching(max_num_seqs=128, max_num_batched_tokens=2048))
    design = design.with_pools(engine=replace(Catalog().engine("vllm"), front_end=0.0, front_end_token=0.0, client=0.0))
    folder = Path(str(_DATA)) / "profiles/llmservingsim/perf/RTXPRO6000/meta-llama/Llama-3.1-8B/bf16/tp1"
    cost = profiled_step_cost(operator_profile(folder, LLAMA_8B.layers), design.pools[0], design.topology)
    ours = _latencies(run, cost, design)
    for name, target in (("ttft", 0.02), ("tpot", 0.02), ("latency", 0.02)):
        assert ours[name].mean() == pytest.approx(seen[name].mean(), rel=target), name
    for share, target in ((50, 0.06), (90, 0.04), (99, 0.04)):
        assert np.percentile(ours["ttft"], share) == pytest.approx(np.percentile(seen["ttft"], share), rel=target), share


def _recorded(path: Path) -> tuple[Requests, pd.DataFrame]:
    with gzip.open(path, "rt") as file:
        rows = pd.DataFrame([json.loads(line) for line in file]).sort_values("queued_ts", kind="stable")
    starts = {"arrival_time": "arrival_time"} | dict.fromkeys(("queued_ts", "first_token_ts", "last_token_ts"), "queued_ts")
    at = {name: (rows[name] - rows[start].iloc[0]).to_numpy() for name, start in starts.items()}
    arrival, outputs = np.minimum(at["arrival_time"], at["queued_ts"]), rows["output_toks"].to_numpy()
    asked = Requests(
        arrival, rows["input_toks"].to_numpy(), outputs, outputs, np.zeros(len(rows), np.int64), np.zeros(len(rows)), 0, np.nan
    )
    return asked, _times(arrival, at["first_token_ts"], at["last_token_ts"], outputs)


def _latencies(asked: Requests, cost: StepCost, design: Design) -> pd.DataFrame:
    found = lower(design, asked)
    assert not isinstance(found, Infeasible)
    blocks = found.servers.engines[0]._replace(blocks=30_000)  # 96 GB less weights; the run never fills them
    run = simulate(found.servers._replace(costs=(cost,), engines=(blocks,)), found.jobs, asked)
    assert (run.preemptions == 0).all()
    return _times(asked.arrival, run.first_token, run.last_token, asked.output_tokens)


def _times(arrival: np.ndarray, first: np.ndarray, last: np.ndarray, outputs: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"ttft": first - arrival, "tpot": (last - first) / (outputs - 1), "latency": last - arrival})
