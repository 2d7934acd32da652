"""Figures and their words, from stored runs alone."""

from superpose_cli.plots.registry import PLOTS, Plot, Plotted, default_names, draw, find_plot
from superpose_cli.plots.style import FORMATS, STYLES, Style, find_style

__all__ = [
    "FORMATS",
    "PLOTS",
    "STYLES",
    "Plot",
    "Plotted",
    "Style",
    "default_names",
    "draw",
    "find_plot",
    "find_style",
]
