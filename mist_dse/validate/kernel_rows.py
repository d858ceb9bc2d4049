"""Measured kernels as work: rows of operator tables turned into FLOP, bytes and counts (`perf.kernels`).

The tables are those of aiconfigurator (NVIDIA, Apache-2.0): products, attention over prompts and over a cache, compressed
attention, routed experts. Which one a frame is follows from its columns. ``latency_ms`` may be missing: then ``seconds`` is NaN.

Traps: sizes are per device already, but a mixture's experts and width are of the whole model; a context is ``kv_len_minus1 + 1``;
prompts of power-law routing measure the fullest rank; Nemotron's experts have two matrices, not three.
"""

import numpy as np
import pandas as pd

from mist_dse.perf import kernels
from mist_dse.perf.kernels import Heads, KernelWork, Latent, Mixture
from mist_dse.specs.design import STORAGE_BYTES
from mist_dse.validate.errors import MeasurementError

KINDS = {
    "gemm": ("gemm_dtype", "m", "n", "k"),
    "mla": ("mla_dtype", "kv_cache_dtype", "op_name", "num_heads", "batch_size", "isl", "step"),
    "attention_decode": ("kv_cache_dtype", "batch_size", "num_heads", "num_key_value_heads", "head_dim", "window_size", "kv_len_minus1"),
    "attention_prefill": (
        "attn_dtype", "kv_cache_dtype", "batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim", "window_size"),
    "moe": ("moe_dtype", "num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size", "distribution"),
    "collective": ("op_name", "kernel_source", "dtype", "num_gpus", "message_size"),
    "expert_exchange": ("comm_backend", "phase", "comm_dtype", "ep_size", "hidden_size", "topk", "num_experts", "num_tokens"),
}  # fmt: skip
"""Columns that tell what a frame measured, besides ``system``; the first kind whose columns are all there."""

FORMATS = {
    "bfloat16": ("bf16", "", "bf16"), "float16": ("bf16", "", "bf16"), "fp8": ("fp8", "", "fp8"), "fp8_block": ("fp8", "fp8_block", "fp8"),
    "nvfp4": ("fp4", "", "nvfp4"), "int8_wo": ("bf16", "int8", "int8"), "int4_wo": ("bf16", "int4", "int4"),
    "w4a16_mxfp4": ("bf16", "mxfp4", "mxfp4"), "w4a8_mxfp4_mxfp8": ("fp8", "mxfp4", "mxfp4"),
}  # fmt: skip
"""A measured datatype as (computed in, ``storage`` of the fit, kept in)."""

SKEW = {"power_law_1.01": 0.35, "power_law_1.2": 0.44}
"""Tokens of the fullest rank over the mean are ranks to this power, by routing of the measurement (H200 and B200 kernels)."""

GATHERED = 0.87
"""The same of SGLang's measurement, where balanced routing gives a rank min(ranks, top_k) times the mean."""

WIDE_GROUP = 32
"""Queries per key-value head past which decode kernels no longer share what they read (TensorRT-LLM's XQA)."""

WIDE_GROUPS = " wide groups"
"""What the kernel's name ends with past that."""

TWO_MATRICES = ((2688, 1856), (1024, 2688))
"""(hidden, width) of experts without a gate: Nemotron 3 Nano and Super."""


def kind_of(frame: pd.DataFrame) -> str:
    """What a frame measured, by its columns."""
    for kind, columns in KINDS.items():
        if {"system", *columns} <= set(frame.columns):
            return kind
    wanted = "; ".join(f"{kind}: system, {', '.join(columns)}" for kind, columns in KINDS.items())
    raise MeasurementError(f"no kind of operator has the columns {', '.join(map(str, frame.columns))}; known kinds are {wanted}")


def kernel_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Work of every row: ``accelerator, family, dtype, storage, engine, kernel, seconds``, `KernelWork` and a ``shape`` to split by."""
    kind = kind_of(frame)
    found = _READERS[kind](frame)
    found["accelerator"] = frame["system"].astype(str).to_numpy()
    found["engine"] = _text(frame, "backend")
    found["kernel"] = np.char.add(_text(frame, "kernel_source").astype(str), found.pop("trait").to_numpy(str))
    found["seconds"] = frame["latency_ms"].to_numpy(float) * 1e-3 if "latency_ms" in frame else np.nan
    # kernels of one shape stay on one side of a split, whatever accelerator, engine or datatype they ran on
    sizes = [column for column in KINDS[kind] if column in frame and "dtype" not in column]
    found["shape"] = pd.util.hash_pandas_object(frame[sizes].fillna(0), index=False).to_numpy()
    return found


def work_of(rows: pd.DataFrame) -> KernelWork:
    """The work columns of `kernel_rows`."""
    return KernelWork(*(rows[name].to_numpy(float) for name in KernelWork._fields))


def held_out(shape: pd.Series) -> np.ndarray:
    """Which shapes stay out of fits: three in ten, by hash."""
    mask: np.ndarray = shape.to_numpy() % 10 >= 7
    return mask


def _products(frame: pd.DataFrame) -> pd.DataFrame:
    formats = _formats(frame["gemm_dtype"])
    rows, n, k = _numbers(frame, "m", "n", "k")
    work = kernels.product_work(rows, n, k, weight=formats["bytes"].to_numpy(), taken=formats["taken"].to_numpy())
    shape = {"m": rows, "n": n, "k": k, "weight": formats["bytes"].to_numpy(), "taken": formats["taken"].to_numpy()}
    return _with(work, formats, "gemm").assign(aligned=(rows % 8 == 0) | np.isin(rows, (1, 2, 4)), **shape)


def _prompts(frame: pd.DataFrame) -> pd.DataFrame:
    batch, new = _numbers(frame, "batch_size", "isl")
    formats = _formats(frame["attn_dtype"], frame["kv_cache_dtype"])
    return _with(kernels.prefill_work(batch, new, _heads(frame)), formats, "attention_prefill")


def _decodes(frame: pd.DataFrame) -> pd.DataFrame:
    batch, last = _numbers(frame, "batch_size", "kv_len_minus1")
    kept = frame["kv_cache_dtype"]
    formats = _formats(pd.Series("bfloat16", index=frame.index), kept)
    heads = _heads(frame)
    sharing = heads.queries / np.maximum(heads.key_values, 1.0)
    trait = np.select([sharing <= 1, sharing > WIDE_GROUP], [" multi-head", WIDE_GROUPS], "")
    return _with(kernels.decode_work(batch, last + 1.0, heads), formats, "attention_decode").assign(trait=trait)


def _compressed(frame: pd.DataFrame) -> pd.DataFrame:
    batch, new, last, queries = _numbers(frame, "batch_size", "isl", "step", "num_heads")
    heads = Latent(queries=queries, kv=_cache_bytes(frame["kv_cache_dtype"]))
    prompt = frame["op_name"].astype(str).eq("mla_context").to_numpy()
    one, two = kernels.latent_prefill_work(batch, new, heads), kernels.latent_decode_work(batch, last + 1.0, heads)
    work = KernelWork(*(np.where(prompt, a, b) for a, b in zip(one, two, strict=True)))
    found = _with(work, _formats(frame["mla_dtype"], frame["kv_cache_dtype"]), "latent_prefill")
    found["family"] = np.where(prompt, "latent_prefill", "latent_decode")
    return found


def _mixtures(frame: pd.DataFrame) -> pd.DataFrame:
    formats = _formats(frame["moe_dtype"])
    tokens, hidden, inner, top, experts, split, ranks = _numbers(
        frame, "num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size"
    )
    pairs = set(TWO_MATRICES)
    plain = np.array([shape in pairs for shape in zip(hidden, inner, strict=True)], bool)
    plain |= np.char.endswith(_text(frame, "kernel_source").astype(str), "nongated")
    routing, engine = frame["distribution"].astype(str), _text(frame, "backend")
    even, gathered = (routing == "balanced").to_numpy(float), engine == "sglang"
    power = np.where(gathered, GATHERED, routing.map(SKEW).fillna(0.0).to_numpy(float))
    skew = np.where((even > 0) & gathered, np.minimum(ranks, top), ranks ** np.where(even > 0, 0.0, power))
    mixture = Mixture(
        experts=experts, top_k=top, ranks=ranks, hidden=hidden, width=inner / split, weight=formats["bytes"].to_numpy(),
        taken=formats["taken"].to_numpy(), matrices=np.where(plain, 2.0, 3.0), skew=skew, even=even,
    )  # fmt: skip
    return _with(kernels.mixture_work(tokens, mixture), formats, "moe")


_READERS = {"gemm": _products, "attention_prefill": _prompts, "attention_decode": _decodes, "mla": _compressed, "moe": _mixtures}


def _with(work: KernelWork, formats: pd.DataFrame, family: str) -> pd.DataFrame:
    zero = np.zeros(len(formats))
    found = pd.DataFrame({name: value + zero for name, value in work._asdict().items()})
    return found.assign(family=family, dtype=formats["dtype"].to_numpy(), storage=formats["storage"].to_numpy(), aligned=True, trait="")


def _formats(computed: pd.Series, cache: pd.Series | None = None) -> pd.DataFrame:
    """Compute datatype, ``storage`` key, bytes kept and taken; an unknown datatype is left empty."""
    unknown = ("", "", "fp32")
    table = {name: FORMATS.get(str(name), unknown) for name in computed.astype(str).unique()}
    found = pd.DataFrame([table[name] for name in computed.astype(str)], columns=["dtype", "storage", "kept"])
    found["bytes"] = found["kept"].map(STORAGE_BYTES)
    found["taken"] = np.where(found["dtype"] == "bf16", 2.0, np.minimum(found["bytes"], 2.0))
    if cache is not None:
        narrow = (cache.astype(str).to_numpy() == "fp8") & (found["dtype"] != "fp8")
        found["storage"] = np.where(narrow, "fp8", found["storage"])
    return found


def _heads(frame: pd.DataFrame) -> Heads:
    queries, keys, size = _numbers(frame, "num_heads", "num_key_value_heads", "head_dim")
    window = frame["window_size"].fillna(0).to_numpy(float)
    return Heads(queries, keys, size, _cache_bytes(frame["kv_cache_dtype"]), np.where(window > 0, window, np.inf))


def _cache_bytes(kept: pd.Series) -> np.ndarray:
    return np.where(kept.astype(str).to_numpy() == "fp8", 1.0, 2.0)


def _numbers(frame: pd.DataFrame, *columns: str) -> list[np.ndarray]:
    try:
        return [frame[column].to_numpy(float) for column in columns]
    except (TypeError, ValueError) as error:
        raise MeasurementError(f"columns {', '.join(columns)} must hold numbers: {error}") from None


def _text(frame: pd.DataFrame, column: str) -> np.ndarray:
    return frame[column].fillna("").astype(str).to_numpy() if column in frame else np.full(len(frame), "")
