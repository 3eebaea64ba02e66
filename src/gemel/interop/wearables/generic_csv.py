"""The generic table: ``[id,]time,glucose_mg_dl|glucose_mmol_l[,carbs_g,energy_kcal,bolus_u,basal_u_h,long_acting_u,recorded]``.

Without ``id`` one file is one person, called by the file's stem. An empty or zero cell of carbohydrate, energy, bolus or
long-acting insulin means *not logged*. A basal rate holds until the next entry; an empty cell changes nothing, and a zero
in a column that also has other rates is a pump that stands still.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gemel.core import Demographics, PatientRecord
from gemel.core.errors import FormatError, TimeError
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._text import Table, decode, glucose_unit, header_cells, parse_numbers, parse_times, read_table, to_utc
from gemel.interop.wearables.base import Layout, Notes, Options, Parsed, Source

__all__ = ["LAYOUT", "read_people"]

_TIME_NAMES = ("time", "timestamp", "datetime", "date_time")
_INPUTS = {
    "carbs_g": (facts.CARBOHYDRATES, "g"),
    "energy_kcal": (facts.ENERGY, "kcal"),
    "bolus_u": (facts.INSULIN_RAPID, "[iU]"),
    "long_acting_u": (facts.INSULIN_LONG, "[iU]"),
}


def _plain(header: str) -> str:
    return header.strip().lstrip("\ufeff").lower().replace(" ", "_")


def _sniff(name: str, head: bytes) -> bool:
    try:
        line = decode(head, name).lstrip("\ufeff\r\n ").splitlines()[0]
    except FormatError:
        return False
    cells = [_plain(cell) for cell in header_cells(line)]
    return any(cell in _TIME_NAMES for cell in cells) and any("glucose" in cell for cell in cells)


def _people(table: Table, id_column: str | None) -> dict[str, np.ndarray | slice]:
    if id_column is None:
        return {"": slice(None)}
    names = np.array([cell.strip() for cell in table.columns[id_column]])
    people, inverse = np.unique(names, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    bounds = np.searchsorted(inverse[order], np.arange(len(people) + 1))
    return {str(person): order[bounds[i] : bounds[i + 1]] for i, person in enumerate(people)}


def _find_columns(table: Table, name: str) -> tuple[str, str, str, dict[str, str]]:
    plain = {_plain(header): header for header in table.columns}
    time = next((plain[key] for key in _TIME_NAMES if key in plain), None)
    if time is None:
        raise FormatError(
            f"{name} has no column of times", seen=", ".join(table.columns)[:120], expected="a column 'time'", fix="rename the column"
        )
    units = {header: unit for header in plain.values() if (unit := glucose_unit(header))}
    if not units:
        raise FormatError(
            f"{name} has no glucose column",
            seen=", ".join(table.columns)[:120],
            expected="glucose_mg_dl or glucose_mmol_l",
            fix="rename the column",
        )
    if len(units) > 1:
        raise FormatError(f"{name} has more than one glucose column", seen=", ".join(units)[:120], expected="one", fix="keep one of them")
    header, unit = next(iter(units.items()))
    return time, header, unit, plain


def read_people(text: str, source: Source, options: Options, notes: Notes, *, settings: dict[str, Any] | None = None) -> Parsed:
    """Read a table of one or many people.

    Parameters
    ----------
    text : the decoded file.
    source : where it came from.
    options : the caller's zone and pseudonym.
    notes : what was already noted of the file.
    settings : what another layout changes: ``origin`` (source of the facts), ``zone``, ``limits`` (low, high in mg/dL).
    """
    settings = settings or {}
    name, origin, tz = notes.source, settings.get("origin", "generic"), options.tz or settings.get("zone")
    table = read_table(text, name, notes)
    time_column, glucose_column, unit, plain = _find_columns(table, name)
    if not table.length:
        raise facts.no_rows(name)
    used = {time_column, glucose_column} | {plain[key] for key in ("id", "recorded", "basal_u_h", *_INPUTS) if key in plain}
    for header in table.columns:
        if header not in used and header:
            notes.ignore(f"column {header[:40]!r}", 1)
    stamps = list(map(str.strip, table.columns[time_column]))
    keep = np.array([bool(stamp) for stamp in stamps])
    if not keep.all():
        filled = np.array([any(cell.strip() for cell in cells) for cells in zip(*table.columns.values(), strict=True)])
        lost = np.flatnonzero(~keep & filled)
        if len(lost):
            raise TimeError(
                f"row {table.row(lost[0])} of {name} has no time", expected="a time in every row", fix="fill in the time or delete the row"
            )
        notes.repair("empty lines skipped", int((~keep).sum()), table.row(int(np.flatnonzero(~keep)[0])))
        chosen = np.flatnonzero(keep)
        table = Table({header: [cells[int(i)] for i in chosen] for header, cells in table.columns.items()}, len(chosen), table.first_row)
        stamps = [stamps[i] for i in chosen.tolist()]
        numbers = chosen + table.first_row
    else:
        numbers = np.arange(table.length) + table.first_row
    wall, aware = parse_times(stamps, name, notes, table)
    values, censored = facts.glucose_cells(
        table.columns[glucose_column],
        unit,
        table,
        name,
        notes,
        low=settings.get("limits", (40.0, 400.0))[0],
        high=settings.get("limits", (40.0, 400.0))[1],
    )
    known: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    if "recorded" in plain:
        cells = list(map(str.strip, table.columns[plain["recorded"]]))
        given = np.array([bool(cell) for cell in cells])
        stamps_known = parse_times([cell if cell else stamp for cell, stamp in zip(cells, stamps, strict=True)], name, notes, table)
        known = (*stamps_known, given)
    inputs = {key: _numbers(table.columns[plain[key]], key, table, name, notes) for key in ("basal_u_h", *_INPUTS) if key in plain}
    parsed: Parsed = []
    for person, chosen in _people(table, plain.get("id")).items():
        mine = Notes(notes.source, notes.format, 0, dict(notes.repairs), dict(notes.ignored), dict(notes.unparsed), list(notes.warnings))
        time, zone = to_utc(wall[chosen], aware[chosen], tz, mine)
        recorded = time
        if known is not None:
            recorded, _ = to_utc(known[0][chosen], known[1][chosen], tz, mine)
            recorded = np.where(known[2][chosen], recorded, time)
        rows = numbers[chosen]
        mine.rows = len(time)
        person_values, person_censored = values[chosen], censored[chosen]
        if "clip" in settings:
            person_censored = facts.limit_hits(person_values, person_censored, mine, lows=settings["clip"][0], highs=settings["clip"][1])
        series = facts.glucose_series(
            time, person_values, person_censored, recorded, rows, code=facts.CGM[unit], unit=unit, source=origin, name=name, notes=mine
        )
        facts.require_glucose([series], name if len(parsed) == 0 and person == "" else f"{name}, one of its people")
        found: list[Any] = [series]
        for key, (code, input_unit) in _INPUTS.items():
            if key in inputs:
                found += facts.dose_exposures(
                    time, inputs[key][chosen], recorded, rows, code=code, unit=input_unit, source=origin, name=name, notes=mine
                )
        if "basal_u_h" in inputs:
            found += facts.basal_exposures(
                time,
                inputs["basal_u_h"][chosen],
                recorded,
                rows,
                until=int(time.max()),
                code=facts.INSULIN_RAPID,
                source=origin,
                name=name,
                notes=mine,
            )
        traits = dict(settings.get("traits", {}))
        record = PatientRecord(id=person or options.id or source.stem, demographics=Demographics(zone=zone, traits=traits)).with_facts(
            *found
        )
        parsed.append((record, mine.report(record)))
    return parsed


def _numbers(cells: Sequence[str], key: str, table: Table, name: str, notes: Notes) -> np.ndarray:
    values, unreadable, commas, first = parse_numbers(cells)
    notes.repair("decimal commas read as points", commas, table.row(first))
    if unreadable:
        row = unreadable[0]
        raise FormatError(
            f"row {table.row(row)} of {name} has no number in {key}",
            seen=repr(cells[row][:20]),
            expected="a number, or an empty cell",
            fix="correct the row",
        )
    return values


def _parse(sources: Sequence[Source], options: Options) -> Parsed:
    parsed: Parsed = []
    for source in sources:
        notes = Notes(source.base, "generic")
        parsed += read_people(decode(source.read(), source.base, notes).lstrip("\ufeff"), source, options, notes)
    return parsed


LAYOUT = Layout("generic", "Generic CSV: [id,] time, glucose_mg_dl or glucose_mmol_l, and optional inputs", _sniff, _parse)
