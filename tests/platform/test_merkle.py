"""Merkle trees against the definition of RFC 6962, written out a second time, and against pymerkle (problem V5 of the platform)."""

import json
import os
import subprocess
from hashlib import sha256

import pytest

from gemel.core.errors import DataError
from gemel.platform.merkle import EMPTY, Frontier, consistency_proof, inclusion_proof, root, verify_consistency, verify_inclusion

SIZES = range(18)
LEAVES = [b"entry %d" % i for i in range(17)]


def definition(leaves):
    """MTH of RFC 6962, 2.1, literally."""
    n = len(leaves)
    if n == 0:
        return sha256(b"").digest()
    if n == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < n:
        k *= 2
    return sha256(b"\x01" + definition(leaves[:k]) + definition(leaves[k:])).digest()


@pytest.mark.parametrize("n", SIZES)
def test_the_root_is_the_definition_s(n):
    assert root(LEAVES[:n]) == definition(LEAVES[:n])
    assert EMPTY.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256 of nothing


def test_a_tree_that_grows_has_every_root_on_its_way():
    tree = Frontier()
    for n in SIZES:
        assert (tree.size, tree.root()) == (n, definition(LEAVES[:n]))
        if n < len(LEAVES):
            tree.append(LEAVES[n])


@pytest.mark.parametrize("n", SIZES)
def test_every_inclusion_proof_holds_for_its_leaf_and_place_only(n):
    top = root(LEAVES[:n])
    for i in range(n):
        proof = inclusion_proof(LEAVES[:n], i)
        assert len(proof) <= (n - 1).bit_length()
        assert verify_inclusion(LEAVES[i], i, n, proof, top)
        assert not verify_inclusion(b"another", i, n, proof, top)
        assert not any(verify_inclusion(LEAVES[i], j, n, proof, top) for j in range(n) if j != i)
        assert not verify_inclusion(LEAVES[i], i, n, (*proof, top), top)
        assert not (proof and verify_inclusion(LEAVES[i], i, n, proof[:-1], top))


@pytest.mark.parametrize("n", SIZES)
def test_every_consistency_proof_holds_for_its_two_trees_only(n):
    for old in range(1, n + 1):
        proof = consistency_proof(LEAVES[:n], old)
        before, after = root(LEAVES[:old]), root(LEAVES[:n])
        assert verify_consistency(old, n, before, after, proof)
        forged = [b"forged", *LEAVES[1:old]]
        assert not verify_consistency(old, n, root(forged), after, proof)
        assert not verify_consistency(old, n, before, root([*LEAVES[: n - 1], b"forged"]), proof)
        assert not any(verify_consistency(m, n, before, after, proof) for m in range(1, n + 1) if m != old)


def test_places_that_are_not_there_are_named():
    with pytest.raises(DataError, match="no such leaf"):
        inclusion_proof(LEAVES[:3], 3)
    with pytest.raises(DataError, match="no such earlier tree"):
        consistency_proof(LEAVES[:3], 0)
    assert not verify_inclusion(LEAVES[0], 1, 1, (), root(LEAVES[:1]))
    assert not verify_consistency(2, 1, EMPTY, EMPTY, ())


def test_the_example_of_the_standard():
    """RFC 6962, 2.1.3: seven leaves, whose nodes have letters."""
    d = [b"d%d" % i for i in range(7)]
    a, b, c, e, f, j = (sha256(b"\x00" + d[i]).digest() for i in (0, 1, 2, 4, 5, 6))
    dd = sha256(b"\x00" + d[3]).digest()

    def pair(x, y):
        return sha256(b"\x01" + x + y).digest()

    g, h, i = pair(a, b), pair(c, dd), pair(e, f)
    k, ll = pair(g, h), pair(i, j)
    assert [inclusion_proof(d, n) for n in (0, 3, 4, 6)] == [(b, h, ll), (c, g, ll), (f, j, k), (i, k)]
    assert consistency_proof(d, 3) == (c, dd, g, ll)
    assert consistency_proof(d, 4) == (ll,)
    assert consistency_proof(d, 6) == (i, j, k)


PEER = """
import json, sys
from pymerkle import InmemoryTree, verify_consistency, verify_inclusion
told = json.load(sys.stdin)
leaves, roots, paths = [bytes.fromhex(x) for x in told["leaves"]], [bytes.fromhex(x) for x in told["roots"]], told["paths"]
tree = InmemoryTree(algorithm="sha256")
assert tree.get_root(0) == roots[0]
for n in range(1, len(leaves) + 1):
    tree.append_entry(leaves[n - 1])
    assert tree.get_root(n) == roots[n]
    for i in range(1, n + 1):
        path = [h.hex() for h in tree.prove_inclusion(i, n).path]
        assert sorted(path) == sorted([tree.get_leaf(i).hex(), *paths[n][i - 1]]), (n, i)
        verify_inclusion(tree.get_leaf(i), roots[n], tree.prove_inclusion(i, n))
        verify_consistency(roots[i], roots[n], tree.prove_consistency(i, n))
print("same")
"""


@pytest.mark.peer
def test_pymerkle_has_the_same_roots_and_paths_and_its_proofs_hold_between_ours():
    """pymerkle is under the GPL and lives in an environment of its own: GEMEL_PEER_PYTHON. Its consistency proofs have another layout than the RFC's."""
    python = os.environ.get("GEMEL_PEER_PYTHON", "")
    if not python or subprocess.run([python, "-c", "import pymerkle"], capture_output=True).returncode:
        pytest.skip("no pymerkle: GEMEL_PEER_PYTHON names no Python that has it")
    told = {
        "leaves": [x.hex() for x in LEAVES],
        "roots": [root(LEAVES[:n]).hex() for n in SIZES],
        "paths": [[[h.hex() for h in inclusion_proof(LEAVES[:n], i)] for i in range(n)] for n in SIZES],
    }
    ran = subprocess.run([python, "-c", PEER], input=json.dumps(told), capture_output=True, text=True)
    assert (ran.stdout.strip(), ran.stderr) == ("same", "")
