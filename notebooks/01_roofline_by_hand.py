# %% [markdown]
# # 01 · A roofline by hand, and ours
#
# A decode step of Llama-3.1-8B on one H100, first with pencil and datasheet, then with the operators of `mist_dse`. Where do they part,
# and why?
#
# **The roofline.** A kernel that computes $F$ FLOP and moves $B$ bytes takes at least $\max(F / \text{peak},\; B / \text{bandwidth})$.

# %%
import numpy as np
import pandas as pd

import mist_dse as md

catalog = md.Catalog()
h100, llama = catalog.accelerator("h100_sxm"), catalog.model("llama-3.1-8b")
peak, bandwidth = h100.peaks.bf16, h100.memory_bandwidth
ridge = peak / bandwidth
print(f"H100 SXM: {peak / 1e12:.0f} TFLOP/s in bf16, {bandwidth / 1e12:.2f} TB/s; both busy at {ridge:.0f} FLOP/B")


def pencil(flop, moved):
    """Seconds by datasheet."""
    return np.maximum(flop / peak, moved / bandwidth)


# %% [markdown]
# ## A matrix product
#
# $Y[m, n] = X[m, k]\,W[k, n]$: $2mnk$ FLOP; in bf16 it moves $2(nk + mk + mn)$ bytes. $m$ is the number of tokens in the step. With few
# tokens the weights $2nk$ are all that counts and the time does not depend on $m$; past about as many tokens as the ridge has FLOP/B,
# computing counts and the time grows with $m$. Here the second matrix of the feed-forward block:

# %%
from mist_dse.perf.kernels import kernel_time, product_work
from mist_dse.perf.operator import coefficients, operator_fit

n, k = llama.hidden, llama.ffn
tokens = np.geomspace(1, 16384, 60)
by_hand = pencil(2 * tokens * n * k, 2 * (n * k + tokens * k + tokens * n))
fit = coefficients(h100, "gemm", "bf16", engine="vllm")
ours = kernel_time(fit, product_work(tokens, n, k, weight=2.0))
print(f"n = {n}, k = {k}; kernels reach {fit.flops / peak:.0%} of the peak and {fit.bandwidth / bandwidth:.0%} of the bandwidth,")
print(f"and start in {1e6 * fit.overhead:.1f} us ({operator_fit(h100, 'gemm', 'bf16', engine='vllm').source})")

# %%
import plotly.graph_objects as go

from mist_dse.report.figures import palette


def plot(curves, x, y):
    """Curves on log axes; ``x`` and ``y`` are titles and units."""
    axes = [palette.plain_axis(*text, **palette.log_ticks(1, 1e4)) for text in (x, y)]
    margin = {"l": 72, "r": 16, "t": 32, "b": 56}
    figure = go.Figure(layout=palette.paper_layout(xaxis=axes[0], yaxis=axes[1], legend=palette.legend_above(), margin=margin, height=380))
    for index, (name, (xs, ys)) in enumerate(curves.items()):
        figure.add_scatter(x=xs, y=ys, name=name, mode="lines", line=palette.line_style(index))
    return figure


curves = {"mist_dse": (tokens, 1e6 * ours), "by hand": (tokens, 1e6 * by_hand)}
plot(curves, ("tokens in the step, m", "tokens"), ("time of one product", "µs"))

# %% [markdown]
# The same shape, above it everywhere, and with a *soft* corner: where computing and moving take about as long, a real kernel does not
# overlap them perfectly. That is where a batch of a few hundred decodes lives.

# %%
at = int(np.argmax(ours / by_hand))
print(f"farthest apart at {tokens[at]:.0f} tokens: {ours[at] / by_hand[at]:.2f} times the pencil's time")
print(f"one token: {ours[0] / by_hand[0]:.2f} times, 16,384 tokens: {ours[-1] / by_hand[-1]:.2f} times")

# %% [markdown]
# ## Attention of a decoding sequence
#
# One query against $c$ cached tokens, per layer: $4\,h\,d\,c$ FLOP for $h$ query heads of size $d$, and the cache,
# $2\cdot2\,h_{kv}\,d\,c$ bytes. Their ratio is $h / h_{kv}$, 4 FLOP/B here, whatever the batch and the context: far below the ridge. Decode
# attention is a matter of memory.

# %%
from mist_dse.perf.kernels import Heads, decode_work

heads = Heads(queries=llama.heads, key_values=llama.kv_heads, size=llama.head_dim)
context = np.geomspace(64, 131072, 60)
batch = 64
attention_fit = coefficients(h100, "attention_decode", "bf16", engine="vllm")
flop = 4 * llama.heads * llama.head_dim * context * batch
cache = 4 * llama.kv_heads * llama.head_dim * context * batch
attention = kernel_time(attention_fit, decode_work(batch, context, heads))
curves = {"mist_dse": (context, 1e6 * attention), "by hand": (context, 1e6 * pencil(flop, cache))}
plot(curves, (f"context of each of {batch} sequences", "tokens"), ("attention of one layer", "µs"))

# %% [markdown]
# Long contexts run at the speed of the memory. Short ones do not: every head of every sequence is a block to be started (`item`), and
# each walks through its own context (`depth`).
#
# ## The whole step
#
# 64 sequences of 1,024 tokens write one token each. By hand: all weights once, all caches once, no time for anything else.

# %%
sequences, length = 64, 1024
matrices = llama.layers * (2 * llama.hidden * llama.head_dim * (llama.heads + llama.kv_heads) + 3 * llama.hidden * llama.ffn)
head = llama.vocab * llama.hidden
kv = 4 * llama.layers * llama.kv_heads * llama.head_dim
hand = {
    "projections and feed-forward": pencil(2 * sequences * matrices, 2 * matrices),
    "attention": pencil(4 * llama.layers * llama.heads * llama.head_dim * sequences * length, kv * sequences * length),
    "logits": pencil(2 * sequences * head, 2 * head),
}
print(f"{2 * matrices / 1e9:.1f} GB of weights, {kv * sequences * length / 1e9:.1f} GB of cache: {1e3 * sum(hand.values()):.2f} ms")

# %% [markdown]
# In `mist_dse` a step is put together in `perf/step.py` from the same operators, with what lies between them, and `stages/step_cost.py`
# adds the engine: factors and times that `mist-dse calibrate` fits on measured serving, beside the kernels.

# %%
from mist_dse.perf import shapes, step
from mist_dse.stages.step_cost import step_cost

design = md.load_design("tp1_colocated", accelerator="h100_sxm", model="llama-3.1-8b", engine="vllm")
pool = design.pools[0]
products = sum(
    matrix.times * float(kernel_time(fit, product_work(sequences, matrix.n, matrix.k, weight=2.0)))
    for matrix in shapes.matrices(llama, pool.parallelism, pool.dtypes)
)
linear = float(step.linear_time(pool, float(sequences)))
logits = float(step.head_time(pool, (), float(sequences)))
caches = float(step.decode_attention_time(pool, float(sequences), float(length)))
product = float(kernel_time(fit, product_work(sequences, llama.vocab, llama.hidden, weight=2.0)))
cost = step_cost(pool, design.topology, longest=length, max_len=2 * length)
whole = float(np.interp(length, cost.knots, cost.decode_step[sequences]))
ours = {
    "projections and feed-forward": products,
    "attention": caches / pool.engine.attention_factor,
    "logits": product,
    "norms, rotary, gates, KV writes": linear - products,
    "sampling": logits - product,
}
ours["engine"] = whole - sum(ours.values())
table = pd.DataFrame({"by hand, ms": pd.Series(hand) * 1e3, "mist_dse, ms": pd.Series(ours) * 1e3}).reindex(list(ours)).fillna(0.0)
table.loc["step"] = table.sum()
table["difference, ms"] = table["mist_dse, ms"] - table["by hand, ms"]
table.round(3)

# %% [markdown]
# As points under the roofs of the H100: the large kernels of this step stand left of the ridge, close under the memory's roof.

# %%
from mist_dse.report.figures.roofline import roofline_figure


def point(name, work, seconds):
    """An operator as the figure wants it: FLOP, bytes, seconds, and its share of the step."""
    share = float(seconds) / whole
    return {
        "name": name,
        "step": "decode",
        "dtype": "bf16",
        "flop": float(work.flop),
        "bytes": float(work.moved),
        "seconds": float(seconds),
        "share": share,
    }


works = {
    f"{matrix.block} {matrix.n:,.0f} x {matrix.k:,.0f}": (matrix, product_work(sequences, matrix.n, matrix.k, weight=2.0))
    for matrix in shapes.matrices(llama, pool.parallelism, pool.dtypes)
}
points = [
    point(name, work._replace(flop=work.flop * matrix.times, moved=work.moved * matrix.times), matrix.times * kernel_time(fit, work))
    for name, (matrix, work) in works.items()
]
every = decode_work(sequences, length, heads)
points.append(point("attention", every._replace(flop=every.flop * llama.layers, moved=every.moved * llama.layers), ours["attention"]))
points.append(point("logits", product_work(sequences, llama.vocab, llama.hidden, weight=2.0), product))
roofline_figure({"operators": points, "peaks": {"bf16": peak}, "bandwidth": bandwidth})

# %% [markdown]
# Three reasons, in the order of the table: kernels do not reach the datasheet; between the large kernels there are small ones, each with
# bytes of its own and a start of its own, which a pencil forgets; and the engine does things that are no kernel at all (its row holds the
# fitted factors too, which can be below one where an engine fuses kernels that were measured apart).

# %%
difference = table["difference, ms"]
kernels = difference[list(hand)].sum() / difference["step"]
small = difference[["norms, rotary, gates, KV writes", "sampling"]].sum() / difference["step"]
by_pencil, predicted = table.loc["step", ["by hand, ms", "mist_dse, ms"]]
print(
    f"A decode step of {sequences} sequences of {length:,} tokens takes {by_pencil:.2f} ms by hand and {predicted:.2f} ms in mist_dse; "
    f"of the difference {kernels:.0%} is large kernels below their peaks, {small:.0%} small kernels, {1 - kernels - small:.0%} the engine."
)

# %% [markdown]
# ## Finding
#
# A decode step of 64 sequences of 1,024 tokens takes 7.04 ms by hand and 10.09 ms in mist_dse; of the difference 70% is large kernels
# below their peaks, 15% small kernels, 15% the engine.
