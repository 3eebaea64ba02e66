"""Variants of a person as findings: what is carried and passed its filters; the rest is counted with its reason."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

from gemel.core import Code, Finding, PatientRecord
from gemel.core.errors import DataError, TimeError
from gemel.core.time import DAY, to_ns
from gemel.interop.genomics.vcf import Call, VcfHeader, read_calls
from gemel.interop.report import MessageReport, Tally

__all__ = ["VARIANT", "read_file"]

VARIANT = Code.parse("loinc:69548-6", "Genetic variant assessment")
_MOST = 200_000  # findings of a person: a panel or an exome. A genome is 4 to 5 million


def _reason(call: Call) -> str:
    """Return why a call is no finding; empty when it is one."""
    if call.problem:
        return call.problem
    if call.alternate in (".", "<*>", "<NON_REF>"):
        return "reference: no alternative allele"
    if call.alternate == "*":
        return "spanned: deleted by another variant, which stands on its own line"
    if call.filters:
        return f"filtered: {';'.join(call.filters)[:60]}"
    if not call.genotype or all(a is None for a in call.genotype):
        return "not called: no genotype"
    if 1 in call.genotype:
        return ""
    return "not called: part of the genotype is missing" if None in call.genotype else "reference: the allele is not carried"


def _finding(call: Call, header: VcfHeader, time: int, known: int) -> Finding:
    carried = sum(a == 1 for a in call.genotype)
    state = "hemizygous" if len(call.genotype) == 1 else "homozygous" if carried == len(call.genotype) else "heterozygous"
    mark = "|" if call.is_phased else "/"
    said = [state, mark.join("." if a is None else str(a) for a in call.genotype)]
    said += [] if call.end is None else [f"to {call.end}"]
    said += [] if call.depth is None else [f"depth {call.depth}"]
    said += [] if call.alternate_depth is None else [f"alternate reads {call.alternate_depth}"]
    site = f"{header.build}:{call.chromosome}:{call.position}:{call.reference}:{call.alternate}"
    return Finding(code=VARIANT, value=", ".join(said), time=time, recorded=known, source="vcf", site=site, id=f"vcf:{site}")


def _date(header: VcfHeader, name: str, time: int | None) -> tuple[int, int]:
    if time is not None:
        return time, time
    digits = header.date.replace("-", "")[:8]
    try:
        day = to_ns(dt.datetime.strptime(digits, "%Y%m%d").replace(tzinfo=dt.UTC))
    except ValueError as error:
        raise TimeError(
            f"{name} has no date",
            seen=header.date[:20] or "no fileDate",
            expected="##fileDate=YYYYMMDD",
            fix="add it, or name time= in Python",
        ) from error
    return day, day + DAY


def read_file(
    path: str | os.PathLike[str], *, build: str | None = None, time: int | None = None
) -> list[tuple[PatientRecord, MessageReport]]:
    """Read the variants of every sample of a VCF.

    Parameters
    ----------
    path : plain, gzip or bgzip.
    build : reference build of a file that does not say.
    time : ns UTC, when the sample was read; left out, the file's date: true at its beginning, known at its end.

    Returns
    -------
    A record and its report for each sample. A finding's ``site`` is build, chromosome, position, reference and alternative; a multi-allelic line gives one for each allele.

    Raises
    ------
    FormatError
        When the file cannot be read, or does not say its build.
    TimeError
        When it has no date.
    DataError
        When a sample carries more variants than a record holds, or nothing.
    """
    place = Path(path)
    header, calls = read_calls(place, build=build)
    begun, known = _date(header, place.name, time)
    found: dict[str, dict[str, Finding]] = {sample: {} for sample in header.samples}
    tallies = {sample: Tally(place.name, "vcf") for sample in header.samples}
    refused: dict[str, dict[str, list[int]]] = {sample: {} for sample in header.samples}
    for call in calls:
        tally, mine = tallies[call.sample], found[call.sample]
        tally.read += 1
        for name in call.filters:
            if name not in header.filters:
                tally.repair(f"filter {name[:30]} is not declared in the header")
        reason = _reason(call)
        if reason:
            refused[call.sample].setdefault(reason, [0, call.line])[0] += 1
            continue
        finding = _finding(call, header, begun, known)
        before = mine.get(finding.id)
        if before is None:
            mine[finding.id] = finding
            tally.mapped += 1
        elif before == finding:
            tally.duplicates += 1
        else:
            refused[call.sample].setdefault("contradicted: the same variant again with another genotype, the first kept", [0, call.line])[
                0
            ] += 1
        if len(mine) > _MOST:
            raise DataError(
                "more variants than a record holds",
                seen=f"over {_MOST} in one sample",
                expected="a panel or an exome",
                fix="select regions first",
            )
    if not any(tally.read for tally in tallies.values()):
        raise DataError(f"{place.name} has a header and no variants", expected="lines of variants", fix="fetch it again")
    told: list[tuple[PatientRecord, MessageReport]] = []
    for sample, tally in tallies.items():
        for reason, (items, line) in refused[sample].items():
            kind, _, what = reason.partition(": ")
            tally.refuse(kind, f"line {line}", what, items=items)
        told.append((PatientRecord(id=sample).with_facts(*found[sample].values()), tally.report()))
    return told
