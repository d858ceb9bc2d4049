"""p90 of the time to first token against the rate, one panel per context, with queues and without: an SVG written by hand."""

import numpy as np
import pandas as pd

WIDTH, HEIGHT, LEFT, TOP = 900, 300, 60, 60
COLOURS = {"A": "#0b62a4", "B": "#c1440e", "C": "#3a7d44", "C+DCN": "#8a5fb4", "recompute": "#666666"}
LEAST, MOST = 0.2, 20.0
"""Seconds at the ends of the logarithmic axis; what is beyond is drawn at its end."""


def figure(results: pd.DataFrame) -> str:
    """Both contexts with HERMES' links: contention in full lines, bare links in broken ones."""
    chosen = results[(results["links"] == "HERMES") & results["world"].isin(["contention", "bare links"])]
    height = TOP + 2 * (HEIGHT + 50)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
             f'<rect width="{WIDTH}" height="{height}" fill="white"/>']  # fmt: skip
    for place, (name, colour) in enumerate(COLOURS.items()):
        parts.append(f'<text x="{LEFT + place * 110}" y="20" fill="{colour}" font-weight="bold">{name}</text>')
    parts.append(f'<text x="{LEFT + 560}" y="20">full: links queue; broken: bare links</text>')
    for place, (context, mine) in enumerate(chosen.groupby("context")):
        parts += panel(mine, f"p90 TTFT, s, contexts of {context:,} tokens; requests/s", TOP + place * (HEIGHT + 50))
    return "\n".join([*parts, "</svg>"]) + "\n"


def panel(mine: pd.DataFrame, title: str, top: float) -> list[str]:
    """One context: axes, and two lines per architecture."""
    parts = [f'<text x="{LEFT}" y="{top - 8}" font-weight="bold">{title}</text>']
    for second in (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0):
        y = top + _height(second)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - 20}" y2="{y:.1f}" stroke="#eeeeee"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{second:g}</text>')
    for rate in sorted(mine["rate"].unique()):
        parts.append(f'<text x="{_across(rate):.1f}" y="{top + HEIGHT + 18:.0f}" text-anchor="middle">{rate}</text>')
    for (name, world), line in mine.groupby(["architecture", "world"]):
        points = " ".join(f"{_across(r):.1f},{top + _height(s):.1f}" for r, s in zip(line["rate"], line["p90_s"], strict=True))
        dashes = "none" if world == "contention" else "5 4"
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{COLOURS[str(name)]}" stroke-width="2" stroke-dasharray="{dashes}"/>'
        )
    return parts


def _across(rate: float) -> float:
    return float(LEFT + np.log(rate / 5) / np.log(240 / 5) * (WIDTH - LEFT - 30))


def _height(seconds: float) -> float:
    at = np.clip(np.log(seconds / LEAST) / np.log(MOST / LEAST), 0.0, 1.0)
    return float(HEIGHT * (1.0 - at))
