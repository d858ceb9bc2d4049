"""Every file of the catalogue loads, names its source, and writes its quantities with units."""

import csv
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mist_dse.catalog import GROUPS, Catalog, conf_dir
from mist_dse.specs.hardware import Accelerator

CATALOG = Catalog()
ENTITIES = tuple(group for group in GROUPS if group not in ("workload", "design"))
LOAD = {group: getattr(CATALOG, {"price": "prices"}.get(group, group)) for group in GROUPS}
FILES = [(group, name) for group in ENTITIES for name in CATALOG.names(group)]

DIMENSIONAL = {
    "memory", "visible_memory", "memory_bandwidth", "host_link", "nic", "tdp", "idle_power", "overhead", "bandwidth", "latency", "read",
    "write", "capacity", "price", "fp32", "tf32", "bf16", "fp8", "int8", "fp4", "pq_scan", "host_step", "host_sequence", "host_prefill",
    "front_end", "front_end_token", "client", "reserve", "ttft", "tpot", "e2e",
}  # fmt: skip


@pytest.mark.parametrize(("group", "name"), FILES, ids=lambda part: part)
def test_every_file_loads_under_its_own_name(group: str, name: str) -> None:
    spec = LOAD[group](name)
    assert getattr(spec, "name", name) == name


@pytest.mark.parametrize("name", CATALOG.names("design"))
def test_every_design_loads(name: str) -> None:
    design = CATALOG.design(name)
    assert design.name == name
    assert design.accelerators <= design.topology.devices


@pytest.mark.parametrize(("group", "name"), FILES, ids=lambda part: part)
def test_every_entity_has_a_source(group: str, name: str) -> None:
    source = CATALOG.data(group, name)["source"]
    text = source if isinstance(source, str) else source["default"]
    assert len(text) >= 4


@pytest.mark.parametrize("name", CATALOG.names("accelerator"))
def test_every_accelerator_says_how_sure_it_is(name: str) -> None:
    data = CATALOG.data("accelerator", name)
    assert data["confidence"] in ("vendor-datasheet", "measured", "secondary", "estimate")
    assert data["verified"]


def quantities(data: Any) -> Iterator[tuple[str, Any]]:
    """Keys and values of a nested mapping that hold a quantity; sources are text."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in pairs:
        if key == "operators":
            yield from (("overhead", operator["overhead"]) for operator in value)
        elif key in DIMENSIONAL and not isinstance(value, dict):
            yield key, value
        elif key != "source":
            yield from quantities(value)


@pytest.mark.parametrize(("group", "name"), [item for item in FILES if item[0] != "model"], ids=lambda part: part)
def test_every_quantity_is_written_with_its_unit(group: str, name: str) -> None:
    for key, value in quantities(CATALOG.data(group, name)):
        assert isinstance(value, str), (key, value)
        assert re.fullmatch(r"[\d.e+-]+ [A-Za-z/]+", value), (key, value)


def test_enough_of_everything() -> None:
    assert len(CATALOG.names("accelerator")) >= 25
    assert {"node_1", "hgx_pair", "rack_4x8", "cluster_32x8", "nvl72_rack", "nvl72_x4", "pcie_node_8"} <= set(CATALOG.names("topology"))
    assert {"generic", "vllm", "vllm_sync", "sglang", "trtllm"} <= set(CATALOG.names("engine"))
    assert {"tp1_colocated", "tp2_colocated", "tp4_colocated", "tp8_colocated", "disagg_2x4"} <= set(CATALOG.names("design"))


@pytest.mark.parametrize(
    ("name", "bf16", "memory", "bandwidth", "tdp"),
    [
        ("h100_sxm", 989.4e12, 80 * 2**30, 3.35e12, 700),
        ("a100_sxm_80gb", 312e12, 80 * 2**30, 2.039e12, 400),
        ("mi300x", 1307.4e12, 192 * 2**30, 5.3e12, 750),
        ("tpu_v5e", 197e12, 16 * 2**30, 819e9, None),
        ("l40s", 362.05e12, 48 * 2**30, 864e9, 350),
    ],
)
def test_datasheet_figures(name: str, bf16: float, memory: float, bandwidth: float, tdp: float | None) -> None:
    device = CATALOG.accelerator(name)
    assert (device.peaks.bf16, device.memory, device.memory_bandwidth) == pytest.approx((bf16, memory, bandwidth), rel=1e-12)
    assert device.tdp == tdp


@pytest.mark.parametrize("name", CATALOG.names("accelerator"))
def test_rates_are_dense_and_ordered(name: str) -> None:
    """A narrower datatype is never slower, and at most 4 times as fast as the next wider: a factor beyond that is a sparse figure."""
    device: Accelerator = CATALOG.accelerator(name)
    rates = [rate for rate in (device.peaks.bf16, device.peaks.fp8, device.peaks.fp4) if rate]
    assert all(1 <= narrow / wide <= 4 for wide, narrow in itertools.pairwise(rates))
    assert device.visible_memory is None or 0.9 * device.memory <= device.visible_memory <= device.memory


@pytest.mark.parametrize("name", CATALOG.names("accelerator"))
def test_fitted_operators_stay_below_the_speed_of_light(name: str) -> None:
    device = CATALOG.accelerator(name)
    for fit in device.operators:
        assert 0 < fit.compute <= 1
        assert 0 < fit.memory <= 1
        assert getattr(device.peaks, fit.dtype) is not None
        assert "aiconfigurator 0.12" in fit.source


def test_aliases_name_one_entry_each() -> None:
    for group in ENTITIES:
        seen: dict[str, str] = {}
        for name in CATALOG.names(group):
            for alias in [name, *CATALOG.data(group, name).get("aliases", [])]:
                folded = re.sub(r"[\s_-]+", "-", alias.casefold())
                assert seen.setdefault(folded, name) == name, (group, alias)


def test_topologies_use_the_right_links() -> None:
    assert CATALOG.topology("node_1").devices == CATALOG.topology("node_1").node_size == 8
    assert CATALOG.topology("hgx_pair").tiers[1].link == CATALOG.link("infiniband_ndr")
    cluster = CATALOG.topology("cluster_32x8")
    assert (cluster.devices, cluster.node_size, cluster.tiers[-1].oversubscription) == (256, 8, 2.0)
    assert CATALOG.topology("nvl72_x4").devices == 4 * 72


def test_engine_pads_to_the_sizes_that_vllm_captures() -> None:
    sizes = CATALOG.engine("vllm").graph_sizes
    assert sizes[:6] == (1, 2, 4, 8, 16, 24)
    assert sizes[-1] == 512
    assert len(sizes) == 51


BY_HAND = {f"model/{name}.yaml" for name in ("all-minilm-l6-v2", "bge-large-en-v1.5", "clip-vit-l-14-336", "ms-marco-minilm-l6-v2")}
"""Encoders that the reference tables do not have; each file names its own sources."""


def test_generator_reproduces_the_committed_entries(tmp_path: Path) -> None:
    """Rewriting the entries from the reference tables changes nothing."""
    data = os.environ.get("MIST_DSE_DATA")
    if not data:
        pytest.skip("MIST_DSE_DATA is not set: the reference tables are not part of the repository")
    repository = conf_dir().parent
    _run(repository / "studies" / "catalogue" / "run.py", str(Path(data) / "catalog"), str(tmp_path))
    groups = ("accelerator", "host", "link", "tier", "model", "price")
    fresh = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*.yaml")}
    committed = {f"{group}/{path.name}": path.read_text() for group in groups for path in (conf_dir() / group).glob("*.yaml")}
    assert {name: text for name, text in committed.items() if name not in BY_HAND} == fresh
    assert committed.keys() - fresh.keys() >= BY_HAND
    with (Path(data) / "catalog" / "models.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            model = CATALOG.model(row["name"])
            assert (model.parameters, model.active_parameters) == (int(row["computed_total"]), int(row["computed_active"]))


def _run(script: Path, *arguments: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(script.parent.parent.parent)}
    subprocess.run([sys.executable, str(script), *arguments], check=True, env=environment, capture_output=True)
