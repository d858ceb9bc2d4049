"""Curves of the log and of the simulation as an SVG: one panel per run, written by hand so that a diff shows what moved."""

import numpy as np
import pandas as pd

WIDTH, HEIGHT, LEFT, TOP, GAP = 900, 260, 60, 40, 60
LINES = (("running log", "#999999", "none", 4.0), ("running", "#0b62a4", "none", 1.5),
         ("waiting log", "#cccccc", "none", 4.0), ("waiting", "#c1440e", "5 3", 1.5))  # fmt: skip


def figure(curves: pd.DataFrame) -> str:
    """Running and waiting requests against time, of every run in ``curves``."""
    runs = list(dict.fromkeys(curves["run"]))
    height = TOP + len(runs) * (HEIGHT + GAP)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
             f'<rect width="{WIDTH}" height="{height}" fill="white"/>', *legend()]  # fmt: skip
    for place, run in enumerate(runs):
        parts += panel(curves[curves["run"] == run], run, TOP + place * (HEIGHT + GAP))
    return "\n".join([*parts, "</svg>"]) + "\n"


def legend() -> list[str]:
    """What each line is."""
    parts = []
    for place, (name, colour, dashes, width) in enumerate(LINES):
        x, said = LEFT + place * 200, f"{name.split()[0]}, {'log of vLLM' if 'log' in name else 'simulated'}"
        parts.append(f'<line x1="{x}" y1="18" x2="{x + 30}" y2="18" stroke="{colour}" stroke-width="{width}" stroke-dasharray="{dashes}"/>')
        parts.append(f'<text x="{x + 36}" y="22">{said}</text>')
    return parts


def panel(curve: pd.DataFrame, title: str, top: float) -> list[str]:
    """One run: axes with ticks, and the four lines."""
    ends, most = curve["t"].max(), float(curve[[name for name, *_ in LINES]].to_numpy().max())
    x, y = (np.asarray(curve["t"]) / ends * (WIDTH - LEFT - 20) + LEFT), {}
    parts = [f'<text x="{LEFT}" y="{top + 12}" font-weight="bold">{title}</text>']
    floor, room = top + HEIGHT, HEIGHT - 25
    for count in np.arange(0, most + 1, 32):
        at = floor - count / most * room
        parts.append(f'<line x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - 20}" y2="{at:.1f}" stroke="#eeeeee"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{count:.0f}</text>')
    for second in np.arange(0, ends, 20):
        parts.append(
            f'<text x="{LEFT + second / ends * (WIDTH - LEFT - 20):.1f}" y="{floor + 18:.0f}" text-anchor="middle">{second:.0f} s</text>'
        )
    for name, colour, dashes, width in LINES:
        y[name] = floor - curve[name].to_numpy() / most * room
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y[name], strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-dasharray="{dashes}"/>')
    return parts
