"""The page as text: whole, self-contained, small, and right for runs of every kind."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mist_dse.report import html as html_module, write_report
from mist_dse.report.html import LARGEST
from mist_dse.report.payload import packed, script_json
from tests.report.runs import FIVE, MANIFEST, OBJECTIVES, results, write_run

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>&\"'\u2028${script}"
VOID = {"meta", "input", "link", "img", "br", "hr"}


class Page(HTMLParser):
    """Elements, their attributes and texts; a closing tag that does not fit is an error."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            name = self.found[-1][1].get("id") or self.open[-1]
            self.texts[name] = self.texts.get(name, "") + data

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.texts["data"], parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))


def page_of(folder: Path) -> Page:
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert page.open == []
    return page


RUNS: dict[str, dict[str, Any]] = {
    "usual": {},
    "one point": {"frame": results(1)},
    "nothing feasible": {
        "frame": results(20).assign(feasible=False, violation=np.linspace(2, 0.5, 20), violations="memory: 90 GB of 80 GB")
    },
    "nothing feasible, no metrics": {"frame": results(5).assign(feasible=False, violation=1.0, usd_per_mtok=None, ttft_p90=None)},
    "feasible without values": {"frame": results(5).assign(usd_per_mtok=None)},
    "still being written": {"finished": False, "manifest": {"status": "running"}},
    "five objectives": {"objectives": FIVE},
    "three objectives": {"objectives": FIVE[:3]},
    "one objective": {"objectives": ["min ttft_p90"]},
    "no breakdown, no pools": {"frame": results(20).loc[:, lambda frame: ~frame.columns.str.contains("/")]},
    "no variables": {"frame": results(20).loc[:, lambda frame: ~frame.columns.str.contains("pools|placement")]},
    "undefined metrics": {"frame": results(20).assign(tpot_p90=None, e2e_p99=math.inf, watts=math.nan)},
    "no manifest to speak of": {"manifest": {}},
}


@pytest.mark.parametrize("name", RUNS)
def test_every_kind_of_run_has_a_page(tmp_path: Path, name: str) -> None:
    page = page_of(write_run(tmp_path / "run", **RUNS[name]))
    data = page.data
    columns = data["columns"].values()
    assert all(len(column if isinstance(column, list) else column["at"]) == data["rows"] for column in columns)
    assert len(data["label"]) == data["rows"]
    for trace in data["figures"]["front"]["data"]:
        assert all(row < data["rows"] for row in trace.get("customdata") or [])


def test_nothing_feasible_is_said_and_the_nearest_miss_comes_first(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run", **RUNS["nothing feasible"]))
    assert "No feasible design was found" in page.texts["p"]
    assert page.data["columns"]["violation"] == sorted(page.data["columns"]["violation"])
    assert page.data["columns"]["violations"]["words"] == ["memory: 90 GB of 80 GB"]
    assert {trace["meta"] for trace in page.data["figures"]["front"]["data"]} >= {"infeasible"}


def test_an_unfinished_run_says_so_and_a_finished_one_does_not(tmp_path: Path) -> None:
    assert "still being written" in page_of(write_run(tmp_path / "a", finished=False)).texts["p"]
    assert "still being written" not in page_of(write_run(tmp_path / "b")).texts.get("p", "")
    assert "interrupted" in page_of(write_run(tmp_path / "c", manifest={"status": "interrupted"})).texts["p"]


def test_the_header_says_what_was_searched(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run"))
    told = page.texts["dd"]
    for text in (
        *OBJECTIVES,
        "tpot_p90 <= 50 ms",
        "123,456",
        "400",
        "none",
        "bounds were not taken",
        "0.02: 17",
        "simulate: 12.5 s",
        "7",
        "3.11.2",
    ):
        assert text in told


def test_the_page_is_self_contained(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run"))
    assert [attributes for _, attributes in page.found if {"src", "href"} & attributes.keys()] == []
    assert [tag for tag, _ in page.found if tag in ("link", "iframe", "object", "embed", "base")] == []
    assert not re.search(r"@import|url\(", page.texts["style"])
    policy = next(attributes["content"] for tag, attributes in page.found if tag == "meta" and "http-equiv" in attributes)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_a_large_run_is_thinned_until_it_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.concat([results(4000), results(30000, seed=2, fidelity="steady")])
    folder = write_run(tmp_path / "run", frame, objectives=FIVE)
    page = write_report(folder)
    assert page.stat().st_size <= LARGEST
    rows = Page(page.read_text(encoding="utf-8")).data["rows"]
    monkeypatch.setattr(html_module, "LARGEST", 5_600_000)
    assert write_report(folder).stat().st_size <= 5_600_000
    thinned = Page(page.read_text(encoding="utf-8")).data
    assert 10 < thinned["rows"] < rows
    assert len(pd.read_csv(folder / "front.csv")) == len(pd.read_parquet(folder / "front.parquet"))


@pytest.mark.parametrize("objectives", [FIVE[:2], FIVE])
def test_a_run_of_a_hundred_thousand_designs_fits(tmp_path: Path, objectives: list[str]) -> None:
    frame = pd.concat([results(20_000), results(80_000, seed=2, fidelity="steady")], ignore_index=True)
    page = write_report(write_run(tmp_path / "run", frame, objectives=objectives))
    text = page.read_text(encoding="utf-8")
    assert page.stat().st_size <= LARGEST
    kinds = Page(text).data["columns"]["kind"]
    assert len(kinds["at"]) > 3000
    assert {"front", "dominated"} <= set(kinds["words"])


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ({"certificate": "exact", "certificate_reason": "all was simulated"}, "no better front exists in the space. All was simulated."),
        ({"certificate": "epsilon"}, "no design left is more than 2% better than some member of the front in every objective."),
        ({"certificate": "none", "certificate_reason": "3 of 9 are left"}, "on the word of the screen alone. 3 of 9 are left."),
        ({"certificate": "not certifiable"}, "an objective has no bound"),
        ({}, ""),
    ],
)
def test_what_is_proved_stands_beside_the_front_in_words(tmp_path: Path, certificate: dict[str, str], words: str) -> None:
    told = page_of(write_run(tmp_path / "run", results(20), manifest=certificate)).texts.get("p", "")
    assert words in told
    assert ("ertif" in told) == bool(certificate)


def test_stored_numbers_come_back(tmp_path: Path) -> None:
    frame = results(30).assign(tpot_p90=lambda table: table["tpot_p90"].where(table.index > 3))
    data = page_of(write_run(tmp_path / "run", frame)).data
    ids = data["columns"]["design_id"]
    stored = frame.set_index("design_id")
    for row in range(data["rows"]):
        source = stored.loc[ids["words"][ids["at"][row]]]
        assert data["columns"]["ttft_p90"][row] == pytest.approx(source["ttft_p90"], rel=1e-4)
        assert (
            data["columns"]["pools.prefill.batching.max_num_batched_tokens"][row] == source["pools.prefill.batching.max_num_batched_tokens"]
        )
        assert (data["columns"]["tpot_p90"][row] is None) == math.isnan(source["tpot_p90"])
        assert data["columns"]["breakdown/decode/attention"][row] == pytest.approx(source["breakdown/decode/attention"], rel=1e-4)


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    renamed = {
        "breakdown/decode/attention": f"breakdown/decode/{HOSTILE}",
        "pools.prefill.accelerator": f"pools.{HOSTILE}.tp",
        "pool/prefill/demand": f"pool/{HOSTILE}/demand",
    }
    frame = results(12).rename(columns=renamed).assign(placement=HOSTILE, bottleneck=HOSTILE)
    manifest = {**MANIFEST, "workload": HOSTILE, "seed": HOSTILE, "certificate": HOSTILE, "versions": {"python": HOSTILE}}
    folder = write_run(tmp_path / "a <b> & c", frame, manifest=manifest)
    usual = page_of(write_run(tmp_path / "usual", results(12), manifest={**MANIFEST, "workload": "usual"}))
    page = page_of(folder)
    assert [tag for tag, _ in page.found] == [tag for tag, _ in usual.found]
    assert "onerror" not in {name for _, attributes in page.found for name in attributes}
    assert HOSTILE in page.data["columns"]["bottleneck"]["words"]
    assert page.data["columns"]["placement"]["words"] == [HOSTILE]
    drawn = [trace for figure in page.data["figures"].values() for trace in figure["data"]]
    texts = json.dumps([[trace["name"], trace.get("y")] for trace in drawn])
    assert "&lt;img" in texts
    assert "<img" not in texts
    assert "<script" not in texts
    assert page.texts["title"] == "Run a <b> & c"


def test_front_csv_lies_beside_the_page(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    page = write_report(folder, tmp_path / "elsewhere" / "page.html")
    assert page == tmp_path / "elsewhere" / "page.html"
    assert not (folder / "report.html").exists()
    written = pd.read_csv(page.with_name("front.csv"))
    assert set(written["design_id"]) == set(pd.read_parquet(folder / "front.parquet")["design_id"])
    assert list(page.parent.glob(".*")) == []


def test_json_for_a_script_holds_no_markup_and_no_nan() -> None:
    value = {"text": HOSTILE, "numbers": [math.nan, math.inf, 1.5, None], "nested": ({"a": -math.inf},)}
    text = script_json(value)
    assert not re.search("[<>&\u2028\u2029]|NaN|Infinity", text)
    assert json.loads(text) == {"text": HOSTILE, "numbers": [None, None, 1.5, None], "nested": [{"a": None}]}


def test_columns_keep_whole_numbers_whole() -> None:
    assert packed([131072, 131072.0, None]) == [131072, 131072, None]
    assert packed(pd.Series([1.23456789, np.nan])) == [1.2346, None]
    assert packed([None, "x"]) == {"words": ["x"], "at": [-1, 0]}


def test_the_page_draws_and_never_evaluates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mist_dse.evaluation

    monkeypatch.setattr(mist_dse.evaluation, "evaluate", lambda *_, **__: pytest.fail("the report evaluated a design"))
    assert write_report(write_run(tmp_path / "run")).exists()
