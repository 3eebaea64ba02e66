"""HL7 v2 for the intake: results, stays, implants, corrections, deletions and merges of one message."""

from __future__ import annotations

from collections.abc import Mapping

from gemel.core.errors import FormatError
from gemel.interop.hl7v2 import Message, Site, gather, parse, read_message, read_time
from gemel.platform.intake import Adapter, Context, Joined, Normalised

__all__ = ["adapter"]

_USUAL = Site()


def _sent(message: Message, site: Site) -> int | None:
    try:
        return read_time(message.components(message.get(7))[0], site.zone)[0]
    except (FormatError, ValueError):
        return None


def adapter(sites: Mapping[str, Site] | None = None, *, usual: Site = _USUAL) -> Adapter:
    """Return the adapter of HL7 v2.

    Parameters
    ----------
    sites : settings by source.
    usual : settings of a source that has none of its own.
    """
    known = dict(sites or {})

    def read(body: bytes, context: Context) -> Normalised:
        site = known.get(context.source, usual)
        message = parse(body, fallback=site.charset)
        found = read_message(message, site=site, received=context.received)
        documents: dict[str, list[bytes]] = {}
        for patient, _, content in found.documents:
            documents.setdefault(patient, []).append(content)
        return Normalised(
            report=found.report, facts=gather([found]), demographics=found.people, documents=documents,
            merges=tuple(Joined(merge.survivor, merge.prior) for merge in found.merges), sent=_sent(message, site),
        )  # fmt: skip

    return Adapter("hl7v2", read)
