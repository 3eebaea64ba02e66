"""One entry to controls from outside of whom summaries are known: a prior of the control arm, and what the trial then says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from gemel import __version__
from gemel.core.errors import DataError
from gemel.core.lineage import Lineage, digest
from gemel.trials.external.arms import Arm
from gemel.trials.external.commensurate import commensurate_prior
from gemel.trials.external.drift import DRIFTS, LABEL, DriftMap, prior_map, probability_above
from gemel.trials.external.history import History
from gemel.trials.external.map_prior import MapPrior, map_prior, robust
from gemel.trials.external.mixture import BetaMixture, Mixture, NormalMixture
from gemel.trials.external.power_prior import normalised_power_prior, power_prior, weak_prior

__all__ = ["PRIORS", "Borrowed", "borrow_history", "prior_of"]

PRIORS = ("power", "normalised-power", "commensurate", "map", "robust-map")
"""What :func:`borrow_history` can do."""
CONFLICT = 0.05
"""Chance, under the prior, of controls as far out as those seen, from which a conflict is flagged (ASSUMED)."""


@dataclass(frozen=True)
class Borrowed:
    """A prior from history, and what the trial says with it.

    Parameters
    ----------
    label : that the type-I error is not controlled.
    prior : of the control arm; ``prior_interval`` and all intervals are of ``level``.
    effective_size : patients that the prior is worth, by the expected local information ratio.
    heterogeneity : mean and median of tau, and mean and SD of mu, for a meta-analytic prior; and how far its parts are from the exact one.
    posterior : of the control arm after the trial; None without own controls.
    weak_weight : of the weak part of a robust prior, before and after the trial.
    conflict : chance, under the prior, of controls as far out as those seen.
    difference, difference_sd, interval : treated minus control, after the trial; None without a treated arm.
    probability : that treated is above control.
    map : what drift does to type-I error, power and squared error.
    """

    method: str
    label: str
    prior: Mixture
    prior_interval: tuple[float, float]
    effective_size: float
    heterogeneity: MapPrior | None
    posterior: Mixture | None
    posterior_interval: tuple[float, float] | None
    weak_weight: tuple[float, float] | None
    conflict: float | None
    difference: float | None
    difference_sd: float | None
    interval: tuple[float, float] | None
    probability: float | None
    level: float
    map: DriftMap
    status: tuple[str, ...]
    lineage: Lineage


def prior_of(
    history: History,
    method: str,
    *,
    a0: float = 0.5,
    weight: float = 0.2,
    tau_scale: float | None = None,
    mu_mean: float | None = None,
    mu_sd: float | None = None,
    components: int = 3,
) -> tuple[Mixture, MapPrior | None]:
    """Return the prior of the control arm that a method makes of a history, and the meta-analysis behind it where there is one.

    Parameters
    ----------
    method : one of :data:`PRIORS`.
    a0 : of the power prior.
    weight : of the weak part of the robust prior.
    tau_scale : of the commensurate and meta-analytic priors.
    mu_mean, mu_sd, components : of the meta-analytic prior.

    Raises
    ------
    DataError
        For an unknown method or a setting out of range.
    """
    if method not in PRIORS:
        raise DataError("no such method", seen=method, expected=PRIORS)
    if method == "power":
        return power_prior(history, a0), None
    if method == "normalised-power":
        return normalised_power_prior(history), None
    if method == "commensurate":
        return commensurate_prior(history, tau_scale=tau_scale, components=components), None
    found = map_prior(history, tau_scale=tau_scale, mu_mean=mu_mean, mu_sd=mu_sd, components=components)
    return (robust(found, history, weight=weight) if method == "robust-map" else found.mixture), found


def borrow_history(
    history: History,
    method: str,
    *,
    control: Arm | None = None,
    treated: Arm | None = None,
    planned: tuple[int, int] | None = None,
    a0: float = 0.5,
    weight: float = 0.2,
    tau_scale: float | None = None,
    mu_mean: float | None = None,
    mu_sd: float | None = None,
    components: int = 3,
    effect: float | None = None,
    drifts: Sequence[float] = DRIFTS,
    level: float = 0.95,
) -> Borrowed:
    """Make a prior of the control arm from history, and analyse the trial with it.

    Parameters
    ----------
    control, treated : arms of the trial, where it is over; control may be None in a trial of one arm.
    planned : controls and treated of the trial, where it is not over yet.
    effect, drifts : of the map; effect in the unit of the outcome.
    others : as for :func:`prior_of`.

    Raises
    ------
    DataError
        For an unknown method, settings out of range, or arms that cannot be.
    """
    if not 0 < level < 1:
        raise DataError("level is out of range", seen=level, expected="between 0 and 1, such as 0.95")
    for name, arm in (("control", control), ("treated", treated)):
        if arm is not None and (arm.n < 1 or (history.is_rate and not 0 <= arm.value <= arm.n) or not math.isfinite(arm.value)):
            raise DataError(
                f"the {name} arm is not one", seen=f"{arm.n} patients, {arm.value:g}", expected="patients, and events among them or a mean"
            )
    if treated is None and planned is None:
        raise DataError(
            "the trial is not known", seen="neither arms nor planned sizes", expected="what was seen, or how many patients are planned"
        )
    sizes = planned if treated is None else (control.n if control else 0, treated.n)
    assert sizes is not None  # one of the two is there
    prior, meta = prior_of(history, method, a0=a0, weight=weight, tau_scale=tau_scale, mu_mean=mu_mean, mu_sd=mu_sd, components=components)
    after = _after(prior, control, history.sigma)
    flags = [LABEL]
    conflict = _conflict(prior, control, history.sigma) if control else None
    if conflict is not None and conflict < CONFLICT:
        flags.append(f"the trial's controls do not fit the history: chance {conflict:.3g} under the prior")
    worth = prior.effective_size() if isinstance(prior, BetaMixture) else prior.effective_size(history.sigma)
    if worth > max(sizes[1], 1):
        flags.append(f"the prior is worth {worth:.0f} patients, more than the {sizes[1]} treated")
    if meta and meta.tau_mean > 2 * meta.tau_scale:
        flags.append(f"the studies differ more than the prior of tau expects: {meta.tau_mean:.4g} on the mean, scale {meta.tau_scale:.4g}")
    if len(history.n) < 3 and method in ("map", "robust-map"):
        flags.append(f"{len(history.n)} studies say little about heterogeneity: the prior of tau decides")
    tail = (1 - level) / 2
    told = _difference(after or prior, treated, history.sigma, tail) if treated else None
    settings = digest([a0, weight, tau_scale, mu_mean, mu_sd, components, level, effect, list(drifts)])[:12]
    return Borrowed(
        method=method,
        label=LABEL,
        prior=prior,
        prior_interval=(prior.quantile(tail), prior.quantile(1 - tail)),
        effective_size=worth,
        heterogeneity=meta,
        posterior=after,
        posterior_interval=(after.quantile(tail), after.quantile(1 - tail)) if after else None,
        weak_weight=(weight, float((after or prior).weights[-1])) if method == "robust-map" else None,
        conflict=conflict,
        difference=told[0] if told else None,
        difference_sd=told[1] if told else None,
        interval=told[2] if told else None,
        probability=told[3] if told else None,
        level=level,
        map=prior_map(
            prior,
            weak=weak_prior(history),
            n_control=sizes[0],
            n_treated=sizes[1],
            centre=history.centre,
            sigma=history.sigma,
            effect=effect,
            drifts=drifts,
            level=level,
        ),
        status=tuple(flags),
        lineage=Lineage(
            record=digest([history.hash, control, treated, planned]),
            model="trial",
            model_version="1",
            code_version=__version__,
            method=f"borrow/{method}/{settings}",
            seed=0,
        ),
    )


def _after(prior: Mixture, control: Arm | None, sigma: float) -> Mixture | None:
    if control is None:
        return None
    if isinstance(prior, BetaMixture):
        return prior.posterior(control.value, control.n)
    return prior.posterior(control.value, sigma / math.sqrt(control.n))


def _conflict(prior: Mixture, control: Arm, sigma: float) -> float:
    """Return the two-sided chance, under the prior, of controls as far out as those seen."""
    if isinstance(prior, NormalMixture):
        spread = np.sqrt(prior.sds**2 + sigma**2 / control.n)
        below = float(special.ndtr((control.value - prior.means) / spread) @ prior.weights)
        return 2 * min(below, 1 - below)
    r = np.arange(control.n + 1)[:, None]
    logs = special.betaln(prior.a + r, prior.b + control.n - r) - special.betaln(prior.a, prior.b)
    ways = special.gammaln(control.n + 1) - special.gammaln(r + 1) - special.gammaln(control.n - r + 1)
    chance = np.exp(logs + ways) @ prior.weights
    return float(min(1.0, 2 * min(chance[r[:, 0] <= control.value].sum(), chance[r[:, 0] >= control.value].sum())))


def _difference(control: Mixture, treated: Arm, sigma: float, tail: float) -> tuple[float, float, tuple[float, float], float]:
    if isinstance(control, NormalMixture):
        apart = NormalMixture(control.weights, treated.value - control.means, np.sqrt(control.sds**2 + sigma**2 / treated.n))
        ends = (apart.quantile(tail), apart.quantile(1 - tail))
        return apart.mean, apart.sd, ends, 1 - float(apart.cumulative(np.array(0.0)))
    own = BetaMixture(np.ones(1), np.array([1.0 + treated.value]), np.array([1.0 + treated.n - treated.value]))
    angle = (np.arange(4000) + 0.5) / 4000 * math.pi / 2
    p = np.sin(angle) ** 2
    mass = control.density(p) * np.sin(2 * angle)
    mass /= mass.sum()

    def below(d: float) -> float:
        return float(mass @ own.cumulative(np.clip(p + d, 0, 1)))

    ends = tuple(float(optimize.brentq(lambda d, q=q: below(d) - q, -1, 1, xtol=1e-10)) for q in (tail, 1 - tail))
    chance = float(probability_above(control, np.array([0]), 0, treated.n)[0, round(treated.value)])
    return own.mean - control.mean, math.hypot(own.sd, control.sd), (ends[0], ends[1]), chance
