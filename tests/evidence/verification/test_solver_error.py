"""Tolerance sweeps, conservation and agreement: what they must find, and what they must not let pass."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from gemel.core.errors import EvidenceError
from gemel.evidence.verification.solver_error import SETTINGS, agree, conserved, sweep_tolerances


def predators(method):
    def solve(tolerance):
        found = solve_ivp(
            lambda t, y: [1.1 * y[0] - 0.4 * y[0] * y[1], 0.1 * y[0] * y[1] - 0.4 * y[1]],
            (0, 30), [10.0, 5.0], method=method, rtol=tolerance, atol=tolerance, t_eval=np.linspace(0, 30, 31),
        )  # fmt: skip
        return {"prey": found.y[0], "peak": found.y[1].max()}

    return solve


def test_a_tight_setting_passes_and_a_loose_one_does_not():
    tolerances = {"prey": 0.05, "peak": 0.05}
    tight = sweep_tolerances(predators("RK45"), tolerances, shipped=1e-8)
    assert tight.settings == SETTINGS
    assert tight.met.all()
    assert (tight.used < 0.01).all()
    assert all(f.met for f in tight.figures())
    assert set(tight.table()) == {"setting", "prey", "peak"}
    loose = sweep_tolerances(predators("RK45"), tolerances, shipped=1e-3)
    assert loose.settings[0] == 1e-3
    assert not loose.met[0]
    assert loose.used[0] > 0.1
    assert np.all(np.diff(tight.changes[:-1, 0]) < 0)  # errors fall with the setting


def test_a_reference_that_has_not_settled_is_no_reference():
    found = sweep_tolerances(
        lambda s: {"q": {1e-4: 1.0, 1e-6: 0.999, 1e-8: 5.0, 1e-10: 1.0}[s]}, {"q": 1.0}, shipped=1e-6, settings=(1e-4, 1e-8, 1e-10)
    )
    assert found.used[0] < 0.1
    assert not found.settled[0]
    assert not found.met[0]
    assert "not settled" in found.figures()[0].note


def test_bad_sweeps_are_refused():
    with pytest.raises(EvidenceError, match="tightest"):
        sweep_tolerances(lambda s: {"q": s}, {"q": 1.0}, shipped=1e-10)
    with pytest.raises(EvidenceError, match="lacks"):
        sweep_tolerances(lambda s: {"p": s}, {"q": 1.0}, shipped=1e-6)
    with pytest.raises(EvidenceError, match="not finite"):
        sweep_tolerances(lambda s: {"q": np.nan}, {"q": 1.0}, shipped=1e-6)
    with pytest.raises(EvidenceError, match="positive tolerance"):
        sweep_tolerances(lambda s: {"q": s}, {"q": 0.0}, shipped=1e-6)


def test_laws_are_collected_with_their_worst_case():
    mass, charge = conserved(
        {"mass_is_kept": np.array([1e-12, -3e-12]), "charge": lambda: 1e-3}, limits={"mass_is_kept": 1e-9, "charge": 1e-6}
    )
    assert (mass.law, mass.worst, mass.cases, mass.met) == ("mass is kept", 3e-12, 2, True)
    assert not charge.met
    assert charge.figure().met is False
    with pytest.raises(EvidenceError, match="finite"):
        conserved({"mass": [np.nan]})


def test_two_solvers_agree_or_do_not():
    ours, peer = predators("RK45")(1e-8), predators("LSODA")(1e-8)
    prey, peak = agree(ours, peer, {"prey": 0.05, "peak": 0.05}, peer_name="LSODA")
    assert prey.met
    assert peak.met
    assert 0 < prey.difference < 5e-3
    assert prey.figure("1").high == pytest.approx(0.005)
    assert not agree({"q": 1.0}, {"q": 1.02}, {"q": 0.1}, peer_name="another")[0].met
    with pytest.raises(EvidenceError, match="other grids"):
        agree({"q": [1.0]}, {"q": [1.0, 2.0]}, {"q": 0.1}, peer_name="another")
