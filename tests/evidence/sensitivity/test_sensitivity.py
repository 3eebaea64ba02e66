"""Sobol indices and polynomials against functions whose indices are known."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from gemel.core.errors import EvidenceError
from gemel.evidence.sensitivity.known_answers import ishigami, linear, sobol_g
from gemel.evidence.sensitivity.polynomial_chaos import polynomial_chaos
from gemel.evidence.sensitivity.sobol import sobol
from gemel.evidence.sensitivity.unit_cube import EDGE, Inputs, normal_inputs, run_batched, sobol_points, uniform_inputs

# the table of the specification, to its digits; the formulas of known_answers are another route
TABLE = {
    "Ishigami": (13.844588, [0.313905, 0.442411, 0.0], [0.557589, 0.442411, 0.243684]),
    "Sobol G": (
        0.465424,
        [0.716192, 0.179048, 0.023676, 0.007162, *[0.000072] * 4],
        [0.787144, 0.242198, 0.034317, 0.010460, *[0.000105] * 4],
    ),
}


@pytest.mark.parametrize("known", [ishigami(), sobol_g()], ids=lambda k: k.name)
def test_the_formulas_are_those_of_the_table(known):
    variance, first, total = TABLE[known.name]
    assert known.variance == pytest.approx(variance, abs=1e-6)
    np.testing.assert_allclose(known.first, first, atol=1e-6)
    np.testing.assert_allclose(known.total, total, atol=1e-6)


@pytest.mark.parametrize("known", [ishigami(), sobol_g(), linear([1.0, -2.0, 3.0, 0.0], [1.0, 1.0, 0.5, 2.0])], ids=lambda k: k.name)
@pytest.mark.parametrize("seed", [0, 1])
def test_known_indices_within_a_hundredth(known, seed):
    found = sobol(known.model, known.inputs, n=2**14, seed=seed, replicates=200)
    np.testing.assert_allclose(found.first[:, 0], known.first, atol=0.01)
    np.testing.assert_allclose(found.total[:, 0], known.total, atol=0.01)
    assert found.variance[0] == pytest.approx(known.variance, rel=0.01)
    assert found.runs == 2**14 * (known.inputs.size + 2)
    low, high = found.total_interval[:, :, 0]
    assert ((low - 1e-9 <= known.total) & (known.total <= high + 1e-9)).all()  # on Sobol points the bootstrap is wider than the error
    low, high = found.first_interval[:, :, 0]
    assert ((low - 1e-9 <= known.first) & (known.first <= high + 1e-9)).all()
    assert set(found.fixable) == {n for n, v in zip(found.names, known.total, strict=True) if v < 0.01}
    assert found.ranking()[0] == known.inputs.names[int(known.total.argmax())]
    np.testing.assert_allclose(found.whole, [found.first[:, 0], found.total[:, 0]])


def test_an_offset_changes_nothing():
    """Without centring the estimator's error grows with the mean."""
    known = ishigami()
    plain = sobol(known.model, known.inputs, n=2**10, replicates=20)
    moved = sobol(lambda x: known.model(x) + 1e6, known.inputs, n=2**10, replicates=20)
    np.testing.assert_allclose(moved.first, plain.first, atol=1e-6)  # 1e6 leaves 1e-10 of a value near 1


def test_a_curve_over_time_has_index_curves():
    """y(t) = a exp(-t) + b (1 - exp(-t)): the shares follow in closed form; at t = 0 only a, late only b, and c never."""
    t = np.array([0.0, 0.5, 1.0, 2.0, 30.0])
    inputs = uniform_inputs("abc", 0.0, 1.0)
    found = sobol(
        lambda x: x[:, :1] * np.exp(-t) + x[:, 1:2] * (1 - np.exp(-t)), inputs, n=2**12, outputs=[f"{v:g} h" for v in t], replicates=100
    )
    wa, wb = np.exp(-2 * t), (1 - np.exp(-t)) ** 2
    np.testing.assert_allclose(found.first[0], wa / (wa + wb), atol=0.005)
    np.testing.assert_allclose(found.total[1], wb / (wa + wb), atol=0.005)
    np.testing.assert_allclose(found.whole[1], [wa.sum() / (wa + wb).sum(), wb.sum() / (wa + wb).sum(), 0.0], atol=0.005)
    assert found.fixable == ("c",)
    assert found.ranking("0 h")[0] == "a"
    assert found.ranking("30 h")[0] == "b"
    low, high = found.whole_interval[:, 1, 0]
    assert low <= found.whole[1, 0] <= high
    told = found.table()
    assert len(told["ST"]) == 15
    assert told["quantity"][:4] == ["0 h", "0 h", "0 h", "0.5 h"]
    assert [f.name for f in found.figures(outputs=["1 h"])][:2] == ["1 h: S of a", "1 h: ST of a"]
    assert "independent" in found.figures()[0].note


def test_a_quantity_that_does_not_vary_has_no_index_and_hides_no_other():
    inputs = uniform_inputs("ab", 0.0, 1.0)
    found = sobol(lambda x: np.stack([x[:, 0], np.full(len(x), 3.0)], axis=1), inputs, n=256, replicates=20)
    assert np.isnan(found.total[:, 1]).all()
    assert found.total[0, 0] == pytest.approx(1.0, abs=0.02)
    assert found.fixable == ("b",)
    assert found.table()["ST"][2:] == [None, None]
    with pytest.raises(EvidenceError, match="no quantity varies"):
        sobol(lambda x: np.ones(len(x)), inputs, n=16)


def test_the_intervals_hold_the_truth_at_least_as_often_as_they_say():
    """Over 100 seeds: the bootstrap takes Sobol points for independent draws, so that 95 % intervals may hold more, and must not hold fewer."""
    known = linear([1.0, 2.0], [1.0, 1.0])
    held = []
    for seed in range(100):
        found = sobol(known.model, known.inputs, n=2**7, seed=seed, replicates=200)
        for limits, truth in ((found.first_interval, known.first), (found.total_interval, known.total)):
            held.append((limits[0, :, 0] <= truth) & (truth <= limits[1, :, 0]))
    assert np.mean(held, axis=0).min() >= 0.88  # binomial: fewer than 88 of 100 happens once in 300 at 0.95
    wide = np.ptp(sobol(known.model, known.inputs, n=2**8, replicates=100).total_interval, axis=0).max()
    narrow = np.ptp(sobol(known.model, known.inputs, n=2**12, replicates=100).total_interval, axis=0).max()
    assert 3 < wide / narrow < 5.5  # the root of 16


def test_batches_change_nothing_and_are_of_one_size():
    known, sizes = ishigami(), set()

    def model(x):
        sizes.add(len(x))
        return known.model(x)

    whole = sobol(known.model, known.inputs, n=256, replicates=10)
    parts = sobol(model, known.inputs, n=256, replicates=10, batch=100)
    assert sizes == {100}
    np.testing.assert_array_equal(whole.total, parts.total)
    again = sobol(known.model, known.inputs, n=256, replicates=10)
    np.testing.assert_array_equal(whole.total_interval, again.total_interval)


def test_inputs_by_marginals_and_the_edges_of_the_cube():
    inputs = Inputs.of({"a": stats.norm(1.0, 2.0), "b": stats.uniform(3.0, 1.0).ppf})
    u = np.array([[0.0, 1.0], [0.5, 0.5]])
    x = inputs.at(u)
    assert np.isfinite(x).all()
    assert x[0, 0] == pytest.approx(1.0 + 2.0 * stats.norm.ppf(EDGE))
    np.testing.assert_allclose(x[1], [1.0, 3.5])
    np.testing.assert_allclose(normal_inputs(("a",), 1.0, 2.0).at(u[1:, :1]), [[1.0]])
    with pytest.raises(EvidenceError, match="inverse distribution"):
        Inputs.of({"a": 3.0})


def test_points_and_models_that_cannot_be_used_are_refused():
    with pytest.raises(EvidenceError, match="power of two"):
        sobol_points(1000, 2, 0)
    inputs = uniform_inputs("ab", 0.0, 1.0)
    with pytest.raises(EvidenceError, match=r"no finite output at \d+ of 64 points; seen: a = 0\.\d+, b = "):
        run_batched(lambda x: np.where(x[:, 0] > 0.5, np.nan, 1.0), inputs, sobol_points(64, 2, 0))
    with pytest.raises(EvidenceError, match="one row per point"):
        sobol(lambda x: 1.0, inputs, n=16)
    with pytest.raises(EvidenceError, match="one name per quantity"):
        sobol(lambda x: x, inputs, n=16, outputs=["only one"])


def test_a_polynomial_finds_a_polynomial_exactly():
    """x1 + x1 x2 + x2^2 on (-1, 1): variances 1/3, 1/9, 4/45."""
    found = polynomial_chaos(lambda x: x[:, 0] + x[:, 0] * x[:, 1] + x[:, 1] ** 2, uniform_inputs(("x1", "x2", "x3"), -1.0, 1.0), n=128)
    v = np.array([1 / 3, 4 / 45, 1 / 9])
    assert found.variance[0] == pytest.approx(v.sum())
    np.testing.assert_allclose(found.first[:, 0], [v[0] / v.sum(), v[1] / v.sum(), 0.0], atol=1e-12)
    np.testing.assert_allclose(found.total[:, 0], [(v[0] + v[2]) / v.sum(), (v[1] + v[2]) / v.sum(), 0.0], atol=1e-12)
    assert found.mean[0] == pytest.approx(1 / 3)
    assert found.error[0] < 1e-20
    assert found.errors[0, 0] > 0.1  # a straight line is not enough, and the error says so
    u = np.array([[0.2, 0.9, 0.4]])
    assert found.at(u)[0, 0] == pytest.approx(-0.6 - 0.6 * 0.8 + 0.64)


def test_hermite_terms_fit_functions_of_normal_scores():
    inputs = normal_inputs(("z1", "z2"))
    found = polynomial_chaos(lambda z: z[:, 0] ** 3 + z[:, 1], inputs, n=128, family="normal")
    np.testing.assert_allclose(found.total[:, 0], [15 / 16, 1 / 16], atol=1e-10)  # Var z^3 = 15
    assert found.degree[0] in (3, 4)
    smooth = polynomial_chaos(lambda z: np.exp(0.4 * z[:, 0] + 0.2 * z[:, 1]), inputs, n=256, family="normal")
    assert smooth.credible == (True,)
    v = np.expm1([0.16, 0.04, 0.2])
    np.testing.assert_allclose(smooth.first[:, 0], v[:2] / v[2], atol=0.005)
    low, high = smooth.total_interval[:, :, 0]
    assert (low <= smooth.total[:, 0]).all()
    assert (smooth.total[:, 0] <= high).all()


def test_the_leave_one_out_error_is_that_of_leaving_one_out():
    inputs = uniform_inputs("ab", 0.0, 1.0)

    def model(x):
        return np.sin(4 * x[:, 0]) + np.abs(x[:, 1] - 0.4)

    found = polynomial_chaos(model, inputs, n=32, degree=2, replicates=2)
    u = sobol_points(32, 2, 0)
    y = model(u)
    full = np.stack([np.ones(32), u[:, 0], u[:, 1], u[:, 0] ** 2, u[:, 0] * u[:, 1], u[:, 1] ** 2], axis=1)
    rest = []
    for i in range(32):
        keep = np.arange(32) != i
        rest.append(y[i] - full[i] @ np.linalg.lstsq(full[keep], y[keep], rcond=None)[0])
    assert found.errors[1, 0] == pytest.approx(np.mean(np.square(rest)) / y.var(ddof=1), rel=1e-6)


def test_a_polynomial_of_degree_four_is_not_enough_for_ishigami_and_says_so():
    known = ishigami()
    found = polynomial_chaos(known.model, known.inputs, n=512)
    assert found.error[0] > 0.05
    assert found.credible == (False,)
    assert found.figures()[0].met is False
    assert np.abs(found.total[:, 0] - known.total).max() > 0.02  # and the indices are indeed not the function's
    assert found.errors.shape == (4, 1)


def test_bad_polynomials_are_refused():
    inputs = uniform_inputs("abc", 0.0, 1.0)
    with pytest.raises(EvidenceError, match="degree"):
        polynomial_chaos(lambda x: x[:, 0], inputs, degree=5)
    with pytest.raises(EvidenceError, match="too few runs"):
        polynomial_chaos(lambda x: x[:, 0], inputs, n=4)
    with pytest.raises(EvidenceError, match="does not vary"):
        polynomial_chaos(lambda x: np.ones(len(x)), inputs, n=64)
    small = polynomial_chaos(lambda x: x[:, 0], inputs, n=16)
    assert np.isinf(small.errors[2:]).all()  # degrees with too many terms for the runs are not tried


def test_none_of_it_needs_jax():
    code = (
        "import sys, gemel.evidence.verification.convergence, gemel.evidence.verification.solver_error, gemel.evidence.sensitivity.sobol, gemel.evidence.sensitivity.morris, gemel.evidence.sensitivity.shapley,"
        "gemel.evidence.sensitivity.polynomial_chaos, gemel.evidence.verification.external; print(sorted({'jax', 'equinox'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
