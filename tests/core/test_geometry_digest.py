"""What was stored keeps its hash when a type gets a further field."""

from __future__ import annotations

import numpy as np

from gemel.core import Tree
from gemel.core.lineage import digest


def _tree(**more) -> Tree:
    return Tree(name="t", points=np.zeros((2, 3)), radius=[1e-3, 0.3], parent=[-1, 0], time=1, recorded=2, **more)


def test_a_tree_as_it_was_stored_before_it_knew_its_branches_has_the_same_hash():
    assert digest(_tree()) == "35430c21aa59fb9289e3eff1a30e4d48abd6abd51c089ac6c124fa6515528e0e"


def test_what_it_knows_besides_is_in_the_hash():
    hashes = {
        digest(tree)
        for tree in (
            _tree(), _tree(radius_sd=[0.0, 0.0]), _tree(lumen_area=[0.0, 0.0]), _tree(wall_area=[0.0, 0.0]), _tree(branch=[0, 0]),
            _tree(branch=[0, 0], labels=("a",)),
        )
    }  # fmt: skip
    assert len(hashes) == 6
