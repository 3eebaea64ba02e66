"""Which objects of DICOM the store keeps, found by study, series and instance without knowing whose they are. The bytes themselves are large bytes of the patient."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gemel.core.errors import DataError
from gemel.platform.store.merges import priors_of
from gemel.platform.store.sealing import Sealing

if TYPE_CHECKING:
    from gemel.platform.store.store import Store

__all__ = ["Image", "find", "insert", "known", "of_patient", "pids"]

_COLUMNS = "image.token, image.pid, image.seq, image.recorded_ns, image.body"


@dataclass(frozen=True)
class Image:
    """One object.

    Parameters
    ----------
    pid : random id of the patient.
    sha256 : under which :meth:`gemel.platform.store.Store.get_bytes` has its file.
    digest : of its content, whatever was written before it.
    time : ns UTC, when it was made; the time of arrival where it does not say.
    attributes : what a search shows, in the DICOM JSON model.
    """

    pid: str
    study: str
    series: str
    instance: str
    sop_class: str
    syntax: str
    modality: str
    sha256: str
    digest: str
    time: int
    recorded: int = 0
    attributes: Mapping[str, Any] = field(default_factory=dict, repr=False)


_TOLD = ("study", "series", "instance", "sop_class", "syntax", "modality", "sha256", "digest", "time", "attributes")


def _image(sealing: Sealing, row: tuple) -> Image:
    token, pid, _, recorded, body = row
    return Image(pid=pid, recorded=recorded, **json.loads(sealing.open("image", pid, token, 0, body)))


def insert(store: Store, image: Image, *, recorded: int) -> None:
    """Note an object of a patient; one of its identifier must not be there.

    Parameters
    ----------
    recorded : ns UTC, when it was taken in.
    """
    with store._transaction("write") as database:
        sealing = store._sealing
        token = sealing.token("image", image.instance)
        seq = store._event(
            "image", image.pid, sealing.own(image.pid, "image", image.instance)[:16], recorded
        )  # what stays when they are erased tells nothing
        body = json.dumps({name: getattr(image, name) for name in _TOLD}, separators=(",", ":")).encode()
        database.execute(
            "INSERT INTO image (token, pid, study, series, seq, recorded_ns, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (token, image.pid, sealing.token("study", image.study), sealing.token("series", image.series), seq, recorded,
             sealing.seal("image", image.pid, token, 0, body)),
        )  # fmt: skip


def known(store: Store, instance: str) -> Image | None:
    """Return the object of an identifier."""
    with store._transaction("read") as database:
        row = database.execute(f"SELECT {_COLUMNS} FROM image WHERE token = ?", (store._sealing.token("image", instance),)).fetchone()
        return None if row is None else _image(store._sealing, row)


def find(store: Store, study: str, series: str = "", instance: str = "") -> list[Image]:
    """Return the objects of a study, series or instance, in the order in which they came."""
    with store._transaction("read") as database:
        sealing = store._sealing
        where, values = "study = ?", [sealing.token("study", study)]
        for column, value in (("series", series), ("image", instance)):
            if value:
                where += f" AND {'token' if column == 'image' else column} = ?"
                values.append(sealing.token(column, value))
        return [
            _image(sealing, row) for row in database.execute(f"SELECT {_COLUMNS} FROM image WHERE {where} ORDER BY seq", values).fetchall()
        ]


def of_patient(store: Store, pid: str, *, most: int = 100_000) -> list[Image]:
    """Return the objects of a patient (random id) and of whoever was merged into them, in the order in which they came.

    Raises
    ------
    DataError
        When there are more than ``most``.
    """
    with store._transaction("read") as database:
        people = (pid, *priors_of(database, pid))
        chosen = f"SELECT {_COLUMNS} FROM image WHERE pid IN ({', '.join('?' * len(people))}) ORDER BY seq LIMIT ?"
        rows = database.execute(chosen, (*people, most + 1)).fetchall()
        if len(rows) > most:
            raise DataError(
                "too many objects of one patient at once", seen=f"more than {most}", expected=f"at most {most}", fix="name a study"
            )
        return [_image(store._sealing, row) for row in rows]


def pids(store: Store) -> list[str]:
    """Return the random ids of all patients with objects."""
    with store._transaction("read") as database:
        return [row[0] for row in database.execute("SELECT DISTINCT pid FROM image ORDER BY pid").fetchall()]
