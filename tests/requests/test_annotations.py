"""What a trace says besides times and lengths: sessions that think, names of prompt blocks, benchmark results."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from mist_dse.requests import TraceError, read_trace, realise
from mist_dse.specs.workload import Arrivals, Lengths, Workload

# Keys and units of the result that `vllm bench serve --save-result --save-detailed` writes (vllm/benchmarks/serve.py); the second
# request failed. Times are those of the client's perf_counter.
BENCH = {
    "date": "20260102-030405", "backend": "vllm", "num_prompts": 3, "request_rate": 2.0, "duration": 2.4, "completed": 2, "failed": 1,
    "input_lens": [100, 300, 200], "output_lens": [3, 0, 2], "ttfts": [0.1, 0.0, 0.2], "itls": [[0.05, 0.07], [], [0.1]],
    "start_times": [1000.25, 1000.5, 1001.75], "generated_texts": ["a", "", "b"], "errors": ["", "timeout", ""],
}  # fmt: skip


def written(folder, text, name="trace"):
    path = Path(folder) / name
    path.write_text(text)
    return path


def replay(path, *, scale=1.0, **workload):
    return realise(Workload(name="r", arrivals=Arrivals(kind="trace", path=str(path), scale=scale), **workload))


def fails(path, says):
    with pytest.raises(TraceError, match=says) as caught:
        replay(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("indent", [None, 2])
def test_a_benchmark_result_is_the_requests_that_succeeded(tmp_path, indent):
    trace = read_trace(written(tmp_path, json.dumps(BENCH, indent=indent) + "\n"))
    assert trace.arrival_s.tolist() == [0.0, 1.5]
    assert trace.input_tokens.tolist() == [100, 200]
    assert trace.output_tokens.tolist() == [3, 2]


def test_a_result_that_is_no_trace_says_why(tmp_path):
    text = json.dumps(BENCH)
    fails(written(tmp_path, text + "\n" + text + "\n"), "row 2: a second benchmark result: a trace is one run")
    older = {key: value for key, value in BENCH.items() if key != "start_times"}
    fails(written(tmp_path, json.dumps(older)), "row 1: has no start_times, the times at which requests were sent")
    fails(written(tmp_path, json.dumps(BENCH | {"output_lens": [1]})), "row 1: the lists start_times, input_lens, output_lens and errors")
    fails(written(tmp_path, json.dumps(BENCH | {"errors": ["x"] * 3})), "row 1: has no request that succeeded")
    fails(written(tmp_path, json.dumps(BENCH | {"input_lens": [1, 2, "x"]})), "row 1: input_lens is 'x'")


def test_a_table_of_servegen(tmp_path):
    # columns as its own test of save_requests_to_csv states them
    trace = read_trace(written(tmp_path, "request_id,timestamp,input_tokens,output_tokens\n0,0.5,10,20\n1,1.2,15,25\n"))
    assert trace.arrival_s.tolist() == [0.5, 1.2]
    assert trace.input_tokens.tolist() == [10, 15]
    assert trace.output_tokens.tolist() == [20, 25]


CHAT = "arrival_s,input_tokens,output_tokens,session,think_s\n4,10,1,b,\n0,20,2,a,\n6,30,3,a,2.5\n7,40,4,b,0.25\n8,50,5,,1\n9,60,6,a,9\n"


def test_turns_with_a_think_time_follow_the_one_before(tmp_path):
    # by hand: a at 0, then 2.5 and 11.5 s; b at 4, then 4.25 s; the row without a session has nothing to wait for and keeps 8 s
    found = replay(written(tmp_path, CHAT))
    assert found.arrival.tolist() == [0.0, 2.5, 4.0, 4.25, 8.0, 11.5]
    assert found.input_tokens.tolist() == [20, 30, 10, 40, 50, 60]
    assert found.session.tolist() == [0, 0, 1, 1, 2, 0]
    assert found.follows.tolist() == [-1, 0, -1, 2, -1, 1]
    assert found.think.tolist() == [0.0, 2.5, 0.0, 0.25, 0.0, 9.0]


def test_scaling_speeds_up_the_starts_and_not_the_thinking(tmp_path):
    found = replay(written(tmp_path, CHAT), scale=4.0)
    assert found.arrival.tolist() == [0.0, 1.0, 1.25, 2.0, 2.5, 11.5]
    assert found.follows.tolist() == [-1, -1, 1, -1, 0, 4]


def test_sessions_without_think_times_keep_their_times(tmp_path):
    found = replay(written(tmp_path, "arrival_s,input_tokens,output_tokens,session\n0,1,1,x\n3,1,1,y\n5,1,1,x\n"))
    assert found.arrival.tolist() == [0.0, 3.0, 5.0]
    assert found.session.tolist() == [0, 1, 0]
    assert len(found.follows) == 0


def named(names, extra=""):
    rows = [{"arrival_s": at, "input_tokens": 100, "output_tokens": 30, "hash_ids": ids} for at, ids in names]
    return "".join(json.dumps(row)[:-1] + extra + "}\n" for row in rows)


def test_names_of_blocks_reach_the_requests_in_order_of_arrival(tmp_path):
    text = named([(5.0, [1, 2, 9]), (1.0, [1, 2, 3, 4]), (3.0, [])], ', "hash_tokens": 32')
    found = replay(written(tmp_path, text))
    assert found.hash_tokens == 32
    assert found.hash_first.tolist() == [0, 4, 4, 7]
    assert found.hash_ids.tolist() == [1, 2, 3, 4, 1, 2, 9]


def test_names_in_a_table(tmp_path):
    text = 'arrival_s,input_tokens,output_tokens,hash_ids,hash_tokens\n0,60,5,3 4,32\n1,40,5,"[3, 7]",32\n2,10,1,,\n'
    fails(written(tmp_path, text), "row 4: hash_tokens is 512: must be 32 as in the first row")
    found = replay(written(tmp_path, text.replace(",,\n", ",,32\n")))
    assert found.hash_ids.tolist() == [3, 4, 3, 7]
    assert found.hash_first.tolist() == [0, 2, 4, 4]


def test_more_names_than_blocks_ask_for_the_size_of_a_block(tmp_path):
    fails(written(tmp_path, named([(0.0, [1, 2, 3])])), "the request at 0 s has 3 hash_ids and 1 blocks of 512 tokens: say the tokens")


@pytest.mark.parametrize("names", [["x"], [1.5], [-1], [2**63], "1 x", {"a": 1}])
def test_names_that_are_no_names(tmp_path, names):
    fails(written(tmp_path, named([(0.0, names)])), "row 1: hash_ids is")


@pytest.mark.parametrize(("column", "cell"), [("priority", "1.5"), ("priority", "high"), ("think_s", "-1"), ("hash_tokens", "0")])
def test_bad_cells_are_named(tmp_path, column, cell):
    fails(written(tmp_path, f"arrival_s,input_tokens,output_tokens,{column}\n0,1,1,{cell}\n"), f"row 2: {column} is '{cell}'")


def test_names_as_large_as_hashes_stay_equal_or_different(tmp_path):
    big = 2**63 - 1
    found = replay(written(tmp_path, named([(0.0, [big]), (1.0, [big - 1]), (2.0, [big])])))
    assert found.hash_ids[0] == found.hash_ids[2] != found.hash_ids[1]
    assert found.hash_ids.max() < 2**48


def test_other_prompt_lengths_leave_the_names_out(tmp_path):
    path = written(tmp_path, named([(0.0, [1])]))
    assert replay(path).hash_ids.tolist() == [1]
    assert replay(path, output_tokens=Lengths(kind="fixed", mean=3)).hash_ids.tolist() == [1]
    other = replay(path, input_tokens=Lengths(kind="fixed", mean=3))
    assert (len(other.hash_ids), other.hash_tokens) == (0, 0)


def test_the_first_rows_of_an_annotated_trace(tmp_path):
    trace = read_trace(written(tmp_path, CHAT)).head(3)
    assert len(trace.notes.session) == len(trace.notes.think) == 3
    assert np.isnan(trace.notes.think[0])


@pytest.mark.skipif("MIST_DSE_DATA" not in os.environ, reason="MIST_DSE_DATA is unset: the published traces are not at hand")
def test_mooncake_names_every_block_of_a_prompt():
    path = Path(os.environ["MIST_DSE_DATA"]) / "traces" / "mooncake" / "conversation_trace.jsonl.gz"
    found = replay(path)
    assert found.hash_tokens == 512
    assert np.array_equal(np.diff(found.hash_first), -(-found.input_tokens // 512))
    with gzip.open(path, "rt") as file:
        last = json.loads(file.read().splitlines()[-1])
    assert found.hash_ids[found.hash_first[-2] :].tolist() == last["hash_ids"]
