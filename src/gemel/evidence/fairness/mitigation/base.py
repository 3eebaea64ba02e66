"""What a remedy did to every group: the audit before, the audit after, and what it cost the others, on people it was not made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gemel.core.advice import ShownOn
from gemel.core.errors import EvidenceError
from gemel.evidence.diagnostic import Estimate
from gemel.evidence.fairness.audit import audit
from gemel.evidence.fairness.report import FairnessReport, Settings
from gemel.evidence.fairness.scored import MISSING, Scored, labels
from gemel.evidence.fairness.subgroups import METRICS, badness

__all__ = ["Change", "Remedy", "design", "halves", "remedy"]


@dataclass(frozen=True)
class Change:
    """After less before of one measure in one group; the interval is of the same resamples of people. ``is_worse`` when it says so surely."""

    group: str
    metric: str
    before: float
    after: float
    change: Estimate
    is_worse: bool
    is_better: bool


@dataclass(frozen=True)
class Remedy:
    """A remedy, shown on people that it was not made from."""

    name: str
    what: str
    before: FairnessReport
    after: FairnessReport
    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()

    @property
    def costs(self) -> tuple[Change, ...]:
        """What got worse, for whom: the price of the remedy, as far as these people show it."""
        return tuple(c for c in self.changes if c.is_worse)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name, "what": self.what, "before": self.before.to_dict(), "after": self.after.to_dict(),
            "changes": [asdict(c) for c in self.changes], "notes": list(self.notes),
        }  # fmt: skip


def remedy(
    name: str, what: str, before: Scored, after: Scored, groups: Mapping[str, Sequence[object] | None], *, settings: Settings | None = None,
    shown_on: ShownOn | None = None, notes: Sequence[str] = (),
) -> Remedy:  # fmt: skip
    """Audit the same rows before and after, with the same resamples, and list every change in every shown group."""
    if before.rows != after.rows or (before.people != after.people).any():
        raise EvidenceError("before and after must be the same rows", seen=(before.rows, after.rows))
    first, second = (audit(rows, groups, settings=settings, shown_on=shown_on) for rows in (before, after))
    level = first.settings.level
    changes = []
    for a, b in zip((first.overall, *first.groups), (second.overall, *second.groups), strict=True):
        for j, metric in enumerate(METRICS):
            if metric not in a.metrics or metric not in b.metrics:
                continue
            one, two = a.metrics[metric].value, b.metrics[metric].value
            drawn = [r.resampled[a.key][:, j] for r in (first, second)]
            shift = drawn[1] - drawn[0]
            worse = badness(metric, drawn[1], after.level) - badness(metric, drawn[0], before.level)
            real = np.isfinite(shift)
            low, high, bad_low, bad_high = np.nan, np.nan, np.nan, np.nan
            if real.sum() >= max(2, 0.9 * len(shift)):
                low, high = np.quantile(shift[real], [(1 - level) / 2, (1 + level) / 2])
                bad_low, bad_high = np.quantile(worse[real], [(1 - level) / 2, (1 + level) / 2])
            judged = METRICS[metric].better != ""
            estimate = Estimate(two - one, float(low), float(high), level)
            changes.append(Change(a.label, metric, one, two, estimate, bool(judged and bad_low > 0), bool(judged and bad_high < 0)))
    return Remedy(name, what, first, second, tuple(changes), tuple(notes))


def halves(scored: Scored, *, seed: int, share: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that a remedy is made from and the rows that it is shown on; no person is in both."""
    person = scored.people
    order = np.random.default_rng(seed).permutation(int(person.max()) + 1)
    mine = order[person] < share * len(order)
    if not mine.any() or mine.all():
        raise EvidenceError("too few people to make a remedy from some and show it on others", seen=len(order))
    return np.flatnonzero(mine), np.flatnonzero(~mine)


def design(inputs: Mapping[str, np.ndarray], *, most: int = 30) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return (row, column) standardised inputs: numbers as they are, words one column each, what is missing at the mean with a column that says so.

    Raises
    ------
    EvidenceError
        When there is no input, or a column of words has more than ``most`` values.
    """
    columns, names = [], []
    for name, given in inputs.items():
        text = labels(given)
        missing = text == MISSING
        try:
            number = np.where(missing, "nan", text).astype(float)
        except ValueError:
            values = np.unique(text)
            if len(values) > most:
                raise EvidenceError(
                    f"input {name!r} has too many words to be learnt from", seen=len(values), expected=f"at most {most}"
                ) from None
            columns += [(text == v).astype(float) for v in values[1:]]
            names += [f"{name}={v}" for v in values[1:]]
            continue
        missing = ~np.isfinite(number)
        columns.append(np.where(missing, number[~missing].mean() if (~missing).any() else 0.0, number))
        names.append(name)
        if missing.any():
            columns.append(missing.astype(float))
            names.append(f"{name} missing")
    kept = [(c, n) for c, n in zip(columns, names, strict=True) if np.ptp(c) > 0]
    if not kept:
        raise EvidenceError("a model needs inputs that vary", seen=list(inputs), fix="name them with --inputs")
    matrix = np.column_stack([c for c, _ in kept])
    return (matrix - matrix.mean(axis=0)) / matrix.std(axis=0), tuple(n for _, n in kept)
