"""Random streams: one generator per purpose, so that a change of one purpose leaves the draws of the others alone.

Two designs, two rates or two length laws under one seed then see common random numbers (MODEL.md, section 7). Children of
one ``SeedSequence`` are independent and are identified by their place in `PURPOSES`: append, never reorder.
"""

import zlib
from collections.abc import Mapping

import numpy as np

PURPOSES = ("arrivals", "joint", "input_tokens", "output_tokens", "classes", "service", "routing", "turns", "think")


def streams(seed: int) -> Mapping[str, np.random.Generator]:
    """A generator (PCG64) for each of `PURPOSES`, spawned from ``seed`` in that order.

    >>> a, b = streams(1), streams(1)
    >>> _ = a["arrivals"].random(1000)
    >>> bool(a["joint"].random() == b["joint"].random())
    True
    """
    children = np.random.SeedSequence(seed).spawn(len(PURPOSES))
    return {purpose: np.random.Generator(np.random.PCG64(child)) for purpose, child in zip(PURPOSES, children, strict=True)}


def named_stream(seed: int, name: str) -> np.random.Generator:
    """A generator for a purpose that a pipeline names, beside those of `streams`: the same name, the same draws, whatever else is drawn.

    >>> bool(named_stream(1, "escalate").random() == named_stream(1, "escalate").random())
    True
    """
    place = np.random.SeedSequence(seed, spawn_key=(len(PURPOSES) + 10**6, zlib.crc32(name.encode())))
    return np.random.Generator(np.random.PCG64(place))
