"""Observations at speed: what one server writes repeats itself, so that most of a resource was read before.

A resource is cut where its elements begin: status, category and code; subject and encounter; time; value and what follows. Each cut that was seen before is known by its
bytes, with its search values and what it means for the record; only ids, times and numbers are read anew. A cut that is new is read by :func:`gemel.interop.fhir.codec.decode`,
:func:`gemel.interop.fhir.index.search_values` and :func:`gemel.interop.fhir.mapping.map_resource`, the same as any resource, and so is whatever does not fit: the answer is the same, bit for
bit, as a test on every example shows.

A run of complete members between braces is a JSON object exactly when it can be decoded between braces of its own; members that stand twice are refused, since each cut may hold
its own members only. A marker cannot hide in a text, where its quotes would be escaped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from gemel.core.errors import FormatError
from gemel.core.record import Finding
from gemel.core.series import FINAL
from gemel.core.time import MINUTE
from gemel.interop.fhir.codec import Element, decode
from gemel.interop.fhir.index import search_values
from gemel.interop.fhir.mapping import Mapped, Point, Site, map_resource
from gemel.interop.fhir.mapping.base import Refused, Resolve
from gemel.interop.fhir.mapping.values import patient_of
from gemel.interop.fhir.search_values import DateValue, TokenValue, date_range, parsed_reference
from gemel.interop.fhir.slots import Pair, Slot, put, slots_of

__all__ = ["ObservationReader", "Read"]

_HEAD = b'{"resourceType":"Observation","id":"'
_ID = re.compile(rb"[A-Za-z0-9\-.]{1,64}").match
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,25})?(?=[,}])").match
_SPLIT = re.compile(rb'("value":)(-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,25})?)(?=[,}])')
_new: Any = tuple.__new__  # a NamedTuple made without its keyword handling, which costs as much as all else
_PEOPLE = re.compile(
    rb'"subject":\{"reference":"([^"\\\x00-\x1f\x80-\xff]{1,200})"\},(?:"encounter":\{"reference":"([^"\\\x00-\x1f\x80-\xff]{1,200})"\},)?'
).fullmatch
_STAMP = re.compile(rb"([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{3}))?(Z|[+-][0-9]{2}:[0-9]{2})").fullmatch
_UTC = (b"Z", b"+00:00")
_FIRST = frozenset({"meta", "implicitRules", "language", "text", "extension", "identifier", "basedOn", "partOf"})
_WHAT = frozenset({"status", "category", "code"})
_WHOM = frozenset({"subject", "focus", "encounter"})
_AFTER = frozenset({"performer"})
_AHEAD = 2 * MINUTE
_SENTINEL = 7_003_001.25  # read back from a template, where a number goes; no two of a template are the same
_MOST = 50_000
_QUANTITY = b'"valueQuantity":{"value":'
_COMPONENT = b'"component":['


class Read(NamedTuple):
    """One Observation: its id, whom it is about, its search values, its readings and findings; ``slow`` is what the mapping said where it was asked."""

    id: str
    patient: str | None
    values: list[Pair]
    points: list[Point]
    findings: list[Finding]
    slow: Mapped | None = None


class _Template(NamedTuple):
    """What status, category, code and value come to, without ids, times and numbers."""

    fixed: tuple[Pair, ...]
    slots: tuple[Slot, ...]
    points: tuple[Point, ...]
    finding: Finding | None
    members: frozenset[str]


class _Fragment(NamedTuple):
    values: tuple[Pair, ...]
    members: frozenset[str]
    patient: str | None = None


class ObservationReader:
    """Reads, normalises and indexes Observations of one sender.

    Parameters
    ----------
    received : ns UTC, when they arrived here.
    site : what the sender leaves out.
    resolve : finds what a reference leads to.

    Examples
    --------
    >>> raw = (b'{"resourceType":"Observation","id":"w","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"29463-7"}]},"subject":{"reference":"Patient/p"},'
    ...     b'"effectiveDateTime":"1970-01-01T00:01:00Z","issued":"1970-01-01T00:02:00Z","valueQuantity":{"value":70.5,"system":"http://unitsofmeasure.org","code":"kg"}}')
    >>> reader = ObservationReader(received=10**18)
    >>> found = reader.read(raw)
    >>> found.patient, found.points[0].value, len(found.values), reader.read(raw) == found
    ('p', 70.5, 11, True)
    """

    def __init__(self, *, received: int, site: Site | None = None, resolve: Resolve | None = None) -> None:
        self._received, self._site, self._resolve = received, site or Site(), resolve
        self._what: dict[bytes, dict[Any, _Template | None]] = {}
        self._whom: dict[bytes, _Fragment | None] = {}
        self._other: dict[bytes, _Fragment | None] = {}
        self._times: dict[bytes, tuple[int, Pair] | None] = {}
        self._days: dict[bytes, int] = {}
        self._shapes: dict[tuple[str | None, str | None, bool], tuple[tuple[str, int], ...]] = {}
        self._credit = 1000
        self._latest = received + _AHEAD

    def read(self, raw: bytes) -> Read:
        """Read one Observation.

        Raises
        ------
        FormatError
            When it is not JSON that can be kept.
        DataError
            When it is no resource of FHIR R4.
        """
        if self._credit < 0:
            self._credit += 4  # nothing repeats: cutting costs more than it saves, and is tried again later
            return self._slow(raw)
        found = self._fast(raw) if raw.startswith(_HEAD) else None
        if found is None:
            self._credit -= 5
            return self._slow(raw)
        if self._credit < 1000:
            self._credit += 1
        return found

    def _slow(self, raw: bytes) -> Read:
        tree = decode(raw)
        mapped = map_resource(tree, received=self._received, site=self._site, resolve=self._resolve)
        return Read(mapped.id, mapped.patient, search_values(tree), mapped.points, mapped.findings, mapped)

    def _fast(self, raw: bytes) -> Read | None:
        named = _ID(raw, 36)
        if named is None:
            return None
        end_id = named.end()
        find = raw.find
        status = find(b'"status":"', end_id)
        subject = find(b'"subject":{', status)
        effective = find(b'"effectiveDateTime":"', subject)
        end_time = find(b'"', effective + 21)
        issued = end_time + 12
        value = find(b'"value', end_time)
        if not end_id < status < subject < effective < end_time < value or raw[end_time:issued] != b'","issued":"':
            return None  # without issued it became known when it was updated, or arrived: by the long way
        end_issued = find(b'"', issued)
        several = find(_COMPONENT, end_issued, value)
        if several > 0:
            value = several
        when = self._times.get(raw[effective + 21 : end_time]) or self._time(raw[effective + 21 : end_time])
        known = self._times.get(raw[issued:end_issued]) or self._time(raw[issued:end_issued])
        whom = self._whom.get(raw[subject:effective]) or self._fragment(self._whom, raw[subject:effective], _WHOM)
        if when is None or known is None or whom is None or whom.patient is None:
            return None
        time, recorded = when[0], known[0]
        if not time <= recorded <= self._latest:
            return None
        templates = self._what.get(raw[status:subject])
        if templates is None:
            if len(self._what) > _MOST:
                self._what.clear()
            templates = self._what[raw[status:subject]] = {}
        texts: tuple[bytes, ...]
        if raw.startswith(_QUANTITY, value):
            number = _NUMBER(raw, value + 25)
            if number is None:
                return None
            texts, key = (number[0],), raw[number.end() :]
        elif several > 0:
            parts = _SPLIT.split(raw[value:])
            texts, key = tuple(parts[2::3]), tuple(parts[0::3])
        else:
            texts, key = (), raw[value:]
        template = templates.get(key)
        if template is None:
            template = None if key in templates else self._template(templates, key, raw, status, subject, value, texts)
            if template is None:
                return None
        id = named[0].decode()
        values: list[Pair] = [("_id", _new(TokenValue, (None, id, None))), when[1], *whom.values, *template.fixed]
        before, after = raw[end_id:status], raw[end_issued + 1 : value]
        if (before != b'",' or after != b",") and not self._rest(before, after, template, values):
            return None
        points = [
            _new(Point, (p[0], p[1], p[2], p[3], time, put(text, slot, values), recorded, p[7], p[8]))
            for text, slot, p in zip(texts, template.slots, template.points)  # noqa: B905  # equally many, and counting them takes time
        ]
        return _new(
            Read,
            (
                id,
                whom.patient,
                values,
                points,
                [] if template.finding is None else [self._finding(template.finding, id, time, recorded)],
                None,
            ),
        )

    def _rest(self, before: bytes, after: bytes, template: _Template, values: list[Pair]) -> bool:
        """Add what stands between id and status, and between time and value; say whether both could be read."""
        if before != b'",':
            found = self._other.get(before)
            if found is None:
                found = self._fragment(self._other, before, _FIRST, skip=2)
            if found is None or not found.members.isdisjoint(template.members):
                return False
            values += found.values
        if after != b",":
            found = self._other.get(after)
            if found is None:
                found = self._fragment(self._other, after, _AFTER, skip=1)
            if found is None or not found.members.isdisjoint(template.members):
                return False
            values += found.values
        return True

    def _finding(self, made: Finding, id: str, time: int, recorded: int) -> Finding:
        return Finding.model_construct(
            kind="finding", code=made.code, value=made.value, time=time, recorded=recorded, status=made.status, source=made.source, site="",
            id=f"fhir:{self._site.name}/Observation/{id}",
        )  # fmt: skip

    def _time(self, text: bytes) -> tuple[int, Pair] | None:
        found = self._times.get(text)
        if found is None and text not in self._times:
            if len(self._times) > _MOST:
                self._times.clear()
            found = self._times[text] = self._read_time(text)
        return found

    def _read_time(self, text: bytes) -> tuple[int, Pair] | None:
        parts = _STAMP(text)
        if parts is not None and (day := self._days.get(parts[1])) is not None:
            hour, minute, second, zone = int(parts[2]), int(parts[3]), int(parts[4]), parts[6]
            if hour < 24 and minute < 60 and second < 60 and zone in _UTC:
                low = day + ((hour * 60 + minute) * 60 + second) * 1_000_000_000
                width = 1_000_000_000
                if parts[5] is not None:
                    low, width = low + int(parts[5]) * 1_000_000, 1_000_000
                return low, ("date", _new(DateValue, (low, low + width - 1)))
        plain = text.decode("ascii", "replace")
        span = date_range(plain) if len(plain) > 19 and (plain[-1] == "Z" or plain[-6] in "+-") else None
        if span is None:
            return None
        if parts is not None and (whole := date_range(plain[:10])) is not None:
            if len(self._days) > _MOST:
                self._days.clear()
            self._days[parts[1]] = whole[0]
        return span[0], ("date", DateValue(*span))

    def _fragment(self, cache: dict[bytes, _Fragment | None], raw: bytes, allowed: frozenset[str], *, skip: int = 0) -> _Fragment | None:
        """Read a run of members that was not seen before; None when it is more, or less, than its own members."""
        if raw in cache:
            return None
        if len(cache) > _MOST:
            cache.clear()
        cache[raw] = None
        if not raw.endswith(b","):
            return None
        if allowed is _WHOM and (usual := _PEOPLE(raw)) is not None:
            found = cache[raw] = self._people(usual)
            return found
        try:
            tree = decode(b"{" + raw[skip:-1] + b"}")
        except FormatError:
            return None
        if not isinstance(tree, Element) or not tree or not allowed.issuperset(tree):
            return None
        patient = None
        if "subject" in tree:
            if "focus" in tree:
                return None
            try:
                patient = patient_of(tree["subject"], self._site, self._resolve)
            except Refused:
                return None
        found = cache[raw] = _Fragment(tuple(_values(tree)), frozenset(tree), patient)
        return found

    def _people(self, found: re.Match[bytes]) -> _Fragment | None:
        """Read the usual subject and encounter: which parameters take them is asked once for each pair of types."""
        subject = found[1].decode()
        who, where = parsed_reference(subject), None if found[2] is None else parsed_reference(found[2].decode())
        try:
            patient = patient_of({"reference": subject}, self._site, self._resolve)
        except Refused:
            return None
        shape = (who.type, None if where is None else where.type, where is None)
        names = self._shapes.get(shape)
        if names is None:
            members: dict[str, Any] = {"subject": {"reference": subject}}
            if found[2] is not None:
                members["encounter"] = {"reference": found[2].decode()}
            made = _values(members)
            if who == where or any(value not in (who, where) for _, value in made):
                return None
            names = self._shapes[shape] = tuple((name, int(value == where)) for name, value in made)
        pair = (who, where)
        return _Fragment(
            tuple((name, pair[i]) for name, i in names), frozenset(("subject",) if where is None else ("subject", "encounter")), patient
        )  # type: ignore[misc]

    def _template(
        self, templates: dict[Any, _Template | None], key: Any, raw: bytes, status: int, subject: int, value: int, texts: tuple[bytes, ...]
    ) -> _Template | None:
        """Read a value that was not seen before under this code, with numbers that are found again in what it comes to."""
        if len(templates) > _MOST:
            templates.clear()
        templates[key] = None
        marks = [_SENTINEL + i for i in range(len(texts))]
        if isinstance(key, tuple):
            tail = key[0] + b"".join(b'"value":%s%s' % (repr(mark).encode(), rest) for mark, rest in zip(marks, key[1:], strict=True))
        else:
            tail = _QUANTITY + repr(marks[0]).encode() + key if texts else key
        try:
            what = decode(b"{" + raw[status : subject - 1] + b"}") if raw[subject - 1 : subject] == b"," else None
            rest = decode(b"{" + tail)
            whole = decode(raw[:value] + tail)
        except FormatError:
            return None
        if not isinstance(what, Element) or not isinstance(rest, Element) or not _WHAT.issuperset(what):
            return None
        if not (_FIRST - {"meta"} | _WHAT | _WHOM | _AFTER | {"id", "resourceType", "effectiveDateTime", "issued", "focus"}).isdisjoint(
            rest
        ):
            return None
        if what.get("status") not in ("final", "preliminary"):
            return None
        return self._learnt(templates, key, whole, Element({**what, **rest}), marks, frozenset((*what, *rest)))

    def _learnt(
        self, templates: dict[Any, _Template | None], key: Any, whole: Mapping[str, Any], part: Mapping[str, Any], marks: list[float], members: frozenset[str]
    ) -> _Template | None:  # fmt: skip
        fixed, slots = slots_of(_values(part), marks)
        if slots is None:
            return None
        mapped = map_resource(whole, received=self._received, site=self._site, resolve=self._resolve)
        points: tuple[Point, ...] = ()
        finding: Finding | None = None
        if not (mapped.kept or mapped.refused or mapped.repaired or mapped.documents):
            if marks and not mapped.findings and [p.value for p in mapped.points] == marks:
                points = tuple(mapped.points)
            elif (
                not mapped.points
                and len(mapped.findings) == 1
                and not marks
                and mapped.findings[0].status == FINAL
                and not mapped.findings[0].site
            ):
                finding = mapped.findings[0]
        if not points and finding is None:
            return None
        found = templates[key] = _Template(tuple(fixed), slots, points, finding, members)
        return found


def _values(members: Mapping[str, Any]) -> list[Pair]:
    return search_values(Element({"resourceType": "Observation", **members}))
