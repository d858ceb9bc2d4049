"""Times operators and a stack of decode layers on an accelerator with PyTorch, each captured in a CUDA graph: see README.md.

Usage: ``python3 studies/measured_h200/measure.py [--families gemm,prefill,...] [--seconds 300] [--dry-run]``; writes ``measured.csv``
to the folder ``$OUT``, else here. It needs PyTorch alone, not this package. ``--dry-run``: tiny sizes on the CPU, to try the script.

One row per shape: ``m`` tokens or sequences, ``n`` x ``k`` of a product, ``context`` tokens, and ``us``, the median microseconds of a call.
Weights and caches rotate over copies that together exceed the L2, so that every call reads memory; data are random (zeros
draw less power and run at higher clocks).
"""

import argparse
import csv
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

HEAD, COLD, LAYERS = 128, 256 * 2**20, 4
"""Head size of the Llama models, bytes that no L2 holds, layers of a stack."""

COLUMNS = ("family", "variant", "dtype", "model", "tp", "m", "n", "k", "context", "heads", "kv_heads", "layers", "us")
BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}


class Model(NamedTuple):
    """Sizes of one transformer layer (model cards of Meta)."""

    name: str
    hidden: int
    heads: int
    kv_heads: int
    ffn: int

    def shard(self, tp: int) -> "Model":
        """What one of ``tp`` devices holds."""
        return self._replace(heads=self.heads // tp, kv_heads=max(self.kv_heads // tp, 1), ffn=self.ffn // tp)

    def products(self) -> list[tuple[int, int]]:
        """(n, k) of the four matrix products of a layer."""
        wide = (self.heads + 2 * self.kv_heads) * HEAD
        return [(wide, self.hidden), (self.hidden, self.heads * HEAD), (2 * self.ffn, self.hidden), (self.hidden, self.ffn)]


MODELS = (Model("llama-3.1-8b", 4096, 32, 8, 14336), Model("llama-3.1-70b", 8192, 64, 8, 28672))


class Bench:
    """Times calls: repeats captured in one CUDA graph and replayed, or plain calls where there is no accelerator."""

    def __init__(self, dry: bool) -> None:
        self.device, self.dry = "cpu" if dry else "cuda", dry
        self.samples = 1 if dry else 5

    def random(self, *shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
        """Small normal values."""
        values = torch.randn(*shape, device=self.device, dtype=torch.float32 if self.dry else torch.bfloat16) * 0.1
        return values.to(dtype)

    def copies(self, size: float) -> int:
        """How many operands of ``size`` bytes exceed the L2 together."""
        return 1 if self.dry else min(max(math.ceil(COLD / size), 1), 64)

    def microseconds(self, calls: list[Callable[[], object]]) -> float:
        """Median time of one of ``calls``, which are made in turn."""
        for call in calls[:2]:
            call()
        if self.dry:
            start = time.perf_counter()
            for call in calls:
                call()
            return (time.perf_counter() - start) / len(calls) * 1e6
        torch.cuda.synchronize()
        graph, turns = torch.cuda.CUDAGraph(), max(16 // len(calls), 1)  # one call a graph would time the launch of graphs
        with torch.cuda.graph(graph):
            for call in calls * turns:
                call()
        once = self._replay(graph, 2)
        rounds = max(int(10e3 / once), 1)
        return statistics.median(self._replay(graph, rounds) for _ in range(self.samples)) / len(calls) / turns

    def _replay(self, graph: "torch.cuda.CUDAGraph", rounds: int) -> float:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(rounds):
            graph.replay()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) * 1e3 / rounds


Row = dict[str, object]


def gemm(bench: Bench) -> Iterator[Row]:
    """Y = x W of every projection of both models at tp 1, 2, 4, 8, in bf16 and in fp8 (tensor-wise scales, bf16 result)."""
    sizes = [2, 16] if bench.dry else [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]
    shapes = {pair: (model.name, tp) for model in MODELS for tp in (1, 2, 4, 8) for pair in model.shard(tp).products()}
    for (n, k), (name, tp) in [((64, 32), ("tiny", 1))] if bench.dry else list(shapes.items()):
        for dtype in ("bf16",) if bench.dry else ("bf16", "fp8"):
            narrow = torch.float8_e4m3fn if dtype == "fp8" else torch.bfloat16
            weights = [bench.random(n, k, dtype=narrow).t() for _ in range(bench.copies(n * k * narrow.itemsize))]
            for m in sizes:
                x = bench.random(m, k, dtype=narrow)
                us = bench.microseconds([_product(x, w) for w in weights])
                yield {"family": "gemm", "variant": "cublas", "dtype": dtype, "model": name, "tp": tp, "m": m, "n": n, "k": k, "us": us}


def _product(x: torch.Tensor, w: torch.Tensor) -> Callable[[], object]:
    if x.dtype == torch.float8_e4m3fn:
        one = torch.ones((), device=x.device)
        return lambda: torch._scaled_mm(x, w, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
    return lambda: x @ w


def prefill(bench: Bench) -> Iterator[Row]:
    """Causal attention of one prompt, grouped queries, by each backend of PyTorch's scaled_dot_product_attention."""
    lengths = [16] if bench.dry else [256, 512, 1024, 2048, 4096, 8192, 16384]
    for name, tp, heads, kv in _heads(bench):
        for s in lengths:
            q, k, v = (bench.random(1, h, s, HEAD) for h in (heads, kv, kv))
            for variant, call in _attention(bench, q, k, v, causal=True):
                yield {"family": "prefill", "variant": variant, "dtype": "bf16", "model": name, "tp": tp, "m": s, "context": s,
                       "heads": heads, "kv_heads": kv, "us": bench.microseconds([call])}  # fmt: skip


def decode(bench: Bench) -> Iterator[Row]:
    """One query per sequence against its cache; ``packed``: the queries of a group stand as rows of one head."""
    batches, contexts = ([2], [16]) if bench.dry else ([1, 4, 16, 64, 256], [512, 2048, 8192])
    for name, tp, heads, kv in _heads(bench):
        for b, s in [(b, s) for b in batches for s in contexts]:
            caches = [(bench.random(b, kv, s, HEAD), bench.random(b, kv, s, HEAD)) for _ in range(bench.copies(b * kv * s * HEAD * 4))]
            q, packed = bench.random(b, heads, 1, HEAD), bench.random(b, kv, heads // kv, HEAD)
            for label, query in (("", q), ("packed ", packed)):
                variants = [dict(_attention(bench, query, k, v, causal=False)) for k, v in caches]
                for variant in variants[0]:
                    yield {"family": "decode", "variant": label + variant, "dtype": "bf16", "model": name, "tp": tp, "m": b, "context": s,
                           "heads": heads, "kv_heads": kv, "us": bench.microseconds([calls[variant] for calls in variants])}  # fmt: skip


def _heads(bench: Bench) -> list[tuple[str, int, int, int]]:
    if bench.dry:
        return [("tiny", 1, 4, 2)]
    shards = [(model.name, tp, model.shard(tp)) for model in MODELS for tp in (1, 2, 4, 8)]
    return list({(part.heads, part.kv_heads): (name, tp, part.heads, part.kv_heads) for name, tp, part in shards}.values())


def _attention(
    bench: Bench, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool
) -> Iterator[tuple[str, Callable[[], object]]]:
    """The backends that take these operands."""
    grouped = q.shape[1] != k.shape[1]
    for variant, backend in {"math": SDPBackend.MATH}.items() if bench.dry else BACKENDS.items():

        def call(backend: SDPBackend = backend) -> torch.Tensor:
            with sdpa_kernel(backend):
                return functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=grouped)

        try:
            call()
        except RuntimeError:
            continue
        yield variant, call


def norm(bench: Bench) -> Iterator[Row]:
    """Residual addition and RMS norm of m tokens, compiled into one kernel."""
    for hidden in [32] if bench.dry else [4096, 8192]:
        for m in [2] if bench.dry else [1, 16, 64, 256, 1024, 4096, 16384]:
            scale = bench.random(hidden)
            operands = [(bench.random(m, hidden), bench.random(m, hidden)) for _ in range(bench.copies(m * hidden * 8))]
            calls = [lambda x=x, y=y, scale=scale: _added_norm(x, y, scale) for x, y in operands]
            yield {"family": "norm", "variant": "compiled", "dtype": "bf16", "m": m, "n": hidden, "us": bench.microseconds(calls)}


def _added_norm(x: torch.Tensor, residual: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    total = x + residual
    wide = total.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-5)).to(x.dtype) * scale, total


def _rotated(qkv: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, rotated: int) -> torch.Tensor:
    """``qkv`` [b, heads, HEAD] with rotary embedding on its first ``rotated`` heads."""
    part = qkv[:, :rotated]
    one, two = part.chunk(2, -1)
    return torch.cat((part * cosine + torch.cat((-two, one), -1) * sine, qkv[:, rotated:]), 1)


def _gated(x: torch.Tensor) -> torch.Tensor:
    gate, up = x.chunk(2, -1)
    return functional.silu(gate) * up


class Layer:
    """One transformer layer in decode: every sequence has ``context`` cached tokens and brings one."""

    def __init__(self, bench: Bench, model: Model, cache: tuple[torch.Tensor, torch.Tensor]) -> None:
        self.model, self.cache, self.backend = model, cache, SDPBackend.MATH if bench.dry else SDPBackend.FLASH_ATTENTION
        self.weights = [bench.random(n, k).t() for n, k in model.products()]
        self.scales = [bench.random(model.hidden) for _ in range(2)]
        self.turn = [bench.random(HEAD) for _ in range(2)]

    def __call__(self, x: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Output of the feed-forward block and the residual stream before its addition."""
        m, (qkv, out, up, down), (keys, values) = self.model, self.weights, self.cache
        x, residual = _added_norm(x, residual, self.scales[0])
        heads = _rotated((x @ qkv).view(len(x), -1, HEAD), *self.turn, m.heads + m.kv_heads)
        keys[:, :, -1], values[:, :, -1] = heads[:, m.heads : m.heads + m.kv_heads], heads[:, m.heads + m.kv_heads :]
        with sdpa_kernel(self.backend):
            found = functional.scaled_dot_product_attention(heads[:, : m.heads].reshape(len(x), m.kv_heads, -1, HEAD), keys, values)
        x, residual = _added_norm(found.reshape(len(x), -1) @ out, residual, self.scales[1])
        return _gated(x @ up) @ down, residual


def stack(bench: Bench) -> Iterator[Row]:
    """`LAYERS` decode layers in one graph, without collectives: a device's share of a step; ``us`` is of the whole stack."""
    shards = [(MODELS[0], 1), (MODELS[1], 1), (MODELS[1], 8)]
    for model, tp in [(Model("tiny", 64, 4, 2, 96), 1)] if bench.dry else shards:
        part = model.shard(tp)
        for b, s in [(2, 16)] if bench.dry else [(b, s) for s in (512, 2048, 8192) for b in (1, 4, 16, 64, 128, 256)]:
            size = b * s * part.kv_heads * HEAD * 4
            distinct = LAYERS if size < 4e9 else 1  # a large cache is cold again by the next layer
            caches = [tuple(bench.random(b, part.kv_heads, s, HEAD) for _ in range(2)) for _ in range(distinct)]
            layers = [Layer(bench, part, caches[i % distinct]) for i in range(LAYERS)]
            x, residual = bench.random(b, part.hidden), bench.random(b, part.hidden)
            yield {"family": "stack", "variant": "packed flash", "dtype": "bf16", "model": model.name, "tp": tp, "m": b, "context": s,
                   "layers": LAYERS, "us": bench.microseconds([lambda layers=layers, x=x, r=residual: _through(layers, x, r)])}  # fmt: skip


def _through(layers: list[Layer], x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    for layer in layers:
        x, residual = layer(x, residual)
    return x


FAMILIES = {"stack": stack, "decode": decode, "prefill": prefill, "norm": norm, "gemm": gemm}


def compile_kernels() -> None:
    """Element-wise functions as single kernels, as engines have them."""
    for name in ("_added_norm", "_rotated", "_gated"):
        globals()[name] = torch.compile(globals()[name])


def main() -> None:
    """Measure the families asked for until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--dry-run", action="store_true")
    asked = parser.parse_args()
    torch.manual_seed(0)
    bench, start = Bench(asked.dry_run), time.monotonic()
    if not bench.dry:
        compile_kernels()
    device = "cpu" if bench.dry else torch.cuda.get_device_name()
    path = Path(os.environ.get("OUT") or Path(__file__).parent) / ("dry_run.csv" if bench.dry else "measured.csv")
    with path.open("w", newline="") as file, torch.inference_mode():
        file.write(f"# device: {device}; torch {torch.__version__}; {time.strftime('%Y-%m-%d')}\n")
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for family in asked.families.split(","):
            for row in FAMILIES[family](bench):
                table.writerow(row | {"us": f"{row['us']:.2f}"})
                if time.monotonic() - start > asked.seconds:
                    print(f"time is up within {family}")
                    return
            print(f"{family} done after {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
