"""Vessel geometry and flow networks, in and out: centrelines, surfaces, and the files of flow solvers. Knows ``core`` only; no VTK."""

from gemel.interop.geometry.stl import read_stl
from gemel.interop.geometry.svzerod import FlowBoundary, FlowJunction, FlowModel, FlowTree, FlowVessel, read_svzerod, tree_of, write_svzerod
from gemel.interop.geometry.vtk_legacy import read_vtk
from gemel.interop.geometry.vtk_xml import PolyData, read_vtp

__all__ = [
    "FlowBoundary",
    "FlowJunction",
    "FlowModel",
    "FlowTree",
    "FlowVessel",
    "PolyData",
    "read_stl",
    "read_svzerod",
    "read_vtk",
    "read_vtp",
    "tree_of",
    "write_svzerod",
]
