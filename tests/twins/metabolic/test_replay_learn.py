"""The estimate behind the replay's constants: from truth made with a planted response it comes close to it, and people left out are judged by the rest."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gemel.twins.metabolic._effect import Inputs, Response, difference

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
KNOWN = Response.known()


@pytest.fixture(scope="module")
def learn():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("_replay_learn")


def lanes(learn, response: Response, people: int = 5, slots: int = 240):
    """Six changes of a day with three boluses and meals, seen without noise."""
    rng = np.random.default_rng(0)
    t = 5.0 * np.arange(slots)
    shape = (people, 6, 2, slots)

    def bumps(height):
        return sum(height * np.exp(-0.5 * ((t - c) / 60.0) ** 2) for c in (200.0, 500.0, 900.0))

    insulin, meal = np.empty((2, *shape)), np.empty((2, *shape))
    for j, (bolus, basal, food) in enumerate(((-0.5, 0, 0), (0.5, 0, 0), (0, -0.3, 0), (0, 0.3, 0), (0, 0, -0.3), (0, 0, 0.3))):
        for i in range(people):
            insulin[0, i, j], meal[0, i, j] = bumps(6.0 + i), bumps(1.0 + 0.2 * i)
            insulin[1, i, j], meal[1, i, j] = (1 + bolus) * bumps(6.0 + i) + basal * 2.0, (1 + food) * bumps(1.0 + 0.2 * i)
    middle = np.broadcast_to(150 + 30 * np.sin(t / 150), (people, 6, slots)).copy()
    sensitivity = np.broadcast_to(rng.uniform(3e-4, 1.2e-3, (people, 1, 1, 1)), shape).copy()
    glucose = np.broadcast_to(middle[:, :, None], shape).copy()
    flat = [x.reshape(-1, slots) for x in (glucose, sensitivity, *insulin, *meal)]
    e = difference(flat[0], Inputs(flat[2], flat[4]), Inputs(flat[3], flat[5]), flat[1], slot=5.0, response=response)
    truth = np.clip(middle + e.reshape(shape)[:, :, 0], 40.0, 400.0)
    return learn.Lanes(glucose, sensitivity, tuple(insulin), tuple(meal), middle, truth)


def test_its_own_truth_has_no_error(learn):
    assert learn.marks(lanes(learn, KNOWN), KNOWN).max() < 1e-6


def test_a_planted_response_is_found(learn):
    planted = replace(KNOWN, sensitivity=0.6 * KNOWN.sensitivity, appearance=1.3 * KNOWN.appearance, back=1.5 * KNOWN.back)
    made = lanes(learn, planted)
    before = learn.marks(made, KNOWN).mean()
    found = learn.estimated(made, KNOWN, evaluations=300)
    assert before > 5.0
    assert learn.marks(made, found).mean() < 0.3 * before
    assert abs(np.log(found.appearance / planted.appearance)) < 0.15  # of log 1.3 = 0.26 that were planted


def test_people_can_be_left_out(learn):
    made = lanes(learn, KNOWN)
    some = made.of(np.array([True, False, True, False, False]))
    assert some.truth.shape[0] == some.insulin[1].shape[0] == 2
    both = learn.Lanes.joined([some, made.of(np.array([False, True, False, False, False]))])
    np.testing.assert_array_equal(both.truth[2], made.truth[1])
