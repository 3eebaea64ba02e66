"""Statistics with differential privacy, by OpenDP (extra ``[privacy]``), paid from a budget that a project has once.

Two cohorts that differ in one person give answers whose probabilities differ by a factor of at most ``exp(epsilon)``. Budgets add up: the ledger
refuses what would go beyond the limit, before anything is drawn.

References
----------
Dwork et al. 2006, doi:10.1007/11681878_14: the Laplace mechanism; its variance is 2 (sensitivity / epsilon)².
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemel.core.errors import DataError, FormatError, StoreError

__all__ = ["BudgetLedger", "PrivateStatistic", "private_count", "private_counts", "private_mean"]


@dataclass(frozen=True)
class PrivateStatistic:
    """A noisy answer.

    Parameters
    ----------
    value : what may be released; for counts it may be negative, and is left so. what : what it is of. epsilon : what it cost.
    scale : of the Laplace noise, in the unit of the value. n : how many people, where that is told.
    """

    value: float | tuple[int, ...]
    what: str
    epsilon: float
    scale: float
    n: int | None = None

    @property
    def status(self) -> str:
        """What stands on the release."""
        return f"dp({self.epsilon:g}, 0)"


def _opendp() -> Any:
    try:
        import opendp.prelude as dp
    except ImportError as error:
        raise DataError("differential privacy needs OpenDP", seen="it is not installed", fix="pip install 'gemel[privacy]'") from error
    from opendp.mod import enable_features

    enable_features("contrib")
    return dp


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise DataError(f"{name} must be positive and finite", seen=value, expected="> 0")
    return float(value)


class BudgetLedger:
    """What a project has spent of its privacy, in a file that is only appended to. Opened and locked for each payment, so that two processes cannot spend the same.

    Parameters
    ----------
    path : one JSON object a line: project, epsilon, what, time.
    limit : epsilon that a project may spend in all.
    """

    def __init__(self, path: Path, *, limit: float) -> None:
        self.path, self.limit = Path(path), _positive("the limit", limit)

    def _lines(self, text: str) -> list[dict[str, Any]]:
        found = []
        for number, line in enumerate(text.splitlines(), 1):
            try:
                told = json.loads(line)
                found.append({"project": str(told["project"]), "epsilon": _positive("epsilon", told["epsilon"]), **told})
            except (ValueError, TypeError, KeyError) as error:
                raise FormatError(
                    "the privacy ledger cannot be read", seen=f"{self.path.name}, line {number}", expected="a payment as it was written",
                    fix="restore it: nothing is released without it",
                ) from error  # fmt: skip
        return found

    def spent(self, project: str) -> float:
        """Return what a project has spent."""
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        return math.fsum(line["epsilon"] for line in self._lines(text) if line["project"] == project)

    def spend(self, project: str, epsilon: float, *, what: str, time: int) -> float:
        """Pay, and return what is left.

        Raises
        ------
        DataError
            When the project has not that much left: nothing is paid.
        """
        epsilon = _positive("epsilon", epsilon)
        with open(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8") as file:
            with suppress(ImportError):  # no fcntl: a system without advisory locks
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            text = file.read()
            if text and not text.endswith("\n"):
                raise StoreError(
                    "the privacy ledger was cut off",
                    seen=self.path.name,
                    expected="whole lines",
                    fix="end its last line with the payment that was made",
                )
            spent = math.fsum(line["epsilon"] for line in self._lines(text) if line["project"] == project)
            if spent + epsilon > self.limit * (1 + 1e-12):  # sums of tenths
                raise DataError(
                    "the privacy budget of the project does not reach", seen=f"{epsilon:g} asked, {max(self.limit - spent, 0):g} of {self.limit:g} left",
                    expected="epsilon within what is left", fix="ask for less, or use what was released already: a budget is not refilled",
                )  # fmt: skip
            file.write(json.dumps({"project": project, "epsilon": epsilon, "what": what, "time": time}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return self.limit - spent - epsilon


def private_count(n: int, *, epsilon: float, ledger: BudgetLedger, project: str, what: str, time: int) -> PrivateStatistic:
    """Return a number of people with discrete Laplace noise; one person more or less changes it by one (OpenDP ``make_laplace`` on integers).

    Raises
    ------
    DataError
        When OpenDP is not installed, or the budget does not reach.
    """
    dp = _opendp()
    space = dp.atom_domain(T=int), dp.absolute_distance(T=int)
    noise = dp.binary_search_chain(lambda s: dp.m.make_laplace(*space, scale=s), d_in=1, d_out=_positive("epsilon", epsilon))
    ledger.spend(project, epsilon, what=what, time=time)
    return PrivateStatistic(float(noise(int(n))), what, epsilon, 1 / epsilon)


def private_counts(counts: Sequence[int], *, epsilon: float, ledger: BudgetLedger, project: str, what: str, time: int) -> PrivateStatistic:
    """Return numbers of people in groups that do not overlap: a person is in one of them, so that all cost as much as one.

    The groups must be known beforehand, those without anybody too: a list made from the data tells who is there.
    """
    dp = _opendp()
    if not len(counts):
        raise DataError("no groups to count", seen=0, expected="at least one")
    space = dp.vector_domain(dp.atom_domain(T=int)), dp.l1_distance(T=int)
    noise = dp.binary_search_chain(lambda s: dp.m.make_laplace(*space, scale=s), d_in=1, d_out=_positive("epsilon", epsilon))
    ledger.spend(project, epsilon, what=what, time=time)
    return PrivateStatistic(tuple(noise([int(n) for n in counts])), what, epsilon, 1 / epsilon)


def _mean_measurement(n: int, lower: float, upper: float, epsilon: float) -> tuple[Any, float]:
    """Return OpenDP's mean with Laplace noise for n people who may each be exchanged for another (symmetric distance 2), and the scale of the noise."""
    dp = _opendp()
    space = dp.vector_domain(dp.atom_domain(bounds=(lower, upper), nan=False), size=n), dp.symmetric_distance()
    scale = dp.binary_search_param(lambda s: dp.t.make_mean(*space) >> dp.m.then_laplace(scale=s), d_in=2, d_out=epsilon)
    return dp.t.make_mean(*space) >> dp.m.then_laplace(scale=scale), scale


def private_mean(
    values: Sequence[float] | np.ndarray,
    *,
    lower: float,
    upper: float,
    epsilon: float,
    ledger: BudgetLedger,
    project: str,
    what: str,
    time: int,
) -> PrivateStatistic:
    """Return a mean, one value for each person, with Laplace noise of scale (upper - lower) / (n epsilon).

    Parameters
    ----------
    values : (n,); the number of people is told. lower, upper : what values may be at all, from knowledge and never from these data; values beyond are moved to them.

    Raises
    ------
    DataError
        When a value is no number, the bounds are none, OpenDP is not installed, or the budget does not reach.
    """
    epsilon = _positive("epsilon", epsilon)
    if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
        raise DataError("bounds of a private mean", seen=(lower, upper), expected="lower < upper, both finite")
    found = np.asarray(values, np.float64)
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all():
        raise DataError("values of a private mean", seen=f"shape {found.shape}", expected="one finite number for each person")
    measure, scale = _mean_measurement(len(found), float(lower), float(upper), epsilon)
    ledger.spend(project, epsilon, what=what, time=time)
    return PrivateStatistic(float(measure(np.clip(found, lower, upper).tolist())), what, epsilon, scale, len(found))
