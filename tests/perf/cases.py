"""Published shapes and datasheet figures for the tests of perf and stages, and hypothesis strategies over them."""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from mist_dse.rows import Requests
from mist_dse.specs.design import Batching, Datatypes, Design, Handoff, Parallelism, Pool
from mist_dse.specs.engine import EngineProfile
from mist_dse.specs.hardware import Accelerator, Link, OperatorFit, Peaks, Topology, TopologyTier
from mist_dse.specs.model import ModelSpec
from mist_dse.specs.pipeline import Pipeline, Stage

# Shapes: config.json of each model on its model card.
LLAMA_8B = ModelSpec(
    name="llama-3.1-8b", layers=32, hidden=4096, heads=32, kv_heads=8, head_dim=128, vocab=128256, ffn=14336, max_context=131072
)
LLAMA_70B = ModelSpec(
    name="llama-3.1-70b", layers=80, hidden=8192, heads=64, kv_heads=8, head_dim=128, vocab=128256, ffn=28672, max_context=131072
)
LLAMA_405B = ModelSpec(
    name="llama-3.1-405b", layers=126, hidden=16384, heads=128, kv_heads=8, head_dim=128, vocab=128256, ffn=53248, max_context=131072
)
MIXTRAL = ModelSpec(
    name="mixtral-8x7b", arch_kind="moe", layers=32, hidden=4096, heads=32, kv_heads=8, head_dim=128, vocab=32000, experts=8, top_k=2,
    expert_ffn=14336, max_context=32768,
)  # fmt: skip
DEEPSEEK = ModelSpec(
    name="deepseek-v3", arch_kind="mla-moe", attention_kind="mla", layers=61, hidden=7168, heads=128, kv_heads=128, head_dim=192,
    v_head_dim=128, ffn=18432, vocab=129280, experts=256, top_k=8, shared_experts=1, expert_ffn=2048, shared_expert_ffn=2048,
    first_dense_layers=3, q_lora=1536, kv_lora=512, qk_nope=128, qk_rope=64, max_context=163840,
)  # fmt: skip
GPT_OSS = ModelSpec(
    name="gpt-oss-120b", arch_kind="moe", layers=36, hidden=2880, heads=64, kv_heads=8, head_dim=64, vocab=201088, experts=128, top_k=4,
    expert_ffn=2880, sliding_window=128, full_attention_layers=18, max_context=131072,
)  # fmt: skip
QWEN_LINEAR = ModelSpec(
    name="qwen3.5-27b", arch_kind="hybrid-linear", layers=64, hidden=5120, heads=24, kv_heads=4, head_dim=256, ffn=17408, vocab=248320,
    full_attention_layers=16, lin_key_heads=16, lin_value_heads=48, lin_key_dim=128, lin_value_dim=128, lin_conv=4, attn_gate=True,
    max_context=262144,
)  # fmt: skip
MODELS = (LLAMA_8B, LLAMA_70B, MIXTRAL, DEEPSEEK, GPT_OSS, QWEN_LINEAR)

NVLINK4 = Link(name="nvlink4", kind="scale-up", bandwidth=450e9, latency=5e-6, efficiency=0.79)
PCIE4 = Link(name="pcie4_x16", kind="host", bandwidth=31.5e9, latency=3e-6, efficiency=0.64)
NDR = Link(name="ndr_400g", kind="scale-out", bandwidth=50e9, latency=5e-6, efficiency=0.9)
SPINE = Link(name="spine", kind="scale-out", bandwidth=25e9, latency=10e-6, efficiency=0.9)

_FIT = "kernel tables of aiconfigurator 0.12"
H100 = Accelerator(
    name="h100_sxm", vendor="NVIDIA", year=2022, peaks=Peaks(tf32=494.7e12, bf16=989.4e12, fp8=1978.9e12, int8=1978.9e12),
    memory=80 * 2**30, memory_bandwidth=3.35e12, scale_up=NVLINK4, scale_up_domain=8, host_link=63e9, nic=50e9, tdp=700.0, idle_power=75.0,
)  # fmt: skip
H200 = replace(
    H100, name="h200", memory=141 * 2**30, visible_memory=150.754820096e9, memory_bandwidth=4.8e12, idle_power=None,
    operators=(OperatorFit(family="gemm", dtype="fp8", overhead=8.8e-6, compute=0.50, memory=0.75, source=_FIT),),
)  # fmt: skip
L40S = Accelerator(
    name="l40s", vendor="NVIDIA", year=2023, peaks=Peaks(bf16=362.05e12, fp8=733e12), memory=48 * 2**30, visible_memory=48.305799168e9,
    memory_bandwidth=864e9, scale_up=PCIE4, scale_up_domain=2, host_link=31.5e9, nic=25e9, tdp=350.0,
)  # fmt: skip
ACCELERATORS = (H100, H200, L40S)

NODE = Topology(name="node", tiers=(TopologyTier(name="node", size=8),))
RACKS = Topology(
    name="racks",
    tiers=(
        TopologyTier(name="node", size=8),
        TopologyTier(name="rack", size=32, link=NDR),
        TopologyTier(name="hall", size=128, link=SPINE, oversubscription=2.0),
    ),
)

# Host terms of asynchronous vLLM: c0 0.5 ms, c1 0.03 ms per sequence, cp 1 ms.
VLLM = EngineProfile(
    name="vllm", host_step=0.5e-3, host_sequence=0.03e-3, host_prefill=1e-3, async_scheduling=True, mixing_factor=1.25, overlap=0.0,
    front_end=3e-3, front_end_token=4e-6, client=20e-3, graph_sizes=(1, 2, 4, *range(8, 257, 8)), reserve=4e9,
)  # fmt: skip
CHAT = Pipeline(name="chat", stages=(Stage(name="prefill", kind="prefill"), Stage(name="decode", kind="decode", after=("prefill",))))
FP8 = Datatypes(weight="fp8", kv="fp8", compute="fp8")


def pool(**changes: Any) -> Pool:
    """Llama-3.1-8B on one H100 with the vLLM profile, less the changes; ``tp``, ``pp``, ``dp``, ``ep`` set the parallelism."""
    degrees = {name: changes.pop(name) for name in ("tp", "pp", "dp", "ep") if name in changes}
    base: dict[str, Any] = {"name": "chat", "stages": ("prefill", "decode"), "model": LLAMA_8B, "accelerator": H100, "engine": VLLM}
    return Pool(**(base | {"parallelism": Parallelism(**degrees)} | changes))


def colocated(topology: Topology = NODE, **changes: Any) -> Design:
    """One pool that prefills and decodes."""
    return Design(pipeline=CHAT, topology=topology, pools=(pool(**changes),))


def disaggregated(prefill: dict[str, Any], decode: dict[str, Any], *, mode: str = "layerwise", topology: Topology = RACKS) -> Design:
    """A prefill pool that hands over to a decode pool."""
    pools = (pool(name="p", stages=("prefill",), **prefill), pool(name="d", stages=("decode",), **decode))
    return Design(pipeline=CHAT, topology=topology, pools=pools, handoff=Handoff(source="p", target="d", mode=mode))


def requests(inputs: list[int], outputs: list[int], cached: list[int] | None = None) -> Requests:
    """Requests that arrive one second apart."""
    count = len(inputs)
    lengths, answers = np.array(inputs, np.int64), np.array(outputs, np.int64)
    reused = np.array(cached if cached is not None else [0] * count, np.int64)
    return Requests(np.arange(count, dtype=float), lengths, answers, answers, reused, np.zeros(count), 0, 1.0)


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    """Pools over models, accelerators, parallelism, datatypes, batching and engine factors; memory is made large enough."""
    model = draw(st.sampled_from(MODELS))
    tp = draw(st.sampled_from([degree for degree in (1, 2, 4, 8) if model.heads % degree == 0]))
    pp = draw(st.sampled_from([degree for degree in (1, 2) if model.layers % degree == 0]))
    dp = draw(st.sampled_from((1, 2))) if model.experts else 1
    ep = draw(st.sampled_from([degree for degree in (1, 2, tp * dp) if (tp * dp) % degree == 0])) if model.experts else 1
    weight, compute = draw(st.sampled_from((("bf16", "bf16"), ("fp8", "fp8"), ("mxfp4", "bf16"))))
    seqs = draw(st.integers(1, 96))
    engine = replace(
        VLLM, async_scheduling=draw(st.booleans()), overlap=draw(st.floats(0, 1)), attention_factor=draw(st.floats(0.5, 2)),
        linear_factor=draw(st.floats(0.5, 2)), mixing_factor=draw(st.floats(0.5, 2)), reserve=0.0,
        graph_sizes=draw(st.sampled_from(((), (1, 2, 4, 8, 16, 32, 64)))),
    )  # fmt: skip
    accelerator = replace(draw(st.sampled_from(ACCELERATORS)), memory=4e12, visible_memory=None)
    budget = max(seqs, draw(st.sampled_from((64, 512, 4096))))
    policy = draw(st.sampled_from(("chunked", "continuous", "static")))
    batching = Batching(policy=policy, max_num_seqs=seqs, max_num_batched_tokens=budget)
    return pool(model=model, accelerator=accelerator, engine=engine, batching=batching, tp=tp, pp=pp, dp=dp, ep=ep,
                dtypes=Datatypes(weight=weight, kv=draw(st.sampled_from(("bf16", "fp8"))), compute=compute))  # fmt: skip
