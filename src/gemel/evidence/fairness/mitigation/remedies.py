"""A remedy by its name, on the rows of an audit: made from half of the people, shown on the other half."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from gemel.core.advice import ShownOn
from gemel.core.errors import EvidenceError
from gemel.evidence.fairness.report import Settings
from gemel.evidence.fairness.scored import MISSING, Scored, check_leaks, labels

from .adversarial import Goal, train_adversarial
from .base import Remedy, design, halves, remedy
from .conformal import conformal_groups
from .multicalibration import multicalibrate
from .recalibration import recalibrate_groups
from .reweighing import logistic, reweighing

__all__ = ["REMEDIES", "mitigate"]

Made = tuple[Scored, Scored, list[str]]
TRAINED = "Before: the same kind of model, trained on the same inputs and people without the remedy; not the predictions of the file."
UNKNOWN = "{} rows of those it was made from have no label of {} and were left out."


def _known(scored: Scored) -> np.ndarray:
    if scored.outcome is None or scored.probability is None:
        raise EvidenceError("this remedy needs outcomes and probabilities", fix="conformal is the remedy for intervals")
    if scored.has_certain:
        raise EvidenceError("this remedy needs probabilities between 0 and 1", seen="exactly 0 or 1 in some row")
    return scored.given & ~np.isnan(scored.outcome)


def _recalibration(fit: Scored, show: Scored, groups: dict[str, np.ndarray], shown: dict[str, np.ndarray], on: str, seed: int) -> Made:  # noqa: ARG001  one signature
    rows = _known(fit)
    _known(show)
    found = recalibrate_groups(fit.outcome[rows], fit.probability[rows], groups[on][rows])  # type: ignore[index]
    after = np.where(show.given, found(np.where(show.given, show.probability, 0.5), shown[on]), np.nan)  # type: ignore[arg-type]
    return (
        show,
        replace(show, probability=after),
        [f"Left as they are, with too few outcomes: {', '.join(found.left)}."] if found.left else [],
    )


def _multicalibration(fit: Scored, show: Scored, groups: dict[str, np.ndarray], shown: dict[str, np.ndarray], on: str, seed: int) -> Made:  # noqa: ARG001  one signature
    rows = _known(fit)
    _known(show)
    found = multicalibrate(fit.outcome[rows], fit.probability[rows], {k: v[rows] for k, v in groups.items()})  # type: ignore[index]
    after = np.where(show.given, found(np.where(show.given, show.probability, 0.5), shown), np.nan)  # type: ignore[arg-type]
    ended = "" if found.is_done else "; it was stopped before nothing was left to correct"
    return show, replace(show, probability=after), [f"{len(found.updates)} updates over {', '.join(groups)}{ended}."]


def _conformal(fit: Scored, show: Scored, groups: dict[str, np.ndarray], shown: dict[str, np.ndarray], on: str, seed: int) -> Made:  # noqa: ARG001  one signature
    if fit.value is None or fit.lower is None or fit.upper is None or show.lower is None or show.upper is None:
        raise EvidenceError(
            "group-wise conformal intervals need a value and an interval", fix="name them with --value, --lower and --upper"
        )
    rows = fit.given & np.isfinite(fit.value)
    found = conformal_groups(fit.value[rows], fit.lower[rows], fit.upper[rows], groups[on][rows], level=fit.level)
    lower, upper = found(show.lower, show.upper, shown[on])
    notes = ["Widened by " + ", ".join(f"{k}: {v:.4g}" for k, v in found.widening.items()) + f"; pooled {found.pooled:.4g}."]
    notes += [f"Too small to hold the level alone, widened as all: {', '.join(found.left)}."] if found.left else []
    return show, replace(show, lower=lower, upper=upper), notes


def _learnt(
    fit: Scored, show: Scored, groups: dict[str, np.ndarray], on: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Return inputs of both halves, outcomes of the first, the rows of it that are learnt from, and their labels."""
    if fit.outcome is None:
        raise EvidenceError("this remedy trains a model and needs outcomes", fix="name the column with --outcome")
    rows = np.flatnonzero(~np.isnan(fit.outcome) & (groups[on] != MISSING))
    lost = len(fit.outcome) - len(rows) - int(np.isnan(fit.outcome).sum())
    both = {name: np.concatenate([column, show.inputs[name]]) for name, column in fit.inputs.items()}
    x = design(both)[0]
    return x, fit.outcome, rows, groups[on][rows], [TRAINED, *([UNKNOWN.format(lost, on)] if lost else [])]


def _trained(show: Scored, before: np.ndarray, after: np.ndarray, notes: list[str]) -> Made:
    plain = replace(show, abstained=None, alarmed=None, days=None, value=None, lower=None, upper=None, quantiles=None, keep_certain=False)
    return replace(plain, probability=before), replace(plain, probability=after), notes


def _reweighing(fit: Scored, show: Scored, groups: dict[str, np.ndarray], shown: dict[str, np.ndarray], on: str, seed: int) -> Made:  # noqa: ARG001  one signature
    x, y, rows, group, notes = _learnt(fit, show, groups, on)
    before, after = logistic(x, y, rows), logistic(x, y, rows, weights=reweighing(y[rows], group))
    return _trained(show, before[fit.rows :], after[fit.rows :], notes)


def _adversarial(goal: Goal) -> Callable[..., Made]:
    def run(fit: Scored, show: Scored, groups: dict[str, np.ndarray], shown: dict[str, np.ndarray], on: str, seed: int) -> Made:  # noqa: ARG001  one signature
        x, y, rows, group, notes = _learnt(fit, show, groups, on)
        first, second = (
            train_adversarial(x[rows], y[rows], group, goal=goal, alpha=alpha, seed=seed)(x[fit.rows :]) for alpha in (0.0, 1.0)
        )
        return _trained(show, first, second, notes)

    return run


REMEDIES: dict[str, tuple[str, Callable[..., Made]]] = {
    "recalibration": ("intercept and slope of each group of the first attribute", _recalibration),
    "multicalibration": ("calibration within every group at every level of the prediction", _multicalibration),
    "reweighing": ("a logistic regression of the inputs, trained as if group and outcome were independent", _reweighing),
    "adversarial": (
        "a network of the inputs, trained against one that guesses the group from prediction and outcome",
        _adversarial("equalised odds"),
    ),
    "adversarial-parity": (
        "a network of the inputs, trained against one that guesses the group from the prediction",
        _adversarial("demographic parity"),
    ),
    "conformal": ("one widening of the interval per group of the first attribute", _conformal),
}
"""Name -> (what it is, how it is made)."""


def mitigate(
    name: str, scored: Scored, groups: Mapping[str, Sequence[object] | None], *, settings: Settings | None = None, shown_on: ShownOn | None = None,
    on: str | None = None, seed: int = 0,
) -> Remedy:  # fmt: skip
    """Make a remedy from half of the people and audit the other half before and after.

    Parameters
    ----------
    name : in :data:`REMEDIES`; those that train a model need ``scored.inputs``.
    scored, groups : as for :func:`gemel.evidence.fairness.audit.audit`.
    on : the attribute that is remedied; left out, the first with labels. Multicalibration takes all.
    settings : of both audits.
    seed : of the halves and of training.

    Raises
    ------
    EvidenceError
        When there is no such remedy, no labels, or not what the remedy needs.
    """
    if name not in REMEDIES:
        raise EvidenceError("no such remedy", seen=name, expected=", ".join(REMEDIES))
    check_leaks(scored)
    text = {k: labels(v) for k, v in groups.items() if v is not None}
    if not text:
        raise EvidenceError("a remedy needs group labels", seen="none was given")
    on = next(iter(text)) if on is None else on
    if on not in text:
        raise EvidenceError("the attribute to remedy has no labels", seen=on, expected=", ".join(text))
    first, second = halves(scored, seed=seed)
    what, make = REMEDIES[name]
    fit_groups, show_groups = ({k: v[rows] for k, v in text.items()} for rows in (first, second))
    before, after, notes = make(scored.where(first), scored.where(second), fit_groups, show_groups, on, seed)
    notes = [f"Made from {len(first)} rows, shown on {len(second)} rows of other people.", *notes]
    return remedy(name, what, before, after, show_groups, settings=settings, shown_on=shown_on, notes=notes)
