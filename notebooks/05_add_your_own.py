# %% [markdown]
# # 05 · Add your own accelerator, stage and policy
#
# What can be added without touching the package, and what cannot? **Data can**: accelerators, models, prices, links, workloads, pipelines
# and designs are files, and a folder of your own comes before the packaged ones. **Code cannot**: a new kind of stage or a new policy is
# a file or a line *in* the package, on purpose, so that simulator, bounds and tests know all that there is. Both are done here, in a
# temporary folder.

# %%
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

import mist_dse as md
from mist_dse.catalog import CatalogError, conf_dir

os.chdir(tempfile.mkdtemp())  # everything below is written there

# %% [markdown]
# ## An accelerator: one file
#
# Every number has a unit, every file a source; a mistake is one line that says where it is.

# %%
Path("mine/accelerator").mkdir(parents=True)
Path("mine/accelerator/my_chip.yaml").write_text("""
aliases: [MyChip]
vendor: Example
year: 2027
peaks: {bf16: 1200 TFLOP/s, fp8: 2400 TFLOP/s}
memory: 144 GiB
memory_bandwidth: 6 GBps
scale_up: {link: nvlink4, domain: 8}
host_link: 63 GB/s
nic: 50 GB/s
tdp: 800 W
source: an example of notebook 05, no real product
""")
catalog = md.Catalog(["mine", conf_dir()])
try:
    catalog.accelerator("MyChip")
except CatalogError as error:
    print(error)

# %%
file = Path("mine/accelerator/my_chip.yaml")
file.write_text(file.read_text().replace("6 GBps", "6 TB/s"))
catalog = md.Catalog(["mine", conf_dir()])
workload = md.Workload.poisson(rate=2.0, input_tokens=1024, output_tokens=256, requests=1000)
designs = {name: catalog.design("tp4_colocated", accelerator=name) for name in ("h100_sxm", "h200", "my_chip")}
results = {name: md.evaluate(design, workload) for name, design in designs.items()}
pd.DataFrame({name: {key: 1e3 * result.metrics[key] for key in ("ttft_mean", "tpot_mean")} for name, result in results.items()}).round(2)

# %% [markdown]
# Milliseconds. How far to believe them? Nobody has measured a kernel on this chip, and the result says so:

# %%
for name, result in results.items():
    print(f"{name:9} gemm: {result.provenance['pools']['serve']['gemm']:14} rent: {result.metrics['usd_per_hour']} USD/h")

# %% [markdown]
# `class default` is a roofline at the usual shares of peak (`mist-dse calibrate` fits an accelerator's own from a table of kernel times),
# and without a rent there is no cost. A price book is a file, too:

# %%
Path("mine/price").mkdir()
Path("mine/price/mine.yaml").write_text("""
prices:
  my_chip: {price: 5.50 USD/h, provider: Example, date: '2027-01-01', kind: list, source: an example of notebook 05}
source: an example of notebook 05
""")
catalog = md.Catalog(["mine", conf_dir()])
priced = md.evaluate(designs["my_chip"], workload, prices=catalog.prices("mine"))
print(f"{priced.metrics['usd_per_mtok']:.2f} USD per million output tokens, at {priced.metrics['usd_per_hour']:.2f} USD/h")

# %% [markdown]
# The command line takes the same folder, and a space of yours (notebook 04) may name the chip like any other:

# %% language="sh"
# mist-dse evaluate --config-dir mine design=tp4_colocated accelerator=my_chip prices=mine workload.rate=2 2> log | head -12

# %% [markdown]
# ## A pipeline of stages that exist: one file
#
# No code either. A guard reads the prompt while the prefill runs:

# %%
Path("mine/pipeline").mkdir()
Path("mine/pipeline/checked_chat.yaml").write_text("""
stages:
- {name: check, kind: guard, what: input}
- {name: prefill, kind: prefill}
- {name: decode, kind: decode, after: [prefill, check]}
source: an example of notebook 05
""")
Path("mine/design").mkdir()
Path("mine/design/checked.yaml").write_text("""
pipeline: checked_chat
topology: rack_4x8
pools:
  serve: {hosts: [prefill, decode], model: llama-3.1-70b, accelerator: h100_sxm, tp: 4, engine: vllm}
  guard: {hosts: [check], model: llama-guard-3-1b, accelerator: l40s, engine: vllm}
""")
catalog = md.Catalog(["mine", conf_dir()])
checked = md.evaluate(catalog.design("checked"), workload).metrics
print(f"mean TTFT {1e3 * checked['ttft_mean']:.0f} ms with a guard, {1e3 * results['h100_sxm'].metrics['ttft_mean']:.0f} ms without")

# %% [markdown]
# ## A kind of stage: one file in the package
#
# Say prompts are *compressed* before the model reads them: an encoder goes over the prompt and drops half of its tokens (LLMLingua-2,
# arXiv 2403.12968). No such kind exists, and no file of yours makes it exist:

# %%
Path("mine/pipeline/compressed_chat.yaml").write_text("""
stages:
- {name: compress, kind: compress, keep: 0.5}
- {name: prefill, kind: prefill, after: [compress]}
- {name: decode, kind: decode, after: [prefill]}
source: an example of notebook 05
""")
Path("mine/design/compressed.yaml").write_text("""
pipeline: compressed_chat
topology: rack_4x8
pools:
  serve: {hosts: [prefill, decode], model: llama-3.1-70b, accelerator: h100_sxm, tp: 4, engine: vllm}
services:
  encoder: {hosts: [compress], model: bge-m3, accelerator: l40s}
""")
long = md.Workload.poisson(rate=1.0, input_tokens=6000, output_tokens=64, requests=120)
try:
    md.evaluate(md.Catalog(["mine", conf_dir()]).design("compressed"), long)
except ValueError as error:
    print(error)

# %% [markdown]
# In a checkout of your own you would add the file. Here a copy of the package stands for the checkout. A kind says what may host it,
# which options it has, what **work** it asks for and which tokens it **adds** to the conversation (`stages/work.py`):

# %%
checkout = Path("checkout")
shutil.copytree(Path(md.__file__).parent, checkout / "mist_dse", ignore=shutil.ignore_patterns("__pycache__", "conf"))
shutil.copytree(conf_dir(), checkout / "conf")

Path(checkout / "mist_dse/stages/compress.py").write_text('''
"""Compress: an encoder reads the prompt once and keeps a share of its tokens (LLMLingua-2, arXiv 2403.12968)."""

from dataclasses import dataclass

import numpy as np

from mist_dse.rows import Ints
from mist_dse.specs._check import fraction, positive
from mist_dse.stages.work import Asked, Passes, whole

KIND = "compress"
RUNS_ON = ("encoder",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``keep``: the share of tokens that stay."""

    keep: float = 0.5

    def __post_init__(self) -> None:
        fraction(self, keep=self.keep)
        positive(self, keep=self.keep)


def work(options: Options, asked: Asked) -> Passes:
    """One pass over all tokens so far."""
    return Passes(np.ones_like(asked.context), asked.context)


def adds(options: Options, asked: Asked) -> Ints:
    """Less the tokens that are dropped."""
    return whole(options.keep * asked.context, asked.context) - asked.context
''')


def edited(file, before, after):
    """One line of the checkout changed."""
    path = checkout / "mist_dse" / file
    text = path.read_text()
    assert text.count(before) == 1, f"{file} has {text.count(before)} times {before}"
    path.write_text(text.replace(before, after))
    old, new = before.strip("\n").split("\n"), after.strip("\n").split("\n")
    changes = [*(f"  - {line}" for line in old if line not in new), *(f"  + {line}" for line in new if line not in old)]
    print("\n".join([file, *changes]))
    return sum(change.startswith("  +") for change in changes)


stage_lines = edited("stages/kinds.py", '"reward", "tool"', '"reward", "compress", "tool"')

# %% [markdown]
# A process that imports the copy. It runs the simulator as plain Python, which gives the same numbers without compiling it again for the
# copy:


# %%
def answer(code):
    """What ``code`` prints in a process that imports the checkout."""
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve()), "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


told = answer("""
import json
import mist_dse as md
from mist_dse.catalog import conf_dir

catalog = md.Catalog(["mine", conf_dir()])
long = md.Workload.poisson(rate=1.0, input_tokens=6000, output_tokens=64, requests=120)
found = {name: md.evaluate(catalog.design(name), long) for name in ("tp4_colocated", "compressed")}
print(json.dumps({name: {"ttft": each.metrics["ttft_mean"], "breakdown": each.breakdown} for name, each in found.items()}))
""")

import json

compressed = json.loads(told)
for name, each in compressed.items():
    parts = {stage: 1e3 * sum(causes.values()) for stage, causes in each["breakdown"].items() if stage != "decode"}
    print(f"{name:14} mean TTFT {1e3 * each['ttft']:6.1f} ms: " + ", ".join(f"{stage} {ms:.1f} ms" for stage, ms in parts.items()))

# %% [markdown]
# ## A policy: a line of dispatch in the simulator
#
# Queues are served first come first served, by priority, shortest prompt first, or least work first. Say you can predict how long an
# *answer* will be, and want the shortest answers first. That is a name, a number, a line that gives the key by which the queue is sorted,
# and the check that refuses numbers beyond the last:

# %%
known, number = "FCFS, PRIORITY, SHORTEST, LEAST_WORK", "SHORTEST_ANSWER"
key = "    rem = known_tokens(s, v) - visit.computed\n"
changes = [
    ("rows.py", f"{known} = 0, 1, 2, 3", f"{known}, {number} = 0, 1, 2, 3, 4"),
    ("specs/design.py", '"shortest", "least_work")', '"shortest", "least_work", "shortest_answer")'),
    ("sim/packing.py", "import FCFS, PRIORITY, SHORTEST\n", f"import FCFS, PRIORITY, SHORTEST, {number}\n"),
    ("sim/packing.py", key, f"    if packing == {number}:\n        return int(visit.limit - visit.emitted)\n{key}"),
    ("sim/check.py", "0 <= engine.packing <= 3", "0 <= engine.packing <= 4"),
]
lines = sum(edited(*change) for change in changes)

# %% [markdown]
# An engine that takes 8 sequences at a time, under a load that makes requests wait; prompts and answers of very different lengths:

# %%
told = answer("""
import json
from dataclasses import replace
import mist_dse as md

base = md.load_design("tp1_colocated", model="llama-3.1-8b")
pool = base.pools[0]
prompts, answers = (md.Lengths(kind="lognormal", mean=mean, cv=1.5) for mean in (512, 48))
workload = md.Workload.poisson(rate=16.0, input_tokens=512, output_tokens=48, requests=400, seed=2)
workload = replace(workload, input_tokens=prompts, output_tokens=answers)
found = {}
for packing in ("fcfs", "shortest", "least_work", "shortest_answer"):
    batching = replace(pool.batching, max_num_seqs=8, packing=packing)
    result = md.evaluate(replace(base, pools=(replace(pool, batching=batching),)), workload)
    found[packing] = {name: result.metrics[name] for name in ("ttft_mean", "ttft_p99", "e2e_mean", "utilisation")}
print(json.dumps(found))
""")
policies = pd.DataFrame(json.loads(told)).T
policies.rename(columns={"ttft_mean": "TTFT, mean, s", "ttft_p99": "TTFT, p99, s", "e2e_mean": "e2e, mean, s"}).round(3)

# %% [markdown]
# What is left for a change that stays: the row of the documentation and the tests that hold it to its promises (`ARCHITECTURE.md`,
# "Adding something: one place each").

# %%
faster = 1 - compressed["compressed"]["ttft"] / compressed["tp4_colocated"]["ttft"]
less = 1 - policies.loc["shortest_answer", "ttft_mean"] / policies.loc["fcfs", "ttft_mean"]
chip = results["h200"].metrics["tpot_mean"] / results["my_chip"].metrics["tpot_mean"]
print(
    f"One YAML file makes an accelerator (here {chip:.2f} times as fast per output token as an H200), one Python file and {stage_lines} "
    f"line a stage (compressed prompts: mean TTFT down by {faster:.0%}), and {lines} lines a policy (shortest answers first: down by "
    f"{less:.0%})."
)

# %% [markdown]
# ## Finding
#
# One YAML file makes an accelerator (here 1.26 times as fast per output token as an H200), one Python file and 1 line a stage
# (compressed prompts: mean TTFT down by 49%), and 6 lines a policy (shortest answers first: down by 32%).
