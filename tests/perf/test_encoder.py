"""Encoder passes by hand, against NVIDIA's published BERT latencies, and what their times promise."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mist_dse.catalog import Catalog
from mist_dse.perf.encoder import CLASS_DEFAULT, HOST_DTYPES, encoder_bytes, encoder_flop, encoder_time, host_attained, memory_traffic
from mist_dse.perf.operator import coefficients
from mist_dse.specs.design import Datatypes
from mist_dse.specs.hardware import Host
from tests.perf.cases import H100, LLAMA_8B

CATALOG = Catalog()
BASE, LARGE = CATALOG.model("e5-base-v2"), CATALOG.model("e5-large-v2")  # BERT-base and BERT-large
HOST = Host(name="host", vendor="none", year=2024, cores=10, fp32=1e12, bf16=4e12, memory=1e9, memory_bandwidth=100e9)
BATCHES = (1, 2, 4, 8, 12, 16, 24, 32, 64, 128)

# NVIDIA/TensorRT demo/BERT/README.md: mean latency in ms, FP16, by accelerator, model and sequence length, over BATCHES.
PUBLISHED = {
    ("a100_sxm_40gb", "e5-base-v2", 128): (0.67, 0.83, 1.02, 1.38, 1.87, 2.18, 3.34, 4.10, 8.05, 16.14),
    ("a100_sxm_40gb", "e5-base-v2", 384): (1.31, 1.64, 2.31, 3.62, 5.03, 6.72, 9.79, 13.51, 26.11, 51.26),
    ("a100_sxm_40gb", "e5-large-v2", 128): (1.64, 2.05, 2.97, 4.51, 5.26, 7.75, 10.10, 13.85, 26.20, 51.61),
    ("a100_sxm_40gb", "e5-large-v2", 384): (3.12, 4.15, 5.96, 11.53, 16.22, 21.92, 32.43, 43.01, 83.63, 163.70),
    ("a30", "e5-base-v2", 128): (0.89, 1.13, 1.54, 2.50, 3.55, 4.44, 6.86, 8.63, 17.17, 33.58),
    ("a30", "e5-base-v2", 384): (1.70, 2.36, 3.87, 7.53, 10.58, 14.48, 21.17, 28.00, 54.32, 107.15),
    ("a30", "e5-large-v2", 128): (2.14, 2.94, 4.81, 8.35, 10.91, 15.08, 21.02, 29.14, 55.38, 108.52),
    ("a30", "e5-large-v2", 384): (4.57, 6.98, 12.32, 23.21, 34.58, 45.29, 66.62, 87.57, 173.29, 342.30),
}


def published_errors(accelerator: str) -> np.ndarray:
    """Relative errors over all batches, models and lengths of one accelerator; no constant was set on them."""
    found = []
    for (device, model, tokens), milliseconds in PUBLISHED.items():
        if device == accelerator:
            times = encoder_time(CATALOG.model(model), CATALOG.accelerator(device), np.array(BATCHES), tokens)
            found.append(times / (np.array(milliseconds) * 1e-3) - 1)
    return np.concatenate(found)


@pytest.mark.parametrize(("accelerator", "limit", "widest"), [("a30", 0.05, 0.20), ("a100_sxm_40gb", 0.20, 0.40)])
def test_published_bert_latencies(accelerator: str, limit: float, widest: float) -> None:
    found = np.abs(published_errors(accelerator))
    assert len(found) == 40
    assert float(np.median(found)) <= limit
    assert float(found.max()) <= widest


def test_flop_of_bert_large_by_hand() -> None:
    # 24 layers x (4 x 1024^2 + 2 x 1024 x 4096) = 302e6 values; attention 4 x 1024 x 384^2 per layer; 8 items of 384 tokens
    products, attention = 2 * 8 * 384 * 24 * 12 * 1024**2, 8 * 24 * 4 * 1024 * 384**2
    assert float(encoder_flop(LARGE, 8, 384)) == products + attention


def test_rago_encoder_and_its_flop() -> None:
    """RAGO counts 2 x parameters per token: its 120M encoder has 85.1e6 of them in layers; attention adds 2.6% at 128 tokens."""
    encoder = CATALOG.model("encoder-120m")
    assert float(encoder_flop(encoder, 1, 128)) == pytest.approx(1.026 * 2 * 85.1e6 * 128, rel=1e-3)


def test_an_encoder_attends_to_all_pairs_and_a_decoder_that_embeds_to_half() -> None:
    tokens = 4096
    products = 2.0 * tokens * 32 * (4096 * (4096 + 2 * 1024) + 4096 * 4096 + 3 * 4096 * 14336)
    assert float(encoder_flop(LLAMA_8B, 1, tokens)) == products + 32 * 4 * 4096 * tokens * (tokens + 1) / 2


def test_weights_of_encoders() -> None:
    assert encoder_bytes(LARGE) == 2 * LARGE.parameters
    assert encoder_bytes(LARGE, HOST_DTYPES) == pytest.approx(4 * LARGE.parameters, rel=3e-3)  # norms and biases at 16 bit
    assert encoder_bytes(CATALOG.model("clip-vit-l-14-336")) == 2 * 303_507_456


def test_host_by_hand() -> None:
    # fp32: 0.5 x 1 TFLOP/s, attention at half of that; 80 GB/s. BERT-base: 12 x 12 x 768^2 = 84.9e6 values in layers.
    values, activations = 12 * 12 * 768**2, 12 * (8 * 768 + 2 * 3072) * 4.0
    attention = 12 * 4 * 768 * 128**2 / 0.25e12
    one = 0.5e-3 + max(2 * 128 * values / 0.5e12, 4 * values / 80e9) + attention + 128 * activations / 80e9
    assert float(encoder_time(BASE, HOST, 1, 128)) == pytest.approx(one)
    assert float(memory_traffic(BASE, 1, 128)) == pytest.approx(4 * values + 128 * activations)
    # a single token reads all weights
    assert float(encoder_time(BASE, HOST, 1, 1)) == pytest.approx(0.5e-3 + 4 * values / 80e9, rel=0.01)


def test_host_peaks() -> None:
    assert host_attained(HOST, "fp32") == CLASS_DEFAULT.fp32 * 1e12
    assert host_attained(HOST, "bf16") == CLASS_DEFAULT.bf16 * 4e12
    assert host_attained(HOST, "bf16", cores=5) == pytest.approx(host_attained(HOST, "bf16") / 2)
    plain = Host(name="plain", vendor="none", year=2019, cores=10, fp32=1e12, memory=1e9, memory_bandwidth=100e9)
    assert host_attained(plain, "bf16") == host_attained(plain, "fp32")


@given(
    items=st.integers(1, 256), tokens=st.integers(1, 512), more=st.integers(1, 64), cores=st.integers(1, 9),
    device=st.sampled_from([H100, HOST]),
    model=st.sampled_from(["e5-base-v2", "bge-reranker-v2-m3", "all-minilm-l6-v2", "qwen3-embedding-0.6b"]),
)  # fmt: skip
def test_more_work_takes_longer_and_more_cores_never(items, tokens, more, cores, device, model) -> None:  # type: ignore[no-untyped-def]
    spec = CATALOG.model(model)
    time = float(encoder_time(spec, device, items, tokens))
    assert time <= float(encoder_time(spec, device, items + more, tokens))
    assert time <= float(encoder_time(spec, device, items, tokens + more))
    assert float(encoder_time(spec, HOST, items, tokens, cores=cores + 1)) <= float(encoder_time(spec, HOST, items, tokens, cores=cores))
    flops = H100.peaks.at("bf16") if device is H100 else 1e12
    assert time >= float(encoder_flop(spec, items, tokens)) / flops  # the speed of light


def test_arrays_answer_as_each_scalar_and_nothing_takes_no_time() -> None:
    items, tokens = np.array([0, 1, 8]), np.array([64, 64, 256])
    for device in (H100, HOST):
        together = encoder_time(BASE, device, items, tokens)
        assert together[0] == 0.0
        assert list(together) == pytest.approx([float(encoder_time(BASE, device, k, s)) for k, s in zip(items, tokens, strict=True)])


def test_a_small_batch_on_an_accelerator_pays_for_starting_kernels() -> None:
    started = coefficients(H100, "attention_prefill", "bf16").overhead + 4 * coefficients(H100, "gemm", "bf16").overhead
    assert float(encoder_time(BASE, H100, 1, 8)) >= 12 * started


def test_narrow_weights_are_faster_where_the_device_has_units() -> None:
    narrow = Datatypes(weight="fp8", kv="bf16", compute="fp8")
    assert float(encoder_time(LARGE, H100, 64, 512, narrow)) < float(encoder_time(LARGE, H100, 64, 512))
