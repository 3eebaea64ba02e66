"""What a resource is about, as the guard asks it: whose it is, its codes and labels, its time, its author, and what it was made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gemel.interop.fhir import schema
from gemel.interop.fhir.search_values import FIRST, DateValue, ReferenceValue, Value
from gemel.platform.access_sql import packed
from gemel.platform.consent import Datum
from gemel.platform.store.index_rows import NOBODYS

__all__ = ["NOBODY", "UNPLACED", "Described", "datum_of", "describe"]

NOBODY = ""
"""Of nobody who is treated: an organisation, a definition."""

UNPLACED = "unplaced"
"""The pseudonym under which what is somebody's is kept when it does not say whose, or names several: nobody has a relation to it, so nobody sees it
but whom a consent for this pseudonym lets."""

_MARKS = {0: None, 0x1F: None}  # what separates values of a set, and what PostgreSQL does not keep in a text
_FIRST = ("subject", "patient", "beneficiary", "individual")
_AUTHORS = ("author", "performer", "recorder", "asserter", "requester", "participant", "practitioner", "provider", "source")
_TIMES = ("date", "onset-date", "authoredon", "period", "performed", "authored", "recorded-date", "created", "started", "issued", "sent", "when-prepared",
          "effective-time", "collected")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Described:
    """What decides about a resource: whose it is (a pseudonym, :data:`NOBODY` or :data:`UNPLACED`), and the columns of the access condition."""

    owner: str
    codes: str
    labels: str
    time: int | None
    author: str | None
    basis: str


def _patient(value: ReferenceValue) -> str | None:
    if value.type != "Patient" or value.id is None:
        return None
    return value.id if value.url is None else f"{value.url}/Patient/{value.id}"


def _owner(kind: str, rid: str, references: Sequence[tuple[str, ReferenceValue]]) -> str:
    if kind == "Patient":
        return rid
    if kind == "Group":  # a list of people: it is about none of them alone
        return NOBODY
    named = {code: who for code, value in references if (who := _patient(value)) is not None}
    several = {who for code, value in references if code in _FIRST and (who := _patient(value)) is not None}
    if not several:
        others = schema.compartment("Patient").get(kind, ())
        several = {who for code, value in references if code in others and (who := _patient(value)) is not None}
    if len(several) == 1:
        return several.pop()
    if several or kind not in NOBODYS:
        return NOBODY if kind == "Device" and not named else UNPLACED
    return NOBODY


def _codings(value: Any) -> Iterable[str]:
    for one in value if isinstance(value, (tuple, list)) else (value,):
        if isinstance(one, Mapping):
            for coding in one.get("coding") or ((one,) if "code" in one and "system" in one else ()):
                if isinstance(coding, Mapping) and isinstance(coding.get("code"), str):
                    yield f"{coding.get('system') or ''}|{coding['code']}".translate(_MARKS)


def _labels(tree: Mapping[str, Any]) -> set[str]:
    meta = tree.get("meta")
    found = meta.get("security") if isinstance(meta, Mapping) else None
    return {
        one["code"].translate(_MARKS)
        for one in (found if isinstance(found, (tuple, list)) else ())
        if isinstance(one, Mapping) and isinstance(one.get("code"), str)
    }


def describe(kind: str, rid: str, tree: Mapping[str, Any], values: Sequence[tuple[str, Value]]) -> Described:
    """Return what decides about a resource.

    Parameters
    ----------
    tree : the resource. values : what :func:`gemel.interop.fhir.index.search_values` finds in it.
    """
    references = [(code, value) for code, value in values if isinstance(value, ReferenceValue)]
    owner = _owner(kind, rid, references)
    codes = {
        code
        for key in ("code", "category", "vaccineCode", "medicationCodeableConcept", "type")
        if key in tree
        for code in _codings(tree[key])
    }
    times = {code: value.low for code, value in values if isinstance(value, DateValue) and value.low != FIRST}
    local = [
        (code, f"{value.type}/{value.id}".translate(_MARKS)) for code, value in references if value.id is not None and value.url is None
    ]
    author = next((ref for wanted in _AUTHORS for code, ref in local if code == wanted and not ref.startswith("Patient/")), None)
    basis = {ref for _, ref in local if not ref.startswith("Patient/")}
    return Described(
        owner, packed(codes), packed(_labels(tree)), next((times[t] for t in _TIMES if t in times), None), author, packed(basis)
    )


def _set(text: str) -> frozenset[str]:
    return frozenset(one for one in text.split("\x1f") if one)


def datum_of(pid: str, ref: str, kind: str, found: Described, *, is_research: bool = False) -> Datum:
    """Return the same as the guard's question."""
    return Datum(
        pid, ref, kind, _set(found.codes), _set(found.labels), found.time, found.author, _set(found.basis), is_research
    )  # fmt: skip
