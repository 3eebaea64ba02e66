"""Bayesian adjustment for a prognosis: a mixture of what the history says of the control outcome and a prior worth one patient.

With the prognosis *m* about its mean in the history, ``y = a + b m + t_k arm_k + e``, ``e ~ N(0, s²)``. The informative component puts ``a`` at the history's
mean and ``b`` at one, as surely as the history's patients know them, and ``s`` likewise; the weak one is worth one patient. Treatment effects have the same wide
prior in both, so that the data say which component they come from: its posterior weight is the agreement of history and trial.

Borrowing the control level is borrowing controls: where trial and history differ, the type-I error is **not** controlled, unlike with a prognosis as plain covariate.
:func:`largest_weight` finds the prior weight whose error stays under a cap over drifts named beforehand.

References
----------
The conjugate normal-inverse-gamma model: Bernardo and Smith 1994, Bayesian Theory, section 5.4 and appendix A.2. Robust mixtures: Schmidli et al. 2014,
doi:10.1111/biom.12242. Mixture priors from a prognosis: arXiv:2310.18027.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy import optimize, special

from gemel.core.errors import DataError, EvidenceError
from gemel.core.protocols import Progress
from gemel.trials.adjust.ancova import least_squares
from gemel.trials.adjust.base import Result, made
from gemel.trials.data import TrialData
from gemel.trials.estimand import Estimand, Summary
from gemel.trials.prognosis import PrognosisBundle

__all__ = ["UNCONTROLLED", "Borrowed", "DriftErrors", "History", "bayes", "drift_errors", "largest_weight", "posterior"]

WIDE = 10.0
"""Prior standard deviation of treatment effects and of other covariates' slopes (standardised), in residual standard deviations (ASSUMED)."""
UNCONTROLLED = "type-I error is not controlled: the prior borrows the control level from the history"


@dataclass(frozen=True)
class History:
    """What a history says of the control outcome given the prognosis.

    Parameters
    ----------
    level : mean of the prognosis in the history, and the outcome expected there.
    slope : of the outcome on the prognosis; one for a prognosis that keeps its word.
    spread : standard deviation of the prognosis in the history.
    sd : residual standard deviation.
    n : patients that it is worth.
    """

    level: float
    slope: float
    spread: float
    sd: float
    n: float

    @classmethod
    def of(cls, bundle: PrognosisBundle, *, worth: float = 1.0) -> History:
        """Return the history behind a locked prognosis.

        Parameters
        ----------
        worth : patients of the trial that one patient of the history is worth.

        Raises
        ------
        EvidenceError
            When the prognosis foretold nothing in its own history.
        """
        if bundle.r_squared <= 0:
            raise EvidenceError("the prognosis foretold nothing in its history", seen=f"R² {bundle.r_squared:.3f}", expected="more than 0")
        slope = max(bundle.calibration[1], 1e-6)
        spread = bundle.correlation * bundle.sd / slope
        sd = bundle.sd * math.sqrt(1 - bundle.r_squared)
        return cls(bundle.prognosis.mean, 1.0, spread, sd, worth * bundle.n)


@dataclass(frozen=True)
class _Component:
    """Normal-inverse-gamma: coefficients N(mean, s² precision⁻¹), s² inverse gamma(shape, scale)."""

    mean: np.ndarray
    precision: np.ndarray
    shape: float
    scale: float


@dataclass(frozen=True)
class Borrowed:
    """Posterior of the treatment effect: a mixture of two Student distributions.

    Parameters
    ----------
    weight, prior_weight : of the informative component, after and before the data.
    location, scale, df : (component,) informative first.
    """

    weight: float
    prior_weight: float
    location: Float[np.ndarray, " component"]
    scale: Float[np.ndarray, " component"]
    df: Float[np.ndarray, " component"]

    @property
    def _weights(self) -> np.ndarray:
        return np.array([self.weight, 1 - self.weight])

    @property
    def mean(self) -> float:
        """Posterior mean."""
        return float(self._weights @ self.location)

    @property
    def sd(self) -> float:
        """Posterior standard deviation."""
        within = self.scale**2 * self.df / (self.df - 2)
        return math.sqrt(float(self._weights @ (within + (self.location - self.mean) ** 2)))

    def below(self, value: float) -> float:
        """Return the posterior probability of an effect below a value."""
        return float(self._weights @ special.stdtr(self.df, (value - self.location) / self.scale))

    def quantile(self, probability: float) -> float:
        """Return a posterior quantile."""
        ends = self.location + self.scale * special.stdtrit(self.df, probability)
        room = 1e-6 * float(self.scale.max())  # the ends are quantiles themselves: rounding must not put both on one side
        low, high = float(ends.min()) - room, float(ends.max()) + room
        return float(optimize.brentq(lambda v: self.below(v) - probability, low, high, xtol=1e-12 * (1 + abs(high))))


def _components(history: History, columns: int) -> tuple[_Component, _Component]:
    """Return the informative and the weak prior of (level, slope, effects and other slopes)."""
    mean = np.zeros(columns)
    mean[:2] = history.level, history.slope
    rest = np.full(columns - 2, WIDE**-2)
    variance = history.spread**2

    def worth(n: float) -> _Component:
        return _Component(mean, np.diag(np.concatenate([[n, n * variance], rest])), max(n, 2.5) / 2, max(n, 2.5) / 2 * history.sd**2)

    return worth(history.n), worth(1.0)


def _updated(
    prior: _Component, xx: np.ndarray, xy: np.ndarray, yy: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray, float, np.ndarray, np.ndarray]:
    """Return posterior mean, covariance factor, shape, scale and log marginal likelihood (without what both components share); batched over leading axes."""
    precision = prior.precision + xx
    inverse = np.linalg.inv(precision)
    start = prior.precision @ prior.mean
    mean = (inverse @ (start + xy)[..., None])[..., 0]
    shape = prior.shape + n / 2
    scale = prior.scale + 0.5 * (yy + prior.mean @ start - np.einsum("...i,...ij,...j->...", mean, precision, mean))
    evidence = (
        0.5 * (np.linalg.slogdet(prior.precision)[1] - np.linalg.slogdet(precision)[1])
        + prior.shape * math.log(prior.scale)
        - shape * np.log(scale)
        + special.gammaln(shape)
        - special.gammaln(prior.shape)
    )
    return mean, inverse, shape, scale, evidence


def posterior(
    x: Float[np.ndarray, "... row column"],
    y: Float[np.ndarray, "... row"],
    history: History,
    weight: float,
    contrast: Float[np.ndarray, " column"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the posterior weight of the informative component, and location, scale and degrees of freedom of a contrast in both.

    Parameters
    ----------
    x : level, prognosis less the history's level, arms, other covariates (standardised); leading axes are trials.
    weight : prior weight of the informative component.
    """
    xx, xy = np.swapaxes(x, -1, -2) @ x, (np.swapaxes(x, -1, -2) @ y[..., None])[..., 0]
    yy, n = np.square(y).sum(axis=-1), y.shape[-1]
    found = [_updated(c, xx, xy, yy, n) for c in _components(history, x.shape[-1])]
    odds = special.logit(weight) + found[0][4] - found[1][4]
    location = np.stack([mean @ contrast for mean, *_ in found])
    scale = np.stack([np.sqrt(b / a * np.einsum("i,...ij,j->...", contrast, v, contrast)) for _, v, a, b, _ in found])
    df = np.array([2 * a for _, _, a, _, _ in found])
    return special.expit(odds), location, scale, df


def bayes(
    data: TrialData,
    estimand: Estimand,
    prognosis: PrognosisBundle,
    *,
    weight: float = 0.5,
    worth: float = 1.0,
    level: float = 0.95,
    status: tuple[str, ...] = (),
) -> Result:
    """Compare two arms by the mixture posterior.

    Parameters
    ----------
    data : its first covariate is the prognosis (:func:`gemel.trials.analysis.with_prognosis`); others are standardised.
    weight : prior weight of the informative component, strictly between 0 and 1; fix it beforehand, by :func:`largest_weight`.
    worth : patients of the trial that one patient of the history is worth.

    Returns
    -------
    Posterior mean and standard deviation; the interval holds equal tails; ``p_value`` is twice the smaller posterior probability of an effect
    on either side of zero. The status carries the weight after the data, and that the type-I error is not controlled.

    Raises
    ------
    DataError
        When the weight is out of range or the prognosis is not the first covariate.
    EvidenceError
        When the summary is no difference, or the prognosis foretold nothing.
    """
    if not 0 < weight < 1:
        raise DataError("the prior weight is out of range", seen=weight, expected="between 0 and 1, such as 0.5")
    if not data.names or data.names[0] != "prognosis":
        raise DataError("the first covariate is not the prognosis", seen=data.names[:1], expected="with_prognosis(data, bundle)")
    if estimand.summary not in (Summary.MEAN_DIFFERENCE, Summary.RISK_DIFFERENCE):
        raise EvidenceError("a linear model gives a difference", seen=estimand.summary.value, expected="a difference", fix="gcomputation")
    history = History.of(prognosis, worth=worth)
    reference, treated = data.index(estimand.reference), data.index(estimand.treatment)
    arms = np.stack([data.arm == a for a in range(len(data.arms)) if a != reference], axis=1).astype(float)
    others = data.centred[:, 1:]
    others = others / others.std(axis=0) if others.shape[1] else others
    x = np.column_stack([np.ones(data.n), data.covariates[:, 0] - history.level, arms, others])
    contrast = np.zeros(x.shape[1])
    contrast[2 + [a for a in range(len(data.arms)) if a != reference].index(treated)] = 1.0
    after, location, scale, df = posterior(x, data.outcome, history, weight, contrast)
    found = Borrowed(float(after), weight, location, scale, df)
    plain = least_squares(np.column_stack([np.ones(data.n), arms]), data.outcome)
    unadjusted = math.sqrt(contrast[2 : 2 + arms.shape[1]] @ plain.covariance[1:, 1:] @ contrast[2 : 2 + arms.shape[1]])
    note = f"weight of the history {weight:.2f} before the data, {found.weight:.2f} after"
    made_ = made(
        data,
        estimand,
        method=f"bayes/mixture {weight:g}/worth {worth:g}",
        estimate=found.mean,
        standard_error=found.sd,
        unadjusted_error=unadjusted,
        level=level,
        status=(*status, UNCONTROLLED, note),
        parents=(prognosis.hash[:16],),
    )
    tail = found.below(0.0)
    return replace(made_, interval=(found.quantile(0.5 - level / 2), found.quantile(0.5 + level / 2)), p_value=2 * min(tail, 1 - tail))


@dataclass(frozen=True)
class DriftErrors:
    """Type-I error of the mixture by prior weight and drift.

    Parameters
    ----------
    weights, drifts : drift of the trial's level from the history's, in residual standard deviations.
    rates, errors : (weight, drift) share of trials without an effect that are called significant, and its Monte-Carlo standard error.
    """

    weights: tuple[float, ...]
    drifts: tuple[float, ...]
    rates: Float[np.ndarray, "weight drift"]
    errors: Float[np.ndarray, "weight drift"]
    replicates: int


def drift_errors(
    history: History,
    control: int,
    treated: int,
    *,
    weights: Sequence[float] = (0.1, 0.25, 0.5, 0.75, 0.9),
    drifts: Sequence[float] = (0.0, 0.1, 0.2, 0.3, 0.5),
    alpha: float = 0.05,
    replicates: int = 10_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> DriftErrors:
    """Simulate the type-I error of the mixture where the trial's level has drifted from the history's; normal outcomes, SIMULATED.

    Parameters
    ----------
    control, treated : patients per arm.
    weights : prior weights of the informative component; all are read on the same trials.
    """
    if min(control, treated) < 2 or replicates < 100:
        raise DataError("too few patients or trials to simulate", seen=(control, treated, replicates), expected="2 per arm, 100 trials")
    arm = np.r_[np.zeros(control), np.ones(treated)]
    rates = np.empty((len(weights), len(drifts)))
    if progress is not None:
        progress.start("drifts", len(drifts))
    for j, drift in enumerate(drifts):
        rng, hits = np.random.default_rng([seed, j]), np.zeros(len(weights))
        for first in range(0, replicates, 1000):
            size = min(1000, replicates - first)
            m = history.spread * rng.normal(size=(size, len(arm)))
            y = history.level + history.slope * m + history.sd * (rng.normal(size=m.shape) + drift)
            x = np.stack([np.ones_like(m), m, np.broadcast_to(arm, m.shape)], axis=-1)
            half, location, scale, df = posterior(x, y, history, 0.5, np.array([0.0, 0.0, 1.0]))
            below = special.stdtr(df[:, None], -location / scale)
            for i, weight in enumerate(weights):
                after = special.expit(special.logit(half) + special.logit(weight))
                tail = after * below[0] + (1 - after) * below[1]
                hits[i] += (2 * np.minimum(tail, 1 - tail) < alpha).sum()
        rates[:, j] = hits / replicates
        if progress is not None:
            progress.update(j + 1)
    if progress is not None:
        progress.finish()
    errors = np.sqrt(np.maximum(rates * (1 - rates), 0.25 / replicates) / replicates)
    return DriftErrors(tuple(weights), tuple(drifts), rates, errors, replicates)


def largest_weight(found: DriftErrors, cap: float) -> float | None:
    """Return the largest weight whose type-I error stays under a cap at every drift, two Monte-Carlo errors included; None where none does."""
    worst = (found.rates + 2 * found.errors).max(axis=1)
    kept = [w for w, rate in zip(found.weights, worst, strict=True) if rate <= cap]
    return max(kept) if kept else None
