"""Plots as functions of stored results, each returning a plotly figure with units on every axis.

Of a run: ``front_figure``, ``robustness_figure``, ``slices_figure``, ``sensitivity_figure``; of one or more: ``history_figure``,
``seeds_figure``; of one design: ``breakdown_figure``, ``waterfall_figure``, ``utilisation_figure``, ``roofline_figure`` (a pool of it);
of one simulation: ``timeline_figure``, ``load_figure``; of measurements: ``validation_figure``.
"""

from mist_dse.report.figures.breakdown import breakdown_figure
from mist_dse.report.figures.front import front_figure
from mist_dse.report.figures.history import history_figure
from mist_dse.report.figures.robustness import robustness_figure
from mist_dse.report.figures.roofline import roofline_figure
from mist_dse.report.figures.seeds import seeds_figure
from mist_dse.report.figures.sensitivity import sensitivity_figure
from mist_dse.report.figures.slices import slices_figure
from mist_dse.report.figures.timeline import load_figure, timeline_figure
from mist_dse.report.figures.utilisation import utilisation_figure
from mist_dse.report.figures.validation import validation_figure
from mist_dse.report.figures.waterfall import waterfall_figure

__all__ = [
    "breakdown_figure",
    "front_figure",
    "history_figure",
    "load_figure",
    "robustness_figure",
    "roofline_figure",
    "seeds_figure",
    "sensitivity_figure",
    "slices_figure",
    "timeline_figure",
    "utilisation_figure",
    "validation_figure",
    "waterfall_figure",
]
