"""The page on spaces: every example is a space, with designs; every field that it names exists, and none is missing."""

import re
from pathlib import Path

import pytest
import yaml

from mist_dse.explore import Space
from mist_dse.explore.spaces.fields import POOL_FIELDS, SERVICE_FIELDS, TIER_FIELDS
from mist_dse.explore.spaces.goals import STATIC
from tests.explore.spaces import catalog

PAGE = (Path(__file__).parents[2] / "docs" / "spaces.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_is_a_space_with_designs(number: int) -> None:
    here = Space.from_dict(yaml.safe_load(EXAMPLES[number]), catalog())
    book = catalog().prices("default")
    table, size = here.table(book), here.size(book)
    assert len(table) == size.designs > 0
    for index in range(0, len(table), max(len(table) // 20, 1)):
        assert here.design(table.values(index)).design_id == table.design(index).design_id


def test_the_second_example_is_as_many_as_counted_by_hand() -> None:
    """Two kinds; colocated: 3 degrees x 5 chunk sizes; two pools: tp 2 and 4 with 3 decode degrees each, tp 8 with the base's."""
    table = Space.from_dict(yaml.safe_load(EXAMPLES[1]), catalog()).table()
    assert len(table) == 2 * (3 * 5 + 2 * 3 + 1)


def test_the_encoder_of_the_last_example_stands_on_either() -> None:
    table = Space.from_dict(yaml.safe_load(EXAMPLES[3]), catalog()).table(catalog().prices("default"))
    stood = {
        (table.values(index)["services.embed.accelerator"], table.values(index).get("services.embed.host")) for index in range(len(table))
    }
    assert stood == {("l40s", None), ("none", "xeon_8480_plus")}


def test_all_fields_and_quantities_are_named() -> None:
    words = set(re.findall(r"[A-Za-z_][\w.]*", PAGE))
    for fields in (POOL_FIELDS, SERVICE_FIELDS, TIER_FIELDS, STATIC):
        plain = {name for name in fields if name.split(".")[0] not in ("batching", "routing", "speculation", "at")}
        assert plain - words == set()
