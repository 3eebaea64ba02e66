"""HL7 v2: frames, messages, results, stays, implants and answers. What a sender does wrong is repaired and named, or refused with its reason."""

from gemel.interop.hl7v2.ack import ACCEPTED, ERROR, REJECTED, Header, acknowledge, read_header
from gemel.interop.hl7v2.adt import EVENTS
from gemel.interop.hl7v2.gather import Gathered, Merge, Point, gather
from gemel.interop.hl7v2.idco import Session, find_session
from gemel.interop.hl7v2.mllp import MAX_MESSAGE, Deframer, Frame, enframe, split_messages
from gemel.interop.hl7v2.parse import CHARSETS, Message, parse
from gemel.interop.hl7v2.read import is_hl7, read_file, read_message, read_messages
from gemel.interop.hl7v2.site import SYSTEM_NAMES, UNIT_NAMES, Site
from gemel.interop.hl7v2.times import read_time
from gemel.interop.hl7v2.values import read_number, read_structured

__all__ = [
    "ACCEPTED",
    "CHARSETS",
    "ERROR",
    "EVENTS",
    "MAX_MESSAGE",
    "REJECTED",
    "SYSTEM_NAMES",
    "UNIT_NAMES",
    "Deframer",
    "Frame",
    "Gathered",
    "Header",
    "Merge",
    "Message",
    "Point",
    "Session",
    "Site",
    "acknowledge",
    "enframe",
    "find_session",
    "gather",
    "is_hl7",
    "parse",
    "read_file",
    "read_header",
    "read_message",
    "read_messages",
    "read_number",
    "read_structured",
    "read_time",
    "split_messages",
]
