"""Writing resources: the versions, the facts that they are, the consents that take effect, all in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gemel.core.errors import ConflictError, DataError, FormatError
from gemel.interop.fhir.codec import Element, decode
from gemel.interop.fhir.collect import Collector
from gemel.interop.fhir.mapping import Site
from gemel.interop.fhir.search_query import read_query
from gemel.platform.consent_fhir import read_consent
from gemel.platform.guard import Caller
from gemel.platform.rights import settle_consents, withdraw
from gemel.platform.store import Store, merges
from gemel.platform.store.consents import put_consent
from gemel.platform.store.described import UNPLACED
from gemel.platform.store.resources import Change, Place, Resources, id_of
from gemel.platform.store.search import search
from gemel.server.config import ServerConfig
from gemel.server.fhir.permits import Permits

__all__ = ["find_one", "log_writes", "put"]

_STATED = frozenset({"Observation", "Condition", "MedicationRequest", "MedicationAdministration", "MedicationStatement", "Procedure", "DiagnosticReport",
                     "Immunization", "AllergyIntolerance", "DocumentReference", "Encounter"})  # fmt: skip
_WRONG = "entered-in-error"


def put(store: Store, permits: Permits, changes: Sequence[Change], config: ServerConfig, *, recorded: int) -> list[Place]:
    """Write changes, with the facts and consents that follow: part of the writer's transaction.

    Raises
    ------
    AccessDenied, ConflictError
        Nothing of it is written then.
    """
    resources = Resources(store)
    places = resources.write(changes, recorded=recorded, allow=lambda action, datum: permits.allow(store, action, datum))
    for place in places:
        if place.stored.kind == "Consent" and not place.stored.is_nobodys:
            _consent(store, permits, place, config, recorded)
    if config.fhir.facts:
        _keep_facts(store, resources, places, config, recorded)
    return places


def _owner(store: Store, place: Place) -> str:
    sealed = store._database.execute("SELECT name FROM patient WHERE pid = ?", (place.stored.pid,)).fetchone()[0]
    return store._name(place.stored.pid, sealed)


def _consent(store: Store, permits: Permits, place: Place, config: ServerConfig, recorded: int) -> None:
    owner = _owner(store, place)
    if owner == UNPLACED:
        return  # nobody can say whose it is: it is kept, and permits nothing
    permits.consent(place.stored.pid)
    if place.stored.deleted:
        if place.before is not None and not place.before.deleted:
            withdraw(store, owner, id_of(place.body), now=recorded)
        return
    plain = orjson.loads(place.body)
    put_consent(
        store, owner, read_consent(plain, profile=config.consents.profile, tz=config.consents.zone), recorded=recorded, resource=plain
    )
    settle_consents(store, owner, now=recorded)


def _retracted(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a resource as one that should never have been: what a deletion says of its facts."""
    if tree["resourceType"] in ("Condition", "AllergyIntolerance"):
        system = "http://terminology.hl7.org/CodeSystem/" + (
            "condition-ver-status" if tree["resourceType"] == "Condition" else "allergyintolerance-verification"
        )
        return Element({**tree, "verificationStatus": Element({"coding": (Element({"system": system, "code": _WRONG}),)})})
    return Element({**tree, "status": _WRONG})


def _keep_facts(store: Store, resources: Resources, places: Sequence[Place], config: ServerConfig, recorded: int) -> None:
    site = Site(name=config.fhir.site, zone=config.fhir.zone)

    def outside(reference: str) -> Mapping[str, Any] | None:
        kind, _, rid = reference.partition("/_history/")[0].rpartition("/")
        stored = resources.find(kind, rid) if kind.isalpha() else None
        return None if stored is None or stored.deleted else decode(resources.body(stored))

    collector = Collector(config.fhir.site, recorded, site, outside, follow=False)
    for place in places:
        before = None if place.before is None or place.before.deleted else decode(resources.body(place.before))
        if before is not None:  # what it said is superseded by what it says
            collector.add("", before)
        if place.tree is not None:
            collector.add("", place.tree)
        elif before is not None and before["resourceType"] in _STATED:
            collector.add("", Element({**_retracted(before), "meta": decode(place.body)["meta"]}))
    found = collector.finish()
    for patient, facts in found.facts.items():
        for body in found.documents.get(patient, ()):
            if store.blobs is not None:
                store.append(patient, (), recorded=recorded)
                store.add_bytes(patient, body)
        store.append(patient, facts, recorded=recorded, demographics=found.demographics.get(patient))
    for merge in found.unmerged:
        merges.undo(store, merge.survivor, merge.prior, recorded=recorded)
    for merge in found.merges:
        merges.merge(store, merge.survivor, merge.prior, recorded=recorded)


def find_one(store: Store, permits: Permits, kind: str, given: Sequence[tuple[str, str]], *, base: str, now: int) -> str | None:
    """Return the id of the one resource that a conditional change means; ``None`` when there is none.

    Raises
    ------
    ConflictError
        When several fit (412).
    """
    if not given:
        raise FormatError("a condition without a parameter", expected="name=value")
    if any(name.startswith("_") and name not in ("_id", "_tag", "_profile", "_security", "_source") for name, _ in given):
        raise FormatError("a condition takes search parameters only", expected="name=value, without _sort, _count and the like")
    query = read_query(kind, [*given, ("_count", "2"), ("_total", "none")], base=base)
    found = search(Resources(store), query, lambda action: permits.predicate(store, action, is_write=True), now=now)
    if len(found.matches) > 1:
        raise ConflictError(
            "the condition fits several resources", expected="none or one", fix="say more about the one that is meant", is_stale=True
        )
    return id_of(found.matches[0][1]) if found.matches else None


def log_writes(permits: Permits, caller: Caller, places: Sequence[Place], **detail: Any) -> None:
    """Write down what was written: one entry for each person, with what of theirs it was; after it is on the disk."""
    by_owner: dict[tuple[str, str], list[str]] = {}
    for place in places:
        action = "delete" if place.stored.deleted else "create" if place.created else "update"
        subject = "" if place.stored.is_nobodys else place.stored.pid
        by_owner.setdefault((subject, action), []).append(f"{place.stored.ref}/_history/{place.stored.vid}")
    for (subject, action), refs in by_owner.items():
        told = {"resource": refs[0]} if len(refs) == 1 else {"resource": "Bundle", "resources": refs}
        permits.guard.log(caller, action, subject=subject, detail={**told, **detail})


def whole(tree: Mapping[str, Any], kind: str, rid: str | None) -> None:
    """Refuse a resource that is another than its address says.

    Raises
    ------
    DataError
    """
    if tree["resourceType"] != kind:
        raise DataError("the resource is of another type than its address", seen=str(tree["resourceType"])[:40], expected=kind)
    if rid is not None and tree.get("id") != rid:
        raise DataError("the resource has another id than its address", expected="the id of the address, in the resource too")
