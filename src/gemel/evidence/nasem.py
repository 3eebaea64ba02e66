"""Is it a twin? The definition of the National Academies (2024) as rows that are computed from stored runs; nothing can be declared.

The split into rows is ours. The definition: doi:10.17226/26894. A published review's criteria were not available: these rows are not theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gemel.core.advice import ShownOn
from gemel.core.manifest import TwinManifest
from gemel.evidence.bootstrap import clustered_interval
from gemel.evidence.life import LifeEvent
from gemel.evidence.run import EvidenceRun

__all__ = ["COVERED", "LABELS", "LEAST", "ROWS", "Conformance", "Row", "check_nasem"]

Status = Literal["shown", "not shown", "stale"]
LABELS = ("virtual cohort", "model", "shadow", "twin (simulated loop)", "twin (live loop)")
LEAST = 3
"""People on whom a row must hold. One could be chance; the number stands beside every row."""
NOISE_NATS = 0.02
"""Divergence of 2,048 draws of a prior of twelve parameters from that prior, twice over: less than this is not learning."""
COVERED = (0.85, 0.95)
"""What the interval, over people, of the measured coverage of 90 % intervals must reach into."""

ROWS = {
    "N1": "structure and context: a versioned model with patient-specific parameters, and a stated context of use",
    "N2": "updated from its physical twin: two or more assimilations at distinct times, each moving the posterior",
    "N3": "predictive: forecasts stored before their outcomes were recorded, and scored",
    "N4": "informs decisions: advice with alternatives, utility and a path to abstain",
    "N5": "bidirectional: advice delivered, decided on, carried out, and its effect assimilated",
    "N6": "personalised: the posterior differs from the prior, and forecasts beat the population's twin on what it had not seen",
    "N7": "explicit uncertainty: intervals with measured coverage",
    "N8": "continual verification, validation and uncertainty quantification, by runs as new as the model; surveillance active",
}


@dataclass(frozen=True)
class Row:
    """One requirement: whether it was shown, on whom, and by which runs."""

    id: str
    requirement: str
    status: Status
    said: str
    shown_on: ShownOn | None = None
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conformance:
    """All rows of one twin and the label that they earn."""

    twin: str
    version: str
    label: str
    rows: tuple[Row, ...]

    @property
    def is_twin(self) -> bool:
        """Whether every row was shown."""
        return self.label.startswith("twin")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        rows = [{**r.__dict__, "shown_on": r.shown_on and r.shown_on.model_dump(), "runs": list(r.runs)} for r in self.rows]
        return {"twin": self.twin, "version": self.version, "label": self.label, "rows": rows}


@dataclass(frozen=True)
class _Life:
    """The events of one patient in one run."""

    run: EvidenceRun
    events: tuple[LifeEvent, ...]

    def of(self, *kinds: str) -> list[LifeEvent]:
        return [e for e in self.events if e.kind in kinds]


def _lives(runs: Iterable[EvidenceRun]) -> list[_Life]:
    found: dict[tuple[str, str], list[LifeEvent]] = {}
    by_id = {}
    for run in runs:
        by_id[run.id] = run
        for event in run.life:
            found.setdefault((run.id, event.patient), []).append(event)
    return [_Life(by_id[run], tuple(events)) for (run, _), events in found.items()]


def _is_updated(life: _Life) -> bool:
    moved = {e.time for e in life.of("assimilated") if e.values.get("divergence", 0.0) > 0.0}
    return len(moved) >= 2


def _is_predictive(life: _Life) -> bool:
    said = {e.id: e for e in life.of("forecast")}
    return any(s.of in said and said[s.of].recorded < s.recorded and s.values.get("n", 0) > 0 for s in life.of("scored"))


def _is_bidirectional(life: _Life) -> bool:
    delivered = {e.of for e in life.of("delivered")}
    for act in life.of("act"):
        answered = [d for d in life.of("decision") if d.of == act.of and d.recorded <= act.recorded]
        effect = [e for e in life.of("assimilated") if e.time > act.time and e.values.get("divergence", 0.0) > 0.0]
        if act.of in delivered and answered and effect and act.values.get("facts", 0.0) > 0:
            return True
    return False


def _shown(lives: Sequence[_Life], what: str = "") -> ShownOn | None:
    """Return on whom: the best kind among the runs, and its people."""
    kinds = ("real", "replayed", "simulated", "phantom", "proof")
    for kind in kinds:
        n = sum(any(f.shown_on.kind == kind for f in life.run.figures) for life in lives)
        if n:
            return ShownOn(kind=kind, n=n, what=what)  # type: ignore[arg-type]
    return None


def _people(id_: str, lives: list[_Life], holds: Callable[[_Life], bool], many: str, none: str) -> Row:
    good = [life for life in lives if holds(life)]
    status: Status = "shown" if len(good) >= LEAST else "not shown"
    said = f"{len(good)} of {len(lives)} people: {many}" if lives else none
    return Row(id_, ROWS[id_], status, said, _shown(good), tuple(sorted({life.run.id for life in good})))


def _structure(manifest: TwinManifest, lives: list[_Life]) -> Row:
    own = [life for life in lives if any(e.values.get("parameters", 0) > 0 for e in life.of("calibrated"))]
    stated = bool(manifest.version and manifest.context_of_use and manifest.inputs)
    said = f"version {manifest.version}; {len(manifest.inputs)} inputs; " + (
        f"{int(own[0].of('calibrated')[0].values['parameters'])} parameters inferred for each of {len(own)} people"
        if own
        else "no individual's parameters"
    )
    return Row(
        "N1", ROWS["N1"], "shown" if own and stated else "not shown", said, _shown(own), tuple(sorted({life.run.id for life in own}))
    )


def _advice(lives: list[_Life]) -> Row:
    proposals = [(life, e) for life in lives for e in life.of("proposal")]
    chosen = [life for life, e in proposals if not e.values.get("abstained") and e.values.get("plans", 0) >= 2 and "utility" in e.values]
    declined = [life for life, e in proposals if e.values.get("abstained")]
    said = f"{len(chosen)} of {len(proposals)} with alternatives and utility, {len(declined)} abstained with a reason"
    status: Status = "shown" if len(chosen) >= LEAST and declined else "not shown"
    return Row("N4", ROWS["N4"], status, said, _shown(chosen), tuple(sorted({life.run.id for life in chosen + declined})))


def _personal(lives: list[_Life]) -> Row:
    with_kl = [life for life in lives if life.of("calibrated")]
    both = [(life, e) for life in lives for e in life.of("scored") if "population" in e.values]
    if not both or len(with_kl) < LEAST:
        return Row("N6", ROWS["N6"], "not shown", "no forecast was scored beside the population's")
    nats = np.array([life.of("calibrated")[0].values.get("divergence", 0.0) for life in with_kl])
    low_nats = clustered_interval(lambda w: float(w @ nats / w.sum()), len(nats))[0]
    mine = np.array([e.values["crps"] * e.values["n"] for _, e in both])
    theirs = np.array([e.values["population"] * e.values["n"] for _, e in both])
    gain = 100 * (1 - mine.sum() / theirs.sum())
    low, high = clustered_interval(lambda w: 100 * (1 - float(w @ mine) / max(float(w @ theirs), 1e-300)), len(both))
    said = (
        f"{nats.mean():.1f} nats from the prior (at least {low_nats:.1f}); CRPS {gain:+.0f} % against the population's twin [{low:.0f}, {high:.0f}], "
        f"{len(both)} people"
    )
    status: Status = "shown" if low_nats > NOISE_NATS and low > 0 and len(both) >= LEAST else "not shown"
    return Row("N6", ROWS["N6"], status, said, _shown([life for life, _ in both]), tuple(sorted({life.run.id for life, _ in both})))


def _covered(runs: Sequence[EvidenceRun]) -> Row:
    figures = [(r, f) for r in runs for f in r.figures if f.name.startswith("coverage of 90 % intervals")]
    if not figures:
        return Row("N7", ROWS["N7"], "not shown", "no run measured the coverage of intervals")
    met = [f.met is not False for _, f in figures]
    _, best = min(figures, key=lambda p: ("real", "replayed", "simulated", "phantom", "proof").index(p[1].shown_on.kind))
    values = [f.value for _, f in figures]
    said = f"{sum(met)} of {len(met)} within their limits; {min(values):.3f} to {max(values):.3f} where 0.90 is claimed"
    status: Status = "shown" if all(met) else "not shown"
    return Row("N7", ROWS["N7"], status, said, best.shown_on, tuple(sorted({r.id for r, _ in figures})))


def _continual(runs: Sequence[EvidenceRun]) -> Row:
    have = {kind: [r for r in runs if r.kind == kind] for kind in ("verification", "calibration", "surveillance")}
    missing = [kind for kind, found in have.items() if not found]
    unmet = [kind for kind, found in have.items() if found and kind != "surveillance" and not all(r.met for r in found)]
    said = (f"no run of {', '.join(missing)}" if missing else "verification, calibration and surveillance are as new as the model") + (
        f"; limits not met in {', '.join(unmet)}" if unmet else ""
    )
    found = [r for group in have.values() for r in group]
    kinds = [f.shown_on for r in have["surveillance"] for f in r.figures]
    return Row(
        "N8", ROWS["N8"], "not shown" if missing or unmet else "shown", said, kinds[0] if kinds else None, tuple(r.id for r in found)
    )


def _label(rows: Sequence[Row], lives: list[_Life]) -> str:
    ok = {r.id: r.status == "shown" for r in rows}
    if not any(life.of("calibrated") for life in lives):
        return "virtual cohort"
    if all(ok.values()):
        n5 = next(r for r in rows if r.id == "N5")
        return "twin (live loop)" if n5.shown_on is not None and n5.shown_on.kind == "real" else "twin (simulated loop)"
    return "shadow" if ok["N1"] and ok["N2"] and ok["N3"] else "model"


def check_nasem(manifest: TwinManifest, runs: Iterable[EvidenceRun], model_hash: str) -> Conformance:
    """Compute the rows and the label of a twin from stored runs.

    Parameters
    ----------
    manifest : of the twin.
    runs : any runs; only those about this twin count, and only those of the model as it is now.
    model_hash : :func:`gemel.evidence.fingerprint.model_hash` of the twin as it is installed.

    Returns
    -------
    Conformance
        A row that only runs of another model speak to is *stale*.
    """
    mine = [r for r in runs if r.twin == manifest.id]
    fresh = [r for r in mine if not r.stale(model_hash)]
    rows = _all_rows(manifest, fresh)
    if len(fresh) < len(mine):
        old = {r.id: r for r in _all_rows(manifest, mine)}
        rows = [
            Row(
                r.id,
                r.requirement,
                "stale",
                f"was shown for another version of the model: {old[r.id].said}",
                old[r.id].shown_on,
                old[r.id].runs,
            )
            if r.status == "not shown" and old[r.id].status == "shown"
            else r
            for r in rows
        ]
    return Conformance(manifest.id, manifest.version, _label(rows, _lives(fresh)), tuple(rows))


def _all_rows(manifest: TwinManifest, runs: Sequence[EvidenceRun]) -> list[Row]:
    lives = _lives(runs)
    return [
        _structure(manifest, lives),
        _people("N2", lives, _is_updated, "assimilated twice or more, the posterior moved each time", "nobody was assimilated"),
        _people("N3", lives, _is_predictive, "a forecast was stored before its outcome was recorded, and scored", "nothing was forecast"),
        _advice(lives),
        _people("N5", lives, _is_bidirectional, "advised, decided, done, and its effect assimilated", "nothing was done on advice"),
        _personal(lives),
        _covered(runs),
        _continual(runs),
    ]
