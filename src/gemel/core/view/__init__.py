"""What a person is shown, as plain descriptions: figures, scenes and views. No JAX, and nothing is drawn here."""

from gemel.core.advice import ShownOn

from .array import Array
from .assessments import bars_figure, calibration_figure, posterior_figure
from .common import Standing
from .document import Form, FormField, Number, Text, View, json_schema
from .figure import KINDS, Figure
from .forecasts import compare_figure, fan_figure
from .layers import Band, Bars, Cells, Facts, Layer, Line, Points, Region, Rule, Shares, UnknownLayer
from .parts import Axis, Column, Event, Link, Panel, Status, Table
from .records import agp_figure, series_figure, timeline_figure
from .scene import Camera, Contours, Field, Glyphs, Label, PointSet, Scene, Slices, Surface, Tubes, VolumeImage
from .words import number_text, unit_text

__all__ = [
    "KINDS",
    "Array",
    "Axis",
    "Band",
    "Bars",
    "Camera",
    "Cells",
    "Column",
    "Contours",
    "Event",
    "Facts",
    "Field",
    "Figure",
    "Form",
    "FormField",
    "Glyphs",
    "Label",
    "Layer",
    "Line",
    "Link",
    "Number",
    "Panel",
    "PointSet",
    "Points",
    "Region",
    "Rule",
    "Scene",
    "Shares",
    "ShownOn",
    "Slices",
    "Standing",
    "Status",
    "Surface",
    "Table",
    "Text",
    "Tubes",
    "UnknownLayer",
    "View",
    "VolumeImage",
    "agp_figure",
    "bars_figure",
    "calibration_figure",
    "compare_figure",
    "fan_figure",
    "json_schema",
    "number_text",
    "posterior_figure",
    "series_figure",
    "timeline_figure",
    "unit_text",
]
