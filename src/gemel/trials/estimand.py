"""What a trial estimates, said before it is analysed: population, treatment, variable, intercurrent events, summary.

References
----------
ICH E9(R1), Addendum on estimands and sensitivity analysis in clinical trials, 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gemel.core.errors import EvidenceError

__all__ = ["Estimand", "IntercurrentEvent", "Strategy", "Summary", "required"]


class Strategy(Enum):
    """How an intercurrent event enters the question (ICH E9(R1), A.3.2)."""

    TREATMENT_POLICY = "treatment policy"
    HYPOTHETICAL = "hypothetical"
    COMPOSITE = "composite"
    WHILE_ON_TREATMENT = "while on treatment"
    PRINCIPAL_STRATUM = "principal stratum"


class Summary(Enum):
    """The population-level summary that compares two arms."""

    MEAN_DIFFERENCE = "mean difference"
    RISK_DIFFERENCE = "risk difference"
    RISK_RATIO = "risk ratio"
    ODDS_RATIO = "odds ratio"
    RATE_RATIO = "rate ratio"
    HAZARD_RATIO = "hazard ratio"
    RMST_DIFFERENCE = "difference of restricted mean survival time"


class IntercurrentEvent(BaseModel):
    """Something after the start of treatment that changes what the outcome means, and how it enters the question."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(min_length=1)
    strategy: Strategy


class Estimand(BaseModel):
    """The five attributes of ICH E9(R1). Nothing is analysed without one.

    Parameters
    ----------
    population : whom the question is about.
    reference, treatment : names of the two arms that are compared; the difference is treatment minus reference.
    variable : the outcome, with its time and unit.
    intercurrent_events : every one foreseen with its strategy. Empty only with ``no_intercurrent_events``, which says that none can occur.
    summary : what compares the arms.

    Raises
    ------
    EvidenceError
        From :func:`required`, when there is none. Pydantic's own error when an attribute is missing.

    Examples
    --------
    >>> Estimand(population="adults with asthma", reference="placebo", treatment="active", variable="FEV1 at week 12, L",
    ...          intercurrent_events=(IntercurrentEvent(name="rescue drug", strategy=Strategy.TREATMENT_POLICY),)).summary.value
    'mean difference'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    population: str = Field(min_length=1)
    reference: str = Field(min_length=1)
    treatment: str = Field(min_length=1)
    variable: str = Field(min_length=1)
    intercurrent_events: tuple[IntercurrentEvent, ...] = ()
    no_intercurrent_events: bool = False
    summary: Summary = Summary.MEAN_DIFFERENCE

    @model_validator(mode="after")
    def _is_whole(self) -> Estimand:
        if bool(self.intercurrent_events) == self.no_intercurrent_events:
            raise ValueError("name each intercurrent event with its strategy, or say no_intercurrent_events: one of the two, not both")
        if self.reference == self.treatment:
            raise ValueError(f"an arm is not compared with itself: {self.reference!r}")
        names = [event.name for event in self.intercurrent_events]
        if len(set(names)) < len(names):
            raise ValueError(f"an intercurrent event has one strategy: {names}")
        return self

    @property
    def is_ratio(self) -> bool:
        """Whether the summary is a ratio, estimated on the log scale."""
        return self.summary in (Summary.RISK_RATIO, Summary.ODDS_RATIO, Summary.RATE_RATIO, Summary.HAZARD_RATIO)


def required(estimand: Estimand | Mapping[str, object] | None) -> Estimand:
    """Return the estimand, or refuse.

    Raises
    ------
    EvidenceError
        When there is none, or when one of its attributes is missing.
    """
    if isinstance(estimand, Estimand):
        return estimand
    if not estimand:
        raise EvidenceError(
            "an analysis needs an estimand",
            seen="none",
            expected="population, reference, treatment, variable, intercurrent events with a strategy each, summary (ICH E9(R1))",
            fix="Estimand(...), or a table [estimand] in the design file",
        )
    from pydantic import ValidationError

    try:
        return Estimand.model_validate(estimand)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(str(p) for p in e['loc']) or 'estimand'}: {e['msg']}" for e in error.errors())
        raise EvidenceError("the estimand is not whole", seen=wrong, expected="the attributes of ICH E9(R1)", fix="complete it") from error
