"""ADT: admissions, transfers, discharges, their cancellations, corrections of a person's data, and merges.

References
----------
HL7 Version 2.8.2, chapter 3: 3.3.1 (A01) to 3.3.40 (A40); EVN-6, PV1-3, PV1-19, PV1-44, PV1-45, MRG-1, PID-29. Numbers of fields agree with hl7apy's tables of 2.5.
"""

from __future__ import annotations

from gemel.core.code import Code
from gemel.core.errors import FormatError, TimeError
from gemel.core.record import Finding
from gemel.core.series import ENTERED_IN_ERROR, FINAL
from gemel.core.time import MINUTE
from gemel.interop.hl7v2.gather import Gathered, Merge
from gemel.interop.hl7v2.parse import Message
from gemel.interop.hl7v2.patient import demographics_of, identifier_of, patient_of
from gemel.interop.hl7v2.site import Site
from gemel.interop.hl7v2.times import read_time
from gemel.interop.report import Tally

__all__ = ["EVENTS", "map_adt"]

EVENTS: dict[str, str] = {
    "A01": "admitted", "A02": "transferred", "A03": "discharged", "A04": "registered", "A08": "data corrected", "A11": "admission cancelled",
    "A13": "discharge cancelled", "A28": "person added", "A31": "person corrected", "A40": "two identifiers are one person",
}  # fmt: skip
"""Events that are read -> in words."""

_ADMISSION, _TRANSFER, _DISCHARGE, _DEATH = "gemel:admission", "gemel:transfer", "gemel:discharge", "gemel:death"
_WORDS = {
    _ADMISSION: "Admission to hospital",
    _TRANSFER: "Transfer to another ward",
    _DISCHARGE: "Discharge from hospital",
    _DEATH: "Death",
}
# event -> what it says, the field of PV1 that says when, and whether it takes it back
_STAYS = {
    "A01": (_ADMISSION, 44, FINAL), "A04": (_ADMISSION, 44, FINAL), "A02": (_TRANSFER, 0, FINAL), "A03": (_DISCHARGE, 45, FINAL),
    "A11": (_ADMISSION, 44, ENTERED_IN_ERROR), "A13": (_DISCHARGE, 45, ENTERED_IN_ERROR),
}  # fmt: skip


def map_adt(message: Message, event: str, site: Site, recorded: int, out: Gathered, tally: Tally) -> None:
    """Map an event into ``out``; it is one item.

    Raises
    ------
    FormatError
        When the event is none of :data:`EVENTS`, or lacks the patient, the prior identifier, or the visit that is cancelled.
    """
    if event not in EVENTS:
        raise FormatError("an ADT event that is not read", seen=event[:4], expected=", ".join(EVENTS), fix="send these only")
    tally.read += 1
    people = message.all("PID")
    if not people:
        raise FormatError("an event without a patient", seen="no PID segment", expected="PID-3", fix="have the sender add PID")
    patient = patient_of(message, people[0], site, tally)
    if event == "A40":
        merges = message.all("MRG")
        pairs = [
            (patient_of(message, pid, site, tally), identifier_of(message, merge[1], site) if len(merge) > 1 else "")
            for pid, merge in zip(people, merges, strict=False)
        ]
        if not pairs or len(people) != len(merges) or not all(prior for _, prior in pairs) or any(a == b for a, b in pairs):
            raise FormatError(
                "a merge without its two identifiers", seen=f"{len(people)} PID, {len(merges)} MRG", expected="PID-3 and MRG-1, different"
            )
        out.merges += [Merge(survivor, prior, recorded) for survivor, prior in pairs]
    out.people[patient] = demographics_of(message, people[0], site, recorded)
    visits = message.all("PV1")
    visit = visits[0] if visits else []
    if event in _STAYS:
        code, number, status = _STAYS[event]
        stay = message.components(visit[19])[0] if len(visit) > 19 else ""
        if status == ENTERED_IN_ERROR and not stay:
            raise FormatError(
                "a cancellation that names no visit", seen="PV1-19 is empty", expected="the visit number", fix="have the sender fill PV1-19"
            )
        time = _when(message, visit, number, site, recorded, tally)
        place = " ".join(message.components(visit[3])[:2]).strip() if len(visit) > 3 else ""
        name = f"{out.sender}:{stay}:{code}" if stay else ""
        if code == _TRANSFER and name:
            name += f":{time}"
        found = Finding(
            code=Code.parse(code, display=_WORDS[code]), value=place or None, time=time, recorded=max(recorded, time), status=status,
            source=f"hl7v2:{out.sender}", id=name,
        )  # fmt: skip
        out.findings.append((patient, found))
    pid = people[0]
    died = message.components(pid[29])[0] if len(pid) > 29 else ""
    if died:
        try:
            time, assumed = read_time(died, site.zone)
        except TimeError:
            tally.repair("time of death not readable: left out")
        else:
            for what in assumed:
                tally.repair(what)
            if time <= recorded + 2 * MINUTE:
                found = Finding(
                    code=Code.parse(_DEATH, display=_WORDS[_DEATH]), time=time, recorded=max(recorded, time), source=f"hl7v2:{out.sender}"
                )
                out.findings.append((patient, found))
            else:
                tally.repair("time of death in the future: left out")
    tally.mapped += 1


def _when(message: Message, visit: list[str], number: int, site: Site, recorded: int, tally: Tally) -> int:
    events = message.all("EVN")
    choices = [(visit, number)] if number else []
    choices += [(events[0], 6), (events[0], 2)] if events else []
    for segment, at in choices:
        sent = message.components(segment[at])[0] if len(segment) > at else ""
        if sent:
            time, assumed = read_time(sent, site.zone)
            for what in assumed:
                tally.repair(what)
            if time > recorded + 2 * MINUTE:
                raise FormatError(
                    "an event of the future",
                    seen="later than it was received",
                    expected="the past",
                    fix="check the sender's clock and zone",
                )
            return time
    tally.repair("time of the event missing: time of the message taken")
    return recorded
