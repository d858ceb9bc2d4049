"""Metrics per class of hand-made records: the same definitions, the same window, each class's own promise."""

from dataclasses import replace

import numpy as np
import pytest

from mist_dse.metrics import class_metrics, measure, promises_met, request_latencies
from mist_dse.rows import COMPLETED, REJECTED, UNFINISHED
from mist_dse.specs.workload import Slo, Workload, WorkloadClass
from tests.metrics import hand

NAN = float("nan")

# arrival, first token, end; class 0 "chat": requests 0, 2, 4; class 1 "batch": 1, 3, 5. 3 is rejected, 5 never ends.
TABLE = hand.requests([0, 1, 2, 3, 4, 5], [10] * 6, [2, 2, 2, 2, 2, 2])._replace(class_id=np.array([0, 1, 0, 1, 0, 1]))
RECORDS = hand.records(
    arrival=[0.0, 1, 2, 3, 4, 5],
    first_token=[1.0, 5, 5, NAN, 6, NAN],
    last_token=[2.0, 9, 6, NAN, 10, NAN],
    end=[2.0, 9, 6, NAN, 10, NAN],
    status=[COMPLETED, COMPLETED, COMPLETED, REJECTED, COMPLETED, UNFINISHED],
    preemptions=[0, 3, 0, 0, 1, 0],
)
TIGHT, LOOSE = Slo(per_request=(("ttft", 2.0),)), Slo(per_request=(("ttft", 4.0),))


def workload(*, chat: Slo | None = None, batch: Slo | None = None, slo: Slo | None = None, warmup: float = 0.0) -> Workload:
    made = Workload.poisson(rate=1.0, input_tokens=1, output_tokens=1, requests=6, slo=slo)
    classes = WorkloadClass(name="chat", share=1.0, slo=chat), WorkloadClass(name="batch", share=1.0, slo=batch)
    return replace(made, classes=classes, warmup=warmup)


def test_each_class_by_hand() -> None:
    """TTFT of chat: 1, 3, 2; of batch: 4. The window is that of the whole run, 0 to 10 s."""
    found = class_metrics(RECORDS, TABLE, workload(chat=TIGHT, batch=LOOSE))
    assert list(found) == ["chat", "batch"]
    chat, batch = found["chat"], found["batch"]
    assert chat["ttft_mean"] == pytest.approx(2)
    assert chat["e2e_p50"] == pytest.approx(4)
    assert chat["throughput_rps"] == pytest.approx(3 / 10)
    assert chat["slo_attainment"] == pytest.approx(2 / 3)
    assert chat["goodput_rps"] == pytest.approx(2 / 10)
    assert (chat["completed"], chat["rejected"], chat["unfinished"]) == (3, 0, 0)
    assert batch["ttft_mean"] == pytest.approx(4)
    assert batch["slo_attainment"] == pytest.approx(1 / 3)  # of the three that arrived
    assert (batch["completed"], batch["rejected"], batch["unfinished"]) == (1, 1, 1)
    assert (chat["preemptions"], batch["preemptions"]) == (pytest.approx(1 / 3), pytest.approx(1))


@pytest.mark.parametrize("warmup", [0.0, 0.5])
def test_rates_and_counts_of_classes_add_up_to_the_whole(warmup: float) -> None:
    asked = workload(chat=TIGHT, batch=LOOSE, warmup=warmup)
    whole, parts = measure(RECORDS, TABLE, asked), class_metrics(RECORDS, TABLE, asked).values()
    for name in ("throughput_rps", "output_tokens_per_s", "total_tokens_per_s", "goodput_rps"):
        assert sum(part[name] or 0.0 for part in parts) == pytest.approx(whole[name]), name
    assert sum(part[kind] for part in parts for kind in ("completed", "rejected", "unfinished")) == 6


def test_a_class_without_its_own_promise_has_the_workloads() -> None:
    inherited = class_metrics(RECORDS, TABLE, workload(batch=LOOSE, slo=TIGHT))
    assert inherited == class_metrics(RECORDS, TABLE, workload(chat=TIGHT, batch=LOOSE))


def test_a_class_that_is_promised_nothing_has_no_attainment() -> None:
    asked = workload(chat=TIGHT)
    found = class_metrics(RECORDS, TABLE, asked)
    assert (found["batch"]["slo_attainment"], found["batch"]["goodput_rps"]) == (None, None)
    met, promised = promises_met(request_latencies(RECORDS, TABLE.output_tokens), TABLE, asked)
    assert promised.tolist() == [True, False] * 3
    assert met.tolist() == [True, True, False, False, True, False]


def test_one_class_is_the_whole() -> None:
    single = replace(workload(), classes=(WorkloadClass(name="chat", share=1.0, slo=TIGHT),))
    table = TABLE._replace(class_id=np.zeros(6, int))
    assert class_metrics(RECORDS, table, single) == {}
    assert measure(RECORDS, table, single)["slo_attainment"] == pytest.approx(2 / 6)  # 0 and 4


def test_arrivals_are_those_of_the_records() -> None:
    """A table says no more than the earliest arrival of a follower; the records say when it came."""
    early = TABLE._replace(arrival=np.zeros(6))
    assert class_metrics(RECORDS, early, workload(chat=TIGHT)) == class_metrics(RECORDS, TABLE, workload(chat=TIGHT))
    never = RECORDS._replace(arrival=np.array([0.0, 1, 2, 3, 4, NAN]))  # 5 never even came
    assert measure(never, TABLE, workload())["throughput_rps"] == pytest.approx(4 / 10)
