"""A population's own prior from a file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gemel.cli.priors import parse_prior, read_prior
from gemel.core.errors import FormatError, ModelError
from gemel.engine.prior import Parameter, Prior
from gemel.engine.transform import Identity, Log, Logit


@pytest.fixture
def prior() -> Prior:
    names = (("shift", Identity()), ("rate", Log()), ("share", Logit()))
    parameters = [Parameter(n, "1", b, 0.0, 1.0, "ASSUMED", n) for n, b in names]
    return Prior.of(parameters, np.array([[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1.0]]))


def test_location_and_scale_keep_the_correlation(prior):
    found = parse_prior({"rate": {"location": -2.0, "scale": 0.5}}, prior)
    assert np.allclose(found.mean, [0, -2, 0])
    assert np.allclose(found.covariance, [[1, 0.25, 0], [0.25, 0.25, 0], [0, 0, 1]])


def test_mean_and_sd_are_those_of_the_value(prior):
    found = parse_prior({"rate": {"mean": 3.0, "sd": 1.5}, "shift": {"mean": 7.0, "sd": 2.0}}, prior)
    m, s = float(found.mean[1]), float(np.sqrt(found.covariance[1, 1]))
    assert np.exp(m + s**2 / 2) == pytest.approx(3.0)
    assert np.sqrt(np.expm1(s**2)) * 3.0 == pytest.approx(1.5)
    assert (float(found.mean[0]), float(found.covariance[0, 0])) == (7.0, pytest.approx(4.0))


def test_a_whole_prior_in_any_order(prior, tmp_path):
    covariance = np.diag([1.0, 4.0, 9.0])
    table = {"names": ["share", "rate", "shift"], "mean": [1, 2, 3], "covariance": covariance.tolist()}
    (tmp_path / "p.json").write_text(json.dumps(table))
    found = read_prior(tmp_path / "p.json", prior)
    assert found.mean.tolist() == [3, 2, 1]
    assert np.diag(found.covariance).tolist() == pytest.approx([9, 4, 1])
    (tmp_path / "p.toml").write_text("[rate]\nlocation = 1.0\nscale = 2.0\n")
    assert float(read_prior(tmp_path / "p.toml", prior).mean[1]) == 1.0


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ({"speed": {"location": 1, "scale": 1}}, FormatError),
        ({"rate": {"location": 1}}, FormatError),
        ({"rate": 3}, FormatError),
        ({"rate": {"location": "a", "scale": 1}}, FormatError),
        ({"rate": {"location": 1, "scale": 0}}, FormatError),
        ({"rate": {"mean": -1, "sd": 1}}, FormatError),
        ({"share": {"mean": 0.5, "sd": 0.1}}, FormatError),
        ({"mean": [0, 0, 0]}, FormatError),
        ({"mean": [0, 0], "covariance": [[1, 0], [0, 1]]}, FormatError),
        ({"mean": [0, 0, 0], "covariance": [[1, 2, 0], [2, 1, 0], [0, 0, 1]]}, ModelError),
    ],
)
def test_what_is_no_prior_is_refused(prior, table, error):
    with pytest.raises(error):
        parse_prior(table, prior)
