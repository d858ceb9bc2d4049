"""Kinds of model and regimes of load: what errors hang on, and so what intervals and claims are told apart by.

Kinds: ``dense``; ``moe`` (mixtures without latent attention, with or without windows and linear attention); ``mla`` (latent
attention, dense or sparse). Regimes: ``closed`` (a server of its own up to the concurrency at which a mixture is held to narrow
limits), ``many`` (mixtures past it), ``disagg`` and ``disagg_many``, ``offline``, ``open``, ``open_full`` and ``static``.
"""

from mist_dse.specs.model import ModelSpec

KINDS = ("dense", "moe", "mla")

FEW, MANY, MOST = 64, 256, 512
"""Concurrency up to which a mixture with latent attention is held to the narrow limits, up to which any mixture is, and up to which a
disaggregated design is."""


def kind_of(model: ModelSpec) -> str:
    """The kind of a model."""
    if model.is_latent:
        return "mla"
    return "moe" if model.experts else "dense"


def regime_of(kind: str, clients: float, *, attention_dp: bool = False, disaggregated: bool = False) -> str:
    """The regime of a server with ``clients`` requests in it.

    >>> regime_of("mla", 64), regime_of("mla", 65), regime_of("dense", 900), regime_of("mla", 900, disaggregated=True)
    ('closed', 'many', 'closed', 'disagg_many')
    """
    if disaggregated:
        return "disagg_many" if clients > MOST else "disagg"
    crowded = clients > {"moe": MANY, "mla": FEW}.get(kind, clients)
    return "many" if crowded or (kind == "mla" and attention_dp) else "closed"
