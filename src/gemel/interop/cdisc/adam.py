"""What ADaM's names mean: parameters, visits, flags, carried values and censoring, checked before anything is analysed.

References
----------
CDISC, Analysis Data Model Implementation Guide 1.1 (ADSL, BDS: PARAMCD, AVISITN, ANLzzFL, DTYPE, EFFFL); ADaM Basic Data Structure for Time-to-Event
Analyses 1.0 (CNSR: 0 is an event, anything above is a reason of censoring).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from gemel.core.errors import DataError

__all__ = ["bds_rows", "check_bds", "event_times", "subject_level"]

Columns = Mapping[str, Sequence[object]]


def _needed(columns: Columns, *names: str) -> None:
    absent = [n for n in names if n not in columns]
    if absent:
        raise DataError("a variable of ADaM is missing", seen=absent, expected=f"among {', '.join(list(columns)[:12])} ...", fix="take the analysis data set, or name the columns yourself")  # fmt: skip


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or value != value


def _same(value: object, wanted: str) -> bool:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value) == float(wanted)
        except ValueError:
            return False
    return str(value).strip() == wanted


def _number(value: object, name: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is not a number", seen=str(value)[:40], expected="a number") from error


def subject_level(columns: Columns) -> None:
    """Refuse an ADSL that is not one row a subject.

    Raises
    ------
    DataError
        When USUBJID is missing, empty or comes twice.
    """
    _needed(columns, "USUBJID")
    if any(_is_empty(v) for v in columns["USUBJID"]):
        raise DataError("a subject has no identifier", seen="an empty USUBJID", expected="one each")
    double = sum(n > 1 for n in Counter(map(str, columns["USUBJID"])).values())
    if double:
        raise DataError(
            "a subject comes twice in a data set of one row each", seen=f"{double} subjects", expected="one row per subject (ADSL)"
        )


def check_bds(columns: Columns) -> None:
    """Refuse a basic data structure whose visits have no order, or whose subject has two rows for one parameter and visit.

    A row that DTYPE derives (LOCF and the like) is another one than the one it was derived from.

    Raises
    ------
    DataError
        When variables are missing, AVISITN and AVISIT do not belong together, visits run against their day, or rows come twice.
    """
    _needed(columns, "USUBJID", "PARAMCD")
    n = len(columns["USUBJID"])
    derived = columns.get("DTYPE", [""] * n)
    if "AVISITN" not in columns:
        if "AVISIT" in columns and len({str(v) for v in columns["AVISIT"]}) > 1:
            raise DataError("the order of the visits is not known", seen="AVISIT without AVISITN", expected="AVISITN, a number per visit")
        return
    kept = [i for i in range(n) if not _is_empty(columns["AVISITN"][i])]
    numbers = {i: _number(columns["AVISITN"][i], "AVISITN") for i in kept}
    if "AVISIT" in columns:
        names: dict[float, set[str]] = defaultdict(set)
        places: dict[str, set[float]] = defaultdict(set)
        for i in kept:
            names[numbers[i]].add(str(columns["AVISIT"][i]))
            places[str(columns["AVISIT"][i])].add(numbers[i])
        crossed = [f"{k:g}: {sorted(v)}" for k, v in names.items() if len(v) > 1] + [
            f"{k}: {sorted(v)}" for k, v in places.items() if len(v) > 1
        ]
        if crossed:
            raise DataError("visits and their numbers do not belong together", seen=crossed[:3], expected="one AVISIT per AVISITN")
    flags = [c for c in columns if c.startswith("ANL") and c.endswith("FL")]
    counts = Counter(
        (str(columns["USUBJID"][i]), str(columns["PARAMCD"][i]), numbers[i], str(derived[i] or ""))
        for i in kept
        if not flags or any(str(columns[f][i]).strip() == "Y" for f in flags)
    )
    double = [k for k, c in counts.items() if c > 1]
    if double:
        raise DataError(
            "a subject has two rows for one parameter and visit",
            seen=f"{len(double)} of them, such as {double[0][1]} at visit {double[0][2]:g}",
            expected="one row by USUBJID, PARAMCD, AVISITN and DTYPE",
            fix="choose the rows of the analysis by ANL01FL=Y",
        )
    if "ADY" in columns:
        _ordered(columns, kept, numbers, derived)


def _ordered(columns: Columns, kept: Sequence[int], numbers: Mapping[int, float], derived: Sequence[object]) -> None:
    days: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    flags = [c for c in columns if c.startswith("ANL") and c.endswith("FL")]
    for i in kept:
        chosen = not flags or any(str(columns[f][i]).strip() == "Y" for f in flags)
        if chosen and _is_empty(derived[i]) and not _is_empty(columns["ADY"][i]):
            days[str(columns["USUBJID"][i]), str(columns["PARAMCD"][i])].append((numbers[i], _number(columns["ADY"][i], "ADY")))
    wrong = 0
    for rows in days.values():
        rows.sort()
        wrong += any(b[1] < a[1] for a, b in pairwise(rows))
    if wrong:
        raise DataError(
            "visits run against their day",
            seen=f"{wrong} subjects whose later visit lies before an earlier one",
            expected="ADY that rises with AVISITN",
            fix="correct AVISITN or ADY; a windowed visit is assigned once",
        )


def bds_rows(
    columns: Columns, parameter: str, *, visit: str = "", flags: Sequence[str] = (), derived: bool = True
) -> dict[str, list[object]]:
    """Return the rows of one parameter, checked.

    Parameters
    ----------
    parameter : PARAMCD.
    visit : AVISIT or AVISITN; left out, all.
    flags : variables that must be ``Y``: ``EFFFL``, ``ANL01FL``.
    derived : keep rows that DTYPE names as derived.

    Raises
    ------
    DataError
        For an unknown PARAMCD, visit or flag, no row left, and what :func:`check_bds` refuses.
    """
    _needed(columns, "USUBJID", "PARAMCD", *flags)
    known = sorted({str(v) for v in columns["PARAMCD"]})
    if parameter not in known:
        raise DataError("no such PARAMCD", seen=parameter, expected=known[:20])
    keep = [i for i, p in enumerate(columns["PARAMCD"]) if str(p) == parameter]
    if visit:
        names = [c for c in ("AVISIT", "AVISITN") if c in columns]
        found = [i for i in keep if any(_same(columns[c][i], visit) for c in names)]
        if not found:
            raise DataError("no such visit", seen=visit, expected=sorted({str(columns[c][i]) for c in names for i in keep})[:20])
        keep = found
    for flag in flags:
        keep = [i for i in keep if str(columns[flag][i]).strip() == "Y"]
    if not derived and "DTYPE" in columns:
        keep = [i for i in keep if _is_empty(columns["DTYPE"][i])]
    if not keep:
        raise DataError("no row is left", seen=f"{parameter} {visit} {list(flags)}", expected="at least one")
    out = {name: [values[i] for i in keep] for name, values in columns.items()}
    check_bds(out)
    return out


def event_times(columns: Columns, parameter: str = "") -> tuple[list[float], list[bool]]:
    """Return times and whether each is an event, from an ADTTE.

    Parameters
    ----------
    parameter : PARAMCD; left out, there must be one only.

    Returns
    -------
    (subject,) times in the unit of AVAL, and True where CNSR is 0.

    Raises
    ------
    DataError
        When variables are missing, there are several parameters, a time is missing or negative, CNSR is no whole number from 0, or a subject comes twice.
    """
    _needed(columns, "USUBJID", "PARAMCD", "AVAL", "CNSR")
    known = sorted({str(v) for v in columns["PARAMCD"]})
    if (parameter or known[0]) not in known or (not parameter and len(known) > 1):
        raise DataError(
            "no such PARAMCD" if parameter else "several parameters",
            seen=parameter or known,
            expected=known if parameter else "a choice of one",
        )
    keep = [i for i, p in enumerate(columns["PARAMCD"]) if str(p) == (parameter or known[0])]
    if len({str(columns["USUBJID"][i]) for i in keep}) < len(keep):
        raise DataError("a subject comes twice", seen=f"{len(keep)} rows", expected="one row per subject and parameter")
    times, events = [], []
    for i in keep:
        at, censored = _number(columns["AVAL"][i], "AVAL"), _number(columns["CNSR"][i], "CNSR")
        if not at >= 0 or censored < 0 or censored != int(censored):
            raise DataError("a time or its censoring is impossible", seen=f"AVAL {at:g}, CNSR {censored:g}", expected="AVAL from 0; CNSR 0 for an event, 1 or more otherwise")  # fmt: skip
        times.append(at)
        events.append(censored == 0)
    return times, events
