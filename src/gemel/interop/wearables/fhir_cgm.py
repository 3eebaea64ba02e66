"""FHIR Bundles of the HL7 CGM guide as one more layout of ``gemel import``; read by :mod:`gemel.interop.fhir`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gemel.core.errors import FormatError
from gemel.interop.wearables._json import load_json
from gemel.interop.wearables._text import decode
from gemel.interop.wearables.base import Layout, Notes, Options, Parsed, Source

__all__ = ["LAYOUT"]

_BUNDLE = re.compile(r'"resourceType"\s*:\s*"(Bundle|Observation)"')


def _sniff(name: str, head: bytes) -> bool:
    if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"[", b"{")):
        return False
    try:
        return bool(_BUNDLE.search(decode(head, name)))
    except FormatError:
        return False


def _parse(sources: Sequence[Source], options: Options) -> Parsed:
    from gemel.interop.fhir import read_cgm_bundle  # here: the two packages read each other's tables

    parsed: Parsed = []
    for source in sources:
        found = load_json(source.read(), source.base, Notes(source.base, "fhir-cgm"))
        parsed += read_cgm_bundle(found, name=source.base, id=options.id, tz=options.tz)[0]
    return parsed


LAYOUT = Layout("fhir-cgm", "FHIR R4 Bundle of the HL7 CGM guide 1.0.0", _sniff, _parse)
