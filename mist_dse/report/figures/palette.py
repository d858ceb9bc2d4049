"""Colours that a colour-blind reader can tell apart, and the layout and texts that all figures share.

Okabe and Ito, "Color universal design", 2008, https://jfly.uni-koeln.de/color/; the continuous scale is cividis
(Nunez, Anderton and Renslow, PLoS ONE 13(7), 2018).
"""

from html import escape
from typing import Any

BLUE, VERMILLION, GREEN, ORANGE, SKY, PURPLE, YELLOW, GREY = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#E69F00",
    "#56B4E9",
    "#CC79A7",
    "#F0E442",
    "#8C8C8C",
)

SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, YELLOW, GREY)
"""Colours of causes in the order they are given out; past the last they repeat with a hatch."""

SCALE = "Cividis"

HATCHES = ("", "/", "\\", "x", ".")


def plot_text(text: str) -> str:
    """Any text for a plot: plotly reads ``<``, ``>`` and ``&`` as markup, and shows an escaped quote as it is written."""
    return escape(text, quote=False)


def series_style(index: int) -> dict[str, Any]:
    """The marker of the ``index``-th series: colour, then colour and hatch, so that none looks like another."""
    return {
        "color": SERIES[index % len(SERIES)],
        "pattern": {"shape": HATCHES[index // len(SERIES) % len(HATCHES)], "fgcolor": "#ffffff", "solidity": 0.25},
    }


def plain_layout(**layout: Any) -> dict[str, Any]:
    """A layout without plotly's template; paper and plot are transparent, so that a page's light or dark shows through."""
    return {
        "template": "none",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": BLUE},
    } | layout
