"""Reports of bedside devices (ISO/IEEE 11073 SDC) for the intake."""

from __future__ import annotations

from gemel.interop.ieee11073.sdc_message import facts_of, read_report
from gemel.platform.intake import Adapter, Context, Normalised

__all__ = ["adapter"]


def adapter(*, root: str) -> Adapter:
    """Return the adapter of device reports.

    Parameters
    ----------
    root : of those patient identifications that are pseudonyms of the store.
    """

    def read(body: bytes, context: Context) -> Normalised:
        del context
        found = read_report(body)
        facts, report = facts_of(found, root=root)
        times = [one.time for one in found.readings if one.time is not None]
        return Normalised(report=report, facts=facts, sent=max(times, default=None))

    return Adapter("sdc", read, is_numbered=False)
