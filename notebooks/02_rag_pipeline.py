# %% [markdown]
# # 02 · A RAG pipeline, and where its time goes
#
# Before a language model answers from documents, the question is rewritten, embedded and looked up, and the passages found are reranked.
# Each of these stages has servers of its own. Which of them costs the user time, and which saturates first?

# %%
import pandas as pd

import mist_dse as md

catalog = md.Catalog()
design = catalog.design("rag_rewrite_rerank")
for stage in design.pipeline.stages:
    options = ", ".join(f"{name} {value}" for name, value in stage.options)
    print(f"{stage.name:10}  after {', '.join(stage.after) or 'the request':12}  {options}")

# %%
for pool in design.pools:
    print(f"{pool.name:9} {', '.join(pool.stages):20} {pool.model.name} on {pool.replicas} x {pool.parallelism.tp} {pool.accelerator.name}")
for service in design.services:
    what = service.model.name if service.model else f"{service.index.vectors:,} vectors, {service.index.kind}" if service.index else "text"
    on = service.accelerator.name if service.accelerator else service.host.name
    print(f"{service.name:9} {', '.join(service.stages):20} {what} on {service.replicas} x {on}")

# %% [markdown]
# Case IV of RAGO (arXiv 2503.14649): a rewriter of 8 billion parameters, 16 passages of 100 tokens of which 5 stay, a model of 70 billion
# that answers. One question a second comes, with log-normal lengths:

# %%
rate = 1.0
workload = catalog.workload("poisson", rate=rate, requests=2000)
result = md.evaluate(design, workload)
times = pd.DataFrame(result.breakdown).T.fillna(0.0).reindex(columns=["queue", "service"])
times["share, %"] = 100 * times.sum(axis=1) / result.metrics["e2e_mean"]
times.rename(columns={"queue": "queue, s", "service": "service, s"}).round(4)

# %% [markdown]
# The breakdown walks back from the last token to whatever released it, so the parts add up to the mean time of a request:

# %%
from mist_dse.report.figures.waterfall import waterfall_figure

print(f"sum of the parts {times[['queue', 'service']].to_numpy().sum():.6f} s, mean e2e {result.metrics['e2e_mean']:.6f} s")
waterfall_figure(result.breakdown, stages=[stage.name for stage in design.pipeline.stages])

# %% [markdown]
# Writing the answer dwarfs everything. But the reader of a streamed answer waits for its *first* token, and that is what stands before
# `decode`. Some requests, one a row:

# %%
from mist_dse.report.figures import timeline_figure

records = md.simulate(design, workload).to_pandas()
timeline_figure(records, requests=12, first=500)

# %% [markdown]
# ## Before the first token

# %%
seconds = times[["queue", "service"]].sum(axis=1)
before = seconds.drop(["decode", "detokenise"])
share = before / before.sum()
for name in before.index:
    print(f"{name:10} {1e3 * before[name]:7.1f} ms  {share[name]:6.1%}")

# %% [markdown]
# Search in 21 million vectors and reranking of 16 passages together are a few percent. Rewriting takes half: an 8-billion-parameter model
# writes 32 tokens one after the other. What if something else rewrote, or nothing? One field of the design changes at a time:


# %%
def changed(**changes):
    """Metrics of the design with some fields replaced."""
    return md.evaluate(catalog.design("rag_rewrite_rerank", **changes), workload).metrics


variants = {
    "as it is": {},
    "rewriter: 1 billion parameters": {"pools.rewriter.model": "llama-3.2-1b"},
    "rewriter: two devices": {"pools.rewriter.tp": 2},
    "reranker on four devices": {"services.encoders.replicas": 4},
    "index on four sockets": {"services.index.sockets": 4},
    "answers on two engines": {"topology": "cluster_32x8", "pools.serve.replicas": 2},
}
what_if = pd.DataFrame({name: changed(**changes) for name, changes in variants.items()}).T
what_if.loc["no rewriter, no reranker"] = md.evaluate(catalog.design("rag_chat"), workload).metrics
units = {"ttft_mean": "TTFT, mean, s", "ttft_p90": "TTFT, p90, s", "e2e_mean": "e2e, mean, s", "usd_per_hour": "rent, USD/h"}
what_if[list(units)].astype(float).rename(columns=units).round(3)

# %% [markdown]
# ## Which server saturates first?
#
# Time is one thing, capacity another: the *demand* of a server is the share of its capacity that the load asks for, known without any
# simulation. At 1 the queue grows for ever.

# %%
from mist_dse.report.figures.utilisation import utilisation_figure

utilisation_figure(result.pools)

# %%
rates = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
loads = {each: md.evaluate(design, catalog.workload("poisson", rate=each, requests=2000)) for each in rates}
growth = pd.DataFrame({each: {stage: sum(causes.values()) for stage, causes in load.breakdown.items()} for each, load in loads.items()})
demand = pd.DataFrame({each: {name: row["demand"] for name, row in load.pools.items()} for each, load in loads.items()})
growth.drop(["decode", "detokenise"]).rename_axis("seconds, by requests per second").round(4)

# %% [markdown]
# As the load grows, time moves: the prompt waits for steps that the answers of others fill, while the rewriter hardly notices.

# %%
bound = demand[rate].idxmax()
largest = share.idxmax()
search = share[["embed", "retrieve", "rerank"]].sum()
print(
    f"At {rate:g} request per second {seconds['decode'] / seconds.sum():.0%} of a request's time is decoding; of the time to its first "
    f"token, {largest} takes {share[largest]:.0%}, prefill {share['prefill']:.0%} and embedding, search and reranking together "
    f"{search:.1%}, yet {bound} saturates first, at {rate / demand[rate][bound]:.1f} requests per second."
)

# %% [markdown]
# ## Finding
#
# At 1 request per second 90% of a request's time is decoding; of the time to its first token, rewrite takes 55%, prefill 42% and
# embedding, search and reranking together 3.0%, yet serve saturates first, at 6.1 requests per second.
