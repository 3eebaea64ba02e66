"""Distance of the context of use from the validated people."""

import numpy as np
import pytest

from gemel.core.errors import EvidenceError
from gemel.evidence.applicability import applicability


def people(n=400, centre=(50.0, 80.0), spread=(8.0, 12.0)):
    rng = np.random.default_rng(0)
    return {"age": rng.normal(centre[0], spread[0], n), "weight": rng.normal(centre[1], spread[1], n)}


def test_a_small_box_in_the_middle_is_inside_and_a_far_one_is_not():
    inside = applicability({"age": (47.0, 53.0), "weight": (75.0, 85.0)}, people())
    assert inside.inside == 1.0
    assert inside.near > 0.95
    far = applicability({"age": (90.0, 99.0), "weight": (75.0, 85.0)}, people())
    assert (far.inside, far.near, far.uncovered["age"]) == (0.0, 0.0, 1.0)


def test_the_share_of_a_box_is_the_area_of_the_ellipse():
    square = applicability({"age": (50 - 3 * 8.0, 50 + 3 * 8.0), "weight": (80 - 3 * 12.0, 80 + 3 * 12.0)}, people(20_000))
    assert square.inside == pytest.approx(np.pi * 5.991 / 36, abs=0.02)  # the 95 % ellipse of two normal traits in a box of +-3 sd


def test_bad_input_is_named():
    with pytest.raises(EvidenceError, match="lacks traits"):
        applicability({"height": (1.0, 2.0)}, people())
    with pytest.raises(EvidenceError, match="too few people"):
        applicability({"age": (40.0, 60.0)}, people(10))
    with pytest.raises(EvidenceError, match="not a box"):
        applicability({"age": (60.0, 40.0)}, people())
