"""How colours look to readers without one kind of cone, and whether two of them can be told apart on marks of a size.

Dichromacy: Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision deficiency", IEEE TVCG 15(6),
2009, table of severity 1.0, on linear RGB. Threshold: Stone, Szafir and Setlur, "An engineering model for color difference as a function of
size", CIC 22, 2014: half of the readers tell two colours apart whose distance in CIELAB, each axis over its own just noticeable difference
at the size of the marks, is 1 or more.
"""

import numpy as np
from numpy.typing import NDArray

CONES = {
    "all": np.eye(3),
    "no long": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "no medium": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "no short": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
}
"""Linear RGB as seen by a reader with all cones, and without one kind."""

DEGREES = 0.25
"""Marks of 10 px of 0.26 mm at 60 cm."""

XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
WHITE = XYZ.sum(axis=1)  # D65


def rgb(colour: str, under: str = "#ffffff") -> NDArray[np.float64]:
    """Linear RGB of ``#rrggbb``, or of ``rgba(r,g,b,a)`` over another colour."""
    if colour.startswith("rgba"):
        *parts, alpha = (float(part) for part in colour[5:-1].split(","))
        return linear(alpha * np.array(parts) / 255 + (1 - alpha) * encoded(under))
    return linear(encoded(colour))


def encoded(colour: str) -> NDArray[np.float64]:
    assert len(colour) == 7, colour
    return np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])


def linear(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(colour: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIELAB of linear RGB."""
    ratio = XYZ @ np.clip(colour, 0, 1) / WHITE
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def noticeable(one: str, other: str, cones: str = "all") -> float:
    """Distance of two colours in just noticeable differences, of marks of `DEGREES`."""
    seen = CONES[cones]
    step = 0.5 * np.array([10.16 + 1.50 / DEGREES, 10.68 + 3.08 / DEGREES, 10.70 + 5.74 / DEGREES])
    return float(np.linalg.norm((lab(seen @ rgb(one)) - lab(seen @ rgb(other))) / step))


def least_noticeable(one: str, other: str) -> float:
    """The same for the reader who sees them most alike."""
    return min(noticeable(one, other, cones) for cones in CONES)
