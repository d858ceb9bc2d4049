"""Spaces of other tools are contained in ours: what they list, recounted by their own rules, against our tables by set difference."""

from dataclasses import replace
from functools import lru_cache
from itertools import product

import numpy as np
import pytest

from mist_dse.catalog import Catalog
from mist_dse.explore.spaces.table import DesignTable
from mist_dse.specs.evaluation import Infeasible
from mist_dse.stages import lower, lower_pool
from studies.against_aiconfigurator import case
from studies.mist_t3 import t3

MEMORY = {"h200": 141, "b200": 192, "gb300": 288, "etched": 192, "mi350x": 288, "mi355x": 288, "tpu_v6e": 32, "tpu_v7": 192}
NEEDED = 32 + 120_000 * 140 / 1024 / 1024  # GB: weights and the KV of one longest request, as MIST reserves them


@pytest.fixture(scope="module", params=case.MODES)
def listed(request: pytest.FixtureRequest) -> tuple[str, DesignTable]:
    return request.param, case.space(request.param).table(Catalog().prices("default"))


def test_every_deployment_that_aiconfigurator_lists_is_in_our_space(listed) -> None:
    mode, table = listed
    rows = case.listed()
    assert (rows["mode"] == mode).sum() >= 79
    assert case.missing(mode, table) == set()


def test_every_worker_that_it_builds_them_from_is_one_of_our_pools() -> None:
    table = case.space("disaggregated").table(Catalog().prices("default"))
    assert (case.listed()["mode"].str.endswith("worker")).sum() == 655
    assert case.missing_workers(table) == set()


def test_a_space_without_tp_8_lacks_some_of_them() -> None:
    """The set difference can be other than empty."""
    whole = case.space("colocated")
    narrow = replace(whole, variables=tuple(replace(item, values=(1, 2, 4)) if item.field == "tp" else item for item in whole.variables))
    lacking = case.missing("colocated", narrow.table(Catalog().prices("default")))
    assert lacking
    assert all(dict(key)["pools.decode.tp"] == 8 for key in lacking)


def test_its_front_is_not_dominated_by_anything_that_it_lists() -> None:
    front, rows = case.front(), case.listed().query("backend == 'trtllm' and mode in @case.MODES and ttft_ms <= 1000")
    device = rows["tokens_per_s_per_device"] * (32 // rows["devices"] * rows["devices"]) / 32
    for user, most in zip(rows["tokens_per_s_per_user"], device, strict=True):
        assert ((front["user"] >= user) & (front["device"] >= most)).any()


def engines(kind: str, devices: int) -> list[tuple[str, int, int]]:
    """(accelerator, tp, replicas) that MIST's enumerator makes of ``devices`` devices."""
    least = int(np.ceil(NEEDED / MEMORY[kind]))
    return [(kind, tp, devices // tp) for tp in (1, 2) if devices % tp == 0 and tp >= least]


def by_mist() -> set[tuple[tuple[str, int, int], ...]]:
    """Every configuration of its task T3: all devices in one pool, or split in any way over any two kinds."""
    alone = {(one,) for kind in MEMORY for one in engines(kind, 8)}
    split = {
        pair for count in range(1, 8) for a, b in product(MEMORY, repeat=2) for pair in product(engines(a, count), engines(b, 8 - count))
    }
    return alone | split


def test_the_designs_of_mist_t3_that_fit_are_those_that_mist_enumerates() -> None:
    catalog = t3.catalog()
    table = t3.space_of(catalog).table(catalog.prices("mist_t3"))
    requests = t3.requests_of("chat")[1]
    pool_row = lru_cache(maxsize=None)(lower_pool)
    ours = set()
    for index in range(len(table)):
        design = table.design(index)
        key = tuple((pool.accelerator.name, pool.parallelism.tp, pool.replicas) for pool in design.pools)
        tight = any(each[0] == "tpu_v6e" and each[1] == 1 for each in key)
        if tight and index % 8:
            continue  # refused alike: every eighth is looked at
        if not isinstance(lower(design, requests, pool_row=pool_row), Infeasible):
            ours.add(key)
        else:
            assert tight
    assert ours == by_mist()
    assert 2 * len(ours) == 1772
