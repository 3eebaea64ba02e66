"""ShanghaiT1DM and ShanghaiT2DM: one ``.xls`` per recording, called patient_visit_startdate; sensor, diary, insulin and drugs as text.

A record is one recording (``1002-0``); visits of one patient share the trait ``patient``: split by it, never by recording.
Meals are weighed dishes: :mod:`foods` estimates their carbohydrate. ``data not available`` is a meal of unknown size, not no meal.
The sensor's floor is 2.2 mmol/L: readings of 39.6 mg/dL are kept as censored below it.

References
----------
Zhao Q et al. 2023, doi:10.1038/s41597-023-01940-7; data doi:10.6084/m9.figshare.21600933 (CC BY 4.0).
"""

from __future__ import annotations

import datetime as dt
import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from gemel.core import Demographics, Exposure, PatientRecord, Quantity
from gemel.core.errors import FormatError
from gemel.core.time import HOUR, SECOND
from gemel.interop.wearables import _facts as facts
from gemel.interop.wearables._drugs import Dose, parse_drugs, parse_infusion, parse_insulin
from gemel.interop.wearables._text import Table, to_utc
from gemel.interop.wearables.base import Layout, Notes, Options, Parsed, Source
from gemel.interop.wearables.foods import CARBOHYDRATE_CV, estimate_meal

__all__ = ["LAYOUT"]

ZONE = "Asia/Shanghai"
_NAME = re.compile(r"(?:^|/)(\d{4})_(\d+)_(\d{8})\.xlsx?$")
_OLE, _OOXML = b"\xd0\xcf\x11\xe0", b"PK\x03\x04"
_BASAL_HOLDS = 24 * HOUR  # ASSUMED: a pump programme has an entry at least once a day; after a day without one the pump is off
# field -> how its column's name begins (lower case); names vary between files, one is in Chinese
_COLUMNS = {
    "time": ("date",),
    "cgm": ("cgm",),
    "cbg": ("cbg",),
    "ketone": ("blood ketone",),
    "food": ("dietary intake",),
    "insulin": ("insulin dose - s.c",),
    "drugs": ("non-insulin",),
    "bolus": ("csii - bolus", "胰岛素泵大剂量"),
    "basal": ("csii - basal", "胰岛素泵基础量"),
    "infusion": ("insulin dose - i.v",),
}
_MAX_STRIP = 1000.0  # mg/dL; one published value of 2,044.8 lies beyond
_SUSPEND = "temporarily suspend insulin delivery"
_NOT_AVAILABLE = "data not available"


def _sniff(name: str, head: bytes) -> bool:
    return bool(_NAME.search(name)) and head.startswith((_OLE, _OOXML))


def _sheet(source: Source) -> list[list[Any]]:
    import python_calamine as calamine

    try:
        return calamine.CalamineWorkbook.from_filelike(io.BytesIO(source.read())).get_sheet_by_index(0).to_python()
    except (calamine.CalamineError, OSError, ValueError) as error:
        raise FormatError(
            f"{source.base} cannot be read as a workbook",
            seen=type(error).__name__,
            expected="an .xls workbook",
            fix="fetch the file again",
        ) from error


def _columns(header: Sequence[Any], name: str) -> dict[str, int]:
    plain = [re.sub(r"\s+", " ", str(cell)).strip().lower() for cell in header]
    places = {field: next((i for i, cell in enumerate(plain) if cell.startswith(starts)), -1) for field, starts in _COLUMNS.items()}
    missing = [field for field in ("time", "cgm") if places[field] < 0]
    if missing:
        raise FormatError(
            f"{name} lacks the column(s) {', '.join(missing)}",
            seen="; ".join(plain)[:160],
            expected="Date and CGM",
            fix="fetch the file again",
        )
    return places


def _wall(cell: Any, name: str, row: int) -> int:
    if isinstance(cell, dt.datetime):
        value = cell
    elif isinstance(cell, dt.date):  # midnight is stored as a bare date
        value = dt.datetime(cell.year, cell.month, cell.day)
    else:
        try:
            value = dt.datetime.fromisoformat(str(cell).strip().replace("/", "-"))
        except ValueError:
            raise FormatError(
                f"row {row} of {name} has no date", seen=repr(str(cell)[:20]), expected="a date and time", fix="correct the row"
            ) from None
    ns = int(np.datetime64(value, "us").astype("datetime64[ns]").astype(np.int64))
    return (ns + SECOND // 2) // SECOND * SECOND  # spreadsheet days are floating point


class _Recording:
    """One workbook on its way to a record."""

    def __init__(self, source: Source, options: Options) -> None:
        match = _NAME.search(source.name)
        self.name = source.base
        self.patient, self.visit = (match[1], match[2]) if match else (source.stem, "0")
        self.notes = Notes(self.name, "shanghai")
        sheet = _sheet(source)
        if len(sheet) < 2:
            raise facts.no_rows(self.name)
        self.places = _columns(sheet[0], self.name)
        body = [row for row in sheet[1:] if any(str(cell).strip() for cell in row)]
        self.table = Table({}, len(body), 2)
        self.rows = np.arange(len(body)) + 2
        self.body = body
        self.notes.rows = len(body)
        wall = np.array([_wall(row[self.places["time"]], self.name, index + 2) for index, row in enumerate(body)], np.int64)
        self.time, self.zone = to_utc(wall, np.zeros(len(body), bool), options.tz or ZONE, self.notes)

    def cells(self, field: str) -> list[Any]:
        place = self.places[field]
        return [""] * len(self.body) if place < 0 else [row[place] if place < len(row) else "" for row in self.body]

    def texts(self, field: str) -> list[tuple[int, str]]:
        """Row index and text of the filled cells; a column's name repeated in a cell is not data."""
        found = []
        for index, cell in enumerate(self.cells(field)):
            text = str(cell).strip()
            if text.lower().startswith(("csii - ", "insulin dose", "dietary intake")):
                self.notes.ignore("a column's name inside the table")
            elif text:
                found.append((index, text))
        return found

    def numbers(self, field: str) -> np.ndarray:
        values = np.full(len(self.body), np.nan)
        for index, text in self.texts(field):
            try:
                values[index] = float(text)
            except ValueError:
                if text.lower() == _SUSPEND:
                    if field == "basal":
                        values[index] = 0.0
                        self.notes.repair("'temporarily suspend insulin delivery' read as a basal rate of 0", 1, index + 2)
                    else:
                        self.notes.ignore(f"'{_SUSPEND}' in the {field} column: no bolus")
                else:
                    self.notes.unclear(f"{field}: {text[:40]!r}")
        return values

    def exposure(self, index: int, dose: Dose, origin: str, order: int, uncertainty: float | None = None) -> Exposure:
        start = int(self.time[index])
        quantity = None if dose.amount is None else Quantity(value=dose.amount, unit=dose.unit)
        return Exposure(
            code=dose.code,
            quantity=quantity,
            start=start,
            end=start,
            recorded=start,
            source=f"shanghai:{origin}",
            note=dose.words,
            uncertainty=uncertainty,
            id=f"{self.patient}-{self.visit}:{origin}:{start}:{order}" if order else "",
        )

    def glucose(self) -> list[Any]:
        cells = [str(cell) for cell in self.cells("cgm")]
        values, censored = facts.glucose_cells(cells, "mg/dL", self.table, self.name, self.notes)
        censored = facts.limit_hits(values, censored, self.notes, lows=(39.6,), highs=(500.4,))
        common = {"unit": "mg/dL", "name": self.name, "notes": self.notes}
        sensor = facts.glucose_series(
            self.time, values, censored, self.time, self.rows, code=facts.CGM["mg/dL"], source="shanghai:cgm", **common
        )
        facts.require_glucose([sensor], self.name)
        strips = self.numbers("cbg")
        for index in np.flatnonzero(strips > _MAX_STRIP):
            self.notes.unclear(f"finger-stick of {strips[index]:g} mg/dL in row {index + 2}: impossible, left out")
            strips[index] = np.nan
        strip, strip_censored = facts.glucose_cells([str(value) for value in strips], "mg/dL", self.table, self.name, self.notes)
        finger = facts.glucose_series(
            self.time,
            strip,
            strip_censored,
            self.time,
            self.rows,
            code=facts.CAPILLARY["mg/dL"],
            source="shanghai:cbg",
            gaps=False,
            **common,
        )
        ketone = facts.plain_series(
            self.time, self.numbers("ketone"), self.rows, code=facts.KETONE, unit="mmol/L", source="shanghai:ketone", notes=self.notes
        )
        return [series for series in (sensor, finger, ketone) if series is not None]

    def meals(self) -> list[Exposure]:
        found = []
        for index, text in self.texts("food"):
            words = re.sub(r"\s+", " ", text)
            if words.lower().startswith("fasting"):
                self.notes.ignore(f"diary: {words[:40]!r}, not a meal")
                continue
            meal = estimate_meal(text) if words.lower() != _NOT_AVAILABLE else None
            if meal is None or meal.carbohydrate is None or meal.unknown:
                if meal is None:
                    self.notes.repair("'data not available' kept as a meal of unknown size", 1, index + 2)
                for part in meal.unknown if meal else ():
                    self.notes.unclear(f"food without weight or carbohydrate, its meal kept as one of unknown size: {part[:60]!r}")
                found.append(self.exposure(index, Dose(facts.MEAL_UNQUANTIFIED, None, "g", words), "food", 0))
                continue
            if meal.carbohydrate > facts.MAX_CARBOHYDRATES:
                self.notes.warn(
                    f"row {index + 2}: a meal estimated at {meal.carbohydrate:.0f} g of carbohydrate is not believable; "
                    "kept as a meal of unknown size"
                )
                found.append(self.exposure(index, Dose(facts.MEAL_UNQUANTIFIED, None, "g", words), "food", 0))
                continue
            found.append(self.exposure(index, Dose(facts.CARBOHYDRATES, meal.carbohydrate, "g", words), "food", 0, CARBOHYDRATE_CV))
        if found:
            self.notes.warn(f"carbohydrates are estimated from grams of food by a table, coefficient of variation {CARBOHYDRATE_CV:.0%}")
        return found

    def injections_and_drugs(self) -> list[Exposure]:
        found = []
        for field, read, origin in (("insulin", parse_insulin, "sc"), ("drugs", parse_drugs, "drug"), ("infusion", parse_infusion, "iv")):
            for index, text in self.texts(field):
                doses, unknown = read(text)
                for part in unknown:
                    self.notes.unclear(f"{field}: {part[:60]!r}")
                for order, dose in enumerate(doses):
                    if dose.doubt == "spelling":
                        self.notes.repair("'glarigine' read as glargine", 1, index + 2)
                    elif dose.doubt:
                        self.notes.warn(f"dose not believable, kept without an amount: {dose.doubt}")
                    same = any(other.code == dose.code for other in doses[:order])
                    found.append(self.exposure(index, dose, origin, order if same else 0))
                if field == "infusion" and doses:
                    self.notes.warn(
                        "intravenous insulin and glucose: given over a time that is not recorded; kept under their own codes, as a moment"
                    )
        return found

    def pump(self) -> list[Exposure]:
        common = {"code": facts.INSULIN_RAPID, "source": "shanghai:csii", "name": self.name, "notes": self.notes}
        bolus = self.numbers("bolus")
        self.notes.ignore("pump boluses of 0 IU", int((bolus == 0).sum()))
        doses = facts.dose_exposures(self.time, bolus, self.time, self.rows, unit="[iU]", **common)
        basal = facts.basal_exposures(
            self.time,
            self.numbers("basal"),
            self.time,
            self.rows,
            until=int(self.time.max()),
            longest=_BASAL_HOLDS,
            note="Novolin R",
            **common,
        )
        return [d.model_copy(update={"note": "Novolin R"}) for d in doses] + basal

    def record(self) -> PatientRecord:
        diabetes = "T1D" if self.patient.startswith("1") else "T2D"
        people = Demographics(
            zone=self.zone, traits={"patient": self.patient, "visit": self.visit, "diabetes": diabetes, "dataset": "Shanghai"}
        )
        return PatientRecord(id=f"{self.patient}-{self.visit}", demographics=people).with_facts(
            *self.glucose(), *self.meals(), *self.injections_and_drugs(), *self.pump()
        )


def _parse(sources: Sequence[Source], options: Options) -> Parsed:
    parsed: Parsed = []
    for source in sources:
        recording = _Recording(source, options)
        record = recording.record()
        parsed.append((record, recording.notes.report(record)))
    return parsed


LAYOUT = Layout("shanghai", "ShanghaiT1DM and ShanghaiT2DM (.xls, one per recording)", _sniff, _parse)
