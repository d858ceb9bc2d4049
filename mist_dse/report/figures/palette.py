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

DIM = "#606060"
"""The grey of a series: `GREY`, for what stands behind, is that of green or purple to a reader without green cones."""

INK = "#222222"
"""Of marks over series."""

SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, YELLOW, DIM)
"""Colours of series in the order they are given out; past the last they repeat with a hatch, a symbol or a dash."""

SCALE = "Cividis"

HATCHES = ("", "/", "\\", "x", ".")

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross")

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


def plot_text(text: str) -> str:
    """Any text for a plot: plotly reads ``<``, ``>`` and ``&`` as markup, and shows an escaped quote as it is written."""
    return escape(text, quote=False)


def series_style(index: int) -> dict[str, Any]:
    """The marker of the ``index``-th series: colour, then colour and hatch, so that none looks like another."""
    return {
        "color": SERIES[index % len(SERIES)],
        "pattern": {"shape": HATCHES[index // len(SERIES) % len(HATCHES)], "fgcolor": "#ffffff", "solidity": 0.25},
    }


def point_style(index: int, size: int = 7) -> dict[str, Any]:
    """The marker of the ``index``-th series of points: colour, then colour and symbol."""
    return {"color": SERIES[index % len(SERIES)], "symbol": SYMBOLS[index // len(SERIES) % len(SYMBOLS)], "size": size}


def line_style(index: int, width: float = 2.0) -> dict[str, Any]:
    """The ``index``-th line: colour, then colour and dash."""
    return {"color": SERIES[index % len(SERIES)], "dash": DASHES[index // len(SERIES) % len(DASHES)], "width": width}


def faint(colour: str, opacity: float) -> str:
    """A colour of `SERIES` as what is seen of it behind other things.

    >>> faint("#0072B2", 0.2)
    'rgba(0,114,178,0.2)'
    """
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def plain_axis(title: str, unit: str = "", **style: Any) -> dict[str, Any]:
    """A linear axis with its title and unit."""
    text = f"{title} ({unit})" if unit else title
    return {
        "title": {"text": plot_text(text)}, "type": "linear", "automargin": True, "zeroline": False, "ticks": "outside",
        "exponentformat": "SI",
    } | style  # fmt: skip


def log_ticks(least: float, most: float) -> dict[str, Any]:
    """What makes an axis from ``least`` to ``most`` (> 0) logarithmic: labels at 1, 2 and 5, or at powers of ten alone."""
    return {"type": "log", "dtick": 1 if most / least > 1e3 else "D2", "minorloglabels": "complete"}


def legend_above() -> dict[str, Any]:
    """A legend in one row over the plot."""
    return {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"}


def plain_layout(**layout: Any) -> dict[str, Any]:
    """A layout without plotly's template; paper and plot are transparent, so that a page's light or dark shows through."""
    return {
        "template": "none",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": BLUE},
    } | layout


def paper_layout(**layout: Any) -> dict[str, Any]:
    """`plain_layout` on white paper, for figures that stand by themselves: their texts can be read wherever they are shown."""
    return (
        plain_layout(
            paper_bgcolor="#ffffff", plot_bgcolor="#ffffff", font={"family": "system-ui, sans-serif", "size": 13, "color": "#333333"}
        )
        | layout
    )
