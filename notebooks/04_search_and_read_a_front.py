# %% [markdown]
# # 04 · Search, and read a front
#
# A search gives a front: designs that no other design of the space beats. Which of them to take, and how far to believe it, is what the
# run folder is for: the certificate, what moves the front, how sure each member is, and where the chosen one spends its time.

# %%
import os
import tempfile
from pathlib import Path

FAST = os.environ.get("MIST_DSE_FAST") == "1"
os.chdir(tempfile.mkdtemp())  # everything below is written there

# %% [markdown]
# ## A space of one's own
#
# Llama-3.1-70B in 8 bit for the packaged Azure conversation workload: one pool for prompts and answers, or two of different kinds. The
# file stands in a folder of our own; `--config-dir` puts it before the packaged ones.

# %%
space = f"""
base:
  pipeline: chat
  topology: cluster_32x8
  pools:
    prefill: {{hosts: [prefill], model: llama-3.1-70b, accelerator: h100_sxm, tp: 4, dtype: fp8, engine: vllm, router: jsq}}
    decode: {{hosts: [decode], model: llama-3.1-70b, accelerator: h100_sxm, tp: 4, dtype: fp8, engine: vllm, router: jsq}}
  handoff: {{from: prefill, to: decode, mode: layerwise}}
vary:
  placement: [colocated, disaggregated]
  pools.*.accelerator: [h100_sxm, h200, l40s]
  pools.*.tp: [2, 4, 8]
  pools.*.replicas: 1..{2 if FAST else 4}
  pools.prefill.batching.max_num_batched_tokens: [2048, 8192]
where: ["accelerators <= 16"]
objectives: ["min usd_per_mtok", "min ttft_p90"]
constraints: ["tpot_p90 <= 50 ms"]
"""
Path("mine/space").mkdir(parents=True)
Path("mine/space/small.yaml").write_text(space)
os.environ["REQUESTS"] = "300" if FAST else "1000"

# %% [markdown]
# ## The search
#
# Every design is screened in closed form; the promising ones are simulated, the best first, until a lower bound excludes every design
# left (`search.certify=0.02`).

# %% language="sh"
# mist-dse sweep --config-dir mine space=small workload.rate=4 workload.requests=$REQUESTS \
#     search.certify=0.02 executor=serial folder=run 2> log

# %% [markdown]
# `run/report.html` shows all that follows on one page. Here the same figures stand one by one; all are drawn from what the run stored.

# %%
from mist_dse.report import read_run
from mist_dse.report.figures import front_figure, history_figure, robustness_figure, sensitivity_figure, slices_figure

run = read_run("run")
front_figure(run)

# %% [markdown]
# **The certificate.** `exact` says: of all designs in the space that were not simulated, none can be better than a member of the front,
# since the best that any schedule could do with each of them is no better. It holds for this workload and its seed, and for the
# simulator.

# %%
manifest = run.manifest
print(f"{manifest['certificate']}: {manifest['certificate_reason']}")
print(f"{manifest['simulated']} of {manifest['designs_in_space']:,} designs simulated")

# %% [markdown]
# **How the front was found.** Hypervolume is what the front covers; the rest of the run is proof.

# %%
history_figure(run)

# %% [markdown]
# ## What moves the front?
#
# For each variable, the share of the front's hypervolume that is lost if it is held at its best single value (left), and how much of the
# objectives' variance it explains (right). A variable may explain much and still cost nothing to fix.

# %% language="sh"
# mist-dse sensitivity run format=json > sensitivity.json 2> log

# %%
import json

variables = json.loads(Path("sensitivity.json").read_text())
variables = variables if isinstance(variables, list) else variables["variables"]
sensitivity_figure(variables)

# %% [markdown]
# **What if?** The best that each accelerator can do for prompts, by the degree of tensor parallelism:

# %%
slices_figure(run, "pools.prefill.tp", "ttft_p90", by="pools.prefill.accelerator")

# %% [markdown]
# ## How sure is it?
#
# Prices move, loads grow, predictions err, seeds differ. `robustness` draws them and counts how often each design stays on the front.

# %% language="sh"
# mist-dse robustness run draws=300 seeds=3 'rates=[0.9, 1.1]' designs=20 newcomers=5 2> log | cut -c 1-150

# %%
robustness_figure(read_run("run"), "prices")

# %% [markdown]
# ## The one we take
#
# The cheapest member whose 90th percentile of TTFT is at most 350 ms, and where its steps spend their time:

# %%
import pandas as pd

from mist_dse.report.details import stored_details
from mist_dse.report.figures.roofline import roofline_figure

chosen = run.front[run.front["ttft_p90"] <= 0.35].sort_values("usd_per_mtok").iloc[0]
shown = ["pools.prefill.accelerator", "pools.prefill.tp", "pools.prefill.replicas", "usd_per_mtok", "ttft_p90", "tpot_p90"]
print(chosen[shown].to_string())
roofline_figure(stored_details(run)[chosen["design_id"]]["pools"]["prefill"])

# %%
robust = pd.read_parquet("run/robustness.parquet")
members = robust[robust["on_front"].astype(bool)]
shares = members[["p_front_prices", "p_front_intervals", "p_front_load", "p_front_seeds"]]
steady = int((shares >= 0.5).all(axis=1).sum())
first = max(variables, key=lambda one: one["loss"])
print(
    f"{manifest['simulated']} simulations of {manifest['designs_in_space']:,} designs give a front of {manifest['front']} with certificate "
    f"{manifest['certificate']}; {first['variable']} moves it most, its best single value loses {first['loss']:.0%} of the hypervolume; "
    f"{steady} of {len(members)} members stay in half or more of the draws of prices, of prediction errors, of loads and of seeds alike."
)

# %% [markdown]
# ## Finding
#
# 194 simulations of 1,050 designs give a front of 11 with certificate exact; pools.prefill.tp moves it most, its best single value loses
# 13% of the hypervolume; 2 of 11 members stay in half or more of the draws of prices, of prediction errors, of loads and of seeds alike.
#
# *In fast mode:* 193 simulations of 486 designs give a front of 11 with certificate exact; pools.prefill.tp moves it most, its best
# single value loses 12% of the hypervolume; 4 of 11 members stay in half or more of the draws of prices, of prediction errors, of loads
# and of seeds alike.
