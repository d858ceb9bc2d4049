"""Operator profiles of a machine as the arrays that a simulation reads: measured kernels instead of coefficients.

A profile is a folder of three tables for one model, device and tensor width, as LLMServingSim's profiler writes them from
vLLM's own kernels (``.csv`` or ``.csv.gz``; https://github.com/casys-kaist/LLMServingSim, docs/profiler): ``dense`` (layer,
tokens, time_us), ``per_sequence`` (layer, sequences, time_us) and ``attention`` (prefill_chunk, kv_prefill, n_decode, kv_decode,
time_us) of one decoder layer. A step runs every dense layer once per decoder layer, the layer norm twice, and embedding and
final norm once.

`rows.StepCost` is separable and attention is not: a decode beside a prompt takes longer, and a prompt beside decodes too.
Pure decode steps are the profile itself, linear between its points. In steps with prompts, with a the attention of all layers
for chunk q after c beside S decodes of context x, and q0 the smallest chunk:

    a(q, c, S, x) = a(q0, 0, 0, 0) + [a(q0, 0, S, x) - a(q0, 0, 0, 0)] + chunk(q, c),

exact at q0; chunk's coefficients are fitted (quad by least squares of relative errors over all rows with
decodes; read from q0 alone), and
`separation` says how far off that is. Collectives are the design's: a profile of one device has none.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mist_dse.perf import collective, step
from mist_dse.perf.kernels import ACTIVATION
from mist_dse.perf.network import Level, fabric, spans
from mist_dse.rows import Floats, StepCost
from mist_dse.specs.design import Pool
from mist_dse.specs.hardware import Topology
from mist_dse.stages.step_cost import padded_sequences
from mist_dse.validate.errors import MeasurementError

ONCE = ("embedding", "final_layernorm")
"""Dense layers that a step runs once."""

TWICE = ("layernorm",)
"""Dense layers that a decoder layer runs twice: before attention and before its feed-forward part."""

COLUMNS = {
    "dense": ("layer", "tokens", "time_us"),
    "per_sequence": ("layer", "sequences", "time_us"),
    "attention": ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"),
}
"""What each table must have."""


class OperatorProfile(NamedTuple):
    """Kernel times of a whole step on one device, s: of the dense layers, the head and sampler, and attention."""

    dense: pd.Series  # indexed by tokens
    head: pd.Series  # indexed by sequences
    attention: pd.DataFrame  # chunk, history, decodes, context, seconds


def operator_profile(folder: str | Path, layers: int) -> OperatorProfile:
    """The tables of ``folder`` for a model of ``layers`` decoder layers."""
    dense = _table(Path(folder), "dense").pivot(index="tokens", columns="layer", values="time_us")
    weights = [1 if name in ONCE else layers * (2 if name in TWICE else 1) for name in dense.columns]
    head = _table(Path(folder), "per_sequence").groupby("sequences")["time_us"].sum()
    rows = _table(Path(folder), "attention")
    attention = rows.set_axis(["chunk", "history", "decodes", "context", "seconds"], axis=1)
    attention["seconds"] *= 1e-6 * layers
    return OperatorProfile((dense * weights).sum(axis=1, skipna=False) * 1e-6, head * 1e-6, attention)


def profiled_step_cost(profile: OperatorProfile, pool: Pool, topology: Topology) -> StepCost:
    """Step tables of ``pool`` from ``profile``; collectives, padding to graphs, host times and residue are the pool's own.

    Factors of the pool's engine are left out: they correct coefficients. The profile must cover the pool's ``max_num_seqs``
    beside a prompt; longer steps and contexts than the profile's follow its last slope.
    """
    levels, seats, engine = fabric(pool.accelerator, topology), pool.batching.max_num_seqs, pool.engine
    sequences = np.arange(seats + 1)
    tokens = np.arange(min(pool.batching.max_num_batched_tokens, int(profile.dense.index.max())) + 1, dtype=float)
    knots = np.unique(np.concatenate(([0], profile.attention["context"])))
    smallest = int(profile.attention.loc[profile.attention["chunk"] > 0, "chunk"].min())
    alone = _chunk_alone(profile, smallest)
    beside = _decode_table(profile, smallest, seats, knots)
    head = _interpolated(profile.head, sequences) + _gather_time(pool, levels, sequences)
    head = np.where(sequences > 0, head + engine.residue + engine.residue_sequence * sequences, 0.0)
    token_time = np.where(tokens > 0, _interpolated(profile.dense, tokens) + step.communication_time(pool, levels, tokens), 0.0)
    padded = padded_sequences(pool)
    base = _interpolated(profile.dense, padded) + step.communication_time(pool, levels, padded.astype(float)) + head
    quad, read = _chunk_coefficients(profile, smallest)
    host = engine.host_step + engine.host_sequence * sequences[:, None]
    device = base[:, None] + _decode_table(profile, 0, seats, knots)
    decode_step = np.where(sequences[:, None] > 0, np.maximum(device, host) if engine.async_scheduling else device + host, 0.0)
    attention = np.where(sequences[:, None] > 0, np.maximum(beside - alone, 0.0), 0.0)
    return StepCost(
        token_time=token_time, sequence_time=head, decode_attention=attention, decode_step=decode_step,
        knots=knots.astype(float), quad=quad, window_quad=0.0, window=0.0, read=read, prefill_overhead=alone, mixing=1.0,
        host_step=float(engine.host_step), host_sequence=float(engine.host_sequence), host_prefill=float(engine.host_prefill),
        asynchronous=engine.async_scheduling, stage_share=1.0,
    )  # fmt: skip


def separation(profile: OperatorProfile, cost: StepCost) -> pd.DataFrame:
    """Rows of the profile with a prompt beside decodes that ``cost`` covers: ``seconds`` of a whole step with the measured
    attention, and its signed relative ``error`` with the separable one."""
    rows = profile.attention[(profile.attention["chunk"] > 0) & (profile.attention["decodes"] > 0)]
    seats, last = len(cost.decode_attention) - 1, len(cost.token_time) - 1
    rows = rows[(rows["decodes"] <= seats) & (rows["chunk"] + rows["decodes"] <= last)].reset_index(drop=True)
    decodes, chunk, history = (rows[name].to_numpy() for name in ("decodes", "chunk", "history"))
    attention = np.array(
        [np.interp(x, cost.knots, cost.decode_attention[s]) for s, x in zip(decodes, rows["context"], strict=True)], dtype=float
    )
    area = (history + chunk).astype(float) ** 2 - history.astype(float) ** 2
    attention += cost.prefill_overhead + np.maximum(cost.quad * area, cost.read * (history + chunk))
    rest = cost.token_time[chunk + decodes] + cost.sequence_time[np.minimum(decodes + 1, seats)]
    measured = rest + rows["seconds"].to_numpy()
    return rows.assign(seconds=measured, error=(rest + attention) / measured - 1)


def _table(folder: Path, name: str) -> pd.DataFrame:
    found = next((folder / f"{name}{ending}" for ending in (".csv", ".csv.gz") if (folder / f"{name}{ending}").exists()), None)
    if found is None:
        raise MeasurementError(f"{folder} has no {name}.csv or {name}.csv.gz: an operator profile is {', '.join(COLUMNS)}")
    table = pd.read_csv(found)
    missing = [column for column in COLUMNS[name] if column not in table.columns]
    if missing:
        raise MeasurementError(f"{found}: columns {', '.join(missing)} are missing; expected {', '.join(COLUMNS[name])}")
    table = table[list(COLUMNS[name])]
    if table.isna().any().any() or not (table["time_us"] > 0).all():
        raise MeasurementError(f"{found}: time_us must be positive and no cell empty")
    return table


def _interpolated(series: pd.Series, at: np.ndarray) -> Floats:
    """Linear between the points; beyond the last one, its last slope; below the first, its value."""
    x, y = series.index.to_numpy(float), series.to_numpy(float)
    slope = (y[-1] - y[-2]) / (x[-1] - x[-2]) if len(x) > 1 else 0.0
    return np.asarray(np.interp(at, x, y) + slope * np.maximum(np.asarray(at, float) - x[-1], 0.0))


def _chunk_alone(profile: OperatorProfile, chunk: int) -> float:
    rows = profile.attention
    found = rows[(rows["chunk"] == chunk) & (rows["history"] == 0) & (rows["decodes"] == 0)]["seconds"]
    if found.empty:
        raise MeasurementError(f"attention of an operator profile needs the row of a prompt of {chunk} tokens alone")
    return float(found.iloc[0])


def _decode_table(profile: OperatorProfile, chunk: int, seats: int, knots: Floats) -> Floats:
    """Attention of 0..``seats`` decodes at each context beside a first chunk of ``chunk`` tokens (0: beside none)."""
    rows = profile.attention
    rows = rows[(rows["chunk"] == chunk) & (rows["history"] == 0) & (rows["decodes"] > 0)]
    grid = rows.pivot(index="decodes", columns="context", values="seconds").dropna()
    most = int(grid.index.max()) if len(grid) else 0
    if most < seats:
        raise MeasurementError(f"the operator profile has decodes beside {chunk} prompt tokens up to {most}: max_num_seqs is {seats}")
    over = np.array([np.interp(knots, grid.columns.to_numpy(float), line) for line in grid.to_numpy(float)])
    at = np.arange(seats + 1)
    return np.stack([np.interp(at, grid.index.to_numpy(float), column) for column in over.T], axis=1)


def _chunk_coefficients(profile: OperatorProfile, smallest: int) -> tuple[float, float]:
    """Quad by least squares, relative to the row, over what chunks add to the smallest beside the same decodes; read by its slope."""
    rows = profile.attention
    start = rows[(rows["chunk"] == smallest) & (rows["decodes"] == 0)]
    read = float(np.polyfit(start["history"].to_numpy(float), start["seconds"].to_numpy(float), 1)[0]) if len(start) > 1 else 0.0
    least = rows[(rows["chunk"] == smallest) & (rows["history"] == 0)].set_index(["decodes", "context"])["seconds"]
    more = rows[(rows["chunk"] > smallest) & (rows["decodes"] > 0)].join(least.rename("least"), on=["decodes", "context"]).dropna()
    area = ((more["history"] + more["chunk"]).astype(float) ** 2 - more["history"].astype(float) ** 2) / more["seconds"]
    added = (more["seconds"] - more["least"]) / more["seconds"]
    if more.empty:
        raise MeasurementError("attention of an operator profile needs rows with prompts of several lengths beside decodes")
    return max(float((area * added).sum() / (area * area).sum()), 0.0), max(read, 0.0)


def _gather_time(pool: Pool, levels: tuple[Level, ...], sequences: np.ndarray) -> Floats:
    """Logits of every sequence over the tensor ranks, s."""
    if pool.parallelism.tp == 1:
        return np.zeros(len(sequences))
    return np.asarray(collective.all_gather_time(spans(levels, pool.parallelism.tp), sequences * (pool.model.vocab * ACTIVATION)))
