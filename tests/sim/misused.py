"""Workloads, designs and trace files with something wrong in them, as people write them."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from random import Random
from typing import Any

import mist_dse as md
from mist_dse import rows
from mist_dse.metrics import METRICS
from tests.sim.laws import broken_law

REALS = (nan, inf, -1.0, 0.0, 5e-324, 1e-9, 0.5, 1.0, 1e3, 1e9, 1e18, 1e300)
WHOLES = (-(2**40), -1, 0, 1, 2, 7, 2**20, 2**31, 2**40, 10**12, 2**63)
CELLS = ("", "-1", "0", "1", "7", "1.5", "nan", "inf", "-inf", "1e9", "1e300", "abc", "99999999999999999999", "2147483648", "2147483647",
         "true", "[]", '"', "1,1", "0x10", " ", "null")  # fmt: skip
COLUMNS = (("arrival_s", "input_tokens", "output_tokens"), ("timestamp", "input_tokens", "output_tokens"),
           ("TIMESTAMP", "ContextTokens", "GeneratedTokens"), ("timestamp", "input_length", "output_length"))  # fmt: skip


def misused(seed: object) -> tuple[Callable[[], str], str]:
    """A run that says what came of it, and what is wrong with it; the same for the same seed."""
    chance = Random(f"people {seed}")
    kind = chance.choice((_workload, _workload, _design, _design, _trace))
    return kind(chance)


def _asked(chance: Random, **wrong: Any) -> dict[str, Any]:
    """Arguments of one or two of the fields."""
    names = chance.sample(sorted(wrong), min(len(wrong), chance.choice((1, 1, 2))))
    return {name: chance.choice(wrong[name]) for name in names}


def _workload(chance: Random) -> tuple[Callable[[], str], str]:
    kind = chance.choice(("poisson", "gamma", "uniform", "batch", "closed", "onoff", "diurnal", "sessions"))
    usual = {"rate": 2.0, "requests": 12, "clients": 3, "think": 0.5, "on_time": 1.0, "off_time": 2.0, "peak_to_mean": 1.5, "turns": 2.0}
    arrivals = usual | _asked(
        chance, rate=REALS, requests=WHOLES, clients=WHOLES, think=REALS, cv=REALS, scale=REALS, on_time=REALS, off_time=REALS,
        period=REALS, peak_to_mean=REALS, turns=REALS, tool_time=REALS, tool_share=REALS, shared_prefix=WHOLES, hash_tokens=WHOLES,
        profile=((), (0.0,), (nan, 1.0), (1.0, -1.0), (1.0, 1e300)),
    )  # fmt: skip
    law = chance.choice(("fixed", "uniform", "lognormal", "geometric", "gamma", "pareto", "empirical"))
    lengths: dict[str, Any] = {"mean": 100.0, "cv": 0.5, "low": 1, "high": 300, "shape": 1.2} | {
        "values": (5, 50) if law == "empirical" else ()
    }
    lengths |= _asked(
        chance, mean=REALS, cv=REALS, low=WHOLES, high=WHOLES, shape=REALS, values=((), (0,), (2**31,), (2**40,), (1, -1))
    )  # fmt: skip
    rest = _asked(chance, cached_prompt_fraction=REALS, warmup=REALS, seed=WHOLES) if chance.random() < 0.3 else {}

    def run() -> str:
        law_of = md.Lengths(kind=law, **lengths)
        both: dict[str, Any] = {"input_tokens": law_of, "output_tokens": chance.choice((law_of, md.Lengths(kind="fixed", mean=20.0)))}
        return _ran(
            md.load_design("tp1_colocated"), md.Workload(name="fuzz", arrivals=md.Arrivals(kind=kind, **arrivals), **both, **rest), chance
        )

    return run, f"{kind} {arrivals} {law} {lengths} {rest}"


def _design(chance: Random) -> tuple[Callable[[], str], str]:
    """A design with fields that cannot be, or memory, budgets and contexts too small for what comes."""
    batching = {"policy": chance.choice(("static", "continuous", "chunked", "prefill_first", "mixed"))} | _asked(
        chance, max_num_seqs=WHOLES, max_num_batched_tokens=(*WHOLES, 16, 100), long_prefill_threshold=WHOLES
    )
    engine = _asked(
        chance, host_step=REALS, residue=REALS, linear_factor=REALS, prefill_factor=REALS, attention_factor=REALS, front_end=REALS,
        front_end_token=REALS, front_end_output=REALS, client=REALS, block_size=WHOLES, memory_fraction=(*REALS, 0.25, 0.26),
        watermark=REALS, reserve=(*REALS, 5e10, 6.3e10), overlap=REALS, stream_interval=WHOLES, receive_interval=WHOLES, wait_steps=WHOLES,
        wait_fraction=REALS, balance_steps=WHOLES, max_model_len=(*WHOLES, 100, 600), whole_prompts=(True, False),
        reserve_output=(True, False), reserve_full_isl=(True, False),
    )  # fmt: skip
    pool: dict[str, Any] = {"replicas": chance.choice((1, 1, 1, 2, 8, *WHOLES))}
    if chance.random() < 0.3:
        pool["parallelism"] = {chance.choice(("tp", "pp", "dp", "ep", "cp")): chance.choice((1, 2, 3, 8, *WHOLES))}
    tokens, out = chance.choice((50, 500, 5000, 200_000)), chance.choice((1, 20, 3000))

    def run() -> str:
        design = md.load_design("tp1_colocated")
        first = design.pools[0]
        changes: dict[str, Any] = dict(pool)
        if "parallelism" in changes:
            changes["parallelism"] = md.Parallelism(**pool["parallelism"])
        changed = replace(first, batching=replace(first.batching, **batching), engine=replace(first.engine, **engine), **changes)
        workload = md.Workload.poisson(rate=3.0, input_tokens=tokens, output_tokens=out, requests=10)
        return _ran(replace(design, pools=(changed, *design.pools[1:])), workload, chance)

    return run, f"{batching} {engine} {pool} {tokens} {out}"


def _trace(chance: Random) -> tuple[Callable[[], str], str]:
    """A file of a few requests, some cells of which are not what they should be."""
    columns = chance.choice(COLUMNS)
    extra = chance.sample(("max_tokens", "session", "priority", "class", "think_s", "cached_tokens", "hash_ids"), chance.choice((0, 0, 1)))
    rows_of = [[str(i / 2), "100", "10", *["1"] * len(extra)] for i in range(6)]
    chance.shuffle(rows_of)
    for _ in range(chance.choice((1, 1, 2))):
        row = chance.choice(rows_of)
        row[chance.randrange(len(row))] = chance.choice(CELLS)
    names = [*columns, *extra]
    if chance.random() < 0.5:
        text = "\n".join(",".join(row) for row in ([names, *rows_of] if chance.random() < 0.95 else rows_of))
    else:
        text = "\n".join("{" + ", ".join(f'"{name}": {cell}' for name, cell in zip(names, row, strict=True)) + "}" for row in rows_of)
    text = text[: chance.randrange(len(text))] if chance.random() < 0.1 else text

    def run() -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.csv"
            path.write_text(text)
            arrivals = md.Arrivals(kind="trace", path=str(path), scale=chance.choice((1.0, 1.0, *REALS)))
            return _ran(md.load_design("tp1_colocated"), md.Workload(name="fuzz", arrivals=arrivals), chance)

    return run, repr(text)


def _ran(design: Any, workload: Any, chance: Random) -> str:
    """Simulated, or evaluated with any fidelity: what came of it."""
    if chance.random() < 0.5:
        result = md.simulate(design, workload)
        broken = broken_law(result.records)
        done = result.records.status == rows.COMPLETED
        if not broken and (result.records.last_token[done] < result.records.arrival[done]).any():
            broken = "a last token before its arrival"
        return f"FAULT {broken}" if broken else "lawful"
    found = md.evaluate(design, workload, fidelity=chance.choice(("simulated", "steady", "bound")))
    if found.violations and not found.feasible:
        text = found.violations[0].constraint
        return "infeasible" if 10 < len(text) < 300 and "\n" not in text else f"FAULT unclear: {text}"
    strange = [f"{name} = {value}" for name, value in found.metrics.items() if value is not None and (value != value or value < 0)]
    unknown = set(found.metrics) - set(METRICS)
    return f"FAULT {found.fidelity} {', '.join(strange)}{unknown or ''}" if strange or unknown else "lawful"
