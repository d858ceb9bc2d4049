"""The RTX PRO 6000 runs under the machine's own operator profile, and how much of the error is whose.

The scheduler's share: simulated time is mapped to the log's by a piecewise linear function with a knot every `EVENTS` events
(least squares over all first and last tokens), arrivals go through it, and the simulation is repeated until the map stands.
Steps then take as long as the log's on average over a knot's span, which hides what operators got wrong; a step too early or
too late is shorter than a span and stays. The map's slope is the operators' error at the log's own load.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from catalogue import DATA, PCIE, recorded, requests_of, rtx_design, signed_errors, times

from mist_dse.rows import Records, Requests, StepCost
from mist_dse.sim import simulate
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import Link
from mist_dse.stages import Lowered, lower
from mist_dse.validate.step_profile import operator_profile, profiled_step_cost, separation

FOLDERS = {"Llama-3.1-8B": "meta-llama/Llama-3.1-8B", "Qwen3-32B": "Qwen/Qwen3-32B"}
EVENTS, ROUNDS = 12, 12
TARGETS = {"ttft mean": 2, "ttft p50": 6, "ttft p90": 4, "ttft p99": 4, "tpot mean": 2, "latency mean": 2}
"""Most that a statistic may be off, in %; both curves of the log: 5% of the cap."""


class Case(NamedTuple):
    """A run, what it recorded, and the rows of the machine that its profile makes."""

    name: str
    rows: pd.DataFrame
    seen: pd.DataFrame
    lowered: Lowered
    asked: Requests
    cap: int

    def run(self, cost: StepCost | None = None, arrival: np.ndarray | None = None) -> Records:
        """Simulated under the profile's step cost or ``cost``, requests arriving as recorded or at ``arrival``."""
        asked = self.asked if arrival is None else self.asked._replace(arrival=arrival)
        servers = self.lowered.servers if cost is None else self.lowered.servers._replace(costs=(cost,))
        return simulate(servers, self.lowered.jobs, asked)

    def latencies(self, run: Records) -> pd.DataFrame:
        """What the requests saw in ``run``."""
        return times(self.asked.arrival, run.first_token, run.last_token, self.asked.output_tokens)


def cost_of(
    name: str, residue: float | None = None, *, engine: str = "vllm", link: Link = PCIE, additive: bool = False
) -> tuple[StepCost, pd.DataFrame]:
    """Step tables of a run and their `separation`. ``residue``: s per step instead of that of ``engine``; ``link``: of all-reduces;
    ``additive``: prompts and decodes in one step cost what they cost alone."""
    design = rtx_design(name, engine)
    pool, width = design.pools[0], design.pools[0].parallelism.tp
    if residue is not None:
        pool = replace(pool, engine=replace(pool.engine, residue=residue, residue_sequence=0.0))
    topology = replace(design.topology, tiers=(replace(design.topology.tiers[0], link=link),))
    folder = DATA / "profiles" / "llmservingsim" / "perf" / "RTXPRO6000" / FOLDERS[name] / "bf16" / f"tp{width}"
    profile = operator_profile(folder, pool.model.layers)
    if additive:
        profile = profile._replace(attention=side_by_side(profile.attention))
    cost = profiled_step_cost(profile, pool, topology)
    return cost, separation(profile, cost)


def side_by_side(rows: pd.DataFrame) -> pd.DataFrame:
    """Attention with the rows that mix prompts and decodes replaced by the sum of the two alone."""
    prompts = rows[rows["decodes"] == 0].set_index(["chunk", "history"])["seconds"].rename("prompt")
    decodes = rows[rows["chunk"] == 0].set_index(["decodes", "context"])["seconds"].rename("decode")
    both = rows.join(prompts, on=["chunk", "history"]).join(decodes, on=["decodes", "context"])
    mixed = (both["chunk"] > 0) & (both["decodes"] > 0)
    return rows.assign(seconds=np.where(mixed, both["prompt"] + both["decode"], both["seconds"])).dropna()


def case(name: str) -> Case:
    """The run of that name."""
    rows, seen = recorded(DATA / "serving_runs" / "RTXPRO6000" / name)
    asked, design = requests_of(*(rows[column].to_numpy() for column in ("arrival", "input_toks", "output_toks"))), rtx_design(name, "vllm")
    found = lower(design, asked)
    if isinstance(found, Infeasible):
        raise ValueError(found.constraint)
    found = found._replace(servers=found.servers._replace(costs=(cost_of(name)[0],)))
    return Case(name, rows, seen, found, asked, design.pools[0].batching.max_num_seqs)


def inferred_residue(one: Case, half: slice) -> float:
    """Seconds per step that make the mean TPOT of a part of a run's requests right, by bisection."""
    low, high = 0.0, 4e-3
    for _ in range(9):
        middle = 0.5 * (low + high)
        ours = one.latencies(one.run(cost_of(one.name, middle)[0]))["tpot"][half].mean()
        low, high = (middle, high) if ours < one.seen["tpot"][half].mean() else (low, middle)
    return 0.5 * (low + high)


def normalised(one: Case) -> tuple[Records, np.ndarray, np.ndarray]:
    """A run at the log's own pace, with its times mapped to the log's; and the map's knots, log and simulated."""
    log = np.concatenate([one.rows["first_token"], one.rows["last_token"]])
    knots = np.concatenate(([0.0], np.sort(log)[EVENTS - 1 :: EVENTS], [log.max()]))
    basis = np.stack([np.interp(log, knots, line) for line in np.eye(len(knots))[1:]], axis=1)
    arrival, values = one.asked.arrival, knots
    for _ in range(ROUNDS):
        run = one.run(arrival=arrival)
        found = np.linalg.lstsq(basis, np.concatenate([run.first_token, run.last_token]), rcond=None)[0]
        values = 0.5 * (values + np.maximum.accumulate(np.concatenate(([0.0], found))))  # half way: it would swing otherwise
        arrival = np.interp(one.asked.arrival, knots, values)
    run = one.run(arrival=arrival)
    back = {name: np.interp(getattr(run, name), values, knots) for name in ("admitted", "first_token", "last_token", "end")}
    return run._replace(arrival=one.asked.arrival, **back), knots, values


def paces(one: Case, knots: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """Simulated time over the log's, signed error in %, while slots fill, while all are taken and as they empty."""
    full = np.sort(one.rows["last_token"])[0], one.rows["scheduled"].max()
    edges = np.array([0.0, *full, knots[-1]])
    gone = np.diff(np.interp(edges, knots, values)) / np.diff(edges)
    return dict(zip(("filling", "full", "emptying"), 100 * (gone - 1), strict=True))


def ablations(cases: list[Case]) -> pd.DataFrame:
    """Errors of the means without a part of the step cost, in %."""
    table = []
    for one in cases:
        cost = one.lowered.servers.costs[0]
        free = replace(PCIE, bandwidth=1e15, latency=0.0)
        ways = {"none": cost, "no residue": cost_of(one.name, 0.0)[0], "attention adds up": cost_of(one.name, additive=True)[0],
                "no time on the link": cost_of(one.name, link=free)[0]}  # fmt: skip
        others = ("vllm_0_11_blackwell_dense", "vllm_0_19_blackwell_moe", "generic")
        ways |= {f"residue of {name}": cost_of(one.name, engine=name)[0] for name in others}
        for way, changed in ways.items():
            errors = signed_errors(one.latencies(one.run(changed)), one.seen)
            table.append({"run": one.name, "change": way} | {name: errors[name] for name in TARGETS})
    return pd.DataFrame(table)


def inferences(cases: list[Case]) -> pd.DataFrame:
    """A constant per step (ms) that one part of a run asks for, in place of the catalogue's residue, and the errors on both runs."""
    table, whole = [], slice(None)
    for one, part, said in [(one, whole, "all") for one in cases] + [(one, slice(0, len(one.seen) // 2), "first half") for one in cases]:
        constant = inferred_residue(one, part)
        for other in cases:
            errors = signed_errors(other.latencies(other.run(cost_of(other.name, constant)[0])), other.seen)
            table.append({"inferred on": f"{one.name}, {said}", "ms": 1e3 * constant, "tested on": other.name}
                         | {name: errors[name] for name in TARGETS})  # fmt: skip
    return pd.DataFrame(table)


def counts(times_at: np.ndarray, queued: np.ndarray, started: np.ndarray, ended: np.ndarray) -> np.ndarray:
    """Running and waiting requests at each time."""
    reached = [np.searchsorted(np.sort(stamps), times_at, side="right") for stamps in (queued, started, ended)]
    return np.stack([reached[1] - reached[2], reached[0] - reached[1]])


def curves(one: Case, run: Records) -> pd.DataFrame:
    """The log's 1 Hz curves beside ours. The logger started before the first request: the log's own time stamps tell when."""
    log = pd.read_csv(DATA / "serving_runs" / "RTXPRO6000" / one.name / "vllm" / "timeseries.csv.gz")
    written, stamps = (
        log[["running", "waiting"]].to_numpy().T,
        (one.rows[name].to_numpy() for name in ("queued", "scheduled", "last_token")),
    )
    queued, started, ended = stamps
    starts = np.arange(-1.0, 1.0, 0.01)
    best = min(starts, key=lambda start: float(np.square(counts(log["t"] - start, queued, started, ended) - written).sum()))
    at = (log["t"] - best).to_numpy()
    ours = counts(at, one.asked.arrival, run.admitted, run.last_token)
    return pd.DataFrame(
        {"run": one.name, "t": at, "running log": written[0], "running": ours[0], "waiting log": written[1], "waiting": ours[1]}
    )


def curve_errors(curve: pd.DataFrame, cap: int) -> dict[str, float]:
    """RMS error of each curve in % of the cap."""
    return {
        f"{name} rms": 100 * float(np.sqrt(np.square(curve[name] - curve[f"{name} log"]).mean())) / cap for name in ("running", "waiting")
    }


def report(one: Case) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Errors of a run in %: all of it, the scheduler's share, the rest, which is the operators'; and its curves."""
    run = one.run()
    steady, knots, values = normalised(one)
    whole, curve = signed_errors(one.latencies(run), one.seen), curves(one, run)
    share = signed_errors(one.latencies(steady), one.seen)
    whole |= curve_errors(curve, one.cap)
    share |= curve_errors(curves(one, steady), one.cap)
    table = pd.DataFrame(
        {"profile": whole, "scheduler": share, "operators": {name: whole[name] - share[name] for name in share if "rms" not in name}}
    )
    pace = pd.DataFrame({"operators": {f"pace {name}": value for name, value in paces(one, knots, values).items()}})
    late = 1e3 * np.median(steady.admitted - one.rows["scheduled"]), 1e3 * np.median(steady.first_token - one.rows["first_token"])
    stamps = pd.DataFrame({"scheduler": {"admission late ms": late[0], "first token late ms": late[1]}})
    return pd.concat([table, pace, stamps]).rename_axis("statistic").reset_index().assign(run=one.name), curve
