# %% [markdown]
# # 03 · Simulate, and check Little's law
#
# A simulator is easy to believe and hard to trust. Two laws hold for any system that is not overfull, whatever its schedule, and need
# nothing but a clock and a counter: Little's law, $L = \lambda W$, and the utilisation law, $U = \lambda S$. Here they are checked on a
# run of `mist_dse`, from its records alone.

# %%
import os

import numpy as np
import pandas as pd

import mist_dse as md

FAST = os.environ.get("MIST_DSE_FAST") == "1"

# %% [markdown]
# Prompts on H100s, answers on cheaper L40S, KV caches handed from one to the other; Poisson arrivals:

# %%
design = md.load_design("disagg_2x4")
rate, count = 2.0, 2000 if FAST else 20_000
workload = md.Workload.poisson(rate=rate, input_tokens=1024, output_tokens=256, requests=count, seed=3)
run = md.simulate(design, workload, steps=True)
records = run.to_pandas()
records.head(3).T

# %%
from mist_dse.report.figures import load_figure, timeline_figure

timeline_figure(records, requests=15, first=1000)

# %% [markdown]
# ## Little's law over the whole run
#
# $L$, the mean number of requests in the system, from the outside: walk through the events in time and add up how many are there.
# $\lambda W$ from the requests: how many come, times how long each stays.


# %%
def mean_present(come, gone, start, end):
    """Time-average number present in [start, end], from the order of events."""
    times = np.concatenate([come, gone])
    change = np.concatenate([np.ones(len(come)), -np.ones(len(gone))])
    order = np.argsort(times, kind="stable")
    times, present = times[order], np.cumsum(change[order])
    edges = np.clip(np.append(times, max(end, times[-1])), start, end)
    return float((np.diff(edges) * present).sum() / (end - start))


come, gone = records["arrival_s"].to_numpy(), records["end_s"].to_numpy()
start, end = come.min(), gone.max()
L = mean_present(come, gone, start, end)
W = (gone - come).mean()
arrivals = len(come) / (end - start)
print(f"L = {L:.6f}   lambda W = {arrivals:.6f}/s x {W:.6f} s = {arrivals * W:.6f}   apart by {abs(L / (arrivals * W) - 1):.1e}")

# %% [markdown]
# Over a run that starts and ends empty the two are the same sum in another order, so anything but rounding would be a bug in the records.
# The law says more: it holds in any long window of a steady system, where requests that straddle the edges make it approximate.

# %%
low, high = start + 0.2 * (end - start), start + 0.8 * (end - start)
inside = (come >= low) & (come < high)
window = mean_present(come, gone, low, high), inside.sum() / (high - low) * (gone - come)[inside].mean()
print(f"middle 60% of the run: L = {window[0]:.3f}, lambda W = {window[1]:.3f}, apart by {abs(window[0] / window[1] - 1):.2%}")

# %% [markdown]
# ## In every pool
#
# The same for each server: visits to prefill, hand-off and decode, each split into waiting and being served.

# %%
r, jobs = run.records, run.lowered.jobs
rows = {}
for number, name in enumerate(run.lowered.servers.names):
    here = jobs.server == number
    for part, came, went in (("waiting", r.visit_ready, r.visit_start), ("in service", r.visit_start, r.visit_end)):
        per_second = here.sum() / (end - start)
        stay = (went - came)[here].mean()
        present = mean_present(came[here], went[here], start, end)
        rows[name, part] = {"L": present, "lambda, 1/s": per_second, "W, s": stay, "lambda W": per_second * stay}
little = pd.DataFrame(rows).T
little["apart"] = (little["L"] - little["lambda W"]).abs() / little["lambda W"].clip(lower=1e-12)
little.round({"L": 4, "lambda, 1/s": 3, "W, s": 5, "lambda W": 4})

# %%
load_figure(run)

# %% [markdown]
# ## Utilisation
#
# For a pool of engines the customers are *steps*: $\lambda$ steps per second of $S$ seconds each keep a replica busy for $U = \lambda S$
# of the time. The left side adds up the busy time that the simulator kept per replica, the right side is made from the list of steps.

# %%
steps = run.steps
long = steps.end - steps.start
pools = {}
for number, name in enumerate(run.lowered.servers.names[: len(run.lowered.servers.engines)]):
    replicas = np.flatnonzero(r.pool == number)
    mine = np.isin(steps.replica, replicas)
    taken = steps.steps[mine].sum()
    time = r.makespan * len(replicas)
    pools[name] = {
        "U, busy time": r.busy[replicas].sum() / time,
        "steps, 1/s": taken / time,
        "S, ms": 1e3 * long[mine].sum() / taken,
        "lambda S": taken / time * long[mine].sum() / taken,
    }
used = pd.DataFrame(pools).T
demand = md.evaluate(design, workload).pools
used["demand"] = [demand[name]["demand"] for name in used.index]
used.round(4)

# %% [markdown]
# **Busy is not full.** The decode pool is busy all the time: while any request is there, some step runs, however small. What it can
# *serve* is another matter, since a larger batch costs few milliseconds more: the demand says how much of its capacity is asked for.

# %%
worst = max(float(little["apart"].max()), abs(L / (arrivals * W) - 1))
laws = float((used["lambda S"] / used["U, busy time"] - 1).abs().max())
exact = "to rounding error" if max(worst, laws) < 1e-9 else f"to {max(worst, laws):.1e}"
print(
    f"L = {L:.1f} requests in the system and lambda W agree {exact}, in the system and in every pool, as do U and lambda S; "
    f"the decode pool is busy {used.loc['decode', 'U, busy time']:.1%} of the time at a demand of {used.loc['decode', 'demand']:.2f}."
)

# %% [markdown]
# ## Finding
#
# L = 17.6 requests in the system and lambda W agree to rounding error, in the system and in every pool, as do U and lambda S; the decode
# pool is busy 100.0% of the time at a demand of 0.12.
#
# *In fast mode:* L = 17.4 requests in the system and lambda W agree to rounding error, in the system and in every pool, as do U and
# lambda S; the decode pool is busy 99.9% of the time at a demand of 0.12.
