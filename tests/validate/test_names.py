"""Names as measured, against the catalogue."""

import pytest

from mist_dse.catalog import Catalog
from mist_dse.validate.names import catalogued_accelerator, catalogued_model, engine_family, weight_dtype

CATALOG = Catalog()


@pytest.mark.parametrize(
    ("measured", "name"),
    [
        ("deepseek-ai/DeepSeek-R1", "deepseek-r1"),
        ("nvidia/Qwen3-32B-NVFP4", "qwen3-32b"),
        ("nvidia/Llama-3.1-8B-Instruct-FP8", "llama-3.1-8b"),
        ("openai/gpt-oss-120b", "gpt-oss-120b"),
        ("Mixtral 8x7B", "mixtral-8x7b"),
        ("nvidia/DeepSeek-V3.1-NVFP4", "deepseek-v3"),
        ("Qwen/Qwen3-235B-A22B-FP8", "qwen3-235b-a22b"),
        ("someone/Unheard-7B", None),
    ],
)
def test_models(measured: str, name: str | None) -> None:
    assert catalogued_model(measured, CATALOG) == name


@pytest.mark.parametrize(
    ("measured", "name"),
    [
        ("H100-SXM-80GB", "h100_sxm"),
        ("B300-270GB", "b300"),
        ("GB300-288GB", "gb300"),
        ("RTX-PRO-6000-BW-Server", "rtx_pro_6000"),
        ("Abacus", None),
    ],
)
def test_accelerators(measured: str, name: str | None) -> None:
    assert catalogued_accelerator(measured, CATALOG) == name


def test_engines_and_precisions() -> None:
    assert engine_family("TensorRT-LLM(triton)") == "trtllm"
    assert engine_family("something") is None
    assert weight_dtype("fp4", "deepseek-ai/DeepSeek-R1") == "nvfp4"
    assert weight_dtype("fp8", "openai/gpt-oss-20b") == "mxfp4"
    assert weight_dtype("", "meta-llama/Llama-3.1-8B-Instruct") == "bf16"
    assert weight_dtype("fp3", "x") is None
