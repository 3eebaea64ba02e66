"""Checklists of others, in our own words, answered from a dossier: what is shown, by what, and what waits for a person. Counts, never a percentage.

A row says by what it is shown, as links: all must hold. ``study:ID`` a current run that met its limits, ``reported:ID`` a current run whatever it found,
``kind:KIND`` the same of any study of a kind, ``figure:WORDS`` a current figure whose name has these words, ``people:real`` or ``people:replayed`` a current
run on such people, ``factor:N`` a credibility factor that reaches its goal, ``nasem:N4`` a row of conformance, ``manifest:FIELD`` a statement of the
manifest, ``file:NAME`` a file beside it, ``output:probability`` an output that is one, ``current`` no stale run, and ``judgement`` a person.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gemel.core.errors import EvidenceError, FormatError, GemelError
from gemel.core.manifest import TwinManifest, entry_point, package_dir
from gemel.core.view import Table, Text, View
from gemel.evidence.credibility import FACTORS
from gemel.evidence.dossier import Dossier
from gemel.evidence.nasem import ROWS
from gemel.evidence.run import EvidenceRun

__all__ = [
    "CHECKLISTS", "STATUSES", "Answer", "Answered", "Checklist", "ChecklistRow", "RowJudgement", "answer", "answer_all", "checklists_view", "load_checklist", "read_row_judgements",
]  # fmt: skip

CHECKLISTS = ("gmlp", "transparency", "fda_ai_draft_2025", "tripod_ai", "probast_ai", "decide_ai")
Status = Literal["shown", "stale", "not shown", "not applicable", "human judgement needed"]
STATUSES: tuple[str, ...] = get_args(Status)
JUDGEMENT = "judgement"

STANDING = (
    "Rows are in our own words, with edition and item; the documents' texts are not here. Shown means that what the row's links name is in the record now: a run "
    "that is current, or a statement of the manifest. Human judgement needed counts as nothing, and no program fills it. A person's judgement stands with name "
    "and date; it never makes good what a run should have shown. Rows from memory are to be checked by somebody who has the document."
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ChecklistRow(_Frozen):
    """One row: what is asked in our words, which item of the source it is, and by what it is shown.

    Parameters
    ----------
    evidence : links; all must hold.
    applies : a link without which the row does not apply, for the reason in ``otherwise``.
    standing : how the content is known, where it differs from that of the checklist.
    """

    id: str = Field(min_length=1)
    item: str = Field(min_length=1)
    requirement: str = Field(min_length=1)
    evidence: tuple[str, ...] = Field(min_length=1)
    applies: str = ""
    otherwise: str = ""
    standing: str = ""

    @field_validator("evidence", "applies")
    @classmethod
    def _known(cls, given: Any) -> Any:
        for link in (given,) if isinstance(given, str) and given else given or ():
            kind, _, name = link.partition(":")
            allowed = _NAMES.get(kind)
            if kind not in _LINKS or (allowed is not None and name not in allowed) or (allowed is None and not name):
                raise ValueError(f"link {link!r} names nothing: {kind}: {', '.join(sorted(allowed)) if allowed else 'a name is needed'}")
        return given


class Checklist(_Frozen):
    """A checklist: its edition, when its rows were written, and how its content is known."""

    id: str
    title: str
    edition: str = Field(min_length=1)
    written: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    standing: Literal["read", "second-hand", "from memory"]
    note: str = ""
    row: tuple[ChecklistRow, ...] = Field(min_length=1)

    def source_of(self, row: ChecklistRow) -> str:
        """Return edition, item and standing of a row."""
        return f"{self.edition}, {row.item} [{row.standing or self.standing}]"


class RowJudgement(_Frozen):
    """A person's answer to one row, with name and date; ``version`` is that of the twin it was given for, and another version asks anew."""

    checklist: str
    row: str
    status: Literal["shown", "not shown", "not applicable"]
    note: str = Field(min_length=1, pattern=r"\S")
    by: str = Field(min_length=1, pattern=r"\S")
    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    version: str = ""


@dataclass(frozen=True)
class Answer:
    """One row as it stands: status, why, by which runs, and which person judged it."""

    row: ChecklistRow
    source: str
    status: Status
    why: str
    runs: tuple[str, ...] = ()
    by: str = ""
    date: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "id": self.row.id, "requirement": self.row.requirement, "source": self.source, "evidence": list(self.row.evidence), "status": self.status, "why": self.why,
            "runs": list(self.runs), "by": self.by, "date": self.date,
        }  # fmt: skip


@dataclass(frozen=True)
class Answered:
    """A checklist with every row answered."""

    checklist: Checklist
    answers: tuple[Answer, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many rows have each status; ``judged by a person`` are among the others."""
        found = Counter(a.status for a in self.answers)
        return {status: found[status] for status in STATUSES} | {"judged by a person": sum(bool(a.by) for a in self.answers)}

    @property
    def sentence(self) -> str:
        """The counts in words, such as ``10 rows: 4 shown, 1 stale, 5 human judgement needed``."""
        parts = [f"{n} {status}" for status, n in self.counts.items() if n]
        return f"{len(self.answers)} rows: {', '.join(parts)}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        c = self.checklist
        told = {"id": c.id, "title": c.title, "edition": c.edition, "written": c.written, "standing": c.standing, "note": c.note}
        return told | {"counts": self.counts, "rows": [a.to_dict() for a in self.answers]}


Told = tuple[Status, str, tuple[str, ...]]


def _runs(d: Dossier, holds: Callable[[EvidenceRun], bool], what: str, *, must_meet: bool = True) -> Told:
    found = [r for r in d.runs if holds(r)]
    fresh = [r for r in found if not d.stale.get(r.id)]
    good = [r for r in fresh if r.met or not must_meet]
    if good:
        missed = "" if all(r.met for r in fresh) else "; a limit is missed in " + ", ".join(r.study or r.kind for r in fresh if not r.met)
        return (
            "shown",
            f"{what}: {', '.join(f'{r.study or r.kind}, {r.figures[0].shown_on}' for r in good)}{missed}",
            tuple(r.id for r in good),
        )
    if fresh:
        return "not shown", f"{what}: a limit is missed", tuple(r.id for r in fresh)
    if found:
        since = sorted({w for r in found for w in d.stale[r.id]})
        return "stale", f"{what}: the {' and '.join(since)} changed since", tuple(r.id for r in found)
    reason = d.missing.get(what.partition(" ")[2])
    return "not shown", f"{what}: no run" + (f" ({reason})" if reason else ""), ()


def _study(d: Dossier, name: str) -> Told:
    return _runs(d, lambda r: r.study == name, f"study {name}")


def _reported(d: Dossier, name: str) -> Told:
    return _runs(d, lambda r: r.study == name, f"study {name}", must_meet=False)


def _kind(d: Dossier, name: str) -> Told:
    return _runs(d, lambda r: r.kind == name, f"any {name}")


def _figure(d: Dossier, words: str) -> Told:
    return _runs(d, lambda r: any(words in f.name for f in r.figures), f"a figure of {words}", must_meet=False)


def _people(d: Dossier, kind: str) -> Told:
    kinds = ("real",) if kind == "real" else ("real", "replayed")
    return _runs(d, lambda r: any(f.shown_on.kind in kinds for f in r.figures), f"a run on {' or '.join(kinds)} people", must_meet=False)


def _factor(d: Dossier, number: str) -> Told:
    g = next(g for g in d.factors if g.factor.number == int(number))
    name = f"credibility factor {number}, {g.factor.name}"
    if g.is_adequate:
        return "shown", f"{name}: {g.why}", g.runs
    if g.status in ("stale", "human judgement needed"):
        return g.status, f"{name}: {g.why}", g.runs  # type: ignore[return-value]
    return "not shown", f"{name} does not reach its goal: {g.why}", g.runs


def _nasem(d: Dossier, id_: str) -> Told:
    row = next(r for r in d.conformance.rows if r.id == id_)
    return row.status, f"{id_}: {row.said}", row.runs


def _manifest(d: Dossier, name: str) -> Told:
    stated = getattr(d.manifest, name)
    return ("shown", f"{name} is stated", ()) if stated else ("not shown", f"{name} is not stated", ())


def _file(d: Dossier, name: str) -> Told:
    try:
        there = (package_dir(entry_point(d.manifest.id)) / name).is_file()
    except GemelError:
        there = False
    return ("shown", f"{name} is there", ()) if there else ("not shown", f"no {name} beside the manifest", ())


def _output(d: Dossier, name: str) -> Told:  # noqa: ARG001  one name only
    found = [o.name for o in d.manifest.outputs if o.unit == "1" and o.domain is not None and o.domain[0] >= 0 and o.domain[1] <= 1]
    return ("shown", f"a probability: {', '.join(found)}", ()) if found else ("not shown", "no output is a probability", ())


def _current(d: Dossier, name: str) -> Told:  # noqa: ARG001  no name
    if d.is_stale:
        return "stale", "a run of the dossier is stale", tuple(i for i, changed in d.stale.items() if changed)
    return ("shown", "every run is current", tuple(r.id for r in d.runs)) if d.runs else ("not shown", "there is no run", ())


_LINKS: dict[str, Callable[[Dossier, str], Told]] = {
    "study": _study, "reported": _reported, "kind": _kind, "figure": _figure, "people": _people, "factor": _factor, "nasem": _nasem, "manifest": _manifest,
    "file": _file, "output": _output, "current": _current, JUDGEMENT: lambda d, name: ("human judgement needed", "", ()),  # noqa: ARG005
}  # fmt: skip
_NAMES: dict[str, frozenset[str]] = {
    "people": frozenset(("real", "replayed")), "factor": frozenset(str(f.number) for f in FACTORS), "nasem": frozenset(ROWS),
    "manifest": frozenset(TwinManifest.model_fields), "output": frozenset(("probability",)), "current": frozenset(("",)), JUDGEMENT: frozenset(("",)),
}  # fmt: skip
"""What may stand after a link's colon; of the others any name."""


@lru_cache(maxsize=16)
def _load(path: Path) -> Checklist:
    try:
        found = Checklist(**tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        raise FormatError(f"{path.name} cannot be read", seen=error, expected="TOML") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise FormatError(f"{path.name} is no checklist", seen=f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    twice = [name for name, n in Counter(r.id for r in found.row).items() if n > 1]
    if twice:
        raise FormatError(f"{path.name} has a row twice", seen=", ".join(twice), expected="each id once")
    return found


def load_checklist(which: str | Path) -> Checklist:
    """Read a checklist: one of :data:`CHECKLISTS` by its id, or a file of a group's own.

    Raises
    ------
    EvidenceError
        When no checklist has that id.
    FormatError
        When a file is none.
    """
    if isinstance(which, Path):
        return _load(which)
    if which not in CHECKLISTS:
        raise EvidenceError("no such checklist", seen=which, expected=", ".join(CHECKLISTS))
    return _load(Path(__file__).parent / "checklists" / f"{which}.toml")


def read_row_judgements(path: Path) -> tuple[RowJudgement, ...]:
    """Read a file of judgements: TOML with a table ``[[judgement]]`` for each row (checklist, row, status, note, by, date, and version where it is to lapse).

    Judgements of credibility factors may stand in the same file; they are passed over.

    Raises
    ------
    FormatError
        When it cannot be read, or an entry lacks a field.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FormatError(f"{path.name} cannot be read", seen=error, expected="TOML") from error
    found = []
    for number, entry in enumerate(raw.get("judgement", ()), 1):
        if isinstance(entry, dict) and "factor" in entry and "checklist" not in entry:
            continue
        try:
            found.append(RowJudgement(**entry))
        except (ValidationError, TypeError) as error:
            first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
            raise FormatError(
                f"judgement {number} of {path.name} is not complete", seen=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
                expected="checklist, row, status (shown, not shown or not applicable), note, by and date",
            ) from error  # fmt: skip
    return tuple(found)


def _answer(row: ChecklistRow, checklist: Checklist, d: Dossier, judged: RowJudgement | None) -> Answer:
    def told(link: str) -> Told:
        kind, _, name = link.partition(":")
        return _LINKS[kind](d, name)

    source = checklist.source_of(row)
    if row.applies and told(row.applies)[0] == "not shown":
        return Answer(row, source, "not applicable", row.otherwise)
    parts = [told(link) for link in row.evidence]
    status = next((s for s in ("not shown", "stale", "human judgement needed") if any(p[0] == s for p in parts)), "shown")
    why = "; ".join(p[1] for p in parts if p[1])
    if status == "human judgement needed":
        why += ("; " if why else "") + "whether that is so is for a person to say"
    runs = tuple(dict.fromkeys(r for p in parts for r in p[2]))
    made = Answer(row, source, status, why, runs)  # type: ignore[arg-type]
    if judged is None:
        return made
    said = f"{judged.note} ({judged.by}, {judged.date})"
    if judged.version and judged.version != d.manifest.version:
        return replace(made, why=f"{why}; judged for version {judged.version}: {said}")
    if judged.status == "shown" and status != "human judgement needed":  # a person does not make good what a run should show
        return replace(made, why=f"{why}; a person notes: {said}")
    return replace(made, status=judged.status, why=f"{why}; {said}" if why else said, by=judged.by, date=judged.date)


def answer(checklist: Checklist, d: Dossier, judgements: Sequence[RowJudgement] = ()) -> Answered:
    """Answer every row of a checklist from a dossier.

    Parameters
    ----------
    judgements : of people. They fill rows that ask for one, and may lower any row or call it not applicable; none makes a row *shown* whose run is missing,
        stale or missed a limit.

    Raises
    ------
    EvidenceError
        When a row is judged twice, or none has that id.
    """
    mine = [j for j in judgements if j.checklist == checklist.id]
    by_row: dict[str, RowJudgement] = {}
    known = {r.id for r in checklist.row}
    for j in mine:
        if j.row not in known:
            raise EvidenceError("a judgement of no such row", seen=f"{j.checklist}, {j.row}", expected=", ".join(sorted(known)))
        if j.row in by_row:
            raise EvidenceError(
                "a row was judged twice", seen=f"{j.checklist}, {j.row}: {by_row[j.row].by}, {j.by}", fix="keep one judgement per row"
            )
        by_row[j.row] = j
    return Answered(checklist, tuple(_answer(row, checklist, d, by_row.get(row.id)) for row in checklist.row))


def answer_all(d: Dossier, judgements: Iterable[RowJudgement] = ()) -> tuple[Answered, ...]:
    """Answer all of :data:`CHECKLISTS`; see :func:`answer`.

    Raises
    ------
    EvidenceError
        Also when a judgement is of no such checklist.
    """
    given = tuple(judgements)
    for j in given:
        if j.checklist not in CHECKLISTS:
            raise EvidenceError("a judgement of no such checklist", seen=j.checklist, expected=", ".join(CHECKLISTS))
    return tuple(answer(load_checklist(name), d, given) for name in CHECKLISTS)


def checklists_view(d: Dossier, judgements: Iterable[RowJudgement] = ()) -> View:
    """Describe all checklists of a dossier as one document, counts first."""
    answered = answer_all(d, judgements)
    counts = [(status, "1", [float(a.counts[status]) for a in answered]) for status in (*STATUSES, "judged by a person")]
    sections: list[Text | Table] = [
        Table.of(("checklist", None, [a.checklist.title for a in answered]), ("edition", None, [a.checklist.edition for a in answered]), *counts, title="Rows by status", note="Counts. Rows judged by a person are among the others."),
        Text(title="How to read this", body=STANDING),
    ]  # fmt: skip
    for a in answered:
        c = a.checklist
        rows = {
            "row": [x.row.id for x in a.answers], "asks (our words)": [x.row.requirement for x in a.answers], "status": [x.status for x in a.answers], "why": [x.why or "-" for x in a.answers],
            "runs": [" ".join(x.runs) or "-" for x in a.answers], "judged by": [f"{x.by}, {x.date}" if x.by else "-" for x in a.answers], "source": [x.source for x in a.answers],
        }  # fmt: skip
        columns = ((name, None, values) for name, values in rows.items())
        sections.append(Table.of(*columns, title=c.title, note=f"{a.sentence}. {c.edition}; rows written {c.written}. {c.note}"))
    m = d.manifest
    return View(id=f"checklists-{m.id}", title=f"Checklists: {m.title}", subtitle=f"{m.id} {m.version}", sections=tuple(sections))
