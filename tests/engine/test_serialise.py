"""A twin as bytes: bit-identical after loading, refused when damaged, and nothing dropped in silence."""

import io
import json
import zipfile
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from _toys import calibrated, early

import gemel
from gemel.core.errors import FormatError
from gemel.engine import serialise
from gemel.engine.infer.importance import Importance
from gemel.engine.infer.laplace import Laplace
from gemel.engine.infer.nuts import Nuts
from gemel.engine.posterior import Laplace as Gaussian
from gemel.testing.subject import fingerprint
from gemel.twins.toys.model import GrowthModel, LinearModel

METHODS = {"laplace": Laplace}
MODELS = {"toy-linear": LinearModel, "toy-growth": GrowthModel}


@pytest.mark.parametrize("name", list(MODELS))
def test_round_trip_is_bit_identical(name):
    twin = calibrated(name)
    body = serialise.dump(twin)
    loaded = serialise.load(body, MODELS[name](), METHODS)
    assert serialise.dump(loaded) == body == serialise.dump(twin)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(fingerprint(twin), fingerprint(loaded), strict=True))
    at = twin.times(60, 240)
    first, second = gemel.forecast(twin, None, at, n=32, key=1), gemel.forecast(loaded, None, at, n=32, key=1)
    assert np.array_equal(first.draws, second.draws)
    assert first.lineage.id == second.lineage.id
    assert loaded.method == twin.method
    assert loaded.domain == twin.domain
    assert loaded.status == twin.status
    told = serialise.peek(body)
    assert told["twin"] == name
    assert told["patient"] == twin.patient


def test_a_loaded_twin_goes_on_as_if_never_stored():
    base, twin, new, now = early()
    loaded = serialise.load(serialise.dump(twin), GrowthModel(), METHODS)
    record = base.with_facts(new)
    a, b = gemel.assimilate(twin, record, now), gemel.assimilate(loaded, record, now)
    assert all(np.array_equal(x, y, equal_nan=True) for x, y in zip(fingerprint(a), fingerprint(b), strict=True))
    late = base.series[0].take(np.array([2]))
    late = late.model_copy(update={"recorded": np.array([now]), "value": late.value + 1})
    a, b = (gemel.assimilate(t, record.with_facts(late), now) for t in (twin, loaded))
    assert a.status == b.status
    assert all(np.array_equal(x, y, equal_nan=True) for x, y in zip(fingerprint(a), fingerprint(b), strict=True))


def test_every_setting_of_the_method_comes_back():
    twin = replace(calibrated("toy-linear"), method=Laplace(starts=4, lanes=(4, 32), patients=(1, 8), resample=True))
    loaded = serialise.load(serialise.dump(twin), LinearModel(), METHODS)
    assert loaded.method == twin.method
    assert loaded.method.lanes == (4, 32)


def test_a_method_inside_a_method_comes_back():
    twin = replace(calibrated("toy-linear"), method=Nuts(pilot=Laplace(starts=4), forward=True))
    loaded = serialise.load(serialise.dump(twin), LinearModel(), METHODS | {"nuts": Nuts})
    assert loaded.method == twin.method


def test_a_setting_that_cannot_be_stored_is_refused():
    proposal = Gaussian(jnp.zeros(3), jnp.eye(3))
    with pytest.raises(FormatError, match="'proposal' of Importance cannot be stored"):
        serialise.dump(replace(calibrated("toy-linear"), method=Importance(proposal)))


def test_the_prior_and_arrays_of_the_model_are_stored():
    twin = calibrated("toy-linear")
    other = replace(twin, model=LinearModel(noise=jnp.asarray(2.0)))
    loaded = serialise.load(serialise.dump(other), LinearModel(), METHODS)
    assert float(loaded.model.noise) == 2.0


def test_nothing_is_pickled():
    with zipfile.ZipFile(io.BytesIO(serialise.dump(calibrated("toy-growth")))) as bundle:
        for name in bundle.namelist():
            body = bundle.read(name)
            if name.endswith(".npy"):
                np.lib.format.read_array(io.BytesIO(body), allow_pickle=False)
            else:
                json.loads(body)


def _edited(body: bytes, change) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(body)) as bundle, zipfile.ZipFile(sink, "w") as out:
        for name in bundle.namelist():
            content = change(name, bundle.read(name))
            if content is not None:
                out.writestr(name, content)
    return sink.getvalue()


def _manifest(**changes):
    return lambda name, body: json.dumps(json.loads(body) | changes).encode() if name == "manifest.json" else body


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_manifest(format="gemel-twin/0"), "another format"),
        (_manifest(model_version="9.9.9"), "another model"),
        (_manifest(twin="toy-growth"), "another model"),
        (lambda name, body: None if name == "arrays/posterior/mode.npy" else body, "lacks an array"),
        (lambda name, body: b"rubbish" if name == "arrays/posterior/mode.npy" else body, "damaged"),
        (lambda name, body: None if name == "manifest.json" else body, "damaged"),
        (_manifest(method={"name": "witchcraft", "settings": {}}), "method that is not known"),
    ],
)
def test_what_is_damaged_or_foreign_is_refused(change, words):
    body = _edited(serialise.dump(calibrated("toy-linear")), change)
    with pytest.raises(FormatError, match=words):
        serialise.load(body, LinearModel(), METHODS)


def test_rubbish_is_refused():
    with pytest.raises(FormatError, match="not a twin"):
        serialise.load(b"rubbish", LinearModel(), METHODS)
