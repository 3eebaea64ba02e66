"""Predictions of any model beside what happened: the rows of an audit, refused where they cannot be what they say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float

from gemel.core.errors import EvidenceError, TimeError

__all__ = ["MISSING", "USUAL", "Scored", "banded", "check_leaks", "labels", "not_collected"]

MISSING = "(missing)"
"""The name of the group of those whose label is not there."""
USUAL: dict[str, tuple[str, ...]] = {
    "age": ("age", "age_band", "age_group", "agegroup"),
    "sex": ("sex", "gender", "female", "male"),
    "ethnicity": ("ethnicity", "race", "ethnic_group"),
    "language": ("language", "interpreter"),
    "deprivation": ("deprivation", "imd", "income", "education", "ses"),
    "insurance": ("insurance", "payer"),
    "disability": ("disability",),
    "pregnancy": ("pregnancy", "pregnant"),
    "site": ("site", "hospital", "centre", "center", "clinic"),
    "device": ("device", "scanner", "manufacturer", "sensor"),
    "skin tone": ("skin_tone", "skin", "fitzpatrick"),
}
"""Attributes by which models of medicine have been unequal, with the names under which columns hold them. The list is ours and not complete."""
_EMPTY = {"", "na", "n/a", "nan", "null", "none", "unknown", "missing"}
_FEWEST_FOR_LEAK = 10


@dataclass(frozen=True)
class Scored:
    """Rows of predictions and outcomes. Made, it is checked; nothing is clipped.

    Parameters
    ----------
    outcome : (row,) 0, 1 or NaN where it is not known (counted, and left out of what needs it).
    probability : (row,) of the outcome. Exactly 0 or 1 is refused unless ``keep_certain``: then there is no calibration slope, and it is said.
    value : (row,) a measured outcome, for intervals and quantiles.
    lower, upper : (row,) of the central interval of ``level``, in the unit of ``value``.
    quantiles : (row, level) at ``levels``.
    patient : (row,) who; left out, each row is one person.
    predicted, occurred : (row,) ``datetime64[ns]`` or numbers on one clock: when the prediction was made and when the outcome became true.
    abstained : (row,) no prediction was given; its numbers are not read.
    alarmed : (row,) an alarm rang; ``days`` : (row,) patient-days each row stands for.
    inputs : what the model was given, by name, for the search for leaks.

    Raises
    ------
    EvidenceError
        With the row: a probability outside [0, 1], another outcome than 0 and 1, an interval upside down, columns that differ in length.
    TimeError
        When a prediction was made after its outcome.
    """

    outcome: Float[np.ndarray, " row"] | None = None
    probability: Float[np.ndarray, " row"] | None = None
    value: Float[np.ndarray, " row"] | None = None
    lower: Float[np.ndarray, " row"] | None = None
    upper: Float[np.ndarray, " row"] | None = None
    level: float = 0.9
    quantiles: Float[np.ndarray, "row level"] | None = None
    levels: tuple[float, ...] = ()
    patient: np.ndarray | None = None
    predicted: np.ndarray | None = None
    occurred: np.ndarray | None = None
    abstained: Bool[np.ndarray, " row"] | None = None
    alarmed: Bool[np.ndarray, " row"] | None = None
    days: Float[np.ndarray, " row"] | None = None
    inputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    keep_certain: bool = False

    def __post_init__(self) -> None:
        for name in ("outcome", "probability", "value", "lower", "upper", "quantiles", "days"):
            self._hold(name, float)
        for name in ("abstained", "alarmed"):
            self._hold(name, bool)
        for name in ("patient", "predicted", "occurred"):
            self._hold(name, None)
        object.__setattr__(self, "inputs", {k: np.asarray(v) for k, v in self.inputs.items()})
        present = {k: len(v) for k, v in (*vars(self).items(), *self.inputs.items()) if isinstance(v, np.ndarray)}
        if not present or len(set(present.values())) != 1 or 0 in present.values():
            raise EvidenceError(
                "the columns of an audit must have one length", seen=present or "no column", expected="one row per prediction"
            )
        if not ((self.outcome is not None and self.probability is not None) or (self.value is not None and self._has_band)):
            raise EvidenceError(
                "nothing to audit",
                seen=", ".join(sorted(present)),
                expected="outcome and probability, or value and an interval or quantiles",
            )
        self._check_numbers()
        self._check_times()

    def _hold(self, name: str, kind: type | None) -> None:
        given = getattr(self, name)
        if given is not None:
            object.__setattr__(self, name, np.asarray(given) if kind is None else np.asarray(given, kind))

    @property
    def _has_band(self) -> bool:
        return (self.lower is not None and self.upper is not None) or self.quantiles is not None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(v for v in vars(self).values() if isinstance(v, np.ndarray)))

    @property
    def given(self) -> np.ndarray:
        """(row,) whether a prediction was given."""
        return np.ones(self.rows, bool) if self.abstained is None else ~self.abstained

    @property
    def people(self) -> np.ndarray:
        """(row,) number of the person, from 0."""
        return np.arange(self.rows) if self.patient is None else np.unique(self.patient, return_inverse=True)[1].reshape(-1)

    @property
    def has_certain(self) -> bool:
        """Whether some probability is exactly 0 or 1."""
        p = self.probability
        return p is not None and bool(((p[self.given] == 0) | (p[self.given] == 1)).any())

    def _refuse(self, what: str, bad: np.ndarray, of: np.ndarray, **more: str) -> None:
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            count = int(bad.sum())
            also = f", and {count - 1} more {'row' if count == 2 else 'rows'}" if count > 1 else ""
            raise EvidenceError(what, seen=f"{of[row]} in row {row + 1}{also}", **more)

    def _check_numbers(self) -> None:
        given = self.given
        if self.outcome is not None:
            y = self.outcome
            self._refuse("an outcome is neither 0 nor 1", ~(np.isnan(y) | (y == 0) | (y == 1)), y, fix="a measured outcome goes into value")
        if self.probability is not None:
            p = self.probability
            self._refuse(
                "a prediction is outside [0, 1]", given & ~((p >= 0) & (p <= 1)), p, expected="a probability", fix="nothing is clipped"
            )
            if not self.keep_certain:
                self._refuse(
                    "a prediction is exactly 0 or 1", given & ((p == 0) | (p == 1)), p, expected="a probability between them",
                    fix="nothing is clipped; keep_certain=True (--keep-certain) leaves out the calibration slope, which such a prediction does not have",
                )  # fmt: skip
        if self.lower is not None and self.upper is not None:
            self._refuse("an interval is upside down or not a number", given & ~(self.lower <= self.upper), self.lower)
        if self.quantiles is not None:
            if self.quantiles.shape != (self.rows, len(self.levels)) or list(self.levels) != sorted(set(self.levels)):
                raise EvidenceError(
                    "quantiles and their levels differ", seen=(self.quantiles.shape, self.levels), expected="(row, level), rising"
                )
            self._refuse("quantiles fall", given & ~(np.diff(self.quantiles, axis=1) >= 0).all(axis=1), self.quantiles[:, 0])
        if not 0 < self.level < 1:
            raise EvidenceError("the level of an interval lies between 0 and 1", seen=self.level)
        if self.days is not None:
            self._refuse("patient-days are negative or missing", ~(self.days >= 0), self.days)

    def _check_times(self) -> None:
        if self.predicted is None or self.occurred is None:
            return
        late = self.given & (self.predicted > self.occurred)
        if late.any():
            row = int(np.flatnonzero(late)[0])
            raise TimeError(
                "time runs backwards: a prediction was made after its outcome",
                seen=f"row {row + 1}: predicted {self.predicted[row]}, outcome {self.occurred[row]}; {int(late.sum())} of {self.rows} rows",
                expected="the time at which the prediction was issued, before its outcome",
                fix="leave these rows out, or correct the columns",
            )

    def where(self, rows: np.ndarray) -> Scored:
        """Return some of the rows."""
        change = {k: v[rows] for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        return replace(self, **change, inputs={k: v[rows] for k, v in self.inputs.items()})


def labels(values: Iterable[object]) -> np.ndarray:
    """Return group labels as text; what stands for "not recorded" becomes ``(missing)``.

    Examples
    --------
    >>> [str(v) for v in labels(["f", "", None, "NA", 3])]
    ['f', '(missing)', '(missing)', '(missing)', '3']
    """
    text = ["" if v is None else str(v).strip() for v in values]
    return np.array([MISSING if t.lower() in _EMPTY else t for t in text], dtype=str)


def banded(values: Sequence[object], cuts: Sequence[float]) -> np.ndarray:
    """Return bands of a number, such as age, as labels.

    Raises
    ------
    EvidenceError
        When a label is neither a number nor missing.

    Examples
    --------
    >>> [str(v) for v in banded([17, 40, "", 90], (18, 65))]
    ['under 18', '18 to under 65', '(missing)', '65 and over']
    """
    edges = sorted(cuts)
    names = [f"under {edges[0]:g}", *(f"{a:g} to under {b:g}" for a, b in pairwise(edges)), f"{edges[-1]:g} and over"]
    out = []
    for row, value in enumerate(labels(values)):
        try:
            out.append(MISSING if value == MISSING else names[int(np.searchsorted(edges, float(value), side="right"))])
        except ValueError:
            raise EvidenceError("a value cannot be banded", seen=f"{str(value)!r} in row {row + 1}", expected="a number") from None
    return np.array(out, dtype=str)


def check_leaks(scored: Scored) -> None:
    """Refuse inputs that hold the outcome: equal to it, its mirror, or dividing the rows into its two kinds without an error.

    Raises
    ------
    EvidenceError
        Naming every such input.
    """
    if scored.outcome is None:
        return
    known = ~np.isnan(scored.outcome)
    y = scored.outcome[known]
    if min(y.sum(), len(y) - y.sum()) < _FEWEST_FOR_LEAK:
        return
    found = {name: how for name, column in scored.inputs.items() if (how := _leak(np.asarray(column)[known], y))}
    if found:
        raise EvidenceError(
            "the outcome leaks into the inputs", seen="; ".join(f"{name} {how}" for name, how in found.items()), expected="what was known before the outcome",
            fix="train again without these columns: predictions made with them say nothing",
        )  # fmt: skip


def _leak(column: np.ndarray, y: np.ndarray) -> str:
    try:
        x = column.astype(float)
    except ValueError:
        names, place, count = np.unique(labels(column), return_inverse=True, return_counts=True)
        share = np.bincount(place.reshape(-1), y) / count
        return "divides the outcomes without an error" if len(names) <= len(y) / 5 and np.isin(share, (0.0, 1.0)).all() else ""
    keep = np.isfinite(x)
    x, y = x[keep], y[keep]
    if min(y.sum(), len(y) - y.sum()) < _FEWEST_FOR_LEAK:
        return ""
    if (x == y).all():
        return "equals the outcome"
    on, off = x[y == 1], x[y == 0]
    return "divides the outcomes without an error" if on.min() > off.max() or on.max() < off.min() else ""


def not_collected(present: Iterable[str], elsewhere: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the usual attributes that no column holds.

    Parameters
    ----------
    present : names of the columns by which groups are told apart.
    elsewhere : attributes, or names of their columns, that are held without telling groups apart.

    Examples
    --------
    >>> "sex" in not_collected(["Gender", "site"]), "language" in not_collected(["Gender", "site"])
    (False, True)
    """
    known = {name.strip().lower().replace(" ", "_").replace("-", "_") for name in (*present, *elsewhere)} | {
        name.lower() for name in elsewhere
    }
    return tuple(name for name, others in USUAL.items() if name not in known and not known & set(others))
