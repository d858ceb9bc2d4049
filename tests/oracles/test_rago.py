"""RAGO (Jiang et al., ISCA 2025, arXiv 2503.14649): printed figures at printed schedules, never an optimum's place.

The model is that of ``studies/rago``, over the package's counts, links, retrieval and filling; its README says what each row assumes.
"""

from math import comb
from pathlib import Path

import pytest

from studies.rago import model
from studies.rago.iterative import stalled_latency
from studies.rago.model import LARGE, SMALL, TABLE_4, Chips

FITTED = (0.90, 0.92)


def test_retrieval_latency() -> None:
    """64e9 vectors of 96 bytes, 0.1% of them at 18 GB/s on one thread of each of 32 hosts: printed as 10 ms."""
    assert model.search_time() == pytest.approx(10.67e-3, rel=0.01)
    assert model.search_time() == pytest.approx(10e-3, rel=0.1)
    assert model.search_time(hosts=16) == pytest.approx(21.33e-3, rel=0.01)


def test_retrieval_ceiling() -> None:
    """0.8 of 460 GB/s: 1,916.7 queries/s, 14.97 per XPU of four a host; threads and memory meet at 20.4 queries in flight."""
    assert model.search_rate() == pytest.approx(1916.7, rel=1e-3)
    assert model.search_rate() / (32 * model.XPUS_PER_HOST) == pytest.approx(14.97, rel=1e-3)
    assert model.search_time(queries=64) == pytest.approx(33.39e-3, rel=1e-3)
    assert model.search_time(queries=20) == model.search_time()
    assert model.search_time(queries=21) > model.search_time()
    assert model.search_rate() * model.search_time() == pytest.approx(20.44, rel=1e-3)


def test_the_database_fills_sixteen_hosts() -> None:
    """64e9 x 96 B = 6.144e12 B are 16.0 hosts of 384e9 B."""
    assert model.CORPUS.vectors * model.CORPUS.code_bytes == 16 * model.HOST.memory


@pytest.mark.parametrize(("tokens", "computed", "printed"), [((128, 128), 86.9, 86.3), ((2048, 512), 31.4, 30.9)])
def test_shares_of_retrieval_in_figure_7c(tokens: tuple[int, int], computed: float, printed: float) -> None:
    """The corners: an 8B model in large batches, 66.78 ms of a chip for a query."""
    assert model.search_chip_time() == pytest.approx(66.78e-3, rel=1e-3)
    share = 100 * model.search_share(SMALL, *tokens, efficiency=FITTED)
    assert share == pytest.approx(printed, abs=1.0)
    assert share == pytest.approx(computed, abs=0.1)


@pytest.mark.parametrize(
    ("plan", "ttft", "rate"), [("RAGO, most QPS/chip", 2.47, 1.08), ("baseline, most QPS/chip", 1.54, 0.65)], ids=["RAGO", "baseline"]
)
def test_table_4(plan: str, ttft: float, rate: float) -> None:
    found = model.figures(TABLE_4[plan])
    assert found == pytest.approx((ttft, rate), rel=0.02)


def test_table_4_least_ttft() -> None:
    """Printed as 0.03 s and 0.22: the bytes of the rings take time here, and their hops 20 ms."""
    ttft, rate = model.figures(TABLE_4["least TTFT"])
    assert 0.025 < ttft < 0.035
    assert rate == pytest.approx(0.22, rel=0.05)
    hops = 2 * LARGE.layers * 2 * 63 * model.XPU.scale_up.latency
    assert hops == pytest.approx(20.16e-3)
    without = TABLE_4["least TTFT"]._replace(prefix=Chips(64))
    assert model.figures(without)[0] == pytest.approx(0.012, rel=0.02)


def test_gain_of_case_2_over_the_baseline() -> None:
    """Printed as 1.7."""
    (_, most), (_, base), _ = (model.figures(plan) for plan in TABLE_4.values())
    assert most / base == pytest.approx(1.7, rel=0.05)


def test_sensitivity_to_the_allocation() -> None:
    """Best over worst: printed as 64.1 disaggregated and 52.5 collocated."""
    assert model.sensitivity(collocated=False) == pytest.approx(64.1, rel=0.02)
    assert model.sensitivity(collocated=True) == pytest.approx(52.5, rel=0.1)


@pytest.mark.parametrize(("slots", "batch", "stall"), [(64, 64, 2.77), (64, 16, 1.14), (256, 256, 3.08), (4, 4, 1.71), (16, 8, 1.32)])
def test_stalls_of_iterative_retrieval_in_figure_10b(slots: int, batch: int, stall: float) -> None:
    assert stalled_latency(slots, batch) == pytest.approx(stall, rel=0.03)


def test_stalls_of_other_counts_of_retrievals_are_not_those_of_figure_10b() -> None:
    """Two retrievals a sequence were read off the figure: others miss it by far."""
    for retrievals in (1, 3, 4, 8):
        assert stalled_latency(64, 64, retrievals=retrievals) != pytest.approx(2.77, rel=0.1)


def test_nobody_waits_for_a_batch_of_one() -> None:
    assert stalled_latency(16, 1) == 1.0


def test_flop_of_70b_alone_over_rag_with_8b() -> None:
    """2 FLOP a parameter and token, 32 + 256 tokens against 512 + 256: 288 x 70 / (768 x 8) = 3.281, printed as 3.2."""
    ratio = (model.QUESTION + model.ANSWER) * LARGE.parameters / ((model.PROMPT + model.ANSWER) * SMALL.parameters)
    assert ratio == pytest.approx(288 * 70 / (768 * 8), rel=0.005)
    assert ratio == pytest.approx(3.2, rel=0.05)


def test_inference_is_the_larger_part_until_four_queries() -> None:
    """With 70B: 21.7, 35.7, 52.6 and 68.9% retrieval for 1, 2, 4, 8 queries; the paper's text says until four."""
    shares = [100 * model.search_share(LARGE, 512, 256, queries=queries) for queries in (1, 2, 4, 8)]
    assert shares == pytest.approx([21.7, 35.7, 52.6, 68.9], abs=1.0)
    assert shares[1] < 50 < shares[2]


def test_rewriting_delays_the_first_token() -> None:
    """Case IV with 70B: printed as 2.4 times."""
    assert model.rewriter_factor(LARGE) == pytest.approx(2.4, rel=0.05)


def test_a_million_tokens_in_the_prompt() -> None:
    """Full attention in all layers: 6,009.7 seconds of a chip; printed 2852.6 times the TTFT and 1/6633.9 of the QPS/chip of RAG."""
    alone = model.prefix_time(LARGE, Chips(1), tokens=1e6, causal=False)
    assert alone == pytest.approx((2 * 68.5e9 * 1e6 + 4 * 1e12 * 8192 * 80) / 459e12, rel=1e-3)
    ring = model.prefix_time(LARGE, Chips(64, 64, exposed=True), tokens=1e6, causal=False)
    assert ring / model.figures(TABLE_4["least TTFT"])[0] == pytest.approx(2852.6, rel=0.02)
    assert alone * model.figures(TABLE_4["RAGO, most QPS/chip"])[1] == pytest.approx(6633.9, rel=0.03)


def test_allocations_are_counted_exactly() -> None:
    """Powers of two, at most 128 chips in all; with batches 2^0..2^7 before decode and 2^0..2^10 in it, schedules of Cases I and II."""
    counts = [len(model.allocations(groups)) for groups in range(1, 6)]
    assert counts == [8, 49, 324, 2096, 13115]
    assert counts[1] * 8**2 * 11 == 34_496
    assert (counts[1] + counts[2]) * 8**3 * 11 == 2_100_736
    assert sum(comb(3, cuts) * counts[cuts + 1] for cuts in range(4)) == 20_424  # four stages on chips, cut anywhere, and decode


@pytest.mark.parametrize("plan", TABLE_4.values(), ids=TABLE_4)
def test_chips_that_are_no_bottleneck_cost_throughput_per_chip(plan: model.Plan) -> None:
    """Decode has room in every row of Table 4: more chips there change no TTFT and dilute QPS/chip by their number."""
    more = plan._replace(decode=plan.decode._replace(count=plan.decode.count + 1))
    chips = plan.encode.count + plan.decode.count + (0 if plan.collocated else plan.prefix.count)
    (before, rate), (after, diluted) = model.figures(plan), model.figures(more)
    assert before == after
    assert diluted == pytest.approx(rate * chips / (chips + 1))
    assert diluted < rate


def test_chips_of_a_bottleneck_raise_throughput() -> None:
    """The prefix is what limits RAGO's row, the encoder comes 1% behind."""
    plan = TABLE_4["RAGO, most QPS/chip"]
    more = plan._replace(prefix=plan.prefix._replace(count=17))
    rates = [chips * model.figures(each)[1] for chips, each in ((96, plan), (97, more))]
    assert 1.005 < rates[1] / rates[0] < 17 / 16


def test_the_printed_table_is_that_of_the_model() -> None:
    """The study's README shows Table 4 as computed today."""
    text = (Path(model.__file__).parent / "README.md").read_text(encoding="utf-8")
    for printed, plan in zip((1.08, 0.65, 0.22), TABLE_4.values(), strict=True):
        assert f"| {printed} | {model.figures(plan)[1]:.4g} | " in text
