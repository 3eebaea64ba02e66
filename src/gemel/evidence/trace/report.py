"""The matrix of a trace: requirement, hazards, items, tests and the runs that spoke to them, for one release; as plain values, as a view and as a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gemel import __version__
from gemel.core.advice import ShownOn
from gemel.core.errors import EvidenceError, GemelError
from gemel.core.manifest import installed
from gemel.core.view import Table, Text, View
from gemel.evidence.dossier import staleness
from gemel.evidence.fingerprint import model_hash
from gemel.evidence.run import EvidenceRun, Measured, latest
from gemel.evidence.study import Context, Found, Study
from gemel.evidence.trace.check import Checked, declared_studies, project_tests, trace_check
from gemel.evidence.trace.data import Requirement, Trace, trace_of

__all__ = [
    "Spoken",
    "TraceReport",
    "TraceRow",
    "trace_report",
    "trace_study",
    "trace_study_result",
    "trace_view",
    "traced_twins",
]

STANDING = (
    "Requirements, hazards and classes were written by the authors of the twin and are for a person to judge. That each is traced says that something named is "
    "there, not that it is enough. Severity, probability and their product are in the style of ISO 14971 and classes in that of IEC 62304, whose texts were not "
    "available: the scales, 1 to 5 each, are ours. Residual risk is accepted only where a person is named."
)


@dataclass(frozen=True)
class Spoken:
    """What a study said last: the id of its run, and whether that is current; empty where it was never run."""

    study: str
    run: str
    state: str


@dataclass(frozen=True)
class TraceRow:
    """One requirement with everything that hangs on it."""

    requirement: Requirement
    hazards: tuple[str, ...]
    items: tuple[str, ...]
    tests: tuple[str, ...]
    promises: tuple[str, ...]
    studies: tuple[Spoken, ...]
    is_orphan: bool


@dataclass(frozen=True)
class TraceReport:
    """The trace of one release of one twin."""

    trace: Trace
    model_hash: str
    rows: tuple[TraceRow, ...]
    checked: Checked

    @property
    def release(self) -> str:
        """Which release it is about."""
        return f"{self.trace.twin} {self.trace.version}, model {self.model_hash[:16]}, gemel {__version__}"

    @property
    def sentence(self) -> str:
        """What was found, in one line."""
        t = self.trace
        text = f"{len(t.requirements)} requirements, {len(t.hazards)} hazards, {len(t.items)} software items; {len(self.checked.orphans)} orphans"
        waiting = sum(h.accepted is None for h in t.hazards)
        text += f"; residual risk of {waiting} hazards waits for a person" if waiting else ""
        return text + ("; NOT CHECKED: " + "; ".join(self.checked.unchecked) if self.checked.unchecked else "")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        t = self.trace
        return {
            "twin": t.twin, "version": t.version, "model_hash": self.model_hash, "code_version": __version__, "passed": self.checked.passed, "sentence": self.sentence,
            "requirements": [
                {"id": r.requirement.id, "text": r.requirement.text, "origin": r.requirement.origin, "hazards": list(r.hazards), "items": list(r.items), "tests": list(r.tests),
                 "promises": list(r.promises), "studies": [vars(s) for s in r.studies], "orphan": r.is_orphan}
                for r in self.rows
            ],
            "hazards": [h.model_dump(mode="json") | {"risk": h.before.risk, "residual_risk": h.residual.risk} for h in t.hazards],
            "items": [i.model_dump(mode="json", by_alias=True) for i in t.items],
            "orphans": [vars(o) for o in self.checked.orphans], "unchecked": list(self.checked.unchecked),
        }  # fmt: skip


def traced_twins() -> dict[str, Trace | GemelError]:
    """Return the trace of every installed twin, or the error that keeps it from being read."""
    found: dict[str, Trace | GemelError] = {}
    for twin in installed():
        try:
            found[twin] = trace_of(twin)
        except GemelError as error:
            found[twin] = error
    return found


def _spoken(study: str, trace: Trace, model: str, runs: Sequence[EvidenceRun]) -> Spoken:
    run = latest(runs, twin=trace.twin, study=study)
    if run is None:
        return Spoken(study, "", "no run")
    changed = staleness(run, model)
    return Spoken(study, run.id, f"stale: {' and '.join(changed)} changed" if changed else "limits met" if run.met else "a limit is missed")


def trace_report(twin: str, *, runs: Iterable[EvidenceRun] = (), traces: Mapping[str, Trace | GemelError] | None = None) -> TraceReport:
    """Make the matrix of an installed twin, and check it.

    Parameters
    ----------
    twin : its id.
    runs : stored runs; of each study the newest stands in the matrix.
    traces : of all installed twins, where they were read already.

    Raises
    ------
    EvidenceError
        When the twin has no ``trace.toml``.
    """
    everyone = traced_twins() if traces is None else traces
    trace = everyone.get(twin) or trace_of(twin)
    if isinstance(trace, GemelError):
        raise trace
    model, kept, tests = model_hash(twin), list(runs), project_tests(trace)
    known = {r.id for t in everyone.values() if isinstance(t, Trace) for r in t.requirements}
    checked = trace_check(trace, tests, declared_studies(trace.folders[twin]), known=known)
    lost = {o.where for o in checked.orphans}
    classes = {i.id: f"{i.id} ({i.safety_class or 'no class'})" for i in trace.items}
    rows = []
    for r in trace.requirements:
        here = tests.get(r.origin)
        marked = here.marked(r.id) if here is not None else ()
        rows.append(
            TraceRow(
                r, tuple(h.id for h in trace.hazards_of(r.id)), tuple(classes.get(i, i) for i in r.items), tuple(dict.fromkeys((*r.tests, *marked))), r.promises,
                tuple(_spoken(s, trace, model, kept) for s in r.studies), r.id in lost,
            )
        )  # fmt: skip
    return TraceReport(trace, model, tuple(rows), checked)


def _joined(parts: Iterable[str], between: str = ", ") -> str:
    return between.join(parts) or "-"


def _matrix(report: TraceReport) -> Table:
    rows = report.rows
    columns = {
        "requirement": [r.requirement.id for r in rows], "what the software must do": [r.requirement.text for r in rows],
        "hazards it controls": [_joined(r.hazards) for r in rows], "software items (class)": [_joined(r.items) for r in rows],
        "tests": [_joined((*r.tests, *(f"contract: {p}" for p in r.promises)), " ") for r in rows],
        "studies and their last run": [_joined((f"{s.study}: {s.state}" + (f" ({s.run})" if s.run else "") for s in r.studies), "; ") for r in rows],
        "state": ["ORPHAN" if r.is_orphan else "traced" for r in rows],
    }  # fmt: skip
    promise = f"A contract check is run on this twin by {report.trace.contract}." if report.trace.contract else ""
    return Table.of(
        *((name, None, values) for name, values in columns.items()), title="Requirements", note=f"Release: {report.release}. {promise}"
    )


def _hazards(report: TraceReport) -> Table | None:
    rows = report.trace.hazards
    if not rows:
        return None
    columns = {
        "hazard": [h.id for h in rows], "situation": [h.situation for h in rows], "harm": [h.harm for h in rows], "before control": [h.before.words for h in rows],
        "controls": [_joined((f"{c.kind}: {c.what} ({_joined((*c.requirements, *c.tests))})" for c in h.controls), "; ") for h in rows],
        "residual": [h.residual.words for h in rows],
        "accepted": ["human judgement needed" if h.accepted is None else f"{h.accepted.by}, {h.accepted.date}: {h.accepted.why}" for h in rows],
    }  # fmt: skip
    return Table.of(
        *((name, None, values) for name, values in columns.items()),
        title="Hazards",
        note="Severity x probability, 1 to 5 each; the scales are ours.",
    )


def _items(report: TraceReport) -> Table | None:
    rows = report.trace.items
    if not rows:
        return None
    columns = {
        "software item": [i.id for i in rows], "what it does": [i.what for i in rows], "modules": [_joined(i.modules) for i in rows],
        "class": [i.safety_class or "none" for i in rows], "why": [i.why or "-" for i in rows],
    }  # fmt: skip
    return Table.of(*((name, None, values) for name, values in columns.items()), title="Software items")


def trace_view(report: TraceReport) -> View:
    """Describe a trace as one document: what was found, the matrix, hazards, items and orphans."""
    lost = report.checked.orphans
    orphans = Table.of(
        ("kind", None, [o.kind for o in lost]), ("where", None, [o.where for o in lost]), ("what is missing", None, [o.said for o in lost]), title="Orphans"
    ) if lost else None  # fmt: skip
    body = f"{report.sentence}.\n\nRelease: {report.release}."
    sections = [
        Text(title="In one page", body=body, tone="warning" if lost or report.checked.unchecked else "plain"), orphans, Text(title="How to read this", body=STANDING), _matrix(report),
        _hazards(report), _items(report),
    ]  # fmt: skip
    return View(
        id=f"trace-{report.trace.twin}", title=f"Trace: {report.trace.twin} {report.trace.version}", subtitle=f"{len(lost)} orphans",
        sections=tuple(s for s in sections if s is not None),
    )  # fmt: skip


def trace_study_result(twin: str) -> Found:
    """Check the trace of an installed twin as a study of its evidence (factor 1: software quality assurance).

    Raises
    ------
    EvidenceError
        When the twin has no trace, or was installed without its tests: then nothing can be said.
    """
    report = trace_report(twin)
    if report.checked.unchecked:
        raise EvidenceError(
            "the trace cannot be checked here", seen="; ".join(report.checked.unchecked), expected="a checkout with its tests", fix="run it in a clone of the repository"
        )  # fmt: skip
    trace, orphans = report.trace, report.checked.orphans
    lost = {o.where for o in orphans}
    on = ShownOn(kind="proof", n=len(trace.requirements), what="requirements, traced by their names")

    def share(name: str, ids: Sequence[str]) -> Measured:
        good = sum(i not in lost for i in ids)
        return Measured(name=name, value=float(good), low=float(len(ids)), met=good == len(ids), shown_on=on, note=f"of {len(ids)}")

    figures = (
        share("requirements with an item and something that shows them", [r.id for r in trace.requirements]),
        share("hazards with a control that something shows", [h.id for h in trace.hazards]),
        share("software items with class and requirement", [i.id for i in trace.items]),
        Measured(name="orphans in either direction", value=float(len(orphans)), high=0.0, met=not orphans, shown_on=on, note="; ".join(f"{o.where}: {o.kind}" for o in orphans[:5])),
        Measured(name="hazards whose residual risk a person accepted", value=float(sum(h.accepted is not None for h in trace.hazards)), shown_on=on, note=f"of {len(trace.hazards)}"),
    )  # fmt: skip
    rows = report.rows
    table = {
        "requirement": [r.requirement.id for r in rows], "hazards": [", ".join(r.hazards) for r in rows], "items": [", ".join(r.items) for r in rows],
        "tests": [len(r.tests) + len(r.promises) for r in rows], "studies": [", ".join(s.study for s in r.studies) for r in rows],
    }  # fmt: skip
    return Found(figures, {"matrix": table})


def _traced(context: Context) -> Found:
    return trace_study_result(context.room.id)


def trace_study() -> Study:
    """Return the study that checks a twin's trace."""
    return Study(
        "trace", "verification", "Requirements are traced to hazards, software and tests, without orphans.", _traced, (1,), always=True
    )
