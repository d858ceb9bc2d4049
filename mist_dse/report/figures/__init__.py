"""Plots as functions of stored results, each returning a plotly figure with units on every axis."""

from mist_dse.report.figures.breakdown import breakdown_figure
from mist_dse.report.figures.front import front_figure

__all__ = ["breakdown_figure", "front_figure"]
