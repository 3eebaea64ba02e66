"""Vessel geometry and flow networks, in and out: centrelines, surfaces, and the files of flow solvers. Knows ``core`` only; no VTK."""

from gemel.interop.geometry.svzerod import FlowBoundary, FlowJunction, FlowModel, FlowTree, FlowVessel, read_svzerod, tree_of, write_svzerod

__all__ = ["FlowBoundary", "FlowJunction", "FlowModel", "FlowTree", "FlowVessel", "read_svzerod", "tree_of", "write_svzerod"]
