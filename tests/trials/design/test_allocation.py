"""Arms are given as the rule says, and rules that know the patients do what they are for."""

from __future__ import annotations

import numpy as np
import pytest

from gemel.core.errors import DataError
from gemel.trials.design.allocation import allocate, minimised, permuted_blocks, play_the_winner


def rng(seed=1):
    return np.random.default_rng(seed)


def test_sizes_and_order():
    assert allocate("fixed", (3, 5), 7, rng()).tolist() == [0] * 3 + [1] * 5
    permuted = allocate("permuted", (30, 50), 400, rng())
    assert (permuted.sum(axis=1) == 50).all()
    assert abs(permuted.mean(axis=0) - 50 / 80).max() < 4.5 * np.sqrt(0.25 / 400)
    assert len({row.tobytes() for row in permuted}) == 400
    coin = allocate("simple", (30, 50), 400, rng())
    assert len(set(coin.sum(axis=1).tolist())) > 10
    assert coin.mean() == pytest.approx(50 / 80, abs=0.01)


@pytest.mark.parametrize(("size", "block"), [((40, 40), 4), ((20, 40), 3), ((30, 45), 5)])
def test_each_block_has_its_ratio(size, block):
    arms = allocate("blocks", size, 50, rng())
    treated = arms.reshape(50, -1, block).sum(axis=2)
    assert (treated == block * size[1] // sum(size)).all()
    assert arms.reshape(-1, block)[:, 0].mean() == pytest.approx(size[1] / sum(size), abs=0.08)


def test_a_cut_block_is_balanced_to_its_half():
    arms = permuted_blocks(200, 11, rng(), ratio=(2, 2))
    assert arms.shape == (200, 11)
    assert np.abs(arms[:, :8].sum(axis=1) - 4).max() == 0
    assert np.abs(arms.sum(axis=1) - 5.5).max() <= 1.5


def test_minimisation_balances_margins_that_a_coin_does_not():
    draw = rng(2)
    factors = np.stack([draw.integers(0, 2, (200, 80)), draw.integers(0, 4, (200, 80)), draw.integers(0, 3, (200, 80))], axis=2)

    def apart(arms):
        return np.mean(
            [
                np.abs(np.where(factors[..., f] == v, 2 * arms - 1, 0).sum(axis=1)).mean()
                for f, many in ((0, 2), (1, 4), (2, 3))
                for v in range(many)
            ]
        )

    coin, some, sure = (
        apart(a)
        for a in (allocate("simple", (40, 40), 200, rng(3)), minimised(factors, rng(3)), minimised(factors, rng(3), probability=1.0))
    )
    assert sure < some < coin / 1.5
    assert minimised(factors, rng(4)).mean() == pytest.approx(0.5, abs=0.01)
    weighted = minimised(factors, rng(5), weights=(1.0, 0.0, 0.0), probability=1.0)
    first = [np.abs(np.where(factors[..., 0] == v, 2 * weighted - 1, 0).sum(axis=1)).max() for v in (0, 1)]
    assert max(first) <= 1  # deterministic on one factor: each level is never further apart than one patient


def test_the_urn_leans_to_the_better_arm_by_its_limit():
    """Wei and Durham: the share of the treated arm goes to q0 / (q0 + q1), q the chances of failure."""
    draw = rng(6)
    chances = np.array([0.3, 0.7])
    arms = play_the_winner((draw.random((300, 1500, 2)) < chances).astype(float), draw)
    assert arms[:, -300:].mean() == pytest.approx(0.7 / (0.7 + 0.3), abs=0.03)
    same = play_the_winner((draw.random((300, 300, 2)) < 0.5).astype(float), draw)
    assert same.mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    "call",
    [
        lambda: allocate("dice", (5, 5), 2, rng()),
        lambda: permuted_blocks(2, 10, rng(), ratio=(0, 2)),
        lambda: minimised(np.zeros((2, 5, 1), int), rng(), probability=0.4),
        lambda: minimised(np.zeros((2, 5, 1), int), rng(), weights=(1.0, 2.0)),
    ],
)
def test_what_cannot_be_allocated_is_refused(call):
    with pytest.raises(DataError):
        call()
