"""What borrowing costs when the controls from outside have drifted: type-I error, power and squared error, over the drift.

Borrowing from outside has no protection by randomisation: every result of this room carries this map and the label below.
For priors it is exact, by quadrature over what the trial's controls may show; for weighted patients it is a bootstrap, whose replicates are shifted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special, stats

from gemel.core.errors import DataError, GemelError, InferenceError
from gemel.core.view import Array, Axis, Figure, Line, Panel, Rule, Table
from gemel.trials.external.mixture import BetaMixture, Mixture, NormalMixture

__all__ = ["DRIFTS", "LABEL", "DriftMap", "bootstrap_map", "drift_figure", "prior_map", "rejects"]

LABEL = "type-I error not controlled"
"""Stands on every result that borrows."""
DRIFTS = (0.0, 0.1, 0.2, 0.3, 0.5)
"""Standard deviations of one patient's outcome by which the trial's own controls lie above those from outside."""
Z80 = float(special.ndtri(0.8))


@dataclass(frozen=True)
class DriftMap:
    """Operating characteristics over the drift.

    Parameters
    ----------
    drifts : (drift,) in standard deviations of one patient's outcome.
    shift : (drift,) unit of the outcome.
    type_one, power, squared_error : (drift,) of a two-sided test at ``level``; unit of the outcome squared for the last.
    errors : (3, drift) their Monte-Carlo standard errors; zero where exact.
    without : type-I error, power and squared error without borrowing, from the trial's own controls; not known without any.
    effect : at which the power holds, unit of the outcome.
    how : in words.
    """

    drifts: Float[np.ndarray, " drift"]
    shift: Float[np.ndarray, " drift"]
    type_one: Float[np.ndarray, " drift"]
    power: Float[np.ndarray, " drift"]
    squared_error: Float[np.ndarray, " drift"]
    errors: Float[np.ndarray, "3 drift"]
    without: tuple[float, float, float]
    effect: float
    level: float
    how: str


def rejects(prior: Mixture, seen: Float[np.ndarray, " outcome"], n_control: int, n_treated: int, sigma: float, level: float) -> np.ndarray:
    """Return, for each outcome of the controls, from which treated outcome on the arms are told apart, below and above.

    A difference is told when its two-sided credible interval leaves 0 out; the treated arm has a weak prior.

    Parameters
    ----------
    seen : (outcome,) mean, or number of events, of the trial's controls.

    Returns
    -------
    (2, outcome) a mean below the first or above the second, or fewer events than the first and more than the second.
    """
    tail = (1 - level) / 2
    if isinstance(prior, NormalMixture):
        after = [prior.posterior(y, sigma / math.sqrt(n_control)) if n_control else prior for y in seen]
        w, m, s = (np.stack([getattr(p, k) for p in after]) for k in ("weights", "means", "sds"))
        spread = np.sqrt(s**2 + sigma**2 / n_treated)
        edges = []
        for target in (tail, 1 - tail):
            low, high = (m - 12 * spread).min(axis=1), (m + 12 * spread).max(axis=1)
            for _ in range(60):
                middle = 0.5 * (low + high)
                above = (w * special.ndtr((middle[:, None] - m) / spread)).sum(axis=1) > target
                low, high = np.where(above, low, middle), np.where(above, middle, high)
            edges.append(0.5 * (low + high))
        return np.stack(edges)
    chance = probability_above(prior, seen, n_control, n_treated)
    return np.stack([(chance < tail).sum(axis=1) - 0.5, n_treated - (chance > 1 - tail).sum(axis=1) + 0.5])


def probability_above(prior: BetaMixture, seen: np.ndarray, n_control: int, n_treated: int) -> Float[np.ndarray, "seen treated"]:
    """Return the probability that the treated rate is above the control rate, for each number of events in either arm."""
    angle = (np.arange(2000) + 0.5) / 2000 * math.pi / 2
    p, step = np.sin(angle) ** 2, np.sin(2 * angle) * math.pi / 4000
    control = np.stack([prior.posterior(float(r), n_control).density(p) * step for r in seen])
    control /= control.sum(axis=1, keepdims=True)
    r = np.arange(n_treated + 1)[:, None]
    return control @ special.betaincc(1 + r, 1 + n_treated - r, p).T


def prior_map(
    prior: Mixture,
    *,
    weak: Mixture,
    n_control: int,
    n_treated: int,
    centre: float,
    sigma: float,
    effect: float | None = None,
    drifts: Sequence[float] = DRIFTS,
    level: float = 0.95,
) -> DriftMap:
    """Return the operating characteristics of a prior of the control arm, exactly.

    Parameters
    ----------
    weak : the prior that borrows nothing.
    n_control, n_treated : patients of the trial; no controls of its own may be 0.
    centre : pooled mean or rate of the history, from which the drift is measured.
    sigma : standard deviation of one patient's outcome.
    effect : at which power is computed; left out, one that the trial without borrowing finds with a power of 0.8 by the normal approximation
        (without controls of its own: with as many controls as treated).

    Raises
    ------
    DataError
        When the arms are empty, or an effect or a drift leads out of a rate's range.
    """
    if n_treated < 1 or n_control < 0 or not 0 < level < 1:
        raise DataError(
            "the trial is not one",
            seen=f"{n_control} controls, {n_treated} treated, level {level}",
            expected="treated patients, a level such as 0.95",
        )
    z = float(special.ndtri(0.5 + level / 2)) + Z80
    delta = effect if effect is not None else z * sigma * math.sqrt(1 / n_treated + 1 / (n_control or n_treated))
    shift = sigma * np.asarray(drifts, float)
    truth = centre + shift
    if isinstance(prior, BetaMixture):
        if effect is None and not centre + delta < 1:
            delta = -delta
        if not (0 < centre + delta < 1 and ((truth > 0) & (truth < 1)).all()):
            raise DataError(
                "a rate leaves its range",
                seen=f"control {truth.min():.3g} to {truth.max():.3g}, effect {delta:.3g}",
                expected="between 0 and 1",
                fix="smaller drifts, or negative ones: the trial's own controls below those from outside",
            )
    parts = [_exact(p, n_control, n_treated, truth, delta, sigma, level) for p in (prior, weak)]
    return DriftMap(
        drifts=np.asarray(drifts, float),
        shift=shift,
        type_one=parts[0][0],
        power=parts[0][1],
        squared_error=parts[0][2],
        errors=np.zeros((3, len(shift))),
        without=(float(parts[1][0][0]), float(parts[1][1][0]), float(parts[1][2][0])) if n_control else (math.nan,) * 3,
        effect=float(delta),
        level=level,
        how="exact, by quadrature over what the trial's controls may show"
        if isinstance(prior, NormalMixture)
        else "exact, by enumeration of the events in both arms",
    )


def _exact(
    prior: Mixture, n_control: int, n_treated: int, truth: np.ndarray, effect: float, sigma: float, level: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    out = np.empty((3, len(truth)))
    if isinstance(prior, NormalMixture):
        error = sigma / math.sqrt(n_control) if n_control else 0.0
        seen = np.linspace(truth.min() - 8 * error, truth.max() + 8 * error, 1601) if n_control else np.zeros(1)
        means = np.array([prior.posterior(y, error).mean if n_control else prior.mean for y in seen])
        low, high = rejects(prior, seen, n_control, n_treated, sigma, level)
        spread = sigma / math.sqrt(n_treated)
        for k, mu in enumerate(truth):
            chance = np.exp(-0.5 * ((seen - mu) / error) ** 2) if n_control else np.ones(1)
            chance /= chance.sum()
            for row, value in ((0, mu), (1, mu + effect)):
                out[row, k] = chance @ (special.ndtr((low - value) / spread) + special.ndtr((value - high) / spread))
            out[2, k] = spread**2 + chance @ (means - mu) ** 2
        return out[0], out[1], out[2]
    seen, treated = np.arange(n_control + 1), np.arange(n_treated + 1)
    means = np.array([prior.posterior(float(r), n_control).mean for r in seen])
    low, high = rejects(prior, seen, n_control, n_treated, sigma, level)
    decided = (treated < low[:, None]) | (treated > high[:, None])
    guess = (1 + treated) / (2 + n_treated)
    for k, p in enumerate(truth):
        chance = stats.binom.pmf(seen, n_control, p)
        for row, value in ((0, p), (1, p + effect)):
            out[row, k] = chance @ decided @ stats.binom.pmf(treated, n_treated, value) if 0 < value < 1 else math.nan
        own = stats.binom.pmf(treated, n_treated, p)
        out[2, k] = chance @ np.square(guess - means[:, None]) @ own
    return out[0], out[1], out[2]


def bootstrap_map(
    estimate: Callable[[np.random.Generator], tuple[float, float]],
    whole: tuple[float, float],
    *,
    sd: float,
    without: tuple[float, float, float],
    effect: float | None = None,
    drifts: Sequence[float] = DRIFTS,
    level: float = 0.95,
    replicates: int = 1000,
    seed: int = 0,
) -> DriftMap:
    """Return the operating characteristics of a comparison of patients, by bootstrap.

    Outcomes from outside that all lie lower by some amount move the estimate by as much and leave its error alone, so that one set of replicates,
    centred, serves every drift and every effect.

    Parameters
    ----------
    estimate : draws a replicate and returns its estimate and standard error.
    whole : estimate and standard error from all of them.
    sd : of one patient's outcome.
    without : of the trial's own controls.

    Raises
    ------
    InferenceError
        When more than a tenth of the replicates cannot be analysed.
    """
    rng = np.random.default_rng(seed)
    found, lost = [], 0
    for _ in range(replicates):
        try:
            found.append(estimate(rng))
        except GemelError:
            lost += 1
    if lost > replicates / 10 or len(found) < 2:
        raise InferenceError(
            "the bootstrap failed too often",
            seen=f"{lost} of {replicates} replicates",
            expected="a tenth at most",
            fix="fewer baseline columns",
        )
    drawn = np.array(found)
    z = special.ndtri(0.5 + level / 2)
    delta = effect if effect is not None else (z + Z80) * whole[1]
    shift = sd * np.asarray(drifts, float)
    apart = (drawn[:, 0] - whole[0])[:, None] + shift
    told = [np.abs(apart + more) > z * drawn[:, [1]] for more in (0.0, delta)]
    columns = [told[0].astype(float), told[1].astype(float), apart**2]
    return DriftMap(
        drifts=np.asarray(drifts, float),
        shift=shift,
        type_one=columns[0].mean(axis=0),
        power=columns[1].mean(axis=0),
        squared_error=columns[2].mean(axis=0),
        errors=np.stack([c.std(axis=0, ddof=1) / math.sqrt(len(drawn)) for c in columns]),
        without=without,
        effect=float(delta),
        level=level,
        how=f"bootstrap, {len(drawn)} replicates" + (f", {lost} more could not be analysed" if lost else ""),
    )


def drift_figure(found: DriftMap, *, title: str, lineage: str, unit: str = "1") -> Figure:
    """Describe the map: type-I error, power and root mean squared error over the drift, in three panels.

    Parameters
    ----------
    unit : UCUM unit of the outcome.
    """
    x = Array.of(found.drifts, unit="1")
    top = min(1.0, max(0.2, 1.1 * float(np.nanmax(found.type_one))))
    rows = (
        ("type-I error", found.type_one, found.without[0], "1", (0.0, top)),
        ("power", found.power, found.without[1], "1", (0.0, 1.0)),
        ("root mean squared error", np.sqrt(found.squared_error), math.sqrt(found.without[2]), unit, None),
    )
    axes, layers = [], []
    for k, (name, values, without, of, span) in enumerate(rows):
        axes += [
            Axis(name="x", label="drift of the controls from outside, SD", unit="1", panel=k),
            Axis(name="y", label=name, unit=of, panel=k, range=span),
        ]
        layers.append(Line(x=x, y=Array.of(values, unit=of), name="borrowing", panel=k, series=0, label="legend"))
        if math.isfinite(without):
            flat = Array.of(np.full(len(values), without), unit=of)
            layers.append(Line(x=x, y=flat, name="without", panel=k, series=1, role="reference", label="legend"))
    layers.append(Rule(axis="y", value=1 - found.level, panel=0, name="nominal", role="limit"))
    table = Table.of(
        ("drift, SD", "1", found.drifts),
        *((name, of, np.asarray(values)) for name, values, _, of, _ in rows),
        ("Monte-Carlo SE of type-I error", "1", found.errors[0]),
        note=f"{LABEL}; {found.how}; power at an effect of {found.effect:.4g}",
        is_keyed=True,
    )
    return Figure(
        kind="curve",
        title=title,
        question="What does borrowing cost when the controls from outside have drifted?",
        axes=tuple(axes),
        panels=tuple(Panel(title=row[0]) for row in rows),
        columns=3,
        layers=tuple(layers),
        status="simulated",
        banner=LABEL,
        lineage=lineage,
        alt=(
            f"Type-I error {found.type_one[0]:.3f} without drift and {found.type_one[-1]:.3f} at {found.drifts[-1]:g} SD; "
            f"power {found.power[0]:.3f} and {found.power[-1]:.3f}; {LABEL}."
        ),
        table=table,
    )
