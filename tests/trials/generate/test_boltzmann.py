"""T2, the comparator: dependence and the effect of the baseline come back roughly; what is known stays."""

from __future__ import annotations

import numpy as np
import pytest

from _virtual import controls
from gemel.trials.generate import calibrate_copula, constrained, violations
from gemel.trials.generate.boltzmann import Boltzmann, calibrate_boltzmann


def test_without_weights_it_is_a_regression_on_the_baseline():
    """No hidden unit speaks: scores are independent normals about the network, whatever the chain."""
    copula = calibrate_copula(controls(100, dropout=0.0, missing=0.0))
    known = np.array([i for i, (j, _) in enumerate(copula.places) if copula.variables[j].is_baseline])
    visible = np.array([i for i in range(len(copula.places)) if i not in known])
    d = len(visible)
    parameters = {
        "in": np.zeros((2, len(known))), "in_bias": np.zeros(2), "out": np.zeros((d, 2)), "straight": np.full((d, len(known)), 0.5), "bias": np.full(d, -0.2),
        "precision": np.full(d, np.log(4.0)), "weights": np.zeros((d, 3)),
    }  # fmt: skip
    machine = Boltzmann(copula, visible, known, parameters)
    rng, x = np.random.default_rng(0), np.random.default_rng(1).normal(size=(4000, len(copula.places)))
    scores = machine._chain(np.full(x.shape, -8.0), np.full(x.shape, 8.0), x, 3, rng)
    rest = scores[:, visible] - (0.5 * x[:, known].sum(axis=1)[:, None] - 0.2)
    assert rest.mean() == pytest.approx(0.0, abs=0.01)  # SE 0.5 / sqrt(4000 * 12)
    assert rest.std() == pytest.approx(0.5, abs=0.01)


@pytest.mark.slow
def test_dependence_comes_back_and_what_is_known_stays():
    panel = controls(500, dropout=0.0, missing=0.02)
    made = calibrate_boltzmann(panel, steps=1500)
    drawn = constrained(made.draw(1500, rng=np.random.default_rng(0)))
    assert not any(violations(drawn).values())
    real, new = _tie(panel), _tie(drawn)
    assert new == pytest.approx(real, abs=0.25)  # a comparator: contrastive divergence keeps strong ties only roughly
    assert new > 0.5
    future = made.draw_given(panel, 2, 2, rng=np.random.default_rng(0))[1]
    known = ~np.isnan(panel.values[:, :2, 2])
    np.testing.assert_allclose(constrained(future).values[:, :2, 2][known], panel.values[:, :2, 2][known], atol=1.0)


def _tie(panel):
    pair = panel.values[:, :2, 2]
    pair = pair[~np.isnan(pair).any(axis=1)]
    return np.corrcoef(pair.T)[0, 1]
