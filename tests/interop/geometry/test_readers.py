"""Centrelines, surfaces and networks from files: the real ones, every layout that VTK itself writes, and damage."""

import base64
import json
import os
import struct
import subprocess
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _data import require_dataset
from gemel.core.errors import DataError, FormatError, UnitError
from gemel.interop.geometry import read_stl, read_svzerod, read_vtk, read_vtp, tree_of, write_svzerod

XML = """<?xml version="1.0"?>
<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="{header}"{packed}>
<PolyData><Piece NumberOfPoints="3" NumberOfLines="1"><PointData>{radius}</PointData><Points>{points}</Points>
<Lines>{connectivity}{offsets}</Lines></Piece></PolyData>{appended}</VTKFile>"""
POINTS, RADIUS = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0.5, 0]]), np.array([1.5, 1.25, 1.0])
ARRAYS = {
    "points": ("Points", POINTS, "Float64", 3),
    "radius": ("Radius", RADIUS, "Float32", 1),
    "connectivity": ("connectivity", np.array([0, 1, 2]), "Int64", 1),
    "offsets": ("offsets", np.array([3]), "Int32", 1),
}
DTYPES = {"Float64": "<f8", "Float32": "<f4", "Int64": "<i8", "Int32": "<i4"}


def element(name, kind, parts, form, text="", extra=""):
    return f'<DataArray type="{kind}" Name="{name}" NumberOfComponents="{parts}" format="{form}"{extra}>{text}</DataArray>'


def block(raw, packed, header):
    """Header and body of one array as VTK lays them out."""
    code = "<I" if header == "UInt32" else "<Q"
    if not packed:
        return (struct.pack(code, len(raw)) + raw,)
    body = zlib.compress(raw)
    return struct.pack(code, 1) + struct.pack(code, len(raw)) + struct.pack(code, 0) + struct.pack(code, len(body)), body


def vtp(form="ascii", packed=False, header="UInt32", encoding="base64"):
    fields, appended = {}, b""
    for key, (name, values, kind, parts) in ARRAYS.items():
        if form == "ascii":
            fields[key] = element(name, kind, parts, form, " ".join(map(repr, values.ravel().tolist())))
            continue
        blocks = block(values.astype(DTYPES[kind]).tobytes(), packed, header)
        coded = b"".join(base64.b64encode(b) for b in blocks) if form == "binary" or encoding == "base64" else b"".join(blocks)
        if form == "binary":
            fields[key] = element(name, kind, parts, form, coded.decode())
        else:
            fields[key] = element(name, kind, parts, form, extra=f' offset="{len(appended)}"')
            appended += coded
    text = XML.format(header=header, packed=' compressor="vtkZLibDataCompressor"' if packed else "", appended="@@", **fields).encode()
    tail = f'<AppendedData encoding="{encoding}">_'.encode() + appended + b"</AppendedData>" if form == "appended" else b""
    return text.replace(b"@@", tail)


LAYOUTS = [
    {"form": form, "packed": packed, "header": header, "encoding": encoding}
    for form, encodings in (("ascii", ("base64",)), ("binary", ("base64",)), ("appended", ("base64", "raw")))
    for encoding in encodings
    for packed in ((False,) if form == "ascii" else (False, True))
    for header in ("UInt32", "UInt64")
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda x: "-".join(str(v) for v in x.values()))
def test_every_layout_of_a_vtp_is_read(layout):
    found = read_vtp(vtp(**layout))
    assert np.array_equal(found.points, POINTS)
    ((points, radius),) = found.lines_with("Radius")
    assert np.array_equal(points, POINTS)
    assert np.array_equal(radius, RADIUS)
    with pytest.raises(FormatError, match="no such array"):
        found.lines_with("MaximumInscribedSphereRadius")


@pytest.mark.data
def test_the_real_centrelines_are_read():
    folder = require_dataset("coronary-left-tree")
    left = read_vtp(folder / "lca_cl.vtp")
    assert left.points.shape == (2815, 3)
    assert [len(x) for x in left.lines] == [300, 387, 819, 691, 618]
    radius = left.point_data["MaximumInscribedSphereRadius"]
    assert (radius.min(), radius.max()) == (pytest.approx(0.465, abs=5e-4), pytest.approx(15.389, abs=5e-4))
    aorta = read_vtp(folder / "ao_cl.vtp")
    assert [len(x) for x in aorta.lines] == [152]


@pytest.mark.peer
def test_what_vtk_writes_is_read(tmp_path):
    """VTK itself, in the environment that GEMEL_PEER_PYTHON names, writes one polyline in every mode; its STL too."""
    python = os.environ.get("GEMEL_PEER_PYTHON", "")
    if not python or subprocess.run([python, "-c", "import vtk"], capture_output=True, check=False).returncode:
        pytest.skip("no vtk: GEMEL_PEER_PYTHON names no Python that has it")
    program = """
import sys, vtk, numpy as np
from vtk.util.numpy_support import numpy_to_vtk
n = 5000
t = np.linspace(0, 9, n)
p = vtk.vtkPoints(); p.SetDataTypeToDouble(); p.SetData(numpy_to_vtk(np.stack([np.cos(t), np.sin(t), t], 1), deep=True))
lines = vtk.vtkCellArray()
for a, b in ((0, 2000), (2000, n)):
    lines.InsertNextCell(b - a)
    for i in range(a, b): lines.InsertCellPoint(i)
d = vtk.vtkPolyData(); d.SetPoints(p); d.SetLines(lines)
r = numpy_to_vtk(1 + t, deep=True); r.SetName("Radius"); d.GetPointData().AddArray(r)
for mode in ("Ascii", "Binary", "Appended"):
    for packed in (0, 1):
        w = vtk.vtkXMLPolyDataWriter(); w.SetInputData(d); getattr(w, "SetDataModeTo" + mode)()
        w.SetCompressorTypeToZLib() if packed else w.SetCompressorTypeToNone()
        w.SetFileName(f"{sys.argv[1]}/{mode}{packed}.vtp"); w.Write()
w = vtk.vtkXMLPolyDataWriter(); w.SetInputData(d); w.SetDataModeToAppended(); w.EncodeAppendedDataOff(); w.SetFileName(sys.argv[1] + "/raw.vtp"); w.Write()
for binary in (0, 1):
    for version in (42, 51):
        w = vtk.vtkPolyDataWriter(); w.SetInputData(d); w.SetFileVersion(version)
        w.SetFileTypeToBinary() if binary else w.SetFileTypeToASCII()
        w.SetFileName(f"{sys.argv[1]}/{binary}{version}.vtk"); w.Write()
s = vtk.vtkSphereSource(); s.SetThetaResolution(20); s.SetPhiResolution(15)
for binary in (0, 1):
    w = vtk.vtkSTLWriter(); w.SetInputConnection(s.GetOutputPort()); w.SetFileName(f"{sys.argv[1]}/{binary}.stl")
    w.SetFileTypeToBinary() if binary else w.SetFileTypeToASCII(); w.Write()
s.Update(); print(s.GetOutput().GetNumberOfPoints(), s.GetOutput().GetNumberOfCells())
"""
    done = subprocess.run([python, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    t = np.linspace(0, 9, 5000)
    files = sorted(tmp_path.glob("*.vt?"))
    assert len(files) == 11
    for path in files:
        found = (read_vtp if path.suffix == ".vtp" else read_vtk)(path)
        tolerance = (
            {"rtol": 1e-5, "atol": 1e-5} if "scii" in path.name or path.name.startswith("0") else {"rtol": 0, "atol": 0}
        )  # digits written
        assert np.allclose(found.points, np.stack([np.cos(t), np.sin(t), t], 1), **tolerance), path.name
        assert np.allclose(found.point_data["Radius"], 1 + t, **tolerance), path.name
        assert [len(x) for x in found.lines] == [2000, 3000], path.name
    for path in sorted(tmp_path.glob("*.stl")):
        surface = read_stl(path, unit="mm", name="s", time=0, recorded=0)
        assert [len(surface.vertices), len(surface.triangles)] == [int(x) for x in done.stdout.split()], path.name


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), which=st.integers(0, len(LAYOUTS) - 1), cuts=st.integers(0, 3))
def test_damage_is_a_named_error_or_harmless(seed, which, cuts):
    rng, body = np.random.default_rng(seed), bytearray(vtp(**LAYOUTS[which]))
    for _ in range(cuts):
        body[int(rng.integers(len(body)))] = int(rng.integers(256))
    if cuts == 0:
        body = body[: int(rng.integers(len(body)))]
    try:
        found = read_vtp(bytes(body))
    except FormatError:
        return
    assert all(line.max(initial=0) < len(found.points) for line in found.lines)


def test_what_is_no_polydata_is_refused():
    for body in (
        b"", b"not xml", b"<VTKFile type='ImageData'/>", b"<!DOCTYPE x [<!ENTITY a 'b'>]><VTKFile type='PolyData'/>", b"<VTKFile type='PolyData'/>",
        vtp().replace(b"Float64", b"Float128"), vtp().replace(b">0 1 2<", b">0 1 3<"), vtp().replace(b">3<", b">2<"),
        vtp("binary", True).replace(b"vtkZLib", b"vtkLZ4"), vtp().replace(b"<AppendedData", b""),
    )[:-1]:  # fmt: skip
        with pytest.raises(FormatError):
            read_vtp(body)


LEGACY = b"""# vtk DataFile Version 3.0
title
ASCII
DATASET POLYDATA
POINTS 3 float
0 0 0 1 0 0
2 0.5 0
LINES 1 4
3 0 1 2
POINT_DATA 3
SCALARS Radius float 1
LOOKUP_TABLE default
1.5 1.25 1
"""


def test_the_older_format_is_read_and_damage_is_named():
    ((points, radius),) = read_vtk(LEGACY).lines_with("Radius")
    assert np.array_equal(points, POINTS)
    assert np.array_equal(radius, RADIUS)
    for old, new in ((b"POLYDATA", b"STRUCTURED_GRID"), (b"3 0 1 2", b"3 0 1 3"), (b"3 0 1 2", b"4 0 1 2"), (b"1.5 1.25 1\n", b"1.5\n"), (b"# vtk", b"# vtx"),
                     (b"LINES 1 4", b"LINES 2 4"), (b"POINT_DATA 3\n", b""), (b"float 1", b"quad 1")):  # fmt: skip
        with pytest.raises(FormatError):
            read_vtk(LEGACY.replace(old, new))


def test_a_surface_needs_its_unit_and_all_its_triangles():
    corners = [(0, 0, 0), (1, 0, 0), (0, 1, 0)], [(1, 0, 0), (1, 1, 0), (0, 1, 0)], [(0, 0, 0), (0, 0, 0), (1, 0, 0)]
    binary = (
        b"solid in name only".ljust(80) + struct.pack("<I", 3) + b"".join(struct.pack("<12fH", 0, 0, 1, *np.ravel(c), 0) for c in corners)
    )
    text = "solid s\n" + "".join(
        "facet normal 0 0 1\nouter loop\n" + "".join(f"vertex {x} {y} {z}\n" for x, y, z in c) + "endloop\nendfacet\n" for c in corners
    )
    fact = {"name": "s", "time": 0, "recorded": 0}
    for body in (binary, text.encode()):
        found = read_stl(body, unit="mm", **fact)
        assert found.vertices.shape == (4, 3)
        assert found.vertices.max() == 1e-3
        assert len(found.triangles) == 2  # the third has no area
    with pytest.raises(UnitError):
        read_stl(binary, unit="", **fact)
    for body in (
        b"",
        binary[:-1],
        text.encode()[:-40],
        text.replace("vertex 1 1 0", "vertex nan 1 0").encode(),
        text.replace("1 1 0", "1 x 0").encode(),
    ):
        with pytest.raises(FormatError):
            read_stl(body, unit="mm", **fact)


@pytest.mark.data
def test_networks_of_the_peer_are_read_and_written_back():
    source = json.loads((require_dataset("coronary-networks") / "lca_pulsatile.json").read_bytes())
    tree = tree_of(read_svzerod(source))
    assert sorted(tree.names) == sorted(v["vessel_name"] for v in source["vessels"])
    again = tree_of(read_svzerod(json.dumps(write_svzerod(tree))))
    for name in ("resistance", "capacitance", "inertance", "quadratic"):
        assert np.allclose(getattr(again, name), getattr(tree, name), rtol=1e-15)
    first = {b["bc_name"]: b["bc_values"] for b in source["boundary_conditions"]}["O0"]
    (outlet,) = [b for b in tree.outlet if b is not None and b.name == "O0"]
    assert outlet.values["Ra1"] == pytest.approx(first["Ra1"] * 1e5, rel=1e-15)
    assert outlet.values["Cc"] == pytest.approx(first["Cc"] * 1e-5, rel=1e-15)
    assert np.allclose(outlet.values["Pim"], np.array(first["Pim"]) * 0.1)


@pytest.mark.data
def test_all_cases_of_the_peer_are_read_or_refused_by_name():
    refused = {}
    for path in sorted(require_dataset("svzerod-cases").glob("*.json")):
        try:
            tree_of(read_svzerod(path))
        except DataError as error:
            refused[path.stem] = str(error)
    assert set(refused) == {  # hearts, valves, loops that are closed, vessels that flow together, and one kind of vessel
        "chamber_elastance_inductor", "chamber_sphere", "closedLoopHeart_singleVessel", "closedLoopHeart_singleVessel_decomposed",
        "closedLoopHeart_singleVessel_mistmatchPeriod", "closedLoopHeart_withCoronaries", "closed_loop_two_hill", "coupledBlock_closedLoopHeart_singleVessel",
        "coupledBlock_closedLoopHeart_withCoronaries", "piecewise_Chamber_and_Valve", "pulsatileFlow_CRL", "steadyFlow_confluenceR_R", "valve_tanh",
    }  # fmt: skip
    assert all("seen: " in told and "expected: " in told for told in refused.values())
    with pytest.raises(FormatError):
        read_svzerod(b"[1")
    with pytest.raises(FormatError, match="boundary"):
        read_svzerod({"boundary_conditions": [], "vessels": [{"vessel_id": 0, "vessel_name": "a", "boundary_conditions": {"inlet": "IN"}}]})
