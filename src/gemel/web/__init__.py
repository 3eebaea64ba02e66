"""Descriptions of `core.view`, drawn: reports in one HTML file, figures as SVG, notebook output."""

from gemel.web.figures import figure_svg
from gemel.web.notebook import mimebundle
from gemel.web.report import render_html

__all__ = ["figure_svg", "mimebundle", "render_html"]
