"""FHIR R4 for the intake: one resource, a Bundle, or lines of NDJSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from gemel.interop.fhir.bulk import Broken, Piece, read_piece
from gemel.interop.fhir.collect import Collected, Collector
from gemel.interop.fhir.mapping import Site
from gemel.interop.fhir.mapping.base import Resolve
from gemel.interop.report import MessageReport, Refusal
from gemel.platform.intake import Adapter, Context, Joined, Normalised

__all__ = ["adapter", "normalised"]

_USUAL = Site()


def normalised(found: Collected) -> Normalised:
    """Return what resources said as the intake takes it; consents are for whoever keeps them."""
    return Normalised(
        report=found.report, facts=found.facts, demographics=found.demographics, documents=found.documents,
        merges=(
            *(Joined(merge.survivor, merge.prior, undone=True) for merge in found.unmerged),
            *(Joined(merge.survivor, merge.prior) for merge in found.merges),
        ),
    )  # fmt: skip


def with_broken(report: MessageReport, broken: list[Refusal]) -> MessageReport:
    """Return a report with what could not be read at all."""
    if not broken:
        return report
    return report.model_copy(update={"read": report.read + len(broken), "refused": (*report.refused, *broken)})


def adapter(sites: Mapping[str, Site] | None = None, *, usual: Site = _USUAL, outside: Resolve | None = None) -> Adapter:
    """Return the adapter of FHIR R4.

    Parameters
    ----------
    sites : settings by source.
    usual : settings of a source that has none of its own.
    outside : finds what a resource refers to that is not in the same message, such as a Medication in the store.
    """
    known = dict(sites or {})

    def read(body: bytes, context: Context) -> Normalised:
        site = known.get(context.source, usual)
        lines = PurePosixPath(context.name.rpartition(":")[0] or context.name).name.lower().endswith(".ndjson")
        collector = Collector(context.source, context.received, site, outside, follow=False)
        broken = []
        for place, tree, _ in read_piece(Piece(context.name or "message", 1 if lines else 0, body)):
            if isinstance(tree, Broken):
                broken.append(Refusal(reason="unreadable", place=place, what=tree.what, fix=tree.fix))
            else:
                collector.add(place, tree)
        found = collector.finish()
        found.report = with_broken(found.report, broken)
        return normalised(found)

    return Adapter("fhir", read, is_numbered=False)
