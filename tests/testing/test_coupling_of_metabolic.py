"""Slow to fast through the engine's composition: ports fit, the hub is the slow axis's, and the twin of hours moves to it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemel.core.errors import ManifestError, ModelError
from gemel.core.manifest import manifest_of, match_ports
from gemel.core.record import PatientRecord
from gemel.core.series import Series
from gemel.core.time import DAY as DAY_LONG
from gemel.core.time import HOUR, to_ns
from gemel.engine.compose import Messages, Wiring, compose
from gemel.engine.forecast import forecast
from gemel.engine.model import Domain
from gemel.engine.sites import Gaussian
from gemel.engine.status import Status
from gemel.engine.stream import EnsembleFilter
from gemel.engine.twin import calibrate
from gemel.twins.metabolic._coupling import CODES, GaussianRoom, day_room, handed_over, heard, slow_room
from gemel.twins.metabolic.observe import CGM
from gemel.twins.metabolic.slow.model import SlowModel
from gemel.twins.metabolic.slow.observe import WEIGHT as SCALES
from gemel.twins.metabolic.t2d.model import Type2Model

START = to_ns("2026-03-02T06:00:00Z")
SLOW, DAY = manifest_of("metabolic-slow"), manifest_of("metabolic-t2d")


def test_ports_of_the_manifests_fit():
    pairs = match_ports(SLOW, DAY)
    assert [(a.name, b.name, f) for a, b, f in pairs] == [(n, n, 1.0) for n in ("body_weight", "insulin_sensitivity", "beta_cell_function")]
    assert [b.name for _, b, _ in match_ports(SLOW, manifest_of("metabolic"))] == ["body_weight"]
    wiring = Wiring.of({m.id: (m.exports, m.imports) for m in (SLOW, DAY, manifest_of("metabolic"))})
    assert wiring.owners == dict.fromkeys(CODES, "metabolic-slow")
    assert {(w.exporter, w.importer) for w in wiring.wires} == {("metabolic-slow", "metabolic-t2d"), ("metabolic-slow", "metabolic")}


def test_an_amount_is_refused_where_a_level_is_wanted():
    wrong = [p.model_copy(update={"kind": "amount"}) for p in SLOW.exports]
    with pytest.raises(ManifestError, match="never joined to a level"):
        Wiring.of({"metabolic-slow": (wrong, ()), "metabolic-t2d": (DAY.exports, DAY.imports)})


def _room(name, manifest, prior, mean, covariance, private):
    exports = tuple(p for p in manifest.exports if p.role == "parameter")
    return GaussianRoom(name, exports, manifest.imports, private, prior, mean, covariance)


def test_a_room_that_listens_learns_from_the_other_and_teaches_nothing():
    rng = np.random.default_rng(2)
    root = rng.normal(size=(5, 5))
    wide = Gaussian.of_moments(jnp.zeros(3), 4.0 * jnp.eye(3))
    slow = _room("metabolic-slow", SLOW, wide, jnp.array([0.2, -0.1, 0.3]), 0.05 * jnp.eye(3), ())
    covariance = jnp.asarray(root @ root.T / 5 + 0.3 * np.eye(5))
    day = _room(
        "metabolic-t2d", DAY, Gaussian.of_moments(jnp.zeros(3), 9.0 * jnp.eye(3)), jnp.asarray(rng.normal(size=5)), covariance, ("a", "b")
    )
    joint = Messages().run(compose([slow, day]))
    order = [joint.names.index(c) for c in CODES]
    np.testing.assert_allclose(joint.mean[jnp.asarray(order)], slow.mean, atol=1e-9)  # algebra of Gaussians: rounding
    a = joint.names.index("metabolic-t2d.a")
    slope = np.linalg.solve(np.asarray(covariance[:3, :3]), np.asarray(covariance[:3, 3:])).T
    expected = np.asarray(day.mean[3:]) + slope @ (np.asarray(slow.mean) - np.asarray(day.mean[:3]))
    np.testing.assert_allclose(joint.mean[a : a + 2], expected, atol=1e-9)  # conditional mean in plain NumPy


@pytest.fixture(scope="module")
def twins():
    """Return a slow twin and one of hours that know one reading each: their posteriors are their priors, and no inference has to run."""
    weighed = Series(code=SCALES, unit="kg", time=[START], value=[101.0])
    slow = calibrate(SlowModel(), PatientRecord(id="one").with_facts(weighed), START + DAY_LONG, key=jax.random.key(3))
    read = Series(code=CGM[0], unit="mg/dL", time=[START], value=[160.0])
    few = EnsembleFilter(size=48)
    day = calibrate(Type2Model(), PatientRecord(id="one").with_facts(read), START + HOUR, filter=few, key=jax.random.key(3))
    assert slow.status == day.status == Status.PRIOR_ONLY
    return slow, replace(day, domain=Domain())


@pytest.mark.slow
def test_the_day_moves_to_what_the_slow_axis_hands_over(twins):
    slow, day = twins
    key = jax.random.key(4)
    rooms = slow_room(slow, SLOW, key=key), day_room(day, DAY)
    joint = Messages().run(compose(list(rooms)))
    order = np.array([joint.names.index(c) for c in CODES])
    told = handed_over(slow, slow.posterior.draw(1000, key=jax.random.key(9)))
    error = 4 * told.std(axis=0) / np.sqrt(1000) * np.sqrt(2)  # two samples of a thousand draws, four standard errors
    assert (np.abs(np.asarray(joint.mean)[order] - told.mean(axis=0)) < error + 1e-12).all()
    moved = heard(day, rooms[1], joint)
    assert moved.stream is not None
    z = moved.stream.rows[:, [day.model.prior.names.index(n) for n in ("sensitivity", "function")]]
    np.testing.assert_allclose(z.mean(axis=0), np.asarray(joint.mean)[order[1:]], atol=1e-9)  # an affine map: rounding
    np.testing.assert_allclose(np.cov(z, rowvar=False), np.asarray(joint.covariance)[np.ix_(order[1:], order[1:])], atol=1e-9)
    assert float(moved.observed.context.weight) == pytest.approx(np.exp(told[:, 0].mean()), rel=0.01)
    assert "slow axis" in moved.notes[-1]
    times = day.times(60, 120)
    before, after = (forecast(t, None, times, n=48, key=key).draws for t in (day, moved))
    assert np.isfinite(after).all()
    assert np.abs(after - before).max() > 1.0  # mg/dL: another sensitivity, after the same reading


@pytest.mark.slow
def test_weight_loss_ahead_raises_what_is_handed_over(twins):
    slow, _ = twins
    from gemel.twins.metabolic.slow.plans import energy_change

    lighter = replace(slow, observed=replace(slow.observed, plan=energy_change(slow, -500.0)))
    z = slow.posterior.draw(200, key=jax.random.key(1))
    gain = handed_over(lighter, z, days=300.0) - handed_over(slow, z, days=300.0)
    assert (gain[:, 0] < 0).all()
    assert (gain[:, 1:] > 0).all()


def test_each_side_takes_its_own_twin_only(twins):
    slow, day = twins
    with pytest.raises(ModelError, match="only the slow axis"):
        handed_over(day, day.posterior.draw(2, key=jax.random.key(0)))
    with pytest.raises(ModelError, match="only the type 2 twin"):
        day_room(slow, SLOW)
