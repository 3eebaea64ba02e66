"""A message in, what it gave out: facts not made yet, a report that adds up, and the answer that is due."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from gemel.core.errors import DataError, FormatError, TimeError
from gemel.core.record import Demographics, PatientRecord
from gemel.interop.hl7v2.adt import map_adt
from gemel.interop.hl7v2.gather import Gathered, gather
from gemel.interop.hl7v2.mllp import START, Deframer, split_messages
from gemel.interop.hl7v2.oru import map_oru
from gemel.interop.hl7v2.parse import Message, parse
from gemel.interop.hl7v2.site import Site
from gemel.interop.hl7v2.times import read_time
from gemel.interop.people import records_of
from gemel.interop.report import MessageReport, Tally

__all__ = ["is_hl7", "read_file", "read_message", "read_messages"]

_USUAL = Site()
_MAX_FILE = 1 << 30


def is_hl7(head: bytes) -> bool:
    r"""Say whether a file begins like HL7 v2: a message, a frame, or a batch.

    Examples
    --------
    >>> is_hl7(b"\x0bMSH|^~\\&|"), is_hl7(b"time,glucose")
    (True, False)
    """
    start = head.lstrip(b"\xef\xbb\xbf\x0b \t\r\n")[:5]
    return start[:3] in (b"MSH", b"FHS", b"BHS") and len(start) > 3 and not start[3:4].isalnum() and not start[3:4].isspace()


def _sender(message: Message) -> str:
    parts = [message.components(message.get(n))[0].strip() for n in (3, 4)]
    return "|".join(part for part in parts if part) or "unnamed"


def read_message(body: bytes | Message, *, site: Site = _USUAL, received: int | None = None) -> Gathered:
    r"""Parse and map one message.

    Parameters
    ----------
    body : the message without its frame, or one parsed already.
    site : what the sender leaves out.
    received : ns UTC, when it arrived; left out (a file): when it was sent, MSH-7.

    Returns
    -------
    Rows, findings, documents and merges by the patient's identifier, with a report in which every item is accounted for.

    Raises
    ------
    FormatError
        When it is no message: nothing of it can be placed, and the answer is AR.

    Notes
    -----
    A message that can be read but not mapped (another type, no patient) is returned with everything refused.

    Examples
    --------
    >>> text = b"MSH|^~\\&|LAB|H|||202601310900+0000||ORU^R01|7|P|2.5\rPID|||1^^^H^MR\rOBR|1|||x|||202601310805+0000\r"
    >>> found = read_message(text + b"OBX|1|NM|8867-4^Heart rate^LN||61|/min|||||F\r")
    >>> found.points[0].value, found.report.mapped
    (61.0, 1)
    """
    message = body if isinstance(body, Message) else parse(body, fallback=site.charset)
    kind = message.components(message.get(9))
    name, event = kind[0].strip().upper(), (kind[1].strip().upper() if len(kind) > 1 else "")
    out = Gathered(sender=_sender(message), control=message.text(message.get(10)), kind=f"{name}^{event}" if event else name)
    tally = Tally(out.sender, "hl7v2")
    for repair in message.repairs:
        tally.repair(repair)
    try:
        mode = message.components(message.get(11))[0].strip().upper()
        if mode in ("T", "D") and not site.accept_tests:
            raise FormatError(
                "a message of a test, not of production", seen=f"MSH-11 is {mode}", expected="P", fix="set Site.accept_tests to take it"
            )
        recorded = _received(message, site, received, tally)
        if name == "ORU" and event in ("R01", "R30", "R40", ""):
            map_oru(message, site, recorded, out, tally)
        elif name == "ADT":
            map_adt(message, event, site, recorded, out, tally)
        else:
            raise FormatError("a type of message that is not read", seen=out.kind[:12], expected="ORU^R01 or ADT", fix="send these only")
    except DataError as error:
        _refuse_all(message, out, tally, error)
    out.report = tally.report()
    return out


def _received(message: Message, site: Site, received: int | None, tally: Tally) -> int:
    if received is not None:
        return received
    sent = message.components(message.get(7))[0]
    if not sent:
        raise TimeError(
            "nobody says when the message became known", seen="MSH-7 is empty", expected="a time", fix="give the time of receipt"
        )
    time, assumed = read_time(sent, site.zone)
    for what in assumed:
        tally.repair(what)
    return time


def _refuse_all(message: Message, out: Gathered, tally: Tally, error: DataError) -> None:
    """What was mapped before the message turned out unusable is taken back: a message counts whole or not at all."""
    items = max(sum(segment[0] == "OBX" for segment in message.segments), 1) if out.kind.startswith("ORU") else 1
    fresh = Gathered()
    out.points, out.findings, out.documents, out.exposures, out.merges, out.people = (
        fresh.points, fresh.findings, fresh.documents, fresh.exposures, fresh.merges, fresh.people,
    )  # fmt: skip
    tally.read, tally.mapped, tally.duplicates = items, 0, 0
    tally.refused.clear()
    reason = "time-unreadable" if isinstance(error, TimeError) else "message-unusable"
    tally.refuse(reason, "message", error.what + (f" ({error.seen})" if error.seen is not None else ""), error.fix or "", items)


def read_messages(
    bodies: Iterable[bytes], *, source: str = "messages", site: Site = _USUAL, received: int | None = None
) -> tuple[list[Gathered], MessageReport]:
    """Read messages in order; one that comes again, from the same sender under the same number with the same content, has no effect.

    Under the same number with another content it is refused: which of the two is right cannot be told.
    """
    tally = Tally(source, "hl7v2")
    found: list[Gathered] = []
    seen: dict[tuple[str, str], bytes] = {}
    for number, body in enumerate(bodies, start=1):
        try:
            one = read_message(body, site=site, received=received)
        except FormatError as error:
            tally.read += 1
            tally.refuse("no-message", f"message {number}", error.what, error.fix or "")
            continue
        if one.control:
            content, key = hashlib.sha256(body).digest(), (one.sender, one.control)
            if key in seen:
                tally.read += one.report.read
                if seen[key] == content:
                    tally.duplicates += one.report.read
                else:
                    what, fix = "MSH-10 was used before with another content", "have the sender number its messages"
                    tally.refuse("number-reused", f"message {number}", what, fix, one.report.read)
                continue
            seen[key] = content
        found.append(one)
        part = one.report
        tally.add(
            part.model_copy(update={"refused": tuple(r.model_copy(update={"place": f"message {number}, {r.place}"}) for r in part.refused)})
        )
    return found, tally.report()


def _bodies(content: bytes) -> tuple[list[bytes], int]:
    """Messages of a file, and how many frames were never closed; a file without frames is split where messages begin."""
    if START not in content:
        return split_messages(content), 0
    deframer = Deframer(_MAX_FILE)
    frames = [*deframer.feed(content), *deframer.close()]
    return [body for frame in frames if frame.is_whole for body in split_messages(frame.body)], sum(not f.is_whole for f in frames)


def read_file(path: Path, *, site: Site = _USUAL) -> list[tuple[PatientRecord, MessageReport]]:
    """Read a file of messages, framed or not: a record for each patient, each with the report of the whole file.

    Patients are named by the identifier that the sender gives them. Merged ones become one record.

    Raises
    ------
    FormatError
        When no message of the file can be placed; with the first reason.
    """
    if path.stat().st_size > _MAX_FILE:
        raise FormatError("the file is too large", seen=f"{path.stat().st_size} bytes", expected=f"at most {_MAX_FILE}", fix="split it")
    bodies, cut = _bodies(path.read_bytes())
    found, report = read_messages(bodies, source=path.name, site=site)
    if cut:
        tally = Tally(path.name, "hl7v2")
        tally.add(report)
        tally.read += cut
        tally.refuse("frame-open", "a frame", "a frame that was never closed: its message may be cut off", "send it again", cut)
        report = tally.report()
    people: dict[str, Demographics] = {}
    for part in found:
        people.update(part.people)
    records = records_of(gather(found), people, [merge for part in found for merge in part.merges])
    held = [record for record in records.values() if any(True for _ in record.facts())]
    if not held:
        first = report.refused[0] if report.refused else None
        raise FormatError(
            f"{path.name} holds no fact that can be placed",
            seen=f"{first.what} at {first.place}" if first else f"{report.read} items, none with a fact",
            expected="ORU^R01 results or ADT stays",
            fix=(first.fix if first else "") or "check the file",
        )
    return [(record, report) for record in held]
