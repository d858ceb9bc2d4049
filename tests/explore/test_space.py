"""Spaces: expansion, enumeration by construction against brute force, and one line for every mistake."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from mist_dse.explore import Space, SpaceError
from mist_dse.explore.errors import EmptySpaceError
from mist_dse.explore.spaces.variables import value_list
from mist_dse.perf.price import usd_per_hour
from tests.explore.spaces import BASE, VARY, catalog, packaged, space


def book():
    return catalog().prices("default")


def test_enumeration_equals_brute_force() -> None:
    """Every combination within the limits is in the table, once; nothing else is."""
    table = space().table(book())
    found = {tuple(sorted(table.values(i).items(), key=str)) for i in range(len(table))}
    assert len(found) == len(table)
    expected = set()
    sides = list(itertools.product(["h100_sxm", "l40s"], [1, 2], [1, 2, 3]))
    usd = {name: book().usd_per_hour(name) for name in ("h100_sxm", "l40s")}
    for combination in [(one,) for one in sides] + list(itertools.product(sides, sides)):
        if sum(tp * r for _, tp, r in combination) > 5 or sum(usd[a] * tp * r for a, tp, r in combination) > 18:
            continue
        values = {"placement": "colocated" if len(combination) == 1 else "disaggregated"}
        for pool, (accelerator, tp, replicas) in zip(("prefill", "decode"), combination, strict=False):
            values |= {f"pools.{pool}.accelerator": accelerator, f"pools.{pool}.tp": tp, f"pools.{pool}.replicas": replicas}
        expected.add(tuple(sorted(values.items(), key=str)))
    assert found == expected


def test_the_design_at_an_index_is_the_design_of_its_values() -> None:
    here = space()
    table = here.table(book())
    for index in range(0, len(table), 7):
        assert table.design(index).design_id == here.design(table.values(index)).design_id
        assert here.beyond(table.design(index), book()) == ()


def test_columns_agree_with_values_and_inactive_variables_are_empty() -> None:
    here = space()
    table = here.table(book())
    columns = here.table(book()).columns(here.paths, 3, len(table) - 2)
    for row, index in enumerate(range(3, len(table) - 2)):
        assert {path: column[row] for path, column in columns.items() if column[row] is not None} == table.values(index)
    colocated = columns["placement"] == "colocated"
    assert all(value is None for value in columns["pools.decode.tp"][colocated])


def test_colocated_puts_every_stage_on_the_first_pool() -> None:
    here = space()
    values = {"placement": "colocated", "pools.prefill.accelerator": "l40s", "pools.prefill.tp": 2, "pools.prefill.replicas": 3}
    design = here.design(values)
    assert [pool.name for pool in design.pools] == ["prefill"]
    assert design.pools[0].stages == ("prefill", "decode")
    assert design.handoff is None
    assert design.accelerators == 6


def test_limits_are_exact_at_device_prices() -> None:
    table = space(where=["usd_per_hour <= 9"]).table(book())
    rents = [usd_per_hour(table.design(i), book()) for i in range(len(table))]
    assert max(rents) <= 9
    assert space(where=["usd_per_hour <= 9"]).beyond(table.design(int(np.argmax(rents))), book()) == ()


def test_accelerators_of_one_kind_and_lower_limits() -> None:
    table = space(where=["accelerators.l40s <= 1", "accelerators >= 3"]).table(book())
    for index in range(len(table)):
        pools = table.design(index).pools
        assert sum(pool.devices for pool in pools if pool.accelerator.name == "l40s") <= 1
        assert sum(pool.devices for pool in pools) >= 3


def test_pools_that_hand_over_share_the_kv_datatype() -> None:
    table = space(vary=VARY | {"pools.*.dtype": ["bf16", "fp8"]}).table(book())
    for index in range(len(table)):
        assert len({pool.dtypes.kv for pool in table.design(index).pools}) == 1


def test_divisors_stay_inside_the_node_and_divide_the_heads() -> None:
    table = space(vary={"pools.decode.tp": "divisors"}, where=[]).table(book())
    assert sorted(table.values(i)["pools.decode.tp"] for i in range(len(table))) == [1, 2, 4, 8]


def test_batching_paths_and_the_specific_path_wins() -> None:
    here = space(
        vary={"pools.*.batching.max_num_seqs": [64], "pools.decode.batching.max_num_seqs": [16, 32], "handoff.mode": ["whole", "layerwise"]}
    )
    table = here.table(book())
    designs = [table.design(i) for i in range(len(table))]
    assert len(designs) == 4
    assert {design.pool("prefill").batching.max_num_seqs for design in designs} == {64}
    assert {design.pool("decode").batching.max_num_seqs for design in designs} == {16, 32}
    assert {design.handoff.mode for design in designs if design.handoff} == {"whole", "layerwise"}


def test_one_replica_has_one_router() -> None:
    table = space(vary={"pools.decode.router": ["jsq", "round_robin"], "pools.decode.replicas": [1, 2]}, where=[]).table(book())
    assert len(table) == 3


def test_ranges() -> None:
    assert value_list("1..4", "x") == (1, 2, 3, 4)
    assert value_list("powers 2..20", "x") == (2, 4, 8, 16)
    assert value_list(["a", "a", "b"], "x") == ("a", "b")


def test_the_packaged_space_is_large_and_quick_to_enumerate() -> None:
    table = Space.from_yaml(packaged(), catalog()).table(book())
    assert 1e4 <= len(table) <= 1e6
    assert table.grid > len(table)
    assert table.design(len(table) - 1).accelerators <= 32


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vary": {"placment": ["colocated"]}}, ["vary.placment", "did you mean 'placement'"]),
        ({"vary": {"pools.prefil.tp": [1]}}, ["prefil", "did you mean 'prefill'"]),
        ({"vary": {"pools.*.acelerator": ["l40s"]}}, ["acelerator", "did you mean 'accelerator'"]),
        ({"vary": {"pools.*.accelerator": ["h100_smx"]}}, ["h100_smx", "h100_sxm"]),
        ({"vary": {"pools.*.batching.policy": ["chunkd"]}}, ["chunkd", "did you mean 'chunked'"]),
        ({"vary": {"pools.*.replicas": "8..1"}}, ["8..1", "holds no value"]),
        ({"vary": {"pools.*.replicas": "1-8"}}, ["1-8", "integer"]),
        ({"vary": {"pools.*.replicas": [0]}}, ["0 is not an integer >= 1"]),
        ({"vary": {"pools.*.replicas": "divisors"}}, ["only tp and pp"]),
        ({"vary": {"pools.*.tp": [1, 3]}}, ["3 does not divide the heads", "llama-3.1-8b has 32"]),
        ({"vary": {}}, ["vary is missing"]),
        ({"wher": []}, ["'wher'", "did you mean 'where'"]),
        ({"where": ["accelerator <= 3"]}, ["'accelerator'", "did you mean 'accelerators'"]),
        ({"where": ["ttft_p90 <= 3"]}, ["not known before evaluation", "constraints"]),
        ({"where": ["accelerators about 3"]}, ["is not a limit"]),
        ({"objectives": ["min ttft_p9"]}, ["ttft_p9", "did you mean"]),
        ({"objectives": ["least ttft_p90"]}, ["must read like 'min usd_per_mtok'"]),
        ({"constraints": ["tpot_p90 <= 50 GB"]}, ["50 GB"]),
        ({"base": "tp4_colocatd"}, ["tp4_colocatd", "tp4_colocated"]),
        ({"base": "tp4_colocated", "vary": {"placement": ["disaggregated"]}}, ["one pool only"]),
        ({"base": BASE | {"pols": {}}}, ["base", "pols"]),
    ],
)
def test_a_mistake_is_one_line_that_names_it(change: dict, words: list[str]) -> None:
    with pytest.raises(SpaceError) as caught:
        space(**change)
    line = str(caught.value)
    assert "\n" not in line
    assert [word for word in words if word not in line] == []


def test_a_file_is_named_in_its_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: [tp4_colocated\n")
    with pytest.raises(SpaceError, match=r"mine\.yaml: is not YAML"):
        Space.from_yaml(path, catalog())
    with pytest.raises(SpaceError, match=r"gone\.yaml: cannot be read"):
        Space.from_yaml(tmp_path / "gone.yaml", catalog())


def test_an_empty_space_names_the_limit_and_the_distance() -> None:
    with pytest.raises(EmptySpaceError, match=r"accelerators <= 0 removes every design: the least that any has is 1"):
        space(where=["accelerators <= 0"]).table(book())
    with pytest.raises(EmptySpaceError, match=r"accelerators >= 100 removes every design: the most that any has is"):
        space(where=["accelerators >= 100"]).table(book())


def test_an_accelerator_without_a_price_is_named() -> None:
    with pytest.raises(SpaceError, match=r"no price for 'wse_3'"):
        space(vary={"pools.decode.accelerator": ["wse_3"]}).table(book())
