"""V15: zones of the error grids at their corner points, on both sides of every border, against another way of deciding them."""

from itertools import pairwise

import numpy as np
import pytest

from gemel.core.errors import ValueRangeError
from gemel.twins.metabolic.error_grids import DTS_EDGES, clarke, dts, dts_risk, parkes, parkes_type2

# Pfuetzner et al. 2013, doi:10.1177/193229681300700517, table 1, typed from it again and not read from the code under test.
TABLE_1 = {
    (1, "B", "upper"): [(0, 50), (30, 50), (140, 170), (280, 380), (430, 550)],
    (1, "C", "upper"): [(0, 60), (30, 60), (50, 80), (70, 110), (260, 550)],
    (1, "D", "upper"): [(0, 100), (25, 100), (50, 125), (80, 215), (125, 550)],
    (1, "E", "upper"): [(0, 150), (35, 155), (50, 550)],
    (1, "B", "lower"): [(50, 0), (50, 30), (170, 145), (385, 300), (550, 450)],
    (1, "C", "lower"): [(120, 0), (120, 30), (260, 130), (550, 250)],
    (1, "D", "lower"): [(250, 0), (250, 40), (550, 150)],
    (2, "B", "upper"): [(0, 50), (30, 50), (230, 330), (440, 550)],
    (2, "C", "upper"): [(0, 60), (30, 60), (280, 550)],
    (2, "D", "upper"): [(0, 80), (25, 80), (35, 90), (125, 550)],
    (2, "E", "upper"): [(0, 200), (35, 200), (50, 550)],
    (2, "B", "lower"): [(50, 0), (50, 30), (90, 80), (330, 230), (550, 450)],
    (2, "C", "lower"): [(90, 0), (260, 130), (550, 250)],
    (2, "D", "lower"): [(250, 0), (250, 40), (410, 110), (550, 160)],
}
BETTER = {"B": "A", "C": "B", "D": "C", "E": "D"}


def inside(polygon, x, y):
    """Even-odd rule, one point, one polygon: the independent decision."""
    odd = False
    for (x0, y0), (x1, y1) in pairwise([*polygon, polygon[0]]):
        if (y0 > y) != (y1 > y) and x < (x1 - x0) * (y - y0) / (y1 - y0) + x0:
            odd = not odd
    return odd


def polygon_zone(x, y, diabetes):
    """Zones as closed regions beyond each border, the outermost one that holds the point."""
    found = "A"
    for letter in "BCDE":
        for side in ("upper", "lower"):
            line = TABLE_1.get((diabetes, letter, side))
            if line is None:
                continue
            (x0, y0), (x1, y1) = line[-2:]
            far = 5.0
            end = (x1 + far * (x1 - x0), y1 + far * (y1 - y0))
            region = [*line, end, *([(-1e4, end[1]), (-1e4, line[0][1])] if side == "upper" else [(end[0], -1e4), (line[0][0], -1e4)])]
            if inside(region, x, y):
                found = letter
    return found


@pytest.mark.parametrize("diabetes", [1, 2])
def test_parkes_agrees_with_point_in_polygon(diabetes):
    # Off every border: the table's corners are whole numbers, the points are not.
    rng = np.random.default_rng(5)
    r, p = rng.uniform(1, 500, (2, 4000))
    expected = "".join(polygon_zone(x, y, diabetes) for x, y in zip(r, p, strict=True))
    assert "".join(parkes(r, p, diabetes=diabetes)) == expected
    assert set(expected) == set("ABCDE")


@pytest.mark.parametrize(("diabetes", "letter", "side"), list(TABLE_1))
def test_parkes_zones_on_both_sides_of_every_border(diabetes, letter, side):
    """Along each published piece: on it the better zone, a hair beyond it the worse one."""
    line = np.array(TABLE_1[diabetes, letter, side], float)
    for (x0, y0), (x1, y1) in pairwise(line):
        for t in (0.0, 0.25, 0.5, 1.0):
            x, y = x0 + t * (x1 - x0), y0 + t * (y1 - y0)
            if x == 0 or y == 0:
                continue  # the axes themselves
            outward = np.array([y0 - y1, x1 - x0]) if side == "upper" else np.array([y1 - y0, x0 - x1])
            outward = outward / np.hypot(*outward)
            beyond = np.array([x, y]) + 1e-6 * outward
            before = np.array([x, y]) - 1e-6 * outward
            assert parkes(beyond[:1], beyond[1:], diabetes=diabetes)[0] == letter
            if t in (0.0, 1.0):  # corners are whole numbers: the border is hit exactly
                assert parkes(np.array([x]), np.array([y]), diabetes=diabetes)[0] == BETTER[letter]
            if t in (0.25, 0.5):
                assert parkes(before[:1], before[1:], diabetes=diabetes)[0] == BETTER[letter]


def test_parkes_beyond_the_figure_and_wrong_types():
    assert "".join(parkes(np.array([600.0, 600.0]), np.array([600.0, 100.0]))) == "AD"
    assert parkes_type2(np.array([35.0]), np.array([85.0]))[0] == "C"
    assert parkes(np.array([35.0]), np.array([85.0]))[0] == "C"
    assert parkes_type2(np.array([30.0]), np.array([90.0]))[0] == "D"
    assert parkes(np.array([30.0]), np.array([90.0]))[0] == "C"
    with pytest.raises(ValueRangeError):
        parkes(np.array([1.0]), np.array([1.0]), diabetes=3)
    with pytest.raises(ValueRangeError):
        clarke(np.array([np.nan]), np.array([1.0]))
    with pytest.raises(ValueRangeError):
        clarke(np.array([1.0, 2.0]), np.array([1.0]))


def clarke_by_rules(r, p):
    """The rules one after the other, first match wins: as the figure and prose of 1987 are usually written down."""
    if (r <= 70 and p <= 70) or 4 * r <= 5 * p <= 6 * r:
        return "A"
    if (r >= 180 and p <= 70) or (r <= 70 and p >= 180):
        return "E"
    if (r >= 70 and p >= r + 110) or (130 <= r <= 180 and 5 * p <= 7 * r - 910):
        return "C"
    if 70 <= p <= 180 and (r >= 240 or r <= 70):
        return "D"
    return "B"


def test_clarke_agrees_with_the_rules_at_every_whole_number():
    r, p = (v.ravel().astype(float) for v in np.meshgrid(np.arange(1, 501), np.arange(0, 501)))
    assert "".join(clarke(r, p)) == "".join(clarke_by_rules(int(a), int(b)) for a, b in zip(r, p, strict=True))


@pytest.mark.parametrize(
    ("reference", "prediction", "zone"),
    [
        (100, 120, "A"), (100, 121, "B"), (100, 80, "A"), (100, 79, "B"), (70, 70, "A"), (40, 69, "A"), (65, 40, "A"),
        (58, 70, "A"), (58, 71, "D"), (60, 72, "A"), (60, 73, "D"), (70, 84, "A"), (70, 85, "D"), (71, 86, "B"), (50, 179, "D"), (50, 180, "E"), (70, 180, "E"), (71, 180, "B"),
        (71, 181, "C"), (71, 182, "C"), (200, 309, "B"), (200, 310, "C"), (290, 400, "C"), (300, 411, "C"), (300, 409, "B"),
        (240, 180, "D"), (240, 181, "B"), (239, 180, "B"), (240, 71, "D"), (240, 70, "E"), (180, 70, "E"), (179, 70, "B"), (179, 68, "C"), (179, 69, "B"),
        (130, 0, "C"), (129, 0, "B"), (150, 28, "C"), (150, 29, "B"),
    ],
)  # fmt: skip
def test_clarke_on_both_sides_of_every_border(reference, prediction, zone):
    assert clarke(np.array([float(reference)]), np.array([float(prediction)]))[0] == zone


# Klonoff et al. 2024, doi:10.1177/19322968241275701, table A1: (reference, prediction) at the corner and at the end of each border.
TABLE_A1 = {
    "B": (((62.5, 50.0), (600.0, 480.0)), ((50.0, 60.0), (500.0, 600.0))),
    "C": (((97.5, 50.0), (600.0, 307.0)), ((50.0, 86.5), (347.0, 600.0))),
    "D": (((153.0, 50.0), (600.0, 197.0)), ((50.0, 124.0), (241.0, 600.0))),
    "E": (((238.0, 50.0), (600.0, 126.0)), ((50.0, 179.0), (167.0, 600.0))),
}


@pytest.mark.parametrize("letter", list(TABLE_A1))
def test_dts_borders_lie_at_the_published_corners(letter):
    lower, upper = TABLE_A1[letter]
    near = 1.2  # the risk function's coefficients are rounded: its borders miss the table's corners by up to 1.1 mg/dL
    for r, p in upper:
        for reference in {r, min(r, 20.0) if r == 50.0 else r}:
            beyond, before = (np.array([reference]), np.array([p + near])), (np.array([reference]), np.array([p - 3.7 * near]))
            assert dts(*beyond)[0] == letter
            assert dts(*before)[0] == BETTER[letter]
    for r, p in lower:
        for prediction in {p, 10.0 if p == 50.0 else p}:
            assert dts(np.array([r + 4 * near]), np.array([prediction]))[0] == letter
            assert dts(np.array([r - 5 * near]), np.array([prediction]))[0] == BETTER[letter]


def test_dts_risk_at_its_edges():
    r = np.full(4, 100.0)
    for weight, sign in ((2.75, 1.0), (2.25, -1.0)):
        at = 100.0 * np.exp(sign * np.array(DTS_EDGES) / weight)
        np.testing.assert_allclose(dts_risk(r, at), sign * np.where(at < 50, 2.25 * np.log(2.0), np.array(DTS_EDGES)), atol=1e-12)
    assert dts_risk(np.array([20.0]), np.array([45.0]))[0] == 0.0
    assert "".join(dts(np.full(4, 200.0), 200.0 * np.exp(np.array(DTS_EDGES) / 2.75) * (1 - 1e-12))) == "ABCD"
    assert "".join(dts(np.full(4, 200.0), 200.0 * np.exp(np.array(DTS_EDGES) / 2.75) * (1 + 1e-12))) == "BCDE"


@pytest.mark.parametrize("grid", [clarke, parkes, parkes_type2, dts])
def test_a_right_answer_is_always_in_zone_a_and_shapes_are_kept(grid):
    v = np.linspace(2, 600, 300).reshape(3, 100)
    assert (grid(v, v) == "A").all()
    assert grid(v, v).shape == v.shape
