"""Everything of a store, opened, for people and other programs: JSON lines, CSV or Parquet. All versions of all facts go out, with both times."""

from __future__ import annotations

import base64
import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from gemel.core.code import Code
from gemel.core.errors import DataError
from gemel.core.record import Exposure, Finding, PatientRecord, Quantity
from gemel.core.time import iso
from gemel.platform.store import facts
from gemel.platform.store.store import Store
from gemel.platform.store.versions import KINDS

__all__ = ["FORMATS", "export", "lines"]

FORMATS = ("ndjson", "csv", "parquet")
_SERIES = ("patient", "code", "unit", "source", "time", "value", "recorded", "status", "censored")
_FACTS = ("patient", "kind", "code", "time", "end", "recorded", "value", "unit", "text", "source", "status", "site", "id")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _readings(record: PatientRecord) -> Iterator[tuple[Any, ...]]:
    for series in record.series:
        columns = (series.time.tolist(), series.value.tolist(), series.recorded.tolist(), series.status.tolist(), series.censored.tolist())
        for time, value, recorded, status, censored in zip(*columns, strict=True):
            yield record.id, str(series.code), series.unit, series.source, iso(time), value, iso(recorded), status, censored


def _single(record: PatientRecord) -> Iterator[tuple[Any, ...]]:
    for fact in (*record.exposures, *record.findings, *record.documents, *record.geometry):
        value = fact.quantity if isinstance(fact, Exposure) else getattr(fact, "value", None)
        is_quantity = isinstance(value, Quantity)
        text = str(value) if isinstance(value, (str, Code)) else getattr(fact, "title", getattr(fact, "note", getattr(fact, "name", "")))
        yield (
            record.id, fact.kind, str(getattr(fact, "code", "")), iso(fact.time), iso(fact.end) if isinstance(fact, Exposure) else "", iso(fact.recorded),
            value.value if is_quantity else None, value.unit if is_quantity else "", text, getattr(fact, "source", ""), getattr(fact, "status", 0),
            fact.site if isinstance(fact, Finding) else "", getattr(fact, "id", ""),
        )  # fmt: skip


def lines(store: Store, record: PatientRecord) -> Iterator[dict[str, Any]]:
    """Yield everything of one patient as plain values: what :func:`export` writes as JSON lines."""
    yield {"patient": record.id, "kind": "demographics", **record.demographics.model_dump(mode="json")}
    for row in _readings(record):
        yield {"kind": "reading", **dict(zip(_SERIES, row, strict=True))}
    for fact in (*record.exposures, *record.findings, *record.documents):
        yield {"patient": record.id, **fact.model_dump(mode="json")}
    for shape in record.geometry:
        yield {"patient": record.id, "kind": "geometry", "name": shape.name, "zip": base64.b64encode(facts.encode(shape)).decode()}
    for kind in KINDS:
        for version in store.versions(kind, record.id):
            yield {"patient": record.id, "kind": kind, "name": version.name, "version": version.version, "recorded": iso(version.recorded),
                   "id": version.id, "meta": version.meta}  # fmt: skip
    for kind, told in store.answers(record.id):
        yield {"patient": record.id, "kind": kind, **told.model_dump(mode="json")}


def export(store: Store, folder: Path, format: str = "ndjson", *, patients: Iterable[str] | None = None) -> dict[str, int]:
    """Write what a store holds, opened, into a folder that only its owner can read; return the rows of each file.

    Parameters
    ----------
    folder : made when missing; files that are there are replaced.
    format : ``ndjson`` (one file per patient, everything), ``csv`` or ``parquet`` (``readings`` and ``facts``).
    patients : pseudonyms; left out, everybody.

    Raises
    ------
    DataError
        When the format is not known, or Parquet's library is not installed.
    """
    if format not in FORMATS:
        raise DataError("no such format of an export", seen=format, expected=", ".join(FORMATS))
    names = store.patients() if patients is None else tuple(patients)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if format == "ndjson":
        return {
            f"patient-{i:06d}.ndjson": _put(
                folder / f"patient-{i:06d}.ndjson", lambda sink, n=name: _dump(sink, lines(store, store.record(n)))
            )
            for i, name in enumerate(names, 1)
        }
    tables: tuple[tuple[str, tuple[str, ...], Callable[[PatientRecord], Iterator[tuple[Any, ...]]]], ...] = (
        ("readings", _SERIES, _readings), ("facts", _FACTS, _single),
    )  # fmt: skip
    if format == "parquet":
        return {
            f"{title}.parquet": _parquet(folder / f"{title}.parquet", columns, (row for name in names for row in rows(store.record(name))))
            for title, columns, rows in tables
        }
    return {
        f"{title}.csv": _put(
            folder / f"{title}.csv", lambda sink, c=columns, r=rows: _csv(sink, c, (row for name in names for row in r(store.record(name))))
        )
        for title, columns, rows in tables
    }


def _put(path: Path, write: Callable[[Any], int]) -> int:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8", newline="") as sink:
        return write(sink)


def _dump(sink: Any, lines: Iterable[dict[str, Any]]) -> int:
    written = 0
    for line in lines:
        sink.write(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n")
        written += 1
    return written


def _csv(sink: Any, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> int:
    writer = csv.writer(sink)
    writer.writerow(columns)
    written = 0
    for row in rows:  # a text that a spreadsheet would run is told from one by an apostrophe
        writer.writerow([f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in row])
        written += 1
    return written


def _parquet(path: Path, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> int:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(
            "Parquet needs its library", seen="pyarrow is not installed", fix="pip install 'gemel[parquet]', or use csv"
        ) from error
    kinds = {"value": pa.float64(), "status": pa.int16(), "censored": pa.int16()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in columns])
    n, page = 0, []
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    with parquet.ParquetWriter(path, schema, compression="zstd") as sink:

        def flush() -> None:
            sink.write_table(pa.table({name: [row[i] for row in page] for i, name in enumerate(columns)}, schema=schema))
            page.clear()

        for row in rows:
            page.append(row)
            n += 1
            if len(page) == 100_000:
                flush()
        flush()
    return n
