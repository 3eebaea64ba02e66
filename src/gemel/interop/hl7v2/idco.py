"""IHE IDCO: interrogations of implanted cardiac devices, sent as ORU^R01 with the MDC_IDC terms of IEEE 11073-10103.

Results are mapped like any other, under their MDC codes as sent: nothing is translated to LOINC. What is read here is what the others hang on: which device,
when it was interrogated, and how. A serial number, which names a person as surely as an identifier does, is never part of a source.

References
----------
IHE Patient Care Device, Implantable Device Cardiac Observation. The six terms that every interrogation begins with were read in messages of three senders;
senders name 720897 to 720900 MDC_IDC_PG_* or MDC_IDC_DEV_*: the number decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from gemel.interop.hl7v2.parse import Message

__all__ = ["Session", "find_session"]

_FIRST, _LAST = 720_896, 786_431  # partition 11 of the nomenclature: implantable devices, cardiac
_TYPE, _MODEL, _MAKER, _TIME, _KIND = "720897", "720898", "720900", "721025", "721026"


@dataclass(frozen=True)
class Session:
    """An interrogation.

    Parameters
    ----------
    time : when, as sent; empty when not said.
    kind : in clinic, remote, ...: the sender's code.
    device_type, maker, model : the device, without its serial number.
    """

    time: str = ""
    kind: str = ""
    device_type: str = ""
    maker: str = ""
    model: str = ""

    @property
    def device(self) -> str:
        """A name for the source of the results: maker and model; empty when this is no interrogation."""
        return "-".join(part for part in (self.maker, self.model) if part)


def find_session(message: Message) -> Session:
    r"""Return the interrogation that a message tells of; an empty one when it is another kind of result.

    Examples
    --------
    >>> from gemel.interop.hl7v2 import parse
    >>> find_session(parse(b"MSH|^~\\&\rOBX|1|ST|720898^MDC_IDC_PG_MODEL^MDC|1|Maximo||||||F")).model
    'Maximo'
    """
    found: dict[str, str] = {}
    for segment in message.segments:
        if segment[0] != "OBX" or len(segment) < 6 or not segment[3].startswith("72"):
            continue
        parts = message.components(segment[3])
        if len(parts) < 3 or parts[2] != "MDC" or not _is_cardiac(parts[0]):
            continue
        if parts[0] in (_TYPE, _MODEL, _MAKER, _TIME, _KIND):
            value = message.components(segment[5])
            found.setdefault(parts[0], (value[1] if parts[0] == _MAKER and len(value) > 1 and value[1] else value[0]).strip())
    if not found:
        return Session()
    maker = found.get(_MAKER, "").removeprefix("MDC_IDC_ENUM_MFG_")
    return Session(found.get(_TIME, ""), found.get(_KIND, ""), found.get(_TYPE, ""), maker, found.get(_MODEL, ""))


def _is_cardiac(code: str) -> bool:
    return len(code) == 6 and code.isascii() and code.isdigit() and _FIRST <= int(code) <= _LAST
