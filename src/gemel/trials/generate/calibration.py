"""How far virtual patients may be believed: coverage, PIT, a classifier between real and drawn, training on drawn ones, energy score.

All on patients that the generator never saw. Figures about individuals (coverage, PIT, energy score) are of the forecast given the baseline and the first visits; figures
about the population (classifier, training) are of new patients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import special, stats

from gemel.core.errors import DataError, EvidenceError
from gemel.trials.generate.constraints import constrained
from gemel.trials.generate.panel import NOT_ANONYMOUS, Panel
from gemel.trials.learners import LEARNERS

__all__ = [
    "LEVELS",
    "Calibration",
    "area_under_curve",
    "assess_calibration",
    "classifier_area",
    "energy_scores",
    "gapped",
    "leave_one_study_out",
    "trained_ratio",
]

LEVELS = (0.5, 0.8, 0.95)


@dataclass(frozen=True)
class Calibration:
    """What was measured on patients held out.

    Parameters
    ----------
    n : patients.
    coverage : level -> share of outcomes inside the central band, over all visits asked about; ``by_visit`` the same at each.
    pit_p : Kolmogorov-Smirnov p-value of the PIT (randomised over ties) at the last visit; one value per patient.
    classifier : area under the ROC curve of a cross-fitted classifier between real and drawn, these with gaps like the real; 0.5 is no difference.
    ratio : R² on real patients of a prognosis trained on drawn ones, over that of one trained on as many real ones.
    energy : mean energy score of the whole future of a patient, standardised variables.
    """

    n: int
    coverage: dict[float, float]
    by_visit: dict[float, dict[float, float]]
    pit_p: float
    classifier: float
    ratio: float
    energy: float
    note: str = NOT_ANONYMOUS

    def to_dict(self) -> dict[str, Any]:
        """Return all as JSON."""
        return asdict(self)


def gapped(panel: Panel, like: Panel, *, rng: np.random.Generator) -> Panel:
    """Return drawn patients with the gaps of real ones who stayed as long: a generator draws values, not what a clinic forgot to write down."""
    values = panel.values.copy()
    for last in np.unique(panel.last):
        rows, pool = np.flatnonzero(panel.last == last), np.flatnonzero(like.last == last)
        if len(pool):
            values[rows] = np.where(np.isnan(like.values[rng.choice(pool, len(rows))]), np.nan, values[rows])
    return replace(panel, values=values)


def area_under_curve(score: Float[np.ndarray, " row"], label: Int[np.ndarray, " row"]) -> float:
    """Return the area under the ROC curve; ties count half."""
    rank = stats.rankdata(score)
    positive = label == 1
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if not n1 or not n0:
        raise DataError("a classifier needs both kinds", seen=(n0, n1), expected="at least one of each")
    return float((rank[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def _logistic(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """Ridge logistic regression by Newton's method; the intercept is free."""
    design = np.column_stack([np.ones(len(x)), x])
    ridge = np.diag(np.r_[0.0, np.full(x.shape[1], penalty)])
    beta = np.zeros(design.shape[1])
    for _ in range(50):
        mu = special.expit(np.clip(design @ beta, -30, 30))
        step = np.linalg.solve((design * (mu * (1 - mu) + 1e-9)[:, None]).T @ design + ridge, design.T @ (y - mu) - ridge @ beta)
        beta += step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-9))
        if np.abs(step).max() < 1e-8:
            break
    return beta


def _quadratic(x: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Standardised features, their squares, and products of neighbours and of each with the first: what means, variances and correlations differ by."""
    z = np.clip((x - centre) / scale, -6, 6)
    return np.column_stack([z, z**2, z[:, 1:] * z[:, :-1], z[:, 1:] * z[:, :1], np.abs(np.diff(z, axis=1))])


def classifier_area(real: Panel, drawn: Panel, *, seed: int = 0, folds: int = 5) -> float:
    """Return how well a cross-fitted classifier tells drawn patients from real ones (C2ST).

    A ridge logistic regression on features, squares and products, and k nearest neighbours; the better of the two areas counts.
    """
    x = np.concatenate([features_of(p, real, drawn) for p in (real, drawn)])
    y = np.r_[np.zeros(real.n, int), np.ones(drawn.n, int)]
    fold = np.random.default_rng(seed).permutation(len(y)) % folds
    scale = x.std(axis=0)
    keep = scale > 0
    x, scale, centre = x[:, keep], scale[keep], x.mean(axis=0)[keep]
    made, z = _quadratic(x, centre, scale), (x - centre) / scale
    linear, near = np.empty(len(y)), np.empty(len(y))
    for k in range(folds):
        train, test = fold != k, fold == k
        mean, sd = made[train].mean(axis=0), made[train].std(axis=0) + 1e-9
        beta = _logistic((made[train] - mean) / sd, y[train], penalty=10.0)
        linear[test] = np.column_stack([np.ones(test.sum()), (made[test] - mean) / sd]) @ beta
        near[test] = _neighbours(z[train], y[train], z[test])
    return max(area_under_curve(linear, y), area_under_curve(near, y))


def features_of(panel: Panel, *others: Panel) -> np.ndarray:
    """Return features with indicators of every column that any of the panels misses."""
    _, values = panel.columns()
    somewhere = np.any([np.isnan(p.columns()[1]).any(axis=0) for p in others], axis=0)
    gaps = np.isnan(values)
    return np.column_stack([np.where(gaps, 0.0, values), gaps[:, somewhere].astype(float), panel.last])


def _neighbours(train: np.ndarray, label: np.ndarray, test: np.ndarray, k: int = 25) -> np.ndarray:
    out = np.empty(len(test))
    for first in range(0, len(test), 500):
        part = test[first : first + 500]
        far = (part**2).sum(axis=1)[:, None] - 2 * part @ train.T + (train**2).sum(axis=1)
        out[first : first + 500] = label[np.argpartition(far, k, axis=1)[:, :k]].mean(axis=1)
    return out


def trained_ratio(real: Panel, drawn: Panel, test: Panel, *, outcome: str) -> float:
    """Return R² on a test part of a prognosis trained on drawn patients over that of one trained on real ones (TSTR / TRTR).

    The prognosis is of the outcome at the last visit from all that is known at the first, by ridge splines; patients without the outcome are left out.
    """

    def rows(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
        x, y = panel.values[:, 0, :], panel.values[:, -1, panel.index(outcome)]
        keep = ~np.isnan(y)
        return np.where(np.isnan(x), centre, x)[keep], y[keep]

    centre = np.nanmean(real.values[:, 0, :], axis=0)
    x, y = rows(test)
    found = []
    for panel in (drawn, real):
        a, b = rows(panel)
        if len(b) < 20:
            raise EvidenceError("too few patients have the outcome", seen=len(b), expected="20 or more")
        found.append(1 - float(np.square(y - LEARNERS["spline"].calibrate(a, b)(x)).sum() / np.square(y - y.mean()).sum()))
    if found[1] <= 0:
        raise EvidenceError(
            "a prognosis trained on real patients explains nothing", seen=f"R² {found[1]:.3f}", expected="more than 0", fix="give no ratio"
        )
    return found[0] / found[1]


def energy_scores(
    draws: Float[np.ndarray, "draw patient dimension"], truth: Float[np.ndarray, "patient dimension"]
) -> Float[np.ndarray, " patient"]:
    """Return the energy score of each patient over the dimensions that are known: ``mean |X - y| - mean |X - X'| / 2`` (Gneiting and Raftery 2007, eq. 22)."""
    known = ~np.isnan(truth)
    there = np.where(known, draws - np.where(known, truth, 0.0), 0.0)
    first = np.sqrt(np.square(there).sum(axis=2)).mean(axis=0)
    half = len(draws) // 2
    between = np.sqrt(np.square(there[:half] - there[half : 2 * half]).sum(axis=2)).mean(axis=0)
    return first - between / 2


def leave_one_study_out(panel: Panel) -> Iterator[tuple[str, Panel, Panel]]:
    """Yield each study's name, the patients of all others, and its own: what a generator is worth in a trial that it has not seen.

    Raises
    ------
    EvidenceError
        When there is one study only.
    """
    if len(panel.studies) < 2:
        raise EvidenceError("one study cannot be left out", seen=panel.studies, expected="two studies or more", fix="name the study column")
    for i, name in enumerate(panel.studies):
        yield name, panel.take(panel.study != i), panel.take(panel.study == i)


def assess_calibration(
    generator: Any, held_out: Panel, train: Panel, *, outcome: str, visits: int = 1, draws: int = 400, rng: np.random.Generator
) -> Calibration:
    """Measure a generator on patients it never saw.

    Parameters
    ----------
    generator : calibrated on ``train``.
    held_out : real control patients.
    outcome : the variable that coverage, PIT and training are about.
    visits : how many visits are known when the future is drawn.
    draws : futures per patient.

    Raises
    ------
    EvidenceError
        When fewer than 20 of them have the outcome at the last visit.
    """
    j, last = held_out.index(outcome), len(held_out.times) - 1
    futures = [constrained_values(generator, p) for p in generator.draw_given(held_out, visits, draws, rng=rng)]
    drawn = np.stack([f[:, visits:, j] for f in futures])
    truth = held_out.values[:, visits:, j]
    known = ~np.isnan(truth)
    if known[:, -1].sum() < 20:
        raise EvidenceError("too few patients have the outcome", seen=int(known[:, -1].sum()), expected="20 or more at the last visit")
    below = (drawn < truth).mean(axis=0) + rng.random(truth.shape) * (drawn == truth).mean(axis=0)
    inside = {level: np.abs(below - 0.5) <= level / 2 for level in LEVELS}
    by_visit = {
        level: {
            float(held_out.times[visits + t]): float(inside[level][known[:, t], t].mean())
            for t in range(truth.shape[1])
            if known[:, t].any()
        }
        for level in LEVELS
    }
    later = [i for i, v in enumerate(held_out.variables) if not v.is_baseline]
    scale = np.nanstd(train.values[:, :, later].reshape(-1, len(later)), axis=0)
    flat = (held_out.values[:, visits:, later] / scale).reshape(held_out.n, -1)
    made = np.stack([(f[:, visits:, later] / scale).reshape(held_out.n, -1) for f in futures])
    new = gapped(constrained(generator.draw(held_out.n, rng=rng)), held_out, rng=rng)
    many = constrained(generator.draw(train.n, rng=rng))
    return Calibration(
        n=held_out.n,
        coverage={level: float(inside[level][known].mean()) for level in LEVELS},
        by_visit=by_visit,
        pit_p=float(stats.kstest(below[known[:, last - visits], last - visits], "uniform").pvalue),
        classifier=classifier_area(held_out, new),
        ratio=trained_ratio(train, many, held_out, outcome=outcome),
        energy=float(np.mean(energy_scores(made, flat))),
    )


def constrained_values(generator: Any, panel: Panel) -> np.ndarray:
    """Return a future on its instruments, also after a drawn leaving: what would have been measured."""
    return np.stack([v.decode(v.encode(panel.values[:, :, j])) for j, v in enumerate(generator.variables)], axis=2)
