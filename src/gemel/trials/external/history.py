"""What is known of historical controls when only their summaries are: one row per study."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gemel.core.errors import DataError, EvidenceError
from gemel.core.lineage import digest
from gemel.trials.data import Column, numbers

__all__ = ["History", "history_of"]


@dataclass(frozen=True)
class History:
    """Controls of earlier studies. Made by :func:`history_of`.

    Parameters
    ----------
    studies : names.
    n : (study,) patients.
    events : (study,) of them with the event, for a rate; or None.
    means : (study,) for a mean, unit of the outcome; or None.
    sigma : standard deviation of one patient's outcome; sqrt(p (1 - p)) of the pooled rate for a rate.
    """

    studies: tuple[str, ...]
    n: Float[np.ndarray, " study"]
    events: Float[np.ndarray, " study"] | None
    means: Float[np.ndarray, " study"] | None
    sigma: float

    def __post_init__(self) -> None:
        for array in (self.n, self.events, self.means):
            if array is not None:
                array.setflags(write=False)

    @property
    def is_rate(self) -> bool:
        """Whether the outcome is a rate; otherwise it is a mean."""
        return self.events is not None

    @property
    def pooled(self) -> float:
        """Rate or mean of all patients together."""
        return float((self.events if self.events is not None else self.n * self.values).sum() / self.n.sum())

    @property
    def centre(self) -> float:
        """Pooled mean; or pooled rate with half an event added on either side, so that it is never 0 or 1."""
        return self.pooled if self.events is None else float((self.events.sum() + 0.5) / (self.n.sum() + 1))

    @property
    def values(self) -> Float[np.ndarray, " study"]:
        """Rate or mean of each study."""
        return self.events / self.n if self.events is not None else np.asarray(self.means)

    @property
    def hash(self) -> str:
        """Hash of all of it; studies may come in any order."""
        rows = sorted(zip(self.studies, self.n.tolist(), self.values.tolist(), strict=True))
        return digest([rows, self.is_rate, self.sigma])


def history_of(columns: Mapping[str, Column], *, sigma: float | None = None) -> History:
    """Check study-level summaries and return them.

    Parameters
    ----------
    columns : ``n`` and ``r`` (events) for a rate; ``n``, ``y`` (mean) and ``sd`` for a mean; ``study`` for names.
    sigma : standard deviation of one patient's outcome; left out, pooled from ``sd``.

    Raises
    ------
    DataError
        For a missing column, a word, a number that cannot be, a study that comes twice, or a mean without a standard deviation.
    EvidenceError
        When there are no studies.
    """
    kind = next((k for k in ("r", "y") if k in columns), None)
    if kind is None or "n" not in columns or ("r" in columns and "y" in columns):
        raise DataError("the history is neither of rates nor of means", seen=sorted(columns), expected="columns n and r, or n, y and sd")

    def of(name: str) -> np.ndarray:
        found = numbers(columns[name])
        if found is None or np.isnan(found).any():
            raise DataError("a number of the history is missing or a word", seen=name, expected="a number for each study")
        return found

    n, values = of("n"), of(kind)
    if not len(n):
        raise EvidenceError("the history is empty", seen="0 studies", expected="one or more")
    names = tuple(str(v) for v in columns.get("study", [f"study {k + 1}" for k in range(len(n))]))
    if len(set(names)) < len(names):
        raise DataError("a study comes twice", seen=f"{len(names) - len(set(names))} names", expected="one row per study")
    if (n < 1).any() or (n != np.round(n)).any():
        raise DataError("a study has no patients", seen=f"n {n.min():g}", expected="whole numbers from 1")
    if kind == "r":
        if (values < 0).any() or (values > n).any() or (values != np.round(values)).any():
            raise DataError("events do not fit the patients", seen="r below 0, above n or not whole", expected="whole numbers from 0 to n")
        rate = float((values.sum() + 0.5) / (n.sum() + 1))  # that of centre
        return History(names, n, values, None, math.sqrt(rate * (1 - rate)))
    if sigma is None:
        if "sd" not in columns:
            raise DataError(
                "a history of means needs a standard deviation", seen="no column sd", expected="sd of one patient's outcome, or sigma"
            )
        sd = of("sd")
        if (sd <= 0).any() or n.sum() <= len(n):
            raise DataError(
                "a standard deviation is not positive", seen=f"{sd.min():g}", expected="of one patient's outcome, in two or more patients"
            )
        sigma = math.sqrt(float(((n - 1) * sd**2).sum() / (n - 1).sum()))
    if not (math.isfinite(sigma) and sigma > 0):
        raise DataError("sigma is not positive", seen=sigma, expected="the standard deviation of one patient's outcome")
    return History(names, n, None, values, float(sigma))
