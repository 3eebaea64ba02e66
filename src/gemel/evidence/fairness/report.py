"""What an audit by subgroup was asked for, and what it found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from gemel.core.advice import ShownOn
from gemel.core.errors import EvidenceError
from gemel.evidence.diagnostic import Estimate
from gemel.evidence.fairness.scored import MISSING
from gemel.evidence.fairness.suppression import Key

__all__ = ["Difference", "FairnessReport", "Gap", "Settings", "Subgroup", "Worst"]

EVERYBODY = "everybody"


@dataclass(frozen=True)
class Settings:
    """What an audit was asked for.

    Parameters
    ----------
    threshold : probability at or above which a prediction is positive.
    depth : how many attributes are crossed with each other; 1, none.
    minimum : groups with fewer people are suppressed; ``few`` : those with fewer are marked.
    replicates : resamples of people; 0, no intervals and no comparisons.
    level : of the intervals; ``alpha`` : of the comparisons together, by Holm.
    seed : of the resamples.
    """

    threshold: float = 0.5
    depth: int = 2
    minimum: int = 20
    few: int = 100
    replicates: int = 1000
    level: float = 0.95
    alpha: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class Subgroup:
    """One group: how many, how it stands and its measures. A suppressed group has no numbers at all, not even how many."""

    key: Key
    standing: Literal["shown", "few", "suppressed"]
    rows: int | None
    people: int | None
    events: int | None
    metrics: dict[str, Estimate]

    @property
    def label(self) -> str:
        """The group in words."""
        return ", ".join(f"{attribute} {value}" for attribute, value in self.key) or EVERYBODY

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attributes that tell it apart."""
        return tuple(attribute for attribute, _ in self.key)

    @property
    def is_known(self) -> bool:
        """Whether every label was recorded."""
        return all(value != MISSING for _, value in self.key)


@dataclass(frozen=True)
class Difference:
    """One comparison with the reference group: the largest of the same attributes, or the one named."""

    attributes: tuple[str, ...]
    metric: str
    group: str
    reference: str
    difference: Estimate
    p_value: float
    adjusted: float
    is_flagged: bool


@dataclass(frozen=True)
class Gap:
    """The largest less the smallest value of a measure over the shown groups of one set of attributes.

    The interval is for these two groups, as if they had been chosen before looking: a largest gap is above zero by chance alone.
    """

    attributes: tuple[str, ...]
    metric: str
    highest: str
    lowest: str
    difference: Estimate
    ratio: float


@dataclass(frozen=True)
class Worst:
    """The shown group with the worst value of a measure, over one set of attributes or, without attributes, over all."""

    attributes: tuple[str, ...]
    metric: str
    group: str
    value: Estimate


@dataclass(frozen=True)
class FairnessReport:
    """What an audit found. ``level`` is that of the intervals that were audited; ``resampled`` holds, per group, its measures in every resample, for paired differences between two audits."""

    settings: Settings
    shown_on: ShownOn
    data: str
    overall: Subgroup
    groups: tuple[Subgroup, ...]
    differences: tuple[Difference, ...]
    gaps: tuple[Gap, ...]
    worst: tuple[Worst, ...]
    not_assessable: dict[str, str]
    not_collected: tuple[str, ...]
    counts: dict[str, int]
    notes: tuple[str, ...]
    untested: int
    level: float = 0.9
    resampled: dict[Key, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @property
    def flagged(self) -> tuple[Difference, ...]:
        """The comparisons that stand after Holm's correction over all of them."""
        return tuple(d for d in self.differences if d.is_flagged)

    @property
    def summary(self) -> str:
        """The finding in one sentence; it never says that a model is fair."""
        if not self.groups:
            return "Not assessable: no group label was given."
        if not self.settings.replicates:
            return "Nothing was compared: no resamples were asked for."
        made = len(self.differences)
        if not made:
            return "Nothing could be compared: no two groups have enough people and outcomes of each kind."
        if not self.flagged:
            return f"None of {made} comparisons differs after Holm's correction: these {self.overall.people} people show no difference, which does not show that there is none."
        return f"{len(self.flagged)} of {made} comparisons differ after Holm's correction."

    def group(self, **values: str) -> Subgroup:
        """Return one group by its labels, such as ``report.group(sex="f")``."""
        wanted = set(values.items())
        found = next((g for g in (self.overall, *self.groups) if set(g.key) == wanted), None)
        if found is None:
            raise EvidenceError("no such group", seen=values, expected=[g.label for g in self.groups])
        return found

    def gap(self, metric: str, *attributes: str) -> Gap:
        """Return the gap of a measure over the groups of these attributes."""
        found = next((g for g in self.gaps if g.metric == metric and set(g.attributes) == set(attributes)), None)
        if found is None:
            raise EvidenceError("no gap was found", seen=(metric, attributes), expected="a measure with two shown groups")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without the resamples."""

        def group(g: Subgroup) -> dict[str, Any]:
            told = {
                "group": g.label,
                "attributes": dict(g.key),
                "standing": g.standing,
                "rows": g.rows,
                "people": g.people,
                "events": g.events,
            }
            return told | {"metrics": {name: asdict(e) for name, e in g.metrics.items()}}

        return {
            "summary": self.summary, "settings": asdict(self.settings), "shown_on": self.shown_on.model_dump(), "data": self.data, "counts": self.counts,
            "overall": group(self.overall), "groups": [group(g) for g in self.groups], "differences": [asdict(d) for d in self.differences],
            "gaps": [asdict(g) for g in self.gaps], "worst": [asdict(w) for w in self.worst], "untested": self.untested,
            "not_assessable": self.not_assessable, "not_collected": list(self.not_collected), "notes": list(self.notes),
        }  # fmt: skip
