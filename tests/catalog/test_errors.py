"""Bad input: one line with the file, the key path, the value, and the nearest names or what is valid."""

from pathlib import Path

import pytest

from mist_dse.catalog import Catalog, CatalogError, build_design, build_workload, load_design

CATALOG = Catalog()
LINK = "kind: scale-up\nbandwidth: 450 GB/s\nlatency: 5 us\nsource: a test\n"


def message(call: object, *arguments: object, **keywords: object) -> str:
    """The one line of the `CatalogError` that the call raises."""
    with pytest.raises(CatalogError, match=r".+") as caught:
        call(*arguments, **keywords)  # type: ignore[operator]
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    return text


def catalog_with(folder: Path, group: str, name: str, text: str) -> Catalog:
    """A catalogue whose first folder holds one file."""
    (folder / group).mkdir(parents=True)
    (folder / group / f"{name}.yaml").write_text(text)
    return Catalog((folder, *CATALOG.directories))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LINK.replace("450 GB/s", "450 GB"), "bandwidth: '450 GB' is a quantity of B, expected B/s"),
        (LINK.replace("450 GB/s", "450 GX/s"), "bandwidth: '450 GX/s' has an unknown unit 'GX/s'"),
        (LINK.replace("450 GB/s", "fast"), "bandwidth: 'fast' is not a quantity"),
        (LINK.replace("450 GB/s", "true"), "bandwidth: True is not a quantity"),
        (LINK.replace("450 GB/s", "-450 GB/s"), "bandwidth: Link.bandwidth is -450000000000.0: must be finite and > 0"),
        (LINK.replace("450 GB/s", ".inf"), "bandwidth: inf is not finite"),
        (LINK.replace("bandwidth:", "bandwith:"), "bandwith: unknown key 'bandwith' (value '450 GB/s'); did you mean 'bandwidth'?"),
        (LINK.replace("latency: 5 us\n", ""), "latency: missing key 'latency'"),
        (LINK.replace("source: a test\n", ""), "source: missing key 'source'"),
        (LINK.replace("source: a test", "source: {bandwidth: a test}"), "source is missing its default"),
        (LINK.replace("source: a test", "source: {default: a, bandwith: b}"), "did you mean 'bandwidth'?"),
        (LINK.replace("scale-up", "scale-upp"), "kind: 'scale-upp' is unknown; did you mean 'scale-up'"),
        (LINK + "latency: 6 us\n", "line 5: the key 'latency' is written twice"),
        (LINK + "efficiency: 1.5\n", "efficiency: Link.efficiency is 1.5: must lie between 0 and 1"),
        (LINK + "efficiency: [\n", "line 6: "),
        ("- a list\n", "is not a mapping"),
        ("", "None is not a mapping"),
    ],
)
def test_a_bad_file_names_itself_the_key_and_the_value(tmp_path: Path, text: str, says: str) -> None:
    line = message(catalog_with(tmp_path, "link", "broken", text).link, "broken")
    assert line.startswith(f"{tmp_path}/link/broken.yaml: ")
    assert says in line


@pytest.mark.parametrize(
    ("name", "best"),
    [
        ("h100_smx", "h100_sxm"),
        ("h100", "h100_sxm"),
        ("H100SXM", "h100_sxm"),
        ("l40", "l40s"),
        ("mi-300x", "mi300x"),
        ("tpu_v5", "tpu_v5e"),
    ],
)
def test_unknown_accelerators_offer_the_nearest(name: str, best: str) -> None:
    line = message(load_design, "tp4_colocated", accelerator=name)
    assert f"pools.serve.accelerator: accelerator {name!r} is not in the catalogue; did you mean" in line
    assert repr(best) in line


def test_a_name_like_no_other_lists_what_there_is() -> None:
    assert f"valid: {', '.join(CATALOG.names('topology'))}" in message(CATALOG.topology, "zzz")


@pytest.mark.parametrize(
    "group", ["accelerator", "host", "link", "tier", "topology", "model", "engine", "pipeline", "prices", "slo", "workload", "design"]
)
def test_unknown_names_in_every_group(group: str) -> None:
    assert "'no such thing' is not in the catalogue" in message(getattr(CATALOG, group), "no such thing")


def test_a_name_cannot_leave_the_catalogue() -> None:
    assert "is not in the catalogue" in message(CATALOG.link, "../host/grace")


def test_unknown_group() -> None:
    assert "there is no group 'acelerator' in the catalogue; did you mean 'accelerator'?" in message(CATALOG.names, "acelerator")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tp": 3}, "pools.serve.tp: Pool serve: tp is 3, which does not divide the 64 attention heads of llama-3.1-70b"),
        ({"pp": 3}, "pools.serve.pp: Pool serve: pp is 3"),
        ({"ep": 3}, "pools.serve.ep: Parallelism.ep is 3: must divide tp x dp = 4"),
        ({"tp": "four"}, "pools.serve.tp: 'four': should be a valid integer"),
        ({"tp": 0}, "pools.serve.tp: Parallelism.tp is 0: must be finite and > 0"),
        ({"replicas": -1}, "pools.serve.replicas: Pool.replicas is -1"),
        ({"replicaz": 2}, "unknown key 'replicaz' (value 2); did you mean 'replicas'?"),
        (
            {"pools.serve.acelerator": "l40s"},
            "pools.serve.acelerator: unknown key 'acelerator' (value 'l40s'); did you mean 'accelerator'?",
        ),
        (
            {"batching.max_num_seq": 2},
            "pools.serve.batching.max_num_seq: unknown key 'max_num_seq' (value 2); did you mean 'max_num_seqs'?",
        ),
        (
            {"batching.policy": "chunkd"},
            "pools.serve.batching.policy: 'chunkd' is unknown; did you mean 'chunked'? valid: static, continuous, chunked",
        ),
        ({"batching.max_num_batched_tokens": 10}, "pools.serve.batching.max_num_batched_tokens: "),
        ({"router": "jsk"}, "pools.serve.router: 'jsk' is unknown; did you mean 'jsq'?"),
        ({"dtype": "fp7"}, "pools.serve.dtype: 'fp7' is unknown; did you mean 'fp8'?"),
        ({"dtype.weight": "fp88"}, "pools.serve.dtype.weight: 'fp88' is unknown; did you mean 'fp8'"),
        ({"hosts": ["prefil", "decode"]}, "pools.serve.hosts: 'prefil' is not a stage of pipeline chat; did you mean 'prefill'?"),
        ({"hosts": ["prefill"]}, "pools: Design hosts no pool for stage 'decode' of pipeline chat"),
        ({"at.nod": 1}, "pools.serve.at.nod: unknown key 'nod'"),
        ({"handoff": {"from": "serv", "to": "serve"}}, "handoff.from: 'serv' is not a pool of the design; did you mean 'serve'?"),
        ({"topology": "rack_4x9"}, "topology: topology 'rack_4x9' is not in the catalogue; did you mean 'rack_4x8'?"),
        ({"pipeline": "chatt"}, "pipeline: pipeline 'chatt' is not in the catalogue; did you mean 'chat' or "),
        ({"pools": {}}, "pools: {}: "),
    ],
)
def test_bad_designs_name_the_key_path(changes: dict[str, object], says: str) -> None:
    line = message(CATALOG.design, "tp4_colocated", **changes)
    assert line.startswith(str(CATALOG.path("design", "tp4_colocated")))
    assert says in line


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rate": -1}, "arrivals.rate: Arrivals.rate is -1.0: must be finite and > 0"),
        ({"rate": float("nan")}, "arrivals.rate: nan is not finite"),
        ({"rate": "2 s"}, "arrivals.rate: '2 s' is a quantity of s, expected 1/s"),
        ({"rate": None}, "arrivals.rate: Arrivals.rate is missing: poisson arrivals need it"),
        ({"requests": 2.5}, "arrivals.requests: 2.5: should be a valid integer"),
        ({"ratte": 2}, "unknown key 'ratte' (value 2); did you mean 'rate'?"),
        ({"arrivals.kind": "poison"}, "arrivals.kind: 'poison' is unknown; did you mean 'poisson'?"),
        ({"input_tokens": "5 GB"}, "input_tokens.mean: '5 GB' is a quantity of B, expected token"),
        ({"input_tokens": -5}, "input_tokens.mean: Lengths.mean is -5.0"),
        ({"input_tokens": {"kind": "uniform", "low": 5, "high": 2}}, "input_tokens: Lengths of kind uniform need low <= high"),
        ({"input_tokens": None}, "has no lengths"),
        ({"slo": {"per_request": {"ttf": "1 s"}}}, "slo.per_request.ttf: 'ttf' is unknown; did you mean 'ttft'?"),
        ({"slo": "interactive"}, "slo: slo 'interactive' is not in the catalogue; did you mean 'interactive_chat'?"),
        ({"cached_prompt_fraction": 2}, "cached_prompt_fraction: Workload.cached_prompt_fraction is 2.0: must lie between 0 and 1"),
        ({"seed": -1}, "seed: Workload.seed is -1"),
    ],
)
def test_bad_workloads_name_the_key_path(changes: dict[str, object], says: str) -> None:
    line = message(CATALOG.workload, "poisson", **changes)
    assert line.startswith(str(CATALOG.path("workload", "poisson")))
    assert says in line


def test_plain_data_names_its_place() -> None:
    assert message(build_design, {"topology": "node_1"}, CATALOG, where="space.yaml: base").startswith(
        "space.yaml: base: pools: missing key"
    )
    assert message(build_workload, ["poisson"], where="w.yaml").startswith("w.yaml: ['poisson'] is not a mapping; valid keys: arrivals")


def test_price_of_an_unknown_item(tmp_path: Path) -> None:
    text = "source: a test\nprices:\n  h100_sx: {price: 2 USD/h, provider: p, date: '2026', kind: list, source: s}\n"
    line = message(catalog_with(tmp_path, "price", "book", text).prices, "book")
    assert "prices: 'h100_sx' is neither an accelerator nor a host; did you mean 'h100_sxm'" in line


def test_entry_that_names_an_unknown_link(tmp_path: Path) -> None:
    text = "source: a test\ntiers:\n- {name: node, size: 8}\n- {name: rack, size: 16, link: infinibandndr}\n"
    line = message(catalog_with(tmp_path, "topology", "mine", text).topology, "mine")
    assert "tiers.1.link: link 'infinibandndr' is not in the catalogue; did you mean 'infiniband_ndr'" in line
