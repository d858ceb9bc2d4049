# %% [markdown]
# # 00 · A mini-MIST in 150 lines
#
# Which accelerator, how many, and in what shape serve Llama-3.1-70B at the lowest cost for a given latency? Three ideas answer that: a
# **roofline** says how long one engine step takes, a **simulator** lets requests queue for steps, and a **search** tries the designs and
# keeps those that none beats. Here they are in plain NumPy. At the end the same design and the same requests go through `mist_dse`, to
# see what the other lines of the package are for.

# %%
import os
from typing import NamedTuple

import numpy as np

FAST = os.environ.get("MIST_DSE_FAST") == "1"

# %% [markdown]
# ## The nouns: a model, a device
#
# Shapes from the model's configuration file, peaks from datasheets (dense, not sparse), rents as in the packaged price book.


# %%
class Model(NamedTuple):
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head: int
    ffn: int
    vocab: int

    @property
    def matrix(self):  # weights of all layers: query, key, value and output projections, gate, up and down
        attention = self.hidden * self.head * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.ffn)


class Device(NamedTuple):
    flops: float  # FLOP/s, bf16
    bandwidth: float  # B/s
    memory: float  # B
    link: float  # B/s between devices, one way
    hop: float  # s per message on it
    rent: float  # USD/h


class Design(NamedTuple):
    device: str
    tp: int  # devices of one engine
    engines: int


LLAMA = Model(layers=80, hidden=8192, heads=64, kv_heads=8, head=128, ffn=28672, vocab=128256)
DEVICES = {
    "h100_sxm": Device(989.4e12, 3.35e12, 80 * 2**30, 450e9, 5e-6, 3.99),
    "h200": Device(989.4e12, 4.8e12, 141e9, 450e9, 5e-6, 4.44),
    "l40s": Device(362.05e12, 0.864e12, 48.3e9, 31.5e9, 15e-6, 1.5484),
}
BYTES = 2  # of a bf16 value


# %% [markdown]
# ## The roofline: how long a step takes
#
# A step reads all weights once, whatever the batch, and the KV cache of everything that decodes. It computes two FLOP per weight and
# token, and four per head dimension for every pair of a query and a key. The longer of computing and reading counts; two all-reduces a
# layer come on top.


# %%
def step_seconds(model, device, tp, *, decoding, context, chunks):
    """One step: `decoding` sequences of `context` tokens in sum, and prompt `chunks` of (new, cached) tokens."""
    prompt = sum(new for new, _ in chunks)
    pairs = context + sum(new * cached + new * (new + 1) / 2 for new, cached in chunks)
    emitting = decoding + len(chunks)
    flop = 2 * (decoding + prompt) * model.matrix + 4 * model.layers * model.heads * model.head * pairs
    flop += 2 * emitting * model.vocab * model.hidden
    weights = BYTES * (model.matrix + model.vocab * model.hidden)
    cache = kv_bytes(model) * (context + sum(cached + new for new, cached in chunks))
    busy = max(flop / device.flops, (weights + cache) / device.bandwidth) / tp
    message = BYTES * model.hidden * (decoding + prompt)
    reduces = 2 * model.layers * (device.hop + 2 * (tp - 1) / tp * message / device.link) if tp > 1 else 0.0
    return busy + reduces


def kv_bytes(model):
    """Keys and values of one token in all layers."""
    return BYTES * 2 * model.layers * model.kv_heads * model.head


def kv_tokens(model, device, tp):
    """Tokens that fit beside the weights in nine tenths of the memory."""
    weights = BYTES * (model.matrix + 2 * model.vocab * model.hidden)
    return int((0.9 * device.memory * tp - weights) / kv_bytes(model))


step_ms = 1e3 * step_seconds(LLAMA, DEVICES["h100_sxm"], 4, decoding=32, context=32 * 1024, chunks=[])
print(f"32 sequences of 1024 tokens, one token each on 4 H100: {step_ms:.1f} ms")


# %% [markdown]
# ## The simulator: requests queue for steps
#
# One engine, first come first served, with chunked prefill as vLLM does it: every step gives each running sequence its next token and
# fills what is left of the token budget with prompts. A request is admitted when its KV cache fits. Requests go to engines in turn.


# %%
def served(model, design, arrival, prompt, output, budget=8192, most=256):
    """Time of the first and of the last token of each request, s."""
    first, last = np.zeros(len(arrival)), np.zeros(len(arrival))
    for engine in range(design.engines):
        mine = np.arange(engine, len(arrival), design.engines)
        first[mine], last[mine] = engine_run(model, design, arrival[mine], prompt[mine], output[mine], budget, most)
    return first, last


def engine_run(model, design, arrival, prompt, output, budget, most):
    device, room = DEVICES[design.device], kv_tokens(model, DEVICES[design.device], design.tp)
    first, last = np.full(len(arrival), np.nan), np.full(len(arrival), np.nan)
    now, following, running = 0.0, 0, []
    computed, written = np.zeros(len(arrival), int), np.zeros(len(arrival), int)
    while following < len(arrival) or running:
        if not running:
            now = max(now, arrival[following])
        while following < len(arrival) and arrival[following] <= now and len(running) < most:
            if sum(prompt[i] + output[i] for i in running) + prompt[following] + output[following] > room:
                break
            running.append(following)
            following += 1
        decoding = [i for i in running if computed[i] == prompt[i]]
        left, chunks = budget - len(decoding), []
        for i in running:
            if computed[i] < prompt[i] and left > 0:
                new = min(prompt[i] - computed[i], left)
                chunks.append((i, new, computed[i]))
                left -= new
        context = sum(prompt[i] + written[i] for i in decoding)
        now += step_seconds(
            model, device, design.tp, decoding=len(decoding), context=context, chunks=[(new, cached) for _, new, cached in chunks]
        )
        for i, new, _ in chunks:
            computed[i] += new
        for i in [*decoding, *(i for i, _, _ in chunks if computed[i] == prompt[i])]:
            written[i] += 1
            if written[i] == 1:
                first[i] = now
            if written[i] == output[i]:
                last[i] = now
                running.remove(i)
    return first, last


# %% [markdown]
# ## The search: try all, keep what none beats
#
# Poisson arrivals, log-normal lengths. Two objectives: dollars per million output tokens, and the 90th percentile of the time to the
# first token (TTFT). A design that cannot hold the weights is left out.

# %%
rate, count = 2.0, 150 if FAST else 600
draw = np.random.default_rng(1)
arrival = np.cumsum(draw.exponential(1 / rate, count))
prompt = np.maximum(draw.lognormal(np.log(1024) - 0.35, 0.83, count), 1).astype(int)
output = np.maximum(draw.lognormal(np.log(256) - 0.35, 0.83, count), 1).astype(int)

grid = [Design(device, tp, engines) for device in DEVICES for tp in (2, 4, 8) for engines in (1, 2, 4) if tp * engines <= 16]
grid = [design for design in grid if kv_tokens(LLAMA, DEVICES[design.device], design.tp) > (prompt + output).max()]
points = []
for design in grid:
    first, last = served(LLAMA, design, arrival, prompt, output)
    rent = design.tp * design.engines * DEVICES[design.device].rent
    dollars = rent * (np.nanmax(last) - arrival[0]) / 3600 / output.sum() * 1e6
    points.append((dollars, np.percentile(first - arrival, 90)))
points = np.array(points)
beaten = [((points <= point).all(axis=1) & (points < point).any(axis=1)).any() for point in points]
for design, (dollars, ttft) in sorted(((d, p) for d, p, b in zip(grid, points, beaten, strict=True) if not b), key=lambda item: item[1][0]):
    print(f"{design.device:9} tp {design.tp} x {design.engines}:  {dollars:5.2f} USD/Mtoken   p90 TTFT {1e3 * ttft:7.1f} ms")

# %% [markdown]
# That is the whole method: a front of cost against latency, from datasheets. The grid, drawn:

# %%
import plotly.graph_objects as go

from mist_dse.report.figures import palette

figure = go.Figure(
    layout=palette.paper_layout(
        xaxis=palette.plain_axis("output cost", "USD per million tokens"),
        yaxis=palette.plain_axis("time to first token, p90", "ms", **palette.log_ticks(20, 5000)),
        margin={"l": 72, "r": 16, "t": 32, "b": 56},
        legend=palette.legend_above(),
        height=400,
    )
)
for index, (name, chosen) in enumerate((("beaten", np.array(beaten)), ("front", ~np.array(beaten)))):
    figure.add_scatter(
        x=points[chosen, 0], y=1e3 * points[chosen, 1], mode="markers", name=name,
        marker={"color": (palette.GREY, palette.BLUE)[index], "size": (7, 11)[index]},
        hovertext=[str(design) for design, keep in zip(grid, chosen, strict=True) if keep],
    )  # fmt: skip
figure

# %% [markdown]
# ## The same design in `mist_dse`
#
# First at the **speed of light**: datasheet peaks, an engine that costs nothing. The package should then say what the 150 lines say. Then
# as it is meant to be used: operators fitted on measured kernels, an engine profile fitted on measured serving.

# %%
from dataclasses import replace

import mist_dse as md
from mist_dse.requests import realise

design = Design("h100_sxm", 4, 1)
workload = md.Workload.poisson(rate=rate, input_tokens=1024, output_tokens=256, requests=300, seed=1)
requests = realise(workload)
first, last = served(LLAMA, design, requests.arrival, requests.input_tokens, requests.output_tokens)
mini = {"ttft_mean": (first - requests.arrival).mean(), "tpot_mean": ((last - first) / (requests.output_tokens - 1)).mean()}

ideal = md.load_design("tp4_colocated", accelerator="h100_sxm", catalog=md.Catalog(operators="light"))
free = md.EngineProfile(name="free", memory_fraction=0.9, reserve=0.0)
ideal = replace(ideal, pools=tuple(replace(pool, engine=free) for pool in ideal.pools))
light = md.evaluate(ideal, workload).metrics
real = md.evaluate(md.load_design("tp4_colocated", accelerator="h100_sxm"), workload).metrics

print("mean, ms     mini   mist_dse at the speed of light   mist_dse")
for name in mini:
    print(f"{name} {1e3 * mini[name]:8.2f} {1e3 * light[name]:32.2f} {1e3 * real[name]:10.2f}")

# %% [markdown]
# What is left between the first two columns: `mist_dse` takes the longer of computing and reading **per operator**, not once per step,
# and counts what the 150 lines leave out (norms, rotary embedding, sampling, the latency of each hop in a ring). What lies between the
# last two is no physics but practice: kernels below the peaks of the datasheet, launches, the engine's Python, its HTTP front end.

# %%
apart = {name: abs(mini[name] / light[name] - 1) for name in mini}
factor = {name: real[name] / light[name] for name in mini}
print(
    f"At the speed of light the mini-MIST and mist_dse differ by {apart['tpot_mean']:.1%} in time per output token and by "
    f"{apart['ttft_mean']:.0%} in time to first token; measured kernels and a real engine make these "
    f"{factor['tpot_mean']:.2f} and {factor['ttft_mean']:.2f} times as long."
)

# %% [markdown]
# ## Finding
#
# At the speed of light the mini-MIST and mist_dse differ by 3.5% in time per output token and by 15% in time to first token; measured
# kernels and a real engine make these 1.40 and 2.16 times as long.
