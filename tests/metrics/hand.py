"""Hand-made records: every time is given, the rest is nothing."""

from types import SimpleNamespace

import numpy as np

from mist_dse.rows import Jobs, Records, Requests
from mist_dse.specs.design import Design, Parallelism, Pool
from mist_dse.specs.engine import EngineProfile
from mist_dse.specs.hardware import Link, Topology, TopologyTier
from mist_dse.specs.model import ModelSpec
from mist_dse.specs.pipeline import Pipeline, Stage

NAN = float("nan")


def requests(arrival, input_tokens, output_tokens):
    """A table of requests."""
    count, output = len(arrival), np.array(output_tokens)
    return Requests(np.array(arrival, float), np.array(input_tokens), output, output, np.zeros(count, int), np.zeros(count), 0, NAN)


def records(**columns):
    """Records with the given columns; the others are empty."""
    given = {name: np.array(value) for name, value in columns.items() if name != "makespan"}
    empty = {name: np.zeros(0) for name in Records._fields}
    given.setdefault("visit_ready", given.get("visit_start", empty["visit_ready"]))
    return Records(**empty | given | {"makespan": columns.get("makespan", 0.0)})


def jobs(first, edges=(), **columns):
    """Visits of requests ``first``; ``edges`` are (from, to, on) in order of source."""
    visits = first[-1]
    sources = [edge[0] for edge in edges]
    empty = {name: np.zeros(visits, int) for name in Jobs._fields}
    return Jobs(
        **empty
        | {name: np.array(value) for name, value in columns.items()}
        | {
            "first": np.array(first),
            "edge_first": np.searchsorted(sources, np.arange(visits + 1)) if sources else np.zeros(visits + 1, int),
            "edge_to": np.array([edge[1] for edge in edges], int),
            "edge_on": np.array([edge[2] for edge in edges], int),
        }
    )


def design(*pools):
    """Stand-in of a design with (name, accelerator, devices) pools on nodes without hosts, for the sums over pools."""
    made = tuple(SimpleNamespace(name=name, accelerator=accelerator, devices=devices, beside="") for name, accelerator, devices in pools)
    return SimpleNamespace(pools=made, hosts=made, topology=SimpleNamespace(host=None), accelerators=sum(pool.devices for pool in made))


def small_design(accelerator, *, replicas, tp):
    """A real design of one pool: a small dense model on ``replicas`` engines of ``tp`` devices in two nodes of eight."""
    model = ModelSpec(
        name="small", layers=4, hidden=256, heads=8, kv_heads=8, head_dim=32, ffn=1024, mlp_matrices=3, vocab=1000, max_context=4096
    )
    pipeline = Pipeline(
        name="chat", stages=(Stage(name="prefill", kind="prefill"), Stage(name="decode", kind="decode", after=("prefill",)))
    )
    rail = Link(name="rail", kind="network", bandwidth=5e10, latency=1e-6)
    topology = Topology(name="two", tiers=(TopologyTier(name="node", size=8), TopologyTier(name="rack", size=16, link=rail)))
    pool = Pool(
        name="all", stages=("prefill", "decode"), model=model, accelerator=accelerator, engine=EngineProfile(name="generic"),
        replicas=replicas, parallelism=Parallelism(tp=tp),
    )  # fmt: skip
    return Design(pipeline=pipeline, topology=topology, pools=(pool,))
