"""Many resources at once: whose they are, what they say, and what became of each; nothing of a source is left without a word.

A resource that stands in a source several times (a history, an export made twice) is read in the order of its versions; the same version again is a duplicate. Two
different resources that give a number of one code at one moment both stay: the second stands under a source of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gemel.core.errors import FormatError
from gemel.core.record import Demographics, Fact, PatientRecord
from gemel.interop.fhir.links import Follow, names_of, references
from gemel.interop.fhir.mapping import Mapped, Merge, Point, Site, map_resource, take_back
from gemel.interop.fhir.mapping.base import Resolve, series_of
from gemel.interop.fhir.mapping.values import items, text_of
from gemel.interop.fhir.r5 import to_r4, version_of_all
from gemel.interop.people import records_of
from gemel.interop.report import MessageReport, Refusal, Tally

__all__ = ["Collected", "Collector", "Entry", "collect", "entries"]

_USUAL = Site()


@dataclass
class Collected:
    """What a source says.

    Parameters
    ----------
    facts : by pseudonym; whoever has none is named all the same, also who is only named in what gives no fact (a claim), so that it is erased with them.
    demographics : by pseudonym.
    identifiers : of each person, with their systems; they identify somebody.
    documents : bytes by pseudonym, which a ``Document`` among the facts names by their hash.
    merges : people who are one, in order.
    unmerged : people who turned out not to be.
    consents : with whom they are about.
    report : read = mapped + kept + refused + duplicates.
    """

    facts: dict[str, list[Fact]]
    demographics: dict[str, Demographics]
    identifiers: dict[str, tuple[tuple[str, str], ...]]
    documents: dict[str, list[bytes]]
    merges: list[Merge]
    unmerged: list[Merge]
    consents: list[tuple[str, Mapping[str, Any]]]
    report: MessageReport

    def records(self) -> list[PatientRecord]:
        """Return a record for each person, those that are one as one."""
        return list(records_of(self.facts, self.demographics, self.merges).values())


class Entry(NamedTuple):
    """One resource of a source: where it stands, the resource (of R5 in the elements of R4), and its full address in a Bundle."""

    place: str
    resource: Mapping[str, Any]
    url: str = ""
    is_r5: bool = False


def entries(place: str, tree: Any) -> Iterator[Entry]:
    """Return the resources of a document: the entries of a Bundle (also of Bundles in it), the parts of Parameters that are resources, else the resource itself."""
    if isinstance(tree, Mapping) and tree.get("resourceType") == "Bundle" and tree.get("entry"):
        for number, one in enumerate(items(tree["entry"])):
            inner = one.get("resource") if isinstance(one, Mapping) else None
            here = f"{place}: entry {number}"
            if isinstance(inner, Mapping) and inner.get("resourceType") == "Bundle":
                yield from entries(here, inner)
            else:
                yield Entry(
                    here, inner if isinstance(inner, Mapping) else {}, text_of(one.get("fullUrl")) if isinstance(one, Mapping) else ""
                )
    else:
        yield Entry(place, tree if isinstance(tree, Mapping) else {})


def _version(resource: Mapping[str, Any]) -> tuple[str, int]:
    """When a version was written, as far as it says: what orders the versions of one resource."""
    meta = resource.get("meta")
    if not isinstance(meta, Mapping):
        return "", 0
    number = text_of(meta.get("versionId"))
    return text_of(meta.get("lastUpdated")), int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0


@dataclass
class _Held:
    resource: Mapping[str, Any]
    mapped: Mapped


@dataclass
class Collector:
    """Gathers the resources of a source.

    Parameters
    ----------
    source : its name, for the report.
    received : ns UTC, when it arrived.
    site : what the sender leaves out.
    outside : finds what a reference leads to that is not in the source.
    follow : whether to look for references that lead nowhere. It walks through every resource.
    """

    source: str
    received: int
    site: Site = _USUAL
    outside: Resolve | None = None
    follow: bool = True
    _entries: list[Entry] = field(default_factory=list)
    _here: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _mixed: list[Refusal] = field(default_factory=list)
    _left: set[str] = field(default_factory=set)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every resource that was taken in."""
        return tuple(self._entries)

    @property
    def mixed(self) -> tuple[Refusal, ...]:
        """Documents that were refused whole, because they mix versions of FHIR."""
        return tuple(self._mixed)

    def add(self, place: str, tree: Any) -> None:
        """Take in a resource or a Bundle; nothing is read before :meth:`finish`, for what it refers to may follow."""
        found = list(entries(place, tree))
        version = self.site.version
        if version == "auto":
            try:
                version = version_of_all(entry.resource for entry in found) or "R4"
            except FormatError as error:
                self._mixed.append(Refusal(reason="versions-mixed", place=place, what=error.what, fix=error.fix or "", items=len(found)))
                return
        for entry in found:
            read = entry
            if version == "R5":
                resource, left = to_r4(entry.resource)
                read = entry._replace(resource=resource, is_r5=True)
                self._left.update(f"{resource.get('resourceType')}.{name}" for name in left)
            self._entries.append(read)
            for name in names_of(read.resource, read.url):
                self._here.setdefault(name, read.resource)

    def resolve(self, reference: str) -> Mapping[str, Any] | None:
        """Return what a reference leads to: in the source, by its full address or its type and id, else outside."""
        plain = reference.partition("/_history/")[0]
        found = self._here.get(plain)
        if found is None and "://" in plain:
            found = self._here.get("/".join(plain.rsplit("/", 2)[-2:]))
        return found if found is not None or self.outside is None else self.outside(reference)

    def in_order(self) -> list[Entry]:
        """Return every resource, those of one id in the order of their versions."""
        return sorted(self._entries, key=lambda entry: _version(entry.resource))

    def finish(self, each: Any = None) -> Collected:
        """Read everything.

        Parameters
        ----------
        each : called with place, resource and what it gave, for every resource, in order.
        """
        tally = Tally(self.source, "fhir")
        known: dict[str, _Held] = {}
        taken: dict[tuple[str, str, str, int], str] = {}
        gathered = _Gathered()
        for entry in self.in_order():
            self._one(entry.place, entry.resource, known, taken, gathered, tally, each)
        for one in self._mixed:
            tally.read += one.items
            tally.refused.append(one)
        if self._left:
            tally.warnings.append(f"read from R5, without what R4 has no place for: {', '.join(sorted(self._left))}")
        if self.follow:
            tally.warnings += self._nowhere()
        return gathered.collected(tally.report())

    def _one(
        self, place: str, resource: Mapping[str, Any], known: dict[str, _Held], taken: dict[tuple[str, str, str, int], str], gathered: _Gathered, tally: Tally, each: Any
    ) -> None:  # fmt: skip
        name = f"{resource.get('resourceType')}/{resource['id']}" if resource.get("id") else ""
        before = known.get(name) if name else None
        if before is not None and before.resource == resource:
            count = max(before.mapped.read, 1)
            tally.read += count
            tally.duplicates += count
            return
        found = map_resource(resource, received=self.received, site=self.site, resolve=self.resolve)
        if before is None:
            _set_apart(found, name, taken)
        else:
            if before.mapped.apart:
                _under_own_source(found, name)
            take_back(found, before.mapped, received=self.received)
        if name:
            known[name] = _Held(resource, found)
        count_in(tally, found, place)
        gathered.add(found)
        if found.patient is None or found.type == "Patient":
            for named in self._people(resource):
                gathered.facts.setdefault(named, [])
        if each is not None:
            each(place, resource, found)

    def _people(self, resource: Mapping[str, Any]) -> Iterator[str]:
        """Everybody whom a resource names that gives no fact: with them its bytes are erased."""
        for reference in references(resource):
            if reference.startswith("Patient/"):
                yield f"{self.site.prefix}{reference.rpartition('/')[2]}"
            elif (
                not reference[:1].isupper()
                and (target := self.resolve(reference)) is not None
                and target.get("resourceType") == "Patient"
                and target.get("id")
            ):
                yield f"{self.site.prefix}{target['id']}"

    def _nowhere(self) -> list[str]:
        follow = Follow()
        for entry in self._entries:
            follow.see(entry.resource, entry.url)
        return follow.missing()


def count_in(tally: Tally, found: Mapped, place: str) -> None:
    """Add what became of a resource: one that is kept is one item."""
    if found.kept is not None and not found.read:
        tally.read += 1
        tally.keep(f"{found.type or 'something'}: {found.kept}")
    else:
        tally.read += found.read
        tally.mapped += found.mapped
    for one in found.refused:
        tally.refused.append(Refusal(reason=one.reason, place=f"{place}, {one.place}", what=one.what, fix=one.fix, items=one.items))
    for what in found.repaired:
        tally.repair(what)


_APART = "two results of one code at one moment: each under a source of its own"


def _set_apart(found: Mapped, name: str, taken: dict[tuple[str, str, str, int], str]) -> None:
    """Give a resource whose number another one has already given, of that code and moment, a source of its own: neither supersedes the other."""
    keys = [(found.patient or "", *point.key) for point in found.points]
    if any(taken.get(key, name) != name for key in keys):
        _under_own_source(found, name)
        found.repaired.append(_APART)
        return
    for key in keys:
        taken[key] = name


def _under_own_source(found: Mapped, name: str) -> None:
    found.apart = True
    found.points = [point._replace(source=f"{point.source}#{name.partition('/')[2]}") for point in found.points]


class _Gathered:
    def __init__(self) -> None:
        self.columns: dict[tuple[str, str, str, str], list[Point]] = {}
        self.facts: dict[str, list[Fact]] = {}
        self.demographics: dict[str, Demographics] = {}
        self.identifiers: dict[str, tuple[tuple[str, str], ...]] = {}
        self.documents: dict[str, list[bytes]] = {}
        self.merges: list[Merge] = []
        self.unmerged: list[Merge] = []
        self.consents: list[tuple[str, Mapping[str, Any]]] = []

    def add(self, found: Mapped) -> None:
        patient = found.patient
        if patient is None:
            return
        for point in found.points:
            self.columns.setdefault((patient, point.code, point.unit, point.source), []).append(point)
        mine = [*found.findings, *found.exposures, *(one for one, _ in found.documents)]
        if mine or found.demographics is not None:
            self.facts.setdefault(patient, []).extend(mine)
        if found.demographics is not None:
            self.demographics[patient] = found.demographics
            self.identifiers[patient] = found.identifiers
        for _, body in found.documents:
            self.documents.setdefault(patient, []).append(body)
        undone = {merge[:2] for merge in found.unmerged}
        self.merges = [merge for merge in self.merges if merge[:2] not in undone] + found.merges
        self.unmerged += found.unmerged
        if found.consent is not None:
            self.consents.append((patient, found.consent))

    def collected(self, report: MessageReport) -> Collected:
        for (patient, _, _, _), rows in self.columns.items():
            self.facts.setdefault(patient, []).append(series_of(rows))
        return Collected(self.facts, self.demographics, self.identifiers, self.documents, self.merges, self.unmerged, self.consents, report)


def collect(
    pairs: Iterable[tuple[str, Any]], source: str, *, received: int, site: Site = _USUAL, outside: Resolve | None = None
) -> Collected:
    """Read resources or Bundles, each with its place."""
    collector = Collector(source, received, site, outside)
    for place, tree in pairs:
        collector.add(place, tree)
    return collector.finish()
