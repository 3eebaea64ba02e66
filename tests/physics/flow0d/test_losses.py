"""Friction and losses against numbers worked out by hand and against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from gemel.physics.flow0d import (
    expansion_loss,
    itu_loss,
    quadratic_loss,
    static_pressure,
    taper_resistance,
    viscosity_of_haematocrit,
    young_tsai_loss,
)

AREA = np.pi * 1.5e-3**2


def test_friction_of_a_taper_is_the_integral_of_poiseuille():
    """V1: closed form against quadrature, and the tube without taper."""
    for first, last in ((2e-3, 1e-3), (0.5e-3, 1.4e-3), (1e-3, 1e-3)):
        slope = (last - first) / 0.03
        integral, _ = quad(lambda s, a=first, b=slope: 8 * 4e-3 / (np.pi * (a + b * s) ** 4), 0, 0.03, epsabs=0, epsrel=1e-13)
        assert float(taper_resistance(0.03, first, last, 4e-3)) == pytest.approx(integral, rel=1e-12)


def test_friction_of_padding_and_of_an_occlusion_is_exact_and_so_are_derivatives():
    assert float(taper_resistance(0.0, 0.0, 0.0, 4e-3)) == 0.0
    assert np.isinf(float(taper_resistance(0.01, 0.0, 1e-3, 4e-3)))
    slope = jax.grad(lambda r: taper_resistance(0.0, r, r, 4e-3))
    assert float(slope(0.0)) == 0.0
    assert float(slope(1e-3)) == 0.0


def test_the_turbulent_drop_of_half_the_diameter():
    """V6: rho 1060, D0 3 mm, A0/As 4, 2 mL/s: 0.28294 m/s, 580.4 Pa."""
    assert 2e-6 / AREA == pytest.approx(0.28294, abs=5e-6)
    drop = float(quadratic_loss(AREA, AREA / 4, 1060.0)) * 2e-6**2
    assert drop == pytest.approx(580.4, abs=0.05)
    assert drop / 133.322 == pytest.approx(4.354, abs=1e-3)


def test_the_viscous_drop_of_young_and_tsai():
    """V7: mu 3.5e-3, D0 3, Ds 1.5, Ls 10 mm, 2 mL/s: 606.2 Pa; the quadratic part is V6."""
    found = young_tsai_loss(1.5e-3, 0.75e-3, 0.01, 3.5e-3, 1060.0)
    assert float(found.resistance) * 2e-6 == pytest.approx(606.2, abs=0.05)
    assert float(found.quadratic) * 4e-12 == pytest.approx(580.4, abs=0.05)


def test_without_narrowing_young_and_tsai_is_poiseuille_over_its_effective_length():
    found = young_tsai_loss(1.5e-3, 1.5e-3, 0.01, 3.5e-3, 1060.0)
    assert float(found.quadratic) == 0.0
    effective = 0.83 * 0.01 + 1.64 * 3e-3
    assert float(found.resistance) == pytest.approx(float(taper_resistance(effective, 1.5e-3, 1.5e-3, 3.5e-3)), rel=1e-13)


def test_itu_at_rest_is_poiseuille():
    """V20: frequency to zero and no narrowing."""
    friction = float(taper_resistance(0.01, 1.5e-3, 1.5e-3, 3.5e-3))
    found = itu_loss(1.5e-3, 1.5e-3, 0.01, friction, 3.5e-3, 1060.0, 0.0)
    assert (float(found.resistance), float(found.quadratic), float(found.mean_resistance)) == (pytest.approx(friction, rel=1e-12), 0.0, 0.0)
    beating = itu_loss(1.5e-3, 0.75e-3, 0.01, friction, 3.5e-3, 1060.0, 2 * np.pi)
    alpha = 1.5e-3 * np.sqrt(2 * np.pi * 1060 / 3.5e-3)
    assert float(beating.resistance) == pytest.approx((1 + 0.053 / 4 * alpha**2) * friction, rel=1e-13)
    assert float(beating.mean_resistance) == pytest.approx(0.0018 * alpha**2 * friction, rel=1e-13)


def test_expansion_is_borda_carnot_where_the_flow_separates_and_nothing_where_it_does_not():
    full = 1.52 * 1060 / 2 * (1 / (AREA / 4) - 1 / AREA) ** 2
    assert float(expansion_loss(AREA / 4, AREA, 0.5, 1060.0)) == pytest.approx(full, rel=1e-8)  # 1 - tanh(10.8)
    assert float(expansion_loss(AREA / 4, AREA, -0.3, 1060.0)) < 1e-9 * full
    assert float(expansion_loss(AREA / 4, AREA, 0.122, 1060.0)) == pytest.approx(full / 2, rel=1e-12)
    assert float(quadratic_loss(AREA, AREA / 4, 1060.0)) == pytest.approx(full, rel=1e-12)
    slope = jax.grad(lambda angle: expansion_loss(AREA / 4, AREA, angle, 1060.0))(0.122)
    assert float(slope) == pytest.approx(full / (2 * 0.035), rel=1e-12)


def test_the_static_pressure_is_lower_by_the_kinetic_energy():
    assert float(static_pressure(100.0, jnp.asarray(2e-6), 1.5e-3, 1060.0)) == pytest.approx(100 - 530 * (2e-6 / AREA) ** 2, rel=1e-14)
    assert float(viscosity_of_haematocrit(0.45)) == pytest.approx(1.2e-3 * np.exp(2.31 * 0.45), rel=1e-14)
