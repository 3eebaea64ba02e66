"""``/dicom-web``: search (QIDO-RS), fetch (WADO-RS) and store (STOW-RS) objects of DICOM, behind the guard. What may not be seen is not there, and not counted.

A subset, and said to be one: whole objects as they are kept, in their own transfer syntax; no frames, no rendering, no bulk data by itself, no fuzzy matching. A search over everybody
names a patient or a study, unless who asks has relations: then it goes over those.

References
----------
DICOM PS3.18 2024e, 10.4 (retrieve), 10.5 (store), 10.6 (search).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from gemel.core.errors import AccessDenied, DataError, FormatError, StoreError
from gemel.interop.dicom.instance import LEVELS, parse
from gemel.interop.dicom.multipart import boundary_of, join_parts, media_type_of, split_parts
from gemel.interop.dicom.web import stow_answer
from gemel.platform.access import Resource, fitting
from gemel.platform.consent import Datum
from gemel.platform.guard import Caller
from gemel.platform.images import Kept, bytes_of, keep_image
from gemel.platform.store import Store, images
from gemel.platform.store.images import Image
from gemel.server.asking import Problems
from gemel.server.auth import caller
from gemel.server.routers.imports import may_send
from gemel.server.services import Services

__all__ = ["router"]

PREFIX = "/dicom-web"
Uid = Annotated[str, Path(pattern=r"^[0-9]+(\.[0-9]+)*$", max_length=64)]
Who = Annotated[Caller, Depends(caller)]
_JSON = "application/dicom+json"
_MOST, _USUAL = 1000, 100
_CANNOT, _NOT_HERE = 0xC000, 0xA900  # reasons of PS3.18, table I.2-2: cannot understand; data set does not match
_TAGS = {
    "StudyDate": "00080020", "StudyTime": "00080030", "AccessionNumber": "00080050", "ModalitiesInStudy": "00080061", "ReferringPhysicianName": "00080090",
    "PatientName": "00100010", "PatientID": "00100020", "StudyInstanceUID": "0020000D", "StudyID": "00200010", "Modality": "00080060",
    "SeriesInstanceUID": "0020000E", "SeriesNumber": "00200011", "SOPClassUID": "00080016", "SOPInstanceUID": "00080018", "InstanceNumber": "00200013",
}  # fmt: skip
_DATES = re.compile(r"([0-9]{8})?-([0-9]{8})?|[0-9]{8}")


def _values(attributes: Any, tag: str) -> list[str]:
    return [str(one.get("Alphabetic", "") if isinstance(one, dict) else one) for one in attributes.get(tag, {}).get("Value", ())]


def _fits(attributes: Any, wanted: dict[str, str]) -> bool:
    for tag, pattern in wanted.items():
        found = _values(attributes, tag)
        if tag == "00080020" and "-" in pattern:
            first, _, last = pattern.partition("-")
            if not any((not first or one >= first) and (not last or one <= last) for one in found):
                return False
        elif not any(fnmatchcase(one, pattern.replace("[", "[[]")) for one in found):
            return False
    return True


def _wanted(request: Request) -> tuple[dict[str, str], int, int]:
    wanted: dict[str, str] = {}
    limit, offset = _USUAL, 0
    for name, value in request.query_params.multi_items():
        tag = _TAGS.get(name) or (name if name in _TAGS.values() else "")
        if tag:
            if tag in wanted or len(value) > 256 or (tag == "00080020" and not _DATES.fullmatch(value)):
                raise DataError("a search key that cannot be used", seen=name, expected="each once; a date as YYYYMMDD or a range")
            if value:
                wanted[tag] = value
        elif name in ("limit", "offset"):
            if not value.isascii() or not value.isdigit() or len(value) > 9:
                raise DataError("a number that is none", seen=name, expected="digits")
            limit, offset = (min(int(value), _MOST), offset) if name == "limit" else (limit, int(value))
        elif name != "includefield" and (name, value) != ("fuzzymatching", "false"):
            raise DataError("a search key that is not known here", seen=name[:40], expected=", ".join(_TAGS), fix="leave it out")
    return wanted, limit, offset


def _ref(image: Image) -> str:
    return f"ImagingStudy/{image.study}"


class _Shelf:
    """What one who asks may see of the objects in a store."""

    def __init__(self, services: Services, store: Store, who: Caller) -> None:
        self._guard, self._store, self._who = services.guard, store, who
        self._guard.check(who, "image", "ImagingStudy")

    def _resource(self, image: Image) -> Resource:
        return Resource(Datum(image.pid, _ref(image), "ImagingStudy", time=image.time))

    def readable(self, found: Iterable[Image]) -> list[Image]:
        """Return those that may be seen; each study of each patient is decided once."""
        known: dict[tuple[str, str, int], bool] = {}
        kept = []
        for image in found:
            key = (image.pid, image.study, image.time)
            if key not in known:
                known[key] = bool(self._guard.decide(self._store, self._who, "image", self._resource(image)))
            if known[key]:
                kept.append(image)
        return kept

    def fetch(self, study: str, series: str = "", instance: str = "") -> list[Image]:
        """Return objects to be shown, and write down that they were; nobody's are refused as those that are not there."""
        found = self.readable(images.find(self._store, study, series, instance))
        if not found:
            self._guard.log(self._who, "deny", detail={"asked": "image", "reason": "not there, or not permitted"})
            raise AccessDenied()
        self._guard.note(self._who, "image", (image.pid for image in found), detail={"resource": _ref(found[0]), "objects": len(found)})
        return found

    def search(self, wanted: dict[str, str], study: str = "") -> list[Image]:
        """Return objects among which a search goes, and write down whose were found."""
        uid = study or wanted.get("0020000D", "")
        if uid and not set(uid) & set("*?"):
            return self.readable(images.find(self._store, uid))
        if name := wanted.get("00100020", ""):
            if set(name) & set("*?"):
                raise DataError("a pattern for a patient", seen="* or ?", expected="the whole PatientID")
            return self.readable(one for one in self._whole(name))
        subject = self._who.subject
        if any(grant.reach == "any" for grant in fitting(subject, "image", self._who.purpose)):
            raise DataError("a search over everybody", seen="neither patient nor study", expected="PatientID or StudyInstanceUID")
        return self.readable(one for pid in sorted(subject.patients) for one in images.of_patient(self._store, pid))

    def _whole(self, patient: str) -> list[Image]:
        return images.of_patient(self._store, self._store.subject(patient)) if _is_there(self._store, patient) else []

    def noted(self, found: list[Image]) -> None:
        self._guard.note(self._who, "image", (image.pid for image in found), detail={"objects": len(found), "search": True})


def _is_there(store: Store, patient: str) -> bool:
    try:
        store.subject(patient)
    except StoreError as error:
        if not error.what.startswith("the store has no such"):
            raise
        return False
    return True


def _tagged(attributes: Any, level: str) -> dict[str, Any]:
    from pydicom.datadict import tag_for_keyword

    wanted = {f"{tag_for_keyword(keyword):08X}" for keyword in LEVELS[level]}
    return {tag: value for tag, value in attributes.items() if tag in wanted}


def _rows(found: list[Image], level: str, base: str) -> list[dict[str, Any]]:
    """Return one entry for each study, series or instance."""
    groups: dict[str, list[Image]] = {}
    for image in found:
        groups.setdefault({"study": image.study, "series": image.series, "instance": image.instance}[level], []).append(image)
    rows = []
    for group in groups.values():
        first = group[0]
        row = _tagged(first.attributes, "study")
        path = f"{base}{PREFIX}/studies/{first.study}"
        if level == "study":
            row["00080061"] = {"vr": "CS", "Value": sorted({one.modality for one in group})}
            row["00201206"] = {"vr": "IS", "Value": [len({one.series for one in group})]}
            row["00201208"] = {"vr": "IS", "Value": [len(group)]}
        else:
            row |= _tagged(first.attributes, "series")
            path += f"/series/{first.series}"
        if level == "series":
            row["00201209"] = {"vr": "IS", "Value": [len(group)]}
        elif level == "instance":
            row |= _tagged(first.attributes, "instance")
            path += f"/instances/{first.instance}"
        row["00081190"] = {"vr": "UR", "Value": [path]}
        rows.append(dict(sorted(row.items())))
    return rows


def _answer(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type=_JSON, headers={"Cache-Control": "no-store"})


def router(services: Services) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix=PREFIX, tags=["dicom-web"])

    async def search(request: Request, who: Caller, level: str, study: str = "", series: str = "") -> Response:
        wanted, limit, offset = _wanted(request)
        if series:
            wanted["0020000E"] = series

        def look(store: Store) -> list[dict[str, Any]]:
            shelf = _Shelf(services, store, who)
            found = shelf.search(wanted, study)
            rows = _rows(found, level, "")
            if study:
                rows = [row for row in rows if _values(row, "0020000D") == [study]]
            kept = [row for row in rows if _fits(row, wanted)][offset : offset + limit]
            uids = {uid for row in kept for uid in _values(row, "0020000D")}
            shelf.noted([one for one in found if one.study in uids])
            return kept

        return _answer(await services.readers.run(look))

    async def fetch(request: Request, who: Caller, *uids: str) -> Response:
        accept = request.headers.get("accept", "*/*").lower()
        if not any(kind in accept for kind in ("*/*", "multipart/*", "multipart/related", "application/dicom")):
            raise FormatError(
                "a form in which objects are not given", seen="Accept", expected='multipart/related; type="application/dicom"'
            )

        def look(store: Store) -> list[bytes]:
            return [bytes_of(store, image) for image in _Shelf(services, store, who).fetch(*uids)]

        boundary = secrets.token_hex(16)
        body = join_parts(await services.readers.run(look), boundary)
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        return Response(body, headers={"Content-Type": kind, "Cache-Control": "no-store"})

    async def metadata(who: Caller, *uids: str) -> Response:
        def look(store: Store) -> list[dict[str, Any]]:
            return [_plain(bytes_of(store, image)) for image in _Shelf(services, store, who).fetch(*uids)]

        return _answer(await services.readers.run(look))

    @routes.get("/studies", responses=Problems())
    async def search_studies(request: Request, who: Who) -> Response:
        """Search studies by patient, identifier, date, modality."""
        return await search(request, who, "study")

    @routes.get("/studies/{study}/series", responses=Problems())
    async def search_series(request: Request, who: Who, study: Uid) -> Response:
        """Search the series of a study."""
        return await search(request, who, "series", study)

    @routes.get("/studies/{study}/instances", responses=Problems())
    async def search_instances(request: Request, who: Who, study: Uid) -> Response:
        """Search the objects of a study."""
        return await search(request, who, "instance", study)

    @routes.get("/studies/{study}/series/{series}/instances", responses=Problems())
    async def search_series_instances(request: Request, who: Who, study: Uid, series: Uid) -> Response:
        """Search the objects of a series."""
        return await search(request, who, "instance", study, series)

    @routes.get("/studies/{study}", responses=Problems())
    async def read_study(request: Request, who: Who, study: Uid) -> Response:
        """Return the objects of a study, as they are kept."""
        return await fetch(request, who, study)

    @routes.get("/studies/{study}/series/{series}", responses=Problems())
    async def read_series(request: Request, who: Who, study: Uid, series: Uid) -> Response:
        """Return the objects of a series, as they are kept."""
        return await fetch(request, who, study, series)

    @routes.get("/studies/{study}/series/{series}/instances/{instance}", responses=Problems())
    async def read_object(request: Request, who: Who, study: Uid, series: Uid, instance: Uid) -> Response:
        """Return an object, as it is kept."""
        return await fetch(request, who, study, series, instance)

    @routes.get("/studies/{study}/metadata", responses=Problems())
    async def study_metadata(who: Who, study: Uid) -> Response:
        """Return what the objects of a study say, without their pixels."""
        return await metadata(who, study)

    @routes.get("/studies/{study}/series/{series}/metadata", responses=Problems())
    async def series_metadata(who: Who, study: Uid, series: Uid) -> Response:
        """Return what the objects of a series say, without their pixels."""
        return await metadata(who, study, series)

    @routes.get("/studies/{study}/series/{series}/instances/{instance}/metadata", responses=Problems())
    async def object_metadata(who: Who, study: Uid, series: Uid, instance: Uid) -> Response:
        """Return what an object says, without its pixels."""
        return await metadata(who, study, series, instance)

    async def store(request: Request, who: Caller, study: str) -> Response:
        kind = request.headers.get("content-type", "")
        if media_type_of(kind) not in ("", "application/dicom"):
            raise FormatError(
                "objects in another form", seen="Content-Type", expected='multipart/related; type="application/dicom"; boundary=...'
            )
        parts = [part for _, part in split_parts(await request.body(), boundary_of(kind))]
        if not parts:
            raise DataError("there is nothing in the body", seen="no parts", expected="at least one object")
        await services.readers.run(lambda one: may_send(services, one, who, None))
        source = (who.subject.id.rpartition("/")[2] or "web")[:64]

        def change(part: bytes) -> Callable[[Store], Kept]:
            return lambda one: keep_image(one, f"web-{source}", part, received=services.clock())

        kept = [await services.write(change(part)) for part in parts]
        taken = [(one.sop_class, one.instance) for one in kept if one.state != "quarantined" and study in ("", one.study)]
        failed = [
            (one.sop_class, one.instance, _CANNOT if one.state == "quarantined" else _NOT_HERE)
            for one in kept
            if one.state == "quarantined" or study not in ("", one.study)
        ]
        return _answer(stow_answer(taken, failed), 200 if not failed else 202 if taken else 409)

    @routes.post("/studies", responses=Problems(409))
    async def store_objects(request: Request, who: Who) -> Response:
        """Store objects; answered when they are on the disk. Who may add data of some people only, may not: objects name their patient themselves."""
        return await store(request, who, "")

    return routes


_BULK = ("OB", "OW", "OF", "OD", "OL", "OV", "UN")


def _plain(body: bytes) -> dict[str, Any]:
    data, _ = parse(body)
    for tag in [element.tag for element in data if element.VR in _BULK]:
        del data[tag]
    return data.to_json_dict(bulk_data_threshold=1 << 30, suppress_invalid_tags=True)
