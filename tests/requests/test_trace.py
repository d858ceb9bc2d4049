"""Trace readers: round trips of random traces, what is read from known lines, and one line for everything that is wrong."""

import csv
import gzip
import json
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mist_dse.requests import TRACE_FORMATS, TraceError, read_trace, realise
from mist_dse.specs.workload import Arrivals, Lengths, Workload

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
MOONCAKE = (
    '{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1, 2]}\n'
    '{"timestamp": 1500, "input_length": 7322, "output_length": 490, "hash_ids": [0, 14]}\n'
)
GENERIC = "arrival_s,input_tokens,output_tokens,max_tokens\n0.5,10,20,32\n1.5,11,21,\n"

rows = st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 10**6), st.integers(0, 10**5)), min_size=1, max_size=30)
start = datetime.fromisoformat("2023-11-16 18:15:46.680590")


def written(folder, name, text):
    path = Path(folder) / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def text_of(layout, table, *, lines):
    """``table`` (ms, input, output) in the columns of ``layout``, as JSON Lines or CSV."""
    stamp = {
        "azure": lambda ms: (start + timedelta(milliseconds=ms)).isoformat(sep=" "),
        "mooncake": lambda ms: ms,
    }.get(layout.name, lambda ms: ms / 1e3)
    records = [dict(zip(layout.columns, (stamp(ms), *tokens), strict=True)) for ms, *tokens in table]
    if layout.name == "vllm-bench":  # one object of lists, on one line or on several
        lists = {column: [record[column] for record in records] for column in layout.columns}
        return json.dumps({"duration": 1.5, **lists, "errors": [""] * len(records)}, indent=None if lines else 2)
    if lines:
        return "".join(json.dumps(record) + "\n" for record in records)
    return "\n".join(",".join(map(str, row)) for row in (layout.columns, *(record.values() for record in records))) + "\n"


@given(table=rows, layout=st.sampled_from(TRACE_FORMATS), lines=st.booleans(), suffix=st.sampled_from(["", ".gz"]), auto=st.booleans())
def test_what_is_written_is_read_back_in_order_of_time(table, layout, lines, suffix, auto):
    with tempfile.TemporaryDirectory() as folder:
        path = written(folder, f"trace{suffix}", text_of(layout, table, lines=lines))
        trace = read_trace(path, "auto" if auto else layout.name)
    expected = sorted(table, key=lambda row: row[0])  # stable, as the reader
    origin = expected[0][0] if layout.name in ("azure", "vllm-bench") else 0
    assert trace.arrival_s == pytest.approx([(ms - origin) / 1e3 for ms, _, _ in expected], abs=1e-9)
    assert trace.input_tokens.tolist() == [tokens for _, tokens, _ in expected]
    assert trace.output_tokens.tolist() == [max(tokens, 1) for _, _, tokens in expected]
    assert np.array_equal(trace.max_tokens, trace.output_tokens)


def test_azure_times_count_from_the_first_request(tmp_path):
    trace = read_trace(written(tmp_path, "a.csv", AZURE))
    assert trace.arrival_s.tolist() == pytest.approx([0.0, 4.314579], abs=1e-6)
    assert trace.input_tokens.tolist() == [374, 396]
    assert trace.hash_ids is None


def test_azure_2024_times_with_an_offset(tmp_path):
    text = AZURE.replace("46.6805900", "46.680590+00:00").replace("50.9951690", "50.995169+00:00")
    assert read_trace(written(tmp_path, "a.csv", text)).arrival_s.tolist() == pytest.approx([0.0, 4.314579])


def test_mooncake_times_are_milliseconds_and_prefix_blocks_are_kept(tmp_path):
    trace = read_trace(written(tmp_path, "m.jsonl", MOONCAKE))
    assert trace.arrival_s.tolist() == [0.0, 1.5]
    assert trace.hash_ids == ((0, 1, 2), (0, 14))
    assert trace.head(1).hash_ids == ((0, 1, 2),)


def test_generic_max_tokens_default_to_the_output(tmp_path):
    assert read_trace(written(tmp_path, "g.csv", GENERIC)).max_tokens.tolist() == [32, 21]


def test_a_byte_order_mark_blank_lines_and_windows_line_ends_do_no_harm(tmp_path):
    text = "\ufeff" + GENERIC.replace("\n", "\r\n").replace("0.5,", "\r\n0.5,") + "\r\n\r\n"
    assert read_trace(written(tmp_path, "g.csv", text)).arrival_s.tolist() == [0.5, 1.5]


def test_unsorted_rows_are_sorted_and_equal_times_keep_their_order(tmp_path):
    text = "arrival_s,input_tokens,output_tokens\n2,1,1\n1,2,1\n1,3,1\n0,4,1\n"
    assert read_trace(written(tmp_path, "g.csv", text)).input_tokens.tolist() == [4, 2, 3, 1]


WRONG = {
    "empty": ("", "is empty, a trace needs at least one request"),
    "blank": ("\n  \n", "is empty"),
    "header only": ("arrival_s,input_tokens,output_tokens\n", "has a header and no requests"),
    "missing column": ("arrival_s,input_tokens\n0,1\n", "row 2: has columns arrival_s, input_tokens: azure needs TIMESTAMP, ContextTokens"),
    "missing cell": ("arrival_s,input_tokens,output_tokens\n0,1,1\n1,,1\n", "row 3: input_tokens is missing"),
    "short row": ("arrival_s,input_tokens,output_tokens\n0,1,1\n1,1\n", "row 3: has 2 cells, the header has 3"),
    "negative time": ("arrival_s,input_tokens,output_tokens\n0,1,1\n-1,1,1\n", "row 3: arrival_s is '-1': must be a finite time >= 0"),
    "nan time": ("arrival_s,input_tokens,output_tokens\nnan,1,1\n", "row 2: arrival_s is 'nan': must be a finite time"),
    "infinite time": ("arrival_s,input_tokens,output_tokens\ninf,1,1\n", "row 2: arrival_s is 'inf': must be a finite time"),
    "time in words": ("arrival_s,input_tokens,output_tokens\nsoon,1,1\n", "row 2: arrival_s is 'soon'"),
    "half token": (
        "arrival_s,input_tokens,output_tokens\n0,1.5,1\n",
        "row 2: input_tokens is '1.5': must be a whole number of tokens >= 1",
    ),
    "no prompt": ("arrival_s,input_tokens,output_tokens\n0,0,1\n", "row 2: input_tokens is '0': must be a whole number of tokens >= 1"),
    "negative output": (
        "arrival_s,input_tokens,output_tokens\n0,1,-1\n",
        "row 2: output_tokens is '-1': must be a whole number of tokens >= 0",
    ),
    "huge output": ("arrival_s,input_tokens,output_tokens\n0,1,1e300\n", "row 2: output_tokens is '1e300'"),
    "short limit": ("arrival_s,input_tokens,output_tokens,max_tokens\n0,1,9,8\n", "row 2: max_tokens is 8: must be >= the 9 output tokens"),
    "bad clock": (AZURE.replace("2023-11-16 18:15:50.9951690", "16/11/2023"), "row 3: TIMESTAMP is '16/11/2023': must be a time such as"),
    "broken quote": ('arrival_s,input_tokens,output_tokens\n0,1,"1\n', "is not CSV"),
    "broken json": (MOONCAKE + '{"timestamp": 3\n', "row 3: is not a JSON object"),
    "json list": (MOONCAKE + "[1, 2]\n", "row 3: is not a JSON object"),
    "json without a key": (MOONCAKE + '{"timestamp": 3, "input_length": 1}\n', "row 3: output_length is missing"),
    "json truth value": ('{"timestamp": true, "input_length": 1, "output_length": 1}\n', "row 1: timestamp is 'True'"),
    "json null": ('{"timestamp": null, "input_length": 1, "output_length": 1}\n', "row 1: timestamp is missing"),
    "json nan": ('{"timestamp": NaN, "input_length": 1, "output_length": 1}\n', "row 1: timestamp is 'nan'"),
    "json array": ('[{"timestamp": 1}]', "has a header and no requests"),
    "bad hash": ('{"timestamp": 1, "input_length": 1, "output_length": 1, "hash_ids": ["x"]}', "row 1: hash_ids is"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_one_line_with_file_and_row(tmp_path, text, message):
    path = written(tmp_path, "trace.txt", text)
    with pytest.raises(TraceError) as caught:
        read_trace(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_such_file_a_folder_and_bytes_that_are_no_text(tmp_path):
    with pytest.raises(TraceError, match=r"nowhere\.csv: no such file"):
        read_trace(tmp_path / "nowhere.csv")
    with pytest.raises(TraceError, match="cannot be read"):
        read_trace(tmp_path)
    binary = tmp_path / "binary"
    binary.write_bytes(b"PAR1\xff\xfe\x00")
    with pytest.raises(TraceError, match="is not UTF-8 text"):
        read_trace(binary)


@pytest.mark.parametrize("cut", [5, 20, -4])
def test_a_cut_gzip_file_is_named(tmp_path, cut):
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(GENERIC.encode())[:cut])
    with pytest.raises(TraceError, match=r"cut\.gz: cannot be read"):
        read_trace(path)


def test_an_unknown_format_offers_the_nearest(tmp_path):
    with pytest.raises(
        TraceError,
        match="trace format 'mooncak' is unknown, did you mean mooncake: must be auto or azure, mooncake, vllm-bench, servegen, generic",
    ):
        read_trace(written(tmp_path, "m.jsonl", MOONCAKE), "mooncak")


def test_a_named_format_asks_for_its_own_columns(tmp_path):
    with pytest.raises(TraceError, match=r"row 2: has columns TIMESTAMP, .*: mooncake needs timestamp, input_length, output_length$"):
        read_trace(written(tmp_path, "a.csv", AZURE), "mooncake")


def test_a_table_that_the_csv_module_wrote_with_quotes_is_read(tmp_path):
    with (tmp_path / "q.csv").open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([["arrival_s", "input_tokens", "output_tokens", "note"], [0.25, 7.0, 3, 'a "quoted", note']])
    trace = read_trace(tmp_path / "q.csv")
    assert (trace.arrival_s[0], trace.input_tokens[0], trace.output_tokens[0]) == (0.25, 7, 3)


def replay(path, **arrivals):
    lengths = {key: arrivals.pop(key) for key in ("input_tokens", "output_tokens", "joint") if key in arrivals}
    return realise(Workload(name="replay", arrivals=Arrivals(kind="trace", path=str(path), **{"requests": None} | arrivals), **lengths))


def test_a_replayed_trace_is_sped_up_and_cut(tmp_path):
    path = written(tmp_path, "g.csv", "arrival_s,input_tokens,output_tokens,max_tokens\n1,10,20,64\n3,11,0,64\n5,12,22,64\n")
    requests = replay(path, scale=2.0, requests=2)
    assert requests.arrival.tolist() == [0.5, 1.5]
    assert requests.output_tokens.tolist() == [20, 1]  # a request without output still takes the step that emits a token
    assert requests.max_tokens.tolist() == [64, 64]
    assert np.isnan(requests.nominal_rate)
    assert len(replay(path, requests=100).arrival) == 3


def test_a_replayed_trace_may_take_other_lengths(tmp_path):
    path = written(tmp_path, "g.csv", GENERIC)
    requests = replay(path, output_tokens=Lengths(kind="fixed", mean=5))
    assert requests.input_tokens.tolist() == [10, 11]
    assert requests.output_tokens.tolist() == requests.max_tokens.tolist() == [5, 5]
    assert replay(path, joint="azure_conv").input_tokens.tolist() != [10, 11]
