"""The closed list of stage kinds: each is a file of this room."""

from importlib import import_module
from types import ModuleType

from mist_dse.catalog_errors import nearest
from mist_dse.specs._check import SpecError

KINDS = (
    "tokenise", "rewrite", "embed", "encode", "retrieve", "rerank", "kv_fetch", "kv_store", "prefill", "decode", "generate", "guard",
    "reward", "tool", "detokenise",
)  # fmt: skip
"""Names that `Stage.kind` may take."""


def kind_of(name: str, where: str) -> ModuleType:
    """The file of a kind; ``SpecError`` with the nearest names for one that does not exist."""
    if name not in KINDS:
        raise SpecError(f"{where} is of kind {name!r}, which does not exist; {nearest(name, KINDS)}")
    return import_module(f"mist_dse.stages.{name}")
