"""What ``evaluate`` shows of classes, the largest rate and the backlog."""

import json

import pytest

from mist_dse.app.main import main
from mist_dse.app.verbs.evaluate import classes, remarks, servers
from mist_dse.specs.evaluation import Evaluation

SMALL = ["evaluate", "design=tp1_colocated", "model=llama-3.1-8b", "workload=poisson", "workload.requests=300", "slo=interactive_chat"]
ROW = {"completed": 7, "rejected": 1, "unfinished": 0, "ttft_p90": 0.25, "tpot_p90": None, "e2e_p90": 2.0, "slo_attainment": 0.875,
       "goodput_rps": 1.5}  # fmt: skip


def result(**changes: object) -> Evaluation:
    return Evaluation(design_id="x", fidelity="simulated", metrics={}, **changes)


def test_a_line_per_class() -> None:
    (text,) = classes(result(classes={"chat": ROW, "batch": ROW | {"completed": 90}}))
    header, chat, batch = text.splitlines()
    assert header.split()[:4] == ["class", "completed", "rejected", "unfinished"]
    assert chat.split()[:4] == ["chat", "7", "1", "0"]
    assert "250 ms" in chat
    assert batch.split()[1] == "90"
    assert classes(result()) == []


def test_a_line_per_server_with_a_mark_where_too_much_is_asked() -> None:
    busy = {"utilisation": 0.5, "demand": 0.25, "usd_per_hour": 4.0, "watts": 700.0}
    (text,) = servers(result(pools={"serve": busy, "cache nvme": {"utilisation": 1.0, "demand": 1.5}}))
    header, serve, link = text.splitlines()
    assert header.split() == ["server", "in", "use", "demand", "rent", "power"]
    assert serve.split() == ["serve", "0.5", "0.25", "$4/h", "700", "W"]
    assert link.split() == ["cache", "nvme", "1", "1.5", "!", "asked", "more", "than", "it", "can", "serve"]
    assert servers(result(pools={"serve": busy})) == servers(result()) == []  # one server's figures stand among the metrics
    assert len(servers(result(pools={"serve": busy | {"demand": 1.0}}))) == 1


def test_remarks_are_made_where_there_are_any() -> None:
    assert remarks(result(backlog={"growth": 0.1, "grew": False})) == []
    (text,) = remarks(result(backlog={"growth": 0.1234, "grew": True}, provenance={"max_goodput": ["ttft_p90 <= 1 s"]}))
    assert text.split("\n")[0].split("  ")[-1] == "ttft_p90 <= 1 s"
    assert "0.12 requests per arrival" in text


def test_the_largest_rate_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "max_goodput=true", "format=json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["metrics"]["max_goodput_rps"] > 2
    assert 0 < shown["metrics"]["usd_per_mtok_at_max"] < shown["metrics"]["usd_per_mtok"]
    assert shown["provenance"]["max_goodput"]
    assert set(shown["backlog"]) == {"growth", "grew"}
    assert main([*SMALL, "format=json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["max_goodput_rps"] is None


@pytest.mark.parametrize(("override", "said"), [("max_goodput=3", "true or false"), ("max_goodput=true fidelity=steady", "simulated")])
def test_what_cannot_be_searched_is_refused_in_a_line(override: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, *override.split()]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert "Traceback" not in message
