"""Workloads from plain data: the packaged examples, classes and their promises, and one line for what is wrong."""

import pytest

from mist_dse.catalog import Catalog, CatalogError, build_workload
from mist_dse.requests import realise
from mist_dse.specs.workload import Arrivals, Lengths, Slo, Workload, WorkloadClass

CATALOG = Catalog()
PLAIN = {"arrivals": {"kind": "poisson", "rate": 1.0, "requests": 20}, "input_tokens": 10, "output_tokens": 5}


@pytest.mark.parametrize("name", [name for name in CATALOG.names("workload") if "trace" not in name])
def test_every_packaged_workload_makes_requests(name):
    workload = CATALOG.workload(name, requests=200)
    requests = realise(workload)
    assert workload.source
    assert len(requests.arrival) == 200
    assert requests.input_tokens.min() >= 1


def test_a_file_says_the_same_as_python():
    data = {
        "name": "both", "arrivals": {"kind": "sessions", "rate": "2 1/s", "turns": 3, "think": "2 min", "requests": 50},
        "input_tokens": {"kind": "empirical", "values": [5, 50], "weights": [1, 3]}, "output_tokens": {"kind": "geometric", "mean": 20},
        "classes": {
            "a": {"share": "25%", "priority": 2, "slo": {"per_request": {"ttft": "300 ms"}}}, "b": {"share": 0.75, "input_tokens": 7},
        },
    }  # fmt: skip
    assert build_workload(data) == Workload(
        name="both", arrivals=Arrivals(kind="sessions", rate=2.0, turns=3.0, think=120.0, requests=50),
        input_tokens=Lengths(kind="empirical", values=(5, 50), weights=(1.0, 3.0)), output_tokens=Lengths(kind="geometric", mean=20.0),
        classes=(
            WorkloadClass(name="a", share=0.25, priority=2, slo=Slo(per_request=(("ttft", 0.3),))),
            WorkloadClass(name="b", share=0.75, input_tokens=Lengths(kind="fixed", mean=7.0)),
        ),
    )  # fmt: skip
    assert hash(build_workload(data)) == hash(build_workload(data))


def test_the_promise_of_a_class_may_be_one_of_the_catalogue():
    workload = build_workload(PLAIN | {"classes": {"a": {"share": 1, "slo": "interactive_chat"}}})
    assert workload.classes[0].slo == CATALOG.slo("interactive_chat")


def test_keys_of_a_class_can_be_changed():
    changed = CATALOG.workload("two_classes", **{"classes.chat.share": 0.5, "classes.*.priority": 4, "think": "3 s"})
    assert [(each.share, each.priority) for each in changed.classes] == [(0.5, 4), (0.2, 4)]
    assert changed.arrivals.think == 3.0


WRONG = (
    ({"classes": {"a": {"shar": 1}}}, "classes.a.shar: unknown key 'shar' (value 1); did you mean 'share'?"),
    ({"classes": {"a": {}}}, "classes.a.share: missing key 'share'"),
    ({"classes": {"a": {"share": -1}}}, "classes.a.share: WorkloadClass.share is -1.0: must be finite and > 0"),
    ({"classes": {"a": {"share": 1, "input_tokens": -3}}}, "classes.a.input_tokens.mean: Lengths.mean is -3.0"),
    ({"classes": {"a": {"share": 1, "slo": "interactve_chat"}}}, "classes.a.slo: slo 'interactve_chat' is not in the catalogue"),
    ({"classes": {"a": {"share": 1, "slo": {"per_request": {"ttf": 1}}}}}, "classes.a.slo.per_request.ttf: 'ttf' is unknown"),
    ({"classes": ["a"]}, "classes: ['a']: "),
    ({"arrivals": {"kind": "onof", "rate": 1}}, "arrivals.kind: 'onof' is unknown; did you mean 'onoff'?"),
    ({"arrivals": {"kind": "onoff", "rate": 1, "on_tim": 2}}, "arrivals.on_tim: unknown key 'on_tim' (value 2); did you mean 'on_time' or"),
    ({"arrivals": {"kind": "diurnal", "rate": 1, "period": "3 GB"}}, "arrivals.period: '3 GB' is a quantity of B, expected s"),
    ({"arrivals": {"kind": "diurnal", "rate": 1, "profile": [1, "x"]}}, "arrivals.profile.1: 'x' is not a quantity"),
    ({"arrivals": {"kind": "sessions", "rate": 1, "turns": 0.2}}, "arrivals.turns: Arrivals.turns is 0.2: must be >= 1"),
    ({"arrivals": {"kind": "sessions", "rate": 1, "turns": 2, "turns_law": "fix"}}, "arrivals.turns_law: 'fix' is unknown"),
    ({"output_tokens": {"kind": "geometrc", "mean": 3}}, "output_tokens.kind: 'geometrc' is unknown; did you mean 'geometric'?"),
    ({"output_tokens": {"kind": "pareto", "low": 3, "high": 9}}, "output_tokens.shape: Lengths.shape is missing: pareto lengths need it"),
)  # fmt: skip


@pytest.mark.parametrize(("changes", "says"), WRONG)
def test_what_is_wrong_is_one_line_with_the_key_path(changes, says):
    with pytest.raises(CatalogError) as caught:
        build_workload(PLAIN | changes, where="w.yaml")
    assert str(caught.value).startswith(f"w.yaml: {says}")
    assert "\n" not in str(caught.value)
