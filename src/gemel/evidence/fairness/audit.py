"""Audit any model's predictions by subgroup and intersection: what differs, by how much, how surely, and what cannot be said."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from gemel.core.advice import ShownOn
from gemel.core.errors import EvidenceError
from gemel.core.lineage import digest
from gemel.evidence.comparisons import holm
from gemel.evidence.diagnostic import Estimate
from gemel.evidence.fairness.report import Difference, FairnessReport, Gap, Settings, Subgroup, Worst
from gemel.evidence.fairness.scored import MISSING, Scored, check_leaks, labels, not_collected
from gemel.evidence.fairness.subgroups import METRICS, Measured, badness, measure
from gemel.evidence.fairness.suppression import Key, suppressed

__all__ = ["Difference", "FairnessReport", "Gap", "Settings", "Subgroup", "Worst", "audit"]

MOST_VALUES = 50
_INCOMPLETE = 0.1


def _cells(groups: Mapping[str, np.ndarray], person: np.ndarray, depth: int) -> tuple[dict[Key, np.ndarray], dict[Key, int]]:
    """Return the rows and the number of people of every group and intersection that anybody is in."""
    coded = {name: np.unique(column, return_inverse=True) for name, column in groups.items()}
    rows: dict[Key, np.ndarray] = {}
    for k in range(1, depth + 1):
        for names in itertools.combinations(coded, k):
            place = np.zeros(len(person), int)
            for name in names:
                place = place * len(coded[name][0]) + coded[name][1].reshape(-1)
            order = np.argsort(place, kind="stable")
            for part in np.split(order, np.flatnonzero(np.diff(place[order])) + 1):
                rows[tuple((name, str(groups[name][part[0]])) for name in names)] = part
    return rows, {key: len(np.unique(person[part])) for key, part in rows.items()}


def _estimates(measured: Measured, level: float) -> dict[str, Estimate]:
    out = {}
    for j, name in enumerate(METRICS):
        if math.isfinite(measured.value[j]):
            out[name] = _whole(_estimate(float(measured.value[j]), measured.drawn[:, j], level), float(measured.trials[j]))
    return out


def _estimate(value: float, drawn: np.ndarray, level: float) -> Estimate:
    """Return the percentile interval; none where more than one resample in ten has no value."""
    real = drawn[np.isfinite(drawn)]
    if len(real) < 2 or len(real) < 0.9 * len(drawn):
        return Estimate(value, math.nan, math.nan, level)
    low, high = np.quantile(real, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), level, float(real.std(ddof=1)))


def _whole(e: Estimate, trials: float) -> Estimate:
    """Return the exact interval of a share that is none or all: resamples of such people cannot tell that it is not."""
    if e.se != 0 or not trials > 0 or e.value not in (0.0, 1.0):
        return e
    far = 1 - ((1 - e.level) / 2) ** (1 / trials)
    return Estimate(e.value, 0.0 if e.value == 0 else 1 - far, far if e.value == 0 else 1.0, e.level, 0.0)


def audit(
    scored: Scored, groups: Mapping[str, Sequence[object] | None], *, settings: Settings | None = None, reference: Mapping[str, str] | None = None,
    elsewhere: Sequence[str] = (), shown_on: ShownOn | None = None,
) -> FairnessReport:  # fmt: skip
    """Audit predictions by subgroup and intersection.

    Parameters
    ----------
    scored : the predictions and what happened.
    groups : attribute -> (row,) labels; None, or nothing but missing labels, makes an attribute *not assessable*. Missing labels are a group of their own,
        which is shown and not compared.
    settings : left out, the defaults of :class:`Settings`.
    reference : attribute -> label of the group that others are compared with; left out, the largest.
    elsewhere : usual attributes (:data:`gemel.evidence.fairness.scored.USUAL`) that are held under another name.
    shown_on : on whom; left out, *replayed* on as many people as there are.

    Raises
    ------
    EvidenceError
        When labels and rows differ in number, an attribute has more than 50 values, fewer than the smallest number of people are there, or an input
        holds the outcome.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = rng.uniform(0.05, 0.95, 2000)
    >>> site = np.where(np.arange(2000) % 2, "a", "b")
    >>> report = audit(Scored(outcome=rng.random(2000) < p, probability=p), {"site": site, "sex": None}, settings=Settings(replicates=200))
    >>> report.group(site="a").people, report.not_assessable
    (1000, {'sex': 'no labels were given'})
    """
    asked = Settings() if settings is None else settings
    if not 0 < asked.threshold < 1:
        raise EvidenceError("a threshold probability lies between 0 and 1", seen=asked.threshold)
    check_leaks(scored)
    person = scored.people
    everybody = int(person.max()) + 1
    if everybody < asked.minimum:
        raise EvidenceError("too few people for an audit", seen=everybody, expected=f"{asked.minimum} or more")
    present, missing = _labelled(scored, groups)
    rows, sizes = _cells(present, person, min(asked.depth, len(present)))
    small, complements = suppressed({(): everybody, **sizes}, minimum=asked.minimum)
    hidden = small | complements
    shown = [key for key in rows if key not in hidden]
    measured = dict(
        zip(
            [(), *shown],
            measure(
                scored,
                [np.arange(scored.rows), *(rows[key] for key in shown)],
                threshold=asked.threshold,
                replicates=asked.replicates,
                seed=asked.seed,
            ),
            strict=True,
        )
    )

    def group(key: Key) -> Subgroup:
        if key in hidden:
            return Subgroup(key, "suppressed", None, None, None, {})
        m = measured[key]
        return Subgroup(key, "few" if m.people < asked.few else "shown", m.rows, m.people, m.events, _estimates(m, asked.level))

    every = tuple(group(key) for key in rows)
    sets = [s for k in range(1, asked.depth + 1) for s in itertools.combinations(present, k)]
    found, untested = _differences(every, measured, sets, dict(reference or {}), asked)
    gaps = [gap for s in sets if s for gap in _gaps(_of(every, s), measured, asked.level)]
    worst = [w for s in [*sets, ()] for w in _worst(_of(every, s) if s else [g for g in every if _usable(g)], s, scored.level)]
    return FairnessReport(
        settings=asked, shown_on=shown_on or ShownOn(kind="replayed", n=everybody), data=_fingerprint(scored, present), overall=group(()), groups=every,
        differences=tuple(found), gaps=tuple(gaps), worst=tuple(worst), not_assessable=missing,
        not_collected=tuple(name for name in not_collected(present, elsewhere)), counts=_counts(scored, everybody, len(small), len(complements)),
        notes=_notes(scored, present, person, every, hidden), untested=untested, level=scored.level, resampled={key: m.drawn for key, m in measured.items()},
    )  # fmt: skip


def _labelled(scored: Scored, groups: Mapping[str, Sequence[object] | None]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    present, missing = {}, {}
    for name, column in groups.items():
        if column is None:
            missing[name] = "no labels were given"
            continue
        text = labels(column)
        if len(text) != scored.rows:
            raise EvidenceError(f"labels of {name!r} and rows differ in number", seen=(len(text), scored.rows))
        values = np.unique(text)
        if (values == MISSING).all():
            missing[name] = "every label is missing"
        elif len(values) > MOST_VALUES:
            raise EvidenceError(
                f"{name!r} has too many values to be groups",
                seen=len(values),
                expected=f"at most {MOST_VALUES}",
                fix="band it: age:18:40:65",
            )
        else:
            present[name] = text
    return present, missing


def _usable(g: Subgroup) -> bool:
    return g.standing != "suppressed" and g.is_known


def _of(groups: Sequence[Subgroup], attributes: Sequence[str]) -> list[Subgroup]:
    return [g for g in groups if g.attributes == tuple(attributes) and _usable(g)]


def _differences(
    every: Sequence[Subgroup], measured: Mapping[Key, Measured], sets: Sequence[tuple[str, ...]], reference: dict[str, str], asked: Settings
) -> tuple[list[Difference], int]:
    """Compare every shown group with the reference of its attributes; a measure with too few outcomes of a kind on either side is not tested."""
    made: list[tuple[tuple[str, ...], str, str, str, Estimate, float]] = []
    untested = 0
    for attributes in sets:
        members = _of(every, attributes)
        wanted = tuple((a, reference[a]) for a in attributes if a in reference)
        first = [g for g in members if g.key == wanted] if len(wanted) == len(attributes) else []
        if wanted and len(attributes) == 1 and not first:
            raise EvidenceError("the reference group is not shown", seen=dict(wanted), expected=[g.label for g in members])
        if len(members) < 2:
            continue
        base = first[0] if first else min(members, key=lambda g: (-(g.people or 0), g.label))
        for g in members:
            if g is base:
                continue
            a, b = measured[g.key], measured[base.key]
            for j, name in enumerate(METRICS):
                if not METRICS[name].is_compared or name not in g.metrics or name not in base.metrics:
                    continue
                gap = _estimate(float(a.value[j] - b.value[j]), a.drawn[:, j] - b.drawn[:, j], asked.level)
                if not (a.is_comparable[j] and b.is_comparable[j] and gap.se > 0):
                    untested += 1
                    continue
                made.append((attributes, name, g.label, base.label, gap, float(2 * stats.norm.sf(abs(gap.value) / gap.se))))
    adjusted = holm(dict(enumerate(m[-1] for m in made)))
    return [Difference(*m, adjusted[i], adjusted[i] <= asked.alpha) for i, m in enumerate(made)], untested


def _gaps(members: Sequence[Subgroup], measured: Mapping[Key, Measured], level: float) -> list[Gap]:
    out = []
    for j, name in enumerate(METRICS):
        have = [g for g in members if name in g.metrics]
        if len(have) < 2:
            continue
        high, low = max(have, key=lambda g: g.metrics[name].value), min(have, key=lambda g: g.metrics[name].value)
        a, b = high.metrics[name].value, low.metrics[name].value
        drawn = measured[high.key].drawn[:, j] - measured[low.key].drawn[:, j]
        out.append(
            Gap(have[0].attributes, name, high.label, low.label, _estimate(a - b, drawn, level), b / a if a > 0 and b >= 0 else math.nan)
        )
    return out


def _worst(members: Sequence[Subgroup], attributes: Sequence[str], level: float) -> list[Worst]:
    out = []
    for name, metric in METRICS.items():
        have = [g for g in members if name in g.metrics]
        if metric.better != "" and have:
            worst = max(have, key=lambda g: badness(name, g.metrics[name].value, level))
            out.append(Worst(tuple(attributes), name, worst.label, worst.metrics[name]))
    return out


def _counts(scored: Scored, people: int, small: int, complements: int) -> dict[str, int]:
    told = {"rows": scored.rows, "people": people, "abstained": int((~scored.given).sum()), "groups_suppressed": small + complements}
    for name in ("outcome", "value"):
        column = getattr(scored, name)
        if column is not None:
            told[f"{name}_missing"] = int(np.isnan(column).sum())
    return told


def _notes(
    scored: Scored, present: Mapping[str, np.ndarray], person: np.ndarray, every: Sequence[Subgroup], hidden: set[Key]
) -> tuple[str, ...]:
    notes = []
    for name in ("outcome", "value"):
        column = getattr(scored, name)
        if column is not None and (lost := int(np.isnan(column).sum())):
            more = "; more than one in ten: the audit is INCOMPLETE" if lost > _INCOMPLETE * scored.rows else ""
            notes.append(f"{lost} of {scored.rows} rows have no {name} and are left out of what needs it{more}.")
    if scored.has_certain:
        notes.append("Some probabilities are exactly 0 or 1: there is no calibration intercept and no slope, and nothing was clipped.")
    for name, column in present.items():
        missing = int((column == MISSING).sum())
        if missing and (((name, MISSING),) not in hidden):
            notes.append(f"{name}: {missing} of {scored.rows} rows have no label; they are shown as a group of their own and not compared.")
        pairs = np.unique(np.column_stack([person.astype(str), column]), axis=0) if scored.patient is not None else None
        if pairs is not None and len(pairs) > len(np.unique(person)):
            notes.append(f"{name}: some people stand in more than one group.")
    if scored.predicted is not None and scored.patient is not None and _is_shuffled(scored.predicted, person):
        notes.append("The rows of a person are not in the order of time.")
    if any(key in hidden for key in (g.key for g in every)):
        notes.append(
            "Groups with too few people are suppressed, and with them as many as it takes that none can be worked out by subtraction."
        )
    return tuple(notes)


def _is_shuffled(time: np.ndarray, person: np.ndarray) -> bool:
    order = np.argsort(person, kind="stable")
    return bool(((time[order][1:] < time[order][:-1]) & (person[order][1:] == person[order][:-1])).any())


def _fingerprint(scored: Scored, groups: Mapping[str, np.ndarray]) -> str:
    columns = {name: v for name, v in vars(scored).items() if isinstance(v, np.ndarray) and v.dtype.kind in "fbiu"}
    return digest([columns, {name: list(v) for name, v in groups.items()}])[:32]
