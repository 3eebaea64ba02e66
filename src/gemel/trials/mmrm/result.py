"""What an analysis returns: coefficients, covariances, how the search ended, and contrasts on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from gemel.core.errors import ModelError
from gemel.core.lineage import Lineage
from gemel.trials.mmrm.contrasts import Basis, Contrast, JointTest, Margins, contrast, joint_test, mean_rows, term_rows
from gemel.trials.mmrm.formula import Design

__all__ = ["Attempt", "MMRMResult"]


@dataclass(frozen=True)
class Attempt:
    """One covariance structure that was tried, and how its search ended (``converged``, or why not)."""

    covariance: str
    status: str
    iterations: int = 0
    minus_two_log_likelihood: float = float("nan")


@dataclass(frozen=True)
class MMRMResult:
    """A mixed model for repeated measures that has converged; one that has not is an error, never a result.

    Parameters
    ----------
    names : (column,) coefficients, as ``arm[treated]:visit[week 8]``.
    estimate, standard_error, df, statistic, p_value : (column,). ``interval`` : (column, 2), two-sided at ``level``. In the unit of the response.
    covariance : (column, column) covariance of the coefficients that the standard errors come from.
    visit_covariance : covariance group -> (visit, visit), in the squared unit of the response; empty where visits lie at other times in each subject.
    parameters, parameter_errors : covariance parameters by name, with their asymptotic standard errors.
    minus_two_log_likelihood : of the restricted likelihood for ``reml``.
    status : ``converged``, or ``converged after fallback``: ``attempts`` then has what was tried before.
    subjects, observations, left_out : subjects and responses used; subjects without any response.
    lineage : hash of data, formula, settings and code.
    """

    names: tuple[str, ...]
    estimate: Float[np.ndarray, " column"]
    standard_error: Float[np.ndarray, " column"]
    df: Float[np.ndarray, " column"]
    statistic: Float[np.ndarray, " column"]
    interval: Float[np.ndarray, "column 2"]
    p_value: Float[np.ndarray, " column"]
    covariance: Float[np.ndarray, "column column"]
    visit_covariance: Mapping[str, Float[np.ndarray, "visit visit"]]
    visits: tuple[Any, ...]
    parameters: Mapping[str, float]
    parameter_errors: Mapping[str, float]
    minus_two_log_likelihood: float
    status: str
    attempts: tuple[Attempt, ...]
    structure: str
    method: str
    degrees_of_freedom: str
    standard_errors: str
    level: float
    subjects: int
    observations: int
    left_out: int
    lineage: Lineage
    design: Design = field(repr=False)
    basis: Basis = field(repr=False)
    coded: Mapping[str, np.ndarray] = field(repr=False)

    @property
    def aic(self) -> float:
        """Akaike's criterion, covariance parameters counted (all coefficients too under maximum likelihood)."""
        count = len(self.parameters) + (0 if self.method == "reml" else len(self.names))
        return self.minus_two_log_likelihood + 2 * count

    @property
    def coefficients(self) -> tuple[Contrast, ...]:
        """The coefficients, each with its interval and test."""
        return tuple(
            Contrast(
                name,
                float(self.estimate[i]),
                float(self.standard_error[i]),
                float(self.df[i]),
                (float(self.interval[i, 0]), float(self.interval[i, 1])),
                float(self.statistic[i]),
                float(self.p_value[i]),
            )
            for i, name in enumerate(self.names)
        )

    def _row(self, weights: Mapping[str, float] | Sequence[float] | np.ndarray) -> np.ndarray:
        if isinstance(weights, Mapping):
            if unknown := set(weights) - set(self.names):
                raise ModelError(
                    "a contrast names a coefficient that is not there", seen=sorted(unknown), expected=f"among {list(self.names)}"
                )
            return np.array([float(weights.get(name, 0.0)) for name in self.names])
        row = np.asarray(weights, float)
        if row.shape != (len(self.names),):
            raise ModelError("a contrast needs one weight per coefficient", seen=row.shape, expected=(len(self.names),))
        return row

    def contrast(
        self, weights: Mapping[str, float] | Sequence[float] | np.ndarray, label: str = "contrast", *, null: float = 0.0
    ) -> Contrast:
        """Estimate a weighted sum of coefficients; weights by name, or one per coefficient. ``null`` is what the test is against (a margin).

        Raises
        ------
        ModelError : a name or a number of weights that does not fit.
        """
        return contrast(self.basis, self._row(weights), label, level=self.level, null=null)

    def test(self, rows: Sequence[Mapping[str, float] | Sequence[float] | np.ndarray], label: str = "joint test") -> JointTest:
        """Test several weighted sums of coefficients at once.

        Raises
        ------
        ModelError : rows that do not fit, or are not independent.
        """
        return joint_test(self.basis, np.stack([self._row(row) for row in rows]), label)

    def term_tests(self) -> tuple[JointTest, ...]:
        """Test each term of the formula (type 3)."""
        return tuple(joint_test(self.basis, term_rows(self.design, self.coded, term), term) for term in self.design.term_columns)

    def means(
        self, of: str, *, by: Sequence[str] | str = (), margins: Margins = "equal", at: Mapping[str, Any] | None = None
    ) -> tuple[Contrast, ...]:
        """Return least-squares means of a factor, for each combination of the factors ``by``.

        Other factors are averaged with equal or ``observed`` weights; covariates stand at their means, or where ``at`` puts them.

        Raises
        ------
        ModelError : a name that is no factor of the formula.
        """
        order = (*((by,) if isinstance(by, str) else by), of)
        rows = mean_rows(self.design, self.coded, order, margins, at or {})
        return tuple(contrast(self.basis, row, _label(order, key), level=self.level) for key, row in rows.items())

    def differences(
        self,
        of: str,
        *,
        by: Sequence[str] | str = (),
        reference: Any = None,
        margins: Margins = "equal",
        at: Mapping[str, Any] | None = None,
        null: float = 0.0,
    ) -> tuple[Contrast, ...]:
        """Return differences of least-squares means to a reference level (the first by default), for each combination of the factors ``by``.

        Raises
        ------
        ModelError : a name that is no factor of the formula, or a level that is not there.
        """
        names = (by,) if isinstance(by, str) else tuple(by)
        rows = mean_rows(self.design, self.coded, (*names, of), margins, at or {})
        reference = self.design.levels[of][0] if reference is None else reference
        if reference not in self.design.levels[of]:
            raise ModelError("no such level to compare with", seen=repr(reference), expected=f"one of {list(self.design.levels[of])}")
        return tuple(
            contrast(
                self.basis,
                row - rows[(*key[:-1], reference)],
                _label((*names, of), (*key[:-1], f"{key[-1]} - {reference}")),
                level=self.level,
                null=null,
            )
            for key, row in rows.items()
            if key[-1] != reference
        )

    def __str__(self) -> str:
        head = (
            f"{self.design.formula.response}: {self.subjects} subjects, {self.observations} responses, {len(self.visits)} visits; {self.method}, "
            f"{self.structure}, {self.degrees_of_freedom}; -2 log likelihood {self.minus_two_log_likelihood:.4f}; {self.status}"
        )
        tried = [f"  tried {a.covariance}: {a.status}" for a in self.attempts[:-1]]
        wide = max(map(len, self.names))
        rows = [
            f"{c.label:{wide}}  {c.estimate:12.4f} {c.standard_error:10.4f} {c.df:8.1f} {c.statistic:8.2f} {c.p_value:9.4f}"
            for c in self.coefficients
        ]
        columns = f"{'coefficient':{wide}}  {'estimate':>12} {'error':>10} {'df':>8} {'t':>8} {'p':>9}"
        return "\n".join([head, *tried, columns, *rows, f"lineage {self.lineage.id}"])


def _label(names: Sequence[str], key: Sequence[Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(names, key, strict=True))
