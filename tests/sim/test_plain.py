"""The same source as plain Python: numba switched off in another process, every record compared."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

from mist_dse import rows
from mist_dse.sim import simulate
from tests.oracles.agreement import assert_agree
from tests.strategies import Case, colocated, disaggregated, jobs_of, requests_of, servers_of, simple_cost, simple_engine

ROOT = Path(__file__).parents[2]
SCRIPT = """
import pickle, sys
from mist_dse.sim import simulate
pickle.dump(simulate(*pickle.load(sys.stdin.buffer)), sys.stdout.buffer)
"""


def case() -> Case:
    """Forty requests over two pools of two replicas each with few blocks, handed over through one link."""
    wanted = [(float(i), 5 + i % 11, 1 + i % 7) for i in range(40)]
    calls = [
        disaggregated(prompt, emit, work=(0.5, 1.0)) if i % 3 else colocated(prompt, emit) for i, (_, prompt, emit) in enumerate(wanted)
    ]
    cost = simple_cost(base=1.1, per_token=0.3, per_seq=0.2, per_context=0.01)
    first = simple_engine(replicas=2, ranks=2, router=rows.JOIN_SHORTEST_QUEUE, packing=rows.SHORTEST)
    second = simple_engine(replicas=2, policy=rows.MIXED, blocks=12, max_num_seqs=4, router=rows.LEAST_KV)
    servers = servers_of([(first, cost), (second, cost)], [rows.Station(4.0, 2.0, 1000, 0.25)])
    return Case(servers, jobs_of(calls), requests_of([at for at, _, _ in wanted], [(p, e) for _, p, e in wanted]))


def test_law_15_compiled_equals_plain() -> None:
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=pickle.dumps(tuple(case())), capture_output=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    plain = pickle.loads(done.stdout)
    assert plain.preemptions.sum() > 0
    assert_agree(simulate(*case()), plain)
