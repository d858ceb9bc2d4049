# %% [markdown]
# # 06 · Validate on your own measurements
#
# You have served a model, sent load at it and written down what came back. How far off would `mist_dse` have been? `mist-dse validate`
# takes a table of such runs, simulates every one of them, load generator included, and scores the predictions.

# %%
import os
import tempfile

import pandas as pd

FAST = os.environ.get("MIST_DSE_FAST") == "1"
os.chdir(tempfile.mkdtemp())  # everything below is written there

# %% [markdown]
# ## The table
#
# One row per run. Ten columns say what was served and how it was loaded, others what was measured: any of `ttft_ms`, `tpot_ms`,
# `output_tok_s`, `total_tok_s`. Names of models and hardware may be those you use; the catalogue knows aliases. Here rows of the packaged
# sample of public runs (NVIDIA's own, and InferenceX) stand for yours: configurations that no constant of the package was fitted on.

# %%
from mist_dse.validate.golden import golden_path

sample = pd.read_csv(golden_path())
what = ["model", "hardware", "engine", "precision", "mode", "n_gpus", "tp", "isl", "osl", "concurrency"]
measured = ["ttft_ms", "tpot_ms"]
dense = sample["model"].str.contains("Llama-3.1|Qwen3-32B") & (sample["mode"] == "agg") & (sample["concurrency"] <= 64)
hopper = sample["hardware"].str.startswith(("H100", "H200"))
mine = sample.loc[dense & hopper & sample[measured].notna().all(axis=1), ["source", *what, *measured]]
mine = mine.sort_values(["osl", "isl", "concurrency"]).iloc[: 8 if FAST else None]
mine.to_csv("mine.csv", index=False)
mine.drop(columns="source").reset_index(drop=True).head(8)

# %% [markdown]
# `source` names where a row comes from, and so the load generator that made it (`conf/benchmark`): how many prompts it sends, how it
# warms up, whether its mean counts the first token. Rows of your own may leave it out, or name one with `benchmark=`.

# %% language="sh"
# mist-dse validate data=mine.csv predictions=predicted.csv jobs=1 part=all 2> log

# %% [markdown]
# MdAPE is the median of the absolute error relative to the measurement, `bias` its signed median, `in 80%` the share of rows inside the
# interval that the package states with every prediction. Row by row:

# %%
from mist_dse.report.figures import validation_figure

predicted = pd.read_csv("predicted.csv")
predicted["model"] = predicted["model"].str.split("/").str[-1]
validation_figure(predicted, "tpot", by="model")

# %%
validation_figure(predicted, "ttft", by="model")

# %% [markdown]
# The time to the first token is the harder of the two: it depends on how requests happened to fall together, and on a client and an HTTP
# server that no model of a GPU knows. The rows that are farthest off tell where to look:

# %%
for name in ("ttft", "tpot"):
    predicted[f"{name} error, %"] = 100 * (predicted[f"pred_{name}_ms"] / predicted[f"{name}_ms"] - 1)
worst = predicted.sort_values("ttft error, %", key=abs, ascending=False)
worst[["model", "hardware", "engine", "isl", "osl", "concurrency", "ttft_ms", "pred_ttft_ms", "ttft error, %", "tpot error, %"]].head(
    4
).round(1)

# %% [markdown]
# ## Rows that cannot be predicted
#
# Nothing is dropped in silence: a row that is not covered stays in the file, with the reason. One written by hand, on hardware that the
# catalogue does not know:

# %%
row = {"model": "llama-3.1-8b", "hardware": "MyChip", "engine": "vllm", "precision": "bf16", "mode": "agg", "n_gpus": 1, "tp": 1}
row |= {"isl": 1024, "osl": 256, "concurrency": 8, "ttft_ms": 120.0, "tpot_ms": 9.0}
pd.DataFrame([row, {**row, "hardware": "H100-SXM-80GB"}]).to_csv("hand.csv", index=False)

# %% language="sh"
# mist-dse validate data=hand.csv predictions=by_hand.csv jobs=1 > /dev/null 2> log

# %%
by_hand = pd.read_csv("by_hand.csv")
for line in by_hand[["hardware", "covered", "reason"]].itertuples(index=False):
    print(f"{line.hardware:14} covered: {line.covered!s:5}  {line.reason}")

# %% [markdown]
# An accelerator of your own is one YAML file (notebook 05); an engine build of your own is fitted from such a table by `mist-dse
# calibrate data=mine.csv engine=NAME`.

# %%
error = predicted.loc[predicted["covered"], ["tpot error, %", "ttft error, %"]].abs()
near = 10
within = (error["tpot error, %"] <= near).mean()
print(
    f"On {len(predicted)} held-out runs of dense models on Hopper, {predicted['covered'].mean():.0%} covered, the median error is "
    f"{error['tpot error, %'].median():.1f}% in time per output token and {error['ttft error, %'].median():.1f}% in time to first token; "
    f"{within:.0%} of the runs are within {near}% in the former."
)

# %% [markdown]
# ## Finding
#
# On 20 held-out runs of dense models on Hopper, 100% covered, the median error is 6.3% in time per output token and 15.4% in time to
# first token; 70% of the runs are within 10% in the former.
#
# *In fast mode:* On 8 held-out runs of dense models on Hopper, 100% covered, the median error is 4.6% in time per output token and 13.0%
# in time to first token; 88% of the runs are within 10% in the former.
