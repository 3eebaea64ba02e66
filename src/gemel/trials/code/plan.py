"""What one analysis was asked to do, in plain values: it stands in the result, and the programs of other languages are written from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from gemel.core.errors import DataError
from gemel.core.lineage import digest

__all__ = ["Plan", "plan_of"]


@dataclass(frozen=True)
class Plan:
    """Everything that decides the numbers of an analysis; names as of ``gemel trial analyse``.

    Parameters
    ----------
    data : name of the file, without its folder. ``where`` : columns and values of the rows that are kept.
    treatments : arms compared with ``reference``. ``arms`` : all that are in the model.
    prognosis : hash of the locked prognosis, or empty.
    settings : whatever else decides the numbers, by name.
    """

    data: str
    method: str
    outcome: str
    arm: str
    reference: str
    treatments: tuple[str, ...]
    arms: tuple[str, ...] = ()
    subject: str = ""
    baseline: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    strata: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()
    missing: str = "refuse"
    missing_outcome: str = "refuse"
    summary: str = "mean difference"
    level: float = 0.95
    variance: str = "hc2"
    target: str = "superpopulation"
    family: str = "auto"
    interaction: bool = False
    randomisation: str = "simple"
    learner: str = "ridge"
    folds: int = 10
    seed: int = 1
    visit: str = ""
    visits: tuple[str, ...] = ()
    covariance: str = "un"
    covariance_by_arm: bool = False
    fallback: tuple[str, ...] = ()
    degrees: str = "satterthwaite"
    errors: str = "model"
    time: str = ""
    event_indicator: str = ""
    censor: str = ""
    tau: float | None = None
    prognosis: str = ""
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def hash(self) -> str:
        """Hash of all of it."""
        return digest(asdict(self))

    @property
    def others(self) -> tuple[str, ...]:
        """All arms of the model but the reference."""
        return tuple(a for a in self.arms or self.treatments if a != self.reference)

    @property
    def covariates(self) -> tuple[str, ...]:
        """Columns adjusted for, the prognosis first."""
        return (*(("prognosis",) if self.prognosis else ()), *self.baseline)


def plan_of(told: Mapping[str, Any]) -> Plan:
    """Return the plan that a result names, from its JSON.

    Raises
    ------
    DataError
        When it has none, or not all of it.
    """
    names = {f.name for f in fields(Plan)}
    try:
        found = {k: _frozen(v) for k, v in told.items() if k in names}
        return Plan(**found)
    except (TypeError, AttributeError) as error:
        raise DataError("a result does not say what was asked for", seen=sorted(told)[:8], expected="the plan that gemel trial analyse -o writes", fix="analyse again") from error  # fmt: skip


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, (list, tuple)) else value
