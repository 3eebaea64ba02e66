"""Does a label such as cost stand for need, alike for every group? The audit of a score at equal score, and of changing its label.

``E = sum over percentile bins of n_B (mean need of B - mean need of A)``: the need of group B that equal scores leave unmet.

References
----------
Obermeyer et al. 2019, doi:10.1126/science.aax2342 (the question; the statistic and its intervals are ours).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from gemel.core.errors import EvidenceError
from gemel.evidence.bootstrap import resamples
from gemel.evidence.comparisons import holm
from gemel.evidence.diagnostic import Estimate
from gemel.evidence.fairness.scored import MISSING, labels
from gemel.evidence.fairness.suppression import suppressed

__all__ = ["Concentration", "GroupGap", "ProxyAudit", "Score", "audit_proxy"]

TOPS = (0.01, 0.03, 0.05)
PROXY, NEED = "score", "need score"


@dataclass(frozen=True)
class Score:
    """One score at one comparison: need of the group less need of the reference at equal score.

    ``gap`` is per person, ``excess`` its sum over ``people`` of the group, who stand in bins that hold both groups; ``left_out`` bins do not.
    ``share_above`` is the group's share among all at or above the threshold of the score.
    """

    gap: Estimate
    excess: Estimate
    people: int
    bins: int
    left_out: int
    share_above: Estimate
    p_value: float
    adjusted: float = math.nan
    is_flagged: bool = False


@dataclass(frozen=True)
class GroupGap:
    """One group beside the reference: before and, with a need-label score, after the change of label.

    ``unexplained`` is the part of the gap that any score that is not perfect would leave because mean need differs (regression to the mean, by pooled linear
    slopes), ``by_proxy`` the rest: what comes from a lower score at equal need. ``reduction`` is ``1 - E_after / E_before``, and
    None where the interval of the gap before holds 0: there is nothing to take away.
    """

    group: str
    reference: str
    before: Score
    by_proxy: Estimate
    unexplained: Estimate
    after: Score | None = None
    reduction: Estimate | None = None
    change_above: Estimate | None = None

    @property
    def is_explained(self) -> bool:
        """Whether nothing is left that a proxy alone does not explain, as far as the interval says."""
        return self.unexplained.low <= 0 <= self.unexplained.high


@dataclass(frozen=True)
class Concentration:
    """The share of a label's total that the people with the highest scores hold."""

    label: str
    ranked_by: str
    top: float
    share: Estimate


@dataclass(frozen=True)
class ProxyAudit:
    """What the audit of a proxy found."""

    bins: int
    threshold: float
    groups: tuple[GroupGap, ...]
    concentrations: tuple[Concentration, ...]
    suppressed: tuple[str, ...]
    counts: dict[str, int]
    notes: tuple[str, ...] = field(default=())

    @property
    def is_flagged(self) -> bool:
        """Whether need differs at equal score for some group, after Holm."""
        return any(g.before.is_flagged for g in self.groups)

    def group(self, name: str) -> GroupGap:
        """Return one group."""
        found = next((g for g in self.groups if g.group == name), None)
        if found is None:
            raise EvidenceError("no such group was compared", seen=name, expected=[g.group for g in self.groups])
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"suppressed": list(self.suppressed), "is_flagged": self.is_flagged}


class _Ranked:
    """A score in falling order, its ties together: who is above a share of people, under any weights."""

    def __init__(self, score: np.ndarray) -> None:
        self.order = np.argsort(-score, kind="stable")
        self.starts = np.flatnonzero(np.r_[True, np.diff(-score[self.order]) > 0])

    def share(self, weights: np.ndarray, of: np.ndarray, top: float, whole: np.ndarray | None = None) -> np.ndarray:
        """Return (resample,) the sum of ``of`` above the cut, over the sum above it of ``whole``, or of all of it; ties at the cut count in part."""
        w = weights.take(self.order, axis=1)
        size = np.add.reduceat(w, self.starts, axis=1)
        cut = top * w.sum(axis=1, keepdims=True)
        before = np.cumsum(size, axis=1) - size
        part = np.divide(np.clip(cut - before, 0, size), size, out=np.zeros_like(size), where=size > 0)
        held = np.add.reduceat(w * of[self.order], self.starts, axis=1)
        down = (np.add.reduceat(w * whole[self.order], self.starts, axis=1) * part).sum(axis=1) if whole is not None else held.sum(axis=1)
        return np.divide((held * part).sum(axis=1), down, out=np.full(len(w), np.nan), where=down > 0)


class _Binned:
    """Need by percentile bin of a score and group."""

    def __init__(self, score: np.ndarray, need: np.ndarray, code: np.ndarray, groups: int, bins: int) -> None:
        edges = np.unique(np.quantile(score, np.arange(1, bins) / bins))
        place = np.searchsorted(edges, score, side="right")
        self.bins, self.groups, self.need = len(edges) + 1, groups, need
        cell = code * self.bins + place
        self.order = np.argsort(cell, kind="stable")
        self.cells, self.starts = np.unique(cell[self.order], return_index=True)

    def means(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (resample, group, bin) counts and mean need, NaN where nobody is."""
        w = weights.take(self.order, axis=1)
        shape = (len(w), self.groups * self.bins)
        count, total = np.zeros(shape), np.zeros(shape)
        count[:, self.cells] = np.add.reduceat(w, self.starts, axis=1)
        total[:, self.cells] = np.add.reduceat(w * self.need[self.order], self.starts, axis=1)
        mean = np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)
        return count.reshape(-1, self.groups, self.bins), mean.reshape(-1, self.groups, self.bins)


def _gaps(count: np.ndarray, mean: np.ndarray, base: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (resample, group) the gap per person and how many people it is over."""
    difference = mean - mean[:, base : base + 1]
    used = np.isfinite(difference)
    people = (count * used).sum(axis=2)
    total = np.where(used, count * difference, 0.0).sum(axis=2)
    return np.divide(total, people, out=np.full(people.shape, np.nan), where=people > 0), people


def _unexplained(weights: np.ndarray, score: np.ndarray, need: np.ndarray, code: np.ndarray, base: int, groups: int) -> np.ndarray:
    """Return (resample, group) ``(1 - kappa beta)`` times the gap of mean need: kappa beta is the squared correlation of score and need within groups.

    The score is taken as normal scores of its ranks, since percentile bins do not know its unit either.
    """
    each = np.eye(groups)[code]
    moments = np.concatenate(
        [each, each * score[:, None], each * need[:, None], np.column_stack([score**2, need**2, score * need])], axis=1
    )
    m = weights @ moments
    n, s, h = m[:, :groups], m[:, groups : 2 * groups], m[:, 2 * groups : 3 * groups]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_s, mean_h = s / n, h / n
        ss, hh, sh = (m[:, 3 * groups + i] - np.nansum(a * b, axis=1) for i, (a, b) in enumerate(((s, mean_s), (h, mean_h), (s, mean_h))))
        held = (sh**2 / (ss * hh))[:, None]
    return (1 - held) * (mean_h - mean_h[:, base : base + 1])


def _estimate(value: float, drawn: np.ndarray, level: float) -> Estimate:
    real = drawn[np.isfinite(drawn)]
    if len(real) < 2 or len(real) < 0.9 * len(drawn):
        return Estimate(float(value), math.nan, math.nan, level)
    low, high = np.quantile(real, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(value), float(low), float(high), level, float(real.std(ddof=1)))


def _p(e: Estimate) -> float:
    return float(2 * stats.norm.sf(abs(e.value) / e.se)) if e.se > 0 else math.nan


def audit_proxy(
    score: Float[np.ndarray, " row"], need: Float[np.ndarray, " row"], group: Sequence[object], *, bins: int = 100,
    need_score: Float[np.ndarray, " row"] | None = None, totals: Mapping[str, Float[np.ndarray, " row"]] | None = None, reference: str | None = None,
    threshold: float = 0.97, patient: np.ndarray | None = None, replicates: int = 1000, level: float = 0.95, alpha: float = 0.05, minimum: int = 20,
    seed: int = 0,
) -> ProxyAudit:  # fmt: skip
    """Compare need at equal score between groups, and the same after a change of label.

    Parameters
    ----------
    score : (row,) by which people are ranked, such as a predicted cost.
    need : (row,) what should have been ranked, such as the number of active chronic conditions. Rows where it is NaN are left out and counted.
    group : (row,) labels; rows without one are left out and counted.
    bins : percentile bins of the score. Few bins leave a bias inside each, many leave bins without one of the groups: the number is part of the result.
    need_score : (row,) a score for a need label; with it, everything is told before and after.
    totals : name -> (row,) labels, not negative, whose concentration among the highest scores is told.
    reference : the group that others are compared with; left out, the largest.
    threshold : quantile of the score above which people are chosen.
    patient : (row,) who; people are resampled.
    minimum : groups with fewer people are suppressed, and with them as many as it takes.

    Returns
    -------
    ProxyAudit
        Flags are by Holm over all groups and scores.

    Raises
    ------
    EvidenceError
        When columns differ in length, a score is not a number, or no two groups have enough people.

    Examples
    --------
    >>> from gemel.evidence.fairness.planted import PlantedBias
    >>> people = PlantedBias(delta=0.5).draw(3000, seed=1)
    >>> found = audit_proxy(people.score, people.need, people.group, replicates=200).group("B")
    >>> found.before.gap.low < 0.4 < found.before.gap.high, found.before.is_flagged
    (True, True)
    """
    columns = {"score": score, "need": need, **({NEED: need_score} if need_score is not None else {}), **(totals or {})}
    data = {name: np.asarray(column, float) for name, column in columns.items()}
    text = labels(group)
    if len({len(text), *map(len, data.values())} | ({len(patient)} if patient is not None else set())) != 1 or not len(text):
        raise EvidenceError(
            "the columns of an audit must have one length", seen={name: len(v) for name, v in data.items()} | {"group": len(text)}
        )
    for name in ("score", NEED):
        if name in data and not np.isfinite(data[name]).all():
            raise EvidenceError(
                f"a {name} is not a number",
                seen=f"row {int(np.flatnonzero(~np.isfinite(data[name]))[0]) + 1}",
                fix="leave the row out, and count it",
            )
    if bins < 2 or not 0 < threshold < 1:
        raise EvidenceError("an audit of a proxy needs two bins and a threshold quantile", seen=(bins, threshold))
    keep = np.isfinite(data["need"]) & (text != MISSING)
    counts = {"rows": len(text), "need_missing": int((~np.isfinite(data["need"])).sum()), "label_missing": int((text == MISSING).sum())}
    person = np.unique(np.arange(len(text)) if patient is None else np.asarray(patient), return_inverse=True)[1].reshape(-1)
    names, small, keep, base = _groups(text, person, keep, reference, minimum)
    code, person = np.searchsorted(names, text[keep]), np.unique(person[keep], return_inverse=True)[1].reshape(-1)
    data = {name: v[keep] for name, v in data.items()}
    run = _Run(data, code, len(names), base, bins, 1 - threshold, list(totals or {}))
    whole = run.at(np.ones((1, len(code))))
    drawn = [run.at(w.take(person, axis=1)) for w in resamples(int(person.max()) + 1, replicates, seed)]
    replicated = (
        {k: np.concatenate([d[k] for d in drawn]) for k in whole} if drawn else {k: np.zeros((0, *v.shape[1:])) for k, v in whole.items()}
    )
    groups = _compare(whole, replicated, names, base, run, level, alpha)
    concentrations = tuple(
        Concentration(name, by, top, _estimate(whole[f"{by}:{name}:{top}"][0], replicated[f"{by}:{name}:{top}"], level))
        for by in run.ranked for name in run.totals for top in TOPS
    )  # fmt: skip
    notes = (
        [f"{run.binned[PROXY].bins} of {bins} percentile bins are distinct: the score has ties."] if run.binned[PROXY].bins < bins else []
    )
    notes += [f"{name} has negative values: its concentration is not told." for name in totals or {} if name not in run.totals]
    for g in groups:
        if not g.is_explained:
            notes.append(
                f"{g.group}: difference not explained by a proxy alone. Mean need differs from {g.reference}'s, and a score that is not perfect then leaves a gap without any bias of its label."
            )
    return ProxyAudit(
        bins, threshold, groups, concentrations, small, counts | {"rows_used": len(code), "people": int(person.max()) + 1}, tuple(notes)
    )


def _groups(
    text: np.ndarray, person: np.ndarray, keep: np.ndarray, reference: str | None, minimum: int
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray, int]:
    """Return the groups that are shown, those that are not, the rows of the shown ones, and which is the reference."""
    sizes = {(("group", str(name)),): len(np.unique(person[keep & (text == name)])) for name in np.unique(text[keep])}
    sizes = {key: n for key, n in sizes.items() if n}
    gone = set().union(*suppressed({(): len(np.unique(person[keep])), **sizes}, minimum=minimum)) - {()}
    shown = {key[0][1]: n for key, n in sizes.items() if key not in gone}
    if len(shown) < 2:
        raise EvidenceError(
            "no two groups have enough people", seen=f"{len(shown)} shown, {len(gone)} suppressed", expected=f"{minimum} people each"
        )
    if reference is not None and reference not in shown:
        raise EvidenceError("the reference group is not shown", seen=reference, expected=sorted(shown))
    names = np.array(sorted(shown))
    base = reference if reference is not None else min(shown, key=lambda k: (-shown[k], k))
    return names, tuple(sorted(key[0][1] for key in gone)), keep & np.isin(text, names), int(np.searchsorted(names, base))


class _Run:
    """Everything that is computed under weights, at the data and in every resample."""

    def __init__(
        self, data: Mapping[str, np.ndarray], code: np.ndarray, groups: int, base: int, bins: int, top: float, totals: list[str]
    ) -> None:
        self.data, self.code, self.groups, self.base, self.top = data, code, groups, base, top
        self.scores = {PROXY: data["score"], **({NEED: data[NEED]} if NEED in data else {})}
        self.ranked = {name: _Ranked(s) for name, s in self.scores.items()}
        self.binned = {name: _Binned(s, data["need"], code, groups, bins) for name, s in self.scores.items()}
        self.normal = stats.norm.ppf((stats.rankdata(data["score"]) - 0.5) / len(code))
        self.totals = [name for name in totals if (data[name] >= 0).all()]

    def at(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        out = {}
        ones = np.ones(len(self.code))
        for name in self.scores:
            out[f"{name}:gap"], out[f"{name}:people"] = _gaps(*self.binned[name].means(weights), self.base)
            above = [self.ranked[name].share(weights, (self.code == g).astype(float), self.top, ones) for g in range(self.groups)]
            out[f"{name}:above"] = np.stack(above, axis=1)
            for label in self.totals:
                for top in TOPS:
                    out[f"{name}:{label}:{top}"] = self.ranked[name].share(weights, self.data[label], top)
        out["unexplained"] = _unexplained(weights, self.normal, self.data["need"], self.code, self.base, self.groups)
        out["by_proxy"] = out[f"{PROXY}:gap"] - out["unexplained"]
        return out


def _compare(
    whole: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray], names: np.ndarray, base: int, run: _Run, level: float, alpha: float
) -> tuple[GroupGap, ...]:
    def score(name: str, g: int) -> Score:
        gap = _estimate(whole[f"{name}:gap"][0, g], drawn[f"{name}:gap"][:, g], level)
        people = int(whole[f"{name}:people"][0, g])
        excess = Estimate(gap.value * people, gap.low * people, gap.high * people, level, gap.se * people)
        count, mean = run.binned[name].means(np.ones((1, len(run.code))))
        left = int((np.isnan(mean[0, g] - mean[0, base]) & (count[0, [g, base]].sum(axis=0) > 0)).sum())
        above = _estimate(whole[f"{name}:above"][0, g], drawn[f"{name}:above"][:, g], level)
        return Score(gap, excess, people, run.binned[name].bins, left, above, _p(gap))

    others = [g for g in range(len(names)) if g != base]
    made = {(name, g): score(name, g) for g in others for name in run.scores}
    adjusted = holm({key: s.p_value for key, s in made.items() if math.isfinite(s.p_value)})
    made = {
        key: Score(**{**vars(s), "adjusted": adjusted.get(key, math.nan), "is_flagged": adjusted.get(key, 1.0) <= alpha})
        for key, s in made.items()
    }
    out = []
    for g in others:
        parts = [_estimate(whole[k][0, g], drawn[k][:, g], level) for k in ("by_proxy", "unexplained")]
        after = made.get((NEED, g))
        change: list[Estimate | None] = [None, None]
        if after is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = [
                    1 - d[f"{NEED}:gap"][:, g] * d[f"{NEED}:people"][:, g] / (d[f"{PROXY}:gap"][:, g] * d[f"{PROXY}:people"][:, g])
                    for d in (whole, drawn)
                ]
            shift = [d[f"{NEED}:above"][:, g] - d[f"{PROXY}:above"][:, g] for d in (whole, drawn)]
            before = made[PROXY, g].gap
            change = [
                None if before.low <= 0 <= before.high else _estimate(ratio[0][0], ratio[1], level),
                _estimate(shift[0][0], shift[1], level),
            ]
        out.append(GroupGap(str(names[g]), str(names[base]), made[PROXY, g], parts[0], parts[1], after, change[0], change[1]))
    return tuple(out)
