"""Draws that no machine, thread or worker can change: a copula in fixed point.

Normal scores and the factor of their correlation are whole multiples of 2^-20. Every product is then a whole multiple of 2^-40, and every sum of a row stays below
2^53 of them: float64 holds each exactly, in whatever order a library adds them up, with however many threads. A score picks a step of its instrument from a
table of 32,768 entries between -8 and 8 (a chance of at most 1e-4 per step lies between table and quantile).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from scipy import linalg

from gemel.trials.generate.copula import Copula
from gemel.trials.generate.marginal import EDGE
from gemel.trials.generate.panel import Variable

__all__ = ["BLOCK", "ExactCopula", "Steps"]

BLOCK = 8192
"""Patients drawn at once; each block has its own key, and its own draws are always all made."""
POINTS = 1 << 15
_FINE = 1 << 20


@dataclass(frozen=True)
class Steps:
    """Patients on their instruments, as whole steps.

    Parameters
    ----------
    columns : name -> (patient, visit) steps; missing is the variable's gap.
    last, event : (patient,) as in a panel.
    """

    columns: dict[str, np.ndarray]
    last: np.ndarray
    event: np.ndarray


@dataclass(frozen=True)
class ExactCopula:
    """A copula ready to draw in fixed point.

    Parameters
    ----------
    copula : calibrated.
    """

    copula: Copula
    factor: Float[np.ndarray, "column column"] = field(init=False)
    tables: tuple[np.ndarray, ...] = field(init=False)

    def __post_init__(self) -> None:
        copula = self.copula
        object.__setattr__(self, "factor", np.rint(linalg.cholesky(copula.correlation, lower=True) * _FINE))
        middle = (np.arange(POINTS) + 0.5) * (2 * EDGE / POINTS) - EDGE
        tables = []
        for (j, _), m in zip(copula.places, copula.marginals, strict=True):
            value = m.quantile(middle)
            tables.append(copula.variables[j].encode(value) if j >= 0 else value.astype(np.int16))
        object.__setattr__(self, "tables", tuple(tables))

    def scores(self, key: tuple[int, ...]) -> Float[np.ndarray, "column patient"]:
        """Return the scores of one block in units of 2^-40."""
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(key)))
        noise = rng.standard_normal((len(self.factor), BLOCK), dtype=np.float32)
        return self.factor @ np.rint(noise * np.float32(_FINE), dtype=np.float64)

    def block(self, key: tuple[int, ...], n: int) -> Steps:
        """Return the first patients of one block.

        Parameters
        ----------
        key : numbers that name the block.
        n : patients, at most :data:`BLOCK`.
        """
        copula, visits = self.copula, len(self.copula.times)
        at = self.scores(key)[:, :n] * (POINTS / (2 * EDGE) / _FINE**2) + POINTS / 2
        place = np.clip(at, 0, POINTS - 1).astype(np.int64)
        found = {p: table.take(row) for p, table, row in zip(copula.places, self.tables, place, strict=True)}
        last = found.get((-1, 0), np.full(n, copula.last, np.int16))
        event = found.get((-2, 0), np.full(n, visits, np.int16))
        event = np.where(event > last, visits, event).astype(np.int8)
        columns = {v.name: self._column(j, v, found, last) for j, v in enumerate(copula.variables)}
        return Steps(columns, last.astype(np.int8), event)

    def _column(self, j: int, variable: Variable, found: dict[tuple[int, int], np.ndarray], last: np.ndarray) -> np.ndarray:
        visits = len(self.copula.times)
        if variable.is_baseline:
            return np.repeat(found[j, 0][:, None], visits, axis=1)
        whole = np.full((visits, len(last)), variable.gap, variable.dtype)
        for t in range(visits):
            if (j, t) in found:
                np.copyto(whole[t], found[j, t], where=last >= t)
        return np.ascontiguousarray(whole.T)
