"""Objects of DICOM into the store: kept as they came, once each; series that lie on one grid become a volume of the record.

An object is known by its own identifier and content, not by who brought it. The same again, by whatever way, has no effect. Another content under a
known identifier, or what cannot be read, waits in quarantine with its bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from gemel.core.errors import DataError
from gemel.core.geometry import Volume
from gemel.core.record import Document
from gemel.interop.dicom.assemble import Slice, assemble
from gemel.interop.dicom.decode import Decoder
from gemel.interop.dicom.header import read_slice, time_of
from gemel.interop.dicom.instance import Instance, read_instance
from gemel.interop.dicom.part10 import assemble_file, scan
from gemel.platform.store import Store, images
from gemel.platform.store.images import Image

__all__ = ["MEDIA_TYPE", "Kept", "bytes_of", "canonical", "drive_image", "keep_image", "keep_volumes", "name_of", "read_volumes"]

MEDIA_TYPE = "application/dicom"


@dataclass(frozen=True)
class Kept:
    """What became of an object.

    Parameters
    ----------
    state : ``new``, ``known`` (no effect) or ``quarantined``.
    reason : why it was set aside; no value of a patient.
    """

    state: str
    study: str = ""
    series: str = ""
    instance: str = ""
    sop_class: str = ""
    reason: str = ""
    patient: str = field(default="", repr=False)


def canonical(body: bytes, patient: str = "") -> tuple[Instance, bytes]:
    """Return what a file is, and the file with our own words before its data set, which is not touched: the same however it came."""
    told = read_instance(body, patient=patient)
    return told, assemble_file(scan(body).dataset, sop_class=told.sop_class, instance=told.instance, syntax=told.syntax)


def keep_image(store: Store, source: str, body: bytes, *, received: int, tz: str = "UTC", patient: str = "") -> Kept:
    """Keep one object; once this returns (outside a batch) it may be acknowledged.

    Parameters
    ----------
    source : who sent it: its title, an account, a folder.
    body : a Part 10 file.
    received : ns UTC.
    tz : IANA zone of times for which it names none.
    patient : pseudonym under which it is kept; left out, what the object says (``PatientID``).

    Raises
    ------
    StoreError
        When the store cannot keep it: then it must not be acknowledged.
    """
    with store.batch():
        kept = _keep(store, source, body, received, tz, patient)
        if kept.state == "quarantined":
            message, _ = store.receive(f"dicom/{source}", body, received=received)
            store.settle(message, "quarantined", reason=kept.reason)
        return kept


def drive_image(store: Store, message: int, *, tz: str = "UTC", patient: str = "") -> Kept:
    """Read an object of the quarantine again; one that contradicts what is known stays there, whoever asks.

    Parameters
    ----------
    message : its number in the inbox.
    tz, patient : as for :func:`keep_image`; with ``patient`` an object without an identifier finds its place.
    """
    with store.batch():
        told, raw = store.message(message)
        kept = _keep(store, told.source.removeprefix("dicom/"), raw, told.received, tz, patient)
        is_kept = kept.state != "quarantined"
        store.settle(message, "done" if is_kept else "quarantined", reason=kept.reason, patients=[kept.patient] if is_kept else [])
        return kept


def _keep(store: Store, source: str, body: bytes, received: int, tz: str, patient: str) -> Kept:
    try:
        told, file = canonical(body, patient)
    except DataError as error:
        return Kept("quarantined", reason=error.what + (f" ({error.fix})" if error.fix else ""))
    owner = patient or told.patient
    old = images.known(store, told.instance)
    names = {"study": told.study, "series": told.series, "instance": told.instance, "sop_class": told.sop_class}
    if old is not None and old.digest == told.digest:
        return Kept("known", **names, patient=owner)
    if old is not None:
        return Kept("quarantined", **names, reason="an identifier of an object was used before with another content")
    sha = hashlib.sha256(file).hexdigest()
    time = min(time_of(told.attributes, tz, received), received)
    document = Document(
        title=f"{told.modality} object", media_type=MEDIA_TYPE, sha256=sha, time=time, recorded=received, source=f"dicom:{source}"
    )
    store.append(owner, [document], recorded=received)
    store.add_bytes(owner, file)
    image = Image(
        pid=store.subject(owner), **names, syntax=told.syntax, modality=told.modality, sha256=sha, digest=told.digest, time=time,
        attributes=told.attributes,
    )  # fmt: skip
    images.insert(store, image, recorded=received)
    return Kept("new", **names, patient=owner)


def bytes_of(store: Store, image: Image) -> bytes:
    """Return the file of an object."""
    return store.get_bytes(name_of(store, image.pid), image.sha256)


def name_of(store: Store, pid: str) -> str:
    """Return the pseudonym of a random id."""
    with store._transaction("read") as database:
        row = database.execute("SELECT name FROM patient WHERE pid = ?", (pid,)).fetchone()
        return store._name(pid, row[0] if row else None)


def read_volumes(store: Store, study: str, series: str, *, recorded: int, tz: str = "UTC") -> tuple[list[Volume], list[str]]:
    """Make volumes of a series, as far as it is whole: a look at the store, nothing is written.

    Parameters
    ----------
    recorded : ns UTC, when it became known.

    Returns
    -------
    One for each grid, and why others became none, in words without any value. Objects without a place in the patient (reports, plans) say nothing.
    """
    left: list[str] = []
    grids: dict[tuple[object, ...], list[Slice]] = {}
    with Decoder() as decoder:
        for image in images.find(store, study, series):
            try:
                found = read_slice(bytes_of(store, image), tz=tz, decoder=decoder)
            except DataError as error:
                if "pixels" in error.what:
                    left.append(error.what)
                continue
            grids.setdefault(found.grid, []).append(found)
    made: list[Volume] = []
    for slices in grids.values():
        try:
            made.append(assemble(slices, recorded=recorded).model_copy(update={"source": f"dicom:{series}"}))
        except DataError as error:
            left.append(f"{error.what} ({error.seen})")
    return made, list(dict.fromkeys(left))


def keep_volumes(store: Store, patient: str, series: Sequence[tuple[str, str]], *, recorded: int, tz: str = "UTC") -> list[str]:
    """Make volumes of series (study and series UID of each), and append those that are new; return why a series became none."""
    told: list[str] = []
    for study, one in series:
        made, left = read_volumes(store, study, one, recorded=recorded, tz=tz)
        told += left
        if made:
            store.append(patient, made, recorded=recorded)
    return list(dict.fromkeys(told))
