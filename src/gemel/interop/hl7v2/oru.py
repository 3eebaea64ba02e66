"""ORU^R01: results become rows, findings and documents; each OBX is one item, mapped or refused with its reason.

References
----------
HL7 Version 2.8.2, chapter 7: 7.3.1 (ORU^R01), 7.4.1 (OBR), 7.4.2 (OBX), table 0085 (result status), table 0125 (value types). Numbers of fields agree with
those of hl7apy's tables of 2.5.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from gemel.core.code import Code
from gemel.core.errors import CodeError, DataError, FormatError, TimeError
from gemel.core.record import Document, Finding
from gemel.core.series import ENTERED_IN_ERROR, EXACT, FINAL, PRELIMINARY
from gemel.core.time import MINUTE
from gemel.interop.hl7v2.gather import Gathered, Point
from gemel.interop.hl7v2.idco import Session, find_session
from gemel.interop.hl7v2.parse import Message
from gemel.interop.hl7v2.patient import demographics_of, patient_of
from gemel.interop.hl7v2.site import SYSTEM_NAMES, Site
from gemel.interop.hl7v2.times import read_time
from gemel.interop.hl7v2.values import read_number, read_structured
from gemel.interop.report import Tally

__all__ = ["map_oru"]

# Table 0085. X: no result can be had, itself a fact. W: was another patient's or another test's.
_STATUS = {"F": FINAL, "C": FINAL, "U": FINAL, "P": PRELIMINARY, "R": PRELIMINARY, "S": PRELIMINARY, "B": PRELIMINARY, "A": FINAL,
           "V": FINAL, "D": ENTERED_IN_ERROR, "W": ENTERED_IN_ERROR, "X": FINAL}  # fmt: skip
_NOT_YET = {"I": "specimen not yet examined", "N": "not asked for", "O": "order only"}
_TEXT = frozenset(
    {"ST", "TX", "FT", "DT", "TM", "DTM", "TS", "CX", "EI", "IS", "ID", "XPN", "XCN", "XON", "XTN", "XAD", "SI", "HD", "PN", "CN", "XT"}
)
_CODED = frozenset({"CWE", "CE", "CNE", "CF"})
_AHEAD = 2 * MINUTE  # what the record allows between two clocks


@dataclass(slots=True)
class _Group:
    """Where in a message we are: whose result, of which order."""

    patient: str
    source: str
    time: str = ""


class _Refused(Exception):  # never leaves this module: an item that cannot be placed
    def __init__(self, reason: str, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.reason, self.what, self.fix = reason, what, fix


def map_oru(message: Message, site: Site, recorded: int, out: Gathered, tally: Tally) -> None:
    """Map every OBX of a message into ``out``, counting in ``tally``.

    Parameters
    ----------
    recorded : ns UTC, when the message became known here.

    Raises
    ------
    FormatError
        When the patient cannot be told, and nothing of the message can be mapped.
    """
    segments = message.segments
    people = [s for s in segments if s[0] == "PID"]
    if not people:
        raise FormatError("a result without a patient", seen="no PID segment", expected="PID-3", fix="have the sender add PID")
    session = find_session(message)
    source = f"hl7v2:{out.sender}" + (f"/{session.device}" if session.device else "")
    orders = [s for s in segments if s[0] == "OBR"]
    group: _Group | None = None
    if len(people) == 1:
        group = _Group(patient_of(message, people[0], site, tally), source)
        if len(orders) == 1:
            _enter(message, group, orders[0])
    number, ordered = 0, False
    for segment in segments:
        name = segment[0]
        if name == "OBX":
            number += 1
            tally.read += 1
            if number == 1 and not ordered and len(orders) == 1:
                tally.repair("OBX before its OBR")
            try:
                if group is None:
                    raise _Refused("patient-unclear", "a result before the first of several patients", "have the sender put PID first")
                _map_one(message, segment, group, site, recorded, session, out, tally)
                tally.mapped += 1
            except _Refused as error:
                tally.refuse(error.reason, f"OBX {number}", error.what, error.fix)
            except TimeError as error:
                tally.refuse("time-unreadable", f"OBX {number}", error.what, error.fix or "")
            except CodeError as error:
                tally.refuse("code-unusable", f"OBX {number}", error.what, error.fix or "")
            except DataError as error:
                tally.refuse("value-unreadable", f"OBX {number}", error.what, error.fix or "")
        elif name == "OBR":
            ordered = True
            if group is not None:
                _enter(message, group, segment)
        elif name == "PID":
            patient = group.patient if group is not None and len(people) == 1 else patient_of(message, segment, site, tally)
            if group is not None and number and len(people) == 1:
                tally.repair("PID after its results")
            if len(people) > 1:
                group = _Group(patient, source)
            out.people[patient] = demographics_of(message, segment, site, recorded)
    if not number:
        tally.read += 1
        tally.refuse("empty", "message", "a result message without an OBX", "nothing to do, or ask the sender")


def _enter(message: Message, group: _Group, order: list[str]) -> None:
    group.time = message.components(order[7])[0] if len(order) > 7 else ""


def _when(message: Message, segment: list[str], group: _Group, site: Site, session: Session, tally: Tally) -> int:
    sent = message.components(segment[14])[0] if len(segment) > 14 and segment[14] else ""
    if not sent:
        sent = group.time
    if not sent and session.time:
        sent = session.time
        tally.repair("time of the session taken: neither OBX-14 nor OBR-7 is sent")
    if not sent:
        raise _Refused("time-missing", "neither OBX-14 nor OBR-7 says when it was true", "have the sender fill OBR-7")
    time, assumed = read_time(sent, site.zone)
    for what in assumed:
        tally.repair(what)
    return time


def _map_one(
    message: Message, segment: list[str], group: _Group, site: Site, recorded: int, session: Session, out: Gathered, tally: Tally
) -> None:
    if len(segment) < 6:
        raise _Refused("cut-off", f"an OBX of {len(segment) - 1} fields", "check the sender's framing")
    kind, raw = segment[2].strip().upper(), segment[5]
    state = segment[11].strip().upper() if len(segment) > 11 else ""
    if state in _NOT_YET:
        raise _Refused("no-result-yet", f"status {state}: {_NOT_YET[state]}", "nothing to do: the result will follow")
    if not state:
        tally.repair("OBX-11 is empty: taken as preliminary")
        status = PRELIMINARY
    elif state in _STATUS:
        status = _STATUS[state]
    else:
        raise _Refused("status-unknown", "OBX-11 is not in table 0085", "correct it at the sender")
    code, text = site.read_code(message, segment[3])
    if not code:
        raise _Refused("code-unknown", "OBX-3 is in no system that is read", "add the site's code to Site.codes")
    time = _when(message, segment, group, site, session, tally)
    if time > recorded + _AHEAD:
        raise _Refused("time-ahead", "a result true after it was received", "check the sender's clock and zone")
    part = segment[4].strip()
    source = group.source if part in ("", "1") else f"{group.source}#{part}"
    if time > recorded:
        recorded = time
    pieces = message.repetitions(raw) if message.separators[1] in raw else [raw]
    if len(pieces) > 1:
        kept = list(dict.fromkeys(pieces))
        if len(kept) < len(pieces):
            tally.repair("value repeated")
        pieces = kept
    value: Code | str | None
    if state == "X":
        value = None
    elif kind == "":
        raise _Refused("type-missing", "OBX-2 is empty", "have the sender fill OBX-2")
    elif kind == "NM" or kind == "SN" or (kind in ("ST", "TX") and len(segment) > 6 and segment[6] and _is_number(raw)):
        if kind in ("ST", "TX"):
            tally.repair("number with a unit sent as text")
        number = _number(message, segment, kind, pieces, status, site, tally)
        if not isinstance(number, str):
            unit, amount, censored = number
            out.points.append(Point(group.patient, code, text, unit, source, time, amount, recorded, status, censored))
            return
        value = number
    elif not raw.strip() and kind not in ("ED", "RP"):
        if status != ENTERED_IN_ERROR:
            raise _Refused("value-missing", "OBX-5 is empty", "send status X where there is no result")
        value = None
    elif kind in _CODED:
        value = _coded(message, pieces, tally)
    elif kind in _TEXT:
        value = "\n".join(message.text(p) for p in pieces)
    elif kind == "ED":
        _map_document(message, pieces, text or code, time, recorded, source, group.patient, out)
        return
    elif kind == "RP":
        raise _Refused("pointer", "a pointer to a document elsewhere (RP), not the document", "have the sender embed it (ED)")
    else:
        raise _Refused("type-not-read", "a value type that is not read", "NM, SN, CWE, CE, ST, TX, FT, ED and times are")
    found = Finding(code=Code.parse(code, display=text), value=value, time=time, recorded=recorded, status=status, source=source)
    out.findings.append((group.patient, found))


def _is_number(raw: str) -> bool:
    try:
        read_number(raw)
    except FormatError:
        return False
    return True


def _number(
    message: Message, segment: list[str], kind: str, pieces: list[str], status: int, site: Site, tally: Tally
) -> tuple[str, float, int] | str:
    """Return unit, number and how it is censored; text where a structured number is no single one."""
    if len(pieces) > 1:
        raise _Refused("several-values", "one OBX with several different numbers of one time", "send one OBX for each")
    raw = pieces[0]
    if not raw.strip():
        if status != ENTERED_IN_ERROR:
            raise _Refused("value-missing", "OBX-5 is empty", "send status X where there is no result")
        value, censored = 0.0, EXACT  # a retraction names its row by code, unit, source and time; the number is never shown
    elif kind == "SN":
        read = read_structured(message.components(raw))
        if isinstance(read, str):
            return read
        value, censored = read
    else:
        value, censored, repaired = read_number(message.text(raw))
        if repaired:
            tally.repair(repaired)
    sent = segment[6] if len(segment) > 6 else ""
    unit, repaired = site.read_unit(message, sent)
    if not unit:
        if not sent.strip() or not message.components(sent)[0].strip():
            raise _Refused("unit-missing", "a number without a unit in OBX-6", "have the sender fill OBX-6: a unit is not guessed")
        raise _Refused("unit-unknown", "OBX-6 is neither UCUM nor a known spelling", "add the site's spelling to Site.units")
    if repaired:
        tally.repair(repaired)
    return unit, value, censored


def _coded(message: Message, pieces: list[str], tally: Tally) -> Code | str:
    if len(pieces) > 1:
        tally.repair("several coded values of one result kept as text")
        return "\n".join(" ".join(p for p in message.components(piece)[:2] if p) for piece in pieces)
    parts = message.components(pieces[0])
    for at in (0, 3):
        if at + 2 < len(parts) and parts[at] and (system := SYSTEM_NAMES.get(parts[at + 2])):
            return Code.parse(f"{system}:{parts[at]}", display=parts[at + 1])
    return " ".join(p for p in parts[:2] if p)


def _map_document(
    message: Message, pieces: list[str], title: str, time: int, recorded: int, source: str, patient: str, out: Gathered
) -> None:
    parts = message.components(pieces[0])
    if len(parts) < 5 or not parts[4].strip():
        raise _Refused("document-missing", "an ED value without its data", "have the sender embed the document")
    encoding = parts[3].strip().upper()
    if encoding == "BASE64":
        try:
            body = base64.b64decode(parts[4].replace("\n", "").replace(" ", ""), validate=True)
        except (binascii.Error, ValueError) as error:
            raise _Refused("document-broken", "the data of an ED value are not Base64", "check the sender") from error
    elif encoding in ("A", "HEX"):
        try:
            body = bytes.fromhex(parts[4]) if encoding == "HEX" else parts[4].encode()
        except ValueError as error:
            raise _Refused("document-broken", "the data of an ED value are not hexadecimal", "check the sender") from error
    else:
        raise _Refused("document-encoding", "an unknown encoding of an ED value", "A, Hex or Base64")
    family, sub = parts[1].strip().lower() or "application", parts[2].strip().lower() or "octet-stream"
    family = {"im": "image", "ap": "application", "ft": "text", "tx": "text", "tex": "text"}.get(family, family)
    document = Document(
        title=title, media_type=f"{family}/{sub}", sha256=hashlib.sha256(body).hexdigest(), time=time, recorded=recorded, source=source
    )
    out.documents.append((patient, document, body))
