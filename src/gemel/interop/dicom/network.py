"""Talking to an archive over DICOM's own protocol: is it there, what has it, take this. What is sent is the bytes that are kept, not a copy written anew.

Needs the extra ``gemel[dicom]`` (pynetdicom).

References
----------
DICOM PS3.7 2024e, 9.1 (C-STORE, C-FIND, C-ECHO) and C (status codes); PS3.4 2024e, C.4.1 (C-FIND), C.6 (query models).
"""

from __future__ import annotations

import io
import ssl
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gemel.core.errors import DataError, FormatError
from gemel.interop.dicom.instance import parse, silence
from gemel.interop.dicom.part10 import Part10, is_uid

__all__ = ["STUDY_ROOT_FIND", "Peer", "SendReport", "echo", "find", "pynetdicom_library", "send"]

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_MOST_CONTEXTS = 128  # of one association, PS3.8, 9.3.2.2
_PENDING = (0xFF00, 0xFF01)
_NO_ANSWER, _NO_CONTEXT = -1, -2


@dataclass(frozen=True)
class Peer:
    """Where an archive listens, and what the two call each other.

    Parameters
    ----------
    title : its application entity title, 1 to 16 characters.
    calling : ours.
    patience : seconds for the connection, and for each answer.
    tls : for speaking in TLS.
    """

    host: str
    port: int
    title: str = "ANY-SCP"
    calling: str = "GEMEL"
    patience: float = 30.0
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True)
class SendReport:
    """What became of each object: ``sent`` are instance UIDs that the archive has taken; ``refused`` names those it has not, each with its reason."""

    sent: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]


def pynetdicom_library() -> Any:
    """Return pynetdicom, silenced.

    Raises
    ------
    DataError
        When the extra is not installed.
    """
    try:
        import pynetdicom
    except ImportError as error:
        raise DataError(
            "DICOM cannot be spoken here", seen="no pynetdicom", expected="the extra [dicom]", fix="pip install 'gemel[dicom]'"
        ) from error
    silence()
    return pynetdicom


@contextmanager
def _associate(peer: Peer, contexts: Iterable[tuple[str, str]]) -> Iterator[Any]:
    """Hold an association with one context for each pair of class and transfer syntax."""
    library = pynetdicom_library()
    entity = library.AE(ae_title=peer.calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = peer.patience
    for abstract, syntax in contexts:
        entity.add_requested_context(abstract, syntax)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        link = entity.associate(peer.host, peer.port, ae_title=peer.title, tls_args=None if peer.tls is None else (peer.tls, peer.host))
    if not link.is_established:
        raise DataError(
            "the archive does not speak with us",
            seen="association rejected" if link.is_rejected else "no connection",
            expected=f"{peer.title} at {peer.host}:{peer.port} that knows {peer.calling}",
            fix="check address, port and both titles",
        )
    try:
        yield link
    finally:
        if link.is_established:
            link.release()


def echo(peer: Peer) -> None:
    """Ask whether an archive is there.

    Raises
    ------
    DataError
        When it is not, or does not answer.
    """
    with _associate(peer, [("1.2.840.10008.1.1", "1.2.840.10008.1.2")]) as link:
        status = link.send_c_echo()
        if not status or status.Status != 0:
            raise DataError("the archive does not answer", seen="no success", expected="status 0x0000")


def _send_one(link: Any, part: Part10, sop_class: str, instance: str) -> int:
    """Send a data set as it is kept; return the status, or why there is none."""
    from pydicom.uid import UID
    from pynetdicom.dimse_primitives import C_STORE

    fits = [c for c in link.accepted_contexts if c.abstract_syntax == sop_class and c.transfer_syntax[0] == part.syntax]
    if not fits:
        return _NO_CONTEXT
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = UID(sop_class), UID(instance)
    request.DataSet = io.BytesIO(part.dataset)
    # The library's own call would decode the data set and write it anew; from a file it would not, but what we keep is sealed and never lies open in one.
    link._reactor_checkpoint.clear()
    try:
        while not link._is_paused and link.is_alive():
            link._reactor_checkpoint.wait(0.0005)
        link.dimse.send_msg(request, fits[0].context_id)
        _, answer = link.dimse.get_msg(block=True)
    finally:
        link._reactor_checkpoint.set()
    return _NO_ANSWER if answer is None or answer.Status is None else int(answer.Status)


def send(peer: Peer, files: Iterable[bytes]) -> SendReport:
    """Send objects (C-STORE), each as it is kept: the archive receives the same bytes.

    Parameters
    ----------
    files : Part 10 files, as :meth:`gemel.platform.store.Store.get_bytes` returns them.

    Raises
    ------
    DataError
        When the archive cannot be reached.
    FormatError
        When a file is none: nothing is sent then.
    """
    pynetdicom_library()
    parts: list[tuple[Part10, str, str]] = []
    for body in files:
        data, part = parse(body)
        sop_class, instance = str(data.get("SOPClassUID", "")), str(data.get("SOPInstanceUID", ""))
        if not is_uid(sop_class) or not is_uid(instance):
            raise FormatError("an object without class or identifier", seen="no SOPClassUID or SOPInstanceUID", expected="both")
        parts.append((part, sop_class, instance))
    sent: list[str] = []
    refused: list[tuple[str, str]] = []
    waiting = parts
    while waiting:
        kinds = sorted({(sop_class, part.syntax) for part, sop_class, _ in waiting})[:_MOST_CONTEXTS]
        now = [one for one in waiting if (one[1], one[0].syntax) in kinds]
        waiting = [one for one in waiting if (one[1], one[0].syntax) not in kinds]
        try:
            with _associate(peer, kinds) as link:
                for place, (part, sop_class, instance) in enumerate(now):
                    status = _send_one(link, part, sop_class, instance)
                    if status == _NO_ANSWER:
                        refused.append((instance, "no answer: the connection was lost"))
                        waiting = now[place + 1 :] + waiting  # the others go over another connection
                        break
                    if status == _NO_CONTEXT:
                        refused.append((instance, "not accepted: class or transfer syntax"))
                    elif status == 0 or status & 0xF000 == 0xB000:  # a warning: taken, with something changed or missing
                        sent.append(instance)
                    else:
                        refused.append((instance, f"status 0x{status:04X}"))
        except DataError:
            if not sent and not refused:
                raise
            known = {*sent, *(uid for uid, _ in refused)}  # what was taken before is taken: only the rest is not
            refused += [(instance, "no connection any more") for _, _, instance in (*now, *waiting) if instance not in known]
            break
    return SendReport(tuple(sent), tuple(refused))


def find(peer: Peer, level: str, keys: Mapping[str, str], *, most: int = 1000) -> list[dict[str, Any]]:
    """Ask what an archive has (C-FIND, study root).

    Parameters
    ----------
    level : ``study``, ``series`` or ``instance``.
    keys : keyword -> value to match; an empty value asks for the attribute.
    most : answers after which the search is refused as too wide.

    Returns
    -------
    Attributes of each match in the DICOM JSON model.

    Raises
    ------
    DataError
        When the archive refuses, or answers with more than ``most``.
    FormatError
        When an answer cannot be read.
    """
    pynetdicom_library()
    from pydicom.dataset import Dataset

    names = {"study": "STUDY", "series": "SERIES", "instance": "IMAGE"}
    if level not in names:
        raise DataError("a level that there is not", seen=level, expected=", ".join(names))
    query = Dataset()
    query.QueryRetrieveLevel = names[level]
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    found: list[dict[str, Any]] = []
    with _associate(peer, [(STUDY_ROOT_FIND, "1.2.840.10008.1.2")]) as link:
        for status, answer in link.send_c_find(query, STUDY_ROOT_FIND):
            code = int(status.Status) if status and "Status" in status else -1
            if code in _PENDING and answer is not None:
                if len(found) == most:
                    link.abort()
                    raise DataError(
                        "the search is too wide", seen=f"more than {most} matches", expected="fewer", fix="name a patient or a study"
                    )
                try:
                    found.append(answer.to_json_dict())
                except Exception as error:
                    raise FormatError("an answer of the archive cannot be read", seen=type(error).__name__) from error
            elif code != 0:
                raise DataError(
                    "the archive refuses the search", seen=f"status 0x{code:04X}" if code >= 0 else "no answer", expected="status 0x0000"
                )
    return found
