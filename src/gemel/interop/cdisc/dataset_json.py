"""CDISC Dataset-JSON 1.1: one data set with its metadata as JSON, or as NDJSON with one row per line.

References
----------
CDISC, Dataset-JSON v1.1 specification (attributes of the data set and of its columns; data types; exchange of decimals and dates as text).
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from gemel.core.errors import FormatError
from gemel.interop.cdisc.dataset import Dataset, Value, Variable, is_date

__all__ = ["read_dataset_json", "write_dataset_json"]

VERSION = "1.1.0"

_NUMBERS = ("integer", "float", "double", "decimal")
_DATES = ("date", "datetime", "time")
_EPOCH = dt.datetime(1960, 1, 1)


def _column(told: Any, place: int) -> Variable:
    if (
        not isinstance(told, Mapping)
        or not isinstance(told.get("name"), str)
        or told.get("dataType") not in (*_NUMBERS, *_DATES, "string", "boolean", "URI")
    ):
        raise FormatError("a column of the Dataset-JSON is not described", seen=f"column {place}", expected="name and dataType of version 1.1")  # fmt: skip
    kind = str(told["dataType"])
    counted = kind in _NUMBERS or (kind in _DATES and told.get("targetDataType") == "integer")
    form = str(told.get("displayFormat") or "")
    if counted and kind in _DATES and not form:
        form = {"date": "E8601DA.", "datetime": "E8601DT.", "time": "E8601TM."}[kind]
    return Variable(
        told["name"], str(told.get("label") or ""), counted, int(told.get("length") or 8), form, "", int(told.get("keySequence") or 0)
    )


def _number(value: Any, kind: str, where: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        if kind == "date":
            return float((dt.date.fromisoformat(value) - _EPOCH.date()).days)
        if kind == "datetime":
            return (dt.datetime.fromisoformat(value).replace(tzinfo=None) - _EPOCH).total_seconds()
        if kind == "time":
            at = dt.time.fromisoformat(value)
            return 3600.0 * at.hour + 60 * at.minute + at.second + at.microsecond / 1e6
        if isinstance(value, bool):
            raise ValueError("a truth value")
        return float(value)
    except (TypeError, ValueError) as error:
        raise FormatError("a value does not fit its column", seen=f"{where}: {str(value)[:40]!r}", expected=kind) from error


def _lines(text: str) -> tuple[dict[str, Any], Iterable[Any]]:
    """Return the head and the rows: of one document, or of NDJSON."""
    try:
        whole = json.loads(text)
        rows = whole.get("rows") if isinstance(whole, dict) else None
        if isinstance(whole, dict) and (rows is not None or "columns" in whole):
            return whole, rows or []
    except json.JSONDecodeError:
        head, _, rest = text.partition("\n")
        try:
            whole = json.loads(head)
            if isinstance(whole, dict) and "columns" in whole:
                return whole, [json.loads(line) for line in rest.splitlines() if line.strip()]
        except json.JSONDecodeError as error:
            raise FormatError("the JSON is cut off or broken", seen=f"{len(text)} characters: {error.msg}", expected="a whole document, or one row per line") from error  # fmt: skip
    raise FormatError("not a Dataset-JSON", seen=text[:60], expected=f"an object with columns and rows (version {VERSION})")


def read_dataset_json(text: str) -> Dataset:
    """Read one data set, JSON or NDJSON. Dates kept as text stay text; those meant as SAS dates (``targetDataType`` integer) become numbers.

    Raises
    ------
    FormatError
        When it is none, is cut off, has another number of rows than it says, or a value does not fit its column.
    """
    head, rows = _lines(text)
    if not str(head.get("datasetJSONVersion", "")).startswith("1."):
        raise FormatError("another version of Dataset-JSON", seen=head.get("datasetJSONVersion"), expected="1.1")
    told = head.get("columns")
    if not isinstance(told, list) or not told:
        raise FormatError("the Dataset-JSON has no columns", seen=type(told).__name__, expected="a list of columns")
    variables = [_column(c, i) for i, c in enumerate(told, start=1)]
    kinds = [str(c["dataType"]) for c in told]
    columns: list[list[Value]] = [[] for _ in variables]
    count = 0
    for count, row in enumerate(rows, start=1):
        if not isinstance(row, list) or len(row) != len(variables):
            raise FormatError("a row does not fit the columns", seen=f"row {count}", expected=f"a list of {len(variables)} values")
        for values, v, kind, value in zip(columns, variables, kinds, row, strict=True):
            values.append(_number(value, kind, f"row {count}, {v.name}") if v.is_number else "" if value is None else str(value))
    if isinstance(head.get("records"), int) and head["records"] != count:
        raise FormatError("rows are missing from the Dataset-JSON", seen=count, expected=f"{head['records']}, as it says itself")
    named = {v.name: c for v, c in zip(variables, columns, strict=True)}
    return Dataset(
        str(head.get("name") or ""),
        tuple(variables),
        named,
        str(head.get("label") or ""),
        {},
        str(head.get("datasetJSONCreationDateTime") or ""),
    )


def _kind(v: Variable, values: Iterable[Value]) -> str:
    if not v.is_number:
        return "string"
    return "integer" if all(x is None or float(x).is_integer() for x in values) else "float"


def _plain(value: Value) -> Value | int:
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def write_dataset_json(
    data: Dataset, *, created: dt.datetime, study: str = "", version: str, lines: bool = False, metadata: str = "define.xml"
) -> str:
    """Write one data set as Dataset-JSON 1.1.

    Parameters
    ----------
    created : the time that stands in the file.
    study : OID of the study; left out, the attribute is left out.
    version : of the writing program.
    lines : NDJSON, one row per line.
    metadata : reference to the Define-XML.
    """
    oid = f"IG.{data.name}"
    dated = data.dated()
    columns, parts = [], []
    for v in data.variables:
        told: dict[str, Any] = {"itemOID": f"IT.{data.name}.{v.name}", "name": v.name, "label": v.label or v.name}
        if is_date(v):
            first = next((str(x) for x in dated[v.name] if x is not None), "")
            told |= {"dataType": "datetime" if "T" in first else "time" if ":" in first else "date", "targetDataType": "integer"}
            parts.append(dated[v.name])
        else:
            told["dataType"] = _kind(v, data.columns[v.name])
            parts.append([_plain(x) for x in data.columns[v.name]])
        if not v.is_number:
            told["length"] = max([1, *(len(str(x)) for x in data.columns[v.name])])
        if v.format:
            told["displayFormat"] = v.format
        if v.key:
            told["keySequence"] = v.key
        columns.append(told)
    head = {
        "datasetJSONCreationDateTime": created.replace(microsecond=0, tzinfo=None).isoformat(),
        "datasetJSONVersion": VERSION,
        "fileOID": f"gemel.{data.name}.{created:%Y%m%dT%H%M%S}",
        "originator": "Gemel",
        "sourceSystem": {"name": "Gemel", "version": version},
        **({"studyOID": study} if study else {}),
        "metaDataRef": metadata,
        "itemGroupOID": oid,
        "records": data.rows,
        "name": data.name,
        "label": data.label or data.name,
        "columns": columns,
    }
    rows = [list(row) for row in zip(*parts, strict=True)]
    if lines:
        return "\n".join(json.dumps(x, ensure_ascii=False, allow_nan=False) for x in (head, *rows)) + "\n"
    return json.dumps(head | {"rows": rows}, ensure_ascii=False, allow_nan=False, indent=None) + "\n"
