"""Gaussian sites, cuts and composites against the dense joint Gaussian."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemel.core.errors import InferenceError, ManifestError, ModelError
from gemel.core.manifest import Port
from gemel.engine.compose import LinearGaussianRoom, Messages, Wiring, compose
from gemel.engine.sites import (
    Gaussian,
    conflict_of_evidence,
    cut,
    divergence,
    natural_from_draws,
    pooled,
    refine,
    site_from_tilted,
    stack,
)
from gemel.engine.status import Status

WEIGHT, HEART, BREATH = "loinc:29463-7", "loinc:8867-4", "loinc:9279-1"


def _spd(rng, n, floor=0.3):
    root = rng.standard_normal((n, n))
    return root @ root.T + floor * np.eye(n)


# ---- sites ----------------------------------------------------------------------------------------------------------------------------


def test_product_cavity_marginal_and_embedding():
    rng = np.random.default_rng(0)
    mean, covariance = rng.standard_normal(4), _spd(rng, 4)
    one = Gaussian.of_moments(mean, covariance)
    two = Gaussian.of_moments(rng.standard_normal(2), _spd(rng, 2)).embed(jnp.array([3, 1]), 4)
    both = one.times(two)
    # algebra of 4 by 4 matrices with condition below 1e3: rounding below 1e-11
    np.testing.assert_allclose(both.without(two).moments()[0], mean, atol=1e-10)
    np.testing.assert_allclose(both.without(two).moments()[1], covariance, atol=1e-10)
    part = one.marginal(jnp.array([2, 0]))
    np.testing.assert_allclose(part.moments()[0], mean[[2, 0]], atol=1e-10)
    np.testing.assert_allclose(part.moments()[1], covariance[np.ix_([2, 0], [2, 0])], atol=1e-10)
    assert not bool(two.is_definite)
    assert bool(both.is_definite)
    factor, offset = jnp.array([2.0, 0.5, 1.0, -3.0]), jnp.arange(4.0)
    hub = one.rescaled(factor, offset)
    np.testing.assert_allclose(factor * hub.moments()[0] + offset, mean, atol=1e-10)
    np.testing.assert_allclose(factor[:, None] * hub.moments()[1] * factor, covariance, atol=1e-10)


def test_divergence_of_one_dimension():
    new, old = Gaussian.of_moments(jnp.array([1.0]), jnp.array([[4.0]])), Gaussian.of_moments(jnp.array([0.0]), jnp.array([[9.0]]))
    # log(3/2) + (4 + 1)/18 - 1/2, the textbook form; rounding
    np.testing.assert_allclose(divergence(new, old), np.log(1.5) + 5 / 18 - 0.5, atol=1e-14)
    np.testing.assert_allclose(divergence(new, new), 0.0, atol=1e-14)


def test_a_negative_site_is_legal_until_something_breaks():
    prior = Gaussian.of_moments(jnp.zeros(2), jnp.eye(2))
    sites = stack([Gaussian(jnp.eye(2), jnp.ones(2)), Gaussian(jnp.eye(2) * 0.5, jnp.zeros(2))])
    fine = refine(prior, sites, 1, Gaussian(-0.5 * jnp.eye(2), jnp.zeros(2)))
    assert int(fine.status) == Status.OK
    assert float(fine.damping) == 1.0
    # hub 1 + 1 + L and the cavity of the first site, 1 + L, must stay positive: with L going from 0.5 to -9.5 the step d must
    # satisfy 1.5 - 10 d > 0, so 1/8 is the first of the halvings
    halved = refine(prior, sites, 1, Gaussian(-9.5 * jnp.eye(2), jnp.zeros(2)))
    assert float(halved.damping) == 0.125
    np.testing.assert_allclose(halved.sites.precision[1], (0.5 - 10 / 8) * np.eye(2), atol=1e-14)  # rounding
    # 1.5 - 200 d > 0 needs d < 0.0075, below 1/64: refused after six halvings
    refused = refine(prior, sites, 1, Gaussian(-199.5 * jnp.eye(2), jnp.ones(2)))
    assert int(refused.status) == Status.SITE_REFUSED
    for a, b in zip(jax.tree.leaves(refused.sites), jax.tree.leaves(sites), strict=True):
        np.testing.assert_array_equal(a, b)
    broken = refine(prior, sites, 0, Gaussian(jnp.full((2, 2), jnp.nan), jnp.zeros(2)))
    assert int(broken.status) == Status.SITE_REFUSED


def test_precision_from_draws_is_unbiased_and_few_draws_are_refused():
    draws = jax.random.normal(jax.random.key(0), (2000, 80, 8))
    raw = jax.vmap(lambda x: jnp.linalg.inv(jnp.cov(x.T)))(draws)
    fair = jax.jit(jax.vmap(natural_from_draws))(draws).precision
    np.testing.assert_allclose(raw.mean(0).trace() / 8, 79 / 70, rtol=0.01)  # the factor (N-1)/(N-p-2) itself; 1 % is ten standard errors
    error = np.asarray(fair).std(0) / np.sqrt(2000)
    assert (np.abs(fair.mean(0) - np.eye(8)) < 4.5 * error).all()  # Monte Carlo error, 64 cells
    with pytest.raises(InferenceError, match="too few draws"):
        natural_from_draws(draws[0, :79])


def test_conflict_of_evidence_has_its_chi_square_law():
    rng = np.random.default_rng(3)
    v_site, v_cavity = _spd(rng, 3), _spd(rng, 3)
    gap = rng.multivariate_normal(np.zeros(3), v_site + v_cavity, size=3000)
    site, cavity = Gaussian.of_moments(jnp.zeros(3), v_site), Gaussian.of_moments(jnp.zeros(3), v_cavity)

    def one(d):
        return conflict_of_evidence(Gaussian(site.precision, site.precision @ d), cavity)

    statistic, freedom, p_value = jax.jit(jax.vmap(one))(gap)
    exact = np.einsum("ni,ij,nj->n", gap, np.linalg.inv(v_site + v_cavity), gap)
    np.testing.assert_allclose(statistic, exact, rtol=1e-8)  # condition of the matrices times rounding
    assert (np.asarray(freedom) == 3).all()
    assert abs((np.asarray(p_value) < 0.05).mean() - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 3000)
    flat = conflict_of_evidence(Gaussian.of_moments(jnp.ones(1), jnp.eye(1)).embed(jnp.array([1]), 3), cavity)
    assert int(flat[1]) == 1  # it speaks of one direction only
    np.testing.assert_allclose(flat[0], 1 / (1 + v_cavity[1, 1]), rtol=1e-9)
    assert float(conflict_of_evidence(Gaussian.flat(3), cavity)[2]) == 1.0
    assert np.isnan(conflict_of_evidence(Gaussian(-0.01 * jnp.eye(3), jnp.zeros(3)), cavity)[2])


# ---- messages around one hub ----------------------------------------------------------------------------------------------------------


@partial(jax.jit, static_argnums=0)
def _one_sweep(subsets, prior, precisions, shifts):
    """One undamped serial sweep of rooms whose likelihoods are Gaussian on their subsets: tilted moments, site, refine."""
    n = prior.shift.shape[0]
    sites = stack([Gaussian.flat(n)] * len(subsets))
    for k, subset in enumerate(subsets):
        index = jnp.array(subset)
        cavity = pooled(prior, sites).without(jax.tree.map(lambda a, k=k: a[k], sites)).marginal(index)
        tilted = cavity.times(Gaussian(precisions[k], shifts[k])).moments()
        sites = refine(prior, sites, k, site_from_tilted(*tilted, cavity).embed(index, n)).sites
    return pooled(prior, sites).moments()


def test_one_sweep_is_exact_on_two_hundred_loops():
    subsets = ((0, 1), (1, 2), (2, 0))
    rng = np.random.default_rng(4)
    worst_error = 0.0
    for _ in range(200):
        prior = Gaussian.of_moments(rng.standard_normal(3), _spd(rng, 3))
        precisions, shifts = np.stack([_spd(rng, 2) for _ in subsets]), rng.standard_normal((3, 2))
        precision, shift = np.array(prior.precision), np.array(prior.shift)
        for k, subset in enumerate(subsets):
            precision[np.ix_(subset, subset)] += precisions[k]
            shift[list(subset)] += shifts[k]
        mean, covariance = _one_sweep(subsets, prior, precisions, shifts)
        exact = np.linalg.inv(precision)
        worst_error = max(worst_error, np.abs(mean - exact @ shift).max(), np.abs(covariance - exact).max())
    # condition numbers up to a few hundred times a dozen inversions of rounding 1e-16
    assert worst_error < 1e-11


def test_pairwise_messages_would_be_wrong_on_a_loop():
    """Why there is one hub: three unit precisions coupled by 0.4."""
    precision = np.eye(3) + 0.4 * (1 - np.eye(3))
    np.testing.assert_allclose(np.linalg.inv(precision)[0, 0], 1.296296296, atol=1e-9)  # printed digits
    message = 0.0
    for _ in range(200):
        message = -(0.4**2) / (1 + message)  # precision message of loopy belief propagation
    np.testing.assert_allclose(1 / (1 + 2 * message), 1.6666666667, atol=1e-9)
    np.testing.assert_allclose(Gaussian(jnp.asarray(precision), jnp.zeros(3)).moments()[1][0, 0], 1.296296296, atol=1e-9)


# ---- cut and semi-modular -------------------------------------------------------------------------------------------------------------


def _a3():
    upstream = Gaussian(jnp.array([[101.0]]), jnp.array([0.0]))  # phi ~ N(0, 1), 100 data of mean 0
    downstream = Gaussian(1000 * jnp.ones((2, 2)) + jnp.diag(jnp.array([0.0, 100.0])), jnp.array([1000.0, 1000.0]))
    return upstream, downstream


def test_cut_and_full_of_the_known_example():
    mean, covariance = cut(*_a3())
    # ten printed digits of whole_patient.md, A3
    np.testing.assert_allclose(mean, [0.0, 0.90909091], atol=1e-8)
    np.testing.assert_allclose(covariance, [[0.00990099, -0.00900090], [-0.00900090, 0.00909173]], atol=1e-8)
    mean, covariance = cut(*_a3(), 1.0)
    np.testing.assert_allclose(mean, [0.47370914, 0.47844623], atol=1e-8)
    np.testing.assert_allclose(np.diagonal(covariance), [0.00521080, 0.00521554], atol=1e-8)
    upstream, downstream = _a3()
    whole = upstream.embed(jnp.array([0]), 2).times(downstream).moments()
    np.testing.assert_allclose(mean, whole[0], atol=1e-10)  # g = 1 is the joint posterior
    np.testing.assert_allclose(covariance, whole[1], atol=1e-10)


def test_influence_moves_smoothly_between_the_two():
    grid = jnp.linspace(0, 1, 101)
    means, covariances = jax.vmap(lambda g: cut(*_a3(), g))(grid)
    assert (np.diff(means[:, 0]) > 0).all()
    assert np.abs(np.diff(means[:, 0])).max() < 0.01  # slope at g = 0 is 90.9/101 = 0.9 per unit
    assert (np.diff(covariances[:, 0, 0]) < 0).all()


# ---- composites -----------------------------------------------------------------------------------------------------------------------


def _port(name, code, unit, *, owner=False, feedback="full", role="parameter", **more):
    return Port(name=name, code=code, unit=unit, role=role, owner=owner, feedback=feedback, **more)


def _rooms(feedback="full", shift=0.0):
    """A owns weight (kg) and breathing rate; B hears weight in g and owns heart rate; C hears all but weight: a loop of three."""
    rng = np.random.default_rng(8)

    def room(name, exports, imports, private, scale, shift=0.0):
        n = len(exports) + len(imports) + len(private)
        design = rng.standard_normal((4, n)) / scale
        covariance = scale[:, None] * _spd(rng, n) * scale
        return LinearGaussianRoom(
            name,
            exports,
            imports,
            private,
            scale * rng.standard_normal(n),
            covariance,
            design,
            rng.standard_normal(4) + shift,
            _spd(rng, 4),
        )

    a = room("a", (_port("w", WEIGHT, "kg", owner=True), _port("r", BREATH, "/min", owner=True)), (), ("u",), np.array([1.0, 1.0, 1.0]))
    b = room(
        "b", (_port("h", HEART, "/min", owner=True),), (_port("mass", WEIGHT, "g", feedback=feedback),), ("v",), np.array([1.0, 1e3, 1.0])
    )
    imports = (_port("h", HEART, "/s", feedback=feedback), _port("r", BREATH, "/min", feedback=feedback))
    c = room("c", (), imports, ("s", "t"), np.array([1 / 60, 1.0, 1.0, 1.0]), shift)
    return [a, b, c]


def _dense(rooms):
    """Joint posterior of (breath, heart, weight, u, v, s, t), built forwards: prior of the shared, private given shared, then the data."""
    codes = sorted([BREATH, HEART, WEIGHT])
    unit = {("b", WEIGHT): 1e3, ("c", HEART): 1 / 60}
    owned = {"a": [WEIGHT, BREATH], "b": [HEART], "c": []}
    mean, covariance = np.zeros(3), np.zeros((3, 3))
    for room in rooms:
        local, place = [room.shared.index(c) for c in owned[room.id]], [codes.index(c) for c in owned[room.id]]
        mean[place] = np.asarray(room.mean)[local]
        covariance[np.ix_(place, place)] = np.asarray(room.covariance)[np.ix_(local, local)]
    rows, maps = [], []
    for room in rooms:
        k, size = len(room.shared), len(room.mean)
        to_local = np.zeros((k, 3))
        for i, code in enumerate(room.shared):
            to_local[i, codes.index(code)] = unit.get((room.id, code), 1.0)
        full, own_mean = np.asarray(room.covariance), np.asarray(room.mean)
        slope = np.linalg.solve(full[:k, :k], full[:k, k:]).T
        own = full[k:, k:] - slope @ full[:k, k:]
        start = len(mean)
        extend = np.zeros((size - k, start))
        extend[:, :3] = slope @ to_local
        mean = np.concatenate([mean, own_mean[k:] + slope @ (to_local @ mean[:3] - own_mean[:k])])
        covariance = np.block([[covariance, covariance @ extend.T], [extend @ covariance, extend @ covariance @ extend.T + own]])
        maps.append((to_local, start, size - k))
    for room, (to_local, start, private) in zip(rooms, maps, strict=True):
        row = np.zeros((len(room.observed), len(mean)))
        row[:, :3] = np.asarray(room.design)[:, : len(room.shared)] @ to_local
        row[:, start : start + private] = np.asarray(room.design)[:, len(room.shared) :]
        rows.append(row)
    for room, row in zip(rooms, rows, strict=True):
        gain = np.linalg.solve(row @ covariance @ row.T + np.asarray(room.noise), row @ covariance).T
        mean, covariance = mean + gain @ (np.asarray(room.observed) - row @ mean), covariance - gain @ row @ covariance
    return mean, covariance


def test_two_and_three_rooms_equal_the_joint_posterior():
    out = Messages().run(compose(_rooms()))
    mean, covariance = _dense(_rooms())
    assert out.names[:3] == tuple(sorted([WEIGHT, HEART, BREATH]))
    # scales differ by 6e4 between rooms, which costs four of the sixteen digits
    np.testing.assert_allclose(out.mean, mean, atol=1e-8)
    np.testing.assert_allclose(out.covariance, covariance, atol=1e-8)
    assert out.sweeps == 2  # one is exact, the second sees that nothing moves
    assert out.names[3:] == ("a.u", "b.v", "c.s", "c.t")
    assert int(out.status) == Status.OK


def test_parallel_sweeps_reach_the_same_posterior():
    out = Messages(schedule="parallel", sweeps=200, tolerance=1e-14).run(compose(_rooms()))
    mean, _ = _dense(_rooms())
    np.testing.assert_allclose(out.mean, mean, atol=1e-6)  # a damped iteration that stops at 1e-14 nats: 1e-7 standard deviations


def test_conflict_is_a_status():
    out = Messages().run(compose(_rooms(shift=40.0)))
    assert int(out.status) == Status.PRIOR_DATA_CONFLICT
    assert min(float(p) for _, _, p in out.conflicts) < 0.005


def test_a_cut_room_hears_and_does_not_teach():
    with_c, without_c = Messages().run(compose(_cut_last(_rooms()))), Messages().run(compose(_rooms()[:2]))
    shared = [with_c.names.index(name) for name in without_c.names]
    np.testing.assert_allclose(with_c.mean[jnp.array(shared)], without_c.mean, atol=1e-10)  # the same numbers but for rounding
    full = Messages().run(compose(_rooms()))
    assert np.abs(with_c.mean - full.mean).max() > 1e-3
    with pytest.raises(ModelError, match="cut on some wires"):
        compose(_rooms(feedback="cut"))  # b exports heart rate and is cut on weight


def _again(room, **changes):
    fields = {f.name: getattr(room, f.name) for f in dataclasses.fields(room)}
    return LinearGaussianRoom(**(fields | changes))


def _cut_last(rooms):
    cut_imports = tuple(p.model_copy(update={"feedback": "cut"}) for p in rooms[2].imports)
    return [*rooms[:2], _again(rooms[2], imports=cut_imports)]


def test_logarithmic_coordinates_shift_by_the_unit():
    def one(name, exports, imports, mean):
        y = jnp.array([mean])
        return LinearGaussianRoom(name, exports, imports, (), y, jnp.eye(1), jnp.eye(1), y, jnp.eye(1), logs=(WEIGHT,))

    a = one("a", (_port("w", WEIGHT, "kg", owner=True),), (), 4.0)
    b = one("b", (), (_port("w", WEIGHT, "g"),), 4.0 + np.log(1000.0))
    out = Messages().run(compose([a, b]))
    np.testing.assert_allclose(out.mean, [4.0], atol=1e-12)  # both say log 54.6 kg; rounding
    np.testing.assert_allclose(out.covariance, [[1 / 3]], atol=1e-12)


@pytest.mark.parametrize(
    ("exports", "imports", "words"),
    [
        ({"code": "gemel:nowhere"}, {"code": "gemel:nowhere"}, "unknown house code"),
        ({}, {"code": HEART, "unit": "/min"}, "no exporter"),
        ({}, {"unit": "mol"}, "cannot be converted"),
        ({"role": "output-series"}, {"role": "input-series", "kind": "amount"}, "never joined to a level"),
        ({}, {"role": "input-series"}, "roles that do not fit"),
        ({"owner": False}, {}, "exactly one owner"),
        ({}, {"owner": True}, "exactly one owner"),
    ],
)
def test_assembly_refuses(exports, imports, words):
    export = _port(**({"name": "w", "code": WEIGHT, "unit": "kg", "owner": True} | exports))
    wanted = _port(**({"name": "mass", "code": WEIGHT, "unit": "g"} | imports))
    with pytest.raises(ManifestError, match=words):
        Wiring.of({"a": ((export,), ()), "b": ((), (wanted,))})


def test_assembly_allows_and_lists():
    export, wanted = _port("w", WEIGHT, "kg", owner=True, domain=(30, 300)), _port("m", WEIGHT, "g", domain=(40_000, 200_000))
    wiring = Wiring.of({"a": ((export,), ()), "b": ((), (wanted, _port("h", HEART, "/min", default=70.0)))})
    (wire,) = wiring.wires
    assert wire.factor == 1000.0
    assert wiring.outside_domain == (wire,)
    assert wiring.owners == {WEIGHT: "a"}
    with pytest.raises(ManifestError, match="more than one exporter"):
        Wiring.of({"a": ((export,), ()), "c": ((export,), ()), "b": ((), (wanted,))})


def test_composition_refuses_what_it_cannot_do():
    a, b, c = _rooms()
    with pytest.raises(ModelError, match="different ids"):
        compose([a, a])
    with pytest.raises(ManifestError, match="no exporter"):
        compose([a, c])
    twice = _again(c, imports=tuple(p.model_copy(update={"default": 1.0}) for p in c.imports))
    with pytest.raises(ModelError, match="without a wire"):
        compose([twice, _again(twice, name="d")])
    out, into = (_port("s", HEART, "/min", role=role) for role in ("output-series", "input-series"))
    assert Wiring.of({"a": ((out,), ()), "b": ((), (into,))}).wires[0].factor == 1.0
    with pytest.raises(ModelError, match="exchange series"):
        compose([_again(a, exports=(*a.exports, out)), _again(b, exports=(), imports=(*b.imports, into))])
    with pytest.raises(ModelError, match="different spaces"):
        compose([a, _again(b, logs=(WEIGHT,)), c])
