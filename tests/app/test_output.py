"""Results as JSON, CSV and aligned tables."""

import csv
import io
import json
import math

import numpy as np
import pytest

from mist_dse.app.errors import UsageError
from mist_dse.app.output import csv_text, format_of, json_text, table_text


def test_json_has_null_where_a_number_is_undefined() -> None:
    value = {"a": math.nan, "b": [math.inf, 1.5], "c": (np.float64(2.5), np.int64(3), np.bool_(True)), "d": None}
    assert json.loads(json_text(value)) == {"a": None, "b": [None, 1.5], "c": [2.5, 3, True], "d": None}


def test_csv_unites_columns_and_reads_back() -> None:
    text = csv_text([{"a": 1, "b": 'x,"y"'}, {"a": math.nan, "c": 0.1}])
    assert list(csv.DictReader(io.StringIO(text))) == [{"a": "1", "b": 'x,"y"', "c": ""}, {"a": "", "b": "", "c": "0.1"}]


def test_tables_align() -> None:
    assert table_text([("a", "10"), ("bcd", "5")], header=("k", "n"), numbers=[1]).splitlines() == ["  k     n", "  a    10", "  bcd   5"]


def test_empty_tables_are_empty() -> None:
    assert table_text([]) == ""


def test_formats_are_checked() -> None:
    assert format_of({"format": "csv"}) == "csv"
    with pytest.raises(UsageError, match=r"format=jsn.*did you mean 'json'"):
        format_of({"format": "jsn"})
