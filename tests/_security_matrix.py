"""The security matrix: role, purpose, consent and surface, every cell of it over a small world; and the same rules written again in Cedar.

The Cedar policies are written from decision record 14, not from the code, and are the independent oracle.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gemel.platform.access import ROLES, BreakGlass, Resource, Role, Subject, decide
from gemel.platform.access_sql import compile_predicate, packed
from gemel.platform.consent import Consent, Datum, Rule

NOW = 1_000_000
PURPOSES = ("TREAT", "ETREAT", "HRESCH", "HOPERAT", "PATRQT", "HMARKT", "")
SURFACES = {
    "read": "read", "vread": "vread", "history": "history", "search": "search", "_include": "include", "_revinclude": "revinclude",
    "chained": "chained", "_has": "has", "count": "count", "$export": "export", "Subscription": "subscribe", "stream": "stream",
    "CDS prefetch": "prefetch", "forecast": "forecast", "posterior": "posterior", "DICOM QIDO/WADO": "image", "audit": "audit", "metrics": "metrics",
    "error text": "error",
}  # fmt: skip
MODEL = "m@1.2"
BOUND = frozenset({"m@1"})


def _consent(**changes) -> tuple[Consent, ...]:
    return (Consent(**{"id": "c", "patient": "p1", "base": True, "given": 1, "models": BOUND, **changes}),)


CONSENTS: dict[str, tuple[Consent, ...]] = {
    "none": (),
    "permit": _consent(),
    "deny": _consent(base=False),
    "withdrawn": _consent(status="inactive"),
    "expired": _consent(valid=(0, NOW)),
    "not yet valid": _consent(valid=(NOW + 1, 2 * NOW)),
    "partial class": _consent(rules=(Rule(False, kinds=frozenset({"MedicationRequest"})),)),
    "R/V label": _consent(rules=(Rule(False, labels=frozenset({"R", "V"})),)),
}


def _row(pid: str, ref: str, kind: str = "Observation", *labels: str, research: bool = False, time: int | None = 5) -> Datum:
    return Datum(pid, ref, kind, labels=frozenset(labels), is_research=research, time=time, author="Practitioner/9")


WORLD = (
    _row("p1", "a"), _row("p1", "b", "Observation", "N"), _row("p1", "c", "Observation", "R"), _row("p1", "d", "Observation", "N", "V"),
    _row("p1", "e", "Observation", "PSY"), _row("p1", "f", "MedicationRequest", time=None), _row("p1", "g", research=True),
    _row("p1", "h", "Observation", "R", research=True), _row("p1", "i", "MedicationRequest", "L", research=True), _row("p2", "j"),
    _row("p2", "k", research=True),
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    role: Role
    purpose: str
    consent: str
    surface: str

    @property
    def action(self) -> str:
        return SURFACES[self.surface]

    @property
    def model(self) -> str:
        return MODEL if self.surface in ("forecast", "posterior") else ""

    def subject(self) -> Subject:
        related = self.role in ("patient", "proxy", "nurse", "physician", "device")
        glass = BreakGlass("p1", "found unconscious", NOW - 1) if self.purpose == "ETREAT" else None
        return Subject(f"Person/{self.role}", self.role, patients=frozenset({"p1"} if related else ()), glass=glass)


def cells() -> Iterator[Cell]:
    for role, purpose, consent, surface in itertools.product(ROLES, PURPOSES, CONSENTS, SURFACES):
        yield Cell(role, purpose, consent, surface)


def decided(cell: Cell) -> set[str]:
    """The rows that ``decide`` shows."""
    subject, consents = cell.subject(), CONSENTS[cell.consent]
    return {d.ref for d in WORLD if decide(subject, cell.action, Resource(d, model=cell.model), cell.purpose, consents, NOW)}


def table(rows: tuple[Datum, ...]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE TABLE r (pid TEXT NOT NULL, ref TEXT NOT NULL, kind TEXT NOT NULL, codes TEXT NOT NULL, labels TEXT NOT NULL, time_ns INTEGER, "
        "author TEXT, basis TEXT NOT NULL, research INTEGER NOT NULL) STRICT"
    )
    connection.executemany("INSERT INTO r VALUES (?,?,?,?,?,?,?,?,?)", [values(d) for d in rows])
    return connection


def values(d: Datum) -> tuple[Any, ...]:
    return (d.pid, d.ref, d.kind, packed(d.codes), packed(d.labels), d.time, d.author, packed(d.basis), int(d.is_research))


def selected(cell: Cell, connection: sqlite3.Connection) -> set[str]:
    """The rows that the compiled condition selects."""
    made = compile_predicate(cell.subject(), cell.action, cell.purpose, CONSENTS[cell.consent], NOW, model=cell.model)
    return {ref for (ref,) in connection.execute(f"SELECT ref FROM r WHERE {made.sql}", made.parameters)}


# --- the same in Cedar ---

_SEEN = ["read", "vread", "history", "search", "include", "revinclude", "chained", "has", "count", "stream", "prefetch", "image", "error"]


def _actions(*names: str) -> str:
    return "action in [" + ", ".join(f'Action::"{n}"' for n in names) + "]"


_HOLDS = "context.consent.patient == resource.pid && context.consent.active && context.consent.start <= context.now && context.now < context.consent.end"
_FINE = "context.consent.permit && !context.consent.kinds.contains(resource.kind) && !context.consent.labels.containsAny(resource.labels)"
_AGREES = f"({_HOLDS} && {_FINE})"
_NO_REFUSAL = f"!({_HOLDS} && !({_FINE}))"
_OWN = "principal.patients.contains(resource.pid)"
_NOT_V = '!resource.labels.contains("V")'
_ONLY_N = "resource.plain"
_FORECAST, _POSTERIOR, _EXPORT, _SUBSCRIBE = "forecast", "posterior", "export", "subscribe"


def _permit(role: str, purposes: str, actions: str, *conditions: str) -> str:
    wanted = " || ".join(f'context.purpose == "{p}"' for p in purposes.split())
    return f'permit (principal, {actions}, resource) when {{ principal.role == "{role}" && ({wanted}) && {" && ".join(conditions or ("true",))} }};'


POLICIES = "\n".join(
    [
        _permit("patient", "PATRQT", _actions(*_SEEN, _FORECAST, _POSTERIOR, _EXPORT, _SUBSCRIBE, "audit"), _OWN),
        _permit("proxy", "PATRQT", _actions(*_SEEN, _FORECAST, _EXPORT, _SUBSCRIBE), _OWN, _ONLY_N, _NO_REFUSAL),
        _permit("nurse", "TREAT", _actions(*_SEEN, _FORECAST, _SUBSCRIBE), _OWN, _NOT_V, _AGREES),
        _permit("physician", "TREAT", _actions(*_SEEN, _FORECAST, _POSTERIOR, _SUBSCRIBE), _OWN, _AGREES),
        *(
            _permit(role, "ETREAT", _actions(*_SEEN, _FORECAST), "principal.glass.contains(resource.pid)", _NOT_V, _NO_REFUSAL)
            for role in ("nurse", "physician", "other-physician")
        ),
        _permit(
            "researcher", "HRESCH",
            _actions(*(a for a in _SEEN if a not in ("prefetch", "stream", "error")), _FORECAST, _POSTERIOR, _EXPORT),
            _ONLY_N, "resource.research", _AGREES,
        ),
        _permit("device", "TREAT", _actions("stream", _SUBSCRIBE, _FORECAST), _OWN, _ONLY_N, _AGREES),
        _permit("service", "TREAT HOPERAT", _actions(*_SEEN, _FORECAST, _POSTERIOR, _EXPORT, _SUBSCRIBE), _NOT_V, _AGREES),
        _permit("service", "HOPERAT", _actions("metrics")),
        _permit("administrator", "HOPERAT", _actions("metrics", "audit")),
    ]
)  # fmt: skip

_OPEN = {"start": 0, "end": 10 * NOW, "kinds": [], "labels": [], "patient": "p1", "active": True, "permit": True}
_TOLD = {
    "none": _OPEN | {"active": False}, "permit": _OPEN, "deny": _OPEN | {"permit": False}, "withdrawn": _OPEN | {"active": False},
    "expired": _OPEN | {"end": NOW}, "not yet valid": _OPEN | {"start": NOW + 1}, "partial class": _OPEN | {"kinds": ["MedicationRequest"]},
    "R/V label": _OPEN | {"labels": ["R", "V"]},
}  # fmt: skip


def entities() -> list[dict[str, Any]]:
    """Everybody and everything, as Cedar knows them."""
    people = [
        {"uid": {"type": "User", "id": f"{role} {glass}"}, "attrs": {"role": role, "glass": ["p1"] if glass else [],
         "patients": ["p1"] if role in ("patient", "proxy", "nurse", "physician", "device") else []}, "parents": []}
        for role in ROLES for glass in (True, False)
    ]  # fmt: skip
    rows = [
        {"uid": {"type": "Row", "id": d.ref}, "attrs": {"pid": d.pid, "kind": d.kind, "labels": sorted(d.labels), "research": d.is_research,
         "plain": all(label in ["U", "L", "M", "N"] for label in d.labels)}, "parents": []}
        for d in WORLD
    ]  # fmt: skip
    return people + rows


def request(cell: Cell, ref: str) -> dict[str, Any]:
    return {
        "principal": {"type": "User", "id": f"{cell.role} {cell.purpose == 'ETREAT'}"}, "action": {"type": "Action", "id": cell.action},
        "resource": {"type": "Row", "id": ref}, "context": {"purpose": cell.purpose, "now": NOW, "consent": _TOLD[cell.consent]},
    }  # fmt: skip
