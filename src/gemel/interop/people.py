"""People of a source who turn out to be one: whose facts are read together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gemel.core.record import Demographics, Fact, PatientRecord

__all__ = ["Merge", "records_of"]


class Merge(NamedTuple):
    """Two patients are one person: facts of ``prior`` belong to ``survivor`` from ``recorded`` (ns UTC) on. The store keeps it so that it can be undone."""

    survivor: str
    prior: str
    recorded: int


def records_of(
    facts: Mapping[str, Iterable[Fact]], demographics: Mapping[str, Demographics], merges: Iterable[Merge]
) -> dict[str, PatientRecord]:
    """Return a record for each person, those that are one as one; a merge that leads back to its beginning is followed once around.

    Examples
    --------
    >>> list(records_of({"a": (), "b": ()}, {}, [Merge("b", "a", 0)]))
    ['b']
    """
    into = {merge.prior: merge.survivor for merge in merges}

    def survivor(name: str) -> str:
        passed = {name}
        while name in into and into[name] not in passed:
            name = into[name]
            passed.add(name)
        return name

    found: dict[str, PatientRecord] = {}
    for name, told in facts.items():
        kept = survivor(name)
        record = found.get(kept) or PatientRecord(id=kept, demographics=demographics.get(kept, Demographics()))
        found[kept] = record.with_facts(*told)
    return found
