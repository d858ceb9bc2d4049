"""Metrics table, cost, pools, energy and intervals against hand-worked figures and published tables."""

import numpy as np
import pytest
from scipy import stats

from mist_dse.metrics import METRICS, ResourceUse, energy, intervals, pool_usage, usage_metrics
from mist_dse.metrics.cost import cost, usd_per_mtok
from mist_dse.metrics.intervals import student_t
from mist_dse.rows import Engine, Load, Servers
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import Accelerator, Link, Peaks, Price, PriceBook
from mist_dse.units import quantity
from tests.metrics import hand

LATENCIES = {f"{name}_{statistic}" for name in ("ttft", "tpot", "e2e") for statistic in ("mean", "p50", "p90", "p99")}
PROMISED = {"throughput_rps", "output_tokens_per_s", "goodput_rps", "slo_attainment"}
PROMISED |= {"usd_per_hour", "usd_per_mtok", "joules_per_token", "watts", "accelerators"}


def test_the_table_names_every_metric_promised_with_unit_and_direction():
    assert set(METRICS) >= LATENCIES | PROMISED
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.direction in ("min", "max")
        assert metric.description
        assert metric.bound in (None, "unloaded", "demand", "power", "exact")
        assert quantity(f"1 {metric.unit}" if metric.unit != "1" else "1", metric.unit) == 1.0
    assert METRICS["kv_occupancy"].bound is None  # occupancies have no bound


def test_one_dollar_an_hour_and_a_million_tokens_an_hour_cost_a_dollar_per_million():
    assert usd_per_mtok(1.0, 1e6 / 3600) == pytest.approx(1.0)
    assert usd_per_mtok(1.0, None) is None
    assert usd_per_mtok(1.0, 0.0) is None


def test_cost_of_a_design_or_why_it_has_none():
    book = PriceBook(name="b", prices=(Price(item="a", usd_per_hour=3.0, provider="p", date="2025-01-01", kind="on demand"),))
    design = hand.small_design(accelerator(), replicas=2, tp=4)
    found = cost(design, book, {"output_tokens_per_s": 1000.0})
    assert found == {"usd_per_hour": 24.0, "usd_per_mtok": pytest.approx(24 / 3.6), "accelerators": 8.0}
    unpriced = cost(design, PriceBook(name="empty", prices=()), {"output_tokens_per_s": 1000.0})
    assert isinstance(unpriced, Infeasible)
    assert unpriced.kind == "price"


def engine(**changes):
    fields = dict.fromkeys(Engine._fields, 0) | {"replicas": 2, "ranks": 1, "blocks": 100} | changes
    return Engine(**fields)


LOAD = Load(*[1e-3, 1e-6, 0.01, 2e-6, 5e-4, 0.0, 0.0, 0.0])


def test_pool_usage_by_hand():
    records = hand.records(
        pool=[0, 0, 1], steps=[10, 30, 5], busy=[4.0, 6.0, 1.0], tokens=[1000, 3000, 0], pairs=[1e5, 3e5, 0], contexts=[2e5, 4e5, 0],
        peak_seqs=[3, 7, 1], peak_blocks=[40, 90, 5], peak_tokens=[100, 300, 10], makespan=10.0,
    )  # fmt: skip
    servers = Servers((engine(), engine(replicas=1)), (), (LOAD, LOAD), (), ("one", "two", "link"))
    usage = pool_usage(records, servers)
    assert list(usage) == ["one", "two"]
    one = usage["one"]
    assert one.utilisation == pytest.approx(10 / 20)
    assert (one.kv_occupancy, one.peak_seqs, one.peak_step_tokens) == (0.9, 7, 300)
    assert (one.tokens_per_step, one.step_seconds) == (100.0, 0.25)
    assert one.use.compute == pytest.approx((4 + (4e5 + 6e5) * 1e-6) / 20)
    assert one.use.memory == pytest.approx((40 * 0.01 + 6e5 * 2e-6) / 20)
    assert one.use.link == pytest.approx(4000 * 5e-4 / 20)
    assert usage_metrics(usage) == {"utilisation": pytest.approx(0.5), "kv_occupancy": 0.9}


def test_ranks_share_the_tokens_of_a_replica():
    one = {name: [0] for name in ("pool", "pairs", "contexts", "peak_seqs", "peak_blocks", "peak_tokens")}
    records = hand.records(steps=[10], busy=[4.0], tokens=[1000], makespan=10.0, **one)
    servers = [Servers((engine(replicas=1, ranks=ranks),), (), (LOAD,), (), ("p",)) for ranks in (1, 2)]
    alone, shared = (pool_usage(records, server)["p"].use for server in servers)
    assert alone.compute == 2 * shared.compute
    assert alone.memory == shared.memory  # every rank reads its weights in every step


def accelerator(**power):
    link = Link(name="l", kind="test", bandwidth=1e9, latency=0.0)
    return Accelerator(name="a", vendor="v", year=2024, peaks=Peaks(bf16=1e15), memory=8e10, memory_bandwidth=3e12, scale_up=link,
                       scale_up_domain=8, **power)  # fmt: skip


def test_energy_of_idle_and_of_saturated_devices():
    device, design = accelerator(tdp=700.0, idle_power=75.0), hand.design(("p", accelerator(tdp=700.0, idle_power=75.0), 4))
    idle = energy(design, {"p": ResourceUse(0.0, 0.0, 0.0, 0.0)}, {"output_tokens_per_s": None})
    assert idle == {"watts": pytest.approx(4 * 75), "joules_per_token": None}
    full = energy(design, {"p": ResourceUse(1.0, 1.0, 0.5, 0.1)}, {"output_tokens_per_s": 1000.0})
    assert full["watts"] == pytest.approx(4 * device.tdp)
    assert full["joules_per_token"] == pytest.approx(2.8)


def test_power_of_a_half_busy_device_lies_halfway_between_idle_and_busy():
    design = hand.design(("p", accelerator(tdp=700.0, idle_power=75.0), 1))
    watts = [energy(design, {"p": ResourceUse(b, b * 0.1, b * 0.6, 0.0)}, {})["watts"] for b in (0.0, 0.5, 1.0)]
    assert watts[1] == pytest.approx((watts[0] + watts[2]) / 2)
    assert watts[0] < watts[2] < 700


def test_energy_without_a_known_power_is_undefined():
    design = hand.design(("p", accelerator(tdp=700.0), 1), ("q", accelerator(), 1))
    use = dict.fromkeys("pq", ResourceUse(0.5, 0.1, 0.1, 0.0))
    assert energy(design, use, {"output_tokens_per_s": 1.0}) == {"watts": None, "joules_per_token": None}


# Student's t, two-sided 95%: any textbook
@pytest.mark.parametrize(("freedom", "published"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (29, 2.045), (120, 1.980)])
def test_quantiles_of_student_t(freedom, published):
    assert student_t(0.975, freedom) == pytest.approx(published, abs=6e-4)


@pytest.mark.parametrize("freedom", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("probability", [0.5, 0.75, 0.95, 0.9995])
def test_quantiles_agree_with_scipy(freedom, probability):
    assert student_t(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=1e-9, abs=1e-12)


def test_intervals_by_hand():
    runs = [{"a": 1.0, "b": 1.0, "c": 5.0}, {"a": 2.0, "b": None, "c": 5.0}, {"a": 3.0, "b": 2.0, "c": 5.0}, {"a": 6.0, "b": 2.0, "c": 5.0}]
    found = intervals(runs)  # mean 3, deviation sqrt(14/3)
    reach = 3.182 * (14 / 3) ** 0.5 / 2
    assert found["a"] == pytest.approx((3 - reach, 3 + reach), abs=1e-3)
    assert "b" not in found
    assert found["c"] == (5.0, 5.0)
    assert intervals(runs[:1]) == {}
    assert intervals([]) == {}


def test_intervals_cover_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(1)
    trials = rng.normal(7.0, 2.0, (4000, 4))
    inside = sum(low <= 7.0 <= high for low, high in (intervals([{"x": v} for v in row], level=0.9)["x"] for row in trials))
    assert inside / 4000 == pytest.approx(0.9, abs=3.29 * (0.9 * 0.1 / 4000) ** 0.5)
