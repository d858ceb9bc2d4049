"""Names as measured: engines, models, accelerators and datatypes, resolved to what the catalogue calls them.

A model resolves by its whole name, else by what follows its organisation, else less the datatype or the tuning at its end
(``nvidia/Qwen3-32B-NVFP4``, ``Llama-3.1-8B-Instruct``); an accelerator less its form factor and capacity (``B300-270GB``).
"""

import re
from functools import lru_cache

from mist_dse.catalog import Catalog, CatalogError

FAMILIES = (
    ("vllm", "vllm"), ("sglang", "sglang"), ("tensorrt", "trtllm"), ("trtllm", "trtllm"), ("trt-llm", "trtllm"), ("generic", "generic"),
)  # fmt: skip
"""How an engine's name begins, and the family of profiles that it belongs to."""

PRECISIONS = {"fp32": "bf16", "tf32": "bf16", "bf16": "bf16", "fp16": "bf16", "bfloat16": "bf16", "float16": "bf16", "half": "bf16",
              "fp8": "fp8", "fp8_block": "fp8", "fp4": "nvfp4", "nvfp4": "nvfp4", "mxfp4": "mxfp4", "int4": "int4", "w4a16": "int4",
              "awq": "int4", "int8": "int8"}  # fmt: skip
"""A measured precision, and how weights are stored under it; 16-bit floats all move two bytes."""

_TAIL = re.compile(r"[-_ ](fp8|nvfp4|fp4|mxfp4|int4|awq|bf16|fp16|instruct|chat|it|hf|base)$", re.IGNORECASE)


def engine_family(name: str) -> str | None:
    """The family of profiles of a measured engine, None where it is unknown.

    >>> engine_family("TensorRT-LLM(triton)"), engine_family("SGLang"), engine_family("LMDeploy")
    ('trtllm', 'sglang', None)
    """
    folded = name.strip().casefold()
    return next((family for start, family in FAMILIES if folded.startswith(start)), None)


def weight_dtype(precision: str, model: str) -> str | None:
    """How weights are stored: by the precision, or where none is given by the end of the model's name, else 16 bit.

    >>> weight_dtype("", "nvidia/Llama-3.1-8B-Instruct-FP8"), weight_dtype("", "Qwen/Qwen3-32B"), weight_dtype("fp4", "gpt-oss-120b")
    ('fp8', 'bf16', 'mxfp4')
    """
    named = re.search(r"(nvfp4|mxfp4|fp8|fp4|int4|awq)$", model.strip().casefold())
    said = precision.strip().casefold() or (named[1] if named else "bf16")
    stored = PRECISIONS.get(said)
    if "gpt-oss" in model.casefold() and stored in ("nvfp4", "fp8"):
        return "mxfp4"  # the only checkpoint that was published; a "precision" of fp8 is that of its activations
    return stored


def catalogued_model(name: str, catalog: Catalog) -> str | None:
    """The catalogue's name of a measured model, None where it has none."""
    return _resolved("model", name, catalog)


def catalogued_accelerator(name: str, catalog: Catalog) -> str | None:
    """The catalogue's name of measured hardware, None where it has none."""
    return _resolved("accelerator", name, catalog)


@lru_cache(maxsize=4096)
def _resolved(group: str, name: str, catalog: Catalog) -> str | None:
    candidates = _model_names(name) if group == "model" else _hardware_names(name)
    for candidate in candidates:
        try:
            return catalog.path(group, candidate).stem
        except CatalogError:
            continue
    return None


def _model_names(name: str) -> list[str]:
    found = [name, name.rsplit("/", 1)[-1]]
    while (match := _TAIL.search(found[-1])) is not None:
        found.append(found[-1][: match.start()])
    return found


def _hardware_names(name: str) -> list[str]:
    parts = name.strip().split("-")
    return ["-".join(parts[:count]) for count in range(len(parts), 0, -1)]
