"""The patient record: facts, each with the time it was true and the time it became known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from gemel.core.code import Code
from gemel.core.errors import DataError, TimeError, ValueRangeError
from gemel.core.geometry import Geometry
from gemel.core.lineage import digest, digest_once
from gemel.core.series import ENTERED_IN_ERROR, EXACT, FINAL, Series
from gemel.core.units import convert, parse_unit

__all__ = ["Demographics", "Document", "Exposure", "Fact", "Finding", "PatientRecord", "Quantity"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Quantity(_Frozen):
    """A number with its UCUM unit."""

    value: float
    unit: str

    @model_validator(mode="after")
    def _valid(self) -> Quantity:
        parse_unit(self.unit)
        if not np.isfinite(self.value):
            raise ValueRangeError("a quantity must be finite", seen=self.value, expected="a number")
        return self

    def in_unit(self, unit: str, *, analyte: str | None = None) -> float:
        """Return the value converted to ``unit``."""
        return float(convert(self.value, self.unit, unit, analyte=analyte))


class Exposure(_Frozen):
    """What was done to or taken by the patient: meal, insulin, drug, exercise, procedure.

    ``quantity`` is the whole dose over ``[start, end]``, or a rate when its unit is one (``[iU]/h``).
    ``uncertainty`` is the coefficient of variation of the amount, where the source knows it.
    """

    kind: Literal["exposure"] = "exposure"
    code: Code
    quantity: Quantity | None
    start: int
    end: int = Field(default=0)  # left out: start (_defaults)
    recorded: int = Field(default=0)  # left out: start (_defaults)
    source: str = "unknown"
    status: int = FINAL
    id: str = ""
    uncertainty: float | None = None
    note: str = ""

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: Any) -> Any:
        if isinstance(data, dict):
            data = dict(data)
            data.setdefault("end", data.get("start"))
            data.setdefault("recorded", data.get("start"))
        return data

    @model_validator(mode="after")
    def _valid(self) -> Exposure:
        if self.end < self.start:
            raise TimeError(f"exposure {self.code} ends before it starts", seen=f"{self.start} > {self.end}", expected="end >= start")
        return self

    @property
    def time(self) -> int:
        """When it began to be true, ns UTC."""
        return self.start

    @property
    def key(self) -> tuple[str, ...]:
        """What identifies this fact; a newer version of the same key supersedes."""
        return (
            ("exposure", self.id)
            if self.id
            else ("exposure", str(self.code), self.source, str(self.start), self.quantity.unit if self.quantity else "")
        )


class Finding(_Frozen):
    """A diagnosis, event, decision, outcome, or a single measurement at a place."""

    kind: Literal["finding"] = "finding"
    code: Code
    value: Quantity | Code | str | None = None
    time: int
    recorded: int = Field(default=0)  # left out: time (_defaults)
    status: int = FINAL
    source: str = "unknown"
    site: str = ""
    id: str = ""

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: Any) -> Any:
        if isinstance(data, dict):
            data = dict(data)
            data.setdefault("recorded", data.get("time"))
        return data

    @property
    def key(self) -> tuple[str, ...]:
        """What identifies this fact; a newer version of the same key supersedes."""
        return ("finding", self.id) if self.id else ("finding", str(self.code), self.source, self.site, str(self.time))


class Document(_Frozen):
    """A text or file about the patient, by content hash; the bytes live in the store."""

    kind: Literal["document"] = "document"
    title: str
    media_type: str
    sha256: str
    time: int
    recorded: int
    source: str = "unknown"

    @property
    def key(self) -> tuple[str, ...]:
        """What identifies this fact."""
        return ("document", self.sha256)


class Demographics(_Frozen):
    """What is known of the person. ``zone`` is the IANA time zone the person lives in; ``traits`` hold what a room declares as input."""

    sex: Literal["female", "male", "other", "unknown"] = "unknown"
    age: float | None = Field(default=None, ge=0, le=130, description="years at the start of the record")
    zone: str = "UTC"
    traits: dict[str, Quantity | str] = Field(default_factory=dict)


Fact = Series | Exposure | Finding | Document | Geometry


def _supersede(facts: tuple[Any, ...]) -> tuple[Any, ...]:
    newest: dict[tuple[str, ...], Any] = {}
    for fact in facts:
        old = newest.get(fact.key)
        if old is None or fact.recorded > old.recorded:
            newest[fact.key] = fact
    kept = [fact for fact in newest.values() if getattr(fact, "status", FINAL) != ENTERED_IN_ERROR]
    return tuple(sorted(kept, key=lambda fact: (fact.time, fact.key)))


class PatientRecord(_Frozen):
    """Everything known of one patient. Append only: a correction supersedes, nothing is edited.

    Examples
    --------
    >>> from gemel.core import Code, PatientRecord, Series
    >>> cgm = Series(code=Code.parse("loinc:99504-3"), unit="mg/dL", time=[0, 300_000_000_000], value=[110.0, 114.0])
    >>> record = PatientRecord(id="p1").with_facts(cgm)
    >>> len(record.as_of(0).series[0])
    1
    """

    id: str
    demographics: Demographics = Demographics()
    series: tuple[Series, ...] = ()
    exposures: tuple[Exposure, ...] = ()
    findings: tuple[Finding, ...] = ()
    geometry: tuple[Geometry, ...] = ()
    documents: tuple[Document, ...] = ()

    def with_facts(self, *facts: Fact) -> PatientRecord:
        """Return a record with these facts appended. Series of the same code, unit and source become one; the same fact twice enters once."""
        series = {(s.code, s.unit, s.source): s for s in self.series}
        lists: dict[str, list[Any]] = {
            "exposure": list(self.exposures),
            "finding": list(self.findings),
            "document": list(self.documents),
            "geometry": list(self.geometry),
        }
        versions: dict[str, dict[Any, list[Any]]] = {kind: {} for kind in lists}
        for kind, known in lists.items():
            for fact in known:
                versions[kind].setdefault(fact.key, []).append(fact)
        for fact in facts:
            if isinstance(fact, Series):
                place = (fact.code, fact.unit, fact.source)
                series[place] = series[place].append(fact) if place in series else fact
            elif fact.kind in lists:
                same = versions[fact.kind].setdefault(fact.key, [])
                if fact not in same:
                    same.append(fact)
                    lists[fact.kind].append(fact)
            else:
                raise DataError(
                    "not a fact of a record", seen=type(fact).__name__, expected="Series, Exposure, Finding, Document or Geometry"
                )
        return self.model_copy(
            update={
                "series": tuple(series.values()), "exposures": tuple(lists["exposure"]), "findings": tuple(lists["finding"]),
                "documents": tuple(lists["document"]), "geometry": tuple(lists["geometry"]),
            }
        )  # fmt: skip

    def as_of(self, now: int) -> PatientRecord:
        """Return what was KNOWN at ``now``: the one guard against look-ahead.

        Facts recorded later are not there; of several versions of one fact only the newest known one is.
        """
        return self.model_copy(
            update={
                "series": tuple(s for s in (s.as_of(now).current() for s in self.series) if len(s)),
                **{
                    name: _supersede(tuple(f for f in getattr(self, name) if f.recorded <= now))
                    for name in ("exposures", "findings", "documents", "geometry")
                },
            }
        )  # fmt: skip

    def find_series(self, *codes: Code) -> tuple[Series, ...]:
        """Return the series with any of these codes."""
        return tuple(s for s in self.series if s.code in codes)

    def exact_readings(self, *codes: Code, unit: str) -> tuple[np.ndarray, np.ndarray, int]:
        """Return current readings that are no limits, in order of time.

        Returns
        -------
        (n,) times, ns UTC; (n,) values in ``unit``; how many censored ones were left out.
        """
        parts = [s.current() for s in self.find_series(*codes)]
        if not parts:
            return np.zeros(0, np.int64), np.zeros(0), 0
        exact = [p.take(p.censored == EXACT) for p in parts]
        time, value = np.concatenate([p.time for p in exact]), np.concatenate([p.values_in(unit) for p in exact])
        order = np.argsort(time, kind="stable")
        return time[order], value[order], sum(map(len, parts)) - len(time)

    def find_exposures(self, *codes: Code) -> tuple[Exposure, ...]:
        """Return the exposures with any of these codes, in order of time."""
        return tuple(sorted((e for e in self.exposures if e.code in codes), key=lambda e: e.start))

    def facts(self) -> Iterable[Fact]:
        """Iterate over all facts."""
        yield from (*self.series, *self.exposures, *self.findings, *self.geometry, *self.documents)

    @property
    def hash(self) -> str:
        """Content hash of the facts, independent of the order in which they arrived. Not cached: ``model_copy`` would carry it over."""
        parts = sorted(digest_once(fact) for fact in (*self.exposures, *self.findings, *self.geometry, *self.documents))
        rows = sorted(
            digest(
                [
                    str(s.code),
                    s.unit,
                    s.source,
                    *(getattr(s, c)[np.lexsort((s.recorded, s.time))] for c in ("time", "value", "recorded", "status", "censored")),
                ]
            )
            for s in self.series
        )
        return digest([self.id, self.demographics, parts, rows])
