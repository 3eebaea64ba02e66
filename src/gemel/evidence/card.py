"""The model card: who, why, what, where, when and how, from the manifest and the stored runs; what is not in the record is said to be missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any, Literal

from gemel.core.errors import GemelError
from gemel.core.lineage import digest
from gemel.core.manifest import TwinManifest, VariableSpec, entry_point, package_dir
from gemel.core.time import iso
from gemel.core.view import Table, Text, View
from gemel.evidence.credibility import GRADES
from gemel.evidence.dossier import Dossier
from gemel.evidence.dossier_view import figure_text
from gemel.evidence.run import EvidenceRun, Measured

__all__ = ["QUESTIONS", "Card", "CardEntry", "card_of", "card_view"]

QUESTIONS = ("who", "why", "what", "where", "when", "how")
Question = Literal["who", "why", "what", "where", "when", "how"]
HEADS = {
    "who": "Who it is for, and who answers for it",
    "why": "Why there is such a model",
    "what": "What it is, takes, gives and cannot do",
    "where": "Where it may be used, and on whom it was shown",
    "when": "When it was made, measured and changed",
    "how": "How it works, and how well",
}
PERFORMANCE = ("validation", "calibration", "loop", "surveillance", "fairness")
"""Kinds of run whose figures stand on the card itself; of the others it says where they are."""

MOST = 12
"""Figures of one run that stand on the card; those that missed a limit stand there all."""


@dataclass(frozen=True)
class CardEntry:
    """One statement of the card: under which question, about what, in words, and whence it comes.

    Parameters
    ----------
    source : *manifest*, *package*, *record* (the dossier's own state) or the id of a run.
    is_missing : whether it says that something is not in the record.
    """

    question: Question
    label: str
    text: str
    source: str
    is_missing: bool = False


@dataclass(frozen=True)
class Card:
    """A model card, as plain values: JSON, page and PDF are made from it alone."""

    twin: str
    version: str
    title: str
    sentence: str
    model_hash: str
    code_version: str
    time: int
    entries: tuple[CardEntry, ...]
    is_stale: bool = False

    def about(self, question: str) -> tuple[CardEntry, ...]:
        """Return the entries under one question."""
        return tuple(e for e in self.entries if e.question == question)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON; ``hash`` is of all the others."""
        told = {k: getattr(self, k) for k in ("twin", "version", "title", "sentence", "model_hash", "code_version", "time")}
        told |= {
            "stale": self.is_stale,
            **{q: [{k: v for k, v in vars(e).items() if k != "question"} for e in self.about(q)] for q in QUESTIONS},
        }
        return told | {"hash": digest(told)}


def _variable(v: VariableSpec) -> str:
    reach = f", {v.domain[0]:g} to {v.domain[1]:g}" if v.domain else ""
    return f"{v.name} ({v.unit}{reach}{', needed' if v.required else ''})" + (f": {v.description}" if v.description else "")


def _point(twin: str) -> EntryPoint | None:
    try:
        return entry_point(twin)
    except GemelError:
        return None


def _provider(point: EntryPoint | None) -> str:
    if point is None or point.dist is None:
        return ""
    meta = point.dist.metadata
    authors = next((meta[k] for k in ("Author", "Author-email") if k in meta), "")
    return f"{meta['Name']} {point.dist.version}" + (f" ({authors})" if authors else "")


def _has_plan(point: EntryPoint | None) -> bool:
    try:
        return point is not None and (package_dir(point) / "pccp.toml").is_file()
    except GemelError:
        return False


def _who(d: Dossier, point: EntryPoint | None) -> Iterator[CardEntry]:
    m = d.manifest
    provider = _provider(point)
    yield CardEntry("who", "provided by", provider or "not told", "package", not provider)
    yield CardEntry("who", "users and patients", m.context_of_use, "manifest")
    yield from (CardEntry("who", "not for", line, "manifest") for line in m.not_for)
    if m.risk is None:
        yield CardEntry("who", "risk judged by", "nobody has judged it: the highest is assumed", "manifest", True)
    else:
        yield CardEntry("who", "risk judged by", f"{m.risk.by}, {m.risk.date}", "manifest")
    judges = sorted({f"{j.by} ({j.date})" for j in d.judgements})
    yield CardEntry("who", "judgements by", "; ".join(judges) or "nobody has judged a factor of credibility", "record", not judges)


def _why(m: TwinManifest, d: Dossier) -> Iterator[CardEntry]:
    yield CardEntry("why", "question", m.question, "manifest")
    rationale = (
        f"{d.risk} of 5, influence {m.risk.influence} and consequence {m.risk.consequence} of 3: {m.risk.rationale}"
        if m.risk
        else f"{d.risk} of 5, assumed"
    )
    yield CardEntry("why", "what rests on it", rationale, "manifest", m.risk is None)


def _what(m: TwinManifest) -> Iterator[CardEntry]:
    yield CardEntry("what", "model", m.title, "manifest")
    yield from (CardEntry("what", "takes", _variable(v), "manifest") for v in m.inputs)
    yield from (CardEntry("what", "gives", _variable(v), "manifest") for v in m.outputs)
    yield from (CardEntry("what", "hands to other twins", f"{p.name} ({p.unit})", "manifest") for p in m.exports)
    yield from (CardEntry("what", "takes from other twins", f"{p.name} ({p.unit})", "manifest") for p in m.imports)
    yield CardEntry("what", "limits of knowledge", m.thin or "the manifest does not say", "manifest", not m.thin)


def _where(d: Dossier) -> Iterator[CardEntry]:
    yield from (
        CardEntry("where", "validated for", f"{name}: {low:g} to {high:g}", "manifest") for name, (low, high) in d.manifest.domain.items()
    )
    people = [(r, on) for r in _fresh(d) for on in dict.fromkeys(f.shown_on for f in r.figures) if on.kind in ("real", "replayed")]
    for run, on in people:
        yield CardEntry("where", "shown on people", f"{on} ({run.study or run.kind})", run.id)
    if not people:
        yield CardEntry("where", "shown on people", "no current run is on real or replayed people", "record", True)
    factor = next(g for g in d.factors if g.factor.number == 13)
    yield CardEntry(
        "where",
        "distance from the context of use",
        f"{factor.status}: {factor.why}",
        " ".join(factor.runs) or "record",
        not factor.is_adequate,
    )


def _when(d: Dossier, point: EntryPoint | None) -> Iterator[CardEntry]:
    m = d.manifest
    yield CardEntry("when", "version", f"{m.version}, model {d.model_hash[:16]}, gemel {d.code_version}", "manifest")
    yield CardEntry("when", "card made", iso(d.time), "record")
    if d.runs:
        times = [r.time for r in d.runs]
        yield CardEntry("when", "measured", f"{len(d.runs)} studies, {iso(min(times))} to {iso(max(times))}", "record")
    else:
        yield CardEntry("when", "measured", "nothing was measured", "record", True)
    for run in d.runs:
        if d.stale.get(run.id):
            yield CardEntry("when", "stale", f"{run.study or run.kind}: the {' and '.join(d.stale[run.id])} changed since", run.id, True)
    planned = _has_plan(point)
    yield CardEntry(
        "when",
        "updates",
        "held against pccp.toml, a change-control plan made before (gemel change)"
        if planned
        else "no change-control plan (pccp.toml) lies beside the manifest: a new version is a new model",
        "package",
        not planned,
    )
    watched = [r for r in _fresh(d) if r.kind == "surveillance"]
    yield CardEntry(
        "when",
        "watched",
        "; ".join(r.claim or r.study or r.kind for r in watched) or "no run of surveillance is in the record",
        watched[0].id if watched else "record",
        not watched,
    )


def _fresh(d: Dossier) -> list[EvidenceRun]:
    return [r for r in d.runs if not d.stale.get(r.id)]


def _result(f: Measured) -> str:
    limit = {True: "limit met", False: "limit MISSED", None: "no limit"}[f.met]
    return f"{f.name}: {figure_text(f)}, {limit}; {f.shown_on}" + (f" ({f.note})" if f.note else "")


def _results(label: str, run: EvidenceRun) -> Iterator[CardEntry]:
    yield from (CardEntry("how", label, _result(f), run.id) for f in run.figures[:MOST])
    rest = run.figures[MOST:]
    if rest:
        missed = sum(f.met is False for f in rest)
        yield CardEntry("how", label, f"and {len(rest)} more figures in this run, {missed} of which missed a limit", run.id)


def _how(d: Dossier) -> Iterator[CardEntry]:
    n1 = next(r for r in d.conformance.rows if r.id == "N1")
    yield CardEntry(
        "how",
        "logic",
        f"equations or rules after the sources below, inferred for one person and kept current by that person's data: {n1.said}",
        " ".join(n1.runs) or "record",
    )
    yield CardEntry(
        "how",
        "is it a twin",
        f"{d.conformance.label}; rows not shown: {', '.join(r.id for r in d.conformance.rows if r.status != 'shown') or 'none'}",
        "record",
    )
    fresh = _fresh(d)
    told = [r for kind in PERFORMANCE for r in fresh if r.kind == kind]
    for run in told:
        yield from _results("subgroups" if run.kind == "fairness" else f"performance ({run.kind})", run)
    if not any(r.kind == "validation" for r in told):
        yield CardEntry("how", "performance (validation)", "no current run of validation is in the record", "record", True)
    yield from _failures(fresh)
    if not any(r.kind == "fairness" for r in told):
        yield CardEntry("how", "subgroups", "not assessable: no current run compares subgroups", "record", True)
    for g in d.factors:
        if not g.is_adequate:
            yield CardEntry(
                "how",
                "gap",
                f"{g.factor.name} ({GRADES[g.gradation]}, goal {GRADES[g.goal]}): {g.status}; {g.why}",
                " ".join(g.runs) or "record",
                True,
            )
    yield from (CardEntry("how", "gap", f"study {study} was not run: {why}", "record", True) for study, why in sorted(d.missing.items()))
    yield from (
        CardEntry(
            "how", "evidence", f"{r.study or r.kind}: {r.claim.rstrip('.') or '-'}; printed again by: {r.command or 'not told'}", r.id
        )
        for r in d.runs
    )
    yield from (CardEntry("how", "source", s, "manifest") for s in d.manifest.sources)


def _failures(fresh: Sequence[EvidenceRun]) -> Iterator[CardEntry]:
    missed = [(r, f) for r in fresh for f in r.figures if f.met is False]
    for run, f in missed:
        yield CardEntry("how", "known failure", _result(f), run.id)
    if not missed:
        said = "no current run missed a limit; that is not to say that there is none" if fresh else "nothing was measured, so none is known"
        yield CardEntry("how", "known failure", said, "record", not fresh)


def card_of(d: Dossier) -> Card:
    """Make the model card of a dossier.

    Returns
    -------
    Card
        Every entry names its source; what the record lacks is an entry too, marked missing.
    """
    m, point = d.manifest, _point(d.manifest.id)
    entries = (*_who(d, point), *_why(m, d), *_what(m), *_where(d), *_when(d, point), *_how(d))
    return Card(m.id, m.version, m.title, d.sentence, d.model_hash, d.code_version, d.time, entries, d.is_stale)


def card_view(card: Card) -> View:
    """Describe a model card as one document: one table for each of the six questions."""
    sections: list[Text | Table] = [
        Text(
            title="In one line",
            body=f"{card.sentence}.\n\nResearch software: no output is a medical device's. Each line names its source: the manifest (stated by the authors), the package, the record, or a run.",
            tone="warning" if card.is_stale else "plain",
        )
    ]
    for question in QUESTIONS:
        entries = card.about(question)
        sections.append(
            Table.of(
                ("about", None, [e.label for e in entries]), ("what is said", None, [e.text for e in entries]), ("source", None, [e.source for e in entries]),
                ("in the record", None, ["MISSING" if e.is_missing else "yes" for e in entries]), title=f"{question.capitalize()}: {HEADS[question]}",
            )
        )  # fmt: skip
    sections.append(
        Text(
            title="Made from",
            body=f"twin {card.twin} {card.version}, model {card.model_hash}, gemel {card.code_version}, at {iso(card.time)}",
        )
    )
    state = "STALE, " if card.is_stale else ""
    return View(
        id=f"card-{card.twin}", title=f"Model card: {card.title}", subtitle=f"{state}{card.twin} {card.version}", sections=tuple(sections)
    )
