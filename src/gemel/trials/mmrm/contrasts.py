"""Linear functions of the mean coefficients: single contrasts, joint F tests, least-squares means and their differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy import special

from gemel.core.errors import ModelError
from gemel.trials.mmrm import kenward_roger, satterthwaite
from gemel.trials.mmrm.degrees import DegreesOfFreedom, Precision
from gemel.trials.mmrm.formula import Design

__all__ = ["Basis", "Contrast", "JointTest", "Margins", "contrast", "joint_test", "mean_rows", "term_rows"]

Margins = Literal["equal", "observed"]


@dataclass(frozen=True)
class Contrast:
    """One linear function of the coefficients, in the unit of the response; ``interval`` is two-sided, ``p_value`` against ``null``."""

    label: str
    estimate: float
    standard_error: float
    df: float
    interval: tuple[float, float]
    statistic: float
    p_value: float
    null: float = 0.0


@dataclass(frozen=True)
class JointTest:
    """An F test of several contrasts at once; ``scale`` is Kenward and Roger's, already in ``f``."""

    label: str
    f: float
    numerator_df: int
    denominator_df: float
    p_value: float
    scale: float = 1.0


@dataclass(frozen=True)
class Basis:
    """What every contrast is made from.

    Parameters
    ----------
    estimate, covariance : coefficients, and the covariance that standard errors come from.
    precision : what degrees of freedom come from; ``method`` how. ``between`` : subjects less coefficients.
    """

    estimate: Float[np.ndarray, " column"]
    covariance: Float[np.ndarray, "column column"]
    precision: Precision
    method: DegreesOfFreedom
    between: int


def contrast(basis: Basis, row: Float[np.ndarray, " column"], label: str, *, level: float, null: float = 0.0) -> Contrast:
    """Estimate ``row @ coefficients`` with its interval and test."""
    value = float(row @ basis.estimate)
    error = float(np.sqrt(row @ basis.covariance @ row))
    df = float(basis.between) if basis.method == "between-subjects" else satterthwaite.single(basis.precision, row)
    statistic = (value - null) / error if error > 0 else np.nan
    bound = float(special.stdtrit(df, (1 + level) / 2) if np.isfinite(df) else special.ndtri((1 + level) / 2))
    tail = special.stdtr(df, -abs(statistic)) if np.isfinite(df) else special.ndtr(-abs(statistic))
    return Contrast(label, value, error, df, (value - bound * error, value + bound * error), float(statistic), float(2 * tail), null)


def joint_test(basis: Basis, rows: Float[np.ndarray, "row column"], label: str) -> JointTest:
    """Test that all rows times the coefficients are zero.

    Raises
    ------
    ModelError : the rows are not independent.
    """
    q = len(rows)
    if np.linalg.matrix_rank(rows) < q:
        raise ModelError(
            "rows of a joint test are not independent",
            seen=f"{q} rows of rank {np.linalg.matrix_rank(rows)}",
            fix="leave the redundant rows out",
        )
    value = rows @ basis.estimate
    f = float(value @ np.linalg.solve(rows @ basis.covariance @ rows.T, value)) / q
    scale = 1.0
    if basis.method == "between-subjects":
        df = float(basis.between)
    elif basis.method == "satterthwaite":
        df = satterthwaite.several(basis.precision, rows)
    else:
        df, scale = kenward_roger.several(basis.precision, rows)
    f *= scale
    p = special.fdtrc(q, df, f) if np.isfinite(df) else special.chdtrc(q, q * f)
    return JointTest(label, f, q, df, float(p), scale)


def term_rows(design: Design, coded: Mapping[str, np.ndarray], term: str) -> Float[np.ndarray, "row column"]:
    """Return the type 3 hypothesis of a term: its differences between levels, the other factors averaged with equal weights.

    That is SAS type 3 without empty cells. The rows are differences to the first level: Fai and Cornelius' degrees of freedom depend on the choice.

    Raises
    ------
    ModelError : the term is not in the formula.
    """
    turned = design.differences(term)
    columns = design.term_columns
    n = len(next(iter(coded.values())))
    turn, *_ = np.linalg.lstsq(design.matrix(coded, n, "sum"), design.matrix(coded, n), rcond=None)
    return turned @ turn[list(columns[term])]


def mean_rows(
    design: Design, coded: Mapping[str, np.ndarray], of: Sequence[str], margins: Margins, at: Mapping[str, Any]
) -> dict[tuple[Any, ...], Float[np.ndarray, " column"]]:
    """Return a row per combination of the levels of some factors: the model's mean there, over the other variables.

    Covariates stand at their means over the responses used, or where ``at`` puts them. Other factors are averaged with equal weights over all
    combinations (``equal``), or as often as they occur together among the responses used (``observed``).

    Raises
    ------
    ModelError : a name is not a factor of the formula, or ``at`` names a variable or level that is not there.
    """
    for name in of:
        if name not in design.levels:
            raise ModelError(
                "means are asked of a name that is no factor of the formula", seen=repr(name), expected=f"one of {list(design.levels)}"
            )
    fixed: dict[str, np.ndarray] = {}
    for name, value in at.items():
        if name in design.means:
            fixed[name] = np.array([float(value)])
        elif name in design.levels and value in design.levels[name] and name not in of:
            fixed[name] = np.eye(len(design.levels[name]))[[design.levels[name].index(value)]]
        else:
            raise ModelError("a mean is asked at a variable or level that is not there", seen=f"{name} = {value!r}")
    for name, mean in design.means.items():
        fixed.setdefault(name, np.array([mean]))
    others = [name for name in design.levels if name not in of and name not in fixed]
    if margins == "observed" and others:
        cells, count = np.unique(np.stack([coded[name] for name in others], axis=1), axis=0, return_counts=True)
        share = count / count.sum()
        spread = {name: np.eye(len(design.levels[name]))[cells[:, i]] for i, name in enumerate(others)}
    else:
        share = np.ones(1)
        spread = {name: np.full((1, len(design.levels[name])), 1 / len(design.levels[name])) for name in others}
    n = len(share)
    found = {}
    for chosen in product(*(range(len(design.levels[name])) for name in of)):
        here = {name: np.repeat(np.eye(len(design.levels[name]))[[k]], n, axis=0) for name, k in zip(of, chosen, strict=True)}
        rest = {name: np.repeat(value, n, axis=0) for name, value in fixed.items()}
        key = tuple(design.levels[name][k] for name, k in zip(of, chosen, strict=True))
        found[key] = share @ design.matrix({**spread, **rest, **here}, n)
    return found
