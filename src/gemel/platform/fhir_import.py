"""An export of FHIR into a store, piece by piece: kept as it came, mapped, appended, and what cannot be placed set aside, all of a piece in one transaction.

An import that was stopped goes on where it was: a piece that is there already has no effect. Resources that cannot be placed wait in the quarantine one by one, with
their own bytes; the rest of their piece is placed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gemel.core.errors import FormatError, StoreError
from gemel.interop.fhir import schema
from gemel.interop.fhir.bulk import Broken, Piece, read_piece
from gemel.interop.fhir.codec import decode, encode, thaw
from gemel.interop.fhir.collect import Collected, Collector
from gemel.interop.fhir.links import Follow, readdressed
from gemel.interop.fhir.mapping import Mapped, Site
from gemel.interop.report import MessageReport, Refusal, Tally
from gemel.platform.adapters.fhir import with_broken
from gemel.platform.consent_fhir import Profile, read_consent
from gemel.platform.store import Store, merges
from gemel.platform.store.consents import put_consent
from gemel.platform.store.resources import Change, Resources

__all__ = ["FhirImport", "Line", "Outcome"]

_REFERRED = frozenset({"Medication"})


@dataclass(frozen=True)
class Line:
    """What became of one resource: where it stood, its type, ``mapped``, ``kept``, ``refused``, or ``partly`` (some of its values refused), and why."""

    place: str
    type: str
    fate: str
    why: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a piece.

    Parameters
    ----------
    name : of the piece.
    is_new : false when it had been imported before: there was no effect.
    facts : how many were new; every reading of a series counts.
    report : what became of its resources.
    quarantined : how many were set aside.
    lines : one for each resource.
    """

    name: str
    is_new: bool
    facts: int = 0
    report: MessageReport = field(default_factory=lambda: MessageReport(source="", format="fhir"))
    quarantined: int = 0
    lines: tuple[Line, ...] = ()


@dataclass
class _Aside:
    place: str
    body: bytes
    reason: str
    patient: str | None


class FhirImport:
    """Takes the pieces of an export into a store.

    Parameters
    ----------
    store : where to.
    source : a name of the export's origin; the same pieces under the same name are imported once.
    received : ns UTC.
    site : what the sender leaves out.
    profile : how a consent is read that has a period only; see :func:`gemel.platform.consent_fhir.read_consent`.
    keep_resources : keep every resource of R4 that has an id as a version of its own too, so that the FHIR server serves it. One that is there already, but for
        what the server says of it, gets no new version.
    """

    def __init__(
        self, store: Store, source: str, *, received: int, site: Site, profile: Profile | None = None, keep_resources: bool = False
    ) -> None:
        self._store, self._source, self._received, self._site, self._profile = store, f"fhir/{source}", received, site, profile
        self._resources = Resources(store) if keep_resources else None
        self._referred: dict[str, Mapping[str, Any]] = {}
        self.follow = Follow()
        self.people: dict[str, int] = {}
        self.kept = 0
        self.told: set[str] = set()

    def look_ahead(self, pieces: Iterable[Piece]) -> None:
        """Read what other pieces refer to and do not hold: drugs. Nothing is stored."""
        for piece in pieces:
            if b'"Medication"' in piece.body:
                for _, tree, _ in read_piece(piece):
                    if not isinstance(tree, Broken) and tree.get("resourceType") in _REFERRED and tree.get("id"):
                        self._referred[f"{tree['resourceType']}/{tree['id']}"] = tree

    def take(self, piece: Piece) -> Outcome:
        """Import one piece; when this returns it is on the disk.

        Raises
        ------
        StoreError
            When the store cannot keep it.
        """
        collector = Collector(piece.name, self._received, self._site, self._referred.get, follow=False)
        bodies: dict[str, bytes] = {}
        broken, aside, lines = [], list[_Aside](), list[Line]()
        for place, tree, body in read_piece(piece):
            if isinstance(tree, Broken):
                broken.append(Refusal(reason="unreadable", place=place, what=tree.what, fix=tree.fix))
                aside.append(_Aside(place, body, f"{tree.what}; {tree.fix}", None))
                lines.append(Line(place, "", "refused", tree.what))
            else:
                bodies[place] = body
                collector.add(place, tree)
        for entry in collector.entries:
            self.follow.see(entry.resource, entry.url, refers=False)
        self.follow.ask(piece.body)

        def each(place: str, resource: Mapping[str, Any], mapped: Mapped) -> None:
            lines.append(_line(place, mapped))
            if mapped.refused:
                reason = "; ".join(dict.fromkeys(f"{one.what}{f' ({one.fix})' if one.fix else ''}" for one in mapped.refused))
                aside.append(_Aside(place, bodies.get(place) or encode(resource), reason, mapped.patient))

        for one in collector.mixed:
            aside.append(_Aside(one.place, bodies.get(one.place, piece.body), f"{one.what} ({one.fix})", None))
            lines.append(Line(one.place, "", "refused", f"{one.reason}: {one.what}"))
        found = collector.finish(each)
        with self._store.batch():
            number, is_new = self._store.receive(self._source, piece.body, received=self._received, name=piece.name)
            if not is_new:
                return self._before(piece, found, len(broken), lines)
            new = self._place(found)
            if self._resources is not None:
                self._keep(self._resources, collector)
            self._store.settle(number, "done", patients=found.facts)
            for one in aside:
                self._set_aside(one)
        return Outcome(piece.name, True, new, with_broken(found.report, broken), len(aside), tuple(lines))

    def _before(self, piece: Piece, found: Collected, broken: int, lines: list[Line]) -> Outcome:
        tally = Tally(piece.name, "fhir")
        tally.read = tally.duplicates = found.report.read + broken
        return Outcome(piece.name, False, 0, tally.report(), 0, tuple(lines))

    def _place(self, found: Collected) -> int:
        new, store = 0, self._store
        for patient, facts in found.facts.items():
            added = store.append(patient, facts, recorded=self._received, demographics=found.demographics.get(patient))
            if facts or patient in found.demographics:
                self.people[patient] = self.people.get(patient, 0) + added
            new += added
            for body in found.documents.get(patient, ()):
                if store.blobs is None:
                    self.told.add(
                        "documents without a folder for large bytes: their bytes stay in the inbox; name one in the configuration"
                    )
                    break
                store.add_bytes(patient, body)
        for merge in found.unmerged:
            merges.undo(store, merge.survivor, merge.prior, recorded=self._received)
        for merge in found.merges:
            try:
                merges.merge(store, merge.survivor, merge.prior, recorded=self._received)
            except StoreError as error:  # two people each said to be replaced by the other: which is right cannot be told
                self.told.add(f"a merge of two people that was not made: {error.what}; {error.fix}")
        for patient, resource in found.consents:
            plain = thaw(resource)
            store.append(patient, (), recorded=self._received)
            consent = read_consent(plain, profile=self._profile, tz=self._site.zone)
            put_consent(store, patient, consent, recorded=self._received, resource=_jsonable(plain))
        return new

    def _keep(self, resources: Resources, collector: Collector) -> None:
        """Write the resources of a piece as versions, in their order; what names each other by ``urn:uuid`` by their addresses."""
        waiting: dict[str, Change] = {}
        for entry in collector.in_order():
            tree = entry.resource
            kind, rid = tree.get("resourceType"), tree.get("id")
            known = schema.kind(kind) if isinstance(kind, str) else None
            if not isinstance(rid, str) or known is None or not known.is_resource or entry.is_r5:
                continue
            change = Change(known.name, rid, readdressed(tree, collector.resolve))
            if change.ref in waiting:  # an earlier version of the same: first that, then this
                self._write(resources, waiting)
                waiting = {}
            waiting[change.ref] = change
        self._write(resources, waiting)

    def _write(self, resources: Resources, waiting: Mapping[str, Change]) -> None:
        fresh = []
        for change in waiting.values():
            before = resources.find(change.kind, change.rid)
            if before is None or before.deleted or _plain(decode(resources.body(before))) != _plain(change.tree or {}):
                fresh.append(change)
        self.kept += len(resources.write(fresh, recorded=self._received)) if fresh else 0

    def _set_aside(self, one: _Aside) -> None:
        if one.patient is not None:
            self._store.append(one.patient, (), recorded=self._received)
        number, _ = self._store.receive(self._source, one.body, received=self._received, name=f"{one.place} (one resource)")
        self._store.settle(number, "quarantined", reason=one.reason, patients=[] if one.patient is None else [one.patient])


def _line(place: str, mapped: Mapped) -> Line:
    if mapped.refused:
        why = "; ".join(dict.fromkeys(f"{one.reason}: {one.what}" for one in mapped.refused))
        return Line(place, mapped.type, "partly" if mapped.mapped else "refused", why)
    return Line(place, mapped.type, "kept", mapped.kept) if mapped.kept is not None else Line(place, mapped.type, "mapped")


def _jsonable(tree: Any) -> Any:
    """Numbers of a consent as plain ones: a consent holds none that its decision hangs on."""
    if isinstance(tree, dict):
        return {key: _jsonable(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_jsonable(one) for one in tree]
    return tree if tree is None or isinstance(tree, (str, bool, int)) else float(tree)


def _plain(tree: Mapping[str, Any]) -> bytes:
    """A resource without what a server says of it."""
    meta = tree.get("meta")
    rest = {key: value for key, value in meta.items() if key not in ("versionId", "lastUpdated")} if isinstance(meta, Mapping) else {}
    return encode({key: value for key, value in sorted(tree.items()) if key != "meta"} | {"meta": rest})


def check_empty(outcomes: int, source: str) -> None:
    """Refuse an export without a single piece."""
    if not outcomes:
        raise FormatError(f"{source} holds no FHIR", expected="JSON, NDJSON or XML of resources, also in gzip or zip", fix="check the path")
