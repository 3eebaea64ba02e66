"""What a change does: nothing for no change, closed forms where the equations are linear, an independent solver where they are not."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from gemel.twins.metabolic._effect import GLUCOSE_REFERENCE, SI_REFERENCE, Inputs, Response, difference
from gemel.twins.metabolic.priors import CONSTANTS, fixed

KNOWN = Response.known()
SLOT, SLOTS = 5.0, 200
FLAT = np.zeros((1, SLOTS))


def at(value: float) -> np.ndarray:
    return np.full((1, SLOTS), value)


def test_the_constants_are_the_rooms():
    assert KNOWN.share == fixed("effect_share")
    assert all("--learn" in CONSTANTS[f"effect_{n}"].source for n in Response.__dataclass_fields__)


def test_nothing_changed_is_no_difference():
    life = Inputs(at(3.0), at(2.0))
    np.testing.assert_array_equal(difference(at(140.0), life, life, at(1e-3), slot=SLOT), 0.0)


def test_carbohydrate_alone_settles_at_its_balance():
    """Without insulin above basal the difference is linear: v f Ra / (VG k) in the end, and 1 - exp(-k t) of it on the way (the sensor's lag later)."""
    long = 4000
    rest, more = Inputs(np.zeros((1, long)), np.zeros((1, long))), Inputs(np.zeros((1, long)), np.full((1, long), 0.5))
    e = difference(np.full((1, long), 120.0), rest, more, np.full((1, long), 1e-3), slot=SLOT)[0]
    end = KNOWN.appearance * fixed("f") * 0.5 / fixed("VG") / KNOWN.back
    assert e[-1] == pytest.approx(end, rel=1e-6)  # twenty thousand minutes are over a hundred time constants
    t = SLOT * (1 + np.arange(long))
    k, lag = KNOWN.back, fixed("alpha")
    exact = end * (1 - (np.exp(-k * t) - k * lag * np.exp(-t / lag)) / (1 - k * lag))
    assert np.abs(e - exact).max() < 0.05 * end  # half a slot against a lag of seven minutes


def test_carbohydrate_is_linear_and_insulin_lowers_less_where_there_is_less():
    rest = Inputs(FLAT, FLAT)
    one, two = (difference(at(120.0), rest, Inputs(FLAT, at(a)), at(1e-3), slot=SLOT) for a in (0.5, 1.0))
    np.testing.assert_allclose(two, 2 * one)
    low, high = (difference(at(g), rest, Inputs(at(1.0), FLAT), at(1e-3), slot=SLOT) for g in (80.0, 240.0))
    assert (high[0, 1:] < low[0, 1:]).all()
    assert (low[0] < 0).all()
    only_liver = replace(KNOWN, share=1.0)
    low, high = (difference(at(g), rest, Inputs(at(1.0), FLAT), at(1e-3), slot=SLOT, response=only_liver) for g in (80.0, 240.0))
    np.testing.assert_allclose(low, high)


def test_twice_the_power_of_sensitivity():
    rest, more = Inputs(FLAT, FLAT), Inputs(at(0.5), FLAT)
    linear = replace(KNOWN, share=1.0)
    weak, strong = (difference(at(120.0), rest, more, at(s * SI_REFERENCE), slot=SLOT, response=linear) for s in (1.0, 2.0))
    np.testing.assert_allclose(strong, 2.0**KNOWN.power * weak)


def test_an_independent_solver_agrees():
    """Against a variable-step solution of the equations in the docstring, insulin and meals that rise and fade."""
    t = SLOT * (1 + np.arange(SLOTS))

    def bump(x, centre, width, height):
        return height * np.exp(-0.5 * ((x - centre) / width) ** 2)

    def G(x):
        return 150 + 60 * np.sin(x / 120)

    def Ip(x):
        return bump(x, 200, 60, 8.0)

    def dIp(x):
        return -0.5 * Ip(x)

    def dRa(x):
        return bump(x, 260, 50, 1.5)

    s = 7e-4
    scale = KNOWN.sensitivity * (s / SI_REFERENCE) ** KNOWN.power / fixed("VI")

    def rhs(x, y):
        X, dX, dH, e, seen = y
        use = (X + dX) * (G(x) + e) - X * G(x)
        meal = fixed("f") * KNOWN.appearance * dRa(x) / fixed("VG")
        return [
            KNOWN.tissue * (scale * Ip(x) - X),
            KNOWN.tissue * (scale * dIp(x) - dX),
            KNOWN.liver * (scale * dIp(x) - dH),
            -KNOWN.back * e - (1 - KNOWN.share) * use - KNOWN.share * GLUCOSE_REFERENCE * dH + meal,
            (e - seen) / fixed("alpha"),
        ]

    exact = solve_ivp(rhs, (0.0, t[-1]), np.zeros(5), t_eval=t, rtol=1e-9, atol=1e-9).y[4]
    e = difference(G(t)[None], Inputs(Ip(t)[None], FLAT), Inputs((Ip(t) + dIp(t))[None], dRa(t)[None]), at(s), slot=SLOT)[0]
    assert np.abs(exact).max() > 20.0
    assert np.abs(e - exact).max() < 0.06 * np.abs(exact).max()  # first order in a slot: half of one (2.5 min) against bumps 50 min wide
